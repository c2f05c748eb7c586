"""Which blocks carry an adapter: all, the upper ones, or as many as a measurement on a part of the data speaks for.

With the upper blocks alone, what lies below is frozen and computed once (adapt/trunk.py): later epochs cost a fraction,
and the adapter can do less. `choose` measures both on the user's own rows, and says what the cheaper one costs.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from limpide.adapt import training
from limpide.adapt.adapters import trained_network
from limpide.adapt.fused import fused
from limpide.adapt.lessons import Material
from limpide.adapt.loss import Estimate, difference, estimate
from limpide.adapt.packing import Pack, packs_for
from limpide.adapt.settings import TrainSettings
from limpide.adapt.stages import padding, plan_of
from limpide.adapt.training import Plan
from limpide.core import files
from limpide.core.progress import Progress
from limpide.models.families.registry import blocks
from limpide.models.model import Model

STEPS, EPOCHS = 8, 2  # of a trial: so many steps, gone through twice, so that the second time reads what was kept
UPPER = 3  # one block in so many carries an adapter in the cheaper trial
WORSE = 0.02  # a held-out loss at most so much higher, as a share, counts as equal


@dataclass(frozen=True)
class Trial:
    """layers: upper blocks with an adapter. held_out: nats a token after the trial's steps. nats, tokens: of each
    held-out conversation. tokens_per_second: of the last epoch, in which kept work is read."""

    layers: int
    held_out: Estimate
    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    tokens_per_second: float


def settle(
    model: Model, settings: TrainSettings, material: Material, out: Path, seed: int, progress: Progress
) -> tuple[TrainSettings, dict[str, Any]]:
    """The settings with a number of layers instead of 'auto', and the facts behind it.

    What was found is written in `out`, so that a run that goes on does not measure again.
    """
    if settings.layers != "auto":
        return settings, {}
    path = out / "layers.json"
    if path.is_file():
        found = files.read_json(path)
    else:
        layers, facts = choose(model, settings, material, seed, progress)
        files.write_json(path, found := {"layers": layers, "facts": facts})
    return settings.model_copy(update={"layers": found["layers"]}), found["facts"]


def choose(
    model: Model, settings: TrainSettings, material: Material, seed: int, progress: Progress
) -> tuple[int | str, dict[str, Any]]:
    """(upper blocks to carry adapters, or 'all'; the facts behind it): all, unless the upper third does as well.

    Two short trainings on the same part of the rows, each from a fresh adapter. Without two rows kept aside nothing can
    be compared, and all blocks are taken. What holds after a few steps need not hold after many.
    """
    rows, aside = material.answers if material.answers[0] else material.texts
    if len(aside) < 2:
        progress.say("layers: insufficient evidence, too few validation rows to compare on: all carry the adapter")
        return "all", {"layers_chosen_by": "insufficient evidence"}
    packs, held_out = (packs_for(model, part, settings.pack_tokens, seed) for part in (rows, aside))
    plan = plan_of(settings, "answers", packs, EPOCHS, seed)
    packs = packs if len(packs) <= STEPS * plan.packs_per_step else _drawn(packs, plan)
    steps = -(-len(packs) // plan.packs_per_step)
    plan = replace(plan, steps_per_epoch=steps, keep=0)
    count = len(blocks(model.network, model.family))
    every, few = (_try(model, settings, seed, plan, n, packs, held_out) for n in (count, max(1, count // UPPER)))
    cost = difference(few, every)
    share = cost.mean / every.held_out.mean
    chosen = few.layers if share <= WORSE else "all"
    facts = {
        "layers_chosen_by": "measurement",
        "layers_trials": [_told(trial) for trial in (every, few)],
        "layers_cost": {"nats": cost.mean, "low": cost.low, "high": cost.high, "share": share},
    }
    progress.say(
        f"layers: all {every.layers} learn at {every.tokens_per_second:.0f} tokens/s, the upper {few.layers} at "
        f"{few.tokens_per_second:.0f} once the rest is kept, and after {plan.steps} steps lose {cost.mean:+.4f} nats a "
        f"token more ({cost.low:+.4f} to {cost.high:+.4f}) on rows kept aside: adapters on {chosen}"
    )
    return chosen, facts


def _drawn(packs: Sequence[Pack], plan: Plan) -> list[Pack]:
    return random.Random(plan.seed).sample(list(packs), STEPS * plan.packs_per_step)


def _try(
    model: Model,
    settings: TrainSettings,
    seed: int,
    plan: Plan,
    count: int,
    packs: Sequence[Pack],
    held_out: Sequence[Pack],
) -> Trial:
    """The adapter is taken off again at the end."""
    network = trained_network(model, settings.model_copy(update={"layers": count}), seed)
    state = training.trainer(network, model.family, plan, padding(model))
    before = (0, 0.0)
    with TemporaryDirectory() as folder, fused(network):
        if state.trunk:
            state.trunk.keep(Path(folder), [*packs, *held_out], plan.trunk_bytes)
        while state.step < plan.steps:
            if state.step == plan.steps - plan.steps_per_epoch:
                before = state.tokens, state.seconds
            training.take_step(state, packs)
        nats, tokens = training.by_conversation(state, held_out)
    network.unload()
    rate = (state.tokens - before[0]) / (state.seconds - before[1])
    return Trial(count, estimate(nats, tokens), tuple(nats), tuple(tokens), rate)


def _told(trial: Trial) -> dict[str, Any]:
    return {
        "layers": trial.layers,
        "held_out": trial.held_out.mean,
        "low": trial.held_out.low,
        "high": trial.held_out.high,
        "tokens_per_second": round(trial.tokens_per_second, 1),
    }
