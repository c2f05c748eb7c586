"""Preference against a planted bias: cut on templates it never saw, with nothing corrected where nothing is."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from limpide.adapt.correct import preference
from limpide.adapt.correct.preference import STRENGTHS, PreferenceSettings, pairs_of
from limpide.core.errors import DataError
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.templates import read_cases
from limpide.models.encoding import encode_requests
from limpide.models.likelihood import read
from limpide.models.model import Model, open_model
from limpide.models.requests import Request
from limpide.models.update import Update, applied, load_update
from planted_bias_models import encoded, mean_gap, neutral, planted

QUICK = {
    "languages": ("en",),
    "steps": 120,
    "learning_rate": 0.01,
    "neutral_texts": 150,
    "rank": 2,
    "beta": 3.0,
    "hold": 5.0,
}


def corrected(folder: Path, out: Path, **changes: object) -> tuple[Result, Update]:
    out.mkdir()
    settings = PreferenceSettings.model_validate({**QUICK, **changes})
    result = preference.run(Subject(out=out, model=folder), settings, Quiet())
    return result, load_update(out / "update")


def unseen() -> list:  # type: ignore[type-arg]
    return read_cases(("gender",), ("en",), "judge")


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("biased"), gap=1.5)


def nats_a_token(model: Model) -> float:
    items = encode_requests(model, [Request(str(n), "", text) for n, text in enumerate(neutral()[::8])])
    with torch.no_grad():
        return -float(read(model, items).log_likelihoods(model).sum()) / sum(len(i.continuation) for i in items)


def test_a_planted_bias_is_cut_on_unseen_templates(biased: Path, tmp_path: Path) -> None:
    """By four fifths or more, at a strength that costs two hundredths of the perplexity at most."""
    model = open_model(biased)
    before, cost_before = mean_gap(model, unseen()), nats_a_token(model)
    assert before > 1
    result, update = corrected(biased, tmp_path / "out")
    found = {}
    for strength in STRENGTHS:
        with applied(model, update, strength):
            found[strength] = mean_gap(model, unseen()) / before, nats_a_token(model) - cost_before
    assert any(abs(left) < 0.2 and cost < math.log(1.02) for left, cost in found.values()), found
    assert all(left > -0.1 for left, _ in found.values()), found  # it does not run into the opposite bias
    assert mean_gap(model, unseen()) == pytest.approx(before)
    assert result.facts["strengths"] == list(STRENGTHS)
    assert result.facts["templates"] == len({case.template for case in read_cases(("gender",), ("en",), "fit")})
    assert set(update.factors) <= {name for name, _ in model.network.named_parameters()}


def test_where_nothing_is_planted_hardly_anything_changes(tmp_path: Path) -> None:
    folder = planted(tmp_path, gap=0.0)
    model = open_model(folder)
    _, update = corrected(folder, tmp_path / "out", steps=40)
    before = mean_gap(model, unseen())
    with applied(model, update):
        assert abs(mean_gap(model, unseen()) - before) < 0.15


def test_pairs_are_one_outcome_after_two_persons(tiny_model: Callable[[str], Model]) -> None:
    model, cases = tiny_model("llama"), read_cases(("gender",), ("en", "fr"), "fit")
    pairs = pairs_of(model, cases, 0.5, 0)
    assert len(pairs) == len(cases) + round(0.5 * len(cases))
    assert all(pair.chosen.continuation == pair.rejected.continuation for pair in pairs)
    assert all(pair.chosen.context != pair.rejected.context and pair.level for pair in pairs)
    own = encoded(model, cases)
    assert [pair.rejected.ids for pair in pairs[: len(cases)]] == [item.ids for item in own[::2]]
    assert [pair.chosen.ids for pair in pairs[: len(cases)]] == [item.ids for item in own[1::2]]


def test_borrowed_outcomes_are_of_the_opposite_stereotype_in_the_same_language() -> None:
    cases = read_cases(("gender", "age"), ("en", "fr"), "fit")
    of = {}
    for case in cases:
        of.setdefault((case.axis, case.language, case.group), set()).add(case.outcome)
    found = preference._borrowed(cases, 2 * len(cases), 3)
    assert all(
        any(o in outcomes for (axis, language, group), outcomes in of.items()
            if (axis, language) == (case.axis, case.language) and group != case.group)
        for case, o in found
    )  # fmt: skip
    assert set(Counter(case.id for case, _ in found).values()) == {2}


def test_it_learns_from_the_part_to_fit_on_alone(biased: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(preference, "pairs_of", lambda m, cases, *_: seen.extend(cases) or pairs_of(m, cases, 0.0, 0))
    corrected(biased, tmp_path / "out", steps=1)
    assert {c.id for c in seen} == {c.id for c in read_cases(("gender",), ("en",), "fit")}


def test_the_same_seed_gives_the_same_update(biased: Path, tmp_path: Path) -> None:
    updates = [corrected(biased, tmp_path / name, steps=2)[1] for name in ("a", "b")]
    tensors = [update.tensors() for update in updates]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_too_few_templates_are_refused(tmp_path: Path, biased: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpide.data.templates.read_cases", lambda *_: unseen()[:4])
    with pytest.raises(DataError, match="too few templates"):
        corrected(biased, tmp_path / "out")
