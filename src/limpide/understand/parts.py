"""Direct parts: what each head, MLP and expert adds, by itself, to the logit difference at the deciding place.

The stream that the head reads is a sum of what each part wrote into it. So the logit difference, a linear reading of
that stream once the scale of every norm is held at its actual value, is a sum over the same parts. The reading
direction is pulled back from the head to the embeddings; each part's value is its output along the direction there.

This is the direct effect alone: what a part changes in the parts after it is counted as theirs, and a norm's scale,
to which every part contributes, as nobody's. Patching measures the whole effect.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits" (direct paths); Wang et al. 2022,
arXiv:2211.00593 (direct logit attribution).
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from limpide.core.progress import Progress
from limpide.models.experts import expert_contributions, routing, shared_contribution
from limpide.models.families.family import Family
from limpide.models.families.registry import get, head, plain
from limpide.models.stacks import Stack, stacks
from limpide.models.trace import Trace, record
from limpide.understand.question import Decision, Question
from limpide.understand.settings import PartsSettings

if TYPE_CHECKING:
    from limpide.models.model import Model

Kind = Literal["embedding", "head", "cross", "mlp", "expert", "shared", "bias"]
CROSS = "layer.1.EncDecAttention"  # in a block of T5's decoder
LARGE = 1e4  # a vector of this is normalised to the norm's gain, its epsilon being nothing beside it
POINTS, MOST_POINTS = 64, 512  # of the path through a head that is not linear
TOLERANCE = 1e-5  # of the same, as a share of the difference, or of one logit where that is more
POWER = 8  # points crowd at the start of the path, where the head's own norm turns


@dataclass(frozen=True)
class Part:
    """One part of the network. layer: from 0, None for what is in no layer. index: of the head or the expert, from 0.
    value: what it adds to logit(token) − logit(rival)."""

    name: str
    kind: Kind
    layer: int | None
    index: int | None
    value: float


@dataclass(frozen=True)
class Route:
    """Experts that a layer chose at the deciding place, the heaviest first, and the weights of their outputs."""

    layer: int
    experts: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Parts:
    """difference: logit(token) − logit(rival) before any cap; after_cap: the same after it, where there is one.
    parts: all of them, experts that were not chosen included (0). top: how many `record` lists."""

    difference: float
    after_cap: float | None
    layers: int
    parts: tuple[Part, ...]
    routes: tuple[Route, ...]
    top: int

    @property
    def sum(self) -> float:
        return sum(part.value for part in self.parts)

    @property
    def residual(self) -> float:
        """What the parts leave unexplained: rounding, and for an encoder the error of the integral over its head."""
        return self.difference - self.sum

    def table(self, *kinds: Kind) -> list[list[float]]:
        """float[layers][parts of these kinds, by index]."""
        rows: list[list[float]] = [[] for _ in range(self.layers)]
        for part in self.parts:
            if part.kind in kinds and part.layer is not None:
                rows[part.layer].append(part.value)
        return rows

    def record(self) -> dict[str, Any]:
        """Plain JSON. 'mlps' holds whole MLPs, so a mixture's experts are in it a second time; what is not among the
        `top` largest parts is one entry, 'all others', so that the list sums to the same."""
        listed = sorted((p for p in self.parts if p.kind != "expert" or p.value), key=lambda p: -abs(p.value))
        rest = listed[self.top :]
        entries = [asdict(part) | {"value": _rounded(part.value)} for part in listed[: self.top]]
        if rest:
            entries.append(
                {
                    "name": "all others",
                    "kind": "others",
                    "layer": None,
                    "index": None,
                    "value": _rounded(sum(part.value for part in rest)),
                    "parts": len(rest),
                }
            )
        cross, experts = self.table("cross"), self.table("expert")
        return {
            "difference": _rounded(self.difference),
            "after_cap": None if self.after_cap is None else _rounded(self.after_cap),
            "sum": _rounded(self.sum),
            "residual": _rounded(self.residual),
            "parts": entries,
            "heads": _rounded_rows(self.table("head")),
            "cross": _rounded_rows(cross) if any(cross) else None,
            "mlps": [_rounded(sum(row)) for row in self.table("mlp", "expert", "shared")],
            "experts": _rounded_rows(experts) if any(experts) else None,
            "routing": [
                {"layer": r.layer, "experts": list(r.experts), "weights": [_rounded(w) for w in r.weights]}
                for r in self.routes
            ]
            or None,
        }


def explain(model: "Model", question: Question, settings: PartsSettings, progress: Progress, seed: int = 0) -> Parts:
    """Direct contributions of every part to the decision of a question. They sum to the logit difference before any
    cap, up to `Parts.residual`. Nothing is random: `seed` is not used.

    The head of an encoder is not linear: there the direction is the mean gradient on the straight line from 0 to the
    final hidden state (Sundararajan et al. 2017), and what it gives at 0 is a bias.
    """
    decision, stack = question.decision, stacks(model)[-1]
    place = decision.row.read[0]
    with _listening(model, stack, place) as heard:
        run = record(model, decision.row)[stack.name]
    reading = _read_head(model, decision, run.hidden[0])
    parts, routes = [Part("output bias", "bias", None, None, reading.at_zero)], []
    direction = reading.direction
    if model.family.final_norm is not None:
        norm = get(model.network, model.family.final_norm)
        direction, bias = _through_norm(norm, run.residual[-1, place], direction)
        parts.append(Part("final norm bias", "bias", None, None, bias))
    steps = _steps(model, stack, run, heard, place)
    with progress.task("direct parts", total=len(steps)) as task:
        for step in reversed(steps):
            direction, found = _through_step(model, stack, step, direction)
            parts += found
            task.advance(1)
    parts.append(Part("embedding", "embedding", None, None, _along(direction, run.residual[0, place])))
    for layer, given in enumerate(heard.mlp_inputs):
        routed = routing(model, stack, layer, given[None])
        if routed is not None:
            routes.append(Route(layer, tuple(routed[0][0].tolist()), tuple(routed[1][0].tolist())))
    kept = tuple(part for part in parts if part.kind != "bias" or part.value)
    return Parts(reading.difference, _after_cap(model, decision, run), len(stack), kept, tuple(routes), settings.top)


@dataclass(frozen=True)
class _Heard:
    """What a trace does not keep, at the deciding place, one float[…] a layer: what MLPs are given; what the heads of
    a cross-attention gave before and after they are mixed (empty where there is none)."""

    mlp_inputs: list[torch.Tensor] = field(default_factory=list)
    cross_mixed: list[torch.Tensor] = field(default_factory=list)
    cross: list[torch.Tensor] = field(default_factory=list)


@contextlib.contextmanager
def _listening(model: "Model", stack: Stack, place: int) -> Iterator[_Heard]:
    heard = _Heard()

    def keep(where: list[torch.Tensor]) -> Any:
        return lambda _, args, *__: where.append(args[0][0, place].clone())

    def keep_output(_: Any, __: Any, output: torch.Tensor) -> None:
        heard.cross.append(output[0, place].clone())

    handles = []
    for layer in range(len(stack)):
        handles.append(stack.module(layer, stack.mlp).register_forward_pre_hook(keep(heard.mlp_inputs)))
        if model.kind == "encoder-decoder":
            mix = stack.module(layer, f"{CROSS}.o")
            handles += [
                mix.register_forward_pre_hook(keep(heard.cross_mixed)),
                mix.register_forward_hook(keep_output),
            ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Reading:
    """How the head reads a final hidden state: difference ≈ direction · hidden + at_zero. direction: float64[width]."""

    direction: torch.Tensor
    at_zero: float
    difference: float


def _read_head(model: "Model", decision: Decision, hidden: torch.Tensor) -> _Reading:
    """hidden: float[width]. Where the head is linear, one gradient is the whole of it."""
    end = hidden.clone()
    with torch.no_grad():
        at_zero, difference = _difference(model, decision, torch.stack([torch.zeros_like(end), end])).tolist()
    points = POINTS if model.kind == "encoder" else 1
    while True:
        direction = _mean_gradient(model, decision, end, points)
        gap = difference - at_zero - _along(direction, end)
        if points == 1 or abs(gap) <= TOLERANCE * max(1, abs(difference)) or points >= MOST_POINTS:
            return _Reading(direction, at_zero, difference)
        points *= 2


def _mean_gradient(model: "Model", decision: Decision, end: torch.Tensor, points: int) -> torch.Tensor:
    """Mean of the gradient of the difference between 0 and `end`, float64[width], by Gauss–Legendre in the POWER-th
    root of the share of the path."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(points)
    roots = torch.tensor((nodes + 1) / 2)
    shares = roots**POWER
    masses = torch.tensor(weights / 2) * POWER * roots ** (POWER - 1)
    masses /= masses.sum()  # 1 already but for rounding, or for the one point of a linear head
    total = torch.zeros(len(end), dtype=torch.float64)
    for first in range(0, points, POINTS):
        batch = slice(first, first + POINTS)
        path = (shares[batch, None] * end.double()).to(end.dtype).requires_grad_()  # [points, width]
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(_difference(model, decision, path).sum(), path)
        total += masses[batch] @ gradient.double()
    return total


