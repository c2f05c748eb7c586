"""A conversation packed beside others is, for the model, a conversation alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from limpide.adapt.loss import summed_loss
from limpide.adapt.packing import collate, conversations, pack
from limpide.models.families.registry import backbone, plain
from limpide.models.masks import attention_mask
from limpide.models.prompt import Rendered

FAMILIES = ("llama", "mistral", "gemma3", "gpt2", "qwen2", "gpt_oss", "deepseek_v3")
PAD = 0


def conversation(seed: int, size: int) -> Rendered:
    """Random ids; the second half is trained, its last token aside."""
    ids = tuple(torch.randint(6, 400, (size,), generator=torch.Generator().manual_seed(seed)).tolist())
    trained = tuple(size // 2 <= i < size - 1 for i in range(size))
    return Rendered("", ids, trained, ("",) * size, size // 2)


# Longer than every tiny window (6 and 8), of unlike lengths, so that packs have padding.
ROWS = [conversation(seed, size) for seed, size in enumerate((17, 9, 24, 4, 13, 30))]


def naive_loss(model: Any, row: Rendered) -> float:
    """Nats, summed over the trained tokens, from the network's own logits on the conversation alone."""
    with torch.inference_mode():
        rows = model.network(input_ids=torch.tensor([row.ids])).logits[0].float().log_softmax(-1)
    return -sum(float(rows[i - 1, row.ids[i]]) for i, trained in enumerate(row.trained) if trained)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_packed_loss_is_the_sum_of_the_losses_apart(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    expected = sum(naive_loss(model, row) for row in ROWS)
    for width in (1, 40, 200):
        batch = collate(pack(ROWS, width), PAD)
        assert batch.trained_tokens == sum(sum(row.trained) for row in ROWS)
        with torch.inference_mode():
            assert float(summed_loss(model.network, model.family, batch)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_conversation_never_feels_its_neighbours(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)

    def hidden(rows: list[Rendered]) -> torch.Tensor:
        batch = collate(pack(rows, 200), PAD)
        mask = attention_mask(batch.seen, batch.positions, plain(model.network).config, model.network.dtype)
        with torch.inference_mode():
            states: torch.Tensor = backbone(model.network, model.family)(
                input_ids=batch.ids, attention_mask=mask, position_ids=batch.positions, use_cache=False
            ).last_hidden_state
        return states[0]

    changed = [*ROWS[:2], conversation(99, len(ROWS[2].ids)), *ROWS[3:]]
    before, after = hidden(ROWS), hidden(changed)
    start = sum(len(row.ids) for row in ROWS[:2])
    end = start + len(ROWS[2].ids)
    assert (before[start:end] - after[start:end]).abs().max() > 1e-2
    torch.testing.assert_close(before[:start], after[:start], rtol=0, atol=1e-5)
    torch.testing.assert_close(before[end:], after[end:], rtol=0, atol=1e-5)


def test_packs_hold_every_conversation_whole_and_once() -> None:
    packs = pack(ROWS, 40)
    assert sorted(conversations(packs)) == sorted(row.ids for row in ROWS)
    assert max(map(len, packs)) <= 40
    assert [len(p) for p in pack(ROWS, 1)] == [len(row.ids) for row in ROWS], "too long for its pack: alone, never cut"
    packs[0].ends[0] = packs[0].parents[packs[0].ends[0]]  # the first conversation, one token shorter
    assert sorted(conversations(packs)) != sorted(row.ids for row in ROWS)


def test_first_fit_fills_the_first_pack_with_room() -> None:
    packs = pack(ROWS, 40)  # 17 9 24 4 13 30
    assert [len(p) for p in packs] == [17 + 9 + 4, 24 + 13, 30]
    assert packs[0].positions == [*range(17), *range(9), *range(4)]
    assert packs[0].ends == [16, 25, 29]


def test_a_shared_beginning_is_held_once_and_each_conversation_keeps_its_targets() -> None:
    mask = (False, True, True)
    packs = pack([Rendered("", ids, mask, ("",) * 3, 1) for ids in ((7, 8, 9), (7, 8, 5), (6, 8, 9))], 8)
    assert [len(p) for p in packs] == [7]
    assert packs[0].ids == [7, 8, 9, 5, 6, 8, 9]
    assert packs[0].parents == [-1, 0, 1, 1, -1, 4, 5]
    assert packs[0].learnt == [(0, 8), (1, 9), (0, 8), (1, 5), (4, 8), (5, 9)], "8 after 7 is learnt twice"
    assert packs[0].tokens == 9
    batch = collate(packs, PAD)
    assert batch.targets.tolist() == [8, 9, 8, 5, 8, 9]
    assert batch.columns.tolist() == [0, 1, 0, 1, 4, 5]
    assert batch.seen[0].int().tolist()[3] == [1, 1, 0, 1, 0, 0, 0]


def test_padding_sees_itself_and_nothing_sees_padding() -> None:
    batch = collate(pack([conversation(1, 5), conversation(2, 3)], 1), PAD)
    assert batch.ids.shape == (2, 5)
    assert batch.seen[1].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_conversations_that_share_a_beginning_lose_what_they_lose_apart(
    tiny_model: Callable[[str], Any], name: str
) -> None:
    model = tiny_model(name)
    start = conversation(7, 15).ids
    tails = [conversation(seed, 8).ids for seed in (21, 22, 23)]
    mask = (False,) * 17 + (True,) * 6
    rows = [Rendered("", start + tail, mask, ("",) * 23, 17) for tail in tails]
    batch = collate(pack(rows, 100), PAD)
    assert batch.ids.shape[1] == 15 + 3 * 8
    with torch.inference_mode():
        found = float(summed_loss(model.network, model.family, batch))
    assert found == pytest.approx(sum(naive_loss(model, row) for row in rows), abs=1e-4)
