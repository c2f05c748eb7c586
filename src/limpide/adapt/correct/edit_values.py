"""The value that an edit asks of a key: found by gradient descent on what a module gives at the subject."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limpide.adapt.correct.edit_keys import GIVES, Contexts, at_subject
from limpide.adapt.correct.edit_rows import EditSettings
from limpide.core.errors import ModelError
from limpide.models.families.registry import logits_from_hidden
from limpide.models.likelihood import Places, read

if TYPE_CHECKING:
    from limpide.models.model import Model

STRIDES = 8  # steps in which every coordinate could move as far as the value may


@dataclass(frozen=True, eq=False)
class Value:
    """change: δ, float[width], added to what the module gives at the subject. likelihood: mean probability of a token
    of the new answer, before and after, with δ itself in place; the weights give nearly that."""

    change: Tensor
    before: float
    after: float
    steps: int


def value_of(
    model: "Model", module: Any, contexts: Contexts, weights: Tensor, essence: Contexts, settings: EditSettings
) -> Value:
    """δ = v* − W k* for which the answer becomes likely behind every beginning. Meng et al. 2022, eq. 4.

    The loss, in nats: −log p(answer) a token, mean over the contexts; plus `stay` · KL of what is said after the
    essence prompt ('… is a') from what was said; plus `decay` · ‖δ‖² ÷ ‖what stands there‖². δ is kept within `reach`
    sizes of what stands there: of the median one, since first places of a text are far larger. weights:
    float[rows], by how much of δ each context gets (an expert's weight there). Raises ModelError where it diverges.
    """
    both = Contexts(contexts.items + essence.items, contexts.subject + essence.subject)
    rows, places = both.rows(model.kind)
    stands = at_subject(model, [(module, GIVES)], contexts)[0].norm(dim=1).median()
    most = settings.most * float(stands)
    share = torch.cat([weights, weights.mean().expand(len(rows) - len(weights))])[:, None]
    change = torch.zeros(_width(model, module, contexts), requires_grad=True)
    optimiser = torch.optim.Adam([change], lr=most / STRIDES / len(change) ** 0.5)
    first, probability, step = None, 0.0, 0
    said: Tensor | None = None
    for step in range(settings.steps + 1):
        with torch.enable_grad(), _added(module, rows, places, share * change):
            found = read(model, both.items)
            nats = -_answer(model, found, len(contexts.items))
            now = _said(model, found)
        said = now.detach() if said is None else said
        probability = float(torch.exp(-nats.detach()).mean())
        first = probability if first is None else first
        if probability >= settings.enough or step == settings.steps:
            break
        drift = (said.exp() * (said - now)).sum()
        loss = nats.mean() + settings.stay * drift + settings.decay * (change.norm() / stands) ** 2
        optimiser.zero_grad()
        loss.backward()
        _check_slope(change, step)
        optimiser.step()
        with torch.no_grad():
            change *= min(1.0, most / max(float(change.norm()), 1e-12))
    return Value(change.detach(), first or 0.0, probability, step)


def _check_slope(change: Tensor, step: int) -> None:
    slope = change.grad
    if slope is None or not torch.isfinite(slope).all():
        raise ModelError("The search for the new value diverged.", remedy="give a smaller reach, or another layer")
    if step == 0 and not slope.any():
        raise ModelError(
            "What this layer gives at the subject is read by nothing that leads to the answer.",
            remedy="give an earlier layer: what follows the subject looks back at it in the layers after",
        )


def _width(model: "Model", module: Any, contexts: Contexts) -> int:
    return int(at_subject(model, [(module, GIVES)], Contexts(contexts.items[:1], contexts.subject[:1]))[0].shape[-1])


def _answer(model: "Model", found: Places, items: int) -> Tensor:
    """Mean nats of a token of the answer in each of the first items, float[items]."""
    tokens = torch.bincount(found.owner, minlength=found.items)
    return (found.log_likelihoods(model) / tokens)[:items]


def _said(model: "Model", found: Places) -> Tensor:
    """Log-probabilities of the first token after the essence prompt, the last item, float[vocabulary]."""
    place = int((found.owner == found.items - 1).nonzero()[0])
    return logits_from_hidden(model.network, model.family, found.hidden[place]).float().log_softmax(-1)


@contextlib.contextmanager
def _added(module: Any, rows: Tensor, places: Tensor, change: Tensor) -> Iterator[None]:
    """Inside, what the module gives at these places is more by `change`, float[rows, width]."""

    def hook(_: Any, __: Any, output: Any) -> Any:
        given = output[0] if isinstance(output, tuple) else output
        changed = given.clone()
        changed[rows, places] = given[rows, places] + change.to(given.dtype)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
