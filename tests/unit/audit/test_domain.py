import pytest

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
    fake.likelihood = lambda context, continuation: -0.5 * len(continuation)
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
