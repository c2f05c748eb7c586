"""Precision 'fast': what is too close in bfloat16 is told by float32, and what is not stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limpide.core.progress import Quiet
from limpide.models import fast
from limpide.models.model import open_model
from limpide.models.requests import Request, Score
from limpide.models.scoring import Options, score

Opened = Callable[[str], Any]


def test_close_comparisons_get_the_float32_scores(tiny_path: Callable[[str], Path], tiny_model: Opened) -> None:
    low, high = open_model(tiny_path("llama"), precision="bfloat16"), tiny_model("llama")
    requests = [Request(f"{c}{k}", f"The {c} is", f" {k}") for c in ("press", "valve", "pump") for k in range(4)]
    exact, rough = score(high, requests), score(low, requests)
    found = fast.score_fast(low, lambda: high, requests, Options(), Quiet())
    band = found.record["band_nats"]
    groups = fast.by_context(requests)
    assert [len(group) for group in groups] == [4, 4, 4]
    close = {k for group in groups if fast.too_close([[rough[k]] for k in group], band) for k in group}
    assert found.record["texts_recomputed"] == len(close)
    for k, (score_found, a, b) in enumerate(zip(found.scores, exact, rough, strict=True)):
        assert score_found.log_likelihood == pytest.approx((a if k in close else b).log_likelihood, abs=1e-5)
    for group in groups:  # so no verdict can flip
        best = max(group, key=lambda k: exact[k].log_likelihood)
        assert max(group, key=lambda k: found.scores[k].log_likelihood) == best


def test_comparisons_may_be_named(tiny_path: Callable[[str], Path], tiny_model: Opened) -> None:
    low, high = open_model(tiny_path("llama"), precision="bfloat16"), tiny_model("llama")
    requests = [Request("a", "The press", " is"), Request("b", "A valve", " is"), Request("c", "A pump", " is")]
    alike = [requests[0], requests[0], *requests[1:]]
    found = fast.score_fast(low, lambda: high, alike, Options(), Quiet(), compared=[[0, 1]])
    assert (found.record["comparisons"], found.record["texts_recomputed"]) == (1, 2)


def test_without_requests_nothing_is_opened(tiny_path: Callable[[str], Path]) -> None:
    def never() -> Any:
        raise AssertionError

    low = open_model(tiny_path("llama"), precision="bfloat16")
    assert fast.score_fast(low, never, [], Options(), Quiet()).scores == []


@pytest.mark.parametrize(
    ("nats", "close"),
    [((-1.0, -1.2, -9.0), True), ((-1.0, -7.0, -7.2), True), ((-1.0, -2.0), False), ((-1.0,), False)],
)
def test_any_two_may_be_too_close(nats: tuple[float, ...], close: bool) -> None:
    assert fast.too_close([[one(value)] for value in nats], 0.5) is close


def one(nats: float, tokens: int = 1) -> Score:
    return Score("", nats, tokens, False, (nats / tokens,) * tokens)


def test_sums_of_pieces_and_means_a_token_count_too() -> None:
    assert fast.too_close([[one(-1.0), one(-3.0)], [one(-2.0), one(-2.1)]], 0.5), "pieces apart, sums together"
    assert fast.too_close([[one(-2.0, 1)], [one(-4.1, 2)]], 0.5), "sums apart, means together"
    assert not fast.too_close([[one(-2.0, 1)], [one(-8.0, 2)]], 0.5)


def test_options_of_several_pieces_are_scored_again_whole(tiny_path: Callable[[str], Path], tiny_model: Opened) -> None:
    low, high = open_model(tiny_path("llama"), precision="bfloat16"), tiny_model("llama")
    requests = [Request("a", "The press", " is"), Request("b", "A valve", " was"), Request("c", "A pump", " is")]
    found = fast.score_fast(low, lambda: high, requests, Options(), Quiet(), compared=[[(0, 1), (1, 0)]])
    exact = score(high, requests)
    assert found.record["texts_recomputed"] == 2
    for k in (0, 1):
        assert found.scores[k].log_likelihood == pytest.approx(exact[k].log_likelihood, abs=1e-5)
