"""Which places inside the network carry the answer: activation patching, and its approximation by gradients.

Two runs differ by one thing (twins.py): in the clean one the model prefers the answer, in the corrupted one less so.
One activation of the clean run at a time is put into the corrupted one (denoising); its effect is the share of the
lost logit difference that comes back. Sources: Meng et al. 2022, 'Locating and Editing Factual Associations in GPT',
§2; Zhang and Nanda 2024, 'Towards Best Practices of Activation Patching' (why the logit difference, why a swapped
word rather than noise). The approximation: Nanda 2023, 'Attribution Patching'; Syed et al. 2023, 'Attribution Patching
Outperforms Automated Circuit Discovery', eq. 2: (clean − corrupted) · gradient at the corrupted run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from scipy import stats

from limpide.core.errors import LimpideError
from limpide.core.progress import Progress
from limpide.models.experts import expert_contributions
from limpide.models.families.registry import plain
from limpide.models.row import embed
from limpide.models.stacks import Site, Stack, stacks
from limpide.models.trace import Patch, Slopes, Trace, record, record_slopes, run_patched, token_logits
from limpide.understand.question import Decision, Question
from limpide.understand.settings import PatchingSettings
from limpide.understand.twins import Twin, twin_of

if TYPE_CHECKING:
    from limpide.models.model import Model

Kind = Literal["residual", "attention", "mlp", "head", "expert"]
Spot = tuple[Kind, int, int]
SITES: tuple[Site, ...] = get_args(Site)
UNCHECKED: dict[str, float | None] = {"everything": None, "nothing": None}
TRUSTED = 0.02  # of the lost difference: how far 'everything' and 'nothing' may be from the two runs


@dataclass(frozen=True)
class Screen:
    """rank_agreement: Spearman's correlation of the approximate effects with the exact ones, over n cells; None where
    one of them does not vary. It is of this question alone."""

    rank_agreement: float | None
    n: int


@dataclass(frozen=True)
class StackEffects:
    """Effects in one stack: sites {site: [layer][place]}, heads [layer][head], experts [layer][expert], where a layer
    without experts has none. tokens: what stands at the places; of a twin with noise, and of the clean run."""

    name: str
    layers: int
    tokens: tuple[str, ...]
    sites: dict[str, list[list[float]]]
    heads: list[list[float]]
    experts: list[list[float]] | None


@dataclass(frozen=True)
class Patching:
    """clean, corrupted: logit(token) − logit(rival) of the two runs. Effects are shares of what lies between: 1 brings
    the whole answer back, 0 nothing, below 0 makes it still less likely; they need not sum to 1.

    A site of one place: the stream before the block, or what its attention or MLP adds to it. A head or an expert:
    what it gives at all places together. exact: each cell by a run of its own, else by gradients. checks: the largest
    differences, in logits, of runs with everything patched from the clean one, and with nothing from the corrupted
    one (None without exact runs).

    An effect says that what differs between the two prompts passes there. What the prompts share cannot show, nor
    what two places carry that each suffices for.
    """

    twin: Twin
    clean: float
    corrupted: float
    exact: bool
    stacks: tuple[StackEffects, ...]
    checks: dict[str, float | None]
    screen: Screen | None

    def record(self) -> dict[str, Any]:
        """Plain JSON; numbers to 6 significant digits."""
        swaps = [{"from": before, "to": after} for before, after in self.twin.swaps]
        found: dict[str, Any] = _rounded(
            {
                "twin": {"prompt": self.twin.prompt, "swaps": swaps, "how": self.twin.how},
                "clean": self.clean,
                "corrupted": self.corrupted,
                "exact": self.exact,
                "stacks": [asdict(stack) for stack in self.stacks],
                "checks": self.checks,
                "screen": None if self.screen is None else asdict(self.screen),
            }
        )
        return found


@dataclass(frozen=True)
class Cell:
    """One effect to compute. spot: its kind, its layer, and which place, head or expert."""

    spot: Spot
    patch: Patch


@dataclass(frozen=True)
class Pair:
    """One stack in the two runs. first: the first place whose activations may differ."""

    stack: Stack
    clean: Trace
    corrupted: Trace
    first: int

    @property
    def places(self) -> int:
        return int(self.clean.mlp.shape[1])


def explain(
    model: "Model", question: Question, settings: PatchingSettings, progress: Progress, seed: int = 0
) -> Patching:
    """The effect of every layer and place, head and expert on the question's decision.

    seed: of the search for the other run. The approximation alone is computed where it is asked for, or where exact
    runs would be more than `settings.most`. Raises what `twin_of` raises; LimpideError where a check fails.
    """
    twin = twin_of(model, question, settings, seed)
    decision = question.decision
    given = embed(model, twin.row.ids) if twin.embeddings is None else twin.embeddings
    # before the traces are there: the backward pass needs most memory
    slopes = record_slopes(model, twin.row, given, lambda hidden: decision.difference(model, hidden))
    pairs = pairs_of(model, decision, twin)
    ends = (pairs[-1].clean, pairs[-1].corrupted)
    clean, corrupted = (float(differences(model, decision, trace.hidden)) for trace in ends)
    lost = clean - corrupted
    exact = not settings.screen and sum(work(model, pair) for pair in pairs) <= settings.most
    if not (exact or settings.screen):
        progress.say("patching: a long prompt, so effects are approximated by gradients (patching.most: the limit)")
    checks = _checked(model, decision, pairs[0], clean, corrupted) if exact else UNCHECKED
    found, guesses, truths = [], list[float](), list[float]()
    for pair in pairs:
        spots, patches, estimates = _screened(model, pair, pair is pairs[-1], slopes, keep=exact)
        effects = [change / lost for change in estimates]
        guesses += effects
        if exact:
            values = patched(model, decision, pair, patches, progress)
            truths += (effects := ((values - corrupted) / lost).tolist())
        found.append(_gathered(model, pair, spots, effects))
    screen = agreement(guesses, truths) if exact else None
    return Patching(twin, clean, corrupted, exact, tuple(found), checks, screen)


def _screened(
    model: "Model", pair: Pair, last: bool, slopes: dict[str, Slopes], keep: bool
) -> tuple[list[Spot], list[Patch], list[float]]:
    """(what each cell is, its patch, its estimate). keep: the patches too, which are most of the memory."""
    spots, patches, estimates = [], [], []
    for cell in cells_of(model, pair, last):
        spots.append(cell.spot)
        estimates.append(estimate(pair, slopes, cell.patch))
        patches += [cell.patch] if keep else []
    return spots, patches, estimates


def pairs_of(model: "Model", decision: Decision, twin: Twin) -> list[Pair]:
    """Each stack in the clean run and in the twin's."""
    clean, other = record(model, decision.row), record(model, twin.row, twin.embeddings)
    pairs = [Pair(stack, clean[stack.name], other[stack.name], 0) for stack in stacks(model)]
    if model.kind != "decoder":
        return pairs
    differ = (pairs[0].clean.embeddings != pairs[0].corrupted.embeddings).any(dim=1)  # [tokens]
    return [replace(pairs[0], first=int(differ.nonzero()[0]))]


