"""From requests to token ids: where a text starts, where its continuation starts, and what is too long."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from limpide.core.errors import LimpideError, ModelError
from limpide.models.families.registry import plain
from limpide.models.requests import Request

if TYPE_CHECKING:
    from limpide.models.model import Model

Bos = Literal["auto", "always", "never"]
Overlong = Literal["refuse", "window"]
AT_ONCE = 1000  # texts tokenised together


@dataclass(frozen=True)
class Encoded:
    """index: of the request. merged: the first token of the continuation also holds the end of the context."""

    index: int
    context: tuple[int, ...]
    continuation: tuple[int, ...]
    merged: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        return self.context + self.continuation

    def __len__(self) -> int:
        return len(self.context) + len(self.continuation)


def encode_requests(
    model: "Model", requests: Sequence[Request], *, bos: Bos = "auto", overlong: Overlong = "refuse"
) -> list[Encoded]:
    """What the model reads, in the order of the requests; several pieces for one that is windowed.

    A decoder's text starts with the tokenizer's own BOS, once, where it adds one; a continuation without context is
    never without a start: the BOS, else the end token. bos: 'always' or 'never' instead. A token that straddles the
    boundary belongs to the continuation. Ids are taken as they are.
    Raises ModelError for an empty continuation, or a request longer than the context unless it may be windowed.
    """
    pieces: list[Encoded] = []
    for first in range(0, len(requests), AT_ONCE):
        for index, item in enumerate(_encode(model, requests[first : first + AT_ONCE], bos), start=first):
            _check(model, requests[index], item)
            item = Encoded(index, item.context, item.continuation, item.merged)
            pieces += _fit(model, requests[index], item, overlong)
    return pieces


def _encode(model: "Model", requests: Sequence[Request], bos: Bos) -> Iterator[Encoded]:
    texts = [_text(request) for request in requests]
    if model.kind == "encoder-decoder":
        yield from _encode_pairs(model.tokenizer, requests, texts)
        return
    joint = iter(_tokenise(model.tokenizer, [a + b for a, b in texts if (a, b) != ("", "")]))
    starts = _Starts(model, bos)
    for request, (context, continuation) in zip(requests, texts, strict=True):
        if not isinstance(request.context, str):
            yield Encoded(0, request.context, tuple(request.continuation))  # type: ignore[arg-type]  # both are ids
            continue
        if not continuation:
            yield Encoded(0, (), ())
            if context:
                next(joint)
            continue
        ids, offsets = next(joint)
        cut = next((i for i, (_, end) in enumerate(offsets) if end > len(context)), len(ids))
        merged = cut < len(ids) and offsets[cut][0] < len(context.rstrip())
        yield Encoded(0, (*starts.before(ids, cut), *ids[:cut]), tuple(ids[cut:]), merged)


def _encode_pairs(tokenizer: Any, requests: Sequence[Request], texts: Sequence[tuple[str, str]]) -> Iterator[Encoded]:
    """Encoder–decoders: the context is the source, with what the tokenizer puts around it."""
    for request, (context, continuation) in zip(requests, texts, strict=True):
        if not isinstance(request.context, str):
            yield Encoded(0, request.context, tuple(request.continuation))  # type: ignore[arg-type]  # both are ids
            continue
        target = tokenizer(continuation, add_special_tokens=False)["input_ids"]
        yield Encoded(0, tuple(tokenizer(context)["input_ids"]), tuple(target))


def _text(request: Request) -> tuple[str, str]:
    """Context and continuation, empty where they are ids."""
    if isinstance(request.context, str) and isinstance(request.continuation, str):
        return request.context, request.continuation
    if isinstance(request.context, str) or isinstance(request.continuation, str):
        raise LimpideError(f"Request '{request.id}' mixes text and token ids.", expected="both of one sort")
    return "", ""


def _tokenise(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    if not texts:
        return []
    joint = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    return list(zip(joint["input_ids"], joint["offset_mapping"], strict=True))


class _Starts:
    """The token before a text: decided once for a tokenizer and a setting."""

    def __init__(self, model: "Model", bos: Bos) -> None:
        tokenizer = model.tokenizer
        self.bos: int | None = tokenizer.bos_token_id
        self.any: int | None = self.bos if self.bos is not None else tokenizer.eos_token_id
        self.setting = bos
        probe = tokenizer("a")["input_ids"]
        self.adds = bos == "auto" and self.bos is not None and bool(probe) and probe[0] == self.bos
        self.none = model.kind == "encoder" or bos == "never"

    def before(self, ids: Sequence[int], cut: int) -> list[int]:
        if self.none or (cut and ids[0] == self.bos):
            return []
        wanted = self.bos if self.adds else self.any if cut == 0 or self.setting == "always" else None
        return [] if wanted is None else [wanted]


def _check(model: "Model", request: Request, item: Encoded) -> None:
    if not isinstance(request.context, str):
        _check_ids(request, item, int(plain(model.network).config.vocab_size))
    if not item.continuation:
        raise ModelError(f"Request '{request.id}' has an empty continuation, so there is nothing to score.")
    if not item.context and model.kind != "encoder":
        raise ModelError(
            f"Request '{request.id}' has an empty context, and a decoder predicts from what comes before.",
            remedy="start the context with the BOS token, or with any token where the model has none",
        )


def _check_ids(request: Request, item: Encoded, vocabulary: int) -> None:
    wrong = [i for i in item.ids if not 0 <= i < vocabulary]
    if wrong:
        raise ModelError(
            f"Request '{request.id}' holds token ids that the model does not have.",
            received=wrong[:5],
            expected=f"0 to {vocabulary - 1}",
            remedy="encode it with this model's own tokenizer",
        )


def _fit(model: "Model", request: Request, item: Encoded, overlong: Overlong) -> list[Encoded]:
    around = 2 if model.kind == "encoder" else 0  # [CLS] and [SEP]
    if len(item) + around <= model.context:
        return [item]
    if overlong == "window" and model.kind == "decoder":
        return list(_windows(item, model.context, model.tokenizer.bos_token_id))
    raise ModelError(
        f"Request '{request.id}' is longer than the model's context.",
        received=f"{len(item) + around} tokens",
        expected=f"at most {model.context}",
        remedy="shorten it, or ask for windows (limpide score --overlong window, decoders only); "
        "Limpide never cuts a text in silence",
    )


def _windows(item: Encoded, width: int, bos: int | None) -> Iterator[Encoded]:
    """Pieces of at most half the width, each read after as much of what comes before it as fits.

    A text that starts with the start token has it before every window.
    """
    ids, step = item.ids, max(1, width // 2)
    start = ids[:1] if ids[0] == bos else ()
    for first in range(len(item.context), len(ids), step):
        last = min(first + step, len(ids))
        earliest = max(len(start), last - width + len(start))
        yield Encoded(item.index, (*start, *ids[earliest:first]), ids[first:last], item.merged)
