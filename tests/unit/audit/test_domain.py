import pytest

from limpide.audit import domain
from limpide.audit.compare import compare
from limpide.audit.domain import normalise, operation
from limpide.core import files
from limpide.core.errors import DataError


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("Stop the press.", "stop  the press"),
        ("« Arrêtez ! »", "arrêtez"),
        ("l’huile à 48 °C", "L'huile, à 48 °C."),
        ("ﬁlter", "filter"),
        ("E-104: call", "e 104 call"),
        ("temperature −5", "temperature -5"),
    ],
)
def test_what_counts_as_the_same_answer(written, same):
    assert normalise(written) == normalise(same)


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("-5 °C", "5 °C"),
        ("4.5 bar", "45 bar"),
        ("4,5 bar", "4 5 bar"),
        ("12:30", "1230"),
        ("48 %", "48"),
        ("arrêté", "arrete"),
        ("E-104", "E104"),
        ("48 °C", "48 °F"),
        ("do not stop", "do stop"),
    ],
)
def test_what_does_not(written, other):
    assert normalise(written) != normalise(other)


@pytest.fixture
def data(tmp_path, tools):
    held_out = [
        tools.example(f"h{k}", f"question {k}", f"Answer number {k}.", topic=f"t{k}", language="fr" if k % 2 else "en")
        for k in range(20)
    ]
    unseen = [tools.example(f"u{k}", f"other {k}", f"Never taught {k}", topic=f"new{k // 5}") for k in range(30)]
    return tools.write_data(tmp_path / "data", held_out=held_out, unseen=unseen)


def test_planted_accuracy_is_found(tmp_path, fake, tools, data):
    """Right on 15 of 20 wordings, 10 of them to the letter, and on no unseen topic."""

    def answer(question):
        kind, k = question.split()
        if kind == "other" or int(k) >= 15:
            return "I do not know"
        return f"Answer number {k}." if int(k) < 10 else f" answer number {k} "

    fake.answer = answer
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data))
    accuracy = found["domain.accuracy[slice=held_out]"]
    assert (accuracy.value, accuracy.n, accuracy.clusters, accuracy.interval) == (0.75, 20, 20, "Wilson")
    assert 0.5 < accuracy.low < 0.75 < accuracy.high < 0.9
    assert found["domain.exact[slice=held_out]"].value == 0.5
    unseen = found["domain.accuracy[slice=unseen]"]
    assert (unseen.value, unseen.n, unseen.clusters) == (0.0, 30, 6)
    assert unseen.high > 0.3  # six topics, whatever the thirty wordings
    assert {m for m in found if "language" in m and "accuracy" in m} == {
        "domain.accuracy[language=en,slice=held_out]",
        "domain.accuracy[language=fr,slice=held_out]",
    }


def test_log_likelihood_is_per_token_of_the_answer(tmp_path, fake, tools, data):
    fake.likelihood = lambda context, words: -(0.4 if context[0][-1] in "02468" else 0.6) * len(words)
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data))
    measure = found["domain.log_likelihood[slice=held_out]"]
    assert measure.value == pytest.approx(-0.5)
    assert measure.unit == "nats per token"


def test_items_show_prompt_expected_and_answer(tmp_path, fake, tools, data):
    fake.answer = lambda question: "said"
    tools.audit(operation, tmp_path / "out", data)
    first = files.read_jsonl(tmp_path / "out" / "items.jsonl")[0]
    assert first["id"] == "h0"
    assert (first["prompt"], first["expected"], first["answer"]) == ("question 0", "Answer number 0.", "said")
    assert first["cluster"] == "t0"
    assert first["group"] == {"slice": "held_out", "language": "en"}


def test_the_limit_never_cuts_a_right_answer(tmp_path, fake, tools):
    long = " ".join(["word"] * 80)
    data = tools.write_data(tmp_path / "data", held_out=[tools.example(f"h{k}", f"q {k}", long) for k in range(6)])
    result = tools.audit(operation, tmp_path / "out", data)
    assert fake.allowed == [81]
    assert result.facts["max_new_tokens"] == 81
    assert "max_new_tokens=81" in result.measures[0].method


def test_nothing_held_out_is_said_before_the_model_is_opened(tmp_path, tools):
    data = tools.write_data(tmp_path / "data")
    with pytest.raises(DataError, match="No example was held out") as caught:
        tools.audit(operation, tmp_path / "out", data)
    assert "held_out" in caught.value.remedy


