"""When two answers count as the same: equal up to writing, alike in words, or one inside the other."""

import re
import unicodedata
from collections import Counter

_JOINED = str.maketrans({"æ": "ae", "œ": "oe", "ß": "ss", "ø": "o", "ł": "l", "đ": "d"})  # normalised: small letters
_INSIDE_NUMBERS = ".,:/-–"
_SENTENCE_END = re.compile(r"[.!?…]+(?:\s?»|[\"”')\]])*\s+")
_TITLES = {"mrs", "mme", "mlle", "prof", "capt", "col", "gen", "sgt", "hon", "rev", "ste", "no", "vs", "av"}


def normalise(text: str) -> str:
    """The text as it is compared: NFKC, case folded, sentence punctuation and repeated spaces gone, accents kept.

    What changes the meaning stays: symbols (%, °, +, €), the sign of a number, and what joins two digits
    (4.5, 4,5, 12:30, 3-4), so that −5 is not 5 and 4.5 is not 45.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("\u2212", "-")
    kept = [char if not _is_punctuation(char) or _is_in_number(text, at) else " " for at, char in enumerate(text)]
    return re.sub(r"\s+", " ", "".join(kept)).strip()


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall of the normalised words, repeated words counted, from 0 to 1.

    Two empty texts give 1. Source: SQuAD, Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1; articles are kept.
    """
    given, wanted = Counter(normalise(answer).split()), Counter(normalise(expected).split())
    if not given or not wanted:
        return float(given == wanted)
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total())


def contains_answer(answer: str, expected: str) -> bool:
    """Is `expected` a run of whole words of `answer`, both normalised? An empty `expected` is in nothing.

    Accents and joined letters do not count: "Delemont" is Delémont and "Linnæus" is Linnaeus.
    """
    wanted = _without_accents(normalise(expected))
    return bool(wanted) and f" {wanted} " in f" {_without_accents(normalise(answer))} "


def first_sentence(text: str) -> str:
    """The first sentence of the first line that is not empty: what is said after it does not count as the answer.

    A full stop after one or two letters, the first a capital, or after a title, is an abbreviation: "J. R. Ewing",
    "St. Louis", "Mrs. Dalloway".
    """
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for end in _SENTENCE_END.finditer(line):
        word = line[: end.start()].rpartition(" ")[2].strip("(\"«“'")
        short = (len(word) <= 2 and word.isalpha() and word[0].isupper()) or (
            "." in word and not any(map(str.isdigit, word))
        )
        if end.group()[0] == "." and (short or word.casefold() in _TITLES):
            continue
        return line[: end.end()].rstrip()
    return line


def _without_accents(text: str) -> str:
    """The text without what NFD sets apart as a mark on the letter before it, and with ligatures as two letters."""
    parts = unicodedata.normalize("NFD", text.translate(_JOINED))
    return "".join(char for char in parts if unicodedata.category(char) != "Mn")


def without_thoughts(text: str) -> str | None:
    """What is answered after a leading <think>…</think>; the text itself without one; None where no answer came.

    A text may start inside a thought that its prompt had opened: it is over at the last </think>. None: the thought was
    cut short, or ends the text.
    """
    _, closed, answer = text.rpartition("</think>")
    if answer.lstrip().startswith("<think>") or (closed and not answer.strip()):
        return None
    return answer.lstrip() if closed else text


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char).startswith("P") and char not in "%‰&@#§"


def _is_in_number(text: str, at: int) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if text[at] in _INSIDE_NUMBERS and before.isdigit() and after.isdigit():
        return True
    return text[at] == "-" and after.isdigit() and not before.isalnum()
