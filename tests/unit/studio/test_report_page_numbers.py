"""What the report page reads and opens: evidence as it was written, a number's facts, and its items by page."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evidence_sample import evidence
from limpide.core import files
from limpide.core.errors import DataError
from limpide.document.drawings import pictures_of
from limpide.document.evidence import Evidence, save_evidence
from limpide.document.language import language
from limpide.studio.pages.report import told_worse
from limpide.studio.pages.report_figures import EVIDENCE, picture, style
from limpide.studio.pages.report_numbers import items_page, measures_of, number
from limpide.studio.pages.report_read import evidence_of, items_of, metric_of, reports, unread, whole_report
from limpide.studio.words import language as spoken_words

LABEL = "domain.accuracy[slice=held_out]"


def say(key: str, *_: object, **values: object) -> str:
    return f"{key} {values}" if values else key


def row(id: int, right: float, **more: Any) -> dict[str, Any]:
    group = {"slice": "held_out" if id % 2 else "unseen", "language": "en"}
    return {"id": f"q{id}", "group": group, "metric": {"normalised": right}, "prompt": f"Question {id}?"} | more


def kept(folder: Path, found: Evidence | None = None) -> Path:
    """A folder with the evidence of a run, its items and what feeds its measures."""
    save_evidence(folder / "evidence" / "evidence.json", found or evidence())
    for subject, right in (("base", 0.0), ("result", 1.0)):
        rows = [row(k, right, answer=f"{subject} says {k}") for k in range(1, 52)]
        files.write_jsonl(folder / "evidence" / "items" / f"{subject}-domain.jsonl", rows)
        specs = [{"name": "domain.accuracy", "metric": "normalised"}]
        files.write_json(folder / "evidence" / "items" / f"{subject}-domain.specs.json", specs)
    return folder


def test_releases_and_held_runs_are_found_newest_first(tmp_path: Path) -> None:
    sample = evidence()
    later = sample.environment.model_copy(update={"date": "2027-01-01T10:00:00Z"})
    kept(tmp_path / "releases" / "press-1.0.0")
    held = sample.model_copy(update={"verdict": "hold", "version": "2.0.0", "environment": later})
    kept(tmp_path / ".limpide" / "press" / "documents" / "abc", held)
    kept(tmp_path / ".limpide" / "press" / "documents" / "def")  # of the release itself
    (tmp_path / "releases" / ".half.tmp").mkdir()
    (tmp_path / "releases" / "broken").mkdir()
    found = reports(tmp_path)
    assert [(f.version, f.verdict, f.release) for f in found] == [
        ("2.0.0", "hold", False),
        (sample.version, "ship", True),
    ]
    assert evidence_of(found[1]) == sample


def test_a_shipped_run_without_its_release_is_shown(tmp_path: Path) -> None:
    kept(tmp_path / ".limpide" / "press" / "documents" / "def")
    assert [f.release for f in reports(tmp_path)] == [False]


def test_nothing_is_found_in_an_empty_folder(tmp_path: Path) -> None:
    assert reports(tmp_path) == []
    assert unread(tmp_path) == []


def test_evidence_that_cannot_be_read_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    kept(tmp_path / "releases" / "press-1.0.0")
    old = kept(tmp_path / "releases" / "press-0.9.0")
    (old / "evidence" / "evidence.json").write_text('{"schema": 0}')
    (tmp_path / "releases" / "broken").mkdir()  # no evidence at all
    assert [found.folder.name for found in reports(tmp_path)] == ["press-1.0.0"]
    assert unread(tmp_path) == ["press-0.9.0"]


def test_evidence_written_anew_is_read_anew(tmp_path: Path) -> None:
    folder = kept(tmp_path / "releases" / "press-1.0.0")
    assert reports(tmp_path)[0].name == evidence().name
    kept(folder, evidence().model_copy(update={"name": "another-name"}))
    assert reports(tmp_path)[0].name == "another-name"


def test_the_whole_report_is_in_the_language_asked_for(tmp_path: Path) -> None:
    folder = kept(tmp_path / "releases" / "press-1.0.0")
    found = reports(tmp_path)[0]
    assert whole_report(found, "fr") is None
    for name in ("report.html", "report.fr.html"):
        (folder / "evidence" / name).write_text("<p>")
    assert [Path(str(whole_report(found, code))).name for code in ("en", "fr", "de")] == [
        "report.html",
        "report.fr.html",
        "report.html",
    ]


def test_items_are_those_of_the_slice(tmp_path: Path) -> None:
    folder = kept(tmp_path / "run")
    base, result = measures_of(evidence(), LABEL)
    assert (base.subject, result.subject) == ("base", "result")
    assert len(items_of(folder, result)) == 26
    assert {one["group"]["slice"] for one in items_of(folder, result)} == {"held_out"}
    assert metric_of(folder, result) == "normalised"
    gone = evidence().measure("retention.loss")
    assert gone is not None
    assert items_of(folder, gone) == []


def test_a_page_of_items_shows_both_models(tmp_path: Path) -> None:
    folder, spoken = kept(tmp_path / "run"), language("en")
    first = items_page(evidence(), folder, LABEL, spoken)
    assert (first.first, first.last, first.total, first.pages) == (1, 10, 26, 3)
    assert first.items[0].title == "Question 1?"
    sides = first.items[0].sides
    assert [side.fields[0].lines[0] for side in sides] == ["base says 1", "result says 1"]
    last = items_page(evidence(), folder, LABEL, spoken, 99)
    assert (last.first, last.last, len(last.items)) == (21, 26, 6)


def test_without_items_the_page_is_empty(tmp_path: Path) -> None:
    found = items_page(evidence(), tmp_path, LABEL, language("en"))
    assert (found.items, found.first, found.total, found.pages) == ((), 0, 0, 1)


def test_items_that_are_no_json_are_told(tmp_path: Path) -> None:
    folder = kept(tmp_path / "run")
    (folder / "evidence" / "items" / "result-domain.jsonl").write_text("{broken")
    with pytest.raises(DataError, match=r"result-domain\.jsonl cannot be read"):
        items_page(evidence(), folder, LABEL, language("en"))


def test_a_number_opens_to_all_that_it_rests_on(tmp_path: Path) -> None:
    found = number(evidence(), LABEL, language("en"), say, kept(tmp_path))
    assert [side.name for side in found.sides] == ["Before (base)", "After (release)"]
    facts = dict(found.sides[1].facts)
    assert found.sides[1].value == "91.7%"
    assert "78.2% to 97.1%" in facts["report.fact.interval"]
    assert facts["report.fact.n"] == "36"
    assert facts["report.fact.metric"] == "normalised"
    assert facts["report.fact.method"] == "domain.accuracy@1(match=normalised)"
    assert facts["report.fact.seed"] == "0"
    assert len(facts["report.fact.model"]) == len(facts["report.fact.data"]) == 64
    change = dict(found.change)
    assert change["report.fact.difference"].startswith("+91.7")
    assert change["report.fact.p"] == "0.01"


def test_too_little_evidence_is_never_a_number() -> None:
    found = number(evidence(), "domain.accuracy[language=fr,slice=held_out]", language("en"), say)
    assert {side.value for side in found.sides} == {"too little evidence"}
    assert "report.fact.interval" not in dict(found.sides[0].facts)


def test_pictures_escape_what_they_show_and_their_style_stays_inside() -> None:
    spoken, bad = language("en"), "<script>alert(1)</script>"
    drawn = pictures_of("bias", evidence(), spoken)[0]
    assert "bias" in picture(drawn, spoken).lower()
    assert bad not in picture(type(drawn)(drawn.kind, drawn.drawing, bad), spoken)
    rules = style()
    assert rules.startswith(f".{EVIDENCE} {{")
    assert rules.count("{") == rules.count("}")
    assert ":root" not in rules
    assert f".body--dark .{EVIDENCE} {{ --ink: #e6ebf0" in rules


def test_the_verdict_names_what_got_worse_and_what_no_gate_watched() -> None:
    sample = evidence()
    spoken = language("fr")
    visit: Any = SimpleNamespace(words=spoken, say=spoken_words("fr").say)
    first = sample.changes[0].model_copy(update={"verdict": "worse"})
    calm = [c.model_copy(update={"verdict": "better"}) for c in sample.changes[1:]]
    gates = [g for g in sample.gates if not g.rule.startswith(f"{first.name.split('.')[0]}.")]
    alone = sample.model_copy(update={"changes": (first, *calm), "gates": tuple(gates)})
    worse, unwatched = told_worse(visit, alone)
    assert worse.startswith("Parmi ce qui a été mesuré, un chiffre est pire")
    assert unwatched == "Aucun contrôle ne le surveillait."
    both = tuple(c.model_copy(update={"verdict": "worse"}) for c in sample.changes if c.name == "domain.exact")
    both += (first,)
    _, named = told_worse(visit, sample.model_copy(update={"changes": both}))  # one of the two has a gate
    assert named.startswith("Aucun contrôle ne surveillait ce chiffre")
    assert told_worse(visit, sample.model_copy(update={"changes": tuple(calm)})) == []
