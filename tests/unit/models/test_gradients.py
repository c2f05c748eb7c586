"""Gradients against torch's own, in every family; what they are computed with leaves nothing behind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from limpide.models import gradients
from limpide.models.gradients import gradient, nats, recomputed, wide_gradients
from limpide.models.row import Row, embed, final_hidden, row_of, target_log_likelihoods
from tiny import FAMILY_NAMES

here = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def row(model: Any) -> Row:
    prompt, answer = list(range(300, 309)), (310, 311, 312)
    if model.kind == "encoder":
        for place in (2, 5, 6):
            prompt[place] = model.tokenizer.mask_token_id
    return row_of(model, prompt, answer)


def batch(model: Any, asked: Row) -> torch.Tensor:
    """The row's embeddings, and two rows that are near."""
    generator = torch.Generator().manual_seed(0)
    own = embed(model, asked.ids)
    return torch.stack([own, *(own + 0.1 * torch.randn(own.shape, generator=generator) for _ in range(2))])


def plainly(model: Any, asked: Row, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Row by row, all as torch does it. Returns (float[batch, read], float[read, batch, tokens, width])."""
    values, slopes = [], []
    for one in embeddings:
        inputs = one[None].clone().requires_grad_()
        found = target_log_likelihoods(model, asked, final_hidden(model, asked, inputs))[0]
        slopes.append(torch.stack([torch.autograd.grad(v, inputs, retain_graph=True)[0][0] for v in found]))
        values.append(found.detach())
    return torch.stack(values), torch.stack(slopes, 1)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("places", [512, 20, 4], ids=["one batch", "a batch a row", "blocks computed again"])
def test_gradients_are_torch_s_own(
    tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str, places: int
) -> None:
    model = tiny_model(name)
    monkeypatch.setattr(gradients, "TOKENS", places)
    asked = row(model)
    embeddings = batch(model, asked)
    values, slopes = plainly(model, asked, embeddings)
    found, whole = gradient(model, asked, embeddings)
    again, each = gradient(model, asked, embeddings, each_token=True)
    scale = float(slopes.abs().max())
    torch.testing.assert_close(found, values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again, found)
    torch.testing.assert_close(each / scale, slopes / scale, atol=1e-4, rtol=0)
    torch.testing.assert_close(whole / scale, slopes.sum(0) / scale, atol=3e-4, rtol=0)
    torch.testing.assert_close(nats(model, asked, embeddings), found, atol=1e-4, rtol=1e-4)


def test_held_against_another_answer_it_is_the_difference(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    asked = row(model)
    other = Row(asked.ids, asked.read, (320, 321, 322))
    embeddings = batch(model, asked)
    _, one = gradient(model, asked, embeddings)
    _, two = gradient(model, other, embeddings)
    values, slopes = gradient(model, asked, embeddings, against=other)
    torch.testing.assert_close(slopes, one - two, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(values, nats(model, asked, embeddings) - nats(model, other, embeddings))


def test_gradients_where_none_are_usual(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    asked = row(model)
    _, wanted = gradient(model, asked, batch(model, asked))
    with torch.inference_mode():
        _, found = gradient(model, asked, batch(model, asked))
    torch.testing.assert_close(found, wanted)


@pytest.mark.skipif(not here, reason="this processor or this torch has no AVX-512 product by oneDNN")
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_both_ways_are_by_onednn(tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model, calls = tiny_model(name), list[tuple[int, ...]]()
    monkeypatch.setattr(gradients, "prefers_onednn", lambda: True)

    def counted(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(weight.shape))
        return torch.nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(gradients, "product", counted)
    asked = row(model)
    _, found = gradient(model, asked, batch(model, asked))
    _, slopes = plainly(model, asked, batch(model, asked))
    torch.testing.assert_close(found, slopes.sum(0), atol=1e-3, rtol=1e-3)
    assert sorted(calls) == sorted((b, a) for a, b in calls)  # each layer once, then once transposed
    assert len(calls) > 10


def test_layers_get_their_own_forward_back(tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    monkeypatch.setattr(gradients, "prefers_onednn", lambda: True)

    def forwards() -> dict[str, Any]:
        return {name: vars(module).get("forward") for name, module in model.network.named_modules()}

    def killed() -> None:
        with wide_gradients(model.network) as name, recomputed(model):
            assert name == "oneDNN"
            assert forwards() != before
            raise KeyboardInterrupt

    before = forwards()
    with pytest.raises(KeyboardInterrupt):
        killed()
    assert forwards() == before


def test_layers_in_training_and_other_precisions_stay_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "prefers_onednn", lambda: True)
    for layer in (torch.nn.Linear(3, 3), torch.nn.Linear(3, 3).bfloat16().requires_grad_(False)):
        with wide_gradients(layer) as name:
            assert name == "torch"
    monkeypatch.setattr(gradients, "prefers_onednn", lambda: False)
    with wide_gradients(torch.nn.Linear(3, 3).requires_grad_(False)) as name:
        assert name == "torch"
