"""What the page of the model makes of a passport, of what is typed, and of a refusal."""

import json
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import IntegrityError, LimpideError, MissingError
from limpide.models.families.capabilities import load_capabilities
from limpide.models.families.registry import FAMILIES
from limpide.models.passport import FileFact, Passport, TokenizerFacts
from limpide.models.safety import check_folder
from limpide.models.sources import resolve
from limpide.studio.pages.model_choice import REFUSALS, look_at_hub, look_at_path, refusal
from limpide.studio.pages.model_label import LICENCES, Label, exact_ref, label_of, licence_kind
from limpide.studio.words import LANGUAGES, language

TOKENIZER = TokenizerFacts(type="BPE", tokens=9, special={}, chat_template=True, chat_template_digest=None)


def passport(**changed: Any) -> Passport:
    facts: dict[str, Any] = {
        "ref": "m",
        "kind": "folder",
        "digest": "ab" * 32,
        "family": "llama",
        "title": "Llama",
        "architecture": "LlamaForCausalLM",
        "parameters": 135_000_000,
        "adapter_parameters": None,
        "layers": 2,
        "width": 8,
        "context": 2048,
        "precisions": {"F32": 135_000_000},
        "tokenizer": TOKENIZER,
        "licence": "Apache-2.0",
        "licence_source": "README.md",
        "origin": {},
        "base_models": (),
        "languages": ("en",),
        "declared": {},
        "unknown": {},
        "files": (FileFact(name="a", size=3, digest=""), FileFact(name="b", size=4, digest="")),
        "oddities": (),
    }
    return Passport.model_validate({**facts, **changed})


def states(label: Label) -> dict[str, str]:
    return {part.name: part.state for part in label.parts}


def test_the_label_says_what_is_open_and_nothing_that_no_file_says() -> None:
    label = label_of(passport(unknown={"training data": "", "safety work": ""}))
    assert states(label) == {"weights": "open", "code": "partly", "data": "unknown", "recipe": "unknown"}
    assert label.unknown == ("training_data", "safety_work")
    assert (label.bytes, label.context, label.chats) == (7, 2048, True)
    said = label_of(passport(languages=(), declared={"training data": "sets", "data filtering": "a section"}))
    assert (states(said)["data"], states(said)["recipe"]) == ("partly", "partly")
    assert said.unknown == ("languages",)


@pytest.mark.parametrize(
    ("licence", "kind", "state"),
    [
        ("Apache-2.0", "apache", "open"),
        ("mit", "mit", "open"),
        ("cc-by-4.0", "attribution", "open"),
        ("CC-BY-NC-4.0", "non_commercial", "partly"),
        ("cc-by-sa-3.0", "share_alike", "open"),
        ("llama3.2", "llama", "partly"),
        ("gemma", "gemma", "partly"),
        ("creativeml-openrail-m", "responsible", "partly"),
        ("Proprietary", "closed", "closed"),
        ("our-own-1.0", "other", "unknown"),
        (None, "none", "unknown"),
        (" ", "other", "unknown"),
    ],
)
def test_licences(licence: str | None, kind: str, state: str) -> None:
    assert licence_kind(licence) == kind
    assert states(label_of(passport(licence=licence)))["weights"] == state


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_sentence_is_there(code: str) -> None:
    said = language(code)
    for kind in {kind for _, kind in LICENCES} | {"other", "none"}:
        assert said.has(f"model.licence.{kind}.may"), kind
        assert said.has(f"model.licence.{kind}.must"), kind
    for row in load_capabilities().values():
        for name, able in row.items():
            assert said.has(f"model.can.{name}"), name
            assert said.has(f"model.can.{able}"), able
    for why in {why for _, why in REFUSALS} | {"untrusted", "changed", "missing", "family", "other"}:
        assert said.has(f"model.refused.{why}"), why
        assert said.has(f"model.refused.{why}.do"), why
    for licence in ("mit", "gemma", "proprietary", "mine", None):
        for declared in ({}, {"training data": "x", "safety work": "y"}):
            for part in label_of(passport(licence=licence, declared=declared)).parts:
                assert said.say(part.why.key, **part.why.values)
                assert said.has(f"model.open.{part.name}")
                assert said.has(f"model.open.{part.state}")
    for name in ("licence", "training data", "data filtering", "safety work", "languages"):
        assert said.has(f"model.unknown.{name.replace(' ', '_')}"), name


