"""Every family answered from its folder: the words of `generate`, in OpenAI's forms, one request after the other."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import ModelError, UsageError
from limpide.data.examples import Message
from limpide.models.adapter_set import AdapterSet
from limpide.models.generation import continuations, generate, question_ids
from limpide.models.model import open_model
from limpide.models.requests import Sampling
from limpide.serve.engines.pieces import HALF, MOST_HALVES
from limpide.serve.engines.transformers import TransformersEngine, open_transformers
from limpide.serve.engines.whole import whole
from limpide.serve.openai_types import CHAT_ROUTE, COMPLETION_ROUTE, ApiError
from shared_adapters import random_adapter
from tiny import FAMILY_NAMES

WRITING = tuple(name for name in FAMILY_NAMES if name != "bert")
TURNS = [{"role": "user", "content": "Where does the water come from?"}]
MESSAGES = [Message(role="user", content=TURNS[0]["content"])]
TEXT = "The operator stops the press"
MOST = 10
Opened = Callable[[str], Any]


@asynccontextmanager
async def engine_of(opened: Any) -> AsyncIterator[TransformersEngine]:
    engine = TransformersEngine(opened if isinstance(opened, AdapterSet) else AdapterSet(opened, {}), threads=1)
    try:
        yield engine
    finally:
        await engine.close()


def ask(opened: Any, route: str = CHAT_ROUTE, **body: Any) -> dict[str, Any]:
    """One whole answer. The body asks for `MOST` tokens of a conversation unless it says otherwise."""

    async def run() -> dict[str, Any]:
        async with engine_of(opened) as engine:
            return await whole(engine.events(route, filled_body(route, body)))

    return asyncio.run(run())


def stream(opened: Any, route: str = CHAT_ROUTE, **body: Any) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        async with engine_of(opened) as engine:
            return [event async for event in engine.events(route, filled_body(route, body))]

    return asyncio.run(run())


def filled_body(route: str, body: Mapping[str, Any]) -> dict[str, Any]:
    prompt = {"messages": TURNS} if route == CHAT_ROUTE else {"prompt": TEXT}
    return {**prompt, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "max_tokens": MOST, **body}


def text_of(answer: Mapping[str, Any]) -> str:
    choice = answer["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def said(events: list[dict[str, Any]]) -> str:
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in choices)


def whole_characters(text: str) -> str:
    """Without what could be half a character at the end."""
    halves = len(text) - len(text.rstrip(HALF))
    return text[: len(text) - min(halves, MOST_HALVES)]


def refused(call: Awaitable[Any] | Callable[[], Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        asyncio.run(call) if asyncio.iscoroutine(call) else call()  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize("family", WRITING)
def test_a_conversation_gets_the_answer_of_generate(tiny_model: Opened, family: str) -> None:
    model = tiny_model(family)
    answer = ask(model)
    assert text_of(answer) == whole_characters(generate(model, [MESSAGES], max_new_tokens=MOST)[0])
    prompt = len(question_ids(model, MESSAGES))
    assert answer["usage"]["prompt_tokens"] == prompt
    assert answer["usage"]["total_tokens"] == prompt + answer["usage"]["completion_tokens"]
    assert answer["object"] == "chat.completion"


@pytest.mark.parametrize("family", WRITING)
def test_a_raw_prompt_gets_its_continuation(tiny_model: Opened, family: str) -> None:
    model = tiny_model(family)
    expected = continuations(model, [TEXT], Sampling(max_new_tokens=MOST))[0][0]
    answer = ask(model, COMPLETION_ROUTE)
    assert text_of(answer) == whole_characters(expected.text)
    assert answer["usage"]["completion_tokens"] == len(expected.ids)
    assert answer["choices"][0]["finish_reason"] == ("stop" if expected.ids[-1] in model.stop_ids else "length")
    by_ids = ask(model, COMPLETION_ROUTE, prompt=list(expected.context))
    assert text_of(by_ids) == text_of(answer)


@pytest.mark.parametrize(("family", "route"), [("llama", CHAT_ROUTE), ("t5", CHAT_ROUTE), ("gpt2", COMPLETION_ROUTE)])
def test_a_stream_is_the_same_answer(tiny_model: Opened, family: str, route: str) -> None:
    drawn = {"temperature": 1.2, "seed": 4, "max_tokens": 40}
    whole, events = ask(tiny_model(family), route, **drawn), stream(tiny_model(family), route, **drawn)
    assert said(events) == text_of(whole)
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == whole["usage"]
    assert events[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert len(events) > 15
    assert (events[0]["choices"][0].get("delta", {}).get("role") == "assistant") is (route == CHAT_ROUTE)
    assert len({event["id"] for event in events}) == 1
    # who leaves in the middle is counted by what was written until then, which is not the number of pieces
    so_far = [event["timings"]["predicted_n"] for event in events[:-1] if "timings" in event]
    assert so_far == sorted(so_far)
    assert so_far[-1] == whole["usage"]["completion_tokens"]
    assert {event["timings"]["prompt_n"] for event in events if "timings" in event} == {whole["usage"]["prompt_tokens"]}


def test_a_stop_string_ends_the_answer_before_it(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    drawn = {"temperature": 1.0, "seed": 8, "max_tokens": 60}
    text = text_of(ask(model, **drawn))
    stop = text[20:26]  # six characters: more than any one token that starts there
    answer, events = ask(model, stop=["never", stop], **drawn), stream(model, stop=["never", stop], **drawn)
    assert text_of(answer) == said(events) == text[: text.index(stop)]
    assert text_of(ask(model, stop=stop, **drawn)) == text_of(answer)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert 0 < answer["usage"]["completion_tokens"] < 60
    assert answer["usage"] == events[-1]["usage"]


def test_tokens_of_a_stop_string_are_not_listed(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    text = text_of(ask(model, max_tokens=40))
    stop = text[10:14]
    answer = ask(model, max_tokens=40, stop=[stop], logprobs=True)
    listed = "".join(token["token"] for token in answer["choices"][0]["logprobs"]["content"])
    assert text_of(answer).startswith(listed)
    assert answer["usage"]["completion_tokens"] > len(answer["choices"][0]["logprobs"]["content"])


def test_log_probabilities_of_a_conversation(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    answer = ask(model, logprobs=True, top_logprobs=2)
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == answer["usage"]["completion_tokens"] == MOST
    for token in content:
        assert len(token["top_logprobs"]) == 2
        assert token["top_logprobs"][0]["logprob"] == token["logprob"] <= 0  # greedy: the first is the one taken
        assert token["bytes"] is None or bytes(token["bytes"]).decode() == token["token"]
    streamed = [c["logprobs"] for event in stream(model, logprobs=True) for c in event["choices"] if c["logprobs"]]
    assert [token["token"] for part in streamed for token in part["content"]] == [token["token"] for token in content]
    assert streamed[0]["content"][0]["top_logprobs"] == []
    assert ask(model, logprobs=False)["choices"][0]["logprobs"] is None


def test_log_probabilities_of_a_raw_prompt(tiny_model: Opened) -> None:
    answer = ask(tiny_model("gpt2"), COMPLETION_ROUTE, logprobs=3, max_tokens=30, temperature=1.0, seed=1)
    given, text = answer["choices"][0]["logprobs"], text_of(answer)
    lengths = {len(given[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}
    assert lengths == {answer["usage"]["completion_tokens"]}
    for before, token, start in zip(["", *given["tokens"]], given["tokens"], given["text_offset"], strict=False):
        if HALF not in before + token:
            assert text[start : start + len(token)] == token
    assert all(1 <= len(others) <= 3 for others in given["top_logprobs"])
    streamed = [
        choice["logprobs"]
        for event in stream(tiny_model("gpt2"), COMPLETION_ROUTE, logprobs=3, max_tokens=30, temperature=1.0, seed=1)
        for choice in event["choices"]
        if choice["logprobs"]
    ]
    assert [start for part in streamed for start in part["text_offset"]] == given["text_offset"]
    assert ask(tiny_model("gpt2"), COMPLETION_ROUTE)["choices"][0]["logprobs"] is None


def test_an_answer_goes_on_to_the_end_of_the_context(tiny_model: Opened) -> None:
    model = tiny_model("gpt2")
    answer = ask(model, COMPLETION_ROUTE, prompt=[9] * (model.context - 5), max_tokens=None)
    assert answer["usage"]["completion_tokens"] <= 5
    assert refused(lambda: ask(model, COMPLETION_ROUTE, prompt=[9] * model.context)).facts == {
        "prompt_tokens": model.context,
        "context": model.context,
    }


def test_masks_are_filled(tiny_model: Opened) -> None:
    model = tiny_model("bert")
    answer = ask(model, COMPLETION_ROUTE, prompt="The [MASK] stops the [MASK]", logprobs=2)
    given, text = answer["choices"][0]["logprobs"], text_of(answer)
    assert text == " ".join(given["tokens"])
    for token, start in zip(given["tokens"], given["text_offset"], strict=True):
        assert text[start : start + len(token)] == token
    assert all(token in others for token, others in zip(given["tokens"], given["top_logprobs"], strict=True))
    assert answer["usage"]["completion_tokens"] == 2
    assert answer["choices"][0]["finish_reason"] == "stop"
    events = stream(model, COMPLETION_ROUTE, prompt="The [MASK] stops the [MASK]")
    assert said(events) == text
    assert events[-1]["usage"] == answer["usage"]
    one = ask(model, COMPLETION_ROUTE, prompt="The [MASK] stops the [MASK]", max_tokens=1)
    assert (text_of(one), one["choices"][0]["finish_reason"]) == (given["tokens"][0], "length")


@pytest.mark.parametrize(
    ("route", "body", "code"),
    [
        (COMPLETION_ROUTE, {"prompt": "nothing is missing"}, "no_mask"),
        (COMPLETION_ROUTE, {"prompt": "a [MASK]", "stop": ["x"]}, "unsupported"),
        (COMPLETION_ROUTE, {"prompt": "a [MASK]", "temperature": 1.0}, "unsupported"),
        (COMPLETION_ROUTE, {"prompt": "a [MASK] " * 200}, "context_length_exceeded"),
        (CHAT_ROUTE, {}, "unsupported"),
    ],
)
def test_what_an_encoder_cannot_do(tiny_model: Opened, route: str, body: dict[str, Any], code: str) -> None:
    assert refused(lambda: ask(tiny_model("bert"), route, **body)).code == code


@pytest.mark.parametrize(
    ("route", "body", "code", "status"),
    [
        (CHAT_ROUTE, {"response_format": {"type": "json_object"}}, "unsupported", 400),
        (CHAT_ROUTE, {"frequency_penalty": 1.0}, "unsupported", 400),
        (CHAT_ROUTE, {"messages": [{"role": "user", "content": "a<|im_end|>b"}]}, "template_refused", 400),
        (CHAT_ROUTE, {"messages": [{"role": "tool", "content": "secret"}]}, "invalid_value", 400),
        (CHAT_ROUTE, {"max_tokens": 1000}, "context_length_exceeded", 400),
        (CHAT_ROUTE, {"adapter": "tone"}, "adapter_not_found", 404),
        (COMPLETION_ROUTE, {"prompt": [5, 400]}, "invalid_value", 400),
        (COMPLETION_ROUTE, {"prompt": [-1]}, "invalid_value", 400),
        (COMPLETION_ROUTE, {"prompt": ""}, "invalid_value", 400),
    ],
)
def test_refusals(tiny_model: Opened, route: str, body: dict[str, Any], code: str, status: int) -> None:
    error = refused(lambda: ask(tiny_model("llama"), route, **body))
    assert (error.code, error.status) == (code, status)
    assert "secret" not in error.message
    assert refused(lambda: stream(tiny_model("llama"), route, **body)).code == code


def test_a_plain_text_format_is_what_happens_anyway(tiny_model: Opened) -> None:
    assert text_of(ask(tiny_model("llama"), response_format={"type": "text"}, n=None)) == text_of(
        ask(tiny_model("llama"))
    )


def test_counting_is_what_the_answer_reads(tiny_model: Opened) -> None:
    async def run() -> list[int]:
        async with engine_of(tiny_model("mistral")) as engine:
            counted = await asyncio.gather(*(engine.count_chat(TURNS) for _ in range(20)), engine.count_text(TEXT))
            return [*counted[-2:], len(engine.control_tokens[0]) - len(engine.control_tokens[-1])]

    chat, text, longest_first = asyncio.run(run())
    assert chat == ask(tiny_model("mistral"))["usage"]["prompt_tokens"]
    assert text == ask(tiny_model("mistral"), COMPLETION_ROUTE)["usage"]["prompt_tokens"]
    assert longest_first > 0


@pytest.mark.parametrize(
    ("family", "gives", "template"),
    [
        ("gpt2", {"chat", "completion", "embedding"}, True),
        ("t5", {"chat", "completion", "embedding"}, True),
        ("bert", {"fill-mask", "embedding"}, False),
    ],
)
def test_what_each_kind_gives(tiny_model: Opened, family: str, gives: set[str], template: bool) -> None:
    async def run() -> tuple[set[str], bool, int]:
        async with engine_of(tiny_model(family)) as engine:
            return set(engine.gives), engine.has_template, (await engine.embed([TEXT, [7, 8]])).tokens

    tokens = len(tiny_model(family).tokenizer(TEXT)["input_ids"]) + 2
    assert asyncio.run(run()) == (gives, template, tokens)


def test_vectors_have_length_one_and_bad_texts_are_refused(tiny_model: Opened) -> None:
    async def embed(texts: Any) -> Any:
        async with engine_of(tiny_model("bert")) as engine:
            return (await engine.embed(texts)).vectors

    found = asyncio.run(embed(["a", "the river"]))
    assert (found**2).sum(1) == pytest.approx([1, 1])
    assert refused(embed([[]])).code == "invalid_value"
    assert refused(embed(["word " * 300])).code == "context_length_exceeded"


@pytest.fixture(scope="module")
def with_adapters(
    tiny_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Path]]:
    base, folder = tiny_path("llama"), tmp_path_factory.mktemp("adapters")
    names = {"tone-1.0": 1, "terms": 2}
    return base, {name: random_adapter(base, folder / name, seed) for name, seed in names.items()}


def test_each_request_has_its_own_adapter(with_adapters: tuple[Path, dict[str, Path]]) -> None:
    base, adapters = with_adapters
    expected = {None: generate(open_model(base), [MESSAGES], max_new_tokens=MOST)[0]}
    for name, folder in adapters.items():
        expected[name] = generate(open_model(base, adapter=folder), [MESSAGES], max_new_tokens=MOST)[0]
    expected = {name: whole_characters(text) for name, text in expected.items()}
    assert len(set(expected.values())) == 3
    order = [None, "terms", "tone-1.0", "terms", None, "tone-1.0", None, "terms"]

    async def run() -> list[str]:
        engine = open_transformers(base, adapters=adapters, threads=1)
        bodies = [filled_body(CHAT_ROUTE, {"adapter": name} if name else {}) for name in order]
        try:
            return [
                text_of(one) for one in await asyncio.gather(*(whole(engine.events(CHAT_ROUTE, b)) for b in bodies))
            ]
        finally:
            await engine.close()

    assert asyncio.run(run()) == [expected[name] for name in order]


def test_vectors_are_the_bases(with_adapters: tuple[Path, dict[str, Path]]) -> None:
    base, adapters = with_adapters

    async def vectors(adapters: dict[str, Path]) -> Any:
        engine = open_transformers(base, adapters=adapters, threads=1)
        for name in adapters:
            await whole(engine.events(CHAT_ROUTE, filled_body(CHAT_ROUTE, {"adapter": name})))
        found = (await engine.embed([TEXT])).vectors
        await engine.close()
        return found

    assert asyncio.run(vectors(adapters)) == pytest.approx(asyncio.run(vectors({})), abs=1e-6)


def test_an_adapter_of_another_model_is_refused(with_adapters: tuple[Path, dict[str, Path]], tiny_path: Any) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        open_transformers(tiny_path("mistral"), adapters={"wide": wide(with_adapters)}, threads=1)


def wide(with_adapters: tuple[Path, dict[str, Path]]) -> Path:
    """An adapter of a model twice as wide."""
    from tiny import tiny_folder

    folder = with_adapters[1]["terms"].parent
    return random_adapter(tiny_folder("llama", folder, hidden_size=64), folder / "wide")


def test_no_threads_at_all_are_refused(tiny_path: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="at least one thread"):
        open_transformers(tiny_path("llama"), adapters={}, threads=0)


class Slow:
    """Makes each pass of a network wait for a permit, so that a test decides how far an answer gets."""

    def __init__(self, network: Any) -> None:
        self.passes, self._permits = 0, threading.Semaphore(0)
        self._hook = network.register_forward_pre_hook(self._wait)

    def _wait(self, *_: Any) -> None:
        self._permits.acquire()
        self.passes += 1

    def allow(self, passes: int) -> None:
        self._permits.release(passes)

    def remove(self) -> None:
        self._hook.remove()


@pytest.fixture
def slow(tiny_path: Callable[[str], Path]) -> Iterator[Any]:
    model = open_model(tiny_path("llama"))
    gate = Slow(model.network)
    yield model, gate
    gate.allow(10_000)  # whatever a failed test left waiting


def test_closing_the_iterator_stops_the_work_within_a_token(slow: Any) -> None:
    model, gate = slow

    async def run() -> int:
        async with engine_of(model) as engine:
            events = engine.events(CHAT_ROUTE, filled_body(CHAT_ROUTE, {"max_tokens": 100}))
            gate.allow(8)
            await anext(events)
            await events.aclose()
            gate.allow(100)
            await engine.embed(["a"])  # waits for the worker
            return gate.passes

    assert asyncio.run(run()) <= 10  # those allowed, one more at most, and that of the vector


def test_a_cancelled_answer_stops_and_those_who_wait_follow(slow: Any) -> None:
    model, gate = slow

    async def run() -> tuple[int, str]:
        async with engine_of(model) as engine:
            first = asyncio.create_task(whole(engine.events(CHAT_ROUTE, filled_body(CHAT_ROUTE, {"max_tokens": 100}))))
            waits = asyncio.create_task(whole(engine.events(CHAT_ROUTE, filled_body(CHAT_ROUTE, {}))))
            leaves = asyncio.create_task(whole(engine.events(CHAT_ROUTE, filled_body(CHAT_ROUTE, {}))))
            gate.allow(3)
            while gate.passes < 3:
                await asyncio.sleep(0)
            first.cancel()
            leaves.cancel()
            await asyncio.gather(first, leaves, return_exceptions=True)
            gate.allow(200)
            return gate.passes, text_of(await waits)

    passes, text = asyncio.run(run())
    gate.remove()
    assert passes == 3
    assert gate.passes <= 3 + 1 + MOST
    assert text == whole_characters(generate(model, [MESSAGES], max_new_tokens=MOST)[0])


def test_closing_the_engine_ends_the_answer_and_refuses_others(slow: Any) -> None:
    model, gate = slow

    async def run() -> list[Any]:
        async with engine_of(model) as engine:
            body = filled_body(CHAT_ROUTE, {"max_tokens": 100})
            under_way = asyncio.create_task(whole(engine.events(CHAT_ROUTE, body)))
            waiting = asyncio.create_task(whole(engine.events(CHAT_ROUTE, body)))
            gate.allow(2)
            while gate.passes < 2:
                await asyncio.sleep(0)
            closing = asyncio.create_task(engine.close())
            await asyncio.sleep(0)
            gate.allow(1000)
            await closing
            late = asyncio.create_task(whole(engine.events(CHAT_ROUTE, body)))
            return await asyncio.gather(under_way, waiting, late, engine.embed(["a"]), return_exceptions=True)

    found = asyncio.run(run())
    assert [(type(error), error.status, error.code) for error in found] == [(ApiError, 503, "engine_closed")] * 4


def test_a_failure_of_the_machine_is_an_answer_in_plain_words(tiny_path: Callable[[str], Path]) -> None:
    model = open_model(tiny_path("llama"))

    def fail(*_: Any) -> None:
        raise RuntimeError("not enough memory")

    model.network.register_forward_pre_hook(fail)
    error = refused(lambda: ask(model))
    assert (error.status, error.code) == (502, "engine_error")
    assert "memory" not in error.message


def test_the_event_loop_is_free_while_the_model_works(slow: Any) -> None:
    model, gate = slow

    async def run() -> int:
        async with engine_of(model) as engine:
            answer = asyncio.create_task(whole(engine.events(CHAT_ROUTE, filled_body(CHAT_ROUTE, {}))))
            counted = await engine.count_text(TEXT)  # answered although the worker waits for its first permit
            gate.allow(100)
            await answer
            return counted

    assert asyncio.run(run()) == len(model.tokenizer(TEXT)["input_ids"])
    assert torch.is_grad_enabled()
