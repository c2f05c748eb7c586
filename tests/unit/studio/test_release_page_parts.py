"""The release page: what is found of each release, what a verification showed, and the archive to take away."""

import asyncio
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.responses import StreamingResponse

from limpide.core import files
from limpide.core.errors import LimpideError, MissingError, UsageError
from limpide.release.approve import approve
from limpide.release.keys import KeyPair, new_keys
from limpide.release.sign import sign_folder
from limpide.release.verify import verify_folder
from limpide.serve.accounts import Role, may
from limpide.studio.pages.release_approval import Said, moment, put, statement
from limpide.studio.pages.release_checks import argv, of_error, of_result
from limpide.studio.pages.release_found import documents, private_keys, releases, size, the_release
from limpide.studio.pages.release_pack import packed, serve
from limpide.studio.pages.release_rights import check_opens, refusal, require
from limpide.studio.pages.release_sign import sign
from limpide.studio.project import Project
from limpide.studio.words import language

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
FILES = {
    "README.md": "# A model\n",
    "model.safetensors": "weights" * 1000,
    "evidence/report.html": "<p>",
    "evidence/report.fr.html": "<p>",
    "evidence/measures.jsonl": "",
    "recipe.lock.json": '{"approval": "required"}',
}


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return new_keys(tmp_path / "keys" / "release.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "releases" / "press-1.0.0"
    for name, text in FILES.items():
        files.write_text(made / name, text)
    return made


def refused(folder: Path, key: Path) -> dict[str, Any]:
    with pytest.raises(LimpideError) as error:
        verify_folder(folder, key)
    return dict(error.value.record())


def test_a_release_not_signed(folder: Path, tmp_path: Path) -> None:
    (found,) = releases(tmp_path, tmp_path / "keys")
    assert (found.id, found.signed, found.approval, found.waits, found.fault) == ("press-1.0.0", None, True, True, None)


def test_who_signed_and_who_approved(folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    sign_folder(folder, keys.private)
    (found,) = releases(tmp_path, tmp_path / "keys")
    assert found.signed is not None
    assert (found.signed.fingerprint, found.signed.key, found.signed.files) == (keys.fingerprint, keys.public, 6)
    assert found.waits
    approve(folder, "Marie Curie", keys.private, statement="Read.", now=NOON)
    again = the_release(tmp_path, tmp_path / "keys", "press-1.0.0")
    assert [(a.name, a.statement) for a in again.approved] == [("Marie Curie", "Read.")]
    assert not again.waits


def test_a_key_that_is_not_here(folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    sign_folder(folder, keys.private)
    found = the_release(tmp_path, tmp_path / "no-keys", "press-1.0.0")
    assert found.signed is not None
    assert (found.signed.fingerprint, found.signed.key, found.approved) == (keys.fingerprint, None, ())


def test_a_damaged_signature_is_a_fault_of_that_release_alone(folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    (folder / "model.sig").write_text("{}")
    (tmp_path / "releases" / "other-1.0.0").mkdir()
    found = {one.id: one for one in releases(tmp_path, tmp_path / "keys")}
    assert found["press-1.0.0"].fault is not None
    assert "damaged" in str(found["press-1.0.0"].fault["what"])
    assert found["other-1.0.0"].fault is None


@pytest.mark.parametrize("id", ["", "..", ".", "../releases/press-1.0.0", "press-1.0.0/evidence", "none", "a\\b"])
def test_only_releases_of_the_project_are_opened(folder: Path, tmp_path: Path, id: str) -> None:
    with pytest.raises(MissingError, match="no such release"):
        the_release(tmp_path, tmp_path / "keys", id)


def test_documents_in_the_order_in_which_they_are_read(folder: Path) -> None:
    (folder / "evidence" / "report.it.html").symlink_to("/etc/passwd")
    assert [(d.kind, d.path, d.opens) for d in documents(folder)] == [
        ("report", "evidence/report.html", True),
        ("report", "evidence/report.fr.html", True),
        ("card", "README.md", False),
        ("measures", "evidence/measures.jsonl", False),
        ("recipe", "recipe.lock.json", False),
    ]
    assert size(folder) == sum(len(text) for text in FILES.values())


def test_keys_are_listed_and_not_opened(keys: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "keys" / "broken.pub").write_text("no key")
    assert private_keys(tmp_path / "keys") == [keys.private]


# ------------------------------------------------------------------------------------------------------ verification


def test_each_check_of_a_release_that_holds() -> None:
    result = {"files": {"a": "1", "b": "2"}, "approvals": [{"name": "Ada", "on": "2026-11-22T12:00:00Z"}]}
    found = of_result(result, "f" * 64, approval=True)
    assert found.trusted
    assert [(c.key, c.tone, c.count) for c in found.checks] == [
        ("signature", "good", None),
        ("files", "good", 2),
        ("nothing_else", "good", None),
        ("approved", "good", None),
    ]
    alone = of_result(result | {"approvals": []}, "f" * 64, approval=False)
    assert [c.key for c in alone.checks][-1] == "no_approval"
    assert [c.key for c in of_result(result | {"approvals": []}, "", approval=True).checks][-1] == "waits"


def test_every_way_of_tampering_is_told(folder: Path, keys: KeyPair) -> None:
    sign_folder(folder, keys.private)
    (folder / "README.md").write_text("# Another\n")
    (folder / "evidence" / "measures.jsonl").unlink()
    (folder / "new.py").write_text("x")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    found = of_error(refused(folder, keys.public))
    assert found is not None
    assert not found.trusted
    assert [c.key for c in found.checks] == ["signature.holds", "files.differ"]
    assert {(d.file, d.how) for d in found.differences} == {
        ("README.md", "changed"),
        ("evidence/measures.jsonl", "removed"),
        ("model.safetensors", "removed"),
        ("new.py", "added"),
        ("weights.safetensors", "renamed"),
    }


def test_one_changed_file_is_named(folder: Path, keys: KeyPair) -> None:
    sign_folder(folder, keys.private)
    (folder / "README.md").write_text("# Another\n")
    found = of_error(refused(folder, keys.public))
    assert found is not None
    assert [(d.file, d.how) for d in found.differences] == [("README.md", "changed")]
    assert found.checks[1].count == 1


def test_no_signature_another_key_and_a_damaged_one(folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    def first() -> str:
        found = of_error(refused(folder, keys.public))
        assert found is not None
        assert not found.trusted
        return found.checks[0].key

    assert first() == "refused.unsigned"
    sign_folder(folder, new_keys(tmp_path / "other.pem").private)
    assert first() == "refused.other key"
    (folder / "model.sig").write_text("{}")
    assert first() == "refused.damaged signature"


def test_an_error_that_says_nothing_of_the_release() -> None:
    assert of_error({"exit_code": 2, "what": "There is no public key at x."}) is None


def test_the_command_names_every_key() -> None:
    assert argv(Path("r"), Path("k.pub"), [Path("a.pub")]) == [
        "verify", "r", "--key", "k.pub", "--approver-key", "a.pub"
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- download


def test_the_archive_holds_the_release_as_it_is(folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    sign_folder(folder, keys.private)
    (folder / "link").symlink_to("/etc/passwd")
    data = b"".join(packed(folder))
    (folder / "link").unlink()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(f"press-1.0.0/{name}" for name in [*FILES, "model.sig"])
        archive.extractall(tmp_path / "taken")
    assert verify_folder(tmp_path / "taken" / "press-1.0.0", keys.public).name == "press-1.0.0"
    assert b"".join(packed(folder)) == data


def visit(project: Path, role: str | None = None, code: str = "en") -> Any:
    """Who asks, without a browser. A role is that of an account."""
    words = language(code)
    logged: list[tuple[str, dict[str, Any]]] = []
    return SimpleNamespace(
        project=Project(project),
        session=SimpleNamespace(role=role),
        name="Ada",
        words=words,
        say=words.say,
        may=lambda action: role is None or may(cast(Role, role), action),
        logged=logged,
        log=lambda event, **facts: logged.append((event, facts)),
    )


def test_the_archive_is_sent_in_pieces_and_logged(folder: Path, tmp_path: Path) -> None:
    who = visit(tmp_path)
    answer = serve(who, "press-1.0.0.zip")
    assert isinstance(answer, StreamingResponse)
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''press-1.0.0.zip"
    assert who.logged == [("studio.release.download", {"release": "press-1.0.0"})]
    for name in ("..zip", "../secret.zip", "none.zip"):
        assert serve(who, name).status_code == 404
    assert len(who.logged) == 1


def test_without_the_log_nothing_is_sent(folder: Path, tmp_path: Path) -> None:
    def full(event: str, **facts: Any) -> None:
        raise LimpideError("The request log cannot be written.")

    who = visit(tmp_path)
    who.log = full
    assert serve(who, "press-1.0.0.zip").status_code == 500


# ------------------------------------------------------------------------------------------------------------ rights


def test_who_may_not_is_told_who_may(tmp_path: Path) -> None:
    who = visit(tmp_path, "operator")
    assert refusal(who, "approve") == "This is for: approver and administrator. You are here as: operator."
    with pytest.raises(UsageError, match="This is for: approver"):
        require(who, "approve")
    require(who, "serve")
    require(visit(tmp_path), "approve")
    assert refusal(visit(tmp_path, "reader", "fr"), "sign").startswith("Réservé à\u00a0: ")


# ---------------------------------------------------------------------------------------------------------- approval


def test_what_goes_on_record_names_what_was_looked_at(tmp_path: Path) -> None:
    who = visit(tmp_path)
    assert statement(who, ["report", "card"], " Good. ") == "Looked at: the report and the model card. Good."
    assert statement(who, [], " Good. ") == "Good."
    assert moment(who, "2026-11-22T12:00:00Z") == "22\u00a0November 2026, 12:00 UTC"
    assert moment(who, "long ago") == "long ago"


@pytest.mark.parametrize("code", ["en", "fr"])
def test_what_the_page_says_was_looked_at_can_be_signed(code: str, folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    sign_folder(folder, keys.private)
    who = visit(tmp_path, code=code)
    said = statement(who, ["report", "card"], "Rien à redire\u202f!")
    found = the_release(tmp_path, tmp_path / "keys", "press-1.0.0")
    asyncio.run(put(who, found, Said("Marie Curie", said, ["report"]), keys.private, None, keys.public))
    (approved,) = the_release(tmp_path, tmp_path / "keys", "press-1.0.0").approved
    assert approved.statement == said
    facts = {"release": "press-1.0.0", "approver": "Marie Curie", "looked_at": ["report"]}
    assert who.logged == [("studio.release.approve", facts)]


def test_what_was_not_done_is_not_in_the_log(folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    locked = new_keys(tmp_path / "keys" / "locked.pem", password="right").private
    found = the_release(tmp_path, tmp_path / "keys", "press-1.0.0")
    who = visit(tmp_path)
    with pytest.raises(UsageError, match=r"not the password of the key locked\.pem"):
        asyncio.run(sign(who, found, locked, "wrong"))
    with pytest.raises(UsageError, match=r"locked\.pem has a password"):
        asyncio.run(put(who, found, Said("Marie Curie", "", []), locked, None, keys.public))
    with pytest.raises(UsageError, match=r"release\.pem has no password"):
        check_opens(who, keys.private, "needless")
    with pytest.raises(LimpideError):
        asyncio.run(put(who, found, Said("Marie Curie", "", []), keys.private, None, keys.public))
    assert who.logged == []
    asyncio.run(sign(who, found, locked, "right"))
    assert who.logged == [("studio.release.sign", {"release": "press-1.0.0", "key": "locked.pem"})]