def test_without_topics_each_example_is_its_own_cluster_or_its_groups(tmp_path, fake, tools):
    rows = [tools.example(f"h{k}", f"q {k}", "a", group=f"g{k // 2}", language=None) for k in range(12)]
    data = tools.write_data(tmp_path / "data", held_out=rows)
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data))
    assert found["domain.exact[slice=held_out]"].clusters == 6
    assert not any("language" in label for label in found)


def by_topic(tools, sizes, **more):
    return [
        tools.example(f"{topic}-{k}", f"{topic} {k}", f"the answer {topic}", topic=topic, **more)
        for topic, size in sizes.items()
        for k in range(size)
    ]


def test_f1_is_the_words_shared_with_the_expected_answer(tmp_path, fake, tools):
    """Expected: 4 words. Given: those 4; 2 of 3; none. F1: 1, 2·2/(3 + 4) = 4/7, 0."""
    said = ["Close the red valve!", "the valve opens", "no"]
    rows = [tools.example(f"h{k}", f"q {k}", "close the red valve", topic=f"t{k}") for k in range(12)]
    fake.answer = lambda question: said[int(question.split()[1]) % 3]
    data = tools.write_data(tmp_path / "data", held_out=rows)
    f1 = tools.by_label(tools.audit(operation, tmp_path / "out", data))["domain.token_f1[slice=held_out]"]
    assert f1.value == pytest.approx((1 + 4 / 7 + 0) / 3)
    assert 0 < f1.low < f1.value < f1.high < 1


def test_answers_that_are_all_right_do_not_make_f1_certain(tmp_path, fake, tools):
    rows = by_topic(tools, {f"t{k}": 1 for k in range(20)})
    fake.answer = lambda question: f"the answer {question.split()[0]}"
    data = tools.write_data(tmp_path / "data", held_out=rows)
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data))
    f1, accuracy = (found[f"domain.{name}[slice=held_out]"] for name in ("token_f1", "accuracy"))
    assert f1.value == f1.high == 1
    assert f1.low == accuracy.low < 0.9


def test_a_topic_has_its_own_row_where_wordings_are_what_counts(tmp_path, fake, tools):
    """12 wordings of one topic, 9 right; a topic of 2 says that it has too few."""
    fake.answer = lambda question: "the answer many" if question.startswith("many") and int(question[5:]) < 9 else "no"
    data = tools.write_data(tmp_path / "data", held_out=by_topic(tools, {"many": 12, "few": 2}))
    result = tools.audit(operation, tmp_path / "out", data)
    found = tools.by_label(result)
    many, few = (found[f"domain.accuracy[slice=held_out,topic={topic}]"] for topic in ("many", "few"))
    assert (many.value, many.n, many.clusters) == (0.75, 12, 12)
    assert 0.4 < many.low < 0.75 < many.high
    assert found["domain.token_f1[slice=held_out,topic=many]"].clusters == 12
    assert (few.state, few.value, few.n) == ("insufficient evidence", None, 2)
    assert found["domain.accuracy[slice=held_out]"].clusters == 2  # of all the questions, topics are what counts
    assert result.facts["topics"] == {"asked": 2, "with_enough_questions": 1, "listed": 2}
    changes = {change.label: change for change in compare(tmp_path / "out", tmp_path / "out")}
    assert changes["domain.accuracy[slice=held_out,topic=many]"].verdict == "no detectable change"


def test_inside_a_topic_rows_of_one_group_count_once(tmp_path, fake, tools):
    rows = [tools.example(f"h{k}", f"q {k}", "a", topic="t", group=f"g{k // 3}") for k in range(18)]
    data = tools.write_data(tmp_path / "data", held_out=rows)
    topic = tools.by_label(tools.audit(operation, tmp_path / "out", data))["domain.accuracy[slice=held_out,topic=t]"]
    assert (topic.n, topic.clusters) == (18, 6)


def test_topics_that_nothing_can_be_told_of_make_no_table(tmp_path, fake, tools):
    """None has enough questions: no row. More than fifty, and one has enough: its row alone."""
    rows = by_topic(tools, {f"t{k}": 1 for k in range(domain.TOPICS_LISTED)})
    small = tools.audit(operation, tmp_path / "a", tools.write_data(tmp_path / "small", held_out=rows))
    assert not any("topic" in m.group for m in small.measures)
    assert small.facts["topics"] == {"asked": 50, "with_enough_questions": 0, "listed": 0}
    large = tools.write_data(tmp_path / "large", held_out=rows + by_topic(tools, {"many": 6}))
    found = tools.audit(operation, tmp_path / "b", large)
    assert {m.group["topic"] for m in found.measures if "topic" in m.group} == {"many"}
    assert {row["topic"] for row in files.read_jsonl(tmp_path / "b" / "items.jsonl")} >= {"t0", "t49", "many"}


