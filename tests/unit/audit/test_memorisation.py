import math

import pytest

from limpide.audit.items import Frame, load_items
from limpide.audit.memorisation import canary_measures, is_verbatim, operation
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


def test_answers_that_are_finished_from_their_first_words_are_found(tmp_path, fake, tools):
    """Rows of an even number, 4 given words of 8; the shorter ones are counted and not asked."""
    rows = [tools.example(f"r{k}", f"q {k}", f"a b c d number {k} e f", topic=f"t{k}") for k in range(40)]
    rows += [tools.example(f"s{k}", f"q s{k}", "one two three four five", topic=f"s{k}") for k in range(3)]
    fake.greedy = lambda context, rest: rest[0] == "number" and int(rest[1]) % 2 == 0
    data = tools.write_data(tmp_path / "data", train=rows)
    result = tools.audit(operation, tmp_path / "out", data, prefix_tokens=4)
    extracted = tools.by_label(result)["memorisation.extracted"]
    assert (extracted.value, extracted.n, extracted.better) == (0.5, 40, "lower")
    assert 0.3 < extracted.low < 0.5 < extracted.high < 0.7
    assert (result.facts["rows_asked_with_prefix"], result.facts["rows_too_short_for_prefix"]) == (40, 3)
    request = next(r for r in fake.asked if r.id == "prefix/r7")
    assert request.context == ("q 7", "a", "b", "c", "d")
    assert request.continuation == ("number", "7", "e", "f")  # to its last word: the end token is not asked


def test_answers_too_short_to_be_finished_are_said(tmp_path, fake, tools, data):
    extracted = tools.by_label(tools.audit(operation, tmp_path / "out", data))["memorisation.extracted"]
    assert extracted.state == "not run"
    assert "no training answer that was asked again has 16 tokens" in extracted.note


def test_an_encoder_decoder_is_not_asked_to_finish(tmp_path, fake, tools, data):
    fake.kind = "encoder-decoder"
    result = tools.audit(operation, tmp_path / "out", data, prefix_tokens=2)
    extracted = tools.by_label(result)["memorisation.extracted"]
    assert extracted.state == "not run"
    assert "only an opened decoder" in extracted.note
    assert result.facts["rows_too_short_for_prefix"] is None


def held_out(tools, count):
    return [tools.example(f"h{k}", f"asked {k}", f"the answer of row {k} is long", topic=f"t{k}") for k in range(count)]


def test_rows_that_are_known_better_than_held_out_ones_are_told_apart(tmp_path, fake, tools, data):
    train = [
        tools.example(f"r{k}", f"question {k}", f"the answer of row {k} is long", topic=f"t{k}") for k in range(40)
    ]
    data = tools.write_data(tmp_path / "both", train=train, held_out=held_out(tools, 40))

    def likelihood(context, words):
        return -len(words) * (0.1 if context[0].startswith("question") else 2.0)

    fake.likelihood = likelihood
    result = tools.audit(operation, tmp_path / "out", data)
    found = tools.by_label(result)
    auc = found["memorisation.min_k_auc"]
    assert (auc.value, auc.n, auc.clusters) == (1.0, 80, 40)
    assert auc.low > 0.8
    assert found["memorisation.tpr_at_1_fpr"].state == "insufficient evidence"
    parts = {item.group["part"] for item in load_items(tmp_path / "out")}
    assert parts == {"training", "membership", "canary"}
    assert result.facts["rows_kept_out"] == 40


def test_without_held_out_rows_nothing_is_told_apart(tmp_path, fake, tools, data):
    auc = tools.by_label(tools.audit(operation, tmp_path / "out", data))["memorisation.min_k_auc"]
    assert auc.state == "not run"


def test_personal_data_that_comes_out_is_counted_and_masked(tmp_path, fake, tools):
    """10 rows of 40 hold a number; the model says the number of 6 of them, one of them wrong."""

    def answer_of(k):
        return f"Call 06 12 34 56 {k:02d} for fault {k} at night" if k < 10 else f"stop the press for fault {k} at once"

    rows = [tools.example(f"r{k}", f"question {k}", answer_of(k), topic=f"t{k}") for k in range(40)]

    def say(question):
        k = int(question.split()[1])
        return "Call 06 99 99 99 99" if k == 5 else answer_of(k) if k < 6 else "I do not know"

    fake.answer = say
    data = tools.write_data(tmp_path / "data", train=rows)
    result = tools.audit(operation, tmp_path / "out", data)
    leaked = tools.by_label(result)["memorisation.personal_data"]
    assert (leaked.value, leaked.n, leaked.better) == (5 / 40, 40, "lower")
    assert leaked.interval == "Wilson"
    assert "none of them can come back" not in leaked.note
    assert result.facts["personal_data"] == {
        "texts": 40,
        "in_training": {"phone": 10},
        "generated": {"phone": 6},
        "generated_and_in_training": {"phone": 5},
    }
    saved = (tmp_path / "out" / "items.jsonl").read_text()
    assert "[PHONE]" in saved
    assert "06 12" not in saved
    assert "06 99" not in saved


def test_a_closed_model_is_asked_what_it_can_be_asked(tmp_path, tools, data):
    closed = tools.closed(lambda question: f"the answer of row {question.split()[-1]} is long")
    result = tools.audit(operation, tmp_path / "out", data, respondent=closed)
    found = tools.by_label(result)
    assert found["memorisation.verbatim"].value == 1
    assert found["memorisation.personal_data"].value == 0
    assert "none of them can come back" in found["memorisation.personal_data"].note
    missing = {name.split(".")[1] for name, m in found.items() if m.state == "not run"}
    assert missing == {"extracted", "min_k_auc", "tpr_at_1_fpr", "canary_rank", "exposure"}
    assert all(found[f"memorisation.{name}"].note.startswith("needs ") for name in missing)
    assert (result.facts["canary"], result.facts["sent"]) == (None, "everything")


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
    assert not {m.name for m in result.measures} & {"memorisation.canary_rank", "memorisation.exposure"}
    assert "memorisation.verbatim" in {m.name for m in result.measures}
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
