"""What an entry of the request log says, in words: whom it asked, how much, how it ended, why it was refused."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from limpide.studio.visit import Visit

LONGEST = 60  # characters of one fact of an entry
# Codes of refusals and errors told in the same words. Any other begins as one of FORM, or has words of its own.
ALIKE = {
    **dict.fromkeys(("rate_limit_exceeded", "too_many_connections", "engine_busy"), "too_many"),
    **dict.fromkeys(("body_too_large", "context_length_exceeded"), "too_long"),
    "headers_too_large": "form",
    **dict.fromkeys(("model_not_found", "adapter_not_found"), "model_not_found"),
    **dict.fromkeys(("internal_error", "error"), "internal_error"),
}
FORM = ("invalid_", "missing_", "unknown_", "unsupported", "wrong_content_type", "control_token", "no_", "template_")
NAMES = ("model", "release", "name", "file", "setting", "why", "said")  # facts that are told as they are written


def told(visit: Visit, facts: Mapping[str, Any]) -> str:
    """The facts that a person asks for. What is not told here stands among the raw facts."""
    return visit.words.list(_told(visit, facts))


def raw(visit: Visit, facts: Mapping[str, Any]) -> str:
    """All facts, named as the log names them."""
    return visit.words.list(f"{name} {clipped(plain(value))}" for name, value in facts.items())


def _told(visit: Visit, facts: Mapping[str, Any]) -> Iterator[str]:
    for name in NAMES:
        if name in facts and not (name == "release" and "model" in facts):
            yield visit.say(f"service.said.{name}", value=clipped(plain(facts[name])))
    page = f"frame.nav.{facts.get('page')}"
    if visit.words.has(page):
        yield visit.say(page)
    if isinstance(facts.get("n_in"), int):
        yield visit.say("service.said.asked", facts["n_in"])
    if isinstance(facts.get("n_out"), int):
        exact = facts.get("n_out_exact", True)
        yield visit.say("service.said.answered" if exact else "service.said.answered.at_most", facts["n_out"])
    if "finish" in facts:
        yield finish(visit, str(facts["finish"]))
    if "code" in facts:
        yield reason(visit, str(facts["code"]))
    seconds = facts.get("seconds", facts.get("milliseconds", 0) / 1000 if "milliseconds" in facts else None)
    if seconds is not None:
        yield visit.say("service.said.took", time=visit.words.duration(seconds))


def finish(visit: Visit, how: str) -> str:
    """How an answer ended; the engine's own word where there is none for it."""
    key = f"service.finish.{how}"
    return visit.say(key) if visit.words.has(key) else clipped(how)


def reason(visit: Visit, code: str) -> str:
    """Why a request was refused, or no whole answer given; the code itself where there is no word for it."""
    key = f"service.code.{ALIKE.get(code, code)}"
    if visit.words.has(key):
        return visit.say(key)
    kind = "engine" if code.startswith("engine_") else "form" if code.startswith(FORM) else None
    return visit.say(f"service.code.{kind}") if kind else clipped(code)


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
