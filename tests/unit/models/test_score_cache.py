"""Kept results: used again for the same model and request, never for another, and a killed run goes on."""

import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import LimpideError
from limpide.core.progress import Quiet
from limpide.data.examples import Message
from limpide.models import generation, scorers, scoring
from limpide.models.model import open_model
from limpide.models.requests import Asked, Request, Sampling
from limpide.models.respondents import Opened as Respondent
from limpide.models.score_cache import NAME, ScoreCache
from limpide.models.scoring import Options, score_with
from tiny import tiny_folder

Opened = Callable[[str], Any]
REQUESTS = [Request(f"{k}", f"The press number {k}", f" stops at {k}") for k in range(40)]


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("computed again")


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_a_second_run_computes_nothing_and_says_the_same(
    tiny_model: Opened, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(name)
    first = score_with(model, REQUESTS, Options(cache=ScoreCache(model, tmp_path)))
    monkeypatch.setattr(scorers, "log_likelihoods", never)
    second = score_with(model, REQUESTS, Options(cache=ScoreCache(model, tmp_path)))
    assert second.scores == first.scores
    assert (first.record["texts_remembered"], second.record["texts_remembered"]) == (0, len(REQUESTS))


def test_a_killed_run_goes_on_where_it_stopped(
    tiny_model: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    whole = score_with(model, REQUESTS, Options(budget=32)).scores
    compute, calls = scorers.log_likelihoods, 0

    def killed(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return compute(*args)

    with monkeypatch.context() as patch:
        patch.setattr(scorers, "log_likelihoods", killed)
        with pytest.raises(KeyboardInterrupt):
            score_with(model, REQUESTS, Options(budget=32, cache=ScoreCache(model, tmp_path)))
    resumed = score_with(model, REQUESTS, Options(budget=32, cache=ScoreCache(model, tmp_path)))
    assert 0 < resumed.record["texts_remembered"] < len(REQUESTS)
    for one, other in zip(resumed.scores, whole, strict=True):
        assert one.token_log_likelihoods == pytest.approx(other.token_log_likelihoods, abs=1e-5)


def test_other_weights_or_precision_or_text_share_nothing(tiny_model: Opened, tmp_path: Path) -> None:
    model = tiny_model("llama")
    score_with(model, REQUESTS, Options(cache=ScoreCache(model, tmp_path)))
    for other in (replace(model, digest="other"), replace(model, precision="bfloat16")):
        again = score_with(other, REQUESTS[:2], Options(cache=ScoreCache(other, tmp_path)))
        assert again.record["texts_remembered"] == 0
    cache = ScoreCache(model, tmp_path)
    parts = (((1, 2), (3,)), ((1,), (2, 3)), ((1, 2, 3),), ((1, 2), (4,)))
    assert len({cache.key(kind, *given) for given in parts for kind in ("score", "answer")}) == 8


def test_answers_are_kept_too_greedy_and_drawn(
    tiny_model: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    asked = [Asked(str(k), (Message(role="user", content=f"Why {k}?"),)) for k in range(5)]
    drawn = Sampling(count=3, temperature=1.0, max_new_tokens=6, seed=4)

    def both() -> Any:
        respondent = Respondent(model, ScoreCache(model, tmp_path))
        return respondent.answer(asked, 6, Quiet()), respondent.sample(asked, drawn, Quiet())

    first = both()
    monkeypatch.setattr(generation, "_batch", never)
    assert both() == first
    other = replace(drawn, seed=5)
    with pytest.raises(AssertionError, match="computed again"):
        Respondent(model, ScoreCache(model, tmp_path)).sample(asked, other, Quiet())


def test_equal_seeds_draw_equal_answers_and_their_likelihoods(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    prompts = [[Message(role="user", content=text)] for text in ("Why?", "When does the pump stop?")]
    sampling = Sampling(count=4, temperature=1.0, max_new_tokens=5, seed=1)
    first, again = generation.sample(model, prompts, sampling), generation.sample(model, prompts, sampling)
    assert first == again
    assert [len(answers) for answers in first] == [4, 4]
    assert len({answer.text for answer in first[0]}) > 1
    assert generation.sample(model, prompts, replace(sampling, seed=2)) != first
    assert all(
        answer.log_likelihood is not None and answer.log_likelihood < 0 for answers in first for answer in answers
    )


def test_only_the_owner_reads_the_file(tiny_model: Opened, tmp_path: Path) -> None:
    model = tiny_model("llama")
    score_with(model, REQUESTS[:1], Options(cache=ScoreCache(model, tmp_path)))
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    rows = sqlite3.connect(tmp_path / NAME).execute("SELECT key, value FROM kept").fetchall()
    assert rows
    assert not any(b"press" in bytes(part) for row in rows for part in row), "texts are not kept"


def test_a_file_that_cannot_be_used_costs_the_memory_and_is_told(tiny_model: Opened, tmp_path: Path) -> None:
    class Telling(Quiet):
        said: tuple[str, ...] = ()

        def say(self, text: str) -> None:
            self.said += (text,)

    (tmp_path / NAME).write_text("this is no database, and long enough to be read as one" * 100)
    model, progress = tiny_model("llama"), Telling()
    found = score_with(model, REQUESTS[:3], Options(cache=ScoreCache(model, tmp_path)), progress)
    assert len(found.scores) == 3
    assert found.record["results_kept"] is False
    assert len(progress.said) == 1
    assert "not kept" in progress.said[0]


def test_numbers_that_a_check_refuses_are_not_kept(
    tiny_model: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, compute = tiny_model("llama"), scorers.log_likelihoods

    def wrong(*args: Any) -> Any:
        return [(value - 1.0, greedy) for value, greedy in compute(*args)]

    assert scoring.takes_trees(model)
    with monkeypatch.context() as patch:
        patch.setattr(scorers, "log_likelihoods", wrong)
        with pytest.raises(LimpideError, match=r"(?s)disagrees with the plain computation.*not kept"):
            score_with(model, REQUESTS, Options(cache=ScoreCache(model, tmp_path)))
    assert sqlite3.connect(tmp_path / NAME).execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_long_texts_and_large_vocabularies_pass_the_check(tmp_path: Path) -> None:
    """A reference that sums in float32 errs by 1e-5 nats a token over 50,000 words, and would stop sound runs."""
    model = open_model(tiny_folder("llama", tmp_path, vocab_size=50_000, max_position_embeddings=1024))
    ids = tuple(7 + k * 13 % 380 for k in range(600))
    for precision, limit in (("float32", 1e-3), ("bfloat16", None)):
        opened = model if limit else open_model(model.folder, precision="bfloat16")
        record = score_with(opened, [Request("long", ids[:2], ids[2:])], Options(budget=128)).record
        assert record["precision"] == precision
        assert limit is None or record["largest_difference_nats"] < limit
