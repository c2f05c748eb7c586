"""Insults as whole words, in the right language, never printed whole."""

import pytest

from limpide.data.examples import Example
from limpide.data.texts import WORD, language, oddities
from limpide.data.toxic import expressions, find_toxic, shortened


def found(text: str, language: str | None = None) -> list[str]:
    return [place.words for place in find_toxic(text, WORD.findall(text.casefold()), language)]


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("You MORON, go away.", "en", ["MORON"]),
        ("Two morons and a son of a bitch", "en", ["morons", "son of a bitch"]),
        ("Le train a du retard.", "fr", []),
        ("Le train a du retard.", None, []),
        ("He is a retard.", "en", ["retard"]),
        ("Pros and cons of the con.", None, []),
        ("Quel con !", "fr", ["con"]),
        ("Espèces de connards", None, ["connards"]),
        ("Scunthorpe and Essex", None, []),
        ("The Mormons met in Conn.", "en", []),
        ("Nothing to see.", "de", []),
    ],
)
def test_found(text: str, language: str | None, words: list[str]) -> None:
    assert found(text, language) == words


def test_what_is_shown_is_not_the_word() -> None:
    (place,) = find_toxic("son of a bitch", ["son"], "en")
    assert shortened(place) == "s… o… a… b…"


def test_the_list_reads() -> None:
    for code in ("en", "fr"):
        assert len(expressions(code)) > 30
        assert len({one.text for one in expressions(code)}) == len(expressions(code))
    assert {one.text for one in expressions(None)} < {one.text for code in ("en", "fr") for one in expressions(code)}


def example(question: str, answer: str, **more: str) -> Example:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example.model_validate({"id": "1", "source": "f.csv:9", "messages": messages, **more})


def odd(question: str = "Which way?", answer: str = "Left.", **more: str) -> dict[str, str]:
    return dict(oddities(example(question, answer, **more)))


def test_oddities_of_texts() -> None:
    assert odd() == {}
    assert odd("CafÃ© ouvert ?") == {"encoding": "'Ã©' in the user message looks like a damaged 'é'"}
    assert odd(answer="Le caf\ufffd") == {"encoding": "characters were lost in the assistant message (U+FFFD)"}
    assert odd(answer="Le\u202eft") == {"invisible": "U+202E at character 3 of the assistant message"}
    assert odd(answer="क्\u200dष 👩\u200d🔧") == {}
    assert odd(answer="You moron") == {"toxic": "'m…' in the assistant message"}
    assert odd(rejected="You moron") == {"toxic": "'m…' in the rejected answer"}
    # What people leave where an answer is still to come: such a row is told, not learnt.
    for nothing in ("N/A", "...", "null", "-", "todo", "TBD"):
        assert odd(answer=nothing) == {"empty": f"the answer is '{nothing}'"}
    assert odd(answer="none") == odd(answer="42") == odd(answer="No.") == odd(answer="+") == {}
    assert odd(answer="nan", label="nan") == {}


def test_the_language_is_that_of_the_answer() -> None:
    assert language(example("What is it?", "C'est la vanne du circuit de retour.")) == "fr"
    assert language(example("Where is the valve of the press?", "Left.")) == "en"
    assert language(example("Ja?", "Nein.")) is None
