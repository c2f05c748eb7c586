"""Any family that Limpide opens, answered by `transformers` from its folder. Loads torch: import it when it is needed.

One worker thread does all the work, one request after the other in the order they came, so that no two requests ever
meet in the weights: an adapter is at work for one answer alone. The event loop only waits.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from limpide.core.errors import LimpideError, UsageError
from limpide.models.adapter_set import AdapterSet, open_adapter_set
from limpide.models.stream import Chosen, write
from limpide.models.vectors import text_vectors
from limpide.serve.engines.carried import Way, carried, closed
from limpide.serve.engines.forms import Form, Piece
from limpide.serve.engines.protocol import Embedded, Engine, Gives
from limpide.serve.engines.reading import Reader, Wanted
from limpide.serve.engines.writing import Writing, filled
from limpide.serve.openai_types import ApiError

WRITES: frozenset[Gives] = frozenset({"chat", "completion", "embedding"})
FILLS: frozenset[Gives] = frozenset({"fill-mask", "embedding"})
T = TypeVar("T")


def open_transformers(folder: Path, *, adapters: Mapping[str, Path], threads: int | None) -> Engine:
    """Load the model in `folder` with its adapters, {name: `peft` folder}. threads: processor threads, None for torch's
    own choice. Raises UsageError, ModelError, UntrustedInput."""
    if threads is not None and threads < 1:
        raise UsageError("An engine needs at least one thread.", received=threads, expected="1 or more")
    return TransformersEngine(open_adapter_set(folder, adapters), threads)


class TransformersEngine:
    """An `Engine`. A decoder and an encoder–decoder write; an encoder fills masks: the text of its completion is the
    likeliest token for each mask, with a space between them.

    Conversations are rendered by `models/prompt.py`, and greedy answers are `models/generation.py`'s, token for token.
    Vectors are those of `models/vectors.py`, always the base's. Forms of an answer (`response_format`) are refused:
    no library that keeps a model to a grammar is among the dependencies.
    """

    at_once = False

    def __init__(self, opened: AdapterSet, threads: int | None = None) -> None:
        model = opened.model
        self.gives = FILLS if model.kind == "encoder" else WRITES
        self.context = model.context
        self.control_tokens: Sequence[str] = _control_tokens(model.tokenizer)
        self.has_template = model.kind != "encoder"
        self._opened, self._name = opened, model.folder.name
        self._reader = Reader(model, opened.names.keys())
        self._closing = threading.Event()
        setting: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (threads,)} if threads else {}
        self._worker = ThreadPoolExecutor(1, "limpide-transformers", **setting)

    async def close(self) -> None:
        """End the answer under way within a token, drop those that wait, free the thread."""
        self._closing.set()
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)

    # Tokenising a long text takes a while: it happens in threads of its own, and does not wait for the worker.

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        return len(await asyncio.to_thread(self._reader.chat_ids, messages))

    async def count_text(self, text: str) -> int:
        return len(await asyncio.to_thread(self._reader.text_ids, text))

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The first event comes with the first piece, so that what fails before is an error and no answer."""
        wanted = await asyncio.to_thread(self._reader.read, route, body)
        form, piece = self._form(route, wanted), None
        async with aclosing(self._pieces(wanted)) as pieces:
            async for made in pieces:
                for event in (*(() if piece else form.opening()), *form.chunks(made)):
                    yield event
                piece = made
        yield form.closing(piece.written if piece else 0)

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Embedded:
        ids = await asyncio.to_thread(self._reader.texts_ids, texts)
        left = threading.Event()

        def work() -> Any:
            with self._opened.active(None) as model:
                return text_vectors(model, ids, lambda: not (left.is_set() or self._closing.is_set()))

        try:
            vectors = await asyncio.wrap_future(self._submit(work))
        except (RuntimeError, MemoryError) as error:
            raise _failed() from error
        finally:
            left.set()
        if self._closing.is_set():
            raise closed()
        return Embedded(vectors, sum(map(len, ids)))

    async def _pieces(self, wanted: Wanted) -> AsyncGenerator[Piece, None]:
        """Closing this stops the work within a token."""
        finished = False
        try:
            async with aclosing(carried(self._worker, partial(self._work, wanted))) as made:
                async for pieces in made:
                    for piece in pieces:
                        finished = piece.finish is not None
                        yield piece
        except LimpideError as error:
            raise ApiError(400, error.what, code="engine_refused") from error
        except (RuntimeError, MemoryError) as error:
            raise (closed() if self._closing.is_set() else _failed()) from error
        if not finished:
            raise closed()

    def _submit(self, work: Callable[..., T], *arguments: Any) -> "Future[T]":
        try:
            return self._worker.submit(work, *arguments)
        except RuntimeError as error:  # shut down
            raise closed() from error

    def _work(self, wanted: Wanted, way: Way[Piece]) -> None:
        """In the worker thread: answer `wanted`, each piece told as soon as it is certain."""

        def left() -> bool:
            return way.left or self._closing.is_set()

        if left():
            return
        with self._opened.active(wanted.adapter) as model:
            if model.kind == "encoder":
                way.put(filled(model, wanted))
                return
            writing = Writing(model, wanted)

            def goes_on(chosen: Chosen) -> bool:
                piece = writing.add(chosen)
                if piece.text or piece.tokens or piece.finish:
                    way.put(piece)
                return piece.finish is None and not left()

            write(
                model, wanted.prompt, wanted.drawing, goes_on, most=wanted.most, alternatives=wanted.alternatives or 0
            )

    def _form(self, route: str, wanted: Wanted) -> Form:
        return Form(route, self._name, len(wanted.prompt), logprobs=wanted.alternatives is not None)


def _control_tokens(tokenizer: Any) -> tuple[str, ...]:
    control = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    found = control.union(tokenizer.all_special_tokens)
    return tuple(sorted((token for token in found if len(token) > 1), key=lambda token: (-len(token), token)))


def _failed() -> ApiError:
    return ApiError(502, "The engine failed in the middle of the answer.", code="engine_error")
