"""The likelihood engine: packing texts together must never change a number, and nothing is scored in silence."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limpide.core.errors import LimpideError, ModelError
from limpide.core.progress import Quiet
from limpide.models import scorers
from limpide.models.encoding import encode_requests
from limpide.models.requests import Request
from limpide.models.scoring import Options, log_probabilities, score, score_with
from limpide.models.tree import ancestors, tree_packs, tree_size
from tiny import BOS_FAMILIES, CHAT_FAMILIES, CONTEXT, VOCABULARY

Opened = Callable[[str], Any]
EVERY_KIND = ("llama", "bert", "t5")


def encode_request(model: Any, request: Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
    (item,) = encode_requests(model, [request])
    return item.context, item.continuation


# --- what comes back


@pytest.mark.parametrize("name", EVERY_KIND)
def test_scores_come_in_the_order_of_the_requests(tiny_model: Opened, name: str) -> None:
    model = tiny_model(name)
    texts = [" hot", " so long an answer that it is sorted last", " cold", " hot"]
    requests = [Request(f"r{i}", "The press is", text) for i, text in enumerate(texts)]
    together = score(model, requests)
    assert [s.id for s in together] == ["r0", "r1", "r2", "r3"]
    for request, found in zip(requests, together, strict=True):
        (alone,) = score(model, [request])
        assert found.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-4)
        assert found.tokens == alone.tokens == len(encode_request(model, request)[1])
        assert found.log_likelihood == pytest.approx(sum(found.token_log_likelihoods))
    assert together[0].token_log_likelihoods == together[3].token_log_likelihoods, "duplicates must agree"


def test_no_request_gives_no_score(tiny_model: Opened) -> None:
    assert score(tiny_model("llama"), []) == []


def test_greedy_tells_whether_each_token_was_the_most_likely(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    context: tuple[int, ...] = (9, 40, 77)
    best: tuple[int, ...] = ()
    for _ in range(3):
        best += (int(log_probabilities(model, context + best, 1)[0].argmax()),)
    wrong = (*best[:2], (best[2] + 1) % VOCABULARY)
    found = score(model, [Request("best", context, best), Request("wrong", context, wrong)])
    assert [s.greedy for s in found] == [True, False]


def test_log_probabilities_are_what_is_scored(tiny_model: Opened) -> None:
    model = tiny_model("gemma2")
    ids = [1, 40, 77, 300, 12]
    rows = log_probabilities(model, ids, 3)
    assert rows.shape == (3, VOCABULARY)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.exp().sum(1), torch.ones(3))
    (found,) = score(model, [Request("x", tuple(ids[:3]), tuple(ids[3:]))])
    assert found.token_log_likelihoods == pytest.approx([float(rows[0, 300]), float(rows[1, 12])], abs=1e-5)


def test_progress_is_told_of_every_request(tiny_model: Opened) -> None:
    class Counting(Quiet):
        done = 0.0

        def advance(self, by: float = 1, **facts: Any) -> None:
            self.done += by

    progress = Counting()
    requests = [Request(str(i), "The press is", f" {i}") for i in range(9)]
    score_with(tiny_model("llama"), requests, Options(budget=8), progress)
    assert progress.done == 9


# --- where the context ends


def test_a_token_across_the_boundary_belongs_to_the_continuation(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    merged = next(t for t in sorted(model.tokenizer.get_vocab()) if t.isascii() and t.isalpha() and len(t) == 3)
    whole = tuple(model.tokenizer("x " + merged, add_special_tokens=False)["input_ids"])
    for context, continuation in (("x " + merged[:1], merged[1:]), ("x " + merged[:2], merged[2:])):
        assert encode_request(model, Request("x", context, continuation)) == (whole[:-1], whole[-1:])


@pytest.mark.parametrize("name", CHAT_FAMILIES)
def test_the_bos_is_there_once_where_the_tokenizer_adds_it(tiny_model: Opened, name: str) -> None:
    model = tiny_model(name)
    bos, end = model.tokenizer.bos_token_id, model.tokenizer.eos_token_id
    adds = name in BOS_FAMILIES
    context, _ = encode_request(model, Request("x", "The press", " is hot"))
    assert (context[0] == bos) == adds
    assert context.count(bos) == adds
    written, _ = encode_request(model, Request("x", "<s>The press", " is hot"))
    assert written.count(bos) == 1, "a context that spells its BOS must not get a second one"
    alone, text = encode_request(model, Request("x", "", "The press is hot"))
    assert alone == (bos,)
    assert model.tokenizer.decode(text) == "The press is hot"
    assert end not in context


def test_without_a_bos_the_end_token_starts_a_text(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.bos_token = None
    context, _ = encode_request(replace(model, tokenizer=tokenizer), Request("x", "", "The press"))
    assert context == (tokenizer.eos_token_id,)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match=r"(?s)'x' has an empty context.*start the context with the BOS"):
        score(replace(model, tokenizer=tokenizer), [Request("x", "", "The press")])


def test_ids_are_taken_as_they_are(tiny_model: Opened) -> None:
    model = tiny_model("mistral")
    assert encode_request(model, Request("x", (40, 41), (42,))) == ((40, 41), (42,))


# --- what is refused


@pytest.mark.parametrize("name", EVERY_KIND)
@pytest.mark.parametrize("empty", [Request("n° 4", "The press", ""), Request("n° 4", (5, 6), ())])
def test_an_empty_continuation_is_refused(tiny_model: Opened, name: str, empty: Request) -> None:
    with pytest.raises(ModelError, match=r"'n° 4' has an empty continuation.*nothing to score"):
        score(tiny_model(name), [Request("ok", (5,), (6,)), empty])


def test_ids_with_nothing_before_them_are_refused(tiny_model: Opened) -> None:
    """The first token of a text has no prediction: any number given for it would be made up."""
    with pytest.raises(ModelError, match=r"'x' has an empty context"):
        score(tiny_model("llama"), [Request("x", (), (5, 6))])


def test_text_and_ids_are_not_mixed(tiny_model: Opened) -> None:
    with pytest.raises(LimpideError, match=r"'x' mixes text and token ids"):
        score(tiny_model("llama"), [Request("x", "The press", (5, 6))])


@pytest.mark.parametrize(("name", "around"), [("llama", 0), ("gpt2", 0), ("bert", 2)])
def test_a_request_longer_than_the_context_is_refused_with_both_numbers(
    tiny_model: Opened, name: str, around: int
) -> None:
    model = tiny_model(name)
    fits = CONTEXT - around
    (found,) = score(model, [Request("fits", (7,) * (fits - 3), (8,) * 3)])
    assert found.tokens == 3
    with pytest.raises(ModelError) as error:
        score(model, [Request("long one", (7,) * (fits - 2), (8,) * 3)])
    assert "'long one'" in str(error.value)
    assert f"received: {CONTEXT + 1} tokens" in str(error.value)
    assert f"expected: at most {CONTEXT}" in str(error.value)


def test_nan_weights_are_an_error_and_never_a_number(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        network.model.norm.weight[3] = float("nan")
    with pytest.raises(LimpideError, match=r"(?s)NaN logits for request 'x'.*float32.*limpide open"):
        score(replace(model, network=network), [Request("x", "The press", " is hot")])


# --- prefix trees

TOKENS = st.lists(st.integers(6, 9), min_size=2, max_size=9).map(tuple)
TEXTS = st.lists(TOKENS.flatmap(lambda t: st.tuples(st.just(t), st.integers(1, len(t) - 1))), min_size=1, max_size=10)


def spelled(tokens: list[int], parents: list[int], place: int) -> tuple[int, ...]:
    """The tokens from the root to a place."""
    before = () if parents[place] < 0 else spelled(tokens, parents, parents[place])
    return (*before, tokens[place])


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS, budget=st.integers(1, 40))
def test_packs_hold_each_text_and_place_once(texts: list[tuple[tuple[int, ...], int]], budget: int) -> None:
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    computed: list[tuple[int, ...]] = []
    row: list[int] = []
    for pack in tree_packs(texts, budget):
        assert len(pack.tokens) <= budget
        row = [row[place] for place in pack.kept] + pack.tokens
        parents = [*range(-1, len(pack.kept) - 1), *pack.parents]
        paths = [spelled(row, parents, place) for place in range(len(pack))]
        computed += paths[len(pack.kept) :]
        assert pack.row_depths == [len(path) - 1 for path in paths]
        assert torch.equal(pack.seen(), ancestors(parents, len(pack))[len(pack.kept) :])
        for node, path in enumerate(paths[len(pack.kept) :]):
            line = [int(n) for n in pack.seen()[node].nonzero()]
            assert [row[n] for n in line] == list(path)
        for index, place, token in pack.scored:
            assert (index, len(paths[place])) not in found
            found[index, len(paths[place])] = (*paths[place], token)
    assert found == {(i, at): ids[: at + 1] for i, (ids, first) in enumerate(texts) for at in range(first, len(ids))}
    assert len(set(computed)) == len(computed), "a beginning was computed twice"
    assert set(computed) == {ids[:at] for ids, _ in texts for at in range(1, len(ids))}
    assert tree_size([ids for ids, _ in texts]) == len(computed)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "gpt_oss", "deepseek_v3", "gpt2"])
@settings(max_examples=25, deadline=None)
@given(texts=TEXTS, budget=st.integers(1, 60))
def test_packing_changes_no_score(
    tiny_model: Opened, name: str, texts: list[tuple[tuple[int, ...], int]], budget: int
) -> None:
    model = tiny_model(name)
    requests = [Request(str(i), ids[:first], ids[first:]) for i, (ids, first) in enumerate(texts)]
    alone = [score(model, [request])[0] for request in requests]
    together = score_with(model, requests, Options(budget=budget)).scores
    assert [s.id for s in together] == [s.id for s in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.token_log_likelihoods == pytest.approx(other.token_log_likelihoods, abs=1e-5)


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_padding_changes_no_score(tiny_model: Opened, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(name)
    requests = [Request(str(n), tuple(range(9, 9 + n)), tuple(range(50, 51 + n % 5))) for n in range(1, 12)]
    together = score(model, requests)
    monkeypatch.setattr(scorers, "TOKEN_BUDGET", 1)
    for one, other in zip(together, score(model, requests), strict=True):
        assert one.token_log_likelihoods == pytest.approx(other.token_log_likelihoods, abs=1e-5)


def test_the_vocabulary_is_projected_in_pieces(tiny_model: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    model, request = tiny_model("llama"), Request("x", (7, 8), tuple(range(20, 31)))
    whole = score(model, [request])
    monkeypatch.setattr(scorers, "HEAD_BYTES", 1)
    assert score(model, [request])[0].token_log_likelihoods == pytest.approx(whole[0].token_log_likelihoods, abs=1e-6)