def _difference(model: "Model", decision: Decision, hidden: torch.Tensor) -> torch.Tensor:
    """logit(token) − logit(rival) before any cap, float[batch], of hidden: float[batch, width]."""
    config: Any = plain(model.network).config
    if model.kind == "encoder-decoder" and getattr(config, "scale_decoder_outputs", False):
        hidden = hidden * config.d_model**-0.5
    logits = head(model.network, model.family)(hidden).float()  # [batch, vocabulary]
    difference: torch.Tensor = logits[:, decision.token] - logits[:, decision.rival]
    return difference


def _after_cap(model: "Model", decision: Decision, run: Trace) -> float | None:
    if getattr(plain(model.network).config, "final_logit_softcapping", None) is None:
        return None
    with torch.inference_mode():
        return float(decision.difference(model, run.hidden[None])[0])


@dataclass(frozen=True, eq=False)
class _Step:
    """One sum of the stream, stream ← after(joined), joined = stream + inside(output), at the deciding place.

    output, joined: float[width]. mixed: float[heads · head width], what an attention's heads gave, which the linear
    layer at the path `mix` turns into `output`; given: float[width], what an MLP was given. inside: Gemma 2 and 3
    normalise what joins; after: BERT normalises the sum.
    """

    layer: int
    kind: Literal["head", "cross", "mlp"]
    output: torch.Tensor
    joined: torch.Tensor
    inside: Any
    after: Any
    mix: str = ""
    mixed: torch.Tensor | None = None
    given: torch.Tensor | None = None


