"""From a release or the folder of an adapt step to all that its training left: base, adapter, states, examples.

A release carries neither the examples, which may be confidential, nor the states: both stay in `.limpide/` beside
`releases/`, where `limpide run` made them.
"""

from dataclasses import dataclass
from pathlib import Path

from limpide.core import digests, files
from limpide.core.errors import DataError, MissingError, ModelError
from limpide.data.canary import canary
from limpide.data.examples import Example, load_examples
from limpide.models import trail
from limpide.models.sources import model_digest
from limpide.models.trail import Trail

LOCK = "recipe.lock.json"
GIVE = "give the folder of its adapt step: --influence.adapter .limpide/…/steps/adapt-…"


@dataclass(frozen=True)
class Trained:
    """folder: of the training, which holds adapter/ and checkpoints/. data: of the rows it read. examples: those
    that it learnt to answer, the canary among them where one was planted. aside: those that only told when to stop."""

    folder: Path
    data: Path
    base: Path
    trail: Trail
    examples: tuple[Example, ...]
    aside: tuple[Example, ...]

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"


def find_trained(model: Path, base: Path | None, adapter: Path | None, examples: Path | None) -> Trained:
    """What the training of a model left on this machine.

    model: the folder looked at. base: where the base model may be, when it is no longer where training found it.
    adapter, examples: given by a person, else looked for. Raises ModelError for a model that was not adapted,
    MissingError for what is not here, DataError for other examples than those trained on, IntegrityError.
    """
    folder = _training(adapter if adapter is not None else model)
    if not (folder / trail.FOLDER / trail.INDEX).is_file():
        raise MissingError(
            f"The training of {folder.name} kept no state of its adapter: either its recipe says adapt.keep: 0, or it "
            "was run by a version of Limpide older than this option, whose default keeps 4.",
            received=str(folder),
            expected=f"{trail.FOLDER}/{trail.INDEX} in it",
            remedy="take 'keep: 0' out of the recipe if it is there, and train again: "
            "limpide run recipe.yaml --from adapt",
        )
    kept = trail.load_trail(folder)
    if not kept.checkpoints:
        raise ModelError(
            "Training changed nothing: the adapter that was kept is the one it began with, so no example taught it.",
            received=str(folder),
            remedy="see the validation loss in losses.jsonl; more or other examples may help",
        )
    file = _examples(folder, kept, examples)
    rows = {row.id: row for row in load_examples(file)}
    planted = canary(kept.seed)
    rows[planted.id] = planted
    taught = tuple(rows[id] for id in kept.examples)
    return Trained(folder, file.parent, _base(kept, base), kept, taught, tuple(rows[id] for id in kept.kept_aside))


def _training(path: Path) -> Path:
    """The folder of the training that `path` (a release, an adapt step, the adapter in it) is from."""
    path = path.absolute()
    if not path.is_dir():
        raise MissingError(f"There is no folder {path}.", remedy=GIVE)
    for folder in (path, path.parent):
        if (folder / trail.FOLDER).is_dir() and (folder / "adapter").is_dir():
            return folder
    if (path / LOCK).is_file():
        return _of_release(path)
    for folder in (path, path.parent):  # an adapt step that kept nothing
        if (folder / "adapter" / "adapter_config.json").is_file() and (folder / "losses.jsonl").is_file():
            return folder
    raise ModelError(
        f"Influence needs an adapted model: nothing in {path.name} tells of a training.",
        received=str(path),
        expected="a release made by 'limpide run', or the folder of an adapt step",
        remedy=GIVE + ", or choose other methods",
    )


def _of_release(release: Path) -> Path:
    key = files.read_json(release / LOCK).get("steps", {}).get("adapt")
    if key is None:
        raise ModelError(
            f"Influence needs an adapted model: the recipe of {release.name} adapts nothing.",
            received=str(release),
            remedy="choose other methods, or add 'adapt' to the recipe",
        )
    name = f"adapt-{key[: digests.SHORT]}"
    found = sorted(release.parent.parent.glob(f".limpide/*/steps/{name}"))
    if not found:
        raise MissingError(
            f"The training of {release.name} is not on this machine: a release carries neither the examples nor the "
            "states of its adapter.",
            expected=f".limpide/…/steps/{name} beside releases/, as 'limpide run' left it",
            remedy=f"run the recipe again here, or give --influence.adapter FOLDER (the folder {name}) "
            "and --influence.examples FILE (train.jsonl of its data step)",
        )
    return found[0]


def _examples(folder: Path, kept: Trail, given: Path | None) -> Path:
    """The file of rows, which must be the very one that training read."""
    if given is not None:
        given = given / "train.jsonl" if given.is_dir() else given
        if not given.is_file():
            raise MissingError(
                f"There is no file {given}.", remedy="give train.jsonl of the data step: --influence.examples FILE"
            )
        if digests.of_file(given) != kept.data:
            raise DataError(
                f"{given.name} is not the file this adapter was trained on.",
                received=str(given),
                expected=f"a file whose SHA-256 begins with {kept.data[: digests.SHORT]}",
                remedy="give train.jsonl of the data step of the same run: --influence.examples FILE",
            )
        return given
    for path in sorted(folder.parent.glob("data*/train.jsonl")):
        if digests.of_file(path) == kept.data:
            return path
    raise MissingError(
        "The examples this adapter was trained on are not beside it.",
        received=str(folder.parent),
        expected="data-…/train.jsonl of the same run, unchanged",
        remedy="give the file: --influence.examples FILE",
    )


def _base(kept: Trail, other: Path | None) -> Path:
    """The base model: where training found it, or `other` when that is the same."""
    for folder in (Path(kept.base), other):
        if folder is not None and (folder / "config.json").is_file() and model_digest(folder) == kept.base_digest:
            return folder
    raise MissingError(
        "The base model this adapter was trained on is not where it was.",
        received=kept.base,
        expected=f"a model folder of digest {kept.base_digest[: digests.SHORT]}",
        remedy="put it back there, or run the recipe again",
    )
