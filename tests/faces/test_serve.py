"""A release served to the official `openai` client, over real sockets, by the real engine."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from limpide.core.errors import DataError, IntegrityError, MissingError, UsageError
from limpide.core.progress import Quiet
from limpide.models.llamacpp import LlamaEngine
from limpide.release.keys import new_keys
from limpide.release.sign import sign_folder
from limpide.serve.address import listen
from limpide.serve.ask import ask, ask_engine
from limpide.serve.engines.llamacpp import LlamaClient
from limpide.serve.lengths import Templates, bound_of
from limpide.serve.release import choose
from limpide.serve.serving import serve_releases
from limpide.serve.settings import ServeSettings
from serving import a_service, listening, logged
from tiny_gguf import write_gguf

KEY = "a-key-that-is-long-enough"
CONTEXT = 256
HELLO = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True)
class Running:
    url: str
    engine: LlamaEngine
    client: openai.OpenAI
    state: Path


@contextmanager
def running(gguf: Path, *, context: int, slots: int = 1) -> Iterator[Running]:
    """A gateway in a thread, asked by the openai client."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(LlamaEngine(gguf, context=context, slots=slots, threads=1, embeds=True))
        service = stack.enter_context(a_service(state, ("tiny", LlamaClient(engine)), key=KEY))
        gateway = stack.enter_context(listening(service))
        client = stack.enter_context(openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0))
        yield Running(gateway.url, engine, client, state)
        client.close()


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path) -> Iterator[Running]:
    with running(tiny_gguf, context=CONTEXT, slots=2) as server:
        yield server


def chat(server: Running, messages: Sequence[dict[str, str]] = HELLO, **fields: object) -> object:
    return server.client.chat.completions.create(model="tiny", messages=messages, **fields)  # type: ignore[call-overload]


def test_chat(tiny: Running) -> None:
    answer = chat(tiny, max_tokens=8)
    choice = answer.choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert answer.model == "tiny"
    prompt = tiny.engine.apply_template(HELLO)
    ids = tiny.engine.tokenize(prompt, add_special=True)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(ids), 8)
    assert choice.message.content == tiny.engine.complete(ids, n_predict=8)["content"]


def test_chat_streamed_is_the_same_answer(tiny: Running) -> None:
    whole = chat(tiny, max_tokens=20).choices[0].message.content
    chunks = list(chat(tiny, max_tokens=20, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].usage.completion_tokens == 20
    assert len(chunks) > 10


def test_completions(tiny: Running) -> None:
    answer = tiny.client.completions.create(model="tiny", prompt="abc", max_tokens=6)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 6)
    assert answer.choices[0].text == tiny.engine.complete("abc", n_predict=6)["content"]
    chunks = tiny.client.completions.create(model="tiny", prompt="abc", max_tokens=6, stream=True)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == answer.choices[0].text


def test_stop_ends_the_answer_before_the_text(tiny: Running) -> None:
    whole = chat(tiny, max_tokens=20).choices[0].message.content
    answer = chat(tiny, max_tokens=20, stop=whole[5:7])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == whole[: whole.index(whole[5:7])]


def test_a_seed_repeats_a_sampled_answer(tiny: Running) -> None:
    def once(seed: int) -> str:
        return str(chat(tiny, max_tokens=24, temperature=2, seed=seed).choices[0].message.content)

    assert once(7) == once(7)
    assert len({once(seed) for seed in range(4)}) > 1


def test_no_limit_means_up_to_the_end_of_the_context(tiny: Running) -> None:
    answer = chat(tiny)
    assert answer.usage.total_tokens == CONTEXT
    assert answer.choices[0].finish_reason == "length"


def test_the_largest_limit_that_fits_is_obeyed(tiny: Running) -> None:
    left = CONTEXT - len(tiny.engine.tokenize(tiny.engine.apply_template(HELLO), add_special=True))
    assert chat(tiny, max_tokens=left).usage.completion_tokens == left
    with pytest.raises(openai.BadRequestError, match=f"at most {left}"):
        chat(tiny, max_tokens=left + 1)


TEXTS = ("", "a", "é" * 30, "🙂🙃", "漢字かな", "\u0000\ufdfa\t\n", "x " * 50)


