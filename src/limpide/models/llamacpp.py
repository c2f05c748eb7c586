"""llama.cpp in this process: the engine that serves a release and that parity is measured on.

`xllamacpp` runs llama.cpp's own HTTP server on a free loopback port, behind a random key that only this process knows.
It holds Python's lock while it loads and while it closes, so close an engine only when nobody is waiting for it:
`LlamaEngine` counts its own calls and waits for them; the gateway stops its clients first.
"""

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from limpide.core.errors import DataError, LimpideError, MissingError, ModelError, UsageError
from limpide.models.gguf_header import read_gguf
from limpide.models.template_safety import check_template

LARGEST_DEFAULT_CONTEXT = 8192  # tokens: a 128k-token cache would take tens of GB that nobody asked for
SMALLEST_CONTEXT = 64  # tokens
SILENT = -1  # llama.cpp's verbosity below which nothing is printed
PING_SECONDS = 1  # an answer being streamed notices within this time that the engine closes
CONTROL = 3  # llama.cpp's type of tokens that structure a conversation
CALL_SECONDS = 600.0
MOST_EMBEDDED = 512  # tokens of a text read at once, as an embedding needs; llama.cpp's own default
SPARE_HTTP_THREADS = 24  # beyond two a slot: each request being counted, and each idle connection, holds one


