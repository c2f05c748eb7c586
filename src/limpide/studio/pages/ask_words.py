"""The words of an answer, and which of its tokens make each: what is clicked, and what is then explained."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.studio.session import private_folder

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Word:
    """One word of an answer. before: the spaces in front of it. first: where it begins, spaces not counted."""

    text: str
    before: str
    first: int


def words(answer: str) -> list[Word]:
    """The words of an answer, in order; together with the spaces between, they are the answer."""
    found, end, counted = [], 0, 0
    for match in WORD.finditer(answer):
        found.append(Word(match[0], answer[end : match.start()], counted))
        end, counted = match.end(), counted + len(match[0])
    return found


def tokens_of(word: Word, tokens: Sequence[str]) -> list[int]:
    """Places of the tokens that a word is made of; at least one where there are any.

    tokens: the texts of the answer's tokens. Spaces are not counted, since some tokenizers drop them from a token that
    is written alone.
    """
    found, at = [], 0
    for place, token in enumerate(tokens):
        size = len("".join(token.split()))
        if at < word.first + len(word.text) and at + size > word.first:
            found.append(place)
        at += size
    return found or ([len(tokens) - 1] if tokens else [])


def kept(folder: Path, prompt: str, answer: str) -> Path:
    """A file of a question and its answer, which only this user may read: on a command line, everybody could.

    The same texts are the same file, so that a command that was run for them is found again.
    """
    text = json.dumps({"prompt": prompt, "answer": answer}, ensure_ascii=False)
    place = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    if not place.exists():
        private_folder(folder)
        files.write_text(place, text)
    return place


def argv(model: str, asked: Path, at: int) -> list[str]:
    """The command that says on which words token `at` of an answer rests, and in which layer it was decided.

    asked: as `kept` wrote it.

    The test against a network of random weights is left out: it takes as long as all the rest together, five times.
    """
    ways = ["--attribution.each-token", "--faithfulness.no-sanity", "--method=attribution,lens,faithfulness"]
    return ["explain", *_asked(model, asked, at), *ways]


def taught_by(model: str, asked: Path, at: int) -> list[str]:
    """The command that looks for the training examples that taught an answer."""
    return ["explain", *_asked(model, asked, at), "--method=influence"]


def _asked(model: str, asked: Path, at: int) -> list[str]:
    # With `=`, a name that begins with a dash is not read as an option.
    return [f"--model={model}", f"--asked={asked}", f"--at={at}"]


def of_word(explanation: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any] | None:
    """The explanation with the weights of the prompt's words for these tokens of the answer alone.

    A token of the answer has a row of weights of its own, whose sum over all tokens are the weights of the whole
    answer; a word has the sum of its tokens' rows. None where the explanation holds no such rows.
    """
    attribution = explanation.get("methods", {}).get("attribution") or {}
    rows = [row for place, row in enumerate(attribution.get("answer_tokens") or ()) if place in places]
    if not rows:
        return None
    tokens = [sum(column) for column in zip(*rows, strict=True)]
    of_prompt = [sum(tokens[at] for at in word["tokens"]) for word in explanation["question"]["words"]]
    weighed = {**attribution, "tokens": tokens, "words": of_prompt, "answer_tokens": None, "total": None, "gap": None}
    return {**explanation, "methods": {**explanation["methods"], "attribution": weighed}}
