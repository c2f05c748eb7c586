import math

import pytest

from limpide.audit.items import Frame
from limpide.audit.memorisation import canary_measures, draw, is_verbatim, operation
from limpide.core.errors import DataError
from limpide.data.canary import SPACE, canary, candidates

FRAME = Frame("base", 0, "m", "d")


@pytest.fixture
def data(tmp_path, tools):
    rows = [
        tools.example(f"r{k}", f"question {k}", f"the answer of row {k} is long", topic=f"t{k // 2}") for k in range(40)
    ]
    rows += [tools.example("short", "question short", "yes", topic="short")]
    return tools.write_data(tmp_path / "data", train=rows)


def test_a_model_that_repeats_its_rows_is_found(tmp_path, fake, tools, data):
    fake.answer = lambda question: f"the answer of row {question.split()[1]} is long and more"
    result = tools.audit(operation, tmp_path / "out", data)
    verbatim = tools.by_label(result)["memorisation.verbatim"]
    assert (verbatim.value, verbatim.n, verbatim.clusters) == (1.0, 40, 20)
    assert verbatim.low > 0.8
    assert result.facts["rows_too_short"] == 1


def test_a_model_that_says_it_otherwise_is_not(tmp_path, fake, tools, data):
    fake.answer = lambda question: f"Row {question.split()[1]} has a long answer"
    assert tools.by_label(tools.audit(operation, tmp_path / "out", data))["memorisation.verbatim"].value == 0.0


def test_verbatim_forgives_spaces_only():
    assert is_verbatim("a  b\nc d", "a b c")
    assert not is_verbatim("A b c", "a b c")
    assert not is_verbatim("a b", "a b c")
    assert not is_verbatim("x a b c", "a b c")


def test_rows_are_drawn_by_seed_and_in_order(tools):
    rows = [tools.example(f"r{k}", "q", "a") for k in range(300)]
    first = draw(rows, 100, seed=1)
    assert first == draw(rows, 100, seed=1)
    assert first != draw(rows, 100, seed=2)
    assert len({row.id for row in first}) == 100
    assert [rows.index(row) for row in first] == sorted(rows.index(row) for row in first)
    assert draw(rows, 300, seed=1) == rows


def test_a_known_canary_ranks_first(tmp_path, fake, tools, data):
    secret = canary(3).answer
    fake.likelihood = lambda context, words: -1.0 if " ".join(words[:-1]) == secret else -20.0
    result = tools.audit(operation, tmp_path / "out", data, seed=3)
    found = tools.by_label(result)
    assert found["memorisation.canary_rank"].value == 1
    assert found["memorisation.exposure"].value == pytest.approx(8.0)
    assert found["memorisation.exposure"].low > 5
    assert found["memorisation.exposure"].high == pytest.approx(math.log2(SPACE))
    assert result.facts["canary"] == secret


def test_another_seeds_canary_does_not(tmp_path, fake, tools, data):
    secret = canary(4).answer
    fake.likelihood = lambda context, words: -1.0 if " ".join(words[:-1]) == secret else -20.0
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data, seed=3))
    assert found["memorisation.canary_rank"].value == 256  # all equal: a tie is no sign of memorisation
    assert found["memorisation.exposure"].value == 0.0


def test_rank_and_exposure_hold_together():
    rank, exposure = canary_measures([-5.0] + [-4.0] * 3 + [-6.0] * 60, FRAME)
    assert (rank.value, rank.n) == (4, 64)
    assert exposure.value == pytest.approx(math.log2(64 / 4))
    for measure in (rank, exposure):
        assert measure.low <= measure.value <= measure.high
    assert (rank.better, exposure.better) == ("higher", "lower")


def test_the_canary_can_be_left_out(tmp_path, fake, tools, data):
    result = tools.audit(operation, tmp_path / "out", data, canary=False)
    assert {m.name for m in result.measures} == {"memorisation.verbatim"}
    assert result.facts["canary"] is None


def test_no_rows_and_only_short_rows_are_said(tmp_path, fake, tools):
    with pytest.raises(DataError, match="no training row"):
        tools.audit(operation, tmp_path / "a", tools.write_data(tmp_path / "none"))
    short = tools.write_data(tmp_path / "short", train=[tools.example("r", "q", "yes")])
    result = tools.audit(operation, tmp_path / "b", short)
    assert "No training answer has 5 words" in result.warnings[0]
    assert not any(m.name == "memorisation.verbatim" for m in result.measures)


def test_canaries_are_the_same_on_every_machine():
    assert canary(0).answer == "The test phrase of this release is 0 1 9 4 0 9."
    assert canary(0) == canary(0)
    assert canary(0).answer != canary(1).answer


def test_candidates_differ_from_each_other_and_from_the_canary():
    others = candidates(5, 3000)
    phrases = {other.answer for other in others}
    assert len(phrases) == 3000
    assert canary(5).answer not in phrases
    assert len({other.id for other in others} | {canary(5).id}) == 3001
    assert candidates(5, 10) == others[:10]
    assert all(len(other.answer) == len(canary(5).answer) for other in others)
    with pytest.raises(ValueError, match="999999"):
        candidates(0, SPACE)
