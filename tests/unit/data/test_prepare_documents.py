"""`data.prepare` with documents: what is written and said, and that the policies hold for passages too."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from limpide.core.errors import DataError
from limpide.core.files import read_json
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.documents import digest_of_folder
from limpide.data.examples import load_examples
from limpide.data.leakage import shipped_items
from limpide.data.passages import HELD_OUT, TRAIN, load_passages
from limpide.data.prepare import PrepareSettings, inputs, operation
from tiny_documents import prose


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manuals"
    made.mkdir()
    for number in range(6):
        (made / f"manual {number}.txt").write_text(f"The press {number} is red. {prose(160, f'word{number}x')}")
    return made


def prepare(out: Path, **settings: Any) -> Result:
    out.mkdir(exist_ok=True)
    result = operation.run(Subject(out=out, seed=1), PrepareSettings.model_validate(settings), Quiet())
    assert isinstance(result, Result)
    return result


def test_documents_alone_are_read_divided_and_reported(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    facts = prepare(out, documents=folder).facts
    train, held_out = load_passages(out / TRAIN), load_passages(out / HELD_OUT)
    assert (len(train), len(held_out)) == (5, 1)
    assert not {p.document for p in train} & {p.document for p in held_out}
    found = facts["documents"]
    assert (found["train"], found["held_out"], found["split_by"], found["words"]) == (5, 1, "document", 6 * 165)
    assert facts == read_json(out / "report.json")
    assert (facts["examples"], (out / "train.jsonl").read_text()) == (0, "")


def test_personal_data_and_secrets_in_documents_are_refused_or_masked(folder: Path, tmp_path: Path) -> None:
    note = "Write to ada.roux@example.org before you start."
    (folder / "contact.md").write_text(f"# Help\n\n{note}\n")
    with pytest.raises(DataError, match="personal data in the documents") as caught:
        prepare(tmp_path / "out", documents=folder)
    assert [str(fault) for fault in caught.value.faults] == [
        "contact.md: e-mail address 'a…@…org' in Help",
    ]
    assert list((tmp_path / "out").iterdir()) == []
    facts = prepare(tmp_path / "out", documents=folder, personal_data="mask").facts
    texts = [p.text for name in (TRAIN, HELD_OUT) for p in load_passages(tmp_path / "out" / name)]
    assert "Help\n\nWrite to [EMAIL] before you start." in texts
    assert "In the documents: Personal data masked: 1 × e-mail address." in facts["warnings"]


def test_a_french_document_is_masked_in_french_in_its_short_passages_too(folder: Path, tmp_path: Path) -> None:
    french = "La presse doit être arrêtée avant que la porte ne soit ouverte, et le service est prévenu. " * 30
    (folder / "consignes.md").write_text(f"# Arrêt\n\n{french}\n\n# Contacts\n\nada.roux@example.org\n")
    prepare(tmp_path / "out", documents=folder, personal_data="mask")
    kept = [p for name in (TRAIN, HELD_OUT) for p in load_passages(tmp_path / "out" / name)]
    texts = [p.text for p in kept if p.document == "consignes.md"]
    assert sum("[COURRIEL]" in text for text in texts) == 1
    assert not any("[EMAIL]" in text for text in texts)


def test_an_address_in_a_heading_is_neither_printed_nor_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "contact.md").write_text(f"# Ask ada.roux@example.org\n\n{prose(500, 'help')}\n")
    with pytest.raises(DataError) as caught:
        prepare(tmp_path / "out", documents=folder)
    assert [str(fault) for fault in caught.value.faults] == [
        "contact.md: e-mail address 'a…@…org' in Ask [EMAIL]",
    ]
    prepare(tmp_path / "out", documents=folder, personal_data="mask")
    kept = [p for name in (TRAIN, HELD_OUT) for p in load_passages(tmp_path / "out" / name)]
    assert {p.place for p in kept if p.document == "contact.md"} == {"Ask [EMAIL]"}
    assert len([p for p in kept if p.document == "contact.md"]) > 1


def test_items_of_the_audits_in_documents_are_refused_unless_they_may_be_learnt(folder: Path, tmp_path: Path) -> None:
    item = next(item for item in shipped_items() if item.suite == "retention")
    (folder / "quiz.md").write_text(f"# Quiz\n\n{item.text}\n")
    with pytest.raises(DataError, match="in the documents and in the audits") as caught:
        prepare(tmp_path / "out", documents=folder)
    assert [str(fault) for fault in caught.value.faults] == [
        f"quiz.md: holds item {item.id} of the suite retention, in Quiz"
    ]
    facts = prepare(tmp_path / "out", documents=folder, leakage={"allow": "the audit is run on others"}).facts
    assert facts["documents"]["checks"]["leakage"]["count"] == 1


def test_rows_drafted_from_held_out_passages_are_said(folder: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", documents=folder)
    (held_out,) = load_passages(tmp_path / "out" / HELD_OUT)
    asked = ["pump", "valve", "drum", "lock", "belt", "lamp", "gate"]
    rows = [
        {"prompt": f"What does the {w} do?", "answer": f"It moves the {w}.", "group": held_out.id} for w in asked[:3]
    ]
    rows += [{"prompt": f"Where is the {w} kept?", "answer": f"In room {n}."} for n, w in enumerate(asked[3:])]
    for name, group in (("a", held_out.id), ("b", None)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row | ({"group": group} if "group" in row else {})) + "\n" for row in rows))
        said = prepare(tmp_path / name, documents=folder, examples=path, held_out=0.25).facts["warnings"]
        train = {row.group for row in load_examples(tmp_path / name / "train.jsonl")}
        assert any("drafted from 1 of the 1 held-out passages" in one for one in said) == (held_out.id in train)
    assert held_out.id in {row.group for row in load_examples(tmp_path / "a" / "train.jsonl")}


def test_unreadable_documents_stop_unless_they_may_be_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "empty.pdf").write_bytes(b"")
    with pytest.raises(DataError, match="wrong in the documents"):
        prepare(tmp_path / "out", documents=folder)
    facts = prepare(tmp_path / "out", documents=folder, skip_bad_rows=True).facts
    assert facts["documents"]["skipped"] == ["empty.pdf: is empty: 0 bytes"]


def test_something_must_be_given() -> None:
    with pytest.raises(ValidationError, match="needs examples, documents, or both"):
        PrepareSettings()


def test_the_inputs_of_a_folder_follow_what_is_read(folder: Path) -> None:
    settings = PrepareSettings.model_validate({"examples": "a.jsonl", "documents": folder})
    assert inputs(settings) == [Path("a.jsonl"), folder]
    before = digest_of_folder(folder)
    assert digest_of_folder(folder) == before
    (folder / "manual 0.txt").write_text("Another text.")
    changed = digest_of_folder(folder)
    (folder / "photo.jpg").write_bytes(b"x")  # named in the report
    assert len({before, changed, digest_of_folder(folder)}) == 3
