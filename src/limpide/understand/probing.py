"""Can the group of the person still be read off the activations? Hidden is not removed: two probes try to find it.

A correction that only moves the attribute leaves it where another reader, or the next layer, finds it. The probes, and
where they are from: probes.py.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

from limpide.core.errors import DataError
from limpide.core.progress import Progress
from limpide.data.templates import AXES, Case, Part, parts, read_pairs, template_parts
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.likelihood import read
from limpide.models.requests import Request
from limpide.models.stacks import Stack, stacks
from limpide.understand.probes import KINDS, Bools, Item, accuracy, read_off

if TYPE_CHECKING:
    from limpide.models.model import Model

PLACES = {
    "decoder": "the last token of the context",
    "encoder": "the mask after the context",
    "encoder-decoder": "the first place of the decoder",
}
PAIRS_EACH = 2  # pairs of persons that each template is filled with, in turn: a few hundred texts an axis
LEAST = 5  # templates of each part, and pairs: with fewer, an interval says nothing
BATCH = 32  # texts of one forward pass


def probe(
    model: "Model", cases: Sequence[Case], seed: int, progress: Progress, layers: Sequence[int] | None = None
) -> dict[str, Any]:
    """How well two probes tell the group of the person, from the residual stream where the outcome is predicted from.

    That place is `PLACES` of the model's kind (of an encoder–decoder in its decoder), read after a few blocks:
    `layers`, three spread evenly and the last unless told. Linear: logistic regression with a ridge. Nonlinear: one
    layer of 64 ReLU units with weight decay, stopped early.

    A probe learns on the templates of the part 'fit', is stopped (its ridge and the layer chosen) on 'choose', and is
    judged on 'judge'; where there is no 'choose', on a quarter of 'fit'. The three never share a pair of persons
    either: the pairs are cut in eight, each judged once by probes that met none of it, so that remembering a name does
    not help. Templates that are not shipped are cut alike.

    Returns {'state', 'why', 'linear', 'nonlinear': {'value', 'low', 'high', 'n'}, 'chance', 'layer', 'layers',
    'place', 'templates', 'pairs'}. value: balanced accuracy, the mean over groups of the share told right; of several
    axes, each has probes of its own, and chance is axes ÷ groups. Its interval at 95 % is clustered by template and by
    pair. layer: where the better probe is best on 'choose', so that its value on 'judge' is not the luckiest of
    several. Too few templates or pairs: 'insufficient evidence', and no values. Deterministic given the seed.

    What it does not say: that the model uses what a probe finds (Hewitt and Liang 2019, arXiv:1909.03368), or that no
    better probe finds what these do not. Where the group is a word of the text, as in most axes but gender and origin,
    a probe finds that word. Raises DataError for no case and for an axis with one group, UsageError for a layer that
    does not exist.
    """
    stack = stacks(model)[-1]
    wanted = tuple(layers or spread(len(stack)))
    for layer in wanted:
        stack.module(layer, "")
    items = items_of(cases)
    judged = [item for item in items if item.part == "judge"]
    record: dict[str, Any] = {
        "state": "measured",
        "why": None,
        **{kind: {"value": None, "low": None, "high": None, "n": len(judged)} for kind in KINDS},
        "chance": len({item.axis for item in items}) / len({item.label for item in items}),
        "layer": None,
        "layers": [],
        "place": PLACES[model.kind],
        "templates": len({item.template for item in judged}),
        "pairs": len({item.person for item in judged}),
    }
    if why := lacking(items):
        return record | {"state": "insufficient evidence", "why": why}
    states = states_of(model, stack, items, wanted, progress)
    told = []
    with progress.task("probing", total=len(wanted)) as task:
        for layer in wanted:
            told.append((layer, read_off(states[layer], items, seed)))
            task.advance()
    return record | found(told, items)


def found(told: Sequence[tuple[int, Mapping[str, Bools]]], items: Sequence[Item]) -> dict[str, Any]:
    """The best layer on 'choose', and every layer, on 'judge'. told: (layer, {kind: was the group told, bool[items]}).

    Of layers that are as good the first.
    """

    def on(part: Part, hits: Bools) -> dict[str, Any]:
        asked = [place for place, item in enumerate(items) if item.part == part]
        columns = ([getattr(items[place], name) for place in asked] for name in ("label", "template", "person"))
        return accuracy(hits[asked], *columns)

    every = [{"layer": layer, **{kind: on("judge", hits[kind]) for kind in KINDS}} for layer, hits in told]
    promise = [max(on("choose", hits[kind])["value"] for kind in KINDS) for _, hits in told]
    return {**every[int(np.argmax(promise))], "layers": every}


# ------------------------------------------------------------------------------------------------ what is asked about


def items_of(cases: Sequence[Case]) -> list[Item]:
    """Each person of a few pairs in each template, once.

    Raises DataError for no case, and where the group of a person cannot be told.
    """
    if not cases:
        raise DataError("There is no case to probe.", expected="templates filled with pairs of persons")
    called, part_of = _called(cases), _parts(cases)
    groups, person_of = _groups(cases, called), _persons(cases, called)
    by_template: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_template[case.template].append(case)
    turns: Counter[tuple[str, str, str]] = Counter()
    items: dict[tuple[str, str], Item] = {}
    for name, alike in by_template.items():
        kind = alike[0].axis, alike[0].language, alike[0].group
        first = PAIRS_EACH * turns[kind]
        turns[kind] += 1
        for case in [alike[(first + k) % len(alike)] for k in range(min(PAIRS_EACH, len(alike)))]:
            for context, group in ((case.stereotyped, case.group), (case.other, groups[case.id])):
                items[name, context] = Item(
                    context=context,
                    outcome=case.outcome,
                    axis=case.axis,
                    language=case.language,
                    group=group,
                    template=name,
                    part=part_of[name],
                    person=person_of[case.pair],
                )
    return list(items.values())


def lacking(items: Sequence[Item]) -> str | None:
    """Why these are too few to probe, None where they are enough."""
    for axis in dict.fromkeys(item.axis for item in items):
        own = [item for item in items if item.axis == axis]
        for part in get_args(Part):
            templates = len({item.template for item in own if item.part == part})
            if templates < LEAST:
                return f"{axis}: {templates} templates of the part '{part}', and {LEAST} are needed"
        pairs = len({item.person for item in own})
        if pairs < LEAST:
            return f"{axis}: {pairs} pairs of persons, and {LEAST} are needed"
    return None


def _called(cases: Sequence[Case]) -> dict[str, dict[str, str]]:
    """{pair: {group: how its person is called}}, of all shipped pairs of these axes."""
    axes = [axis for axis in AXES if any(case.axis == axis for case in cases)]
    every = [pair for axis in axes for pairs in read_pairs(axis).values() for pair in pairs]
    return {pair["id"]: pair["groups"] for pair in every}


def _groups(cases: Sequence[Case], called: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """{case id: group of its other person}. Shipped pairs say it; else an axis has two groups."""
    met: dict[str, dict[str, None]] = defaultdict(dict)
    for case in cases:
        met[case.axis][case.group] = None
    found = {}
    for case in cases:
        groups = list(called.get(case.pair, met[case.axis]))
        others = [group for group in groups if group != case.group]
        if len(others) != 1:
            raise DataError(
                f"A probe needs to know the groups of both persons of a pair, and '{case.pair}' does not tell them.",
                received=f"axis '{case.axis}' with {', '.join(groups)}",
                expected="two groups an axis, or the shipped pairs",
            )
        found[case.id] = others[0]
    return found


def _persons(cases: Sequence[Case], called: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """{pair: name}, the same for pairs that share a person, directly or through others."""
    persons = {case.pair: list(called.get(case.pair, {case.pair: case.pair}).values()) for case in cases}
    named: dict[str, str] = {}
    for pair, own in persons.items():
        joined = {named[person] for person in own if person in named}
        name = min(joined | {pair})
        named = {person: name if old in joined else old for person, old in named.items()} | dict.fromkeys(own, name)
    return {pair: named[own[0]] for pair, own in persons.items()}


def _parts(cases: Sequence[Case]) -> dict[str, Part]:
    """{template: its part}; a quarter of 'fit' becomes 'choose' where nothing is."""
    alike = {case.template: (case.axis, case.language, case.group) for case in cases}
    shipped: dict[str, Part] = {}
    for axis in AXES:
        shipped |= template_parts(axis)
    cut = parts({name: of for name, of in alike.items() if name not in shipped})
    cut |= {name: shipped[name] for name in alike if name in shipped}
    if "choose" not in cut.values():
        inner = parts({name: alike[name] for name, part in cut.items() if part == "fit"})
        cut |= dict.fromkeys((name for name, part in inner.items() if part == "judge"), "choose")
    return cut


# -------------------------------------------------------------------------------------------------------- activations


def spread(count: int) -> tuple[int, ...]:
    """Three layers of `count`, evenly spread, and the last."""
    return tuple(sorted({max(0, round(count * k / 4) - 1) for k in range(1, 5)}))


def states_of(
    model: "Model", stack: Stack, items: Sequence[Item], layers: Sequence[int], progress: Progress
) -> dict[int, Tensor]:
    """{layer: float[items, width]}: the stream after that block, where the outcome's first token is predicted from."""
    asked = encode_requests(model, [Request(str(i), item.context, item.outcome) for i, item in enumerate(items)])
    first = [replace(one, continuation=one.continuation[:1]) for one in asked]
    order = sorted(range(len(first)), key=lambda place: len(first[place]))
    kept: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    at: list[int] = []

    def keep(layer: int) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            stream = output[0] if isinstance(output, tuple) else output  # [texts, places, width]
            kept[layer].append(stream[range(len(at)), at].float())

        return hook

    handles = [stack.module(layer, "").register_forward_hook(keep(layer)) for layer in layers]
    try:
        with torch.no_grad(), progress.task("activations", total=len(order)) as task:
            for start in range(0, len(order), BATCH):
                batch = [first[place] for place in order[start : start + BATCH]]
                at[:] = [_place(model, one) for one in batch]
                read(model, batch)
                task.advance(len(batch))
    finally:
        for handle in handles:
            handle.remove()
    back = torch.tensor(order).argsort()
    return {layer: torch.cat(rows)[back] for layer, rows in kept.items()}


def _place(model: "Model", one: Encoded) -> int:
    """Where the first token of the continuation is predicted from, as `likelihood.read` lays a text out."""
    return {"decoder": len(one.context) - 1, "encoder": 1 + len(one.context), "encoder-decoder": 0}[model.kind]
