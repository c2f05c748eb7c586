"""The tuned lens: an affine map from each layer's stream to the last one's, so that the head can read it.

Source: Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens", eq. 8 to 10.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch

from limpide.core import digests, files
from limpide.core.errors import DataError, LimpideError
from limpide.core.progress import Progress
from limpide.data.examples import Message
from limpide.models.cache import cache_folder
from limpide.models.families.registry import get, logits_from_hidden, plain
from limpide.models.linear import wide_products
from limpide.models.prompt import PLAIN_TEMPLATE, prompt_ids
from limpide.models.row import Row
from limpide.models.stacks import stacks
from limpide.models.trace import record
from limpide.understand.settings import LensSettings

if TYPE_CHECKING:
    from limpide.models.model import Model

PROBE = "retention.jsonl"
LEAST = 10  # texts: fewer are too alike to be held out from each other
SHORTEST = 4  # tokens of a text
HELD_OUT = 5  # one text in so many
WINDOW = 128  # tokens read at once: a longer text is cut in such
MASKED = 0.15  # of an encoder's tokens, as in its own training
BYTES = 2**30  # of streams kept, of all layers, to learn from
JUDGED = 1024  # places, at most, of the texts held out
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
STEPS, BATCH, RATE = 60, 64, 0.1
TARGETS = 2**28  # bytes of final distributions kept while training
CELLS = 2**23  # logits held at once

Pair = tuple[torch.Tensor, torch.Tensor]  # a layer's stream and the last one's at the same places, [places, width]


@dataclass(frozen=True, eq=False)
class TunedLens:
    """h ↦ h + A h + b at each layer below the last. weight: float[layers, width, width]; bias: float[layers, width].

    trained_on: how many texts and tokens, and how far each layer's distribution is from the final one on texts that
    took no part in training, in nats: KL(final ‖ lens), as a logit lens ('kl_logit') and as kept ('kl_tuned'); for a
    layer the better of three on those texts is kept, so that the second is never above the first, and slightly
    favourable. 'kept' names which: 'logit', 'ridge' or 'trained'.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    trained_on: dict[str, Any]

    def translate(self, layer: int, stream: torch.Tensor) -> torch.Tensor:
        """stream: float[…, width] before block `layer`, or after the last, where nothing is changed."""
        if layer == len(self.weight):
            return stream
        moved = stream.float() + stream.float() @ self.weight[layer].T + self.bias[layer]
        return moved.to(stream.dtype)


def unembed(model: "Model", stream: torch.Tensor) -> torch.Tensor:
    """Logits that the network's end makes of a stream: final norm, where a block does not end with one, and head.

    stream: float[…, width]. Returns float[…, vocabulary]; of the stream after the last block, the model's own logits.
    """
    path = model.family.final_norm
    hidden = stream if path is None else get(model.network, path)(stream)
    return logits_from_hidden(model.network, model.family, hidden)


def tuned_lens(model: "Model", settings: LensSettings, progress: Progress, seed: int = 0) -> TunedLens:
    """The lens that is kept for this model, these texts and this seed; or one trained now, in minutes, and kept.

    A file that is damaged or does not fit is said, and made anew; a lens that cannot be kept is used all the same.
    Raises DataError for texts that cannot be read or are too few.
    """
    texts = read_texts(settings.texts)
    key = digests.of_value([digests.of_file(Path(__file__)), model.digest, model.precision, texts, seed])
    path = cache_folder() / "lenses" / f"{key}.safetensors"
    kept = _load(model, path, key, progress)
    if kept is not None:
        return kept
    lens = train(model, texts, progress, seed)
    try:
        _keep(lens, path, key)
    except LimpideError as error:
        progress.warn(f"The tuned lens is not kept and will be trained again: {error.what}")
    return lens


def read_texts(path: Path | None) -> list[str]:
    """Texts of the user's file, which an empty line parts; Limpide's own without one. Raises DataError."""
    if path is None:
        lines = (resources("limpide.data") / "probes" / PROBE).read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["text"] for line in lines if line.strip()]
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The texts for the tuned lens cannot be read: {path}.",
            received=str(error),
            expected="a text file in UTF-8, with an empty line between texts",
            remedy="check the path and how the file was saved",
        ) from error
    texts = [text.strip() for text in re.split(r"\n\s*\n", whole) if text.strip()]
    if len(texts) < LEAST:
        raise _too_little(f"{len(texts)} texts in {path}")
    return texts


