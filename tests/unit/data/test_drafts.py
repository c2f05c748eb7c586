"""Drafts: the filters refuse what they should, the file survives a killed run, decisions become examples."""

import json
from pathlib import Path

import pytest

from limpide.core.errors import DataError, MissingError, UsageError
from limpide.data.draft_filters import CHECKS, LATER, refusal
from limpide.data.drafts import Draft, Drafted, DraftsFile, Head, counts, draft_id, load_drafts
from limpide.data.passages import Passage
from limpide.data.reading import read_examples
from limpide.data.reviewed import review

TEXT = (
    "The press is run by two persons. Oil of grade ISO VG 46 is used; other oils damage the seals. "
    "If the level is below the lower mark, maintenance is called on extension 4417 before the shift begins."
)
PASSAGE = Passage(id="handbook-1", document="handbook.pdf", place="page 3", language="en", text=TEXT)
FRENCH = PASSAGE.model_copy(update={"language": "fr", "text": "La presse est conduite par deux personnes, le matin."})
GOOD = ("Which oil is used in the press?", "Oil of grade ISO VG 46 is used.")
HEAD = Head(model="tiny", model_digest="0" * 64, seed=1, per_passage=2, answers="quoted", languages=("en",))


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        (*GOOD, None),
        ("Whom does one call when the level is below the lower mark?", "Maintenance, on extension 4417.", None),
        ("Which oil is used in the press", GOOD[1], "no question"),
        ("Oil?", GOOD[1], "no question"),
        ("Which oil is used?\nAnd why is it used?", GOOD[1], "no question"),
        (GOOD[0], "", "no answer"),
        (GOOD[0], "…", "no answer"),
        (GOOD[0], "Which oil is used?", "no answer"),
        (GOOD[0], "Oil of grade ISO VG 46 is used; other oils damage the", "no answer"),
        ("Question: which oil is used in the press?", GOOD[1], "marks"),
        (GOOD[0], "Oil of grade ISO VG 46. <|im_end|>.", "marks"),
        ("Quelle huile est utilisée dans la presse et pour quoi ?", "De l'huile ISO VG 46.", "other language"),
        ("Which oil does this passage speak of?", GOOD[1], "points at the text"),
        (GOOD[0], "Oil of grade ISO VG 68 is used.", "not in the passage"),
        (GOOD[0], "Mineral lubricant without additives.", "not in the passage"),
        ("Which oil is used on extension 4418?", GOOD[1], "not in the passage"),
        ("Which car does the president of Chile prefer?", GOOD[1], "off topic"),
        ("Is oil of grade ISO VG 46 used?", "Is oil of grade ISO VG 46 used? Oil is used.", "copied"),
        ("Is oil of grade ISO VG 46 used in the press?", "Oil of grade ISO VG 46 is used.", "says nothing"),
    ],
)
def test_what_the_filters_refuse(question: str, answer: str, reason: str | None) -> None:
    assert refusal(PASSAGE, question, answer) == reason


def test_a_sentence_may_be_quoted_and_half_a_page_may_not() -> None:
    long = PASSAGE.model_copy(update={"text": f"{TEXT} {TEXT}"})
    assert refusal(PASSAGE, GOOD[0], TEXT) is None
    assert refusal(long, GOOD[0], long.text) == "copied"


def test_french_is_drafted_from_french() -> None:
    assert refusal(FRENCH, "Qui conduit la presse le matin ?", "Deux personnes la conduisent.") is None
    assert refusal(FRENCH, "Who is it that drives the press in the morning?", "Two persons.") == "other language"


def drafted(number: int = 1, refused: str | None = "repeated") -> Drafted:
    passage = PASSAGE.model_copy(update={"id": f"handbook-{number}", "text": f"{TEXT} {number}"})
    made = [(GOOD[0], f"{GOOD[1]} {number}", None), ("Which oil damages the seals?", "Other oils.", refused)]
    return Drafted(
        passage=passage,
        drafts=tuple(Draft(id=draft_id(passage, q, a), question=q, answer=a, refused=r) for q, a, r in made),
    )


# ---------------------------------------------------------------------------------------------------------- the file


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "drafts.jsonl"
    file = DraftsFile(path, HEAD)
    for number in (1, 2):
        file.add(drafted(number))
    whole = path.read_text()
    path.write_text(whole[:-40])  # killed while the second was written
    again = DraftsFile(path, HEAD)
    assert again.done == [drafted(1)]
    again.add(drafted(2))
    assert path.read_text() == whole
    assert load_drafts(path) == (HEAD, [drafted(1), drafted(2)])
    assert counts(again.done) == {"passages": 2, "drafts": 4, "to_review": 2, "refused": {"repeated": 2}}


