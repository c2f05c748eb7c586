"""A whole answer, put together from the events it is made in: engines have one way to answer, and it can be counted."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from limpide.serve.openai_types import ApiError

Event = dict[str, Any]


async def whole(
    events: AsyncGenerator[Event, None], see: Callable[[Mapping[str, Any]], None] = lambda _: None
) -> Event:
    """see: called with every event. Raises ApiError for an answer without an end, and what `events` raises."""
    seen: list[Event] = []
    async with aclosing(events) as coming:
        async for event in coming:
            see(event)
            seen.append(event)
    choices = [choice for event in seen for choice in event.get("choices", ())]
    usage = next((event["usage"] for event in reversed(seen) if event.get("usage")), None)
    if not choices or usage is None:
        raise ApiError(502, "The engine gave no answer.", code="engine_error")
    head = {name: value for name, value in seen[0].items() if name in ("id", "created", "model")}
    is_chat = "delta" in choices[0]
    said = {"message": _message(choices)} if is_chat else {"text": "".join(one.get("text") or "" for one in choices)}
    finish = next((one["finish_reason"] for one in reversed(choices) if one.get("finish_reason")), None)
    choice = {"index": 0, **said, "logprobs": _logprobs(choices), "finish_reason": finish}
    kind = "chat.completion" if is_chat else "text_completion"
    return {**head, "object": kind, "choices": [choice], "usage": usage}


def _message(choices: list[Event]) -> Event:
    message: Event = {"role": "assistant", "content": ""}
    for choice in choices:
        for name in ("content", "reasoning_content"):
            piece = choice["delta"].get(name)
            if piece:
                message[name] = message.get(name, "") + piece
    return message


def _logprobs(choices: list[Event]) -> Event | None:
    """The lists of all events, one after the other. None where no event has any."""
    joined: Event = {}
    for choice in choices:
        for name, values in (choice.get("logprobs") or {}).items():
            joined.setdefault(name, []).extend(values or ())
    return joined or None
