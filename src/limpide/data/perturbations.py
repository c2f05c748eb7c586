"""The same question, written otherwise: small changes that leave its meaning to any reader.

Each function returns the changed text, or None where it has nothing to change. None touches a digit or a code
(`codes`); randomness comes from the `random.Random` that is given, and nowhere else.
"""

import random
import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from typing import Literal, get_args

Perturbation = Literal["typos", "accents", "lowercase", "uppercase", "spacing", "punctuation", "rewording"]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)
QUESTION = "{q}"  # its place in a rewording

LETTERS_A_TYPO = 12
SHORTEST = (5, 4)  # letters of a word that may hold a typo, the second where no word is long: else 'fait' becomes 'fit'
LONGEST_UNIT = 3  # characters of what may be a unit, after a number
ROWS = {"en": ("qwertyuiop", "asdfghjkl", "zxcvbnm"), "fr": ("azertyuiop", "qsdfghjklm", "wxcvbn")}
_NEGATIONS = """
no not never none nothing nobody nowhere neither nor without cannot cant dont wont isnt except unless
n ne pas non ni jamais aucun aucune rien personne sans nul nulle sauf nullement guère
"""
NEGATIONS = frozenset(_NEGATIONS.split())
_WORD = re.compile(r"[^\W\d_]+")
_CHUNK = re.compile(r"\S+")
_GAP = re.compile(r"(?<=\S) (?=\S)")
_BEFORE_MARK = re.compile(r"[ \u00a0\u202f]+([?!:;»]+)(?=\s|$)")
_DOTTED = re.compile(r"[\w\u0300-\u036f]\.\w")  # a letter may carry its accent as a mark of its own
_END = string.whitespace + "\u00a0\u202f?!.…;:,"
_MARKS = range(0x0300, 0x0370)  # Unicode block of combining diacritical marks


def perturb(
    kind: Perturbation, text: str, language: str | None, random: random.Random, rewordings: Mapping[str, str]
) -> str | None:
    """`text` changed in one way, or None where that changes nothing. rewordings: templates with '{q}', by name."""
    if kind == "rewording":
        return reword(text, rewordings[random.choice(sorted(rewordings))]) if rewordings and text.strip() else None
    made = FUNCTIONS[kind](text, language, random)
    return None if made == text else made


def codes(text: str) -> tuple[str, ...]:
    """Tokens that stand for one exact thing (E-104, 4.5, x_1, a@b.org), without the punctuation around them."""
    return tuple(_bare(chunk) for chunk in text.split() if is_code(chunk) and _bare(chunk))


def is_code(token: str) -> bool:
    """Whether a token between spaces holds a digit, a sign of addresses and paths, or a dot inside."""
    return any(c.isnumeric() or c in "_@/\\=<>{}" for c in token) or _DOTTED.search(token) is not None


# ------------------------------------------------------------------------------------------------------------- typos


