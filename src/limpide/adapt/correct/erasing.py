"""Where a group shows in a network, and how it is erased there: layer by layer, each fitted on what those below left.

Twins are read up to the place that predicts the last token of their outcome, and count from the last token in which
the two differ: a causal network knows the group there and nowhere before. The attribute of a twin is half the
difference of its two groups, with opposite signs, so that what a template is about cannot pass for a group.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limpide.adapt.correct.leace import Eraser, Moments, eraser, told
from limpide.core.errors import DataError, UsageError
from limpide.core.progress import Progress
from limpide.data.templates import Case, read_pairs
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.gradients import wide_gradients
from limpide.models.likelihood import layouts, read
from limpide.models.linear import wide_products
from limpide.models.requests import Request
from limpide.models.stacks import Site, Stack, stacks
from limpide.models.update import Affine, Update, applied
from limpide.models.writes import block_name, folded, joined, writes

if TYPE_CHECKING:
    from limpide.models.model import Model

TOKENS = 4096  # of a batch that is only read
TOKENS_BACK = 512  # of one whose gradients are taken, since every activation is kept until then


@dataclass(frozen=True, eq=False)
class Row:
    """One context of a twin. first: the place in it from which it counts. group: float[k], its attribute. side: 1 for
    the stereotyped person, −1 for the other, 0 for a text of no group."""

    item: Encoded
    first: int
    group: Tensor
    side: int


@dataclass(frozen=True)
class Spot:
    """What a module of one layer gives: its attention, its MLP, or the stream after the whole block."""

    stack: Stack
    layer: int
    site: Site

    @property
    def module(self) -> Any:
        path = {"attention": self.stack.attention, "mlp": self.stack.mlp, "residual": ""}[self.site]
        return self.stack.module(self.layer, path)


@dataclass(frozen=True, eq=False)
class Erased:
    """One spot, and the update that erases there. told: share of the attribute's variance that the best linear
    predictor explained there before, on the very activations that it is fitted on, of which there are `places`."""

    spot: Spot
    eraser: Eraser
    update: Update
    told: float
    places: int

    @property
    def whole(self) -> bool:
        """Is the mean kept too? Without a bias to hold it, only what varies is as LEACE has it."""
        return bool(self.update.vectors or self.update.maps)


def rows_of(model: "Model", cases: Sequence[Case]) -> list[Row]:
    """Two rows a case, side by side. Raises DataError for an axis of one group, ModelError for a text too long."""
    others = _others(cases)
    columns = _columns(cases, others)
    texts = [(case.stereotyped, case.other) for case in cases]
    requests = [
        Request(f"{case.id}/{side}", context, case.outcome)
        for case, twin in zip(cases, texts, strict=True)
        for side, context in enumerate(twin)
    ]
    items = encode_requests(model, requests)
    rows = []
    for number, case in enumerate(cases):
        twin = items[2 * number : 2 * number + 2]
        shared = _shared_end(twin[0].context, twin[1].context)
        group = (columns[case.axis, case.group] - columns[case.axis, others[case.id]]) / 2
        rows += [
            Row(item, len(item.context) - 1 - shared, side * group, side)
            for item, side in zip(twin, (1, -1), strict=True)
        ]
    return rows


def neutral_rows(items: Sequence[Encoded], k: int) -> list[Row]:
    """Texts of no group, read whole: k zeros are their attribute, so that it covaries with nothing there."""
    return [Row(item, 0, torch.zeros(k, dtype=torch.float64), 0) for item in items]


def spots_of(model: "Model", sites: Sequence[Site], layers: Sequence[int] | None = None) -> list[Spot]:
    """Every spot of these sites, in the order in which the network comes by them; of these layers alone where they are
    given, in each stack that has them. Raises UsageError for a layer that no stack has."""
    found = stacks(model)
    deepest = max(len(stack) for stack in found)
    missing = [layer for layer in layers or () if not 0 <= layer < deepest]
    if missing:
        raise UsageError(
            "There is no such layer.", received=", ".join(map(str, missing)), expected=f"0 to {deepest - 1}"
        )
    return [
        Spot(stack, layer, site)
        for stack in found
        for layer in range(len(stack))
        if layers is None or layer in layers
        for site in sites
    ]


def carried(model: "Model", rows: Sequence[Row], spots: Sequence[Spot], progress: Progress) -> list[float]:
    """How much of the mean gap between twins each spot's linear trace of the group carries, in nats, to first order.

    The gap is log p(outcome | stereotyped) − log p(outcome | other). With B the least squares of a spot's activations
    on the attribute z, and g their gradient of the gap, the sum over places of g · Bz: what the gap would fall by were
    Bz taken away there alone. What one spot carries another may have read from it, so that these do not sum to the gap.
    Source: attribution patching (Nanda 2023), with the difference of groups instead of that of two runs.
    """
    total = [_Carried() for _ in spots]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        wide_gradients(model.network),
        progress.task("finding where the group acts", total=len(rows)) as task,
    ):
        for batch in _batches(model, rows, TOKENS_BACK):
            with _kept(spots) as kept:
                nats = read(model, [row.item for row in batch]).log_likelihoods(model)
            sides = torch.tensor([float(row.side) for row in batch])
            slopes = torch.autograd.grad((sides * nats).sum(), kept)
            for sums, spot, values, slope in zip(total, spots, kept, slopes, strict=True):
                seen, z = _attribute(model, batch, spot.stack)
                sums.add(values.detach()[seen].double(), slope[seen].double(), z)
            task.advance(len(batch))
    return [sums.nats() / (len(rows) / 2) for sums in total]


class _Carried:
    """Sums over places: activations and gradients with the attribute, and the attribute with itself."""

    def __init__(self) -> None:
        self.values: Any = 0.0
        self.slopes: Any = 0.0
        self.groups: Any = 0.0

    def add(self, values: Tensor, slopes: Tensor, z: Tensor) -> None:
        """values, slopes: float[places, width]; z: float[places, k]."""
        self.values = self.values + z.T @ values
        self.slopes = self.slopes + z.T @ slopes
        self.groups = self.groups + z.T @ z

    def nats(self) -> float:
        return float((torch.linalg.pinv(self.groups) @ self.values * self.slopes).sum())


def erase(
    model: "Model", rows: Sequence[Row], spots: Sequence[Spot], shrinkage: float, progress: Progress
) -> list[Erased]:
    """An eraser for each spot, in their order, fitted with those before it in place. The weights are left as they were.

    rows: of twins, and of neutral texts if the change is to be small on these too: the attribute is erased from the
    twins all the same, since it has mean 0 in them and is 0 elsewhere. Each spot is a pass of all rows through the
    layers up to its own: memory does not grow with the rows.
    """
    found: list[Erased] = []
    with contextlib.ExitStack() as below, progress.task("erasing", total=len(spots)) as task:
        for spot in spots:
            moments = _moments(model, rows, spot)
            one = eraser(moments, shrinkage)
            update = _update(model, spot, affine(one))
            found.append(Erased(spot, one, update, told(moments), moments.n))
            below.enter_context(applied(model, update))
            task.advance()
    return found


def affine(one: Eraser) -> Affine:
    """What the eraser adds to an activation."""
    return Affine(-one.left.float(), one.right.float(), (one.left @ (one.right @ one.mean)).float())


def _update(model: "Model", spot: Spot, change: Affine) -> Update:
    """In the weights that write at the spot; a module after the block for the stream, which none writes alone."""
    if spot.site == "residual":
        return Update(maps={block_name(model, spot.stack, spot.layer): change})
    made = writes(model, spot.stack, spot.layer, spot.site)
    return joined(*(folded(model, write, change) for write in made))


def _moments(model: "Model", rows: Sequence[Row], spot: Spot) -> Moments:
    moments: Moments | None = None
    with torch.inference_mode(), wide_products(model.network):
        for batch in _batches(model, rows, TOKENS):
            values = _until(model, batch, spot)
            moments = moments or Moments(values.shape[-1], len(rows[0].group))
            seen, z = _attribute(model, batch, spot.stack)
            moments.add(values[seen], z)
    assert moments is not None
    return moments


class _Reached(Exception):
    """No error: what lies above a spot need not run."""


def _until(model: "Model", batch: Sequence[Row], spot: Spot) -> Tensor:
    """What the spot gives, float[rows of the batch, tokens, width]."""
    kept: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        kept.append(_tensor(output))
        raise _Reached

    handle = spot.module.register_forward_hook(keep)
    try:
        with contextlib.suppress(_Reached):
            read(model, [row.item for row in batch])
    finally:
        handle.remove()
    return kept[0]


@contextlib.contextmanager
def _kept(spots: Sequence[Spot]) -> Iterator[list[Tensor]]:
    """What each spot gives in the run inside, in the order of the spots, ready to be differentiated."""
    met: dict[int, Tensor] = {}
    kept: list[Tensor] = []

    def keep(number: int, output: Any) -> None:
        values = _tensor(output)
        if not values.requires_grad:  # no gradient reaches the first of a stack
            values.requires_grad_()
        met[number] = values

    with contextlib.ExitStack() as hooks:
        for number, spot in enumerate(spots):
            hook = spot.module.register_forward_hook(lambda _, __, output, number=number: keep(number, output))
            hooks.callback(hook.remove)
        yield kept
    kept += [met[number] for number in range(len(spots))]


def _attribute(model: "Model", batch: Sequence[Row], stack: Stack) -> tuple[Tensor, Tensor]:
    """(bool[rows of the batch, tokens], the places that count; float64[places, k], the attribute there)."""
    layout = layouts(model, [row.item for row in batch])[stack.name]
    owner, lengths = torch.tensor(layout.owner), torch.tensor(layout.lengths)
    firsts = torch.zeros_like(owner)  # what is written after another text may show the group from its start
    if layout.context is not None:
        firsts = torch.tensor([row.first for row in batch])[owner] + layout.context
    columns = torch.arange(int(lengths.max()))
    seen = (columns >= firsts[:, None]) & (columns < lengths[:, None])
    groups = torch.stack([row.group for row in batch])[owner]  # [rows of the batch, k]
    return seen, groups.repeat_interleave(seen.sum(1), dim=0)


def _batches(model: "Model", rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """Of rows of like lengths, at most `tokens` in each, padding and an encoder's copies included."""
    batch: list[Row] = []
    longest = 0
    for row in sorted(rows, key=lambda row: len(row.item)):
        copies = len(row.item.continuation) if model.kind == "encoder" else 1
        longest = max(longest, copies * len(row.item))
        if batch and longest * (len(batch) + 1) > tokens:
            yield batch
            batch, longest = [], copies * len(row.item)
        batch.append(row)
    yield batch


