"""The private gateway behind the page where one asks: a `limpide serve` of its own, with the release and its base.

Questions pass it as anybody's would: checked, counted, in the request log. Its key is made for it alone, so that
nothing else on this machine can use it, and is known to this project's studio only.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from limpide.core import files
from limpide.core.errors import LimpideError, MissingError, UsageError
from limpide.serve.openai_types import CHAT_ROUTE
from limpide.serve.release import find_gguf
from limpide.studio.jobs import Job
from limpide.studio.pages.release_found import Found
from limpide.studio.pages.service_process import QUIET, Ready, argv, ready, running
from limpide.studio.project import LOCK
from limpide.studio.visit import Visit

KIND = "ask"  # of job
SECRET = "ask.json"  # in the studio's own folder, which its owner alone may read
WAIT_SECONDS, LOOK_EVERY = 300.0, 0.3
ANSWER_SECONDS = 300.0  # the longest silence between two pieces of an answer


@dataclass(frozen=True)
class Gateway:
    """A gateway that answers. release, base: the model ids to send; base is None where none is served."""

    url: str
    secret: str
    release: str
    base: str | None


@dataclass(frozen=True)
class Piece:
    """What came last: a text, or at the end, why it ended and how many tokens it took."""

    text: str = ""
    finish: str | None = None
    tokens: int | None = None


def command(found: Found, state: Path) -> list[str]:
    """The words after `limpide`.

    A release that waits for a person's approval is not served, and yet must be asked before it can be approved. So its
    file is opened as one that nobody vouches for, beside the base that its lock names, and answers this page alone.
    """
    signed = found.signed
    if signed is None or signed.key is None or found.waits:
        return ["serve", str(find_gguf(found.folder)), base_of(found.folder), "--unsigned", "--port", "0",
                "--state", str(state), QUIET]  # fmt: skip
    return argv(found.folder, signed.key, state, port=0, base=True)


def base_of(folder: Path) -> str:
    """What the release was made from, as its recipe names it. Raises MissingError."""
    try:
        ref = str(files.read_json(folder / LOCK)["base"]["ref"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(
            "This release does not say what it was made from.", received=folder, expected=LOCK
        ) from error
    if ref.startswith("-"):  # it becomes a word of a command, and would be read as an option
        raise UsageError("This is not the name of a model.", received=ref[:80], expected="an alias, a folder, hub:…")
    return ref


def start(visit: Visit, found: Found) -> Job:
    """The private gateway of a release: the one that runs, or a new one in its place."""
    words = command(found, visit.project.service)
    job = running(visit.jobs, KIND)
    if job is not None and job.argv[: len(words)] == tuple(words) and secret_of(visit, job) is not None:
        return job
    if job is not None:
        visit.jobs.stop(job, who=visit.name)
    visit.log("studio.ask.open", release=found.id)
    secret = secrets.token_hex(24)
    job = visit.jobs.start(KIND, words, who=visit.name, environment={"LIMPIDE_API_KEY": secret})
    files.write_json(visit.project.own / SECRET, {"job": job.id, "secret": secret})
    return job


def secret_of(visit: Visit, job: Job) -> str | None:
    """The key of a gateway, for a studio that was started again; None when it is another's."""
    try:
        kept = files.read_json(visit.project.own / SECRET)
        return str(kept["secret"]) if kept["job"] == job.id else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def answering(visit: Visit, job: Job) -> Gateway | None:
    """The gateway, once it is ready."""
    told, secret = ready(visit.jobs.events(job)), secret_of(visit, job)
    if told is None or secret is None or visit.jobs.state(job) != "running":
        return None
    return of(told, secret)


def of(told: Ready, secret: str) -> Gateway:
    return Gateway(told.url, secret, told.models[0], told.models[-1] if len(told.models) > 1 else None)


async def wait(visit: Visit, job: Job) -> Gateway:
    """Raises LimpideError when the gateway ends, or is not ready in `WAIT_SECONDS`."""
    for _ in range(int(WAIT_SECONDS / LOOK_EVERY)):
        found = answering(visit, job)
        if found is not None:
            return found
        if visit.jobs.state(job) != "running":
            raise of_record(visit.jobs.error(job) or {"what": visit.say("ask.ended")})
        await asyncio.sleep(LOOK_EVERY)
    raise UsageError(visit.say("ask.slow"))


def of_record(record: dict[str, Any]) -> LimpideError:
    """The error that a command told, to be shown as its own."""
    received, expected, remedy = (record.get(name) for name in ("received", "expected", "to_do"))
    return UsageError(str(record.get("what")), received=received, expected=expected, remedy=remedy and str(remedy))


async def stream(
    gateway: Gateway,
    model: str,
    question: str,
    *,
    most: int,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[Piece, None]:
    """The greedy answer to a question, as it is made. Closing the generator stops the work.

    most: tokens. Raises UsageError with the gateway's own sentence when it refuses, or breaks off.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": most,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"Authorization": f"Bearer {gateway.secret}"}
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=10.0)
    try:
        async with (
            httpx.AsyncClient(timeout=timeout, trust_env=False, transport=transport) as client,
            client.stream("POST", gateway.url + CHAT_ROUTE, json=body, headers=headers) as response,
        ):
            if response.is_error:
                raise refusal(await response.aread())
            async for line in response.aiter_lines():
                piece = piece_of(line)
                if piece is not None:
                    yield piece
    except httpx.HTTPError as error:
        raise UsageError(
            "The gateway does not answer.", received=type(error).__name__, remedy="ask again: it is started anew"
        ) from error


def piece_of(line: str) -> Piece | None:
    """One line of the stream; None for what holds nothing. Raises UsageError for an error in mid-stream."""
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return None
    event = json.loads(line.removeprefix("data:"))
    if "error" in event:
        raise refusal(line.removeprefix("data:").encode())
    choice: dict[str, Any] = next(iter(event.get("choices") or ()), {})
    text = str((choice.get("delta") or {}).get("content") or "")
    tokens = (event.get("usage") or {}).get("completion_tokens")
    if not text and choice.get("finish_reason") is None and tokens is None:
        return None
    return Piece(text, choice.get("finish_reason"), tokens)


def refusal(body: bytes) -> UsageError:
    """An error in OpenAI's form, as an error of ours."""
    try:
        fault = json.loads(body)["error"]
        return UsageError(str(fault["message"]))
    except (ValueError, KeyError, TypeError):
        return UsageError("The gateway refused the question.", received=body[:200].decode("utf-8", "replace"))