def test_every_family_has_its_row() -> None:
    for family in FAMILIES.values():
        assert label_of(passport(title=family.title)).able, family.title


def test_a_model_of_the_hub_is_kept_by_its_commit() -> None:
    hub = {"hub": {"repository": "o/n", "commit": "c" * 40, "asked_for": "main"}}
    assert exact_ref(passport(ref="hub:o/n@main", origin=hub)) == f"hub:o/n@{'c' * 40}"
    assert exact_ref(passport()) == "m"


@pytest.mark.parametrize(
    ("typed", "ref", "key"),
    [
        ("", None, "empty"),
        ("owner/name", "hub:owner/name@main", "latest"),
        (" hub:owner/name@v1.0 ", "hub:owner/name@v1.0", "named"),
        ("owner/name@refs/pr/1", "hub:owner/name@refs/pr/1", "named"),
        ("https://models.example/owner/name/", "hub:owner/name@main", "latest"),
        ("https://models.example/owner/name/tree/abc", "hub:owner/name@abc", "named"),
        ("name", None, "wrong"),
        ("../../etc", None, "wrong"),
        ("--option/name", None, "wrong"),
        ("owner/name <script>", None, "wrong"),
        ("a/b" * 9999, None, "wrong"),
    ],
)
def test_names_of_the_hub(typed: str, ref: str | None, key: str) -> None:
    found = look_at_hub(typed)
    assert (found.ref, found.said.key) == (ref, f"model.hub.{key}")
    assert language("fr").say(found.said.key, **found.said.values)


def test_paths_are_understood_as_they_are_typed(tmp_path: Path) -> None:
    for name in ("model", "adapter", "ggufs", "risky", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "ggufs" / "m.gguf").write_bytes(b"GGUF")
    (tmp_path / "risky" / "config.json").write_text("{}")
    (tmp_path / "risky" / "pytorch_model.bin").write_bytes(b"")
    expected = {
        "": (None, "empty"),
        "model": (tmp_path / "model", "folder"),
        f"  '{tmp_path / 'model'}' ": (tmp_path / "model", "folder"),
        "adapter": (None, "adapter"),
        "ggufs": (None, "holds_gguf"),
        "ggufs/m.gguf": (tmp_path / "ggufs" / "m.gguf", "gguf"),
        "risky": (tmp_path / "risky", "risky"),
        "empty": (None, "no_model"),
        "model/config.json": (None, "other_file"),
        "modell": (None, "nearest"),
        "none/there": (None, "missing"),
        "zzz": (None, "missing"),
    }
    for typed, (ref, key) in expected.items():
        found = look_at_path(typed, tmp_path)
        assert (found.ref, found.said.key) == (ref and str(ref), f"model.path.{key}"), typed[:50]
        assert language("en").say(found.said.key, **found.said.values)
    for typed in ("nul\0", "x" * 9999, "~nobody-of-this-name/x"):
        assert look_at_path(typed, tmp_path).ref is None


REFUSED = {
    "pickle": {"pytorch_model.bin": b""},
    "program": {"run.sh": b""},
    "remote_code": {"config.json": json.dumps({"auto_map": {"AutoModel": "m.Model"}}).encode()},
    "disguised": {"notes.txt": b"\x80\x04\x95\x00"},
    "template": {"chat_template.jinja": b"{{ messages.__class__ }}"},
    "untrusted": {"more.zip": b""},
}


@pytest.mark.parametrize("why", REFUSED)
def test_refusals_are_told_in_plain_words(why: str, tmp_path: Path) -> None:
    for name, content in REFUSED[why].items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LimpideError) as refused:
        check_folder(tmp_path)
    assert refusal(refused.value.record()) == why


def test_other_failures_are_told_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(LimpideError) as unknown:
        resolve(str(tmp_path))
    assert refusal(unknown.value.record()) == "family"
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(LimpideError) as link:
        check_folder(tmp_path)
    assert refusal(link.value.record()) == "link"
    assert refusal(MissingError("x").record()) == "missing"
    assert refusal(IntegrityError("x").record()) == "changed"
    assert refusal({}) == "other"
