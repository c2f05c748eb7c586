"""One answer token by token: the same one as all at once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from limpide.models.generation import continuations
from limpide.models.requests import Sampling
from limpide.models.stream import Chosen, Drawing, fill, write
from limpide.models.vectors import text_vectors
from tiny import FAMILY_NAMES

WRITING = tuple(name for name in FAMILY_NAMES if name != "bert")
TEXT = "The operator stops the press"
Opened = Callable[[str], Any]


GREEDY = Drawing()


def written(model: Any, drawing: Drawing = GREEDY, *, most: int = 12, **options: Any) -> list[Chosen]:
    found: list[Chosen] = []
    prompt = model.tokenizer(TEXT)["input_ids"]
    write(model, prompt, drawing, lambda one: found.append(one) is None, most=most, **options)
    return found


@pytest.mark.parametrize("family", WRITING)
def test_greedy_tokens_are_those_of_generate(tiny_model: Opened, family: str) -> None:
    model = tiny_model(family)
    expected = continuations(model, [TEXT], Sampling(max_new_tokens=12))[0][0]
    assert tuple(one.id for one in written(model)) == expected.ids


@pytest.mark.parametrize("family", WRITING)
def test_log_probabilities_are_the_models(tiny_model: Opened, family: str) -> None:
    model = tiny_model(family)
    found = written(model, Drawing(temperature=1.5, top_p=0.9, seed=3), alternatives=3)
    ids = torch.tensor([[one.id for one in found]])
    prompt = torch.tensor([model.tokenizer(TEXT)["input_ids"]])
    with torch.inference_mode():
        if model.kind == "encoder-decoder":
            start = torch.tensor([[model.network.config.decoder_start_token_id]])
            logits = model.network(input_ids=prompt, decoder_input_ids=torch.cat([start, ids[:, :-1]], 1)).logits[0]
        else:
            logits = model.network(torch.cat([prompt, ids[:, :-1]], 1)).logits[0, prompt.shape[1] - 1 :]
    expected = logits.log_softmax(1)
    for row, one in zip(expected, found, strict=True):
        assert one.log_probability == pytest.approx(float(row[one.id]), abs=2e-4)
        assert [id for id, _ in one.alternatives] == row.topk(3).indices.tolist()
        assert [nats for _, nats in one.alternatives] == pytest.approx(row.topk(3).values.tolist(), abs=2e-4)


def test_a_seed_repeats_itself_and_leaves_the_callers_chance_alone(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    state = torch.get_rng_state()
    first, again, other = (
        [one.id for one in written(model, Drawing(temperature=1.0, seed=seed), most=30)] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)
    assert len({tuple(one.id for one in written(model, Drawing(temperature=1.0), most=30)) for _ in range(3)}) == 3


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}])
def test_the_narrowest_draw_is_the_likeliest(tiny_model: Opened, narrow: dict[str, Any]) -> None:
    model = tiny_model("llama")
    drawn = written(model, Drawing(**{"temperature": 1.0, "seed": 5, **narrow}))
    assert [one.id for one in drawn] == [one.id for one in written(model)]


def test_the_work_stops_within_a_token(tiny_model: Opened) -> None:
    model, found, passes = tiny_model("llama"), list[Chosen](), list[int]()
    hook = model.network.register_forward_hook(lambda *_: passes.append(1))
    try:
        write(model, [5, 6, 7], Drawing(), lambda one: found.append(one) is None and len(found) < 4, most=100)
    finally:
        hook.remove()
    assert len(found) == len(passes) == 4


def test_each_mask_gets_its_likeliest_token(tiny_model: Opened) -> None:
    model = tiny_model("bert")
    ids = model.tokenizer("The [MASK] stops the [MASK]")["input_ids"]
    with torch.inference_mode():
        logits = model.network(torch.tensor([ids])).logits[0].log_softmax(1)
    places = [k for k, token in enumerate(ids) if token == model.tokenizer.mask_token_id]
    found = fill(model, ids, alternatives=2)
    assert [one.id for one in found] == [int(logits[place].argmax()) for place in places]
    assert [one.alternatives[0][0] for one in found] == [one.id for one in found]
    assert found[0].log_probability == pytest.approx(float(logits[places[0]].max()), abs=1e-5)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_vectors_are_mean_hidden_states_whatever_stands_beside_them(tiny_model: Opened, family: str) -> None:
    model = tiny_model(family)
    texts = [model.tokenizer(text)["input_ids"] for text in ("a valve", TEXT, "the river and the pump " * 4)]
    found = text_vectors(model, texts)
    for ids, vector in zip(texts, found, strict=True):
        with torch.inference_mode():
            options = {"output_hidden_states": True}
            if model.kind == "encoder-decoder":
                hidden = model.network.get_encoder()(input_ids=torch.tensor([ids])).last_hidden_state[0]
            else:
                hidden = model.network(input_ids=torch.tensor([ids]), **options).hidden_states[-1][0]
        mean = hidden.mean(0)
        assert vector == pytest.approx((mean / mean.norm()).numpy(), abs=1e-4)


def test_vectors_stop_where_nobody_waits_for_them(tiny_model: Opened) -> None:
    asked = list[int]()
    found = text_vectors(tiny_model("gpt2"), [[5, 6]] * 40, lambda: asked.append(1) is None and len(asked) < 2)
    assert (found.any(axis=1).sum(), len(asked)) == (16, 2)
