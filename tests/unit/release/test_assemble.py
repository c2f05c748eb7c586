import os
from pathlib import Path

import pytest

from limpide.core.errors import MissingError, UsageError
from limpide.release.approve import approve
from limpide.release.assemble import assemble
from limpide.release.keys import KeyPair
from limpide.release.sign import sign_folder
from limpide.release.verify import verify_folder


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    model = tmp_path / "steps" / "model"
    (model / "sub").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "sub" / "a.bin").write_bytes(b"\0" * 9)
    (tmp_path / "card.md").write_text("# Card")
    return {"": model, "evidence/model": model, "README.md": tmp_path / "card.md"}


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_parts_take_their_places(parts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "a-1.0.0"
    assert assemble(folder, parts) is True
    assert tree(folder) == {
        "README.md": b"# Card",
        "config.json": b"{}",
        "evidence/model/config.json": b"{}",
        "evidence/model/sub/a.bin": b"\0" * 9,
        "sub/a.bin": b"\0" * 9,
    }
    assert [p.name for p in folder.parent.iterdir()] == ["a-1.0.0"]


def test_a_later_change_of_a_source_does_not_reach_the_release(
    parts: dict[str, Path], tmp_path: Path, keys: KeyPair
) -> None:
    folder = tmp_path / "releases" / "a-1.0.0"
    os.chmod(parts["README.md"], 0o400)
    assemble(folder, parts)
    sign_folder(folder, keys.private)
    with (parts[""] / "config.json").open("r+") as file:  # in place, as an editor may
        file.write("[")
    verify_folder(folder, keys.public)
    assert (folder / "README.md").stat().st_mode & 0o200  # rights of the source are not copied


def test_finish_sees_the_final_name_before_anyone_sees_the_release(
    parts: dict[str, Path], tmp_path: Path, keys: KeyPair
) -> None:
    folder = tmp_path / "releases" / "a-1.0.0"

    def finish(built: Path) -> None:
        assert built.name == folder.name
        assert not folder.exists()
        sign_folder(built, keys.private)

    assert assemble(folder, parts, finish) is True
    assert verify_folder(folder, keys.public).name == "a-1.0.0"


def test_the_same_release_again_is_kept_with_its_approval(
    parts: dict[str, Path], tmp_path: Path, keys: KeyPair
) -> None:
    folder = tmp_path / "releases" / "a-1.0.0"
    assemble(folder, parts, lambda built: sign_folder(built, keys.private))
    approve(folder, "Marie Curie", keys.private)
    before = tree(folder)
    assert assemble(folder, parts, lambda built: sign_folder(built, keys.private)) is False
    assert tree(folder) == before


def test_a_different_release_is_never_overwritten(parts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "a-1.0.0"
    assemble(folder, parts)
    before = tree(folder)
    (parts["README.md"]).write_text("# Other")
    (parts[""] / "new").write_text("")
    (folder / "by-hand").write_text("")
    with pytest.raises(UsageError, match="is already there, with other files") as error:
        assemble(folder, parts)
    assert [(f.file, f.what) for f in error.value.faults] == [
        ("README.md", "other bytes"),
        ("by-hand", "only in the release already there"),
        ("evidence/model/new", "only in the new one"),
        ("new", "only in the new one"),
    ]
    assert "raise `version` in the recipe" in str(error.value.remedy)
    assert error.value.exit_code == 2
    assert tree(folder) == before | {"by-hand": b""}


def test_an_empty_folder_is_filled(parts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "a-1.0.0"
    folder.mkdir()
    assert assemble(folder, parts) is True
    assert (folder / "README.md").exists()


def test_a_failure_leaves_nothing(parts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "a-1.0.0"

    def finish(built: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assemble(folder, parts, finish)
    assert list(folder.parent.iterdir()) == []


def test_a_missing_part(parts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="A part of the release is not there") as error:
        assemble(tmp_path / "a", parts | {"LICENSE": tmp_path / "none"})
    assert str(tmp_path / "none") in str(error.value)
    assert not (tmp_path / "a").exists()


def test_links_are_refused(parts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(parts["README.md"])
    with pytest.raises(UsageError, match="The parts do not make a release") as error:
        assemble(tmp_path / "a", {"README.md": tmp_path / "link"})
    assert error.value.faults[0].what == "a symbolic link"
    (parts[""] / "link").symlink_to(parts["README.md"])
    with pytest.raises(UsageError, match="may not hold"):
        assemble(tmp_path / "a", parts)


def test_a_part_that_cannot_be_read(parts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "card.md").chmod(0)
    if os.access(tmp_path / "card.md", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(UsageError, match="The parts do not make a release") as error:
        assemble(tmp_path / "a", parts)
    assert [(f.file, f.what) for f in error.value.faults] == [(str(tmp_path / "card.md"), "cannot be read")]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("config.json", "given by two parts"),
        ("model.sig", "kept for the signature"),
        ("attestations/a.json", "kept for the signature"),
        ("Attestations/a.json", "kept for the signature"),
        ("README.md/below", "lies below a name that is a file"),
        ("readme.md", "by case only"),
    ],
)
def test_clashes(parts: dict[str, Path], tmp_path: Path, target: str, why: str) -> None:
    with pytest.raises(UsageError, match="The parts do not make a release") as error:
        assemble(tmp_path / "a", parts | {target: tmp_path / "card.md"})
    assert why in " ".join(fault.what for fault in error.value.faults)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("target", ["../up", "/etc/motd", "a//b", "./a", "a/../b", "a\\b", "a\nb"])
def test_targets_stay_inside(parts: dict[str, Path], tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError, match="Some file names cannot be released"):
        assemble(tmp_path / "a", {target: tmp_path / "card.md"})


def test_the_signature_of_a_source_is_not_taken_for_ours(parts: dict[str, Path], tmp_path: Path) -> None:
    (parts[""] / "model.sig").write_text("of the base model")
    assemble(tmp_path / "a", parts)
    assert not list((tmp_path / "a").rglob("model.sig"))


def test_what_stands_in_the_way(parts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(UsageError, match="exists and is not a folder"):
        assemble(tmp_path / "a", parts)
    with pytest.raises(UsageError, match="The release has no file"):
        assemble(tmp_path / "b", {})


def test_another_run_that_was_faster(parts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "a"

    def meanwhile(built: Path) -> None:
        folder.mkdir()
        (folder / "theirs").write_text("")

    with pytest.raises(UsageError, match="appeared while it was being made"):
        assemble(folder, parts, meanwhile)
    assert tree(folder) == {"theirs": b""}
