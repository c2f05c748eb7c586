"""`limpide data draft` and `review`: from documents to reviewed examples, and what is said of what is missing."""

import json
from pathlib import Path
from typing import Any

import pytest

from limpide.cli.main import main
from limpide.data.drafts import Draft, Drafted, DraftsFile, Head, draft_id, load_drafts
from limpide.data.passages import Passage
from limpide.data.reading import read_examples
from tiny import tiny_folder

TEXT = "Oil of grade ISO VG 46 is used in the press, because other oils damage the seals of the valve."
FRENCH = "Le rideau est testé avec la tige grise avant chaque poste, en haut et en bas du champ."


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["data", *map(str, arguments)])
    return int(left.value.code or 0)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "press.md").write_text(f"# Oil\n\n{TEXT}\n")
    (folder / "rideau.txt").write_text(FRENCH)
    return folder


@pytest.fixture
def drafts(tmp_path: Path) -> Path:
    path = tmp_path / "drafts.jsonl"
    head = Head(model="tiny", model_digest="0" * 64, seed=0, per_passage=1, answers="quoted", languages=("en",))
    passage = Passage(id="press", document="press.md", place="Oil", language="en", text=TEXT)
    made = [("Which oil is used in the press?", TEXT), ("Why is other oil not used?", "It damages the seals.")]
    found = tuple(Draft(id=draft_id(passage, q, a), question=q, answer=a) for q, a in made)
    DraftsFile(path, head).add(Drafted(passage=passage, drafts=found))
    return path


def test_drafting_writes_every_draft_with_its_passage(
    documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_folder("llama", tmp_path, max_position_embeddings=4096)
    out = tmp_path / "drafts.jsonl"
    given = ["draft", documents, "--model", model, "--out", out, "--languages", "en", "--per-passage", 1, "--json"]
    assert run(*given) == 0
    told = json.loads(capsys.readouterr().out)
    head, (drafted,) = load_drafts(out)
    assert (head.languages, head.per_passage) == (("en",), 1)
    assert (drafted.passage.source, drafted.passage.text) == ("press.md, Oil", f"Oil\n\n{TEXT}")
    assert told["drafts"] == len(drafted.drafts) == sum(told["refused"].values())  # noise: none passes
    assert (told["passages"], told["to_review"], told["passages_left_out"]) == (1, 0, 1)
    before = out.read_text()
    assert run(*given) == 0  # nothing is left to do
    assert out.read_text() == before


def test_what_cannot_be_drafted_from(documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rest = ["--model", "none", "--out", tmp_path / "d.jsonl"]
    assert run("draft", *rest) == 2
    assert "No document was named." in capsys.readouterr().err
    assert run("draft", documents, *rest, "--languages", "fre") == 2
    assert "does not draft in 'fre'. Did you mean 'fr'?" in capsys.readouterr().err
    assert run("draft", documents / "press.md", *rest, "--languages", "fr") == 2
    assert "No passage is in a language that is drafted in." in capsys.readouterr().err
    assert run("draft", tmp_path / "manual", *rest) == 2
    assert "Did you mean 'manuals'?" in capsys.readouterr().err
    assert not (tmp_path / "d.jsonl").exists()


def test_reviewing_writes_the_page_then_the_examples(
    drafts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("review", drafts, "--language", "fr") == 0
    page = tmp_path / "drafts.review.html"
    assert '<html lang="fr">' in page.read_text()
    assert f"Open {page} in a browser" in capsys.readouterr().out
    first, second = load_drafts(drafts)[1][0].drafts
    decisions = tmp_path / "decisions.json"
    decided = [{"id": first.id, "decision": "accept"}, {"id": second.id, "decision": "reject"}]
    decisions.write_text(json.dumps({"decisions": decided}))
    out = tmp_path / "examples.jsonl"
    assert run("review", drafts, "--decisions", decisions, "--by", "Ada Roux", "--out", out) == 0
    assert "1 examples in" in capsys.readouterr().out
    assert json.loads(out.read_text())["reviewed_by"] == "Ada Roux"
    (example,) = read_examples(out).examples
    assert (example.answer, example.synthetic) == (TEXT, "passage press.md, Oil")


def test_what_is_missing_for_the_examples(drafts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decisions = tmp_path / "decisions.json"
    decisions.write_text('{"decisions": []}')
    assert run("review", drafts, "--decisions", decisions) == 2
    assert "--out and --by must be given too" in capsys.readouterr().err
    given: list[Any] = ["review", drafts, "--decisions", decisions, "--by", "Ada", "--out"]
    assert run(*given, tmp_path / "e.jsonl") == 2
    assert "No draft was accepted" in capsys.readouterr().err
    assert run(*given, drafts) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert run("review", drafts, "--out", drafts) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert not (tmp_path / "e.jsonl").exists()


def test_examples_of_ones_own_are_not_overwritten(
    drafts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions, out = tmp_path / "decisions.json", tmp_path / "examples.jsonl"
    accepted = load_drafts(drafts)[1][0].drafts[0].id
    decisions.write_text(json.dumps({"decisions": [{"id": accepted, "decision": "accept"}]}))
    given = ["review", drafts, "--decisions", decisions, "--by", "Ada", "--out", out]
    mine = '{"prompt": "Which?", "answer": "Left."}\n'
    out.write_text(mine)
    assert run(*given) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert out.read_text() == mine
    out.unlink()
    assert run(*given) == 0
    reviewed = out.read_text() + mine  # somebody went on by hand
    out.write_text(reviewed)
    assert run(*given) == 2
    assert "name another file with --out, or move this one away" in capsys.readouterr().err
    assert out.read_text() == reviewed


def test_a_page_is_not_written_again_by_itself(
    drafts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("review", drafts) == 0
    page = tmp_path / "drafts.review.html"
    page.write_text("kept")
    assert run("review", drafts) == 2
    assert f"{page} is there already" in capsys.readouterr().err
    assert page.read_text() == "kept"


def test_what_cannot_be_drafted_is_said_before_the_model_is_opened(
    documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "examples.jsonl"
    other.write_text('{"prompt": "a", "answer": "b"}\n')
    said = {("--per-passage", 0): "1 to 20", ("--out", other): "no file of drafts", ("--out", tmp_path): "is a folder"}
    for options, expected in said.items():
        given = ["draft", documents, "--model", "none", *options]
        assert run(*given, *([] if "--out" in options else ["--out", tmp_path / "d.jsonl"])) == 2
        assert expected in capsys.readouterr().err
    assert other.read_text() == '{"prompt": "a", "answer": "b"}\n'


def test_how_to_leave_a_document_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.txt").write_bytes(b"abc\0\1def")
    assert run("draft", tmp_path / "scan.txt", "--model", "none", "--out", tmp_path / "d.jsonl") == 2
    said = capsys.readouterr().err
    assert "is not text, whatever its name says" in said
    assert "--skip-bad" in said
