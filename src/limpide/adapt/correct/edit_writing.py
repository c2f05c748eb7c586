"""From facts to the change of weights that holds them, in one layer or in several."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limpide.adapt.correct import edit_keys, edit_layers, edit_texts
from limpide.adapt.correct.edit_keys import GIVEN, GIVES, Contexts, Memory, Texts, at_subject
from limpide.adapt.correct.edit_layers import Effects
from limpide.adapt.correct.edit_rows import Edit, EditSettings
from limpide.adapt.correct.edit_values import Value, value_of
from limpide.adapt.correct.rank_one import least_change, second_moment
from limpide.core.errors import ModelError
from limpide.core.progress import Progress
from limpide.models.families.registry import plain
from limpide.models.stacks import Stack, stacks
from limpide.models.update import Update, applied
from limpide.models.writes import joined

if TYPE_CHECKING:
    from limpide.models.model import Model

ESSENCE = {"en": "{subject} is a", "fr": "{subject} est un"}  # what else is said of the subject must stay
NORMED = ("post_feedforward_layernorm", "output.LayerNorm")  # norms between the MLP's output weight and the stream


@dataclass(frozen=True, eq=False)
class Fact:
    """One edit as the network reads it. alone: its prompt without a beginning, with the old answer."""

    edit: Edit
    contexts: Contexts
    essence: Contexts
    alone: Contexts


def fact_of(model: "Model", edit: Edit, starts: Sequence[str], language: str) -> Fact:
    """edit: with its old answer. Raises ModelError for what the network cannot read."""
    essence = ESSENCE[language].format(subject=edit.subject)
    return Fact(
        edit,
        edit_keys.contexts_of(model, edit.prompt, edit.subject_span, edit.answer, starts),
        edit_keys.contexts_of(model, essence, (0, len(edit.subject)), edit.answer),
        edit_keys.contexts_of(model, edit.prompt, edit.subject_span, str(edit.instead_of)),
    )


def write(
    model: "Model", edits: Sequence[Edit], settings: EditSettings, seed: int, progress: Progress
) -> tuple[Update, dict[str, Any]]:
    """The update that makes the edits, and how it was found. edits: each with its old answer."""
    stack, several = stacks(model)[0], settings.form == "several layers"
    _check(model, stack, settings)
    started = time.perf_counter()
    progress.say("edit: the model writes the texts by which its ordinary keys are known")
    texts = edit_texts.ordinary_texts(model, settings.language, settings.own_tokens, seed)
    starts = edit_texts.beginnings(model, texts, settings.language, settings.contexts)
    facts = [fact_of(model, edit, starts, settings.language) for edit in edits]
    read = time.perf_counter()
    layers, effects = _layers(model, stack, facts, settings, seed)
    traced = time.perf_counter()
    memories = [edit_keys.memory_of(model, stack, layer, [fact.contexts for fact in facts]) for layer in layers]
    moments = _moments(model, memories, texts)
    keyed = time.perf_counter()
    make = _several if several else _one
    update, values = make(model, memories, moments, facts, settings, progress)
    return update, {
        "stack": stack.name,
        "layers": list(layers),
        "layers_from": "given" if settings.layers else "tracing",
        "indirect_effects": None if effects is None else {"mlp": _short(effects.mlp), "stream": _short(effects.stream)},
        "weights": {m.write.name: m.expert for m in memories},
        "beginnings": len(starts),
        "texts": {"rows": len(texts.rows), "tokens": texts.tokens},
        "values": [
            {"steps": v.steps, "before": round(v.before, 4), "after": round(v.after, 4), "size": float(v.change.norm())}
            for v in values
        ],
        "relative_change": _relative(model, update),
        "seconds": {
            "texts": round(read - started, 2),
            "layers": round(traced - read, 2),
            "keys": round(keyed - traced, 2),
            "values": round(time.perf_counter() - keyed, 2),
        },
    }


def _check(model: "Model", stack: Stack, settings: EditSettings) -> None:
    for layer in settings.layers or ():
        stack.module(layer, "")  # raises UsageError for a layer that does not exist
    if settings.form == "one layer":
        if settings.layers and len(settings.layers) > 1:
            raise ModelError(
                "The form 'one layer' changes one layer.",
                received=f"layers {', '.join(map(str, settings.layers))}",
                remedy="give one of them, or take form: several layers",
            )
        return
    if any(norm.endswith(NORMED) for norm in model.family.block_norms):
        raise ModelError(
            f"The form 'several layers' spreads a change over what MLPs add to the stream, and {model.family.title} "
            "norms that sum or what is added.",
            remedy="take form: one layer",
        )


def _layers(
    model: "Model", stack: Stack, facts: Sequence[Fact], settings: EditSettings, seed: int
) -> tuple[tuple[int, ...], Effects | None]:
    """The layers to change, ascending, and the effects by which they were found."""
    if settings.layers:
        return tuple(sorted(set(settings.layers))), None
    effects = Effects.mean([edit_layers.indirect_effects(model, stack, fact.alone, seed) for fact in facts])
    return edit_layers.chosen_layers(effects, settings.form == "several layers"), effects


def _moments(model: "Model", memories: Sequence[Memory], texts: Texts) -> list[Tensor]:
    found = []
    for memory, (total, count) in zip(memories, edit_keys.key_totals(model, memories, texts), strict=True):
        if count == 0:
            raise ModelError(
                f"No ordinary text goes through expert {memory.expert} of layer {memory.layer}: its keys are unknown.",
                remedy="give another layer, or more own_tokens",
            )
        found.append(second_moment(total, count))
    return found


def _keys(model: "Model", memory: Memory, facts: Sequence[Fact]) -> tuple[Tensor, list[Tensor]]:
    """(k* of each fact, float[facts, width]; the weights of each fact's contexts).

    k* is the mean over the contexts in which the memory is used: one key, used wherever the algebra says k*.
    """
    keys, weights = [], []
    with torch.no_grad():
        for fact in facts:
            given = at_subject(model, [(memory.module, GIVEN)], fact.contexts)[0]
            key, weight = memory.keys(model, given)
            used = weight > 0
            if not used.any():
                raise ModelError(
                    f"Expert {memory.expert} of layer {memory.layer}, where the edits go, never reads one subject.",
                    received=fact.edit.subject,
                    remedy="edit this fact alone, or give another layer",
                )
            keys.append(key[used].mean(0))
            weights.append(weight)
    return torch.stack(keys), weights


def _one(
    model: "Model",
    memories: Sequence[Memory],
    moments: Sequence[Tensor],
    facts: Sequence[Fact],
    settings: EditSettings,
    progress: Progress,
) -> tuple[Update, list[Value]]:
    """v* = W k* + δ in one layer, for every fact at once: exactly, Ŵ k* = v*."""
    memory = memories[0]
    keys, weights = _keys(model, memory, facts)
    values = []
    with progress.task("values", total=len(facts)) as task:
        for fact, weight in zip(facts, weights, strict=True):
            values.append(value_of(model, memory.module, fact.contexts, weight, fact.essence, settings))
            task.advance(probability=values[-1].after)
    return _update(model, memory, least_change(moments[0], keys, torch.stack([v.change for v in values]))), values


def _several(
    model: "Model",
    memories: Sequence[Memory],
    moments: Sequence[Tensor],
    facts: Sequence[Fact],
    settings: EditSettings,
    progress: Progress,
) -> tuple[Update, list[Value]]:
    """δ is asked of the stream after the last layer; each layer, first to last, makes up for its share of what is
    still missing there. Meng et al. 2023, §4.3."""
    last = memories[-1].stack.module(memories[-1].layer, "")
    values, wanted = [], []
    with progress.task("values", total=len(facts)) as task:
        for fact in facts:
            here = at_subject(model, [(last, GIVES)], fact.contexts)[0]
            values.append(value_of(model, last, fact.contexts, torch.ones(len(here)), fact.essence, settings))
            wanted.append(here.float().mean(0) + values[-1].change)
            task.advance(probability=values[-1].after)
    update = Update()
    for k, (memory, moment) in enumerate(zip(memories, moments, strict=True)):
        with applied(model, update) as changed:
            keys, weights = _keys(changed, memory, facts)
            now = [at_subject(changed, [(last, GIVES)], fact.contexts)[0].float().mean(0) for fact in facts]
        missing = (torch.stack(wanted) - torch.stack(now)) / (len(memories) - k)
        missing = missing / torch.stack([weight.mean() for weight in weights])[:, None]
        pair = least_change(moment, keys, missing, settings.preserve * keys.shape[1])
        update = joined(update, _update(model, memory, pair))
    return update, values


def _update(model: "Model", memory: Memory, pair: tuple[Tensor, Tensor]) -> Update:
    weight = plain(model.network).get_parameter(memory.write.name)
    return Update({memory.write.name: memory.factors(*pair, len(weight))})


def _short(values: Tensor) -> list[float]:
    return [float(f"{value:.3g}") for value in values.tolist()]


def _relative(model: "Model", update: Update) -> dict[str, float]:
    """Frobenius norm of each weight's change, by that of the weight."""
    network = plain(model.network)
    return {
        name: float(f"{float((left @ right).norm() / network.get_parameter(name).float().norm()):.3g}")
        for name, (left, right) in update.factors.items()
    }