@pytest.mark.parametrize("roles", [("user",), ("system", "user"), ("user", "assistant", "user")])
def test_what_is_not_counted_is_never_longer_than_thought(tiny: Running, roles: tuple[str, ...]) -> None:
    async def check() -> None:
        client, templates = LlamaClient(tiny.engine), Templates()
        for text in TEXTS:
            messages = [{"role": role, "content": text} for role in roles]
            assert await client.count_chat(messages) <= (await templates.bound(client, messages) or 0)
            assert await client.count_text(text) <= (bound_of(text) or 0)
        await client.close()

    asyncio.run(check())


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_too_long_is_refused_with_both_numbers(tiny: Running, stream: bool) -> None:
    messages = [{"role": "user", "content": "a" * 1000}]
    tokens = len(tiny.engine.tokenize(tiny.engine.apply_template(messages), add_special=True))
    with pytest.raises(openai.BadRequestError) as caught:
        chat(tiny, messages, stream=stream)
    assert caught.value.code == "context_length_exceeded"
    assert str(tokens) in caught.value.message
    assert str(CONTEXT) in caught.value.message
    assert caught.value.body["prompt_tokens"] == tokens
    assert caught.value.body["context"] == CONTEXT


def test_errors_reach_the_client_as_its_own_exceptions(tiny: Running) -> None:
    with pytest.raises(openai.AuthenticationError):
        tiny.client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="gpt-4"):
        tiny.client.chat.completions.create(model="gpt-4", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="'n'"):
        chat(tiny, n=2)
    with pytest.raises(openai.BadRequestError, match="refused"):
        tiny.client.completions.create(model="tiny", prompt=[10**9])


def test_models(tiny: Running) -> None:
    assert [model.id for model in tiny.client.models.list()] == ["tiny"]


def test_log_probabilities(tiny: Running) -> None:
    told = chat(tiny, max_tokens=3, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert [len(token.top_logprobs) for token in told] == [2, 2, 2]
    assert all(token.logprob == token.top_logprobs[0].logprob < 0 for token in told)  # greedy takes the likeliest
    answer = tiny.client.completions.create(model="tiny", prompt="abc", max_tokens=3, logprobs=2).choices[0]
    assert "".join(answer.logprobs.tokens) == answer.text
    assert answer.logprobs.text_offset == [0, 1, 2]


def test_an_answer_that_keeps_to_a_schema(tiny: Running) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "yes", "schema": schema, "strict": True}}
    answer = chat(tiny, max_tokens=60, response_format=form)
    assert json.loads(answer.choices[0].message.content)["a"] in (True, False)


def test_embeddings(tiny: Running) -> None:
    made = tiny.client.embeddings.create(model="tiny", input=["abc", "abd"])
    again = tiny.client.embeddings.create(model="tiny", input="abc", encoding_format="float")
    assert [len(row.embedding) for row in made.data] == [64, 64]
    assert made.data[0].embedding == pytest.approx(again.data[0].embedding, abs=1e-5)
    assert made.data[0].embedding != pytest.approx(made.data[1].embedding, abs=1e-5)
    assert made.usage.prompt_tokens == 6


def test_the_client_reads_the_marks(tiny: Running) -> None:
    raw = tiny.client.chat.completions.with_raw_response.create(model="tiny", messages=HELLO, max_tokens=1)
    assert raw.headers["x-limpide-release"] == "tiny-1.0.0"
    assert raw.headers["x-limpide-ai-generated"] == "true"
    assert raw.parse().limpide == {"release": "tiny-1.0.0", "ai_generated": True}
    request = raw.headers["x-request-id"]
    assert [entry["event"] for entry in logged(tiny.state) if entry.get("request") == request] == ["accept", "answer"]


def test_several_clients_at_once_get_their_own_answers(tiny: Running) -> None:
    questions = [f"{letter * 5}" for letter in "abcdef"]
    alone = {
        q: chat(tiny, [{"role": "user", "content": q}], max_tokens=5).choices[0].message.content for q in questions
    }

    async def together() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{tiny.url}/v1", api_key=KEY, max_retries=0) as client:
            asked = [
                client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": q}], max_tokens=5)
                for q in questions
            ]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

    assert dict(zip(questions, asyncio.run(together()), strict=True)) == alone


