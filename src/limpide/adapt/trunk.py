"""The frozen trunk's work, kept: what enters the first trained block is computed once for each pack.

When only upper blocks are trained, everything below them gives the same numbers in every epoch. They are written to a
file beside the checkpoint, mapped into memory, and later epochs, a resumed run and the held-out packs read them. Each
pack goes through the trunk alone, also where nothing can be kept, so that keeping changes no bit of the training.

In an encoder–decoder whose encoder is not trained, the encoder is the trunk.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limpide.adapt.checkpoint import TRUNK
from limpide.adapt.packing import Batch, Pack, collate
from limpide.core import digests, files
from limpide.models.families.family import Family
from limpide.models.families.registry import blocks, get

SHARE = 0.25  # of the free disk, at most, unless a number of bytes is given


@dataclass(frozen=True)
class Entered:
    """states: float[packs, width, hidden], what enters block `first`; in an encoder–decoder what its encoder gives."""

    first: int
    states: torch.Tensor


def first_trained(network: Any, family: Family) -> int:
    """Blocks below everything that is trained; in an encoder–decoder 1 where only its decoder is trained. 0: no trunk.

    A head, a final norm and blocks above may be trained; where anything else is, there is no trunk.
    """
    trained = {id(p) for p in network.parameters() if p.requires_grad}
    above = {id(p) for path in (family.head, family.final_norm) if path for p in get(network, path).parameters()}
    above -= {id(p) for p in get(network, family.embedding).parameters()}
    layers = blocks(network, family)
    if family.encoder_blocks:
        first, inside = 1, _parameters(layers)  # of the decoder, first to last
    else:
        touched = [not trained.isdisjoint(_parameters([layer])) for layer in layers]
        first = touched.index(True) if any(touched) else len(layers)
        inside = _parameters(layers[first:])
    return first if trained and trained <= inside | above else 0


def _parameters(layers: Sequence[Any]) -> set[int]:
    return {id(p) for layer in layers for p in layer.parameters()}


@contextlib.contextmanager
def passed_by(network: Any, family: Family, entered: Entered | None) -> Iterator[None]:
    """Inside, the blocks below are not computed: the last of them gives what entered the first trained one."""
    if entered is None:
        yield
        return
    below = blocks(network, family)[: entered.first]
    with _replaced(below, _unchanged), _replaced(below[-1:], lambda *_, **__: entered.states):
        yield


@contextlib.contextmanager
def _replaced(layers: Sequence[Any], forward: Callable[..., torch.Tensor]) -> Iterator[None]:
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = forward
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            del layer.forward
            if own is not None:
                layer.forward = own


def _unchanged(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return hidden_states


class Trunk:
    """What enters the first trained block, by pack. compute: a batch of one pack → float[1, width, hidden]."""

    def __init__(self, first: int, pad: int, compute: Callable[[Batch], torch.Tensor]) -> None:
        self.first, self.pad, self.compute = first, pad, compute
        self.kept: _Kept | None = None

    def keep(self, folder: Path, packs: Sequence[Pack], most: int | None) -> str:
        """Keep what is computed for these packs in `folder`. most: bytes. Returns what a person should know of it."""
        folder.mkdir(parents=True, exist_ok=True)
        sample = self._of(packs[0])
        size = sum(map(_length, packs)) * sample.shape[1] * sample.element_size()
        allowed = int(shutil.disk_usage(folder).free * SHARE) if most is None else most
        told = f"the frozen layers' output for {len(packs)} packs is {size / 1e6:.1f} MB"
        if size > allowed:
            return f"{told}, more than the {allowed / 1e6:.1f} MB allowed: it is computed again in each epoch"
        try:
            self.kept = _Kept(folder / TRUNK, packs, sample, self.first)
        except OSError as error:
            shutil.rmtree(folder / TRUNK, ignore_errors=True)
            return f"{told} and cannot be kept on disk ({error.strerror}): it is computed again in each epoch"
        found = self.kept.read(packs[0])
        if found is not None and not torch.equal(found, sample):  # of another model, or another machine
            self.kept.forget()
        return f"{told}, kept on disk and computed once"

    def entered(self, packs: Sequence[Pack]) -> Entered:
        """As `collate` lays the packs out; what stands for padding is zero."""
        found = [self._kept_or_computed(pack) for pack in packs]
        return Entered(self.first, torch.nn.utils.rnn.pad_sequence(found, batch_first=True))

    def _kept_or_computed(self, pack: Pack) -> torch.Tensor:
        states = self.kept.read(pack) if self.kept else None
        if states is None:
            states = self._of(pack)
            if self.kept:
                self.kept.write(pack, states)
        return states

    def _of(self, pack: Pack) -> torch.Tensor:
        """float[places, hidden]."""
        with torch.no_grad():
            return self.compute(collate([pack], self.pad))[0]


def entering(
    network: Any, family: Family, first: int, run: Callable[[Batch], object]
) -> Callable[[Batch], torch.Tensor]:
    """batch → what enters block `first` when `run` sends the batch through the network, no further than there."""
    layers = blocks(network, family)[first:]

    def compute(batch: Batch) -> torch.Tensor:
        caught: list[torch.Tensor] = []

        def catch(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            caught.append(hidden_states)
            return hidden_states

        with _replaced(layers, _unchanged), _replaced(layers[:1], catch):
            run(batch)
        return caught[0]

    return compute


class _Kept:
    """A file of states, [places of all packs, hidden], and one of flags: which packs are in it."""

    def __init__(self, folder: Path, packs: Sequence[Pack], sample: torch.Tensor, first: int) -> None:
        keys = [_key(pack) for pack in packs]
        index = {"packs": digests.of_value(keys), "first": first, "dtype": str(sample.dtype), "width": sample.shape[1]}
        if not (folder / "index.json").is_file() or files.read_json(folder / "index.json") != index:
            shutil.rmtree(folder, ignore_errors=True)
        self.places = dict(zip(keys, _slices(packs), strict=True))
        self.order = {key: k for k, key in enumerate(keys)}
        shape = (sum(map(_length, packs)), sample.shape[1])
        folder.mkdir(parents=True, exist_ok=True)
        self.states = _mapped(folder / "states.bin", shape, sample.dtype)
        self.there = _mapped(folder / "there.bin", (len(packs),), torch.uint8)
        files.write_json(folder / "index.json", index)

    def read(self, pack: Pack) -> torch.Tensor | None:
        key = _key(pack)
        return self.states[self.places[key]].clone() if self.there[self.order[key]] else None

    def write(self, pack: Pack, states: torch.Tensor) -> None:
        key = _key(pack)
        self.states[self.places[key]] = states
        self.there[self.order[key]] = 1  # after the states, so that a killed run never reads half of them

    def forget(self) -> None:
        self.there.zero_()


def _mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor that is a file. Its room is taken at once: a disk that is full later would end the process."""
    count = torch.Size(shape).numel()
    size = count * torch.empty(0, dtype=dtype).element_size()
    with path.open("ab") as file:
        if file.tell() < size:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
    return torch.from_file(str(path), shared=True, size=count, dtype=dtype).view(shape)


def _slices(packs: Sequence[Pack]) -> Iterator[slice]:
    start = 0
    for pack in packs:
        yield slice(start, start + _length(pack))
        start += _length(pack)


def _length(pack: Pack) -> int:
    """Places whose states are kept: of the sources where there are any."""
    return sum(map(len, pack.sources)) or len(pack)


def _key(pack: Pack) -> str:
    return digests.of_value([pack.ids, pack.parents, [list(source) for source in pack.sources]])
