"""The page where one asks: words and their tokens, the gateway's answers as they come, and why a word was said."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from explanation_sample import explanation
from limpide.core import files
from limpide.core.errors import MissingError, UsageError
from limpide.document.language import language
from limpide.studio.pages.ask_gateway import Gateway, Piece, base_of, command, of, of_record, piece_of, stream
from limpide.studio.pages.ask_why import not_run, taught, why
from limpide.studio.pages.ask_words import Word, argv, kept, of_word, taught_by, tokens_of, words
from limpide.studio.pages.service_process import Ready

EACH = [[1, 2, 3], [10, 20, 30], [0, 0, 0]]  # [answer token][token]
GATEWAY = Gateway("http://127.0.0.1:9", "secret", "press-1.0.0", "smollm2")


# ------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("answer", ["", "  ", "One", " Two words ", "Three\nlines\n\nof text.", "é 文字 😀 ok"])
def test_words_and_the_spaces_between_are_the_answer(answer: str) -> None:
    found = words(answer)
    assert "".join(one.before + one.text for one in found) == answer.rstrip()


def test_the_tokens_of_a_word() -> None:
    tokens = ["Ram", " enc", "oder", " lost", " its", " zero", ":", " clear"]
    found = {one.text: tokens_of(one, tokens) for one in words("Ram encoder lost its zero: clear")}
    assert found == {"Ram": [0], "encoder": [1, 2], "lost": [3], "its": [4], "zero:": [5, 6], "clear": [7]}


def test_tokens_that_lost_their_spaces_are_placed_all_the_same() -> None:
    spaced, bare = [" a", " bc", "d", "\n", " e"], ["a", "bc", "d", "", "e"]
    for one in words(" a bcd\n e"):
        assert tokens_of(one, spaced) == tokens_of(one, bare)


@pytest.mark.parametrize(("tokens", "expected"), [([], []), (["x"], [0])])
def test_a_word_beyond_the_tokens_has_the_last(tokens: Sequence[str], expected: list[int]) -> None:
    assert tokens_of(Word("far", " ", 40), tokens) == expected


def test_texts_of_a_person_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = kept(tmp_path / "asked", "--html=x", "-rf")
    assert json.loads(file.read_text()) == {"prompt": "--html=x", "answer": "-rf"}
    assert file.parent.stat().st_mode & 0o077 == 0
    assert kept(tmp_path / "asked", "--html=x", "-rf") == file != kept(tmp_path / "asked", "--html=x", "-rg")
    for made in (argv("m", file, 3), taught_by("m", file, 3)):
        assert made[:4] == ["explain", "--model=m", f"--asked={file}", "--at=3"]


def test_weights_of_one_word_are_those_of_its_tokens() -> None:
    record: dict[str, Any] = {
        "question": {"words": [{"text": "E-104", "tokens": [0, 1]}, {"text": "?", "tokens": [2]}]},
        "methods": {"attribution": {"words": [9.0, 9.0], "tokens": [9.0] * 3, "answer_tokens": EACH}},
    }
    focused = of_word(record, [0, 1])
    assert focused is not None
    assert focused["methods"]["attribution"]["tokens"] == [11, 22, 33]
    assert focused["methods"]["attribution"]["words"] == [33, 33]
    assert record["methods"]["attribution"]["words"] == [9.0, 9.0]
    assert of_word(record, [7]) is None
    assert of_word({"question": {}, "methods": {}}, [0]) is None


# --------------------------------------------------------------------------------------------------------------- why


@pytest.mark.parametrize("code", ["en", "fr"])
def test_why_says_words_layers_and_whether_to_believe_it(code: str) -> None:
    spoken = language(code)
    found = why(explanation(), "nurse", [1], spoken)
    assert found.word == "nurse"
    assert found.strip[0].kind == "strip"
    assert found.weights
    assert all(share.endswith("%") for _, share, _ in found.weights)
    assert found.faithful[:2] == (spoken.say("explain.verdict.better than chance"), "good")
    assert found.layers
    assert found.pictures
    assert found.limits


@pytest.mark.parametrize("code", ["en", "fr"])
def test_words_that_weigh_nothing_measurable_are_not_coloured(code: str) -> None:
    record = explanation()
    found = record["methods"]["attribution"]
    found["answer_tokens"] = [[w * 1e-4 for w in row] for row in found["answer_tokens"]]
    shown = why(record, "nurse", [1], language(code))
    assert {chip.shade for chip in shown.strip[0].body.chips} == {""}
    assert shown.strip[1].kind == "note"
    assert shown.weights == ()


def test_an_untested_explanation_says_so() -> None:
    record = explanation()
    methods = {name: value for name, value in record["methods"].items() if name != "faithfulness"}
    found = why({**record, "methods": methods}, "nurse", [1], language("en"))
    assert found.faithful == ("The explanation was not tested", "doubt", ())


def test_examples_and_what_could_not_be_answered() -> None:
    row = {"id": "1", "prompt": "E-104?", "answer": "Pump", "influence": 0.1234}
    record = {"methods": {"influence": {"raises": [row], "lowers": []}}, "not_run": {"influence": "No."}}
    spoken = language("en")
    (first,) = taught(record, "raises", spoken)
    assert (first.prompt, first.answer, first.influence) == ("E-104?", "Pump", "0.123")
    assert taught(record, "lowers", spoken) == ()
    ((method, (reason, _)),) = not_run(record, spoken)
    assert (method, reason) == ("Training examples (influence)", "No.")
    record["not_run"] = {"influence": "No folder. To do: give it: --influence.adapter X.", "lens": "No. To do: wait."}
    assert [said[0] for _, said in not_run(record, spoken)] == ["No folder.", "No. To do: wait."]


# ----------------------------------------------------------------------------------------------------------- gateway


def answer_of(handler: Any, most: int = 5) -> list[Piece]:
    async def collect() -> list[Piece]:
        transport = httpx.MockTransport(handler)
        return [p async for p in stream(GATEWAY, "press-1.0.0", "E-104?", most=most, transport=transport)]

    return asyncio.run(collect())


def test_an_answer_comes_piece_by_piece_through_the_gateway() -> None:
    asked: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        events = [
            {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
            {"choices": [{"delta": {"content": "Pump"}, "finish_reason": None}]},
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"completion_tokens": 1}},
        ]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        return httpx.Response(200, text="".join([": comment\n", *lines, "data: [DONE]\n\n"]))

    assert answer_of(serve) == [Piece("Pump"), Piece("", "stop"), Piece("", None, 1)]
    body = json.loads(asked[0].content)
    assert asked[0].headers["authorization"] == "Bearer secret"
    assert (body["model"], body["max_tokens"], body["temperature"], body["stream"]) == ("press-1.0.0", 5, 0, True)


def test_a_refusal_is_told_in_the_gateway_s_own_words() -> None:
    said = "The service was stopped by A. Martin: wrong doses."
    with pytest.raises(UsageError, match="stopped by A"):
        answer_of(lambda _: httpx.Response(503, json={"error": {"message": said, "code": "stopped"}}))
    with pytest.raises(UsageError, match="stopped by A"):
        piece_of(f"data: {json.dumps({'error': {'message': said}})}")
    with pytest.raises(UsageError, match="refused the question"):
        answer_of(lambda _: httpx.Response(500, text="<html>"))


def test_a_gateway_that_is_gone() -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(UsageError, match="does not answer") as error:
        answer_of(gone)
    assert "ask again" in str(error.value.remedy)


def found(folder: Path, *, waits: bool, key: bool = True) -> Any:
    signed = SimpleNamespace(key=Path("keys/release.pub") if key else None)
    return SimpleNamespace(folder=folder, signed=signed, waits=waits)


def test_a_release_that_waits_for_approval_can_be_asked_before(tmp_path: Path) -> None:
    files.write_text(tmp_path / "gguf" / "model-q8_0.gguf", "x")
    files.write_json(tmp_path / "recipe.lock.json", {"base": {"ref": "smollm2-135m-instruct"}})
    signed = command(found(tmp_path, waits=False), Path("state"))
    assert signed[:4] == ["serve", str(tmp_path), "--key", "keys/release.pub"]
    assert signed[-1] == "--base"
    for one in (found(tmp_path, waits=True), found(tmp_path, waits=False, key=False)):
        made = command(one, Path("state"))
        assert made[1:4] == [str(tmp_path / "gguf" / "model-q8_0.gguf"), "smollm2-135m-instruct", "--unsigned"]


def test_a_release_that_does_not_name_its_base(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="does not say what it was made from"):
        base_of(tmp_path)


def test_the_first_model_is_the_release_and_the_last_its_base() -> None:
    both = of(Ready("http://x", ("press-1.0.0", "smollm2")), "s")
    assert (both.release, both.base) == ("press-1.0.0", "smollm2")
    assert of(Ready("http://x", ("press-1.0.0",)), "s").base is None


def test_what_a_command_told_is_told_again() -> None:
    error = of_record({"what": "No.", "received": "a", "expected": "b", "to_do": "c"})
    assert error.lines() == ["No.", "  received: a", "  expected: b", "  to do:    c"]


def test_what_a_release_names_as_its_base_is_never_an_option(tmp_path: Path) -> None:
    files.write_json(tmp_path / "recipe.lock.json", {"base": {"ref": "--database=postgresql://elsewhere/"}})
    with pytest.raises(UsageError, match="not the name of a model"):
        base_of(tmp_path)