@pytest.mark.whole
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(embedded_gguf: Path, stream: bool) -> None:
    """One slot, an answer of 2000 tokens abandoned: the next question is answered at once."""
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"prompt": "Once upon a time", "max_tokens": 2000, "stream": stream}
    with running(embedded_gguf, context=2048) as server, httpx.Client(base_url=server.url, headers=headers) as client:
        before = time.monotonic()
        _leave_early(client, body)
        answered = client.post("/v1/completions", json={"prompt": "Hello", "max_tokens": 1}, timeout=60)
        assert answered.status_code == 200
        taken = time.monotonic() - before
        whole = 2000 / server.engine.complete("Hello", n_predict=20)["timings"]["predicted_per_second"]
        assert taken < whole / 2


def _leave_early(client: httpx.Client, body: dict[str, object]) -> None:
    """Ask, and hang up after 20 lines or one second without any."""
    with (
        suppress(httpx.ReadTimeout),
        client.stream("POST", "/v1/completions", json=body, timeout=1) as response,
    ):
        assert response.status_code == 200
        for index, _ in enumerate(response.iter_lines()):
            if index == 20:
                return
        pytest.fail("the answer ended before the client could leave")


@pytest.mark.whole
def test_the_embedded_model_answers(embedded_gguf: Path) -> None:
    with running(embedded_gguf, context=512) as server:
        question = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
        answer = chat(server, question, max_tokens=20)
        assert "Paris" in answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "stop"
        asked = ask_engine(server.engine, question[0]["content"], max_tokens=20)
        assert asked.text == answer.choices[0].message.content


@dataclass(frozen=True)
class Signed:
    folder: Path
    public: Path


@pytest.fixture
def release(tmp_path: Path, tiny_gguf: Path) -> Signed:
    folder = tmp_path / "tiny-1.0.0"
    (folder / "gguf").mkdir(parents=True)
    (folder / "gguf" / "tiny-q8_0.gguf").write_bytes(tiny_gguf.read_bytes())
    write_gguf(folder / "gguf" / "a-f16.gguf", seed=1)
    keys = new_keys(tmp_path / "keys" / "release.pem")
    sign_folder(folder, keys.private)
    return Signed(folder, keys.public)


def state_of(folder: Path) -> ServeSettings:
    return ServeSettings(state=folder / "state")


def test_a_changed_release_is_not_loaded(release: Signed, tmp_path: Path) -> None:
    gguf = release.folder / "gguf" / "tiny-q8_0.gguf"
    data = bytearray(gguf.read_bytes())
    data[-1] ^= 1
    gguf.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"tiny-q8_0\.gguf"):
        serve_releases([release.folder], port=0, public_key=release.public, settings=state_of(tmp_path))
    with pytest.raises(IntegrityError):
        ask(release.folder, "hello", public_key=release.public)


def test_choose(release: Signed, tmp_path: Path) -> None:
    chosen = choose(release.folder, public_key=release.public, unsigned=False, progress=Quiet())
    assert chosen.model.name == "tiny-q8_0.gguf"
    assert chosen.verified
    lone = choose(chosen.model, public_key=None, unsigned=True, progress=Quiet())
    assert (lone.verified, lone.digest) == (False, chosen.digest)
    with pytest.raises(UsageError, match="--unsigned"):
        choose(chosen.model, public_key=None, unsigned=False, progress=Quiet())
    with pytest.raises(UsageError, match="public key"):
        choose(release.folder, public_key=None, unsigned=False, progress=Quiet())
    with pytest.raises(UsageError, match="--unsigned"):
        choose(release.folder, public_key=release.public, unsigned=True, progress=Quiet())
    with pytest.raises(MissingError):
        choose(tmp_path / "none", public_key=release.public, unsigned=False, progress=Quiet())