def _steps(model: "Model", stack: Stack, run: Trace, heard: _Heard, place: int) -> list[_Step]:
    """The sums of the stream in the order the network makes them."""
    inside, after = _norm_paths(model.family)
    steps = []
    for layer in range(len(stack)):
        stream = run.residual[layer, place]
        sums: list[tuple[Any, torch.Tensor, dict[str, Any]]] = [
            ("head", run.attention[layer, place], {"mix": stack.mix, "mixed": run.mixed[layer][place]}),
            ("mlp", run.mlp[layer, place], {"given": heard.mlp_inputs[layer]}),
        ]
        if heard.cross:
            mixing = {"mix": f"{CROSS}.o", "mixed": heard.cross_mixed[layer]}
            sums.insert(1, ("cross", heard.cross[layer], mixing))
        for kind, output, facts in sums:
            first, then = (stack.module(layer, at[kind]) if kind in at else None for at in (inside, after))
            with torch.inference_mode():
                joined = stream + (output if first is None else first(output))
                stream = joined if then is None else then(joined)
            steps.append(_Step(layer, kind, output, joined, first, then, **facts))
    return steps


def _norm_paths(family: Family) -> tuple[dict[str, str], dict[str, str]]:
    """({kind of sum: path of the norm of what joins}, {kind of sum: path of the norm of the sum}), in a block."""
    norms = family.block_norms
    if family.final_norm is None:  # every sum is normalised, so nothing is left for the end
        return {}, {"head": norms[0], "mlp": norms[1]}
    if len(norms) == 4:  # before and after each module
        return {"head": norms[1], "mlp": norms[3]}, {}
    return {}, {}


