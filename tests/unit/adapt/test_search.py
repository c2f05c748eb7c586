"""A search tries what it says, keeps every trial, and takes the one that loses least on rows kept aside."""

from collections.abc import Callable
from pathlib import Path

import pytest

from limpide.adapt import search
from limpide.adapt.settings import SearchSettings, TrainSettings
from limpide.core import files
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.data.examples import save_examples
from tiny_training import adapt, examples

GOOD, USELESS = 0.02, 1e-7


def subject(model: Path, folder: Path, aside: bool = True) -> Subject:
    """Rows kept aside are new wordings of those that are learnt."""
    rows = examples(16)
    save_examples(folder / "data" / "train.jsonl", rows[:8])
    save_examples(folder / "data" / "held_out.jsonl", rows[:1])
    if aside:
        save_examples(folder / "data" / "validation.jsonl", rows[8:])
    (folder / "out").mkdir()
    return Subject(folder / "out", {"data": folder / "data"}, model)


def test_a_useless_rate_is_tried_and_left(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    asked = SearchSettings(learning_rates=(USELESS, GOOD), ranks=(2,), epochs=4)
    found = adapt(subject(tiny_path("llama"), tmp_path), search=asked, learning_rate=None)
    assert found.facts["learning_rate"] == GOOD
    assert [trial["learning_rate"] for trial in found.facts["search"]] == [USELESS, GOOD]
    assert found.facts["search"][1]["held_out"] < found.facts["search"][0]["held_out"]
    assert found.facts["search_lead"]["low"] > 0
    assert found.facts["search_left_out"] == 0


def test_trials_are_not_made_twice(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = subject(tiny_path("llama"), tmp_path)
    asked = SearchSettings(learning_rates=(GOOD,), ranks=(2, 4), epochs=1)
    first = adapt(here, search=asked, learning_rate=None).facts["search"]
    monkeypatch.setattr(search, "_try", lambda *_: pytest.fail("a trial was made again"))
    assert adapt(here, search=asked, learning_rate=None).facts["search"] == first
    assert len(files.read_jsonl(here.out / search.FILE)) == 2


def test_no_trial_is_begun_once_the_time_is_over(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    asked = SearchSettings(learning_rates=(GOOD, USELESS), ranks=(2,), epochs=1, minutes=1e-6)
    found = adapt(subject(tiny_path("llama"), tmp_path), search=asked, learning_rate=None).facts
    assert len(found["search"]) == 1
    assert found["search_left_out"] == 1
    assert found["search_lead"] is None


def test_the_model_is_left_as_it_was(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    """A trial's adapter is taken off: what is trained afterwards starts where it would have without a search."""
    results = []
    for name, asked in (("with", SearchSettings(learning_rates=(GOOD,), ranks=(2,), epochs=1)), ("without", None)):
        (tmp_path / name).mkdir()
        here = subject(tiny_path("llama"), tmp_path / name)
        adapt(here, search=asked, learning_rate=GOOD)
        results.append((here.out / "adapter" / "adapter_model.safetensors").read_bytes())
    assert results[0] == results[1]


def test_without_rows_kept_aside_nothing_is_compared(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="kept aside") as caught:
        adapt(subject(tiny_path("llama"), tmp_path, aside=False), search=SearchSettings())
    assert "0 answers kept aside" in str(caught.value.received)


def test_the_usual_rate_is_tried_first() -> None:
    found: list[tuple[float, int]] = search.candidates(TrainSettings(), SearchSettings())
    assert found == [(3e-3, 32), (3e-3, 8), (1e-3, 32), (1e-3, 8), (9e-3, 32), (9e-3, 8)]


def test_what_is_named_twice_is_tried_once() -> None:
    twice = SearchSettings(learning_rates=(0.01, 0.01), ranks=(4, 4))
    assert search.candidates(TrainSettings(), twice) == [(0.01, 4)]


def test_equal_losses_prefer_the_smaller_rank() -> None:
    trials = [search.Trial(GOOD, rank, (1.0, 2.0, 1.5), (1, 1, 1), 1.0) for rank in (32, 8)]
    best, facts = search.choose(trials, 2)
    assert best.rank == 8
    assert "cannot be told" in search.told(best, trials, facts)


def test_a_trial_whose_loss_is_no_number_is_one_that_lost(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    asked = SearchSettings(learning_rates=(GOOD, 1.0), ranks=(2,), epochs=1)

    def explode(*given: object, **named: object) -> search.Trial:
        found: search.Trial = tried(*given, **named)  # type: ignore[arg-type]
        return found if found.learning_rate == GOOD else search.Trial(1.0, 2, (), (), 1.0)

    tried = search._try
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_try", explode)
        found = adapt(subject(tiny_path("llama"), tmp_path), search=asked, learning_rate=None).facts
    assert found["learning_rate"] == GOOD
    assert found["search"][1]["held_out"] is None
    with pytest.raises(ModelError, match="every trial"):
        search.choose([search.Trial(1.0, 2, (), (), 1.0)], 1)


def test_training_that_ends_in_no_number_ends_the_trial_alone(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limpide.adapt import training

    def fail(*_: object) -> None:
        raise ModelError("The training loss of step 1 is not a number.")

    monkeypatch.setattr(training, "take_step", fail)
    with pytest.raises(ModelError, match="every trial"):
        adapt(subject(tiny_path("llama"), tmp_path), search=SearchSettings(ranks=(2,), epochs=1))
