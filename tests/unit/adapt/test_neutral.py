"""What holds the rest of a model to its base: the texts, and how far it has moved on them."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from limpide.adapt.correct.low_rank import with_adapter
from limpide.adapt.correct.neutral import STARTS, TOKENS, Hold, neutral_texts
from limpide.adapt.preference import Pair, Plan, train
from limpide.core.progress import Quiet
from limpide.models.encoding import encode_requests
from limpide.models.families.registry import logits_from_hidden
from limpide.models.likelihood import read
from limpide.models.model import Model, open_model
from limpide.models.requests import Request

FAMILIES = ("llama", "gpt2", "mistral", "gemma3", "gpt_oss", "deepseek_v3", "bert", "t5")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_kind_of_model_has_neutral_texts(name: str, tiny_model: Callable[[str], Model]) -> None:
    model = tiny_model(name)
    texts = neutral_texts(model, 12, 0, Quiet())
    assert len(texts) == 12
    assert texts == neutral_texts(model, 12, 0, Quiet())
    assert texts != neutral_texts(model, 12, 1, Quiet())
    hold = Hold.of(model, texts)
    assert hold.loss(model, random.Random(0)).item() == pytest.approx(0, abs=1e-5)


def test_a_decoder_writes_them_itself(tiny_model: Callable[[str], Model]) -> None:
    """Each token is drawn from the model's own distribution: its likelihood is what the entropy says, on average."""
    model = tiny_model("llama")
    texts = neutral_texts(model, 120, 0, Quiet())
    assert len({text.context for text in texts}) == len(STARTS)
    assert {len(text.continuation) for text in texts} <= set(range(1, TOKENS + 1))
    with torch.no_grad():
        places = read(model, texts)
        logs = logits_from_hidden(model.network, model.family, places.hidden).log_softmax(-1)
    entropy = -(logs.exp() * logs).sum(-1)
    surprise = -logs.gather(1, places.targets[:, None])[:, 0]
    error = (surprise - entropy).std() / len(surprise) ** 0.5
    assert abs(float((surprise - entropy).mean())) < 4 * error


def test_the_loss_is_the_divergence_from_the_base(tiny_path: Callable[[str], Path]) -> None:
    model, moved = open_model(tiny_path("llama")), open_model(tiny_path("llama"))
    texts = neutral_texts(model, 10, 0, Quiet())[:3]
    hold = Hold.of(model, texts, texts=3, places=10_000)
    with torch.no_grad():
        moved.network.model.layers[1].mlp.down_proj.weight.mul_(1.5)
        logs = [logits_from_hidden(m.network, m.family, read(m, texts).hidden).log_softmax(-1) for m in (model, moved)]
    expected = (logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean()
    assert hold.loss(moved, random.Random(0)).item() == pytest.approx(float(expected), rel=1e-4)
    assert float(expected) > 0.01


def test_holding_keeps_the_rest_nearer_to_the_base(tiny_path: Callable[[str], Path]) -> None:
    moved = {}
    for weight in (0.0, 5.0):
        model = open_model(tiny_path("llama"))
        hold = Hold.of(model, neutral_texts(model, 20, 0, Quiet()))
        model = with_adapter(model, 4, 0)
        items = encode_requests(model, [Request("", "The pump stops", end) for end in (" red", " late")])
        plan = Plan(steps=25, batch=1, micro=1, beta=0.5, hold=weight, learning_rate=0.01)
        trained = train(model, [Pair(items[0], items[1])], plan, Quiet(), hold.loss)
        assert trained.margins[-1] > 0.5
        with torch.no_grad():
            moved[weight] = sum(float(hold.loss(model, random.Random(n))) for n in range(5)) / 5
    assert moved[5.0] < 0.5 * moved[0.0]
