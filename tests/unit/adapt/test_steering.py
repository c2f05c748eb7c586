"""Directions: fitted where they were planted, folded as they are defined, and refused where there is none."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from limpide.adapt.correct import contrasts, directions, steering
from limpide.adapt.correct.common import UPDATE
from limpide.adapt.correct.steering import SteeringSettings
from limpide.core.errors import DataError, ModelError, UsageError
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.templates import Case, read_cases
from limpide.models.control_vector import FILE
from limpide.models.encoding import encode_requests
from limpide.models.families.registry import FAMILIES
from limpide.models.likelihood import read
from limpide.models.model import Model, open_model
from limpide.models.requests import Request
from limpide.models.stacks import stacks
from limpide.models.update import applied, fold, load_update
from planted_bias_models import mean_gap, neutral, planted
from tiny import FAMILY_NAMES, tiny_folder

PARTS: tuple[directions.Part, ...] = ((0, "residual"), (1, "residual"), (2, "residual"))
FEW = 6  # of a set, where only the shape matters


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins of every fit template, one a template, and few of them."""
    cases = list({case.template: case for case in read_cases(("gender",), ("en",), "fit")}.values())[: 2 * FEW]
    monkeypatch.setattr(steering, "fit_cases", lambda settings: cases)


def steer(model: Path, out: Path, **settings: Any) -> Result:
    out.mkdir(exist_ok=True)
    return steering.run(Subject(out=out, model=model), SteeringSettings(**settings), Quiet())


def logits(model: Model, text: str = "She said that the pump was red") -> Tensor:
    """What the network says at the places asked about, float[places, vocabulary]."""
    from limpide.models.families.registry import logits_from_hidden

    (item,) = encode_requests(model, [Request("0", text, " and he")])
    with torch.no_grad():
        return logits_from_hidden(model.network, model.family, read(model, [item]).hidden)


def perplexity(model: Model) -> float:
    items = encode_requests(model, [Request(str(k), "", text) for k, text in enumerate(neutral())])
    with torch.no_grad():
        nats = sum(float(read(model, [item]).log_likelihoods(model)) for item in items)
    return math.exp(-nats / sum(len(item.continuation) for item in items))


# --- a planted bias


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("planted"), gap=1.5)


def unseen() -> list[Case]:
    return [case for part in ("choose", "judge") for case in read_cases(("gender",), ("en",), part)]


def test_ablation_takes_a_planted_gap_away_from_templates_it_has_not_seen(biased: Path, tmp_path: Path) -> None:
    found = steer(biased, tmp_path, languages=("en",))
    model = open_model(biased)
    before, cost = mean_gap(model, unseen()), perplexity(model)
    with applied(model, load_update(tmp_path / UPDATE), 1.0) as corrected:
        after, costs = mean_gap(corrected, unseen()), perplexity(corrected)
    assert before > 1.2
    assert abs(after) < 0.2 * before
    assert costs < 1.05 * cost
    assert found.facts["strengths"] == sorted(found.facts["strengths"])
    (told,) = found.facts["directions"]
    assert told["between"] == "gender: female − male"
    assert told["right"]["low"] > 0.9


# --- definitions