def typos(text: str, language: str | None, random: random.Random) -> str | None:
    """One typing fault for about every 12 letters, at least one, each in a word of its own.

    A key beside the right one (on the keyboard of `language`), two letters swapped, one dropped or one doubled; never
    the first letter, nor in words under 5 letters (4 where all are short), numbers, codes, words all in capitals and
    negations.
    """
    able = [match for match in _WORD.finditer(text) if _may_hold_a_typo(text, match)]
    words = next((long for least in SHORTEST if (long := [w for w in able if len(w[0]) >= least])), None)
    if words is None:
        return None
    count = min(max(1, sum(map(str.isalpha, text)) // LETTERS_A_TYPO), len(words))
    made, end = [], 0
    for place in sorted(random.sample(range(len(words)), count)):
        word = words[place]
        made += [text[end : word.start()], _mistyped(word[0], language, random)]
        end = word.end()
    return "".join([*made, text[end:]])


def _may_hold_a_typo(text: str, word: re.Match[str]) -> bool:
    if len(word[0]) < min(SHORTEST):
        return False
    chunk = _chunk_around(text, word.start())
    return not (is_code(chunk) or chunk.isupper() or is_negation(chunk))


def is_negation(token: str) -> bool:
    """Whether a part of a token denies: not, don't, sans, n'existe."""
    plain = token.casefold().replace("’", "'")
    return "n't" in plain or any(part in NEGATIONS for part in _WORD.findall(plain))


def _chunk_around(text: str, at: int) -> str:
    start = at
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    found = _CHUNK.match(text, start)
    assert found is not None
    return found[0]


def _mistyped(word: str, language: str | None, random: random.Random) -> str:
    """A word with one fault. Doubling a letter is always possible, so some fault is found."""
    faults = [_neighbour, _swapped, _dropped, _doubled]
    for fault in random.sample(faults, len(faults)):
        places = list(range(1, len(word)))
        for at in random.sample(places, len(places)):
            made = fault(word, at, language, random)
            if made is not None and made != word and made.casefold() not in NEGATIONS:
                return made
    return word + word[-1]


def _neighbour(word: str, at: int, language: str | None, random: random.Random) -> str | None:
    beside = neighbours(word[at].lower(), language)
    if not beside:
        return None
    key = random.choice(beside)
    return word[:at] + (key.upper() if word[at].isupper() else key) + word[at + 1 :]


def _swapped(word: str, at: int, language: str | None, random: random.Random) -> str | None:
    if at + 1 >= len(word) or word[at] == word[at + 1]:
        return None
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _dropped(word: str, at: int, language: str | None, random: random.Random) -> str | None:
    return word[:at] + word[at + 1 :]


def _doubled(word: str, at: int, language: str | None, random: random.Random) -> str | None:
    return word[: at + 1] + word[at:]


def neighbours(letter: str, language: str | None) -> str:
    """Keys that touch a lowercase letter's key: AZERTY for French, QWERTY otherwise. '' for any other letter."""
    rows = ROWS.get(language or "", ROWS["en"])
    for number, row in enumerate(rows):
        at = row.find(letter)
        if at < 0:
            continue
        above = rows[number - 1][at : at + 2] if number else ""  # each row stands half a key to the right
        below = rows[number + 1][max(0, at - 1) : at + 1] if number + 1 < len(rows) else ""
        return row[max(0, at - 1) : at] + row[at + 1 : at + 2] + above + below
    return ""


# ----------------------------------------------------------------------------------------- accents, letters, spaces


def accents(text: str, language: str | None = None, random: random.Random | None = None) -> str | None:
    """The text without accents and cedillas on Latin letters; None where it has none."""
    made = "".join(part if is_code(part) else strip_accents(part) for part in re.split(r"(\S+)", text))
    return None if made == text else made


def strip_accents(text: str) -> str:
    """Latin letters without their marks; all else, other scripts too, stays as it is."""
    made: list[str] = []
    for char in text:
        base, marks = (apart := unicodedata.normalize("NFD", char))[0], apart[1:]
        if marks and _is_latin(base) and all(ord(mark) in _MARKS for mark in marks):
            made.append(base)
        elif not (ord(char) in _MARKS and made and _is_latin(made[-1])):
            made.append(char)
    return "".join(made)


def _is_latin(char: str) -> bool:
    return char.isalpha() and unicodedata.name(char, "").startswith("LATIN")


def lowercase(text: str, language: str | None = None, random: random.Random | None = None) -> str | None:
    return _recased(text, str.lower)


def uppercase(text: str, language: str | None = None, random: random.Random | None = None) -> str | None:
    return _recased(text, str.upper)


def _recased(text: str, change: Callable[[str], str]) -> str | None:
    """Codes keep their letters, and so does what may be a unit after a number: 5 mA is not 5 MA."""
    parts, after_number = [], False
    for part in re.split(r"(\S+)", text):
        is_unit = after_number and len(part) <= LONGEST_UNIT
        parts.append(part if is_code(part) or is_unit else change(part))
        if part.strip():
            after_number = part[-1].isnumeric()
    made = "".join(parts)
    return None if made == text else made


def spacing(text: str, language: str | None, random: random.Random) -> str | None:
    """Some spaces doubled, none left before French punctuation, and space or a line break at the end."""
    if not text.strip():
        return None
    made = _BEFORE_MARK.sub(r"\1", text)
    gaps = [g.start() for g in _GAP.finditer(made) if not (made[g.start() - 1].isdigit() and made[g.end()].isdigit())]
    doubled = set(random.sample(gaps, max(1, len(gaps) // 4))) if gaps else set()
    made = "".join("  " if at in doubled else char for at, char in enumerate(made))
    return made + random.choice((" ", "  ", "\n", " \n"))


def punctuation(text: str, language: str | None = None, random: random.Random | None = None) -> str | None:
    """The text without the punctuation at its end; None where it has none there."""
    made = text.rstrip(_END)
    return None if not made or made == text.rstrip() else made


def reword(text: str, template: str) -> str:
    """`text` inside a template, where '{q}' stands; braces of the text mean nothing."""
    before, _, after = template.partition(QUESTION)
    return f"{before}{text}{after}"


def _bare(token: str) -> str:
    """The token from its first to its last letter or digit."""
    places = [at for at, char in enumerate(token) if char.isalnum()]
    return token[places[0] : places[-1] + 1] if places else ""


FUNCTIONS: dict[str, Callable[[str, str | None, random.Random], str | None]] = {
    "typos": typos,
    "accents": accents,
    "lowercase": lowercase,
    "uppercase": uppercase,
    "spacing": spacing,
    "punctuation": punctuation,
}
