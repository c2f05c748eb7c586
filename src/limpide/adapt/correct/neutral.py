"""Text that a correction is not about, and how far a model has moved on it: what holds the rest to the base."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from limpide.core.progress import Progress
from limpide.data import templates
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.families.registry import backbone, logits_from_hidden
from limpide.models.likelihood import read
from limpide.models.requests import Request

if TYPE_CHECKING:
    from limpide.models.model import Model

# How the texts that a decoder writes itself begin; written for this file. Nobody is named: persons are what it mends.
STARTS = (
    "The old town lies",
    "To prepare the dough,",
    "In the nineteenth century",
    "Scientists have found that",
    "Chapter one. It was raining",
    "Please read these instructions before",
    "La vieille ville se trouve",
    "Pour préparer la pâte,",
    "Au dix-neuvième siècle",
    "Le règlement prévoit que",
)
TOKENS = 32  # of each text, its start left out
HELD = 3  # last tokens of a template's context that are predicted, where a model writes no text of its own
AT_ONCE = 16


def neutral_texts(model: "Model", count: int, seed: int, progress: Progress) -> list[Encoded]:
    """`count` texts, each with the places at which the model is to stay as it is as its continuation.

    Decoders write them, at temperature 1, after starts in English and French: a sample of what they say, which needs
    no data. Other models read contexts of the shipped templates, of all axes, from the part to fit on. What is not
    like these texts is not held.
    """
    return _written(model, count, seed, progress) if model.kind == "decoder" else _contexts(model, count, seed)


@dataclass(frozen=True, eq=False)
class Hold:
    """hidden: of each text, the base's final hidden states at its places, float[places, width]. texts, places: drawn
    each time, at most."""

    items: tuple[Encoded, ...]
    hidden: tuple[Tensor, ...]
    texts: int
    places: int

    @staticmethod
    def of(model: "Model", items: Sequence[Encoded], texts: int = 3, places: int = 64) -> "Hold":
        """The model as it is now is the base: `model` must not have learnt anything yet."""
        hidden: list[Tensor] = []
        with torch.no_grad():
            for first in range(0, len(items), AT_ONCE):
                some = items[first : first + AT_ONCE]
                hidden += torch.split(read(model, some).hidden, [len(item.continuation) for item in some])
        return Hold(tuple(items), tuple(hidden), texts, places)

    def loss(self, model: "Model", rng: random.Random) -> Tensor:
        """Mean KL(base ‖ model) over places of texts drawn, nats; differentiable. The head is taken to be the same."""
        drawn = rng.sample(range(len(self.items)), min(self.texts, len(self.items)))
        now = read(model, [self.items[i] for i in drawn]).hidden
        at = sorted(rng.sample(range(len(now)), min(self.places, len(now))))
        before = torch.cat([self.hidden[i] for i in drawn])[at]
        with torch.no_grad():
            expected = logits_from_hidden(model.network, model.family, before).float().log_softmax(-1)
        found = logits_from_hidden(model.network, model.family, now[at]).float().log_softmax(-1)
        return kl_div(found, expected, reduction="batchmean", log_target=True)


def _written(model: "Model", count: int, seed: int, progress: Progress) -> list[Encoded]:
    """As many texts of each start, so that those read together are as long and need no padding."""
    starts = encode_requests(model, [Request(start, "", start) for start in STARTS])
    generator = torch.Generator().manual_seed(seed)
    texts = []
    with progress.task("writing neutral texts", total=count) as task:
        for number, start in enumerate(starts):
            copies = len(range(number, count, len(starts)))
            texts += _continuations(model, start.ids, copies, generator)
            task.advance(copies)
    return texts


def _continuations(model: "Model", start: tuple[int, ...], copies: int, generator: torch.Generator) -> list[Encoded]:
    """What the model goes on with, through its first end token."""
    if not copies:
        return []
    step, past, written = torch.tensor([start] * copies), None, []
    with torch.no_grad():
        for _ in range(TOKENS):
            output = backbone(model.network, model.family)(input_ids=step, past_key_values=past, use_cache=True)
            past = output.past_key_values
            logits = logits_from_hidden(model.network, model.family, output.last_hidden_state[:, -1]).float()
            step = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            written.append(step[:, 0])
    rows = torch.stack(written, 1).tolist()
    ends = [next((k + 1 for k, token in enumerate(row) if token in model.stop_ids), len(row)) for row in rows]
    return [Encoded(0, start, tuple(row[:end])) for row, end in zip(rows, ends, strict=True)]


def _contexts(model: "Model", count: int, seed: int) -> list[Encoded]:
    cases = {case.template: case for case in templates.read_cases(templates.AXES, ("en", "fr"), "fit")}
    drawn = random.Random(seed).sample(sorted(cases), min(count, len(cases)))
    requests = []
    for name in drawn:
        words = cases[name].other.split(" ")
        requests.append(Request(name, " ".join(words[:-HELD]), " " + " ".join(words[-HELD:])))
    return encode_requests(model, requests)
