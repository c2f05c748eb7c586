import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import IntegrityError, MissingError, UsageError
from limpide.release.envelope import pae, seal
from limpide.release.keys import KeyPair, load_private
from limpide.release.sign import sign_folder
from limpide.release.verify import read_manifest, verify_folder


def refused(folder: Path, keys: KeyPair) -> IntegrityError:
    with pytest.raises(IntegrityError) as error:
        verify_folder(folder, keys.public)
    assert error.value.exit_code == 6
    return error.value


def found(error: IntegrityError) -> list[tuple[str, str]]:
    return [(fault.file, fault.what.split(":")[0]) for fault in error.faults]


def statement_of(folder: Path) -> dict[str, Any]:
    bundle = json.loads((folder / "model.sig").read_text())
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))


def resign(folder: Path, keys: KeyPair, change: Callable[[dict[str, Any]], object]) -> None:
    """Sign, with the right key, a statement that Limpide would not have made."""
    statement = statement_of(folder)
    change(statement)
    (folder / "model.sig").write_bytes(seal(statement, load_private(keys.private)))


def test_a_release_is_verified_with_the_public_key_alone(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    public = tmp_path / "k.pub"
    shutil.copy(keys.public, public)
    verified = verify_folder(signed, public)
    assert verified.fingerprint == keys.fingerprint
    assert (verified.name, verified.root) == ("assistant-1.0.0", read_manifest(signed).root)
    assert len(verified.files) == 6


def test_it_can_be_moved_and_renamed(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    verify_folder(signed.rename(tmp_path / "elsewhere"), keys.public)


def test_a_relative_path_works(signed: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(signed)
    verify_folder(Path("."), keys.public)


def test_every_difference_is_named(signed: Path, keys: KeyPair) -> None:
    (signed / "model.safetensors").write_bytes(bytes(256))
    (signed / "evidence/measures.jsonl").unlink()
    (signed / "sub").mkdir()
    (signed / "sub/model.sig").write_text("not at the top, so it counts")
    error = refused(signed, keys)
    assert found(error) == [
        ("evidence/measures.jsonl", "removed"),
        ("model.safetensors", "changed"),
        ("sub/model.sig", "added"),
    ]
    assert "3 files differ. The signature itself is valid." in error.what
    assert "do not use the release" in str(error)


@pytest.mark.parametrize("name", [".gitignore", ".github/workflow", ".git/config", "attestations2", ".hidden", "a\nb"])
def test_added_files_are_not_a_hole(signed: Path, keys: KeyPair, name: str) -> None:
    (signed / name).parent.mkdir(exist_ok=True)
    (signed / name).write_text("")
    error = refused(signed, keys)
    assert found(error) == [(name if name.isprintable() else ascii(name), "added")]


def test_a_changed_gitattributes_is_seen(signed: Path, keys: KeyPair) -> None:
    (signed / ".gitattributes").write_text("")
    assert found(refused(signed, keys)) == [(".gitattributes", "changed")]


def test_a_rename_is_told(signed: Path, keys: KeyPair) -> None:
    (signed / "config.json").rename(signed / "zonfig.json")
    error = refused(signed, keys)
    assert [(f.file, f.what) for f in error.faults] == [
        ("config.json", "removed"),
        ("zonfig.json", "added (the bytes of config.json: renamed?)"),
    ]


def test_a_rename_that_keeps_the_root_digest_is_seen(signed: Path, keys: KeyPair) -> None:
    """The root covers bytes in the order of names, so this rename does not change it."""
    (signed / "README.md").rename(signed / "README.mb")
    assert len(refused(signed, keys).faults) == 2


def test_what_cannot_be_read_is_named(signed: Path, keys: KeyPair) -> None:
    """A folder that cannot be listed could hide added files: pathlib's glob would pass over it in silence."""
    (signed / "config.json").chmod(0)
    if os.access(signed / "config.json", os.R_OK):
        pytest.skip("this user may read everything")
    assert found(refused(signed, keys)) == [("config.json", "cannot be read")]
    (signed / "config.json").chmod(0o600)
    (signed / "hidden").mkdir(0)
    assert found(refused(signed, keys)) == [("hidden/", "cannot be listed")]


@pytest.mark.parametrize("place", ["link", "evidence/link", "attestations/link", "README.md", "model.sig"])
def test_links_are_refused(signed: Path, keys: KeyPair, place: str, tmp_path: Path) -> None:
    path = signed / place
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        shutil.move(path, tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert "a symbolic link" in str(refused(signed, keys))


def test_an_attestation_can_be_added_later(signed: Path, keys: KeyPair) -> None:
    (signed / "attestations").mkdir()
    (signed / "attestations" / "scan.json").write_text("{}")
    verify_folder(signed, keys.public)


def test_not_signed(folder: Path, keys: KeyPair) -> None:
    assert "is not signed: it holds no model.sig" in refused(folder, keys).what
    with pytest.raises(IntegrityError, match="is not signed"):
        read_manifest(folder)


def test_another_key_is_told_apart_from_changed_files(signed: Path, keys: KeyPair, other_keys: KeyPair) -> None:
    error = refused(signed, other_keys)
    assert error.what == "model.sig: the signature does not match this key."
    assert keys.fingerprint in str(error.received)
    assert other_keys.fingerprint in str(error.expected)
    assert str(other_keys.public) in str(error.expected)
    assert error.faults == ()


def test_a_forged_hint_does_not_help(signed: Path, keys: KeyPair, other_keys: KeyPair) -> None:
    text = (signed / "model.sig").read_text().replace(keys.fingerprint, other_keys.fingerprint)
    (signed / "model.sig").write_text(text)
    assert "the signature does not hold" in refused(signed, other_keys).what


def test_names_from_an_unsigned_payload_are_not_shown(signed: Path, keys: KeyPair) -> None:
    bundle = json.loads((signed / "model.sig").read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"README.md", b"PLANTED!!")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (signed / "model.sig").write_text(json.dumps(bundle))
    error = refused(signed, keys)
    assert "its content was changed after signing" in error.what
    assert "PLANTED" not in str(error)


def test_a_signature_of_the_first_versions_is_not_taken(signed: Path, keys: KeyPair) -> None:
    """model-signing still accepts the encoding it used before 1.0, where the payload is Python's text of bytes."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    bundle = json.loads((signed / "model.sig").read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    old = f"DSSEV1 28 application/vnd.in-toto+json {len(payload)} {payload!r}".encode()
    assert old != pae(payload)
    signature = load_private(keys.private).sign(old, ec.ECDSA(hashes.SHA256()))
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    (signed / "model.sig").write_text(json.dumps(bundle))
    assert "the signature does not hold" in refused(signed, keys).what


def bundle_with(**changes: Any) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        bundle = json.loads(data)
        for path, value in changes.items():
            *way, last = path.split("__")
            inner = bundle
            for step in way:
                inner = inner[step]
            inner[last] = value
        return json.dumps(bundle).encode()

    return change


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: b"", "not JSON"),
        (lambda data: data[: len(data) // 2], "not JSON"),
        (lambda data: b"\xff" + data, "not JSON"),
        (lambda data: b"[" * 100_000, "not JSON"),
        (lambda data: b"[]", "the fields of file must be"),
        (lambda data: b"null", "the fields of file must be"),
        (lambda data: b'{"a": NaN}', "NaN is not a JSON number"),
        (lambda data: data.replace(b'{"mediaType"', b'{"mediaType":"x","mediaType"'), "a field is given twice"),
        (bundle_with(mediaType="other"), "mediaType is 'other'"),
        (bundle_with(more=1), "the fields of file must be"),
        (bundle_with(verificationMaterial__publicKey={}), "the fields of publicKey must be"),
        (bundle_with(verificationMaterial__publicKey__hint=""), "does not say which key"),
        (bundle_with(verificationMaterial__tlogEntries=[1]), "tlogEntries is"),
        (bundle_with(dsseEnvelope__payloadType="text"), "payloadType is 'text'"),
        (bundle_with(dsseEnvelope__payload="***"), "payload is not base64"),
        (bundle_with(dsseEnvelope__payload=12), "payload is not text"),
        (bundle_with(dsseEnvelope__payload="QQF="), "payload is not canonical base64"),
        (bundle_with(dsseEnvelope__signatures=[]), "exactly one signature"),
        (bundle_with(dsseEnvelope__signatures=["x"]), "the fields of signature must be"),
    ],
)
def test_damaged_signature_files(signed: Path, keys: KeyPair, damage: Callable[[bytes], bytes], why: str) -> None:
    path = signed / "model.sig"
    path.write_bytes(damage(path.read_bytes()))
    error = refused(signed, keys)
    assert error.what == "model.sig is damaged or is not a signature."
    assert why in str(error.received)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda s: s.update(_type="other"), "statement is of type"),
        (lambda s: s.update(more=1), "the fields of statement must be"),
        (lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"), "predicate type"),
        (lambda s: s.update(subject=[]), "one subject"),
        (lambda s: s["subject"][0]["digest"].update(sha256="00"), "subject's name or digest"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "the root digest is"),
        (lambda s: s.update(predicate=[]), "the manifest lacks"),
        (lambda s: s["predicate"].pop("resources"), "the manifest lacks 'resources'"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "is not a file with one sha256"),
        (lambda s: s["predicate"]["resources"][0].update(name="../up"), "is not a file with one sha256"),
        (lambda s: s["predicate"]["resources"][0].update(name="/etc/passwd"), "is not a file with one sha256"),
        (lambda s: s["predicate"]["resources"][0].update(algorithm="blake2"), "is not a file with one sha256"),
    ],
)
def test_statements_that_limpide_does_not_make(
    signed: Path, keys: KeyPair, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    resign(signed, keys, change)
    assert why in str(refused(signed, keys).received)


@pytest.mark.parametrize(
    "change",
    [
        lambda how: how["ignore_paths"].append(".gitattributes"),
        lambda how: how["ignore_paths"].remove("attestations"),
        lambda how: how.update(allow_symlinks=True),
        lambda how: how.update(method="shards"),
    ],
)
def test_a_signature_that_covers_less_is_refused(
    signed: Path, keys: KeyPair, change: Callable[[dict[str, Any]], object]
) -> None:
    resign(signed, keys, lambda statement: change(statement["predicate"]["serialization"]))
    assert refused(signed, keys).what == "The signature does not cover all the files of the release."


def test_a_signature_made_with_the_library_defaults_is_refused(folder: Path, keys: KeyPair) -> None:
    import model_signing

    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=keys.private)
    signer.sign(folder, folder / "model.sig")
    error = refused(folder, keys)
    assert error.what == "The signature does not cover all the files of the release."
    assert ".gitattributes" in str(error.received)


def test_fields_added_to_the_predicate_are_ignored(signed: Path, keys: KeyPair) -> None:
    """The format asks it of version 1.0 readers."""
    resign(signed, keys, lambda statement: statement["predicate"].update(more="later"))
    verify_folder(signed, keys.public)


def test_the_library_has_the_last_word(signed: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limpide.release.oms.refusal", lambda *_: ValueError("no"))
    assert "model-signing refuses" in refused(signed, keys).what


def test_keys_that_prove_nothing(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    shutil.copy(keys.public, signed / "k.pub")
    (tmp_path / "k.pub").symlink_to(signed / "k.pub")
    for path in (signed / "k.pub", tmp_path / "k.pub"):
        with pytest.raises(UsageError, match="comes from inside the release, so it proves nothing"):
            verify_folder(signed, path)


def test_folders_that_are_none(tmp_path: Path, keys: KeyPair) -> None:
    with pytest.raises(MissingError, match="There is no folder"):
        verify_folder(tmp_path / "none", keys.public)
    with pytest.raises(MissingError, match="There is no public key"):
        verify_folder(tmp_path, tmp_path / "none.pub")


def test_reading_a_manifest_verifies_nothing(signed: Path, keys: KeyPair) -> None:
    (signed / "README.md").write_text("changed")
    manifest = read_manifest(signed)
    assert manifest.signed_by == keys.fingerprint
    assert "README.md" in manifest.files


def test_the_room_imports_nothing_heavy() -> None:
    """torch never; model-signing (half a second) only when something is signed or verified."""
    code = (
        "import sys, limpide.release.sign, limpide.release.verify, limpide.release.approve, limpide.release.assemble;"
        "print([m for m in ('torch', 'transformers', 'model_signing', 'sigstore') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_that_sort_differently_by_text_and_by_parts(tmp_path: Path, keys: KeyPair) -> None:
    """Names whose order differs by text and by parts: the root is taken in the manifest's own order."""
    folder = tmp_path / "r"
    for name in ("a/b", "a-b", "a.b", "a0", "é", "A"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    assert sign_folder(folder, keys.private).root == verify_folder(folder, keys.public).root