def by_definition(model: Model, hooked: dict[str, Callable[[Tensor], Tensor]]) -> Tensor:
    """Logits with each named module's output changed by its function."""

    def hook(change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def run(_: Any, __: Any, output: Any) -> Any:
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        return run

    handles = [model.network.get_submodule(name).register_forward_hook(hook(change)) for name, change in hooked.items()]
    try:
        return logits(model)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_shift_folded_is_a_shift_of_the_stream(tiny_path: Callable[[str], Path], family: str) -> None:
    model = open_model(tiny_path(family))
    stack = stacks(model)[-1]
    vectors = {0: torch.randn(32), 1: torch.randn(32)}
    update = directions.shift(model, stack, vectors)
    blocks = {f"{model.family.blocks}.{k}": (lambda h, v=v: h + 0.7 * v) for k, v in vectors.items()}
    wanted = by_definition(model, blocks)
    with applied(model, update, 0.7):
        torch.testing.assert_close(logits(model), wanted, atol=1e-4, rtol=1e-4)
    fold(model, update, 0.7)
    torch.testing.assert_close(logits(model), wanted, atol=1e-4, rtol=1e-4)
    held = family in ("gpt2", "bert", "llama", "gpt_oss")
    assert bool(update.maps) is not held


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_an_ablation_folded_is_an_ablation_of_what_is_written(tiny_path: Callable[[str], Path], family: str) -> None:
    model = open_model(tiny_path(family))
    stack = stacks(model)[-1]
    parts = directions.carriers(model, stack, range(2))
    bases = {part: directions.orthonormal([torch.randn(32), torch.randn(32)]) for part in parts}
    means = {part: torch.randn(32) for part in parts}
    update = directions.ablation(model, stack, bases, means)
    paths = {"attention": stack.attention, "cross": directions.CROSS}

    def by(part: directions.Part) -> Callable[[Tensor], Tensor]:
        (write,) = directions.written(model, stack, *part)
        mean, basis = means[part] if write.bias else torch.zeros(32), bases[part]
        return lambda y: y - 0.6 * ((y - mean) @ basis.T) @ basis

    hooked = {f"{model.family.blocks}.{layer}.{paths[where]}": by((layer, where)) for layer, where in parts}
    wanted = by_definition(model, hooked)
    with applied(model, update, 0.6) as tried:
        torch.testing.assert_close(logits(tried), wanted, atol=1e-4, rtol=1e-4)
    fold(model, update, 0.6)
    torch.testing.assert_close(logits(model), wanted, atol=1e-4, rtol=1e-4)
    assert bool(update.vectors) is (family not in ("t5", "qwen2", "mistral"))  # which have no bias to keep a mean


def test_separation_is_found_where_it_is_and_nowhere_else() -> None:
    torch.manual_seed(0)
    streams = torch.randn(2, 60, 1, 3, 16)  # sides, texts, choices, parts, width
    streams[0, :, 0, 1, 5] += 6
    names = tuple(map(str, range(60)))
    contrast = directions.Contrast("x", PARTS, streams[0], streams[1], names, names, False)
    found = directions.separation(contrast)
    assert directions.best(contrast, found) == (0, 1)
    assert int(found.right[0, 1]) > 0.97 * found.n == 0.97 * 120
    for layer in (0, 2):  # in sixteen dimensions, directions fitted on what they judge would find 80 %
        low, high = directions.wilson(int(found.right[0, layer]), found.n)
        assert low < 0.5 < high


def test_twins_are_compared_with_each_other() -> None:
    torch.manual_seed(0)
    shared = 50 * torch.randn(40, 1, 1, 8)
    side = torch.zeros(8)
    side[3] = 1.0
    above, below = shared + side + 0.1 * torch.randn(40, 1, 1, 8), shared - side + 0.1 * torch.randn(40, 1, 1, 8)
    names = tuple(str(k // 4) for k in range(40))
    alone = directions.separation(directions.Contrast("x", PARTS[:1], above, below, names, names, False))
    paired = directions.separation(directions.Contrast("x", PARTS[:1], above, below, names, names, True))
    assert int(paired.right[0, 0]) == paired.n == 40
    assert int(alone.right[0, 0]) < 0.8 * alone.n


def test_axes_are_made_orthogonal_and_one_among_the_others_is_left_out() -> None:
    first, second = torch.randn(32), torch.randn(32)
    basis = directions.orthonormal([first, second + first, first - 3 * second])
    assert len(basis) == 2
    torch.testing.assert_close(basis @ basis.T, torch.eye(2))
    torch.testing.assert_close(basis[0], first / first.norm())


def test_averages_are_those_of_single_runs(tiny_model: Callable[[str], Model]) -> None:
    """Batches, padding and masked copies change nothing."""
    for family in ("llama", "bert", "t5"):
        model = tiny_model(family)
        stack = stacks(model)[-1]
        items = encode_requests(model, [Request(str(k), "The pump " * k + "is", " red" * k) for k in range(1, 5)])
        texts = [directions.Text(item, ((0,), tuple(range(len(item.continuation)))), str(item.index)) for item in items]
        together = directions.averages(model, dict(enumerate(stack.blocks)), texts, Quiet())
        for k, text in enumerate(texts):
            alone = directions.averages(model, dict(enumerate(stack.blocks)), [text], Quiet())
            for layer in alone:
                torch.testing.assert_close(together[layer][k], alone[layer][0], atol=1e-5, rtol=1e-5)


# --- every family, from end to end


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_family_is_ablated(few: None, tiny_path: Callable[[str], Path], tmp_path: Path, family: str) -> None:
    found = steer(tiny_path(family), tmp_path)
    update = load_update(tmp_path / UPDATE)
    assert bool(update)
    assert found.facts["folded"]
    assert found.facts["rows"] == 4 * FEW
    model = open_model(tiny_path(family))
    before = logits(model)
    with applied(model, update, 1.0):
        assert (logits(model) - before).abs().max() > 1e-3
    torch.testing.assert_close(logits(model), before, atol=0, rtol=0)


@pytest.mark.parametrize("family", [name for name in FAMILY_NAMES if name != "bert"])
def test_every_family_that_answers_gets_a_direction_of_refusal(
    tiny_path: Callable[[str], Path], tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrasts, "_requests", lambda languages: requests()[:64])
    found = steer(tiny_path(family), tmp_path, of="refusal", languages=("en",))
    assert (tmp_path / FILE).is_file() is (family != "t5")
    assert found.facts["mode"] == "add"
    assert bool(load_update(tmp_path / UPDATE))


def requests() -> list[dict[str, str]]:
    from limpide.data.shipped import read_probe

    return [json.loads(line) for line in read_probe("refusal/requests.en.jsonl").splitlines()]


def test_a_model_that_fills_in_words_declines_nothing(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="declines nothing"):
        steer(tiny_path("bert"), tmp_path, of="refusal")


def test_refusal_learns_from_the_fit_part_alone(tiny_model: Callable[[str], Model]) -> None:
    part_of = contrasts.request_parts(("en", "fr"))
    assert {part: list(part_of.values()).count(part) for part in ("fit", "choose", "judge")}.keys() == {
        "fit", "choose", "judge",
    }  # fmt: skip
    (sets,) = contrasts.refusals(tiny_model("llama"), ("en", "fr"))
    assert {part_of[text.cluster] for text in (*sets.above, *sets.below)} == {"fit"}
    assert len(sets.above) == len(sets.below) == list(part_of.values()).count("fit")
    ends = {text.item.context[-1] for text in sets.above}
    assert len(ends) == 1
    assert len(sets.above[0].places) == directions_looked_at(sets)


def directions_looked_at(sets: contrasts.Sets) -> int:
    rows = [text.item.context for text in (*sets.above, *sets.below)]
    shared = 0
    while len({row[len(row) - 1 - shared] for row in rows}) == 1:
        shared += 1
    return min(shared, contrasts.LAST_PLACES)


def test_persons_are_seen_after_they_were_named(tiny_model: Callable[[str], Model]) -> None:
    model = tiny_model("llama")
    (sets,) = contrasts.persons(model, read_cases(("gender",), ("en",), "fit")[:40])
    assert sets.paired
    for above, below in zip(sets.above, sets.below, strict=True):
        (first,), (second,) = above.places, below.places
        rows = above.item.ids[:-1], below.item.ids[:-1]
        assert first[-1] == len(rows[0]) - 1
        assert len(first) == len(second) > 2
        assert [rows[0][k] for k in first] == [rows[1][k] for k in second]
        assert rows[0][first[0] - 1] != rows[1][second[0] - 1]


def test_each_two_groups_have_their_direction(tiny_model: Callable[[str], Model]) -> None:
    cases = read_cases(("religion", "age"), ("en",), "fit")
    found = contrasts.persons(tiny_model("llama"), list({c.id: c for c in cases[::5]}.values()))
    assert sorted(sets.name for sets in found) == [
        "age: old − young",
        "religion: atheist − christian",
        "religion: christian − jewish",
        "religion: christian − muslim",
    ]


# --- tone, on a model whose answer follows one direction


@pytest.fixture(scope="module")
def follower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its stream holds one direction after 'please', and 'Q' is the likelier the more of it there is."""
    folder = tiny_folder("llama", tmp_path_factory.mktemp("follower"), tie_word_embeddings=False)
    model = open_model(folder)
    torch.manual_seed(1)
    along = torch.nn.functional.normalize(torch.randn(32), dim=0)
    polite, answer = (model.tokenizer.encode(text, add_special_tokens=False)[0] for text in ("!", "Q"))
    model.network.model.embed_tokens.weight.data[polite] += 8 * along
    model.network.lm_head.weight.data[answer] += 2 * along
    model.network.save_pretrained(folder)
    return folder


def two_files(folder: Path) -> dict[str, Path]:
    said = [
        f"The {thing} is {state}" for thing in ("pump", "valve", "guard", "key") for state in ("red", "shut", "new")
    ]
    paths = {"wanted": folder / "wanted.txt", "unwanted": folder / "unwanted.txt"}
    for path, ending in zip(paths.values(), ("!!!", "..."), strict=True):
        path.write_text("\n".join(f"{text}{ending}" for text in said), encoding="utf-8")
    return paths


def test_adding_a_tone_raises_what_follows_it_with_the_strength(follower: Path, tmp_path: Path) -> None:
    found = steer(follower, tmp_path / "out", of="tone", **two_files(tmp_path))
    model = open_model(follower)
    answer = model.tokenizer.encode("Q", add_special_tokens=False)[0]
    update = load_update(tmp_path / "out" / UPDATE)
    said = []
    for strength in (0.0, *found.facts["strengths"]):
        with applied(model, update, strength):
            said.append(float(logits(model).log_softmax(-1)[0, answer]))
    assert said == sorted(said)
    assert said[-1] > said[0] + 0.5
    assert found.facts["folded"]
    assert found.facts["control_vector"]["use"].endswith(f"{FILE}:STRENGTH")
    assert found.warnings == ()


def test_strength_one_is_the_distance_of_the_two_sets(follower: Path, tmp_path: Path) -> None:
    found = steer(follower, tmp_path / "out", of="tone", layers=(1,), **two_files(tmp_path))
    model = open_model(follower)
    (sets,) = contrasts.tones(model, *two_files(tmp_path).values())
    blocks = directions.streams(stacks(model)[-1], (1,))
    streams = directions.contrast(model, blocks, "", (sets.above, sets.below), Quiet(), paired=False)
    expected = (streams.above.mean(0) - streams.below.mean(0))[0, 0]
    ((name, vector),) = load_update(tmp_path / "out" / UPDATE).vectors.items()
    assert name == "model.layers.1.mlp.down_proj.bias"
    torch.testing.assert_close(vector, expected)
    assert found.facts["distance"]["1"] == pytest.approx(float(expected.norm()), abs=1e-3)
    (tensor,) = gguf.GGUFReader(tmp_path / "out" / FILE).tensors
    torch.testing.assert_close(torch.tensor(tensor.data), expected)


def test_several_layers_share_the_shift(follower: Path, tmp_path: Path) -> None:
    steer(follower, tmp_path / "one", of="tone", layers=(1,), **two_files(tmp_path))
    found = steer(follower, tmp_path / "both", of="tone", layers=(0, 1), **two_files(tmp_path))
    one, both = (load_update(tmp_path / name / UPDATE).vectors for name in ("one", "both"))
    torch.testing.assert_close(2 * both["model.layers.1.mlp.down_proj.bias"], one["model.layers.1.mlp.down_proj.bias"])
    assert len(both) == 2
    assert "control_vector" not in found.facts  # which cannot reach layer 0
    assert not (tmp_path / "both" / FILE).exists()


def test_examples_with_the_same_questions_are_twins(tiny_model: Callable[[str], Model], tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, answer in zip(paths, ("Of course, at once.", "No."), strict=True):
        rows = [{"prompt": f"Is pump {k} shut?", "answer": f"{answer} Pump {k}."} for k in range(9)]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (sets,) = contrasts.tones(tiny_model("llama"), *paths)
    assert sets.paired
    text = sets.above[0]
    assert text.places[0][0] == len(text.item.context)
    texts = tmp_path / "c.jsonl"
    texts.write_text("\n".join(json.dumps({"text": f"Text {k}"}) for k in range(9)), encoding="utf-8")
    (sets,) = contrasts.tones(tiny_model("llama"), paths[0], texts)
    assert not sets.paired


def test_sets_that_chance_could_tell_apart_are_told(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"river {k} press water" for k in range(0, 40, 2)), encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n".join(f"river {k} press water" for k in range(1, 41, 2)), encoding="utf-8")
    found = steer(
        tiny_path("llama"), tmp_path / "out", of="tone", wanted=tmp_path / "a.txt", unwanted=tmp_path / "b.txt"
    )
    assert any("nsufficient evidence" in warning for warning in found.warnings)


# --- bad input


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"of": "speed"}, "'bias', 'refusal' or 'tone'"),
        ({"of": "tone"}, "both needed"),
        ({"of": "tone", "wanted": "a.txt"}, "both needed"),
        ({"of": "bias", "wanted": "a.txt", "unwanted": "b.txt"}, "only there"),
        ({"layers": ()}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SteeringSettings(**settings)


@pytest.mark.parametrize("layers", [(2,), (0, -1)])
def test_layers_that_do_not_exist_are_refused(
    few: None, tiny_path: Callable[[str], Path], tmp_path: Path, layers: Sequence[int]
) -> None:
    with pytest.raises(UsageError, match="There is no such layer"):
        steer(tiny_path("llama"), tmp_path, layers=layers)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wanted", "unwanted", "says"),
    [
        ("", "a\n" * 9, "is empty"),
        ("\n".join("abcdefg"), "\n".join("ijklmnopq"), "insufficient evidence"),
        ("\n".join("abcdefghi"), "\n".join("abcdefghi"), "the same texts"),
        (None, "a", "There is no file"),
    ],
)
def test_files_that_teach_nothing_are_refused(
    tiny_path: Callable[[str], Path], tmp_path: Path, wanted: str | None, unwanted: str, says: str
) -> None:
    (tmp_path / "b.txt").write_text(unwanted, encoding="utf-8")
    if wanted is not None:
        (tmp_path / "a.txt").write_text(wanted, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        steer(tiny_path("llama"), tmp_path, of="tone", wanted=tmp_path / "a.txt", unwanted=tmp_path / "b.txt")


def test_rows_without_text_are_listed(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a.jsonl:2: has no 'text'"):
        steer(tiny_path("llama"), tmp_path, of="tone", wanted=tmp_path / "a.jsonl", unwanted=tmp_path / "a.jsonl")


def test_sets_that_are_the_same_to_the_model_are_refused(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = read_cases(("gender",), ("en",), "fit")[:24]
    same = [Case(**(vars(case) | {"other": case.stereotyped})) for case in cases]
    monkeypatch.setattr(steering, "fit_cases", lambda settings: same)
    with pytest.raises(DataError, match="the same to this model"):
        steer(tiny_path("llama"), tmp_path)


def test_an_axis_with_one_group_is_refused(tiny_model: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch) -> None:
    cases = read_cases(("gender",), ("en",), "fit")[:9]
    pairs = {"en": [{"id": case.pair, "groups": {case.group: "He"}} for case in cases]}
    monkeypatch.setattr(contrasts, "read_pairs", lambda axis: pairs)
    with pytest.raises(DataError, match="needs two groups"):
        contrasts.persons(tiny_model("llama"), cases)


def test_a_model_without_weights_says_what_to_open(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="asked from outside") as error:
        steering.run(Subject(out=tmp_path, respondent=object()), SteeringSettings(), Quiet())
    assert "hub:owner/name" in str(error.value)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="one file"):
        steering.run(Subject(out=tmp_path, model=file), SteeringSettings(), Quiet())


def test_every_family_is_known() -> None:
    assert set(FAMILY_NAMES) == set(FAMILIES)