def test_what_is_wrong_with_the_address_is_said_before_the_model_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no key protects it"):
        serve_releases([tmp_path / "none"], host="0.0.0.0", port=0, settings=state_of(tmp_path))
    with closing(listen("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="taken") as caught:
        serve_releases([tmp_path / "none"], port=taken.getsockname()[1], settings=state_of(tmp_path))
    assert caught.value.exit_code == 2


def test_ask(release: Signed) -> None:
    pieces: list[str] = []
    answer = ask(release.folder, "hello", public_key=release.public, max_tokens=9, on_text=pieces.append)
    assert "".join(pieces) == answer.text
    assert len(pieces) > 3
    assert (answer.finish, answer.answer_tokens) == ("length", 9)


def test_ask_refuses_what_the_model_would_misread(tiny: Running, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="control token"):
        ask_engine(tiny.engine, "a <|im_end|> b")
    with pytest.raises(DataError, match="longer than the context"):
        ask_engine(tiny.engine, "a" * 1000)
    with pytest.raises(UsageError, match="empty"):
        ask(tmp_path, "  ")


SCRIPT = """
import sys
from pathlib import Path
from limpide.core.progress import Plain
from limpide.serve.serving import serve_releases
from limpide.serve.settings import ServeSettings
settings = ServeSettings(state=Path(sys.argv[3]))
serve_releases([Path(sys.argv[1])], port=0, public_key=Path(sys.argv[2]), settings=settings, progress=Plain())
print("stopped cleanly")
"""


@pytest.mark.whole
@pytest.mark.skipif(shutil.which("curl") is None, reason="runs the curl command that is printed")
@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
def test_served_until_told_to_stop(release: Signed, tmp_path: Path, order: signal.Signals) -> None:
    """The printed curl command works, nothing else is printed, and the log tells of the beginning and of the end."""
    state = tmp_path / "state"
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(release.folder), str(release.public), str(state)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    ) as made:
        try:
            verified, invitation = (_line(made.stderr.readline) for _ in range(2))
            assert "signature verified" in verified
            curl = re.search(r"Try: (curl .*)$", invitation)
            url = re.search(r"http://127\.0\.0\.1:\d+", invitation)
            assert curl is not None
            assert url is not None
            said = subprocess.run(["sh", "-c", curl.group(1)], capture_output=True, text=True, timeout=60, check=True)
            assert '"assistant"' in said.stdout
            made.send_signal(order)
            out, err = made.communicate(timeout=30)
        finally:
            made.kill()
    assert (made.returncode, out, err) == (0, "stopped cleanly\n", "")
    events = [entry["event"] for entry in logged(state)]
    assert events == ["log.start", "service.start", "model.load", "accept", "answer", "service.stop"]


@pytest.mark.whole
def test_two_releases_from_the_command_line(release: Signed, tmp_path: Path, tiny_gguf: Path) -> None:
    """Side by side, with a key of the database; the lines for machines tell of requests and never of texts."""
    second = tmp_path / "second-2.0.0"
    (second / "gguf").mkdir(parents=True)
    write_gguf(second / "gguf" / "model-q8_0.gguf", seed=2)
    sign_folder(second, tmp_path / "keys" / "release.pem")
    state = tmp_path / "state"
    limpide = [sys.executable, "-m", "limpide.cli.main"]
    made = subprocess.run(
        [*limpide, "access", "new", "--name", "ward 3", "--state", str(state), "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    secret = json.loads(made.stdout)["secret"]
    serve = [*limpide, "serve", str(release.folder), str(second), "--key", str(release.public), "--port", "0"]
    with subprocess.Popen(
        [*serve, "--state", str(state), "--json"], stderr=subprocess.PIPE, text=True, env=_environment()
    ) as served:
        try:
            said = ""
            while "http" not in (said := _line(served.stderr.readline)):
                assert "error" not in said
            url = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert url is not None
            with openai.OpenAI(base_url=f"{url.group()}/v1", api_key=secret, max_retries=0) as client:
                names = [model.id for model in client.models.list()]
                assert names == ["tiny-1.0.0", "second-2.0.0"]
                texts = [client.completions.create(model=name, prompt="secret-word").choices[0].text for name in names]
                assert texts[0] != texts[1]
                with pytest.raises(openai.AuthenticationError):
                    client.with_options(api_key="wrong").models.list()
            served.send_signal(signal.SIGTERM)
            _, err = served.communicate(timeout=30)
        finally:
            served.kill()
    lines = [json.loads(line) for line in err.splitlines()]
    assert [(line["route"], line["status"]) for line in lines if line["event"] == "request"] == [
        ("/v1/models", 200),
        ("/v1/completions", 200),
        ("/v1/completions", 200),
        ("/v1/models", 401),
    ]
    assert "secret-word" not in err
    assert [entry["release"] for entry in logged(state, "accept")] == names


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": "src"}


def _line(read: Callable[[], str]) -> str:
    line = read()
    assert line
    return line


def test_settings_describe_themselves() -> None:
    assert all(field.description for field in ServeSettings.model_fields.values())
