import json
from typing import Any

import pytest

from limpide.serve.openai_types import ApiError, ChatRequest, CompletionRequest, parse, too_long

HELLO = [{"role": "user", "content": "hello"}]

WIDE = {f"p{k}": {} for k in range(501)}  # llama.cpp works on such a form for seconds, and nothing stops it


def chat(**fields: Any) -> ChatRequest:
    return parse(json.dumps({"messages": HELLO, **fields}).encode(), ChatRequest)


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    assert caught.value.status == 400
    return caught.value


def test_defaults_are_greedy_and_without_the_engines_own_samplers() -> None:
    assert chat().sampling() == {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}


def test_what_is_asked_is_passed_on() -> None:
    asked = chat(temperature=1, top_p=0.5, seed=7, stop="END", max_completion_tokens=9, stream=True)
    assert asked.sampling() == {
        "temperature": 1.0,
        "top_p": 0.5,
        "top_k": 0,
        "min_p": 0.0,
        "seed": 7,
        "stop": ["END"],
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**63])
def test_no_seed_means_random(seed: int) -> None:
    assert 0 <= chat(seed=seed).sampling()["seed"] < 2**32 - 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", 1),
        ("top_logprobs", 3),
        ("top_logprobs", 21),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json"}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "text", "json_schema": {"name": "a", "schema": {}}}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {"x": "a" * 70_000}}}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": [1] * 501}}}),
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {"properties": WIDE}}}},
        ),
        ("logit_bias", {"50256": -100}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("reasoning_effort", "high"),
        ("modalities", ["text", "audio"]),
        ("temprature", 0.5),
        ("max_tokens", 0),
        ("max_tokens", "many"),
        ("max_tokens", True),
        ("temperature", 2.5),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("stop", [""]),
        ("stop", ["x"] * 17),
        ("seed", 1.5),
        ("messages", "hello"),
        ("messages", []),
        ("stream", "yes"),
    ],
)
def test_a_field_that_would_change_the_answer_is_refused_by_name(field: str, value: Any) -> None:
    error = refused(**{field: value})
    assert field in error.message
    assert error.param is not None
    assert error.param.startswith(field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", "someone"),
        ("metadata", {"a": "b"}),
        ("n", 1),
        ("n", None),
        ("tools", []),
        ("logprobs", False),
        ("response_format", {"type": "text"}),
        ("frequency_penalty", 0.0),
        ("parallel_tool_calls", True),
    ],
)
def test_a_field_that_changes_nothing_is_accepted(field: str, value: Any) -> None:
    assert chat(**{field: value}).sampling() == chat().sampling()


def test_log_probabilities_of_chosen_tokens_alone() -> None:
    assert parse(b'{"prompt": "a", "logprobs": 0}', CompletionRequest).sampling()["logprobs"] == 0
    assert "logprobs" not in parse(b'{"prompt": "a"}', CompletionRequest).sampling()
    with pytest.raises(ApiError, match="logprobs"):
        parse(b'{"prompt": "a", "logprobs": 6}', CompletionRequest)


def test_a_misspelt_field_suggests_the_right_one() -> None:
    assert "Did you mean 'temperature'?" in refused(temprature=1).message


def test_limits_that_contradict_each_other() -> None:
    assert "differ" in refused(max_tokens=3, max_completion_tokens=4).message
    assert chat(max_tokens=3, max_completion_tokens=3).limit == 3


@pytest.mark.parametrize(
    "message",
    [
        {"role": "robot", "content": "x"},
        {"role": "tool", "content": "x"},
        {"role": "user"},
        {"role": "user", "content": 3},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]},
        "hello",
    ],
)
def test_messages_that_the_model_cannot_read(message: Any) -> None:
    error = refused(messages=[HELLO[0], message])
    assert error.message.startswith("'messages[1]")


def test_the_error_never_quotes_a_message() -> None:
    error = refused(messages=[{"role": "secret-word", "content": ["secret-word"]}])
    assert "secret-word" not in json.dumps(error.record())


def test_messages_as_the_openai_client_sends_them_back() -> None:
    before = {"role": "assistant", "content": "x", "refusal": None, "tool_calls": None, "annotations": []}
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    asked = chat(messages=[{"role": "developer", "content": "be kind"}, before, parts])
    assert [m.record() for m in asked.messages] == [
        {"role": "system", "content": "be kind"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "ab"},
    ]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"messages":[{"role":"user","content":"\\ud800"}]}']
)
def test_a_body_that_is_no_request(body: bytes) -> None:
    with pytest.raises(ApiError, match="The body") as caught:
        parse(body, ChatRequest)
    assert caught.value.status == 400


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ApiError, match="'messages' is missing"):
        parse(b"{}", ChatRequest)


@pytest.mark.parametrize(("prompt", "single"), [("a", "a"), (["a"], "a"), ([1, 2], [1, 2])])
def test_one_prompt(prompt: Any, single: Any) -> None:
    asked = parse(json.dumps({"prompt": prompt}).encode(), CompletionRequest)
    assert asked.single == single
    assert asked.limit == 16


def test_several_prompts_are_refused() -> None:
    with pytest.raises(ApiError, match="one prompt"):
        _ = parse(b'{"prompt": ["a", "b"]}', CompletionRequest).single


def test_too_long_carries_the_numbers() -> None:
    record = too_long(600, 512, None, "messages").record()["error"]
    assert (record["prompt_tokens"], record["context"], record["code"]) == (600, 512, "context_length_exceeded")
    assert "600" in record["message"]
    assert "512" in record["message"]
    assert "at most 12" in too_long(500, 512, 20, "messages").message
