import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from limpide.core.errors import ApprovalNeeded, IntegrityError, UsageError
from limpide.release.approve import approvals, approve, require_approval
from limpide.release.keys import KeyPair, load_private, new_keys
from limpide.release.sign import sign_folder
from limpide.release.verify import verify_folder

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def test_an_approval_is_named_dated_and_bound_to_the_files(signed: Path, keys: KeyPair) -> None:
    given = approve(signed, "  Marie   Curie ", keys.private, statement="I read it.\nFine.\n", now=NOON)
    assert given.file == "attestations/approval-20261122T120000Z-marie-curie.json"
    assert (given.name, given.statement) == ("Marie Curie", "I read it.\nFine.")
    assert given.approved_on == "2026-11-22T12:00:00Z"
    verified = verify_folder(signed, keys.public)  # the release's own signature still holds
    assert given.root == verified.root
    assert given.key == keys.fingerprint
    assert approvals(signed, keys.public) == (given,)
    assert require_approval(signed, keys.public) == (given,)


def test_the_time_is_written_in_utc(signed: Path, keys: KeyPair) -> None:
    paris = NOON.astimezone(timezone(timedelta(hours=1)))
    assert approve(signed, "Marie Curie", keys.private, now=paris).approved_on == "2026-11-22T12:00:00Z"


def test_until_someone_approves(signed: Path, keys: KeyPair) -> None:
    assert approvals(signed, keys.public) == ()
    with pytest.raises(ApprovalNeeded, match="waits for a named person") as error:
        require_approval(signed, keys.public)
    assert error.value.exit_code == 4
    assert f'limpide approve {signed} --name "FIRST LAST" --key' in str(error.value.remedy)


def test_several_people_approve(signed: Path, keys: KeyPair, other_keys: KeyPair) -> None:
    second = approve(signed, "李 雷", other_keys.private, release_key=keys.public, now=NOON + timedelta(days=1))
    first = approve(signed, "Zoë", keys.private, now=NOON)
    again = approve(signed, "Zoë", keys.private, now=NOON)
    assert again.file != first.file
    assert approvals(signed, keys.public, [other_keys.public]) == (first, again, second) or approvals(
        signed, keys.public, [other_keys.public]
    ) == (again, first, second)
    with pytest.raises(IntegrityError, match="signed by a key that was not given") as error:
        approvals(signed, keys.public)
    assert other_keys.fingerprint in str(error.value.received)


@pytest.mark.parametrize("name", ["", " ", "…", "X", "FIRST LAST", "a\x1b[2Jb", "ab\u202e", "n" * 201])
def test_a_name_is_the_name_of_a_person(signed: Path, keys: KeyPair, name: str) -> None:
    with pytest.raises(UsageError, match="An approval needs the name of a person") as error:
        approve(signed, name, keys.private)
    assert error.value.exit_code == 2
    assert not (signed / "attestations").exists()


@pytest.mark.parametrize("statement", ["x" * 4001, "\x1b[2J"])
def test_statements_are_plain_text(signed: Path, keys: KeyPair, statement: str) -> None:
    with pytest.raises(UsageError, match="The statement of the approval is too long or holds control"):
        approve(signed, "Marie Curie", keys.private, statement=statement)


def test_the_spaces_of_french_are_plain_text(signed: Path, keys: KeyPair) -> None:
    said = "Regardé\u00a0: le rapport\u202f; rien à redire."
    assert approve(signed, "Marie Curie", keys.private, statement=said).statement == said


def test_a_changed_release_cannot_be_approved(signed: Path, keys: KeyPair) -> None:
    (signed / "README.md").write_text("changed")
    with pytest.raises(IntegrityError, match="is not what was signed"):
        approve(signed, "Marie Curie", keys.private)
    assert not (signed / "attestations").exists()


def test_an_unsigned_release_cannot_be_approved(folder: Path, keys: KeyPair) -> None:
    with pytest.raises(IntegrityError, match="is not signed"):
        approve(folder, "Marie Curie", keys.private)


def test_a_protected_key_approves(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    pair = new_keys(tmp_path / "k.pem", password="s")
    with pytest.raises(UsageError, match="protected by a password"):
        approve(signed, "Marie Curie", pair.private, release_key=keys.public)
    approve(signed, "Marie Curie", pair.private, password="s", release_key=keys.public)
    assert len(approvals(signed, keys.public, [pair.public])) == 1


def test_every_byte_of_an_approval_counts(signed: Path, keys: KeyPair) -> None:
    path = signed / approve(signed, "Marie Curie", keys.private, now=NOON).file
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(IntegrityError) as error:
            approvals(signed, keys.public)
        assert path.name in str(error.value)


def test_an_approval_of_other_files_is_refused(signed: Path, keys: KeyPair) -> None:
    """Also when the root digest is the same: it does not cover names, the manifest's digest does."""
    root = approve(signed, "Marie Curie", keys.private).root
    (signed / "model.sig").unlink()
    (signed / "README.md").rename(signed / "README.mb")
    assert sign_folder(signed, keys.private).root == root
    with pytest.raises(IntegrityError, match="approves other files than this release holds") as error:
        approvals(signed, keys.public)
    assert "assistant-1.0.0" in str(error.value.received)


def test_a_signed_statement_that_is_no_approval_is_refused(signed: Path, keys: KeyPair) -> None:
    from limpide.release.envelope import seal

    (signed / "attestations").mkdir()
    path = signed / "attestations" / "approval-x.json"
    path.write_bytes((signed / "model.sig").read_bytes())
    with pytest.raises(IntegrityError, match="damaged or is not a signature") as error:
        approvals(signed, keys.public)
    assert "predicate type" in str(error.value)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "x", "digest": {"sha256": "0" * 64}}],
        "predicateType": "urn:limpide:approval:v1",
        "predicate": {"approver": "Marie Curie"},
    }
    path.write_bytes(seal(statement, load_private(keys.private)))
    with pytest.raises(IntegrityError, match="damaged") as error:
        approvals(signed, keys.public)
    assert "does not say who approved" in str(error.value.received)


def test_links_and_folders_among_attestations_are_refused(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    given = approve(signed, "Marie Curie", keys.private)
    (signed / given.file).rename(tmp_path / "a.json")
    (signed / given.file).symlink_to(tmp_path / "a.json")
    with pytest.raises(IntegrityError, match="holds things that a release may not hold"):
        approvals(signed, keys.public)
    (signed / given.file).unlink()
    (signed / given.file).mkdir()
    with pytest.raises(IntegrityError, match="damaged"):
        approvals(signed, keys.public)


def test_keys_inside_the_release_are_refused(signed: Path, keys: KeyPair) -> None:
    (signed / "attestations").mkdir()
    pair = new_keys(signed / "attestations" / "k.pem")
    with pytest.raises(UsageError, match="lies inside the release"):
        approve(signed, "Marie Curie", pair.private, release_key=keys.public)
    with pytest.raises(UsageError, match="proves nothing"):
        approvals(signed, keys.public, [pair.public])


def test_an_approval_is_an_intoto_statement_any_tool_can_read(signed: Path, keys: KeyPair) -> None:
    import base64

    given = approve(signed, "Zoë", keys.private, now=NOON)
    bundle = json.loads((signed / given.file).read_text())
    assert json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "assistant-1.0.0", "digest": {"sha256": given.root}}],
        "predicateType": "urn:limpide:approval:v1",
        "predicate": {
            "approver": "Zoë",
            "statement": "",
            "approvedOn": "2026-11-22T12:00:00Z",
            "manifest": {"sha256": given.manifest},
        },
    }