def _through_step(
    model: "Model", stack: Stack, step: _Step, direction: torch.Tensor
) -> tuple[torch.Tensor, Sequence[Part]]:
    """(the direction in the stream before the sum, the parts that the sum adds). direction: float64[width]."""
    parts: list[Part] = []
    where = f"layer {step.layer}"
    title = {"head": "attention", "cross": "cross-attention", "mlp": "MLP"}[step.kind]
    if step.after is not None:
        direction, bias = _through_norm(step.after, step.joined, direction)
        parts.append(Part(f"{where} norm bias after {title}", "bias", step.layer, None, bias))
    own = direction
    if step.inside is not None:
        own, bias = _through_norm(step.inside, step.output, direction)
        parts.append(Part(f"{where} norm bias of {title}", "bias", step.layer, None, bias))
    if step.mixed is None:
        return direction, parts + _mlp_parts(model, stack, step, own)
    values, bias = _head_values(model, stack.module(step.layer, step.mix), step.mixed, own)
    name = "cross head" if step.kind == "cross" else "head"
    parts += [Part(f"{where} {name} {k}", step.kind, step.layer, k, value) for k, value in enumerate(values)]
    return direction, [*parts, Part(f"{where} {title} bias", "bias", step.layer, None, bias)]


def _head_values(
    model: "Model", mix: Any, mixed: torch.Tensor, direction: torch.Tensor
) -> tuple[Sequence[float], float]:
    """(value of each head, value of the mixing layer's bias). The layer is asked for its own gradient, so it may keep
    its weight either way round, or have an adapter on it."""
    given = mixed.clone().requires_grad_()
    with torch.enable_grad():
        output = mix(given)
        (pulled,) = torch.autograd.grad(output, given, direction.to(output.dtype))
    with torch.no_grad():
        bias = mix(torch.zeros_like(mixed))
    heads = int(plain(model.network).config.num_attention_heads)
    return (mixed.double() * pulled.double()).view(heads, -1).sum(1).tolist(), _along(direction, bias)


def _mlp_parts(model: "Model", stack: Stack, step: _Step, direction: torch.Tensor) -> list[Part]:
    assert step.given is not None
    where, given = f"layer {step.layer}", step.given[None]
    experts = expert_contributions(model, stack, step.layer, given)  # [experts, 1, width]
    if experts is None:
        return [Part(f"{where} MLP", "mlp", step.layer, None, _along(direction, step.output))]
    values = [_along(direction, output[0]) for output in experts]
    parts = [Part(f"{where} expert {k}", "expert", step.layer, k, value) for k, value in enumerate(values)]
    shared = shared_contribution(model, stack, step.layer, given)
    if shared is not None:
        parts.append(Part(f"{where} shared experts", "shared", step.layer, None, _along(direction, shared[0])))
    return parts


def _through_norm(norm: Any, given: torch.Tensor, direction: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(the direction before a norm whose scale is held at what `given` makes it, what the norm's bias adds).

    given: float[width]. direction: float64[width], after the norm.
    """
    with torch.inference_mode(False), torch.no_grad():
        values = given.clone()
        if isinstance(norm, torch.nn.LayerNorm):
            scale = (values.double().var(correction=0) + norm.eps).rsqrt()
            pulled = direction * norm.weight.double() * scale
            return pulled - pulled.mean(), _along(direction, norm.bias)
        # Root mean square norms name their parts in many ways, and Gemma's gain is 1 + weight: ask the norm itself.
        gain = norm(torch.full_like(values, LARGE)).double()
        unscaled = gain * values.double()
        scale = (norm(values).double() @ unscaled) / (unscaled @ unscaled).clamp_min(torch.finfo(torch.float64).tiny)
        return direction * gain * scale, 0.0


def _along(direction: torch.Tensor, values: torch.Tensor) -> float:
    return float(direction @ values.double())


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _rounded_rows(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[_rounded(value) for value in row] for row in rows]
