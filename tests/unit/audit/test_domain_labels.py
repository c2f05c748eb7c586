"""Labels as closed options: planted choices are found, beside what the commonest label alone would get right."""

import numpy as np
import pytest

from limpide.audit import domain_labels, functionals
from limpide.audit.compare import compare
from limpide.audit.domain import operation
from limpide.audit.functionals import FUNCTIONALS
from limpide.audit.joined import other_interval
from limpide.audit.statistics import wilson
from limpide.models.requests import Request

LABELS = ("invoice", "complaint", "praise")
RIGHT = {"invoice": 10, "complaint": 6, "praise": 1}  # of the held-out texts of each class
HELD_OUT = {"invoice": 12, "complaint": 8, "praise": 4}
TRAIN = {"invoice": 3, "complaint": 9, "praise": 2}


def rows(tools, counts, prefix):
    made = []
    for label, count in counts.items():
        for k in range(count):
            row = tools.example(f"{prefix}-{label}-{k}", f"{prefix} {label} {k}", label)
            made.append(row.model_copy(update={"label": label}))
    return made


@pytest.fixture
def data(tmp_path, tools):
    return tools.write_data(tmp_path / "data", train=rows(tools, TRAIN, "train"), held_out=rows(tools, HELD_OUT, "h"))


def said(question):
    """The planted choice: right as RIGHT says, else an invoice, or a complaint in place of an invoice."""
    _, label, k = question.split()
    wrong = "complaint" if label == "invoice" else "invoice"
    return label if int(k) < RIGHT[label] else wrong


@pytest.fixture
def options(monkeypatch):
    """The request of an option as two texts."""
    from limpide.models import prompt

    monkeypatch.setattr(prompt, "option_request", lambda model, id, messages, o: Request(id, messages[-1].content, o))


def test_planted_choices_are_found_by_likelihood(tmp_path, fake, tools, data, options):
    fake.likelihood = lambda context, option: -1.0 if option == said(context) else -4.0
    fake.answer = lambda question: said(question).upper()
    result = tools.audit(operation, tmp_path / "out", data)
    found = tools.by_label(result)
    accuracy = found["domain.accuracy[slice=held_out]"]
    assert accuracy.value == pytest.approx(17 / 24)
    recalls = {label: RIGHT[label] / HELD_OUT[label] for label in LABELS}
    for label in ("invoice", "complaint"):
        measure = found[f"domain.recall[class={label},slice=held_out]"]
        assert (measure.value, measure.n) == (pytest.approx(recalls[label]), HELD_OUT[label])
        assert measure.low < measure.value < measure.high
    assert found["domain.recall[class=praise,slice=held_out]"].state == "insufficient evidence"  # four texts
    assert found["domain.balanced_accuracy[slice=held_out]"].value == pytest.approx(sum(recalls.values()) / 3)
    f1 = [2 * 10 / (12 + 15), 2 * 6 / (8 + 8), 2 * 1 / (4 + 1)]  # texts of the class + texts given it
    assert found["domain.macro_f1[slice=held_out]"].value == pytest.approx(sum(f1) / 3)
    sure = np.exp(-1) / (np.exp(-1) + 2 * np.exp(-4))
    assert found["domain.ece[slice=held_out]"].value == pytest.approx(abs(sure - 17 / 24))
    assert found["domain.exact[slice=held_out]"].value == 0.0  # it writes them in capitals
    confusion = result.facts["confusion"]
    assert confusion["labels"] == sorted(LABELS)
    assert confusion["table"] == [[6, 2, 0, 0], [2, 10, 0, 0], [0, 3, 1, 0]]
    assert confusion["confused"][0] == {"expected": "praise", "said": "invoice", "count": 3}
    assert "domain.token_f1[slice=held_out]" not in found


def test_beside_the_commonest_label_of_the_training_rows(tmp_path, fake, tools, data, options):
    """Complaints are the commonest in training, and 8 of 24 held out."""
    fake.likelihood = lambda context, option: -1.0 if option == "complaint" else -4.0
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data))
    majority, accuracy = (found[f"domain.{name}[slice=held_out]"] for name in ("majority", "accuracy"))
    assert majority.value == accuracy.value == pytest.approx(8 / 24)
    assert majority.better == "neither"
    gain = found["domain.gain[slice=held_out]"]
    assert gain.value == 0
    assert gain.low < 0 < gain.high


def test_without_likelihoods_what_is_written_is_read(tmp_path, tools, data):
    """Capitals and a full stop do not matter; another word is no label at all."""

    def say(question):
        return f"{said(question).upper()}." if "praise" not in question else "Thank you"

    result = tools.audit(operation, tmp_path / "out", data, respondent=tools.closed(say))
    found = tools.by_label(result)
    assert found["domain.accuracy[slice=held_out]"].value == pytest.approx(16 / 24)
    assert result.facts["confusion"]["table"][2] == [0, 0, 0, 4]  # praise: nothing that is a label
    assert {found[f"domain.{name}"].note for name in ("ece", "brier")} == {domain_labels.NO_PROBABILITY}


