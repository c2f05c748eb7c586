"""A signed release: what was signed verifies, and no change of any byte, file or name gets through unnamed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from limpide.core.errors import IntegrityError
from limpide.release.keys import KeyPair, new_keys
from limpide.release.sign import sign_folder
from limpide.release.verify import read_manifest, verify_folder

# Names git, editors or other tools leave out by default are the interesting ones.
PARTS = [
    "a",
    "b.json",
    ".gitignore",
    ".gitattributes",
    ".git",
    ".github",
    ".DS_Store",
    "model.sig",
    "attestations",
    "é",
]
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join)
SIGNED_NAMES = NAMES.filter(lambda name: name.split("/")[0] not in ("model.sig", "attestations"))
CONTENTS = st.binary(max_size=40)
Tree = dict[str, bytes]


def fits(tree: Tree) -> bool:
    """No name is both a file and a folder."""
    return not any(other.startswith(name + "/") for name in tree for other in tree)


TREES = st.dictionaries(SIGNED_NAMES, CONTENTS, min_size=1, max_size=5).filter(fits)


@cache
def keys() -> KeyPair:
    keys.place = tempfile.TemporaryDirectory()  # type: ignore[attr-defined] # kept alive as long as the keys
    return new_keys(Path(keys.place.name) / "k.pem")  # type: ignore[attr-defined] # set on the line above


@contextmanager
def release(tree: Tree) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "release"
        folder.mkdir()
        for name, data in tree.items():
            write(folder / name, data)
        sign_folder(folder, keys().private)
        yield folder


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def named(folder: Path) -> dict[str, str]:
    """{file: first word of how it differs}, of the refusal."""
    with pytest.raises(IntegrityError) as error:
        verify_folder(folder, keys().public)
    assert error.value.exit_code == 6
    assert all(fault.file in str(error.value) for fault in error.value.faults)
    return {fault.file: fault.what.split(":")[0].split(" ")[0] for fault in error.value.faults}


@settings(max_examples=30, deadline=None)
@given(TREES)
def test_what_was_signed_verifies(tree: Tree) -> None:
    with release(tree) as folder:
        verified = verify_folder(folder, keys().public)
        assert set(verified.files) == set(tree)
        assert verified.files == read_manifest(folder).files


@settings(max_examples=40, deadline=None)
@given(TREES, st.data())
def test_any_changed_byte_is_named(tree: Tree, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(tree)))
    assume(tree[name])
    place = data.draw(st.integers(0, len(tree[name]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != tree[name][place]))
    with release(tree) as folder:
        write(folder / name, tree[name][:place] + bytes([other]) + tree[name][place + 1 :])
        assert named(folder) == {name: "changed"}


@settings(max_examples=30, deadline=None)
@given(TREES, NAMES, CONTENTS)
def test_any_added_file_is_named(tree: Tree, name: str, content: bytes) -> None:
    assume(name not in tree and fits(tree | {name: content}))
    with release(tree) as folder:
        if name.split("/")[0] == "attestations" and "/" in name:
            write(folder / name, content)
            verify_folder(folder, keys().public)  # the one place left open, for what is known later
        elif name.split("/")[0] not in ("model.sig", "attestations"):
            write(folder / name, content)
            assert set(named(folder)) == {name}


@settings(max_examples=30, deadline=None)
@given(TREES, st.data())
def test_any_removed_or_cut_file_is_named(tree: Tree, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(tree)))
    with release(tree) as folder:
        (folder / name).unlink()
        assert named(folder) == {name: "removed"}
        if tree[name]:
            write(folder / name, tree[name][:-1])
            assert named(folder) == {name: "changed"}


@settings(max_examples=30, deadline=None)
@given(TREES, SIGNED_NAMES, st.data())
def test_any_rename_is_named(tree: Tree, new: str, data: st.DataObject) -> None:
    old = data.draw(st.sampled_from(sorted(tree)))
    left = {name: content for name, content in tree.items() if name != old}
    assume(new not in tree and fits(left | {new: b""}) and fits({old: b"", new: b""}))
    with release(tree) as folder:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)
        assert named(folder) == {old: "removed", new: "added"}


@settings(max_examples=30, deadline=None)
@given(TREES, st.data())
def test_exchanged_contents_are_named(tree: Tree, data: st.DataObject) -> None:
    """Two files whose bytes trade places: the set of digests stays the same."""
    assume(len(set(tree.values())) > 1)
    one = data.draw(st.sampled_from(sorted(tree)))
    two = data.draw(st.sampled_from(sorted(name for name in tree if tree[name] != tree[one])))
    with release(tree) as folder:
        write(folder / one, tree[two])
        write(folder / two, tree[one])
        assert named(folder) == {one: "changed", two: "changed"}


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 4000), flip=st.integers(1, 255))
def test_any_changed_byte_of_the_signature_is_refused(place: int, flip: int) -> None:
    with release({"a": b"1", ".gitattributes": b"2"}) as folder:
        signature = bytearray((folder / "model.sig").read_bytes())  # its length varies: a signature is random
        signature[place % len(signature)] ^= flip
        (folder / "model.sig").write_bytes(signature)
        with pytest.raises(IntegrityError, match=r"model\.sig"):
            verify_folder(folder, keys().public)