def differences(model: "Model", decision: Decision, hidden: torch.Tensor) -> torch.Tensor:
    """logit(token) − logit(rival), float[batch]. hidden: float[batch, width], final states at the deciding place."""
    with torch.inference_mode():
        logits = token_logits(model, hidden, (decision.token, decision.rival))  # [batch, 2]
        return logits[:, 0] - logits[:, 1]


def patched(
    model: "Model", decision: Decision, pair: Pair, patches: Sequence[Patch], progress: Progress | None = None
) -> torch.Tensor:
    """The logit difference of the corrupted run with each patch, float[patches]. Exact."""
    if not patches:
        return torch.empty(0)
    hidden = run_patched(model, pair.corrupted, pair.stack, patches, progress)  # [patches, 1, width]
    return differences(model, decision, hidden[:, 0])


def estimate(pair: Pair, slopes: dict[str, Slopes], patch: Patch) -> float:
    """The change of the logit difference to first order: (patched − corrupted) · gradient."""
    moved = patch.values - pair.corrupted.at(patch.site, patch.layer, patch.places)
    return float((moved * slopes[pair.stack.name].at(patch.site, patch.layer, patch.places)).sum())


def agreement(estimates: Sequence[float], effects: Sequence[float]) -> Screen:
    """Spearman's rank correlation over all cells of the question."""
    n = len(effects)
    if n < 2 or len(set(estimates)) < 2 or len(set(effects)) < 2:
        return Screen(None, n)
    return Screen(float(stats.spearmanr(estimates, effects).statistic), n)


def work(model: "Model", pair: Pair) -> int:
    """Places × layers that exact runs of all sites, heads and checks would compute."""
    ends = range(pair.first, pair.places)
    sites = len(SITES) * sum(pair.places - place if model.kind == "decoder" else pair.places for place in ends)
    return (sites + (heads(model) + 2) * len(ends)) * sum(range(1, len(pair.stack) + 1))


