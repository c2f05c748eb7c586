"""What each layer would answer if it were the last: the logit lens and the tuned lens.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; the tuned lens is in tuned_lens.py.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import ModelError, UsageError
from limpide.core.progress import Progress
from limpide.models.families.registry import plain
from limpide.models.linear import wide_products
from limpide.models.stacks import stacks
from limpide.models.trace import record
from limpide.understand.settings import LensSettings
from limpide.understand.tuned_lens import tuned_lens, unembed

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.models.row import Row
    from limpide.understand.question import Question

GRID = 64  # places of the grid: more are neither read by a person nor drawn by a page
CELLS = 2**23  # logits held at once: 32 MB a copy, whatever the vocabulary


@dataclass(frozen=True)
class Candidate:
    """A token that a layer would write, and how likely it makes it."""

    text: str
    probability: float


@dataclass(frozen=True)
class Grid:
    """The likeliest token, and its probability, at each layer and place. tokens: what stands at those places.

    first: the place of the row that the grid begins with; of: how many places the row has. A long row is shown from
    its end, or around the mask that decides: the last 64 places, not a sample.
    """

    tokens: tuple[str, ...]
    first: int
    of: int
    top: tuple[tuple[str, ...], ...]
    probability: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Lens:
    """Layer by layer, from the embeddings (0) to the last block, at the place that decides.

    probability, rival_probability, entropy (nats), rank of the token (1: first), top: one entry a layer. first_lead:
    the first layer from which on the token is the likeliest of all, to the end; first_ahead: from which on it is
    likelier than the rival; None where it is not so at the end. trained_on: of a tuned lens, how well it is trained.

    A lens reads a layer with the norm and the head of the last one. What it does not find there may still be in the
    layer, written in another way; a tuned lens undoes the part of this that is affine.
    """

    lens: str
    stack: str
    token: str
    rival: str
    probability: tuple[float, ...]
    rival_probability: tuple[float, ...]
    rank: tuple[int, ...]
    entropy: tuple[float, ...]
    top: tuple[tuple[Candidate, ...], ...]
    first_lead: int | None
    first_ahead: int | None
    grid: Grid
    trained_on: dict[str, Any] | None

    def record(self) -> dict[str, Any]:
        """Plain JSON; numbers to 6 significant digits."""
        plain = asdict(self)
        plain["probability"] = {"token": self.probability, "rival": plain.pop("rival_probability")}
        rounded: dict[str, Any] = _rounded(plain)
        return rounded


def explain(model: "Model", question: "Question", settings: LensSettings, progress: Progress, seed: int = 0) -> Lens:
    """What every layer makes of the question, at the place that decides and over the row.

    The stack is the one that ends in the head: of an encoder–decoder, the decoder, at the places it has written (its
    encoder has no head to be read with). At the last layer all numbers are the model's own. seed: of the training of
    a tuned lens. Raises UsageError for texts without `tuned`, ModelError for numbers that are not finite, and what
    `tuned_lens` raises.
    """
    if settings.texts is not None and not settings.tuned:
        raise UsageError(
            "Texts train a tuned lens, and this is the logit lens.",
            received=f"texts = {settings.texts}",
            remedy="ask for the tuned lens too (tuned: true), or leave the texts out",
        )
    tuned = tuned_lens(model, settings, progress, seed) if settings.tuned else None
    stack, decision = stacks(model)[-1], question.decision
    row, place = decision.row, decision.row.read[0]
    residual = record(model, row)[stack.name].residual  # [layers + 1, places, width]
    residual = residual if tuned is None else torch.stack([tuned.translate(k, h) for k, h in enumerate(residual)])
    with wide_products(model.network), progress.task("reading the layers", total=len(residual)) as task:
        deciding = _read(model, residual[:, place], (decision.token, decision.rival), settings.top)
        grid = _grid(model, row, residual, task)
    decode = model.tokenizer.decode
    token, rival = deciding.asked[:, 0], deciding.asked[:, 1]
    return Lens(
        lens="logit" if tuned is None else "tuned",
        stack=stack.name,
        token=decode([decision.token]),
        rival=decode([decision.rival]),
        probability=tuple(token.tolist()),
        rival_probability=tuple(rival.tolist()),
        rank=tuple(deciding.rank.tolist()),
        entropy=tuple(deciding.entropy.tolist()),
        top=tuple(
            tuple(Candidate(decode([i]), p) for i, p in zip(ids, values, strict=True))
            for ids, values in zip(deciding.top.tolist(), deciding.likely.tolist(), strict=True)
        ),
        first_lead=first_to_the_end((deciding.rank == 1).tolist()),
        first_ahead=first_to_the_end((token > rival).tolist()),
        grid=grid,
        trained_on=None if tuned is None else tuned.trained_on,
    )


def first_to_the_end(holds: Sequence[bool]) -> int | None:
    """The first index from which on all hold; None when the last does not."""
    broken = [k for k, held in enumerate(holds) if not held]
    first = broken[-1] + 1 if broken else 0
    return first if first < len(holds) else None


@dataclass(frozen=True, eq=False)
class _Reading:
    """Of n hidden states. asked: float[n, tokens asked about], probabilities; rank: int[n], of the first of them;
    entropy: float[n]; top: int[n, k]; likely: float[n, k], probabilities of top."""

    asked: torch.Tensor
    rank: torch.Tensor
    entropy: torch.Tensor
    top: torch.Tensor
    likely: torch.Tensor


def _read(model: "Model", states: torch.Tensor, asked: Sequence[int], top: int) -> _Reading:
    """states: float[n, width], of the stream. Only what is asked is kept of each distribution."""
    size = max(1, CELLS // int(plain(model.network).config.vocab_size))
    parts: list[tuple[torch.Tensor, ...]] = []
    for chunk in torch.split(states, size):
        logits = _logits(model, chunk)
        shares = logits.log_softmax(1)  # [rows, vocabulary], nats
        likely, ids = shares.topk(min(top, shares.shape[1]), dim=1)
        rank = 1 + (logits > logits[:, asked[0], None]).sum(1)
        entropy = torch.special.entr(shares.exp()).sum(1)
        parts.append((shares[:, list(asked)].exp(), rank, entropy, ids, likely.exp()))
    return _Reading(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _logits(model: "Model", states: torch.Tensor) -> torch.Tensor:
    """float32[n, vocabulary]. states: float[n, width]."""
    with torch.inference_mode():
        logits = unembed(model, states).float()
    if not bool(logits.isfinite().all()):
        raise ModelError(
            "A layer of this model gives numbers that are not finite.",
            received=f"weights opened in {model.precision}",
            expected="finite logits at every layer",
            remedy="explain it in float32; if it persists the weights are damaged",
        )
    return logits


def _grid(model: "Model", row: "Row", residual: torch.Tensor, task: Any) -> Grid:
    ids = row.written or row.ids
    first = _window(len(ids), row.read[0])
    shown = residual[:, first : first + GRID]
    top, probability = [], []
    for layer in shown:  # one at a time, so that progress moves
        read = _read(model, layer, (0,), 1)
        top.append(tuple(model.tokenizer.decode([i]) for i in read.top[:, 0].tolist()))
        probability.append(tuple(read.likely[:, 0].tolist()))
        task.advance()
    tokens = tuple(model.tokenizer.decode([i]) for i in ids[first : first + GRID])
    return Grid(tokens, first, len(ids), tuple(top), tuple(probability))


def _window(places: int, deciding: int) -> int:
    """Where the grid begins: its end is the row's, or, where that would leave out the place that decides, that place
    is in its middle."""
    last = max(0, places - GRID)
    return last if deciding >= last else max(0, deciding - GRID // 2)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
