"""Direct parts: they sum to the difference, each is what its definition says, and a planted head comes first."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limpide.core.progress import Quiet
from limpide.models.families.registry import head, plain
from limpide.models.row import Row
from limpide.models.trace import record
from limpide.understand.parts import Parts, explain
from limpide.understand.question import Decision, Question, ask
from limpide.understand.settings import PartsSettings
from tiny import FAMILY_NAMES, tiny_network

PROMPT = "The valve closes and the light turns"
MASKED = "The doctor said that he was [MASK] because"


def with_network(model: Any, network: Any) -> Any:
    return replace(model, network=network.requires_grad_(False))


@cache
def noisy_network(name: str) -> Any:
    """Biases and gains as a trained network has them, not the zeros and ones of a new one."""
    network, noise = tiny_network(name), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=noise))
    return network


@pytest.fixture
def noisy(tiny_model: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda name: with_network(tiny_model(name), noisy_network(name))


def question(model: Any) -> Question:
    if model.kind == "encoder":
        return ask(model, MASKED, answer="e", against="a")
    return ask(model, PROMPT, answer=" red", against=" la")


def parts_of(model: Any, asked: Question | None = None, **settings: Any) -> Parts:
    return explain(model, asked or question(model), PartsSettings(**settings), Quiet())


def value_of(parts: Parts, name: str) -> float:
    (value,) = [part.value for part in parts.parts if part.name == name]
    return value


@pytest.mark.parametrize("name", FAMILY_NAMES)
@given(
    ids=st.lists(st.integers(10, 399), min_size=2, max_size=14),
    written=st.lists(st.integers(10, 399), min_size=1, max_size=4),
    pair=st.tuples(st.integers(0, 199), st.integers(200, 399)),
    noise=st.booleans(),
)
@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
def test_parts_sum_to_the_logit_difference(
    tiny_model: Callable[[str], Any],
    name: str,
    ids: list[int],
    written: list[int],
    pair: tuple[int, int],
    noise: bool,
) -> None:
    model = with_network(tiny_model(name), noisy_network(name)) if noise else tiny_model(name)
    decoding = model.kind == "encoder-decoder"
    place = len(written if decoding else ids) - 1
    row = Row(tuple(ids), (place,), (pair[0],), tuple(written) if decoding else ())
    asked = replace(question(model), decision=Decision(row, *pair, from_model=False))
    parts = parts_of(model, asked)
    extra = {"decoder_input_ids": torch.tensor([written])} if decoding else {}
    with torch.inference_mode():
        logits = model.network(input_ids=torch.tensor([ids]), **extra).logits[0, place]
    seen = float(logits[pair[0]] - logits[pair[1]])
    assert (parts.difference if parts.after_cap is None else parts.after_cap) == pytest.approx(seen, abs=1e-4)
    assert parts.sum == pytest.approx(parts.difference, abs=1e-4)
    assert parts.residual == pytest.approx(parts.difference - parts.sum, abs=1e-12)


def test_the_difference_is_before_the_cap(tiny_model: Callable[[str], Any]) -> None:
    capped = with_network(tiny_model("gemma2"), tiny_network("gemma2", final_logit_softcapping=1.5))
    free = with_network(tiny_model("gemma2"), tiny_network("gemma2", final_logit_softcapping=None))
    asked = question(free)
    assert parts_of(capped, asked).difference == pytest.approx(parts_of(free, asked).difference, abs=1e-5)
    assert parts_of(free, asked).after_cap is None
    after = parts_of(capped, asked).after_cap
    assert after is not None
    assert abs(after) < abs(parts_of(capped, asked).difference) - 0.01


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_each_part_is_its_output_read_by_the_head(noisy: Callable[[str], Any], name: str) -> None:
    """The definition, part by part and forwards: the part's vector, over the norm's actual scale, times two rows."""
    model = noisy(name)
    asked = question(model)
    row, parts, network = asked.decision.row, parts_of(model, asked), plain(model.network)
    place, run = row.read[0], record(model, row)["text"]
    rows = network.lm_head.weight[asked.decision.token] - network.lm_head.weight[asked.decision.rival]
    final = run.residual[-1, place]

    def read(vector: torch.Tensor) -> float:
        if name == "llama":
            norm = network.model.norm
            return float((vector / (final.square().mean() + norm.variance_epsilon).sqrt() * norm.weight) @ rows)
        norm = network.transformer.ln_f
        centred = vector - vector.mean()
        return float((centred / (final.var(correction=0) + norm.eps).sqrt() * norm.weight) @ rows)

    assert value_of(parts, "embedding") == pytest.approx(read(run.residual[0, place]), abs=1e-4)
    for layer in range(2):
        assert value_of(parts, f"layer {layer} MLP") == pytest.approx(read(run.mlp[layer, place]), abs=1e-4)
        mixing = network.get_submodule(f"{model.family.blocks}.{layer}.{model.family.head_mix}")
        weight = mixing.weight if model.family.transposed else mixing.weight.T  # [heads · head width, width]
        for k in range(4):
            own = run.mixed[layer][place, 8 * k : 8 * k + 8] @ weight[8 * k : 8 * k + 8]
            assert value_of(parts, f"layer {layer} head {k}") == pytest.approx(read(own), abs=1e-4)
        if name == "gpt2":
            assert value_of(parts, f"layer {layer} attention bias") == pytest.approx(read(mixing.bias), abs=1e-4)
    if name == "gpt2":
        shift = float(network.transformer.ln_f.bias @ rows)
        assert value_of(parts, "final norm bias") == pytest.approx(shift, abs=1e-4)


def test_without_its_module_the_sum_of_the_last_layer_loses_just_that_part(noisy: Callable[[str], Any]) -> None:
    model = noisy("llama")
    asked = question(model)
    row, parts, place = asked.decision.row, parts_of(model, asked), asked.decision.row.read[0]
    rows = model.network.lm_head.weight[asked.decision.token] - model.network.lm_head.weight[asked.decision.rival]
    before = record(model, row)["text"]
    scale = before.residual[-1, place].square().mean().sqrt()

    cut = with_network(model, tiny_network("llama"))
    for weight, column in (("mlp.down_proj", slice(None)), ("self_attn.o_proj", slice(16, 24))):
        cut.network.load_state_dict(model.network.state_dict())
        cut.network.get_submodule(f"model.layers.1.{weight}").weight[:, column] = 0
        after = record(cut, row)["text"]
        site = "mlp" if weight.startswith("mlp") else "attention"
        lost = (before.at(site, 1, [place]) - after.at(site, 1, [place]))[0]
        expected = float((lost / scale * model.network.model.norm.weight) @ rows)
        part = "layer 1 MLP" if site == "mlp" else "layer 1 head 2"
        assert value_of(parts, part) == pytest.approx(expected, abs=1e-4)
        assert abs(expected) > 1e-3


def test_a_planted_head_comes_first(tiny_model: Callable[[str], Any]) -> None:
    """One head is made to write 'this token rather than that one' into the stream; before that it is not the first."""
    model = with_network(tiny_model("llama"), tiny_network("llama"))
    asked = question(model)
    assert parts_of(model, asked).record()["parts"][0]["name"] != "layer 1 head 2"
    row = asked.decision.row
    said = record(model, row)["text"].mixed[1][row.read[0], 16:24]  # what the head gives before it is mixed
    rows = model.network.lm_head.weight
    wanted = rows[asked.decision.token] - rows[asked.decision.rival]
    mixing = model.network.model.layers[1].self_attn.o_proj.weight
    mixing[:, 16:24] = 10 * torch.outer(wanted, said / said.square().sum())
    first = parts_of(model, asked).record()["parts"][0]
    assert (first["name"], first["kind"], first["layer"], first["index"]) == ("layer 1 head 2", "head", 1, 2)
    assert first["value"] > 1


def test_an_encoders_parts_go_through_its_norms_and_along_its_head(noisy: Callable[[str], Any]) -> None:
    """BERT's last MLP, forwards: over the actual scale of the norm, then by the mean gradient of the head's path."""
    model = noisy("bert")
    asked = question(model)
    parts, decision, network = parts_of(model, asked), asked.decision, plain(model.network)
    place, run = decision.row.read[0], record(model, decision.row)["text"]
    end, points = run.hidden[0].clone(), 4000
    path = (((torch.arange(points) + 0.5) / points)[:, None] * end).requires_grad_()
    logits = network.cls(path)
    gradient = torch.autograd.grad((logits[:, decision.token] - logits[:, decision.rival]).sum(), path)[0].mean(0)
    norm, output = network.bert.encoder.layer[1].output.LayerNorm, run.mlp[1, place]
    with torch.inference_mode():
        attended = network.bert.encoder.layer[1].attention.output.LayerNorm(
            run.residual[1, place] + run.attention[1, place]
        )
    joined = attended + output
    through = (output - output.mean()) / (joined.var(correction=0) + norm.eps).sqrt() * norm.weight
    assert value_of(parts, "layer 1 MLP") == pytest.approx(float(through @ gradient), abs=1e-3)
    at_zero = network.cls(torch.zeros(1, 32))[0]
    zero = float(at_zero[decision.token] - at_zero[decision.rival])
    assert value_of(parts, "output bias") == pytest.approx(zero, abs=1e-6)


def test_gemma_parts_go_through_the_norm_of_their_own(noisy: Callable[[str], Any]) -> None:
    model = noisy("gemma3")
    asked = question(model)
    network, place = plain(model.network), asked.decision.row.read[0]
    run, parts = record(model, asked.decision.row)["text"], parts_of(model, asked)
    rows = network.lm_head.weight[asked.decision.token] - network.lm_head.weight[asked.decision.rival]
    with torch.inference_mode():
        joined = network.model.layers[1].post_feedforward_layernorm(run.mlp[1, place])
    scale = (run.residual[-1, place].square().mean() + 1e-6).sqrt()
    expected = float((joined / scale * (1 + network.model.norm.weight)) @ rows)
    assert value_of(parts, "layer 1 MLP") == pytest.approx(expected, abs=1e-4)


def test_a_decoder_that_reads_has_cross_heads(noisy: Callable[[str], Any]) -> None:
    record_ = parts_of(noisy("t5")).record()
    assert [len(row) for row in record_["cross"]] == [4, 4]
    assert {"layer 0 cross head 0", "layer 1 head 3"} <= {part["name"] for part in record_["parts"]}
    assert parts_of(noisy("llama")).record()["cross"] is None


@pytest.mark.parametrize("name", ["deepseek_v3", "gpt_oss"])
def test_a_mixture_tells_which_experts_it_chose(noisy: Callable[[str], Any], name: str) -> None:
    parts = parts_of(noisy(name))
    record_ = parts.record()
    routed = {route["layer"]: route for route in record_["routing"]}
    assert set(routed) == ({0, 1} if name == "gpt_oss" else {1})
    for layer, route in routed.items():
        values = record_["experts"][layer]
        assert len(values) == 4
        assert {k for k, value in enumerate(values) if value} == set(route["experts"])
        shared = sum(p.value for p in parts.parts if p.kind == "shared" and p.layer == layer)
        assert record_["mlps"][layer] == pytest.approx(sum(values) + shared, rel=1e-4)
    if name == "deepseek_v3":
        assert record_["experts"][0] == []  # an ordinary MLP
    listed = [part for part in record_["parts"] if part["kind"] == "expert"]
    assert len(listed) == sum(len(route["experts"]) for route in routed.values())


def test_the_record_is_short_and_sums_to_the_same(noisy: Callable[[str], Any]) -> None:
    model = noisy("gpt2")
    whole, short = parts_of(model).record(), parts_of(model, top=3).record()
    assert json.loads(json.dumps(short)) == short
    assert [part["name"] for part in short["parts"][:3]] == [part["name"] for part in whole["parts"][:3]]
    assert short["parts"][3]["name"] == "all others"
    assert short["parts"][3]["parts"] == len(whole["parts"]) - 3
    for listed in (whole, short):
        assert sum(part["value"] for part in listed["parts"]) == pytest.approx(listed["sum"], abs=1e-4)
    sizes = [abs(part["value"]) for part in whole["parts"]]
    assert sizes == sorted(sizes, reverse=True)
    assert short["heads"] == whole["heads"]


def test_an_adapter_on_the_mixing_layer_is_part_of_its_heads(tiny_model: Callable[[str], Any]) -> None:
    from peft import LoraConfig, get_peft_model

    network = tiny_network("llama")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        wrapped = get_peft_model(network, LoraConfig(r=2, target_modules=["o_proj"], init_lora_weights=False)).eval()
    model = with_network(tiny_model("llama"), wrapped)
    parts, bare = parts_of(model), parts_of(tiny_model("llama"), question(model))
    assert parts.residual == pytest.approx(0, abs=1e-4)
    assert value_of(parts, "layer 1 head 0") != pytest.approx(value_of(bare, "layer 1 head 0"), abs=1e-3)


def test_nothing_is_random_and_nothing_is_left_behind(noisy: Callable[[str], Any]) -> None:
    model = noisy("t5")
    first = parts_of(model).record()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.network.modules())
    assert explain(model, question(model), PartsSettings(), Quiet(), seed=5).record() == first
    assert head(model.network, model.family).weight.grad is None