class LlamaEngine:
    """A GGUF file, loaded and answering at `url` (llama.cpp's routes) to requests that carry `headers`.

    context: tokens one conversation may hold, prompt and answer. training_context: what the model was trained on,
    None when the file does not say. control_tokens: tokens that structure a conversation, spelled out, longest first.
    has_template: whether the file brings its own chat template (llama.cpp would make one up).
    Several engines may be open at once; each holds its weights and its cache.
    """

    def __init__(
        self,
        gguf: Path,
        *,
        context: int | None = None,
        slots: int = 1,
        threads: int | None = None,
        embeds: bool = False,
    ) -> None:
        """Load `gguf`. context: tokens per conversation (default: the model's, at most 8192). slots: conversations
        answered at once; each has its own cache of `context` tokens. threads: default, one a physical core.
        embeds: answer `/v1/embeddings` too, the mean of the last hidden states; answers to the other routes stay what
        they are, to the last bit.

        Raises MissingError, ModelError, UsageError; UntrustedInput for a file that lies about itself.
        """
        if slots < 1:
            raise UsageError("An engine needs at least one slot.", received=slots, expected="1 or more")
        metadata = _metadata(gguf)
        self.gguf = gguf
        self.slots, self.embeds = slots, embeds
        self.training_context = _training_context(metadata)
        self.has_template = bool(metadata.get("tokenizer.chat_template"))
        self.control_tokens = _control_tokens(metadata)
        self.context = _fitting_context(context, self.training_context)
        self._calls = 0
        self._idle = threading.Condition()
        key = secrets.token_urlsafe(32)
        self.headers: Mapping[str, str] = {"Authorization": f"Bearer {key}"}
        self._server: Any = _start(gguf, self.context, slots, threads or _cores(), key, embeds)
        self.url: str = self._server.listening_address
        # llama.cpp closes a connection after it streamed on it without saying so: never reuse one.
        self._client = httpx.Client(
            base_url=self.url,
            headers=self.headers,
            timeout=CALL_SECONDS,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._check_context()

    def __enter__(self) -> "LlamaEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for calls under way, stop the server, free the weights and the cache. May be called again."""
        with self._idle:
            self._idle.wait_for(lambda: self._calls == 0)
            server, self._server = self._server, None
        self._client.close()
        del server  # the last reference: llama.cpp stops here

    def apply_template(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt text that llama.cpp's reading of the chat template gives, up to where the assistant speaks."""
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def tokenize(self, text: str, add_special: bool) -> list[int]:
        """Token ids of `text`, control tokens recognised. add_special: put BOS or EOS where the model wants them."""
        body = {"content": text, "add_special": add_special, "parse_special": True}
        return [int(token) for token in self._post("/tokenize", body)["tokens"]]

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._post("/detokenize", {"tokens": list(ids)})["content"])

    def complete(self, prompt: str | Sequence[int], *, n_predict: int = 64, **sampling: Any) -> dict[str, Any]:
        """llama.cpp's answer to `/completion`: `content`, `stop_type`, `tokens_evaluated`, `tokens_predicted` …

        Greedy, and without the cache of earlier prompts, so that the same call gives the same answer. `sampling`
        holds llama.cpp's own names and wins: temperature, seed, top_p, stop, n_probs (probabilities of the most
        likely tokens, under `completion_probabilities`), return_tokens … Raises DataError on a prompt too long.
        """
        body = {"prompt": prompt if isinstance(prompt, str) else list(prompt), "n_predict": n_predict}
        return self._post("/completion", {**body, "temperature": 0, "cache_prompt": False, **sampling})

    def get(self, route: str) -> dict[str, Any]:
        """The JSON object at a route of llama.cpp's server, such as `/props`."""
        with self._call():
            return _answer(route, self._client.get(route), self.context)

    def ask(self, route: str, body: Mapping[str, Any], take: Callable[[dict[str, Any]], bool]) -> None:
        """Answer `body` without HTTP, in the calling thread. take: called with every event, in that thread; the work
        ends when it returns True. A refusal is an event too, `{"error": {"code", "message", …}}`.

        route: of conversations or of raw prompts. A body without `stream` has one event, the whole answer.
        """
        with self._call():
            handle = {
                "/v1/chat/completions": self._server.handle_chat_completions,
                "/v1/completions": self._server.handle_completions,
            }[route]
            _heard(lambda: handle(dict(body), take), take)

    def embed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """llama.cpp's answer to `/v1/embeddings`, or its refusal: `{"error": {"code", "message", …}}`."""
        given: list[dict[str, Any]] = []
        with self._call():
            _heard(lambda: given.append(self._server.handle_embeddings(dict(body))), given.append)
        return given[0]

    def stream(self, route: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The answer to `body`, event by event while it is made; closing the iterator stops the work.

        Raises DataError on a prompt too long, LimpideError when the engine stops in the middle.
        """
        with self._call(), self._client.stream("POST", route, json={**body, "stream": True}) as response:
            if response.is_error:
                response.read()
                _answer(route, response, self.context)
            for line in response.iter_lines():
                event = event_of(line)
                if event is None:
                    continue
                if "error" in event:
                    raise LimpideError("The engine stopped in the middle of the answer.", remedy="ask again")
                yield event

    def _post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        with self._call():
            return _answer(route, self._client.post(route, json=body), self.context)

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self._idle:
            if self._server is None:
                raise LimpideError("This engine is closed.", received=self.gguf)
            self._calls += 1
        try:
            yield
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def _check_context(self) -> None:
        """The context llama.cpp really gives each slot: it rounds, and may give less than was asked."""
        given = int(self.get("/props")["default_generation_settings"]["n_ctx"])
        if given < self.context:
            self.close()
            raise ModelError(
                "llama.cpp gives each conversation a shorter context than was asked.",
                received=f"{given} tokens",
                expected=f"{self.context} tokens",
                remedy="ask for a shorter context, or fewer slots",
            )
        self.context = given


def _metadata(gguf: Path) -> dict[str, Any]:
    if not gguf.is_file():
        raise MissingError(
            f"There is no file {gguf}.", expected="a model in GGUF format", remedy="check the path of the .gguf file"
        )
    metadata = read_gguf(gguf).metadata
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        check_template(template, gguf.name)
    return metadata


def _training_context(metadata: Mapping[str, Any]) -> int | None:
    context = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    return context if isinstance(context, int) and context > 0 else None


def _control_tokens(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    tokens, kinds = metadata.get("tokenizer.ggml.tokens", []), metadata.get("tokenizer.ggml.token_type", [])
    control = {token for token, kind in zip(tokens, kinds, strict=False) if kind == CONTROL and len(token) > 1}
    return tuple(sorted(control, key=lambda token: (-len(token), token)))


def _fitting_context(asked: int | None, trained: int | None) -> int:
    if asked is None:
        return min(trained or LARGEST_DEFAULT_CONTEXT, LARGEST_DEFAULT_CONTEXT)
    if asked < SMALLEST_CONTEXT:
        raise UsageError("This context is too short.", received=asked, expected=f"{SMALLEST_CONTEXT} tokens or more")
    if trained is not None and asked > trained:
        raise UsageError(
            "The context is longer than the model was trained on; llama.cpp would shorten it without a word.",
            received=f"{asked} tokens",
            expected=f"at most {trained}",
            remedy=f"use --context {trained}",
        )
    return asked


def _start(gguf: Path, context: int, slots: int, threads: int, key: str, embeds: bool) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.offline = True
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False  # would show what others ask
    params.endpoint_metrics = False
    params.verbosity = SILENT
    if embeds:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.n_threads_http = 2 * slots + SPARE_HTTP_THREADS
    params.fit_params = False  # would change the context to fit the memory, in silence
    params.ctx_shift = False  # would forget the start of a conversation, in silence
    params.cache_ram_mib = 0  # no copies of earlier conversations in memory beyond the slots
    params.prefill_assistant = False
    params.sse_ping_interval = PING_SECONDS
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = threads
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp could not open {gguf}.",
            received=str(error),
            expected=f"a GGUF file of an architecture that xllamacpp {xllamacpp.__version__} knows, and memory for "
            f"{slots} × {context} tokens",
            remedy="compare the file's digest with its publisher's, or ask for a shorter context or fewer slots",
        ) from error


def _cores() -> int:
    """Physical cores this process may use: hyper-threads only get in each other's way here."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _answer(route: str, response: httpx.Response, context: int) -> dict[str, Any]:
    """The JSON object of an answer. Raises DataError when llama.cpp refuses the request."""
    if response.is_success:
        answer: dict[str, Any] = response.json()
        return answer
    fault = refusal(response)
    if "n_prompt_tokens" in fault:
        raise DataError(
            "The prompt is longer than the context.",
            received=f"{fault['n_prompt_tokens']} tokens",
            expected=f"fewer than {fault.get('n_ctx', context)}",
            remedy="shorten the prompt, or open the model with a longer context",
        )
    raise DataError(f"llama.cpp refused a request to {route}.", received=fault.get("message", response.status_code))


def _heard(call: Callable[[], object], take: Callable[[dict[str, Any]], object]) -> None:
    """What xllamacpp raises where llama.cpp's server would send a refusal, as that refusal."""
    try:
        call()
    except (TypeError, ValueError) as error:
        take({"error": {"code": 400, "message": str(error), "type": "invalid_request_error"}})
    except RuntimeError as error:
        take({"error": {"code": 500, "message": str(error), "type": "server_error"}})


def event_of(line: str) -> dict[str, Any] | None:
    """The JSON object of a server-sent line; None for blank lines, keep-alive comments and the end mark."""
    name, _, text = line.partition(": ")
    if name not in ("data", "error") or text == "[DONE]":
        return None
    event: dict[str, Any] = json.loads(text)
    return event if name == "data" else {"error": event}


def refusal(response: httpx.Response) -> dict[str, Any]:
    """The error object of a llama.cpp answer: code, message, type, and numbers where there are some."""
    try:
        fault = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {"code": response.status_code, "message": f"HTTP {response.status_code}", "type": "server_error"}
    return dict(fault) if isinstance(fault, dict) else {"code": response.status_code, "message": str(fault)}
