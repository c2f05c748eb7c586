"""The processes of `limpide serve` that the studio starts: their command, where they answer, and lines to try them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.studio.jobs import Job, Jobs

SERVE = "serve"  # the kind of job
QUIET = "--no-request-lines"  # the job keeps what the command says, and requests have a log of their own
READY = re.compile(r"^(?P<models>.+?) answers? at (?P<url>https?://\S+)/v1 ")


@dataclass(frozen=True)
class Ready:
    """url: without `/v1`. models: the names a client sends, the first one answers where none is named."""

    url: str
    models: tuple[str, ...]


def argv(
    folder: Path, key: Path, state: Path, *, port: int, base: bool = False, approvers: Sequence[Path] = ()
) -> list[str]:
    """The command that serves a signed release on this machine. approvers: public keys of people who approve."""
    words = ["serve", str(folder), "--key", str(key), "--port", str(port), "--state", str(state), QUIET]
    words += [word for path in approvers for word in ("--approver-key", str(path))]
    return [*words, "--base"] if base else words


def ready(events: Iterable[Mapping[str, Any]]) -> Ready | None:
    """Where a service answers, once it has said so."""
    for event in events:
        found = READY.match(str(event.get("text", ""))) if event.get("event") == "message" else None
        if found is not None:
            return Ready(found["url"], tuple(found["models"].split(", ")))
    return None


def running(jobs: Jobs, kind: str = SERVE) -> Job | None:
    """The service that runs, or is starting."""
    return next((job for job in jobs.all(kind) if jobs.state(job) == "running"), None)


def curl(one: Ready, question: str, *, key: bool) -> str:
    """A line to paste in a terminal."""
    body = json.dumps({"model": one.models[0], "messages": [{"role": "user", "content": question}]}, ensure_ascii=False)
    quoted = body.replace("'", r"\u0027")  # it stands between apostrophes
    secret = ' -H "Authorization: Bearer $LIMPIDE_API_KEY"' if key else ""
    return f"curl {one.url}/v1/chat/completions -H 'Content-Type: application/json'{secret} -d '{quoted}'"


def python(one: Ready, question: str, *, key: bool) -> str:
    """The same with the `openai` package."""
    secret = 'os.environ["LIMPIDE_API_KEY"]' if key else '"none"'
    lines = [
        *(["import os", ""] if key else []),
        "from openai import OpenAI",
        "",
        f'client = OpenAI(base_url="{one.url}/v1", api_key={secret})',
        "answer = client.chat.completions.create(",
        f"    model={json.dumps(one.models[0])},",
        f'    messages=[{{"role": "user", "content": {json.dumps(question, ensure_ascii=False)}}}],',
        ")",
        "print(answer.choices[0].message.content)",
    ]
    return "\n".join(lines)
