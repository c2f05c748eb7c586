"""Directions by difference of means, and the updates that add one to the residual stream or take it away.

v = mean(h⁺) − mean(h⁻), at places chosen in each text of two sets. Adding s · v to the stream after a block moves what
a model says (Rimsky et al. 2024, arXiv:2312.06681). Ablation, h − v̂v̂ᵀ(h − μ), takes away what is said along v; in the
weights that write to the stream it is W ← (I − v̂v̂ᵀ)W (Arditi et al. 2024, arXiv:2406.11717). They have one v for all
weights; here the weights that mix attention heads are changed, since nothing else carries a person to the places that
follow, and each has its own v, the difference of what it writes itself. A direction by which a model tells two sets
apart need not be the one by which it acts on the difference: only a measurement after the change shows that.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from scipy import stats
from torch import Tensor

from limpide.core import digests
from limpide.core.errors import DataError
from limpide.core.progress import Progress
from limpide.models.encoding import Encoded
from limpide.models.likelihood import read
from limpide.models.stacks import Stack
from limpide.models.update import Affine, Update
from limpide.models.writes import Write, block_name, folded, joined, writes

if TYPE_CHECKING:
    from limpide.models.model import Model

Name = TypeVar("Name", bound=Hashable)
Where = Literal["residual", "attention", "cross"]
Part = tuple[int, Where]  # a layer, and what of it
TOKENS = 4096  # of a batch, padding included
FOLDS = 5
CROSS = "layer.1.EncDecAttention"  # in a block of the half of T5 that writes: what it takes over from the other half
ALIKE = 1e-4  # distance of two sets, as a share of the length of what is compared, up to which they are alike
DEPENDENT = 1e-3  # share of a vector left beside others, under which it is taken to lie among them


@dataclass(frozen=True)
class Text:
    """One text of a set. places: choices of where to look at it, each some places of the row that the stack reads; as
    many choices for all texts. cluster: what it shares with the texts that must not judge what it taught."""

    item: Encoded
    places: tuple[tuple[int, ...], ...]
    cluster: str


@dataclass(frozen=True, eq=False)
class Contrast:
    """What parts of a network give for two sets of texts: float[texts, choices, parts, width] each.

    name: what the sets differ in. paired: text k of one is the twin of text k of the other.
    """

    name: str
    parts: tuple[Part, ...]
    above: Tensor
    below: Tensor
    above_clusters: tuple[str, ...]
    below_clusters: tuple[str, ...]
    paired: bool

    def mean(self) -> Tensor:
        """Of both sets, alike in weight, float[choices, parts, width]."""
        return (self.above.mean(0) + self.below.mean(0)) / 2

    def difference(self) -> Tensor:
        """mean(h⁺) − mean(h⁻), float[choices, parts, width]."""
        return self.above.mean(0) - self.below.mean(0)


@dataclass(frozen=True, eq=False)
class Separation:
    """How well directions tell apart texts that they were not fitted on.

    effect: distance of the two means along the direction, in standard deviations of a set, float[choices, parts].
    right: texts, or twins, on the right side of the middle, long[choices, parts], of `n`.
    """

    effect: Tensor
    right: Tensor
    n: int


def averages(
    model: "Model", modules: Mapping[Name, Any], texts: Sequence[Text], progress: Progress
) -> dict[Name, Tensor]:
    """What each module gives, averaged over each choice of places, {name: float[texts, choices, width]}.

    An encoder reads a text once for each token asked about, masked, and the average is over these too.
    """
    order = sorted(range(len(texts)), key=lambda k: len(texts[k].item))
    found: dict[Name, Tensor] = {}
    with torch.inference_mode(), progress.task("reading the two sets", total=len(texts)) as task:
        for batch in _batches(order, texts):
            chosen = [texts[k] for k in batch]
            weights, owner = _weights(model, chosen)
            into = torch.tensor(batch)[owner]
            with contextlib.ExitStack() as hooks:
                for name, module in modules.items():
                    hook = _summing(found, name, weights, into, len(texts))
                    hooks.callback(module.register_forward_hook(hook).remove)
                read(model, [text.item for text in chosen])
            task.advance(len(batch))
    return found


def _summing(found: dict[Any, Tensor], name: Any, weights: Tensor, into: Tensor, texts: int) -> Callable[..., None]:
    def hook(_: Any, __: Any, output: Any) -> None:
        values = _first(output).float()[:, : weights.shape[2]]  # [rows, places, width]
        means = weights @ values  # [rows, choices, width]
        if name not in found:
            found[name] = means.new_zeros(texts, *means.shape[1:])
        found[name].index_add_(0, into, means)

    return hook


def _batches(order: Sequence[int], texts: Sequence[Text]) -> Iterator[list[int]]:
    """Texts of about one length, as many as TOKENS allows."""
    batch: list[int] = []
    for k in order:
        if batch and (len(batch) + 1) * len(texts[k].item) > TOKENS:
            yield batch
            batch = []
        batch.append(k)
    yield batch


def _weights(model: "Model", texts: Sequence[Text]) -> tuple[Tensor, Tensor]:
    """(float[rows, choices, places], by which a row's places make its text's averages; long[rows], whose row it is)."""
    copies = [len(text.item.continuation) if model.kind == "encoder" else 1 for text in texts]
    owner = [k for k, count in enumerate(copies) for _ in range(count)]
    last = max(place for text in texts for places in text.places for place in places)
    weights = torch.zeros(len(owner), len(texts[0].places), last + 1)
    for row, k in enumerate(owner):
        for choice, places in enumerate(texts[k].places):
            weights[row, choice, list(places)] = 1 / (len(places) * copies[k])
    return weights, torch.tensor(owner)


def streams(stack: Stack, layers: Iterable[int]) -> dict[Part, Any]:
    """The blocks: what one gives is the stream behind it."""
    return {(layer, "residual"): stack.module(layer, "") for layer in layers}


def carriers(model: "Model", stack: Stack, layers: Iterable[int]) -> dict[Part, Any]:
    """The modules of these layers that carry to a place what was said at others: attention, nothing else."""
    paths: dict[Where, str] = {"attention": stack.attention}
    if model.kind == "encoder-decoder":
        paths["cross"] = CROSS
    return {(layer, where): stack.module(layer, path) for layer in layers for where, path in paths.items()}


def contrast(
    model: "Model",
    parts: Mapping[Part, Any],
    name: str,
    sets: tuple[Sequence[Text], Sequence[Text]],
    progress: Progress,
    *,
    paired: bool,
) -> Contrast:
    """What the parts give for both sets. sets: h⁺, then h⁻."""
    above, below = sets
    found = averages(model, parts, [*above, *below], progress)
    values = torch.stack([found[part] for part in parts], 2)  # [texts, choices, parts, width]
    clusters = [tuple(text.cluster for text in texts) for texts in sets]
    return Contrast(name, tuple(parts), values[: len(above)], values[len(above) :], clusters[0], clusters[1], paired)


def separation(found: Contrast) -> Separation:
    """Of directions fitted on four fifths of the clusters, over the fifth that is left; twins are compared with each
    other, so that what they share does not count."""
    fold = _folds(found)
    above, below = found.above, found.below
    if found.paired:
        middle = (above + below) / 2
        above, below = above - middle, below - middle
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for number in range(FOLDS):
        held = [torch.tensor([fold[c] == number for c in cs]) for cs in (found.above_clusters, found.below_clusters)]
        if any(not bool(h.any()) or bool(h.all()) for h in held):
            continue
        means = above[~held[0]].mean(0), below[~held[1]].mean(0)
        along = torch.nn.functional.normalize(means[0] - means[1], dim=-1)  # [choices, parts, width]
        centre = ((means[0] + means[1]) / 2 * along).sum(-1)
        for side, values in zip(sides, (above[held[0]], below[held[1]]), strict=True):
            side.append((values * along).sum(-1) - centre)
    high, low = (torch.cat(side) for side in sides)  # [texts, choices, parts]
    spread = ((high.var(0) + low.var(0)) / 2).sqrt().clamp_min(torch.finfo(high.dtype).tiny)
    right, n = (high > 0).sum(0) + (low < 0).sum(0), len(high) + len(low)
    twice = 2 if found.paired else 1  # the two of a twin are on the right side together
    return Separation((high.mean(0) - low.mean(0)) / spread, right // twice, n // twice)


def _folds(found: Contrast) -> dict[str, int]:
    """{cluster: its fold}, each set spread over all of them."""
    fold: dict[str, int] = {}
    for clusters in (found.above_clusters, found.below_clusters):
        new = sorted(set(clusters) - fold.keys(), key=digests.of_value)
        fold |= {cluster: k % FOLDS for k, cluster in enumerate(new)}
    return fold


def differ(found: Contrast) -> Tensor:
    """Where the two sets are not alike, bool[choices, parts]: their means are further apart than rounding puts them."""
    length = found.above.norm(dim=-1).mean(0).clamp_min(torch.finfo(found.above.dtype).tiny)
    apart: Tensor = found.difference().norm(dim=-1) / length
    return apart > ALIKE


def best(found: Contrast, apart: Separation) -> tuple[int, int]:
    """(choice of places, which part) whose direction tells held-out texts apart best. Raises DataError where the two
    sets are the same to the model."""
    where = differ(found)
    if not bool(where.any()):
        raise DataError(
            "The two sets are the same to this model, so that there is no direction between them.",
            received=found.name,
            expected="sets that differ",
            remedy="give other texts, or steer another layer",
        )
    choice, part = divmod(int(apart.effect.where(where, -torch.inf).argmax()), apart.effect.shape[1])
    return choice, part


def spans(found: Sequence[Contrast]) -> tuple[dict[Part, Tensor], dict[Part, Tensor]]:
    """Of each part where sets differ: their directions, orthonormal, float[rank, width]; and its mean, float[width].

    Of the first choice of places. Several contrasts are of the same parts.
    """
    bases, means = {}, {}
    for k, part in enumerate(found[0].parts):
        vectors = [each.difference()[0, k] for each in found if bool(differ(each)[0, k])]
        if vectors:
            bases[part] = orthonormal(vectors)
            means[part] = torch.stack([each.mean()[0, k] for each in found]).mean(0)
    return bases, means


def orthonormal(vectors: Sequence[Tensor]) -> Tensor:
    """The vectors made orthogonal in their order (Gram–Schmidt) and of length 1, float[rank, width]; one that lies
    among those before it is left out."""
    basis: list[Tensor] = []
    for vector in vectors:
        rest = vector.double()
        for _ in range(2):  # the second time takes away what rounding left
            for other in basis:
                rest = rest - other * (other @ rest)
        if rest.norm() > DEPENDENT * vector.norm():
            basis.append(rest / rest.norm())
    return torch.stack(basis).to(vectors[0].dtype)


def ablation(
    model: "Model", stack: Stack, bases: Mapping[Part, Tensor], means: Mapping[Part, Tensor] | None = None
) -> Update:
    """y ← y − BᵀB(y − μ) of what each part gives, in the weights that write it.

    bases: float[rank, width], orthonormal. means: μ, float[width], of which a family without a bias there keeps
    nothing. What the embedding and other weights say along these directions stays.
    """
    found = []
    for part, basis in bases.items():
        offset = basis.T @ (basis @ means[part]) if means else basis.new_zeros(basis.shape[1])
        affine = Affine(-basis.T.contiguous(), basis, offset)
        found += [folded(model, write, affine) for write in written(model, stack, *part)]
    return joined(*found)


def written(model: "Model", stack: Stack, layer: int, where: Where) -> list[Write]:
    """The weights behind what a carrier gives."""
    if where == "cross":
        return [Write(f"{block_name(model, stack, layer)}.{CROSS}.o.weight", None, False, False)]
    return writes(model, stack, layer, "attention")


def shift(model: "Model", stack: Stack, vectors: Mapping[int, Tensor]) -> Update:
    """h ← h + v after the blocks named, at every place. vectors: {layer: float[width]}.

    As a bias of what writes last in the block where the family has one or can be given one, else as a map.
    """
    found = Update()
    for layer, vector in vectors.items():
        names = _last_biases(model, stack, layer)
        if names:
            found = joined(found, Update(vectors=dict.fromkeys(names, vector)))
        else:
            none = vector.new_zeros(len(vector), 0)
            found = joined(found, Update(maps={block_name(model, stack, layer): Affine(none, none.T, vector)}))
    return found


def _last_biases(model: "Model", stack: Stack, layer: int) -> list[str]:
    """Names of the biases that are added as they are to what a block gives; experts, whose weights sum to 1, have one
    each. Empty where there are none."""
    if model.family.final_norm is None:  # BERT: a block ends with a norm, whose bias comes last
        return [f"{block_name(model, stack, layer)}.{model.family.block_norms[-1]}.bias"]
    if "post_feedforward_layernorm" in model.family.block_norms:  # Gemma 2 and 3: what the MLP gives is normed
        return []
    found = [write.bias for write in writes(model, stack, layer, "mlp")]
    return [found[0]] if len(found) == 1 and found[0] is not None else []


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    interval = stats.binomtest(right, n).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found
