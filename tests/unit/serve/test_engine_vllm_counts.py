from limpide.serve.engines.vllm import _counted


def test_counts_so_far_are_told_apart_from_the_last_ones() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    made = _counted({"choices": [{"index": 0}], "usage": usage})
    assert (made["usage"], made["timings"]) == (None, {"prompt_n": 3, "cache_n": 0, "predicted_n": 2})
    last = {"choices": [], "usage": usage}
    assert _counted(last) == last