def _columns(cases: Sequence[Case], others: Mapping[str, str]) -> dict[tuple[str, str], Tensor]:
    """{(axis, group): float[k]}: one column for each group but the last of its axis, which the others tell."""
    names = {
        axis: sorted({group for case in cases if case.axis == axis for group in (case.group, others[case.id])})
        for axis in dict.fromkeys(case.axis for case in cases)
    }
    told_by = [(axis, group) for axis, groups in names.items() for group in groups[:-1]]
    ones = torch.eye(len(told_by), dtype=torch.float64)
    last = {(axis, groups[-1]): torch.zeros_like(ones[0]) for axis, groups in names.items()}
    return dict(zip(told_by, ones, strict=True)) | last


def _others(cases: Sequence[Case]) -> dict[str, str]:
    """{case: the group of its other person}. Raises DataError for a pair whose persons are of one group."""
    groups = {
        (axis, pair["id"]): set(pair["groups"])
        for axis in {case.axis for case in cases}
        for pairs in read_pairs(axis).values()
        for pair in pairs
    }
    found = {}
    for case in cases:
        rest = groups[case.axis, case.pair] - {case.group}
        if len(rest) != 1:
            raise DataError(
                "The two persons of a twin must be of two groups, or there is nothing to tell apart.",
                received=f"{case.pair}: {', '.join(sorted(groups[case.axis, case.pair]))}",
                expected="a pair of two groups",
            )
        (found[case.id],) = rest
    return found


def _shared_end(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts end alike with; never all of them."""
    most = min(len(a), len(b)) - 1
    return next((n for n in range(most) if a[-1 - n] != b[-1 - n]), most)


def _tensor(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found