def _checked(model: "Model", decision: Decision, pair: Pair, clean: float, corrupted: float) -> dict[str, float | None]:
    """All places patched before any block give the clean run, and their own values the corrupted one. Places before
    the first difference are the same in both."""
    layers, places = range(len(pair.stack)), tuple(range(pair.first, pair.places))
    ends = {"everything": (pair.clean, clean), "nothing": (pair.corrupted, corrupted)}
    patches = [Patch(k, "residual", places, run.at("residual", k, places)) for run, _ in ends.values() for k in layers]
    found = patched(model, decision, pair, patches).reshape(2, -1)
    checks = {name: float((row - end).abs().max()) for row, (name, (_, end)) in zip(found, ends.items(), strict=True)}
    if max(checks.values()) > TRUSTED * abs(clean - corrupted):
        raise LimpideError(
            "Patched runs of this model cannot be trusted: they do not end where they must.",
            received=f"everything patched: {checks['everything']:.3g} logits from the clean run; nothing: "
            f"{checks['nothing']:.3g} from the corrupted one",
            expected=f"at most {TRUSTED:.0%} of the {abs(clean - corrupted):.3g} logits between the two",
            remedy="tell Limpide's authors which model this is",
        )
    return dict(checks)


# --------------------------------------------------------------------------------------------------------- the cells


def cells_of(model: "Model", pair: Pair, last: bool, kinds: Sequence[Kind] = get_args(Kind)) -> Iterator[Cell]:
    """Every cell whose effect is not 0 by construction. last: the stack's output is what the answer is read from.

    It is 0 where both runs have the same values: before the first difference in a decoder, and on the embeddings of
    all places that are alike; and where nothing reads what changes: after the last attention, at other places.
    """
    for layer in range(len(pair.stack)):
        for site in (site for site in SITES if site in kinds):
            for place in _places(pair, layer, site, last):
                values = pair.clean.at(site, layer, [place])
                if not torch.equal(values, pair.corrupted.at(site, layer, [place])):
                    yield Cell((site, layer, place), Patch(layer, site, (place,), values))
        if "head" in kinds:
            yield from _heads(model, pair, layer)
        if "expert" in kinds:
            yield from _experts(model, pair, layer)


def _places(pair: Pair, layer: int, site: Site, last: bool) -> Sequence[int]:
    if last and layer == len(pair.stack) - 1 and site != "residual":
        return pair.clean.row.read
    return range(pair.first, pair.places)


def heads(model: "Model") -> int:
    return int(plain(model.network).config.num_attention_heads)


def _heads(model: "Model", pair: Pair, layer: int) -> Iterator[Cell]:
    """The corrupted run's heads, but for one that is the clean run's, mixed as the layer mixes them."""
    count = heads(model)
    clean, other = (run.mixed[layer][pair.first :] for run in (pair.clean, pair.corrupted))
    one = torch.eye(count, dtype=torch.bool).repeat_interleave(other.shape[1] // count, dim=1)  # [heads, width]
    given = torch.where(one[:, None], clean, other)  # [heads, places, width]
    with torch.inference_mode():
        mixed = pair.stack.module(layer, pair.stack.mix)(given)
    places = tuple(range(pair.first, pair.places))
    for head in range(count):
        yield Cell(("head", layer, head), Patch(layer, "attention", places, mixed[head]))


def _experts(model: "Model", pair: Pair, layer: int) -> Iterator[Cell]:
    """The corrupted run's MLP, but for what one expert adds, weighted as the clean run weights it."""
    if not model.family.experts:
        return
    clean, other = (
        expert_contributions(model, pair.stack, layer, run.mlp_input[layer][pair.first :])
        for run in (pair.clean, pair.corrupted)
    )
    if clean is None or other is None:
        return
    places = tuple(range(pair.first, pair.places))
    for expert, moved in enumerate(clean - other):
        if moved.any():  # else chosen in neither run
            values = pair.corrupted.at("mlp", layer, places) + moved
            yield Cell(("expert", layer, expert), Patch(layer, "mlp", places, values))


def _gathered(model: "Model", pair: Pair, spots: Sequence[Spot], effects: Sequence[float]) -> StackEffects:
    """Effects in the form of grids, 0 where there is no cell."""
    layers = len(pair.stack)
    widths = dict.fromkeys(SITES, pair.places) | {"head": heads(model)}
    grids = {kind: [[0.0] * width for _ in range(layers)] for kind, width in widths.items()}
    if model.family.experts:
        places = (pair.clean.mlp_input[layer][:1] for layer in range(layers))
        added = (expert_contributions(model, pair.stack, layer, one) for layer, one in enumerate(places))
        grids["expert"] = [[0.0] * (0 if found is None else len(found)) for found in added]
    for (kind, layer, index), effect in zip(spots, effects, strict=True):
        grids[kind][layer][index] = effect
    row = pair.clean.row
    ids = row.written if pair.stack.name == "decoder" else row.ids
    return StackEffects(
        name=pair.stack.name,
        layers=layers,
        tokens=tuple(model.tokenizer.decode([id]) for id in ids),
        sites={site: grids[site] for site in SITES},
        heads=grids["head"],
        experts=grids.get("expert"),
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