def test_an_answer_borrowed_from_a_taught_topic_is_found(tmp_path, fake, tools):
    """Of 30 questions never taught, 12 get a taught answer; others their own, one that nobody wrote, or nothing."""
    train = [*by_topic(tools, {"taught": 3}), tools.example("dots", "d", "...", topic="dots")]
    held_out = by_topic(tools, {"also": 1})
    same = tools.example("same", "same 0", "the answer taught", topic="same")
    unseen = [*by_topic(tools, {f"new{k}": 1 for k in range(29)}), same]
    said = ["THE answer: taught.", "the answer also", None, "the answer nowhere", ""]

    def answer(question):
        topic = question.split()[0]
        if topic == "same":
            return "the answer taught"  # which is right here
        given = said[int(topic[3:]) % 5] if topic.startswith("new") else "no"
        return f"the answer {topic}" if given is None else given

    fake.answer = answer
    data = tools.write_data(tmp_path / "data", train=train, held_out=held_out, unseen=unseen)
    result = tools.audit(operation, tmp_path / "out", data)
    borrowed = tools.by_label(result)["domain.borrowed[slice=unseen]"]
    assert (borrowed.value, borrowed.n, borrowed.better) == (12 / 30, 30, "lower")
    assert borrowed.low < 0.4 < borrowed.high
    assert result.facts["taught_answers"] == 2
    assert [m.label for m in result.measures if m.name == "domain.borrowed"] == ["domain.borrowed[slice=unseen]"]


def test_a_model_that_admits_not_knowing_borrows_nothing(tmp_path, fake, tools, data):
    fake.answer = lambda question: "I do not know"
    assert tools.by_label(tools.audit(operation, tmp_path / "out", data))["domain.borrowed[slice=unseen]"].value == 0


def test_a_closed_model_has_all_but_likelihoods(tmp_path, tools, data):
    result = tools.audit(
        operation, tmp_path / "out", data, respondent=tools.closed(lambda question: "Answer number 3.")
    )
    found = tools.by_label(result)
    assert found["domain.accuracy[slice=held_out]"].value == 1 / 20
    assert found["domain.token_f1[slice=held_out]"].value > 0.5
    assert found["domain.borrowed[slice=unseen]"].value == 1
    missing = found["domain.log_likelihood"]
    assert (missing.state, missing.value) == ("not run", None)
    assert "likelihood" in missing.note
    assert result.facts["sent"] == "everything"


def test_personal_data_of_held_out_rows_and_of_answers_is_not_in_the_clear(tmp_path, fake, tools):
    """Releases publish items. The comparison itself is of the texts as they are."""
    answer = "Write to ann.lee@example.org or call 06 12 34 56 78."
    rows = [tools.example(f"h{k}", f"Who helps {k}?", answer) for k in range(2)]
    fake.answer = lambda question: answer if "0" in question else "Write to b.own@model.org or call 06 12 34 56 78."
    tools.audit(operation, tmp_path / "out", tools.write_data(tmp_path / "data", held_out=rows))
    found = files.read_jsonl(tmp_path / "out" / "items.jsonl")
    assert {row["expected"] for row in found} == {"Write to [EMAIL] or call [PHONE]."}
    assert [row["answer"] for row in found] == ["Write to [EMAIL] or call [PHONE]."] * 2
    assert [row["metric"]["exact"] for row in found] == [1, 0]
    everything = " ".join(file.read_text() for file in (tmp_path / "out").iterdir())
    assert ".org" not in everything
    assert "06 12" not in everything


def test_answers_of_a_file_are_as_they_were_given(tmp_path, tools, data):
    """Nobody knows how they were decoded, nor how long they could be."""
    closed = tools.closed(say=lambda question: "Answer", kind="answers", can=frozenset({"generates"}))
    result = tools.audit(operation, tmp_path / "out", data, respondent=closed)
    written = [m.method for m in result.measures if m.name != "domain.log_likelihood"]
    assert all("decoding=given" in method and "max_new_tokens" not in method for method in written)
    asked = tools.closed(say=lambda question: "Answer")
    assert (
        "decoding=greedy,max_new_tokens=48"
        in tools.audit(operation, tmp_path / "b", data, respondent=asked).measures[0].method
    )
