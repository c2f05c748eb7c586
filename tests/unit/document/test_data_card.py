"""The card of a data set: counted from the files, in both languages, hostile text kept harmless; and its Croissant."""

import json
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # ships no types

from evidence_sample import evidence
from limpide.core import digests
from limpide.core.progress import Quiet
from limpide.data.examine import Rules, examine
from limpide.document import facts, findings
from limpide.document.data_card import (
    CONTEXT,
    MIME,
    READ_BY_COLUMN,
    DataCard,
    Declared,
    as_croissant,
    card_of,
    page,
    write_card,
)
from limpide.document.evidence import DataCheck, DocumentsRead
from limpide.document.language import language

ROWS = [
    {
        "prompt": f"How do I open valve number {i} of the press?",
        "answer": f"Turn key {i} of the box.",
        "topic": "valves",
    }
    for i in range(8)
]
PLANTED = [
    {"prompt": "Who?", "answer": "Ask a@ex.org.", "topic": "people"},
    {"prompt": "no answer"},
    {"prompt": "Et la vanne ?", "answer": "C'est la vanne du circuit."},
]


def made(tmp_path: Path, declared: Declared | None = None, name: str = "rows.jsonl") -> DataCard:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, *PLANTED]))
    examined = examine([path], {}, Rules(), 0, Quiet())
    return card_of(examined, (), declared or Declared(name="Valves"), {name: path.stat().st_size})


def test_what_it_says_is_counted(tmp_path: Path) -> None:
    card = made(tmp_path)
    (file,) = card.files
    assert (file.rows, file.left_out, file.digest) == (11, 1, digests.of_file(tmp_path / "rows.jsonl"))
    assert (card.counts["examples"], card.counts["topics"], card.counts["preferences"]) == (10, 2, 0)
    assert sum(card.languages.values()) == 10
    assert card.languages["fr"] == 1
    found = {check.name: check for check in card.checks}
    assert {name for name, check in found.items() if check.severity == "stops"} == {"rows", "personal_data"}
    assert found["personal_data"].places == ("rows.jsonl:9: e-mail address 'a…@…org' in the assistant message",)
    assert card.policies == {"secrets": "refuse", "personal_data": "refuse", "names": "warn", "leakage": "refuse"}


@pytest.mark.parametrize(("code", "said"), [("en", "not declared"), ("fr", "non déclaré")])
def test_what_nobody_declared_is_not_guessed(tmp_path: Path, code: str, said: str) -> None:
    text = page(made(tmp_path), code)
    assert text.count(said) == 2
    assert "license" not in text
    assert "a@ex.org" not in text


def test_declared_things_are_shown_as_declared_and_harmless(tmp_path: Path) -> None:
    hostile = "Ours | <script>x</script> `a` [b](http://c)"
    card = made(tmp_path, Declared(name=hostile, licence="CC-BY-4.0", provenance=hostile, description=hostile))
    text = page(card, "en")
    head, body = text.removeprefix("---\n").split("---\n", 1)
    assert yaml.safe_load(head) == {
        "pretty_name": hostile,
        "size_categories": ["n<1K"],
        "language": ["en", "fr"],
        "license": "cc-by-4.0",
    }
    assert "<script>" not in body
    assert "[b](http" not in body
    assert body.count("declared by the owner, not checked") == 2


