import json
import os
import socket
import sys
from pathlib import Path

import pytest

from limpide.core.errors import MissingError, UsageError
from limpide.release.keys import KeyPair, new_keys
from limpide.release.sign import sign_folder
from limpide.release.verify import read_manifest, verify_folder


def test_every_file_is_signed_dot_files_too(folder: Path, keys: KeyPair) -> None:
    before = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    (folder / "attestations").mkdir()
    (folder / "attestations" / "later.json").write_text("{}")
    signature = sign_folder(folder, keys.private)
    manifest = read_manifest(folder)
    assert set(manifest.files) == before
    assert ".gitattributes" in manifest.files
    assert (signature.files, signature.fingerprint) == (len(before), keys.fingerprint)
    assert signature.root == manifest.root
    assert manifest.name == folder.name
    assert not list(folder.rglob("*.pub"))


def test_it_is_the_standard_form(signed: Path, keys: KeyPair) -> None:
    """The library on its own, told nothing but the key, opens it: the settings are in the signature."""
    import model_signing

    bundle = json.loads((signed / "model.sig").read_text())
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["verificationMaterial"] == {"publicKey": {"hint": keys.fingerprint}, "tlogEntries": []}
    verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=keys.public)
    with pytest.raises(ValueError, match=r"\.gitattributes"):  # its own default leaves it out: the hole of trap 2
        verifier.verify(signed, signed / "model.sig")
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=["model.sig"], ignore_git_paths=False)
    verifier.set_hashing_config(hashing).verify(signed, signed / "model.sig")


def test_nothing_is_sent(folder: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", no)
    monkeypatch.setattr(socket, "getaddrinfo", no)
    sign_folder(folder, keys.private)
    verify_folder(folder, keys.public)


def test_a_protected_key_signs(folder: Path, tmp_path: Path) -> None:
    pair = new_keys(tmp_path / "k.pem", password="sésame")
    with pytest.raises(UsageError, match="protected by a password"):
        sign_folder(folder, pair.private)
    assert not (folder / "model.sig").exists()
    sign_folder(folder, pair.private, "sésame")
    verify_folder(folder, pair.public)


def test_signing_again_changes_nothing(signed: Path, keys: KeyPair) -> None:
    before = (signed / "model.sig").read_bytes()
    assert sign_folder(signed, keys.private).root == read_manifest(signed).root
    assert (signed / "model.sig").read_bytes() == before


def test_a_changed_release_is_not_signed_over(signed: Path, keys: KeyPair) -> None:
    (signed / "README.md").write_text("better")
    before = (signed / "model.sig").read_bytes()
    with pytest.raises(UsageError, match="already signed, and was changed since") as error:
        sign_folder(signed, keys.private)
    assert [fault.file for fault in error.value.faults] == ["README.md"]
    assert "new version" in str(error.value)
    assert (signed / "model.sig").read_bytes() == before


def test_the_signature_of_another_is_not_replaced(signed: Path, other_keys: KeyPair) -> None:
    with pytest.raises(UsageError, match="already signed, and not by this key"):
        sign_folder(signed, other_keys.private)


@pytest.mark.parametrize("place", ["link", "evidence/link", "attestations/link"])
def test_links_are_refused(folder: Path, keys: KeyPair, place: str) -> None:
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).symlink_to(folder / "README.md")
    with pytest.raises(UsageError, match="holds things that a release may not hold") as error:
        sign_folder(folder, keys.private)
    assert [(fault.file, fault.what) for fault in error.value.faults] == [(place, "a symbolic link")]
    assert not (folder / "model.sig").exists()


def test_what_is_neither_file_nor_folder_is_refused(folder: Path, keys: KeyPair) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError) as error:
        sign_folder(folder, keys.private)
    assert [(fault.file, fault.what) for fault in error.value.faults] == [("pipe", "neither a file nor a folder")]


@pytest.mark.parametrize(("name", "why"), [("a\\b", "backslash"), ("a\nb", "control"), ("a\u202eb", "control")])
def test_names_that_cannot_travel_are_refused(folder: Path, keys: KeyPair, name: str, why: str) -> None:
    (folder / name).write_text("")
    with pytest.raises(UsageError, match="Some file names cannot be released") as error:
        sign_folder(folder, keys.private)
    assert why in error.value.faults[0].what
    assert error.value.faults[0].file.isprintable()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stores such a name")
def test_undecodable_names_are_refused(folder: Path, keys: KeyPair) -> None:
    (folder / os.fsdecode(b"caf\xe9")).write_text("")
    with pytest.raises(UsageError, match="Some file names cannot be released"):
        sign_folder(folder, keys.private)


def test_reserved_places_are_of_the_right_kind(folder: Path, keys: KeyPair) -> None:
    (folder / "model.sig").mkdir()
    (folder / "attestations").write_text("")
    with pytest.raises(UsageError) as error:
        sign_folder(folder, keys.private)
    assert [fault.file for fault in error.value.faults] == ["model.sig", "attestations"]


def test_a_private_key_is_never_released(folder: Path, keys: KeyPair) -> None:
    inside = new_keys(folder / "k.pem")
    with pytest.raises(UsageError, match="lies inside the release"):
        sign_folder(folder, inside.private)
    (folder / "k.pem").unlink()
    (folder / "copy.txt").write_bytes(keys.private.read_bytes())
    with pytest.raises(UsageError, match=r"holds a copy of the private key: copy\.txt"):
        sign_folder(folder, keys.private)
    assert not (folder / "model.sig").exists()


def test_folders_that_cannot_be_signed(tmp_path: Path, folder: Path, keys: KeyPair) -> None:
    with pytest.raises(MissingError, match="There is no folder"):
        sign_folder(tmp_path / "none", keys.private)
    with pytest.raises(UsageError, match="is not a folder"):
        sign_folder(folder / "README.md", keys.private)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no file to sign"):
        sign_folder(tmp_path / "empty", keys.private)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(UsageError, match="is a symbolic link"):
        sign_folder(tmp_path / "link", keys.private)


def test_a_failure_of_the_library_is_a_message(folder: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied", "model.safetensors")

    monkeypatch.setattr("limpide.release.oms.sign", fail)
    with pytest.raises(UsageError, match="could not be signed"):
        sign_folder(folder, keys.private)


def test_a_file_that_comes_while_signing(folder: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    from limpide.release import oms

    real = oms.sign

    def slow(*args: object) -> bytes:
        made = real(*args)  # type: ignore[arg-type] # passed through
        (folder / "late").write_text("")
        return made

    monkeypatch.setattr("limpide.release.oms.sign", slow)
    with pytest.raises(UsageError, match="came or went while it was being signed") as error:
        sign_folder(folder, keys.private)
    assert [fault.file for fault in error.value.faults] == ["late"]
    assert not (folder / "model.sig").exists()


def test_without_the_library_the_message_says_what_to_install(
    folder: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingError, match="need the packages model-signing and pyopenssl") as error:
        sign_folder(folder, keys.private)
    assert error.value.remedy == "pip install 'model-signing>=1.1.1' 'pyopenssl>=25'"
