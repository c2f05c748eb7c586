"""A whole answer from its events: every piece in its place, and an answer without an end is none."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from limpide.serve.engines.whole import whole
from limpide.serve.openai_types import ApiError

USAGE = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


async def told(events: Sequence[dict[str, Any]]) -> AsyncGenerator[dict[str, Any], None]:
    for event in events:
        yield event


def chunk(finish: str | None = None, logprobs: Any = None, **said: Any) -> dict[str, Any]:
    return {"id": "1", "created": 9, "choices": [{"index": 0, **said, "logprobs": logprobs, "finish_reason": finish}]}


LAST = {"id": "1", "created": 9, "choices": [], "usage": USAGE}


def test_a_conversation_with_its_reasoning() -> None:
    seen: list[Any] = []
    pieces = [
        chunk(delta={"role": "assistant", "content": None}),
        chunk(delta={"reasoning_content": "hm"}),
        chunk(delta={"reasoning_content": "!"}),
        chunk(delta={"content": "a"}, logprobs={"content": [1]}),
        chunk(delta={"content": "b"}, logprobs={"content": [2, 3]}),
        chunk("length", delta={}),
        LAST,
    ]
    made = asyncio.run(whole(told(pieces), seen.append))
    assert seen == pieces
    assert made == {
        "id": "1",
        "created": 9,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ab", "reasoning_content": "hm!"},
                "logprobs": {"content": [1, 2, 3]},
                "finish_reason": "length",
            }
        ],
        "usage": USAGE,
    }


def test_a_raw_prompt() -> None:
    lists = [{"tokens": ["a"], "text_offset": [0]}, {"tokens": ["b"], "text_offset": [1]}]
    made = asyncio.run(
        whole(told([chunk(text="a", logprobs=lists[0]), chunk("stop", text="b", logprobs=lists[1]), LAST]))
    )
    choice = made["choices"][0]
    assert made["object"] == "text_completion"
    assert (choice["text"], choice["finish_reason"]) == ("ab", "stop")
    assert choice["logprobs"] == {"tokens": ["a", "b"], "text_offset": [0, 1]}


@pytest.mark.parametrize("events", [[], [LAST], [chunk("stop", text="a")]])
def test_an_answer_without_text_or_without_an_end_is_an_error(events: list[dict[str, Any]]) -> None:
    with pytest.raises(ApiError) as caught:
        asyncio.run(whole(told(events)))
    assert (caught.value.status, caught.value.code) == (502, "engine_error")
