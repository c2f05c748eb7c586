"""Text that grows token by token: whole characters, and nothing of a stop string."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from limpide.serve.engines.pieces import HALF, Pieces


def of_bytes(ids: Sequence[int]) -> str:
    """A tokenizer with one token a byte."""
    return bytes(ids).decode("utf-8", errors="replace")


def said(text: bytes, stops: Sequence[str] = ()) -> tuple[list[str], Pieces]:
    pieces = Pieces(of_bytes, stops)
    found = []
    for byte in text:
        found.append(pieces.add(byte))
        if pieces.stopped:
            return found, pieces
    return [*found, pieces.end()], pieces


@given(st.text(st.characters(codec="utf-8", exclude_characters=HALF)))
def test_every_character_comes_whole_and_once(text: str) -> None:
    found, pieces = said(text.encode())
    assert "".join(found) == text
    assert not any(HALF in piece for piece in found)
    assert pieces.made == pieces.sent == len(text)


@given(st.text("ab€", max_size=12), st.lists(st.text("ab€", min_size=1, max_size=4), max_size=3))
def test_nothing_of_a_stop_string_is_sent(text: str, stops: list[str]) -> None:
    found, pieces = said(text.encode(), stops)
    # The first stop string to be whole ends the answer; it is found when its last letter is there.
    ends = [k for k in range(len(text) + 1) if any(text[:k].endswith(stop) for stop in stops)]
    assert pieces.stopped is bool(ends)
    whole = text[: ends[0]] if ends else text
    places = [whole.find(stop) for stop in stops if stop in whole]
    assert "".join(found) == (text[: min(places)] if places else text)


def test_what_cannot_become_a_stop_string_is_sent_at_once() -> None:
    assert said(b"one END", ["END!"])[0] == ["o", "n", "e", " ", "", "", "", "END"]
    assert said(b"EEND!", ["END!"])[0] == ["", "E", "", "", ""]


def test_half_a_character_at_the_end_is_dropped() -> None:
    assert "".join(said("a€".encode()[:-1])[0]) == "a"


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_read_as_the_tokenizer_reads_them(raw: bytes) -> None:
    assert "".join(said(raw)[0]) == of_bytes(raw).rstrip(HALF) + HALF * max(0, trailing(raw) - 3)


def trailing(raw: bytes) -> int:
    text = of_bytes(raw)
    return len(text) - len(text.rstrip(HALF))


def test_a_space_before_a_word_survives_a_token_without_text() -> None:
    """Tokenizers of the SentencePiece kind drop the first space of whatever they decode."""
    words = {0: " one", 1: "", 2: " two"}
    pieces = Pieces(lambda ids: "".join(words[id] for id in ids).removeprefix(" "))
    assert [pieces.add(id) for id in (0, 1, 2)] == ["one", "", " two"]
