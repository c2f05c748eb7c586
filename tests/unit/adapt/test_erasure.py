import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from limpide.adapt.correct import erasing
from limpide.adapt.correct.erasing import Row, affine, carried, erase, neutral_rows, rows_of, spots_of
from limpide.adapt.correct.erasure import APART, ErasureSettings, operation, run
from limpide.adapt.correct.leace import told
from limpide.core.errors import DataError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.templates import Case, read_cases
from limpide.models.encoding import encode_requests
from limpide.models.families.registry import logits_from_hidden
from limpide.models.likelihood import read
from limpide.models.llamacpp import LlamaEngine
from limpide.models.model import Model, open_model
from limpide.models.requests import Request
from limpide.models.stacks import stacks
from limpide.models.update import Affine, Update, applied, fold, load_update
from limpide.models.writes import block_name, joined
from limpide.optimise.gguf_writer import write_gguf
from planted_bias_models import english, mean_gap, neutral, planted
from tiny import FAMILY_NAMES, tiny_folder

OUTPUTS = ("attention", "mlp")


@cache
def few(axis: str = "gender", count: int = 6) -> list[Case]:
    """Some cases, each of another template and pair."""
    cases = read_cases((axis,), ("en", "fr"), "fit")  # type: ignore[arg-type]
    return [cases[n * len(cases) // count + n % 5] for n in range(count)]


def log_likelihoods(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    with torch.no_grad():
        return read(model, [row.item for row in rows]).log_likelihoods(model)


def logits(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    with torch.no_grad():
        return logits_from_hidden(model.network, model.family, read(model, [row.item for row in rows]).hidden)


@contextmanager
def all_applied(model: Any, updates: Sequence[Update]) -> Iterator[Any]:
    with ExitStack() as inside:
        for update in updates:
            inside.enter_context(applied(model, update))
        yield model


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_no_linear_predictor_finds_the_group_where_it_was_erased(tiny_model: Callable[[str], Any], name: str) -> None:
    """With all erasers in place: each was fitted on what those below it left."""
    model = tiny_model(name)
    rows = rows_of(model, few(count=12))
    spots = spots_of(model, OUTPUTS)
    before = {n: t.clone() for n, t in model.network.state_dict().items()}
    erased = erase(model, rows, spots, 0.0, Quiet())
    assert all(torch.equal(t, before[n]) for n, t in model.network.state_dict().items()), "weights as they were"
    assert [one.spot for one in erased] == spots
    assert max(one.told for one in erased) > 5e-3
    with applied(model, joined(*(one.update for one in erased))):
        for spot in spots:
            assert told(erasing._moments(model, rows, spot)) < 1e-5, spot


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_in_the_weights_or_beside_them_it_is_the_same(tmp_path: Path, name: str) -> None:
    """Folded, as modules after the attention and the MLP, and folded, saved and opened again."""
    model = open_model(tiny_folder(name, tmp_path))
    rows = rows_of(model, few())
    erased = erase(model, rows, spots_of(model, OUTPUTS), 0.0, Quiet())
    beside = {}
    for one in erased:
        change = affine(one.eraser)
        path = {"attention": one.spot.stack.attention, "mlp": one.spot.stack.mlp}[one.spot.site]
        offset = change.offset if one.whole else torch.zeros_like(change.offset)
        place = f"{block_name(model, one.spot.stack, one.spot.layer)}.{path}"
        beside[place] = Affine(change.left, change.right, offset)
    said = logits(model, rows)
    with applied(model, Update(maps=beside)):
        wanted = logits(model, rows)
    near = 1e-4 * float(wanted.abs().max())
    assert not torch.allclose(said, wanted, atol=1e-2)
    assert not fold(model, joined(*(one.update for one in erased)))
    assert torch.allclose(logits(model, rows), wanted, atol=near)
    model.network.save_pretrained(tmp_path / "new")
    model.tokenizer.save_pretrained(tmp_path / "new")
    assert torch.allclose(logits(open_model(tmp_path / "new"), rows), wanted, atol=near)


def test_neutral_texts_count_in_the_change_and_the_group_is_erased_all_the_same(
    tiny_model: Callable[[str], Any],
) -> None:
    """Twins and neutral texts together are changed less than by what was fitted on twins alone."""
    model = tiny_model("llama")
    rows = rows_of(model, few(count=12))
    items = encode_requests(model, [Request(str(n), "", text) for n, text in enumerate(neutral()[:6])])
    all_rows = [*rows, *neutral_rows(items, 1)]
    (spot,) = spots_of(model, ("mlp",), (1,))
    with torch.no_grad():
        values = erasing._until(model, all_rows, spot)
    x = values[erasing._attribute(model, all_rows, spot.stack)[0]]
    moved = []
    for fitted_on in (rows, all_rows):
        (one,) = erase(model, fitted_on, [spot], 0.0, Quiet())
        with applied(model, one.update):
            assert told(erasing._moments(model, rows, spot)) < 1e-5
        moved.append(float((one.eraser(x) - x).square().mean()))
    assert moved[1] < 0.99 * moved[0], moved


def test_llama_cpp_serves_what_was_folded_opened_biases_included(tmp_path: Path) -> None:
    model = open_model(tiny_folder("llama", tmp_path))
    rows = rows_of(model, few())
    fold(model, joined(*(one.update for one in erase(model, rows, spots_of(model, OUTPUTS), 0.0, Quiet()))))
    shift = model.network.get_parameter("model.layers.1.mlp.down_proj.bias")
    assert float(shift.abs().max()) > 1e-3
    model.network.save_pretrained(tmp_path / "new")
    model.tokenizer.save_pretrained(tmp_path / "new")
    prompt = list(rows[0].item.context)
    with torch.no_grad():
        wanted = model.network(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    with LlamaEngine(write_gguf(tmp_path / "new", tmp_path / "m.gguf", "f16"), context=256, threads=1) as engine:
        forced = [[model.tokenizer.eos_token_id, 1000]]  # no probabilities are told beside half a character
        answer = engine.complete(prompt, n_predict=1, n_probs=1000, logit_bias=forced)
    found = torch.zeros_like(wanted)
    for token in answer["completion_probabilities"][0]["top_logprobs"]:
        found[token["id"]] = token["logprob"]
    assert float((wanted.exp() * (wanted - found)).sum()) < 1e-4, "nats; without the biases it is far more"
    with torch.no_grad():
        for name, bias in model.network.named_parameters():
            bias.mul_(0 if name.endswith("bias") else 1)
        without = model.network(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    assert float((without.exp() * (without - found)).sum()) > 1e-3


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_what_a_spot_carries_is_the_slope_of_the_gap(tiny_model: Callable[[str], Any], name: str) -> None:
    """Against taking a thousandth of the group's linear trace away there, place by place."""
    model = tiny_model(name)
    rows = rows_of(model, few(count=4))
    spots = spots_of(model, OUTPUTS)
    sides = torch.tensor([float(row.side) for row in rows])
    for spot, found in zip(spots, carried(model, rows, spots, Quiet()), strict=True):
        moments = erasing._moments(model, rows, spot)
        trace = torch.linalg.pinv(moments.zz) @ moments.xz.T  # [k, width]: z has mean 0 in each twin
        seen, z = erasing._attribute(model, rows, spot.stack)
        share = 1e-3

        def less(_: Any, __: Any, output: Any, seen: Any = seen, change: Any = share * z @ trace) -> Any:
            values = (output[0] if isinstance(output, tuple) else output).clone()
            values[seen] -= change.float()
            return (values, *output[1:]) if isinstance(output, tuple) else values

        before = (sides * log_likelihoods(model, rows)).sum()
        handle = spot.module.register_forward_hook(less)
        try:
            after = (sides * log_likelihoods(model, rows)).sum()
        finally:
            handle.remove()
        wanted = float(before - after) / share / (len(rows) / 2)
        assert found == pytest.approx(wanted, abs=0.02 + 0.05 * abs(wanted)), spot


def test_rows_count_from_where_the_twins_differ(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("mistral")
    (case,) = [c for c in english() if c.pair == "gender-en-a"][:1]
    first, second = rows_of(model, [case])
    assert (first.side, second.side) == (1, -1)
    assert torch.equal(first.group, -second.group)
    assert float(first.group.abs()) == 0.5
    for row, text in ((first, case.stereotyped), (second, case.other)):
        after = model.tokenizer.decode(row.item.context[row.first + 1 :])
        assert text.endswith(after)
        assert not text.endswith(model.tokenizer.decode(row.item.context[row.first :])) or row.first
        assert after in (case.stereotyped, case.other)[row is first]
    ends = [row.item.context[row.first :] for row in (first, second)]
    assert ends[0][0] != ends[1][0]
    assert ends[0][1:] == ends[1][1:]
    seen, z = erasing._attribute(model, [first, second], stacks(model)[0])
    assert seen.sum(1).tolist() == [len(row.item) - 1 - row.first for row in (first, second)]
    assert z.sum() == 0


def test_many_groups_and_axes_have_a_column_each(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    cases = [*few("gender"), *few("religion", 40)]
    rows = rows_of(model, cases)
    groups = {case.group for case in cases if case.axis == "religion"}
    assert len(rows[0].group) >= 1 + len(groups) - 1
    stacked = torch.stack([row.group for row in rows])
    assert torch.equal(stacked[::2], -stacked[1::2]), "what a template is about cannot pass for a group"
    assert torch.linalg.matrix_rank(stacked) == len(rows[0].group)
    assert torch.equal(stacked[: 2 * 6, 1:], torch.zeros(12, len(rows[0].group) - 1))


def test_a_twin_of_one_group_is_refused(tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    alike = {"en": [{"id": case.pair, "groups": {case.group: "x"}} for case in few()]}
    monkeypatch.setattr(erasing, "read_pairs", lambda _: alike)
    with pytest.raises(DataError, match="must be of two groups"):
        rows_of(tiny_model("llama"), few())


@pytest.fixture
def subject_of(tiny_path: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Subject]:
    return lambda name: Subject(out=tmp_path, model=tiny_path(name))


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpide.adapt.correct.erasure.fit_cases", lambda settings: few(settings.axes[0]))


@pytest.mark.usefixtures("fewer")
def test_the_operation_leaves_an_update_and_what_was_fitted(
    subject_of: Callable[[str], Subject], tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    result = run(subject_of("llama"), ErasureSettings(most=1, neutral=5), Quiet())
    facts = json.loads(json.dumps(dict(result.facts)))
    update = load_update(tmp_path / "update")
    (layer,) = facts["layers"]["text"]
    assert facts["strengths"] == [0.5, 0.75, 1.0]
    assert (facts["texts"], facts["neutral_texts"]) == (12, 5)
    nats = {row["layer"]: row["nats"] for row in facts["screen"]}
    assert layer == max(nats, key=lambda n: nats[n])
    assert {(spot["layer"], spot["site"]) for spot in facts["spots"]} == {(layer, "attention"), (layer, "mlp")}
    assert all(0 < spot["told_before"] <= 1 and spot["rank"] == 1 and spot["mean_kept"] for spot in facts["spots"])
    assert facts["mean_not_kept"] == 0
    assert set(update.factors) == {f"model.layers.{layer}.{w}.weight" for w in ("self_attn.o_proj", "mlp.down_proj")}
    assert not update.maps
    assert not result.warnings


@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize("name", ["mistral", "t5"])
def test_what_has_no_bias_keeps_no_mean_and_says_so(subject_of: Callable[[str], Subject], name: str) -> None:
    facts = run(subject_of(name), ErasureSettings(layers=(1,), neutral=5), Quiet()).facts
    assert facts["mean_not_kept"] == len(facts["spots"])
    assert facts["layers"] == ({"text": [1]} if name == "mistral" else {"encoder": [1], "decoder": [1]})
    assert facts["layers_by"] == "named"
    assert facts["screen"] == []


@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_whole_stream_is_erased_beside_the_model(
    subject_of: Callable[[str], Subject], tiny_model: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    result = run(subject_of(name), ErasureSettings(site="residual", layers=(0,), neutral=0), Quiet())
    update = load_update(tmp_path / "update")
    model = tiny_model(name)
    assert set(update.maps) == {block_name(model, stack, 0) for stack in stacks(model)}
    assert not update.factors
    assert result.warnings == (APART,)
    rows = rows_of(model, few())
    for spot in spots_of(model, ("residual",), (0,)):
        assert told(erasing._moments(model, rows, spot)) > 1e-3
        with applied(model, update):  # the spot's own hook is set after the update's, so it sees what that gives
            assert told(erasing._moments(model, rows, spot)) < 1e-5


@pytest.mark.usefixtures("fewer")
def test_a_layer_that_does_not_exist_is_refused(subject_of: Callable[[str], Subject]) -> None:
    with pytest.raises(UsageError, match="There is no such layer") as caught:
        run(subject_of("t5"), ErasureSettings(layers=(0, 2, -1)), Quiet())
    assert (caught.value.received, caught.value.expected) == ("2, -1", "0 to 1")


def test_in_an_encoder_decoder_a_layer_is_of_each_stack_that_has_it(tmp_path: Path) -> None:
    model = open_model(tiny_folder("t5", tmp_path, num_layers=3, num_decoder_layers=1))
    found = spots_of(model, ("mlp",), (0, 2))
    assert [(spot.stack.name, spot.layer) for spot in found] == [("encoder", 0), ("encoder", 2), ("decoder", 0)]


def test_the_operation_says_what_it_is() -> None:
    assert (operation.name, operation.verb) == ("correct.erasure", "change")
    assert "arXiv:2306.03819" in operation.source
    with pytest.raises(ValidationError):
        ErasureSettings(shrinkage=1.5)
    with pytest.raises(ValidationError):
        ErasureSettings(layers=())


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(planted(tmp_path_factory.mktemp("planted")))


def loss(model: Model) -> float:
    """Nats per token of neutral texts."""
    items = encode_requests(model, [Request(str(n), "", text) for n, text in enumerate(neutral())])
    with torch.no_grad():
        nats = sum(float(read(model, items[n : n + 16]).log_likelihoods(model).sum()) for n in range(0, len(items), 16))
    return -nats / sum(len(item.continuation) for item in items)


def test_a_planted_bias_is_cut_on_templates_it_was_not_fitted_on(biased: Model) -> None:
    fit, judge = (read_cases(("gender",), ("en",), part) for part in ("fit", "judge"))
    before, capable = mean_gap(biased, judge), loss(biased)
    assert before > 1
    erased = erase(biased, rows_of(biased, fit), spots_of(biased, OUTPUTS), 0.0, Quiet())
    with applied(biased, joined(*(one.update for one in erased))) as changed:
        after, cost = mean_gap(changed, judge), loss(changed)
    assert abs(after) < 0.2 * before
    assert cost < 1.02 * capable