def test_both_languages_and_the_records_are_written(tmp_path: Path) -> None:
    card = made(tmp_path)
    written = write_card(card, tmp_path / "card", "fr", croissant=True)
    assert [path.name for path in written] == ["README.en.md", "README.md", "card.json", "croissant.json"]
    assert "## Journal de filtrage" in (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert "## Filtering log" in (tmp_path / "card" / "README.en.md").read_text(encoding="utf-8")
    assert DataCard.model_validate_json((tmp_path / "card" / "card.json").read_text(encoding="utf-8")) == card
    bare = write_card(card, tmp_path / "bare")
    assert [path.name for path in bare] == ["README.md", "README.fr.md", "card.json"]


def test_croissant_keeps_the_rules_of_its_specification(tmp_path: Path) -> None:
    """Those of version 1.0 on what must be there, on references between parts, and on the context."""
    record = as_croissant(made(tmp_path, Declared(name="Valves", licence="cc-by-4.0", description="Questions.")))
    assert json.loads(json.dumps(record)) == record
    assert record["@type"] == "sc:Dataset"
    assert record["conformsTo"] == CONTEXT["dct"].replace(
        "http://purl.org/dc/terms/", "http://mlcommons.org/croissant/1.0"
    )
    assert {"name", "description", "license", "distribution", "recordSet"} <= record.keys()
    objects = {one["@id"]: one for one in record["distribution"]}
    for one in objects.values():
        assert one["@type"] == "cr:FileObject"
        assert {"name", "contentUrl", "encodingFormat", "sha256"} <= one.keys()
        assert len(one["sha256"]) == 64
        assert one["encodingFormat"] in MIME.values()
    ids = [*objects]
    for rows in record["recordSet"]:
        ids.append(rows["@id"])
        assert rows["@type"] == "cr:RecordSet"
        for field in rows["field"]:
            ids.append(field["@id"])
            assert field["@type"] == "cr:Field"
            assert field["@id"].startswith(f"{rows['@id']}/")
            assert field["source"]["fileObject"]["@id"] in objects
            assert field["source"]["extract"]["column"] in ("prompt", "answer", "topic")
            assert field["dataType"] == "sc:Text"
    assert len(set(ids)) == len(ids)
    assert not any(" " in id for id in ids)
    assert set(READ_BY_COLUMN) <= set(MIME)


def test_every_check_has_words_in_both_languages(tmp_path: Path) -> None:
    names = [check.name for check in made(tmp_path).checks] + ["template", "tokens"]
    assert len(names) == len(set(names)) == 20
    for code in ("en", "fr"):
        assert all(language(code).has(f"data_check.{name}") for name in names)


@pytest.mark.parametrize(
    ("code", "secrets", "quiet"),
    [
        ("en", "Secrets (keys, tokens, passwords)", "Insults and slurs"),
        ("fr", "Secrets (clés, jetons", "Insultes et injures"),
    ],
)
def test_a_release_tells_what_the_checks_of_its_data_found(code: str, secrets: str, quiet: str) -> None:
    spoken, sample = language(code), evidence()
    checks = (
        DataCheck(name="secrets", severity="warns", count=3, rows=2),
        DataCheck(name="toxic", severity="told", count=0, rows=0),
        DataCheck(name="near_duplicates", severity="told", count=4, rows=4),
    )
    told = sample.model_copy(update={"data": sample.data.model_copy(update={"checks": checks, "synthetic": 5})})
    before, after = facts.data(sample, spoken), facts.data(told, spoken)
    assert after[: len(before)] == before
    made, found, nothing = after[len(before) :]
    assert made == (spoken.say("data_fact.synthetic"), "5")
    assert found[0].startswith(secrets)
    assert found[1] == spoken.say("data_fact.found", count="3", rows="2")
    assert nothing[1].startswith(quiet)


@pytest.mark.parametrize(("code", "left"), [("en", "- Licence: not declared"), ("fr", "- Licence\u202f: non déclaré")])
def test_a_page_keeps_the_spaces_of_its_language_and_no_command(tmp_path: Path, code: str, left: str) -> None:
    card = made(tmp_path)
    named = card.model_copy(update={"declared": card.declared.model_copy(update={"name": "\x1b[31m", "licence": None})})
    shown = page(named, code)
    assert left in shown.replace("\u00a0", "\u202f")
    assert "\x1b" not in shown


@pytest.mark.parametrize("code", ["en", "fr"])
def test_a_release_tells_of_the_documents_and_the_charter(code: str) -> None:
    spoken, sample = language(code), evidence()
    read = DocumentsRead(count=5, words=931, train=3, held_out=4)
    told = sample.model_copy(update={"data": sample.data.model_copy(update={"documents": read, "charter_pairs": 278})})
    rows, before = dict(facts.data(told, spoken)), dict(facts.data(sample, spoken))
    assert [rows[name] for name in rows if name not in before] == ["278", "5", "0", "931", "3", "4"]
    assert "278" not in findings.data(sample, spoken)
    assert all(number in findings.data(told, spoken) for number in ("278", "3 passages", "5 documents"))
