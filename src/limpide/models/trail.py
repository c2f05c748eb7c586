"""What an adapter was on its way: a few of its states during training, and the learning rates between them.

Written by training, read by whoever asks which examples taught an answer. Each state is the adapter's weights alone, as
they computed, before the update that its number names; index.json tells what was trained on which base, and how.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from limpide.core import digests, files
from limpide.core.errors import IntegrityError, MissingError
from limpide.core.measure import Frozen

if TYPE_CHECKING:
    import torch

FOLDER = "checkpoints"
INDEX = "index.json"


class Checkpoint(Frozen):
    """step: updates made before. rate: learning rate of the next update; rates: the sum of those of all updates from
    this state to the next one kept, or to the end. bytes, digest: of its file."""

    step: int
    rate: float
    rates: float
    bytes: int
    digest: str

    @property
    def file(self) -> str:
        return file_name(self.step)


class Trail(Frozen):
    """checkpoints: in the order of their steps. steps: updates behind the adapter that was kept. examples: ids of the
    rows trained on; kept_aside: of those that only told when to stop. data: digest of the file of rows. base: the
    folder of the base model on this machine, and base_digest its digest. settings: of the training, whole.
    """

    checkpoints: tuple[Checkpoint, ...]
    steps: int
    examples: tuple[str, ...]
    kept_aside: tuple[str, ...]
    data: str
    base: str
    base_digest: str
    settings: dict[str, Any]
    seed: int


def file_name(step: int) -> str:
    return f"{step:06d}.safetensors"


def kept_steps(done: int, keep: int) -> range:
    """Which of the updates 0 … done − 1 have the state before them kept: evenly spaced, at most `keep`, from 0 on.

    The spacing doubles when there would be too many, so that a longer run keeps some of what a shorter one kept: the
    end of a run need not be known, and nothing that was dropped is wanted again.
    """
    stride = 1
    while -(-done // stride) > keep > 0:
        stride *= 2
    return range(0, done if keep else 0, stride)


def keep_state(folder: Path, step: int, weights: "Mapping[str, torch.Tensor]", keep: int) -> None:
    """Keep the weights before update `step`, if it is one of those to keep, and drop those that are so no longer."""
    wanted = kept_steps(step + 1, keep)
    if step not in wanted:
        return
    from safetensors.torch import save

    tensors = {name: weight.detach().contiguous() for name, weight in weights.items()}
    files.write_bytes(folder / FOLDER / file_name(step), save(tensors))
    _drop(folder / FOLDER, wanted)


def _drop(folder: Path, wanted: Iterable[int]) -> None:
    names = {file_name(step) for step in wanted}
    for path in folder.glob("*.safetensors"):
        if path.name not in names:
            path.unlink()


def close(folder: Path, steps: Iterable[int], rates: list[float], **facts: Any) -> Trail:
    """Write the index of the states kept before the updates `steps`; states of other updates are dropped.

    rates: learning rate of every update behind the adapter; states after it are not on its way. facts: the other
    fields of Trail.
    """
    kept = [step for step in steps if step < len(rates)]
    _drop(folder / FOLDER, kept)
    checkpoints = []
    for step, following in zip(kept, [*kept[1:], len(rates)], strict=False):
        path = folder / FOLDER / file_name(step)
        size, digest = path.stat().st_size, digests.of_file(path)
        between = sum(rates[step:following])
        checkpoints.append(Checkpoint(step=step, rate=rates[step], rates=between, bytes=size, digest=digest))
    trail = Trail(checkpoints=tuple(checkpoints), steps=len(rates), **facts)
    files.write_json(folder / FOLDER / INDEX, trail.model_dump(mode="json"))
    return trail


def load_trail(folder: Path) -> Trail:
    """The index under the folder of a training. Raises MissingError, IntegrityError."""
    path = folder / FOLDER / INDEX
    if not path.is_file():
        raise MissingError(
            f"{folder} kept no state of the adapter during its training.",
            expected=str(path),
            remedy="set adapt.keep in the recipe to 4 or so, and run it again",
        )
    try:
        return Trail.model_validate(files.read_json(path))
    except (ValueError, ValidationError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error


def load_state(folder: Path, checkpoint: Checkpoint) -> "dict[str, torch.Tensor]":
    """The weights of one state, by the names that a `peft` network gives them. Raises IntegrityError."""
    from safetensors.torch import load

    path = folder / FOLDER / checkpoint.file
    if not path.is_file():
        raise _damaged(path, "the file is not there")
    data = path.read_bytes()
    if digests.of_bytes(data) != checkpoint.digest:
        raise _damaged(path, "the file was changed after training")
    found: dict[str, torch.Tensor] = load(data)
    return found


def _damaged(path: Path, received: str) -> IntegrityError:
    return IntegrityError(
        f"A checkpoint of the training is damaged: {path}",
        received=received,
        expected="the bytes that training wrote",
        remedy="train again: limpide run recipe.yaml --from adapt",
    )