def _too_little(received: str) -> DataError:
    return DataError(
        "There is too little text to train a tuned lens on.",
        received=received,
        expected=f"at least {LEAST} texts of some sentences, an empty line between them",
        remedy="give more text, or no file: Limpide has short texts of its own",
    )


def _shape(model: "Model") -> tuple[int, int]:
    """(layers below the end, width of the stream)."""
    return len(stacks(model)[-1]), int(plain(model.network).config.hidden_size)


def _keep(lens: TunedLens, path: Path, key: str) -> None:
    tensors = {"weight": lens.weight.contiguous(), "bias": lens.bias.contiguous()}
    notes = json.dumps({"key": key, "trained_on": lens.trained_on})
    files.write_bytes(path, safetensors.torch.save(tensors, {"lens": notes}))


def _load(model: "Model", path: Path, key: str, progress: Progress) -> TunedLens | None:
    """What is kept, if it is whole and of this very key."""
    if not path.is_file():
        return None
    layers, width = _shape(model)
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            notes = json.loads(opened.metadata()["lens"])
            weight, bias = opened.get_tensor("weight"), opened.get_tensor("bias")
        if weight.shape != (layers, width, width) or bias.shape != (layers, width) or notes["key"] != key:
            raise ValueError("it is not of this model")
        if not bool(weight.isfinite().all() and bias.isfinite().all()):
            raise ValueError("some of its numbers are not finite")
        return TunedLens(weight.float(), bias.float(), notes["trained_on"])
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        progress.warn(f"The tuned lens kept in {path} cannot be used and is trained again: {error}")
        return None


# ----------------------------------------------------------------------------------------------------------- training


