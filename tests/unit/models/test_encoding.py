"""What a request becomes before it is scored: its start, its boundary, its windows."""

from collections.abc import Callable
from typing import Any

import pytest

from limpide.core.errors import ModelError
from limpide.models.encoding import encode_requests
from limpide.models.requests import Request
from limpide.models.scoring import Options, log_probabilities, score_with
from tiny import CONTEXT, VOCABULARY

Opened = Callable[[str], Any]


@pytest.mark.parametrize(("name", "auto", "always"), [("llama", 0, 1), ("mistral", 1, 1)])
def test_the_start_token_is_a_setting(tiny_model: Opened, name: str, auto: int, always: int) -> None:
    model = tiny_model(name)
    bos = model.tokenizer.bos_token_id
    request = Request("x", "The press", " is hot")
    for setting, wanted in (("auto", auto), ("always", always), ("never", 0)):
        (item,) = encode_requests(model, [request], bos=setting)  # type: ignore[arg-type]
        assert item.context.count(bos) == wanted, setting
    with pytest.raises(ModelError, match="empty context"):
        encode_requests(model, [Request("x", "", "The press")], bos="never")


def test_the_start_token_is_recorded_and_changes_the_score(tiny_model: Opened) -> None:
    model, request = tiny_model("mistral"), Request("x", "The press", " is hot")
    found = {bos: score_with(model, [request], Options(bos=bos)) for bos in ("auto", "never")}  # type: ignore[arg-type]
    assert [found[b].record["bos"] for b in found] == ["auto", "never"]
    assert found["auto"].scores[0].log_likelihood != found["never"].scores[0].log_likelihood


def test_a_merged_boundary_is_told_and_an_absorbed_space_is_not(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    word = next(t for t in sorted(model.tokenizer.get_vocab()) if t.isascii() and t.isalpha() and len(t) == 3)
    texts = [("x " + word[:2], word[2:]), ("The press ", "is hot"), ("The press", " is hot")]
    requests = [Request(str(k), *text) for k, text in enumerate(texts)]
    assert [item.merged for item in encode_requests(model, requests)] == [True, False, False]
    scored = score_with(model, requests, Options())
    assert [s.merged for s in scored.scores] == [True, False, False]
    assert scored.record["merged_boundaries"] == 1


def test_a_text_longer_than_the_context_is_read_in_windows_when_asked(tiny_model: Opened) -> None:
    """Every token is scored once, after as much of what comes before it as fits, at least half a context."""
    model = tiny_model("llama")
    ids = tuple(20 + k * 7 % 300 for k in range(CONTEXT * 2 + 31))
    request = Request("long", ids[:5], ids[5:])
    pieces = encode_requests(model, [request], overlong="window")
    assert tuple(i for piece in pieces for i in piece.continuation) == ids[5:]
    assert all(len(piece) <= CONTEXT for piece in pieces)
    assert all(len(piece.context) >= CONTEXT // 2 for piece in pieces[2:])
    scored = score_with(model, [request, Request("short", ids[:5], ids[5:9])], Options(overlong="window"))
    long, short = scored.scores
    assert (long.windows, long.tokens, short.windows) == (len(pieces), len(ids) - 5, 1)
    last = pieces[-1]
    naive = log_probabilities(model, last.ids[:-1], len(last.continuation))
    wanted = [float(row[token]) for row, token in zip(naive, last.continuation, strict=True)]
    assert long.token_log_likelihoods[-len(wanted) :] == pytest.approx(wanted, abs=1e-5)


def test_every_window_starts_with_the_start_token_where_the_text_does(tiny_model: Opened) -> None:
    model = tiny_model("mistral")
    bos = model.tokenizer.bos_token_id
    text = "The press stops and the valve closes. " * 60
    pieces = encode_requests(model, [Request("x", "", text)], overlong="window")
    assert len(pieces) > 2
    assert all(piece.ids[0] == bos and piece.ids.count(bos) == 1 and len(piece) <= CONTEXT for piece in pieces)
    whole = [i for piece in pieces for i in piece.continuation]
    assert whole == model.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_what_has_no_windows_refuses(tiny_model: Opened, name: str) -> None:
    request = Request("x", (7,) * CONTEXT, (8,) * CONTEXT * 2)
    with pytest.raises(ModelError, match="longer than the model's context"):
        encode_requests(tiny_model(name), [request], overlong="window")


def test_ids_outside_the_vocabulary_are_refused(tiny_model: Opened) -> None:
    with pytest.raises(ModelError, match=rf"(?s)'x' holds token ids.*\[{VOCABULARY}\].*0 to {VOCABULARY - 1}"):
        encode_requests(tiny_model("llama"), [Request("x", (5,), (VOCABULARY,))])


def test_text_and_ids_keep_their_order_side_by_side(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    requests = [Request("a", "The press", " is hot"), Request("b", (5, 6), (7,)), Request("c", "A", " valve")]
    mixed = encode_requests(model, requests)
    assert mixed[1].ids == (5, 6, 7)
    for k in (0, 2):
        assert mixed[k].ids == encode_requests(model, [requests[k]])[0].ids