def test_an_encoder_without_a_head_is_not_measured_and_says_why(tmp_path, fake, tools, data):
    fake.kind = "encoder"
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "recall", "gain", "ece", "brier"):
        assert (found[f"domain.{name}"].state, found[f"domain.{name}"].note) == ("not run", domain_labels.NO_HEAD)
    assert found["domain.majority[slice=held_out]"].value == pytest.approx(8 / 24)


def test_one_row_without_a_label_is_an_answer_and_all_are_read_so(tmp_path, fake, tools):
    mixed = [*rows(tools, HELD_OUT, "h"), tools.example("x", "h other 1", "Call the office.")]
    data = tools.write_data(tmp_path / "data", held_out=mixed)
    fake.answer = lambda question: "Call the office." if "other" in question else ""
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data))
    assert found["domain.accuracy[slice=held_out]"].value == pytest.approx(1 / 25)
    assert "domain.majority[slice=held_out]" not in found


def test_too_many_labels_are_read_as_answers(tmp_path, fake, tools):
    many = rows(tools, {f"label{k}": 1 for k in range(domain_labels.MOST_OPTIONS + 1)}, "h")
    found = tools.by_label(tools.audit(operation, tmp_path / "out", tools.write_data(tmp_path / "data", held_out=many)))
    assert "domain.token_f1[slice=held_out]" in found


def test_what_a_training_changed_is_paired(tmp_path, fake, tools, data, options):
    fake.likelihood = lambda context, option: -1.0 if option == "complaint" else -4.0
    tools.audit(operation, tmp_path / "base", data)
    fake.likelihood = lambda context, option: -1.0 if option == context.split()[1] else -4.0
    tools.audit(operation, tmp_path / "result", data, label="result")
    changes = {c.label: c for c in compare(tmp_path / "base", tmp_path / "result")}
    assert changes["domain.accuracy[slice=held_out]"].verdict == "better"
    assert changes["domain.balanced_accuracy[slice=held_out]"].difference == pytest.approx(2 / 3)
    assert not [label for label in changes if "majority" in label]


def test_classes_beyond_the_listed_have_no_row(tools):
    from limpide.audit.domain import domain_item

    one_each = rows(tools, {f"label{k:03}": 1 for k in range(domain_labels.LISTED + 3)}, "h")
    more = rows(tools, {"label099": 2}, "more")
    items = domain_labels.with_classes([domain_item("held_out", row, None, None) for row in (*one_each, *more)])
    listed = {item.group["class"] for item in items if "class" in item.group}
    assert len(listed) == domain_labels.LISTED
    assert "label099" in listed  # the one with the most questions


def test_scores_of_classes_by_hand():
    correct, label = np.array([1, 1, 0, 1.0]), np.array([0, 0, 0, 1.0])
    assert FUNCTIONALS["balanced_accuracy"].value(np.stack([correct, label])) == pytest.approx((2 / 3 + 1) / 2)
    said = np.array([0, 0, -1, 0.0])  # the third is no label; the last class is never said
    assert FUNCTIONALS["macro_f1"].value(np.stack([said, label])) == pytest.approx((2 * 2 / (3 + 3) + 0) / 2)
    twice = np.array([[2, 1, 1, 0.0]])  # one class is not drawn at all: only the other counts
    assert FUNCTIONALS["balanced_accuracy"](np.stack([correct, label]), twice)[0] == pytest.approx(3 / 4)
    assert FUNCTIONALS["macro_f1"](np.stack([said, label]), twice)[0] == pytest.approx(2 * 3 / (4 + 3))


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1"])
def test_all_right_is_not_certain(name):
    """With 10 texts of each class and no error, the intervals keep the width that Wilson gives a class."""
    label = np.repeat([0.0, 1.0], 10)
    columns = np.stack([np.ones(20) if name == "balanced_accuracy" else label, label])
    names = [str(k) for k in range(20)]
    found = functionals.estimate(name, columns, names, draws=50)
    low = wilson(10, 10)[0]
    if name == "macro_f1":
        low = 2 * low / (1 + low)
    assert found.value == found.high == 1
    assert found.low == pytest.approx(1 - np.hypot(1 - low, 1 - low) / 2)
    assert "joined" in found.method


def test_a_class_that_is_never_right_leaves_width_above():
    label = np.repeat([0.0, 1.0], 10)
    other = other_interval("balanced_accuracy", 0.5, np.stack([1 - label, label]), [str(k) for k in range(20)])
    assert other is not None
    assert other.low < 0.5 < other.high
