from limpide.serve.answers import answer
from limpide.serve.shelf import Offered
from serving_engine import WordEngine

OFFERED = Offered("served", WordEngine(), None, "served-1.0.0", None, "gguf-1", False)


def test_the_engines_own_fields_stay_inside() -> None:
    raw = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "/home/someone/model.gguf",
        "timings": {"prompt_ms": 1},
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}],
    }
    made = answer(raw, OFFERED)
    assert made["model"] == "served"
    assert made["system_fingerprint"] == "gguf-1"
    assert made["choices"][0]["delta"]["content"] == ""
    assert made["limpide"] == {"release": "served-1.0.0", "ai_generated": True}
    assert not {"timings", "usage"} & set(made)


def test_log_probabilities_of_a_chat_are_passed_on() -> None:
    told = {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": []}]}
    made = answer({"choices": [{"index": 0, "message": {"content": "a"}, "logprobs": told}]}, OFFERED)
    assert made["choices"][0]["logprobs"] == told
