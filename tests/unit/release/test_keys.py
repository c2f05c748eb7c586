import hashlib
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from limpide.core.errors import MissingError, UsageError
from limpide.release.keys import fingerprint, load_private, load_public, new_keys, public_of, public_path


def pem(key: object, password: bytes | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)  # type: ignore[attr-defined] # any kind of key


def test_new_keys_are_a_p256_pair_that_only_the_owner_reads(tmp_path: Path) -> None:
    old = os.umask(0)  # even where every new file is open to all
    try:
        pair = new_keys(tmp_path / "keys" / "release.pem")
    finally:
        os.umask(old)
    assert pair.public == tmp_path / "keys" / "release.pub"
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.public.stat().st_mode) == 0o644
    assert pair.private.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    private = load_private(pair.private)
    assert private.curve.name == "secp256r1"
    assert public_of(private).pem == pair.public.read_bytes()
    assert pair.fingerprint == hashlib.sha256(pair.public.read_bytes()).hexdigest() == fingerprint(pair.public)
    assert not pair.encrypted
    assert sorted(p.name for p in pair.private.parent.iterdir()) == ["release.pem", "release.pub"]


def test_the_fingerprint_does_not_depend_on_line_endings(tmp_path: Path) -> None:
    pair = new_keys(tmp_path / "k.pem")
    sent = tmp_path / "sent.pub"
    sent.write_bytes(b"The key of ACME:\r\n" + pair.public.read_bytes().replace(b"\n", b"\r\n"))
    assert fingerprint(sent) == pair.fingerprint


@pytest.mark.parametrize(
    ("private", "public"), [("a.pem", "a.pub"), ("a.key", "a.pub"), ("a", "a.pub"), ("v1.2", "v1.2.pub")]
)
def test_public_path(private: str, public: str) -> None:
    assert public_path(Path("keys") / private) == Path("keys") / public


@pytest.mark.parametrize("existing", ["release.pem", "release.pub"])
def test_no_key_is_ever_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("precious")
    with pytest.raises(UsageError, match=rf"{existing} already exists, and a key is never overwritten") as error:
        new_keys(tmp_path / "release.pem")
    assert error.value.exit_code == 2
    assert error.value.remedy == "choose another path: limpide keys new OTHER.pem"
    assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("existing", ["release.pem", "release.pub"])
def test_no_key_is_overwritten_by_two_runs_at_once(
    tmp_path: Path, existing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / existing).write_text("precious")
    monkeypatch.setattr("limpide.release.keys.os.path.lexists", lambda _: False)  # as if it came just after the look
    with pytest.raises(UsageError, match=rf"{existing} already exists"):
        new_keys(tmp_path / "release.pem")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]


def test_half_a_pair_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((UsageError, OSError)):
        new_keys(tmp_path / "release.pem", tmp_path / "file" / "release.pub")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_the_two_keys_need_two_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need different files"):
        new_keys(tmp_path / "k", tmp_path / "k")


def test_a_password_protects_the_key(tmp_path: Path) -> None:
    pair = new_keys(tmp_path / "k.pem", password="clé-secrète")
    assert pair.encrypted
    assert b"ENCRYPTED" in pair.private.read_bytes()
    assert public_of(load_private(pair.private, "clé-secrète")).fingerprint == pair.fingerprint
    for none in (None, ""):
        with pytest.raises(UsageError, match="protected by a password, and none was given") as error:
            load_private(pair.private, none)
        assert "export LIMPIDE_KEY_PASSWORD" in str(error.value)
    with pytest.raises(UsageError, match="does not open") as error:
        load_private(pair.private, "wrong")
    assert error.value.expected == "the password it was made with"
    assert "wrong" not in str(error.value)  # a message never shows a password


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="password of the key is empty"):
        new_keys(tmp_path / "k.pem", password="")
    assert list(tmp_path.iterdir()) == []


def test_a_password_for_a_key_that_has_none(tmp_path: Path) -> None:
    pair = new_keys(tmp_path / "k.pem")
    with pytest.raises(UsageError, match="is not protected by one: whoever copies it can sign"):
        load_private(pair.private, "secret")
    load_private(pair.private, "")  # an empty environment variable


def test_missing_keys(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="There is no private key at") as error:
        load_private(tmp_path / "k.pem")
    assert error.value.remedy == f"limpide keys new {tmp_path / 'k.pem'}"
    assert error.value.exit_code == 2
    with pytest.raises(MissingError, match="There is no public key at"):
        load_public(tmp_path / "k.pub")


def test_one_key_in_place_of_the_other(tmp_path: Path) -> None:
    pair = new_keys(tmp_path / "k.pem")
    with pytest.raises(UsageError, match="is a public key; signing needs the private one"):
        load_private(pair.public)
    with pytest.raises(UsageError, match="is a private key; verifying needs the public one only") as error:
        load_public(pair.private)
    assert f"give {pair.public}" in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        bytes(range(256)),
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----",
    ],
)
def test_what_is_not_a_key(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "k"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is not a private key"):
        load_private(path)
    path.write_bytes(data.replace(b"PRIVATE", b"PUBLIC"))
    with pytest.raises(UsageError, match="is not a public key"):
        load_public(path)


def test_a_folder_is_not_a_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        load_private(tmp_path)


def test_a_key_that_may_not_be_read(tmp_path: Path) -> None:
    pair = new_keys(tmp_path / "k.pem")
    pair.private.chmod(0)
    if os.access(pair.private, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(UsageError, match="may not read the private key"):
        load_private(pair.private)


@pytest.mark.parametrize(
    ("key", "received"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "curve secp384r1"),
        (rsa.generate_private_key(65537, 1024), "RSAPrivateKey"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519PrivateKey"),
    ],
)
def test_keys_of_another_kind(tmp_path: Path, key: object, received: str) -> None:
    path = tmp_path / "k.pem"
    path.write_bytes(pem(key))
    with pytest.raises(UsageError, match="is a key of another kind") as error:
        load_private(path)
    assert error.value.received == received
    assert error.value.expected == "P-256 (secp256r1)"
    public = key.public_key().public_bytes(  # type: ignore[attr-defined] # any kind of key
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path.write_bytes(public)
    with pytest.raises(UsageError, match="is a key of another kind"):
        load_public(path)
