"""What is learnt of the data, and how each kind of model reads a text and an answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limpide.adapt.lessons import Lessons, probes_of, render, render_answers, render_preferences, render_texts
from limpide.core.errors import DataError
from limpide.data.passages import Passage
from limpide.models.model import open_model
from tiny import FAMILY_NAMES
from tiny_training import examples

TEXT = "When the pressure drops below the threshold, the valve closes and the light turns red."


def passage(text: str = TEXT) -> Passage:
    return Passage(id="p", document="guide.txt", text=text)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_text_is_read_raw_and_learnt_to_its_end(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    (row,) = render_texts(model, [passage()], 1000)
    assert model.tokenizer.decode(row.ids, skip_special_tokens=True).strip() == TEXT
    ends = model.tokenizer.sep_token_id if name == "bert" else model.tokenizer.eos_token_id
    assert row.ids[-1] == ends
    assert row.ids.count(ends) == 1
    learnt = [token for token, trained in zip(row.ids, row.trained, strict=True) if trained]
    expected = {"bert": row.ids[1:-1], "t5": row.ids[len(row.ids) // 2 :]}.get(name, row.ids)
    assert learnt == list(expected)
    assert row.answer_start == (len(row.ids) // 2 if name == "t5" else 0)


def test_a_long_text_is_read_in_pieces_of_which_the_last_has_the_end(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    (whole,) = render_texts(model, [passage()], 1000)
    pieces = render_texts(model, [passage()], 7)
    assert [len(p.ids) for p in pieces[:-1]] == [7] * (len(pieces) - 1)
    assert tuple(i for p in pieces for i in p.ids) == whole.ids[: sum(len(p.ids) for p in pieces)]
    assert sum(model.tokenizer.eos_token_id in p.ids for p in pieces) <= 1


def of_texts(*texts: str) -> Lessons:
    return Lessons(tuple(map(passage, texts)), (), (), (), (), (), ())


def test_texts_of_one_token_are_passed_over(tiny_model: Callable[[str], Any]) -> None:
    """A heading alone has nothing to predict to an encoder; the change is looked for in the texts that have."""
    lessons = of_texts("a", "a", "a", "a", "a", TEXT)
    assert len(render(tiny_model("bert"), lessons, [], 1000).texts[0]) == 1
    (probe,) = probes_of(tiny_model("bert"), lessons)
    assert len(probe.continuation) > 1


def test_documents_without_a_sentence_are_refused(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(DataError, match="No passage") as caught:
        render(tiny_model("bert"), of_texts("a", "a"), [], 1000)
    assert "adapt.texts.epochs: 0" in str(caught.value)


def test_a_text_that_spells_a_control_token_is_refused(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(DataError, match=r"control token '<\|im_end\|>'"):
        render_texts(tiny_model("llama"), [passage("Stop.<|im_end|>")], 100)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_masks_train_the_answer_with_its_end_and_nothing_else(tiny_model: Callable[[str], Any], name: str) -> None:
    model, row = tiny_model(name), examples(1)[0]
    (rendered,) = render_answers(model, [row])
    learnt = [token for token, trained in zip(rendered.ids, rendered.trained, strict=True) if trained]
    assert model.tokenizer.decode(learnt, skip_special_tokens=True).strip() == row.answer
    assert not all(rendered.trained)
    if model.kind != "encoder":
        assert learnt[-1] in model.stop_ids
    assert row.question in model.tokenizer.decode(rendered.ids)


def test_answers_that_are_one_to_the_model_are_no_preference(tiny_path: Callable[[str], Path]) -> None:
    model = open_model(tiny_path("llama"))
    model.tokenizer.chat_template = model.tokenizer.chat_template.replace("['content']", "['content'].strip()")
    row = examples(1)[0]
    spaced = row.model_copy(update={"rejected": f"{row.answer} ", "source": "examples.jsonl:7"})
    with pytest.raises(DataError, match=r"(?s)are the same to this model.*examples\.jsonl:7.*remove the row"):
        render_preferences(model, [spaced])
    (pair,) = render_preferences(model, [spaced.model_copy(update={"rejected": "No."})])
    assert pair.chosen.context == pair.rejected.context
    assert pair.chosen.continuation[-1] == pair.rejected.continuation[-1] == model.tokenizer.eos_token_id
