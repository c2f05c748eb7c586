"""Where in the network a bias sits: which layers and heads carry the difference between two persons to the outcome.

The run with one person gets what one module gave in the run with the other, at every place from the person on, and the
outcome's log-likelihood moves by so much: activation patching (patching.py) summed up over places and twins. Sources:
Vig et al. 2020, 'Investigating Gender Bias in Language Models Using Causal Mediation Analysis' (arXiv:2004.12265), the
indirect effect of a layer and of a head; Meng et al. 2022, 'Locating and Editing Factual Associations in GPT', §2.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import UsageError
from limpide.core.progress import Progress
from limpide.data.templates import Case
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.families.registry import plain
from limpide.models.likelihood import read
from limpide.models.requests import Request
from limpide.models.row import Row, row_of, target_log_likelihoods
from limpide.models.stacks import Stack, stacks
from limpide.models.trace import Patch, record, run_patched
from limpide.understand.patching import Pair, Spot, cells_of, heads

if TYPE_CHECKING:
    from limpide.models.model import Model

MOST = 6  # twins that are patched
SCREENED = 96  # templates among which they are chosen
BATCH = 32  # texts of one forward pass
LOGITS = 2**24  # computed at once
UNFIT = "there is no twin whose two texts have as many tokens, so that places of one are places of the other"


@dataclass(frozen=True, eq=False)
class Twin:
    """A case as the model reads it: two texts of one length, each with the first token of the outcome. gap: log p of it
    after the stereotyped person − after the other, in nats."""

    case: Case
    stereotyped: Encoded
    other: Encoded
    gap: float = 0.0


def where(model: "Model", cases: Sequence[Case], progress: Progress) -> dict[str, Any]:
    """How much of the difference between two persons passes each layer's attention, its MLP and each head, in nats.

    For each twin: the change of log p(the outcome's first token | the stereotyped person) when what one module gives,
    at all places from the person on (in an encoder at all places), becomes what it gives for the other person; the mean
    over twins of its absolute value. At most 6 twins, as `chosen` says; to compare a model before and after, give the
    second call the cases of the first alone.

    Returns {'layers': their number, 'stack', 'attention' and 'mlp': [nats a layer], 'heads': [[nats a head] a layer],
    'pairs': twins, 'gap': the mean of their absolute gaps, 'cases': their ids, 'why'}. Of an encoder–decoder, the
    encoder: it alone reads the person. Where no twin fits, 'pairs' is 0, 'heads' None, the lists empty, and 'why' says
    so. Deterministic.

    What it does not say: effects need not sum to the gap, since layers read each other, and are compared with nothing;
    and a module that carries who the person is may do so rightly.
    """
    stack = stacks(model)[0]
    twins = chosen(model, cases)
    shape = {"attention": [len(stack)], "mlp": [len(stack)], "head": [len(stack), heads(model)]}
    sums = {kind: torch.zeros(sizes) for kind, sizes in shape.items()}
    with progress.task("where the bias sits", total=len(twins)) as task:
        for twin in twins:
            for (kind, layer, index), change in effects(model, stack, twin):
                sums[kind][(layer, index) if kind == "head" else layer] += abs(change) / len(twins)
            task.advance()
    return {
        "layers": len(stack),
        "stack": stack.name,
        "attention": sums["attention"].tolist() if twins else [],
        "mlp": sums["mlp"].tolist() if twins else [],
        "heads": sums["head"].tolist() if twins else None,
        "pairs": len(twins),
        "gap": sum(abs(twin.gap) for twin in twins) / len(twins) if twins else None,
        "cases": [twin.case.id for twin in twins],
        "why": None if twins else UNFIT,
    }


def layers_of(found: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """The `count` layers whose attention and MLP carry most together, in ascending order; none where none was measured.

    found: what `where` gives. Raises UsageError for a count below 1.
    """
    if count < 1:
        raise UsageError("No layer was asked for.", received=count, expected="1 or more")
    carried = [attention + mlp for attention, mlp in zip(found["attention"], found["mlp"], strict=True)]
    most = sorted(range(len(carried)), key=lambda layer: -carried[layer])[:count]
    return tuple(sorted(most))


def chosen(model: "Model", cases: Sequence[Case]) -> list[Twin]:
    """The twins to look at: those of one length for this model, all of them when 6 cases or fewer are given.

    Of more cases one of each template, its pairs in turn, and of these the 6 with the widest gaps. Raises ModelError
    for a text longer than the model's context.
    """
    twins = _fitting(model, cases)
    if len(cases) > MOST:
        by_template: dict[str, list[Twin]] = defaultdict(list)
        for twin in twins:
            by_template[twin.case.template].append(twin)
        several = list(by_template.values())
        several = several[:: max(1, math.ceil(len(several) / SCREENED))]
        twins = [alike[turn % len(alike)] for turn, alike in enumerate(several)]
    first = _log_likelihoods(model, [text for twin in twins for text in (twin.stereotyped, twin.other)])
    twins = [replace(twin, gap=first[2 * k] - first[2 * k + 1]) for k, twin in enumerate(twins)]
    return sorted(twins, key=lambda twin: -abs(twin.gap))[:MOST]


def effects(model: "Model", stack: Stack, twin: Twin) -> list[tuple[Spot, float]]:
    """Each attention, MLP and head (kind, layer, head) with the change of the first token's log-likelihood, in nats."""
    row, other = _row(model, twin.stereotyped), _row(model, twin.other)
    base, given = (record(model, one)[stack.name] for one in (row, other))
    differ = [place for place, (a, b) in enumerate(zip(row.ids, other.ids, strict=True)) if a != b]
    pair = Pair(stack, given, base, differ[0] if stack.causal else 0)
    places = tuple(range(pair.first, pair.places))
    patches: list[tuple[Spot, Patch]] = [
        ((site, layer, 0), Patch(layer, site, places, given.at(site, layer, places)))
        for layer in range(len(stack))
        for site in ("attention", "mlp")
    ]
    patches += [(cell.spot, cell.patch) for cell in cells_of(model, pair, True, ("head",))]
    hidden = run_patched(model, base, stack, [patch for _, patch in patches])  # [patches, 1, width]
    before = _first_token(model, row, base.hidden[None])
    changes = (_first_token(model, row, hidden) - before).tolist()
    return [(spot, change) for (spot, _), change in zip(patches, changes, strict=True)]


def _fitting(model: "Model", cases: Sequence[Case]) -> list[Twin]:
    """Twins of one length that differ in the person alone and have the same first token to predict."""
    texts = [Request(case.id, context, case.outcome) for case in cases for context in (case.stereotyped, case.other)]
    first = [replace(one, continuation=one.continuation[:1]) for one in encode_requests(model, texts)]
    twins = [Twin(case, first[2 * k], first[2 * k + 1]) for k, case in enumerate(cases)]
    return [
        twin
        for twin in twins
        if len(twin.stereotyped) == len(twin.other)
        and twin.stereotyped.continuation == twin.other.continuation
        and twin.stereotyped.context != twin.other.context
    ]


def _log_likelihoods(model: "Model", texts: Sequence[Encoded]) -> list[float]:
    """Nats of each continuation."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = [0.0] * len(texts)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            values = read(model, [texts[place] for place in batch]).log_likelihoods(model).tolist()
            for place, value in zip(batch, values, strict=True):
                found[place] = value
    return found


def _row(model: "Model", text: Encoded) -> Row:
    """The text as explanations read it: an encoder's has one mask after its context."""
    context, tokenizer = text.context, model.tokenizer
    if model.kind == "encoder":
        context = (tokenizer.cls_token_id, *context, tokenizer.mask_token_id, tokenizer.sep_token_id)
    return row_of(model, context, text.continuation)


def _first_token(model: "Model", row: Row, hidden: torch.Tensor) -> torch.Tensor:
    """Nats of the row's target, float[batch]. hidden: float[batch, 1, width]."""
    with torch.inference_mode():
        parts = torch.split(hidden, max(1, LOGITS // int(plain(model.network).config.vocab_size)))
        return torch.cat([target_log_likelihoods(model, row, part)[:, 0] for part in parts])
