"""How long an explanation will take, told before it is computed: from one timed pass of the network over the question.

Upper bounds, to within a factor of two or so: which other run patching finds, and how much occlusion and the test share
between prompts, is known only once they are there.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from limpide.core.progress import Progress
from limpide.models.families.registry import plain
from limpide.models.linear import wide_products
from limpide.models.row import embed, final_hidden
from limpide.models.stacks import stacks
from limpide.understand.attribution import MOST_UNITS, explained
from limpide.understand.methods import MethodName
from limpide.understand.settings import AttributionSettings, PatchingSettings
from limpide.understand.tested import bounded, compared_with, few_points
from limpide.understand.twins import DRAWS, SCREENED

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.understand.explain import ExplainSettings
    from limpide.understand.question import Question

TIMED = 64  # tokens of the timed pass, about
LONG = 30.0  # seconds from which on the estimate is told
BACKWARD = 3  # passes that a gradient costs, the forward one included
SHARED = 0.5  # of the tokens of prompts that differ in some words: what a prefix tree computes anew


def tell(model: "Model", question: "Question", settings: "ExplainSettings", progress: Progress) -> None:
    """Say what will take long, and how to leave the longest out. Says nothing of what takes seconds."""
    each = seconds_per_token(model, question)
    found = {name: each * tokens for name, tokens in computed(model, question, settings).items()}
    if sum(found.values()) < LONG:
        return
    parts = ", ".join(f"{name} {duration(s)}" for name, s in sorted(found.items(), key=lambda p: -p[1]) if s >= 1)
    progress.say(f"This may take up to {duration(sum(found.values()))}: {parts}.")
    rest = _without_longest(settings.wanted, found)
    if rest:
        progress.say(f"To leave the longest out: --method {','.join(rest)}")


def computed(model: "Model", question: "Question", settings: "ExplainSettings") -> dict[MethodName, float]:
    """Tokens that the network will read for each of the methods wanted; those that need a pass or two are left out."""
    wanted = settings.wanted
    found: dict[MethodName, float] = {}
    if "attribution" in wanted:
        found["attribution"] = _attribution(model, question, settings.attribution)
    if "patching" in wanted:
        found["patching"] = _patching(model, question, settings.patching)
    if "faithfulness" in wanted:
        test, own = bounded(question, settings.faithfulness), few_points(settings.attribution)
        rows = (test.random_orders + 2) * (test.points + 2)  # an order and its reverse share theirs
        others = [own.model_copy(update={"method": other}) for other in compared_with(question, own.method)]
        found["faithfulness"] = SHARED * rows * len(question.row)
        found["faithfulness"] += sum(_attribution(model, question, other) for other in others)
        found["faithfulness"] += test.draws * _attribution(model, question, own) if test.sanity else 0
    return found


def seconds_per_token(model: "Model", question: "Question") -> float:
    """From a pass over copies of the question, after one that warms the weights up."""
    row = question.row
    given = embed(model, row.ids)
    with torch.inference_mode(), wide_products(model.network):
        final_hidden(model, row, given[None])
        copies = max(1, TIMED // len(row))
        started = time.perf_counter()
        final_hidden(model, row, given.expand(copies, -1, -1))
        return (time.perf_counter() - started) / (copies * len(row))


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _attribution(model: "Model", question: "Question", settings: AttributionSettings) -> float:
    size, answers = len(question.row), 1 + (question.against_row is not None)
    if settings.method == "occlusion":
        return SHARED * size * min(len(explained(model, question)), MOST_UNITS)
    points = settings.most_steps if settings.method == "integrated-gradients" else 1
    return float(BACKWARD * size * answers * points)


def _patching(model: "Model", question: "Question", settings: PatchingSettings) -> float:
    """As if the two runs differed from the first word that a person wrote on."""
    size, own = len(question.row), explained(model, question)
    differ = size - own[0] if own else 0
    layers = sum(len(stack) for stack in stacks(model))
    sites = 3 * differ * differ * (SHARED if model.kind == "decoder" else 1)
    tokens = (sites + int(plain(model.network).config.num_attention_heads) * differ) * (layers + 1) / 2
    exact = not settings.screen and tokens * layers <= settings.most
    search = 0 if settings.twin else min(DRAWS * len(question.words) * size, SCREENED)
    return search + (tokens if exact else BACKWARD * size)


def _without_longest(wanted: tuple[MethodName, ...], seconds: Mapping[MethodName, float]) -> tuple[MethodName, ...]:
    longest = max(seconds, key=lambda name: seconds[name])
    left_out = {longest} | ({"faithfulness"} if longest == "attribution" else set())
    return tuple(name for name in wanted if name not in left_out)