def train(model: "Model", texts: Sequence[str], progress: Progress, seed: int = 0) -> TunedLens:
    """Fit every layer's map to the network's own final distributions on these texts; the network does not change.

    One text in five takes no part and judges. For each layer: the least squares map to the last layer's stream, then
    some steps of Adam on KL(final ‖ lens), then whichever of the two, or no map at all, is nearest on those texts.
    Deterministic given the seed.
    """
    draw = torch.Generator().manual_seed(seed)
    layers, width = _shape(model)
    judges = list(texts[HELD_OUT - 1 :: HELD_OUT])
    taught = [text for k, text in enumerate(texts) if k % HELD_OUT != HELD_OUT - 1]
    with progress.task("reading texts for the tuned lens", total=len(texts)) as task:
        seen = _streams(model, taught, BYTES // (4 * width * (layers + 1)), draw, task)
        held = _streams(model, judges, JUDGED, draw, task)
    lesson = _lesson(model, seen[-1], draw)
    fitted = []
    with progress.task("training the tuned lens", total=layers) as task:
        for layer in range(layers):
            fitted.append(_fit(model, (seen[layer], seen[-1]), (held[layer], held[-1]), lesson))
            task.advance(kl_logit=fitted[-1].kl["logit"], kl_tuned=fitted[-1].best)
    trained_on = {
        "texts": len(taught),
        "tokens": seen.shape[1],
        "kl_logit": [fit.kl["logit"] for fit in fitted],
        "kl_tuned": [fit.best for fit in fitted],
        "kept": [fit.kept for fit in fitted],
        "held_out_texts": len(judges),
        "held_out_tokens": held.shape[1],
    }
    return TunedLens(
        torch.stack([fit.map.weight for fit in fitted]), torch.stack([fit.map.bias for fit in fitted]), trained_on
    )


def _streams(model: "Model", texts: Sequence[str], most: int, draw: torch.Generator, task: Any) -> torch.Tensor:
    """The stream at places of the texts: float32[layers + 1, places, width]. Where there are more than `most` places,
    an equal share of each text's is drawn."""
    stack = stacks(model)[-1]
    rows = [list(_rows(model, text, draw)) for text in texts]
    places = sum(len(row.read) for some in rows for row in some)
    if not places:
        raise _too_little(f"{len(texts)} of the texts, each shorter than {SHORTEST} tokens")
    share, (layers, width) = min(1.0, most / places), _shape(model)
    counts = [[max(1, int(share * len(row.read))) for row in some] for some in rows]
    kept, at = torch.empty(layers + 1, sum(map(sum, counts)), width), 0
    with wide_products(model.network):
        for some, wanted in zip(rows, counts, strict=True):
            for row, count in zip(some, wanted, strict=True):
                chosen = torch.randperm(len(row.read), generator=draw)[:count].sort().values.tolist()
                residual = record(model, row)[stack.name].residual
                kept[:, at : at + count] = residual[:, [row.read[k] for k in chosen]]
                at += count
            task.advance()
    return kept


def _rows(model: "Model", text: str, draw: torch.Generator) -> Iterator[Row]:
    """The text as the network reads texts; a chat model also reads it as a message, up to where its answer begins.

    An encoder–decoder reads the first half and writes the second; an encoder fills masks drawn at random. A decoder's
    first token is left out: its stream, many times larger than any other, says nothing of a text.
    """
    read = [list(model.tokenizer(text)["input_ids"])]
    if model.kind == "decoder" and model.tokenizer.chat_template != PLAIN_TEMPLATE:
        read.append(prompt_ids(model.tokenizer, [Message(role="user", content=text)]))
    window = min(WINDOW, model.context)
    for ids in (whole[k : k + window] for whole in read for k in range(0, len(whole), window)):
        words = [k for k, token in enumerate(ids) if token not in model.tokenizer.all_special_ids]
        if len(words) < SHORTEST:
            continue
        if model.kind == "decoder":
            yield Row(tuple(ids), tuple(range(1, len(ids))), ())
        elif model.kind == "encoder":
            order = torch.randperm(len(words), generator=draw).tolist()
            masked = sorted(words[k] for k in order[: max(1, int(MASKED * len(words)))])
            filled = [model.tokenizer.mask_token_id if k in masked else token for k, token in enumerate(ids)]
            yield Row(tuple(filled), tuple(masked), ())
        else:
            half = len(ids) // 2
            written = (int(plain(model.network).config.decoder_start_token_id), *ids[half:-1])
            yield Row(tuple(ids[:half]), tuple(range(len(written))), (), written)


@dataclass(frozen=True, eq=False)
class _Map:
    """h ↦ h + A h + b. weight: float[width, width], A; bias: float[width]."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, stream: torch.Tensor) -> torch.Tensor:
        return stream + stream @ self.weight.T + self.bias


@dataclass(frozen=True, eq=False)
class _Fit:
    """map: the one that is kept. kl: nats on held-out texts, by name of the map."""

    map: _Map
    kl: dict[str, float]

    @property
    def kept(self) -> str:
        return min(self.kl, key=lambda name: self.kl[name])

    @property
    def best(self) -> float:
        return self.kl[self.kept]


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What every layer is taught in the same order. batches: int[steps, batch], places of the streams; targets:
    float16[places drawn, vocabulary], their final log-probabilities; row: int[steps, batch], which of them."""

    batches: torch.Tensor
    row: torch.Tensor
    targets: torch.Tensor


def _lesson(model: "Model", final: torch.Tensor, draw: torch.Generator) -> _Lesson:
    """final: float[places, width], the stream after the last block."""
    vocabulary = int(plain(model.network).config.vocab_size)
    count = min(len(final), STEPS * BATCH, max(BATCH, TARGETS // (2 * vocabulary)))
    drawn = torch.randperm(len(final), generator=draw)[:count]
    rounds = -(-STEPS * BATCH // count)
    order = torch.cat([torch.randperm(count, generator=draw) for _ in range(rounds)])
    row = order[: STEPS * BATCH].reshape(STEPS, BATCH)
    with torch.no_grad(), wide_products(model.network):
        targets = torch.cat([_shares(model, chunk).half() for chunk in torch.split(final[drawn], _chunk(model))])
    return _Lesson(drawn[row], row, targets)


def _shares(model: "Model", stream: torch.Tensor) -> torch.Tensor:
    """Log-probabilities, float32[places, vocabulary]."""
    return unembed(model, stream.to(model.network.dtype)).float().log_softmax(1)


def _chunk(model: "Model") -> int:
    """Places whose distributions are held at once."""
    return max(1, CELLS // int(plain(model.network).config.vocab_size))


def _fit(
    model: "Model",
    seen: Pair,
    held: Pair,
    lesson: _Lesson,
) -> _Fit:
    """The three maps of a layer, fitted on `seen` and judged on `held`, and the best of them."""
    width = seen[0].shape[1]
    none = _Map(torch.zeros(width, width), torch.zeros(width))
    ridge = _least_squares(seen, held)
    maps = {"logit": none, "ridge": ridge, "trained": _descend(model, ridge, seen, lesson)}
    kl = dict(zip(maps, _divergences(model, list(maps.values()), held), strict=True))
    best = min(kl, key=lambda name: kl[name])
    return _Fit(maps[best], kl)


def _divergences(model: "Model", maps: Sequence[_Map], held: Pair) -> list[float]:
    """Mean KL(final ‖ lens) of each map over the places, in nats."""
    totals = [0.0] * len(maps)
    with torch.inference_mode(), wide_products(model.network):
        for here, last in zip(*(torch.split(stream, _chunk(model)) for stream in held), strict=True):
            final = _shares(model, last)
            for k, each in enumerate(maps):
                totals[k] += float((final.exp() * (final - _shares(model, each(here)))).sum())
    return [total / len(held[1]) for total in totals]


def _least_squares(seen: Pair, held: Pair) -> _Map:
    """The affine map that makes the last stream from this one with the least squared error, each place counted at one
    size (the final norm takes the size away) and each input at one spread.

    It is drawn towards the plain stream, scaled, with the strength that errs least on the held-out places.
    """
    scale, spread = _scales(seen)
    x, y = _design(seen[0], scale, spread), (seen[1] / scale).double()
    straight = (seen[0] / scale).double()
    alpha = float((straight * y).sum() / (straight * straight).sum())
    gram, moment = x.T @ x, x.T @ (y - alpha * straight)
    held_scale = _rms(held[1])
    probe, wanted = _design(held[0], held_scale, spread), ((held[1] - alpha * held[0]) / held_scale).double()
    found = []
    for ridge in RIDGES:
        strength = ridge * len(x) * torch.eye(len(gram), dtype=torch.double)
        solved = torch.linalg.solve(gram + strength, moment, left=True)  # [width + 1, width]
        found.append((float((probe @ solved - wanted).square().mean()), solved.float()))
    solved = min(found, key=lambda pair: pair[0])[1] / spread[:, None]
    width = len(solved) - 1
    return _Map(solved[:width].T + (alpha - 1) * torch.eye(width), solved[width])


def _scales(seen: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """(size of the last stream at each place, [places, 1]; spread of each input at that size, [width + 1])."""
    scale = _rms(seen[1])
    spread = _design(seen[0], scale, torch.ones(1)).square().mean(0).sqrt().float()
    return scale, spread.clamp_min(1e-6 * float(spread.max()))


def _rms(stream: torch.Tensor) -> torch.Tensor:
    return stream.square().mean(1, keepdim=True).sqrt()


def _design(stream: torch.Tensor, scale: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """The stream and a column of ones, each place divided by its scale, each column by its spread."""
    return (torch.cat([stream, torch.ones(len(stream), 1)], 1) / scale / spread).double()


def _descend(model: "Model", start: _Map, seen: Pair, lesson: _Lesson) -> _Map:
    """Steps of Adam on KL(final ‖ lens) from `start`, at a rate that falls to zero."""
    _, spread = _scales(seen)
    width = len(start.bias)
    change = torch.zeros(width + 1, width, requires_grad=True)
    adam = torch.optim.Adam([change], lr=RATE / width, betas=(0.9, 0.99))
    with torch.enable_grad():
        for step, (places, row) in enumerate(zip(lesson.batches, lesson.row, strict=True)):
            adam.param_groups[0]["lr"] = RATE / width * (1 - step / STEPS)
            stream, target = seen[0][places], lesson.targets[row].float()
            moved = start(stream) + _design(stream, torch.ones(1), spread).float() @ change
            loss = torch.nn.functional.kl_div(_shares(model, moved), target, reduction="batchmean", log_target=True)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
    final = change.detach() / spread[:, None]
    return _Map(start.weight + final[:width].T, start.bias + final[width])