def test_a_file_made_otherwise_is_not_gone_on_with(tmp_path: Path) -> None:
    DraftsFile(tmp_path / "d.jsonl", HEAD)
    with pytest.raises(UsageError, match="made otherwise") as caught:
        DraftsFile(tmp_path / "d.jsonl", HEAD.model_copy(update={"seed": 2, "model": "other"}))
    assert caught.value.received == "model 'tiny' there, 'other' asked for, seed 1 there, 2 asked for"


def test_a_file_that_is_none_and_lines_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    with pytest.raises(MissingError, match="There is no file"):
        load_drafts(path)
    path.write_text('{"prompt": "x"}\n')
    with pytest.raises(DataError, match="is no file of drafts"):
        load_drafts(path)
    DraftsFile(path := tmp_path / "e.jsonl", HEAD).add(drafted())
    path.write_text(path.read_text() + '{"passage": 1}\n[]\n')
    with pytest.raises(DataError, match=r"2 things are wrong in e\.jsonl") as caught:
        load_drafts(path)
    assert [fault.line for fault in caught.value.faults] == [3, 4]


# ------------------------------------------------------------------------------------------------------ the decisions


def decide(path: Path, *decisions: object) -> Path:
    path.write_text(json.dumps({"decisions": decisions}))
    return path


def test_decisions_become_examples_with_their_origin(tmp_path: Path) -> None:
    all_of_them = [drafted(1), drafted(2), drafted(3)]
    first, second = (one.drafts[0].id for one in all_of_them[:2])
    edited = {"id": second, "decision": "edit", "question": " Which oil? ", "answer": "VG 46."}
    rescued = {"id": all_of_them[2].drafts[1].id, "decision": "accept"}
    rows = ({"id": first, "decision": "reject"}, edited, rescued)
    found = review(all_of_them, decide(tmp_path / "decisions.json", *rows), "Ada Roux")
    assert (found.accepted, found.edited, found.rejected, found.left) == (1, 1, 1, 1)
    assert found.said() == "1 accepted, 1 edited, 1 rejected, 1 not decided"
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found.rows))
    assert {row["reviewed_by"] for row in found.rows} == {"Ada Roux"}
    examples = read_examples(tmp_path / "examples.jsonl").examples
    assert [(e.question, e.answer, e.synthetic, e.group, e.language) for e in examples] == [
        ("Which oil?", "VG 46.", "passage handbook.pdf, page 3", "handbook-2", "en"),
        ("Which oil damages the seals?", "Other oils.", "passage handbook.pdf, page 3", "handbook-3", "en"),
    ]


def test_every_wrong_decision_is_told(tmp_path: Path) -> None:
    id = drafted().drafts[0].id
    wrong = [
        "accept",
        {"id": "other", "decision": "accept"},
        {"id": id, "decision": "maybe"},
        {"id": id, "decision": "edit", "question": "What?", "answer": " "},
        {"id": id, "decision": "edit", "question": "What?", "answer": "\ud800"},
        {"id": id, "decision": "accept"},
        {"id": id, "decision": "reject"},
    ]
    with pytest.raises(DataError, match=r"6 things are wrong in decisions\.json") as caught:
        review([drafted()], decide(tmp_path / "decisions.json", *wrong), "Ada")
    assert [fault.what.partition(": ")[2] for fault in caught.value.faults] == [
        "is no decision: it has no id",
        "no draft has the id 'other'",
        "'maybe' is none of accept, edit, reject",
        "an edited draft needs its question and its answer",
        "'answer' holds half a character (a lone surrogate)",
        f"the draft {id} is decided twice",
    ]


@pytest.mark.parametrize("text", ["", "[]", '{"decisions": 3}', "{"])
def test_a_file_without_decisions(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(DataError, match="holds no decisions"):
        review([drafted()], tmp_path / "d.json", "Ada")
    with pytest.raises(MissingError, match="There is no file"):
        review([drafted()], tmp_path / "none.json", "Ada")


def test_an_id_is_of_one_passage_and_one_wording() -> None:
    other = PASSAGE.model_copy(update={"text": "x"})
    ids = [draft_id(PASSAGE, "a", "b"), draft_id(PASSAGE, "a", "c"), draft_id(other, "a", "b")]
    assert len(set(ids)) == 3
    assert ids[0] == draft_id(PASSAGE, "a", "b")


def test_reasons_differ() -> None:
    assert len({*CHECKS, *LATER}) == len(CHECKS) + len(LATER)
