import os
from pathlib import Path

import pytest

from limpide.core.errors import Fault, IntegrityError, LimpideError
from limpide.serve.seal import Seal, stamps


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "model.gguf"
    made.write_bytes(b"weights")
    return made


def seal_of(file: Path) -> Seal:
    def verify() -> None:
        if not file.exists() or file.read_bytes() != b"weights":
            raise IntegrityError("other bytes", faults=[Fault("gguf/model.gguf", None, "changed")])

    return Seal(verify, stamps([file]))


def test_nothing_changed(file: Path) -> None:
    seal = seal_of(file)
    assert not seal.look()
    seal.renew()
    assert seal.broken is None


def test_every_change_is_seen_once(file: Path) -> None:
    def grow() -> None:
        file.write_bytes(b"weights and more")

    def touch() -> None:
        os.utime(file, ns=(1, 1))

    def rewrite_and_hide() -> None:
        seen = file.stat()
        file.write_bytes(b"WEIGHTS")
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    def replace() -> None:
        beside = file.with_name("beside")
        beside.write_bytes(b"weights")
        os.utime(beside, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
        beside.replace(file)

    for change in (grow, touch, rewrite_and_hide, replace, file.unlink):
        file.write_bytes(b"weights")
        seal = seal_of(file)
        change()
        assert seal.look(), change
        assert seal.broken == "model.gguf"
        assert not seal.look()  # told once


def test_a_verification_lifts_it_or_names_the_file(file: Path) -> None:
    seal = seal_of(file)
    file.write_bytes(b"Weights")
    assert seal.look()
    with pytest.raises(IntegrityError):
        seal.renew()
    assert seal.broken == "gguf/model.gguf"
    file.write_bytes(b"weights")
    seal.renew()
    assert seal.broken is None
    assert not seal.look()


def test_a_folder_that_is_gone_is_a_change(file: Path) -> None:
    def verify() -> None:
        raise LimpideError("no such folder")

    seal = Seal(verify, stamps([file]))
    with pytest.raises(LimpideError):
        seal.renew()
    assert seal.broken == "no such folder"
