"""What code can put right in an answer that breaks a charter, rule by rule, without knowing what it is about.

Each mend gives the text with its rule kept, or None where that is not certain; what was said stays said.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from limpide.data import french, terms, writing
from limpide.data.charter import Charter, Required
from limpide.data.charter_rules import Break, Said, breaks
from limpide.data.first_person import we_for_i
from limpide.data.french import Gender
from limpide.data.swapping import swap_all

SENTENCE = 3  # words from which a required text stands as a sentence of its own
PASSES = 3  # a mend may bring out another break: an exclamation ended a sentence that is now too long
PRONOUNS = frozenset({"i", "you", "he", "she", "it", "we", "they"})
_FULL = {"m": "am", "re": "are", "ve": "have", "ll": "will"}
_NEGATED = {"can't": "cannot", "won't": "will not", "shan't": "shall not"}
# 's is 'has' before these, as before what ends in -ed.
_PARTICIPLES = """
    become been begun brought built come cut done drawn driven fallen felt found given gone got grown had held kept led
    left lost made meant met paid put risen run seen sent set shown shut spent taken thought told worn written
"""
AFTER_HAS = frozenset(_PARTICIPLES.split())
IN_CODE = re.compile(r"[!！](?![!！?？\s\"'»”’)\]*_]|$)")  # 'x != y', '#!/bin/sh': it ends no sentence
_ENDS = (".", "!", "?", "…", ":", "»", '"', "”")


@dataclass(frozen=True)
class Mended:
    """text: what is kept in the end. rules: those that it broke before and no longer. left: what it still breaks."""

    text: str
    rules: tuple[str, ...]
    left: tuple[Break, ...]


def mend(charter: Charter, said: Said, gender: Mapping[str, Gender], keep: str | None = None) -> Mended:
    """An answer with every break put right that can be, except of rule `keep`. gender: see french.genders."""
    found = breaks(charter, said)
    rules = tuple(dict.fromkeys(one.rule for one in found))
    for _ in range(PASSES):
        before = said.answer
        for rule in ORDER:
            for one in [one for one in found if one.rule == rule != keep]:
                text = MENDS[rule](charter, said, one, gender)
                if text and text != said.answer:
                    said = replace(said, answer=text)
                    found = breaks(charter, said)
        if said.answer == before:
            break
    still = {one.rule for one in found}
    return Mended(said.answer, tuple(rule for rule in rules if rule not in still), tuple(found))


# ------------------------------------------------------------------------------------------------------ words


def _instead_of(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    entry = next(e for e in charter.glossary if e.term == one.entry and e.language in (None, said.spoken))
    text = said.answer
    for word in sorted(entry.instead_of, key=len, reverse=True):
        if terms.find_apart([charter.cut[word]], [charter.cut[entry.term]], terms.cut(text)):
            text = swap_all(text, charter.cut[word], entry.term, said.spoken, gender) or text
    return text


def _forbidden(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    ban = next(b for b in charter.forbidden if b.term == one.entry and b.language in (None, said.spoken))
    if not ban.drop_in or ban.instead is None:
        return None
    return swap_all(said.answer, charter.cut[ban.term], ban.instead, said.spoken, None)


def _required(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    rule = next(r for r in charter.required if r.say == one.entry)
    if terms.holds_text(said.answer, rule.say) or not stands_alone(rule) or not writing.words(said.answer):
        return None  # held in the wrong place: said twice, it would be no better; beside nothing, no answer
    text, wanted = said.answer.rstrip(), sentence(rule.say)
    if rule.at == "start":
        return f"{wanted} {text}"
    return f"{text}{'' if text.endswith(_ENDS) else '.'} {wanted}"


def stands_alone(rule: Required) -> bool:
    """Is what is required a sentence that can be said before or after any other?"""
    return rule.at != "anywhere" or len(writing.words(rule.say)) >= SENTENCE


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(_ENDS) else ".")


# ------------------------------------------------------------------------------------------------------ style


def _address(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    return french.to_vous(said.answer) if charter.tone.address == "vous" else french.to_tu(said.answer, gender)


def _person(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    """English 'I' made 'we'. A French verb would have to change with its pronoun, and another person is unsaid."""
    return we_for_i(said.answer) if charter.tone.person == "we" and said.spoken == "en" else None


def _no_exclamation(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    if IN_CODE.search(said.answer):
        return None
    text = re.sub(r"[!！?]*\?[!！?]*", "?", said.answer)
    return re.sub(r"\s*[!！]+", ".", text)


def _no_emoji(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    """Where an emoji stood for the end of a sentence, a full stop does."""
    signs = "".join(sorted({*writing.emojis(said.answer), "\u200d"}))
    text = re.sub(rf"(?<=[^\W_])\s*[{signs}]+(?=\s*(?:[A-ZÀ-Ý]|$))", ".", said.answer)
    text = re.sub(f"[{signs}]", "", text)
    return re.sub(r"[ \t]{2,}", " ", re.sub(r"[ \t]+(?=\n|$)|(?<=\n)[ \t]+", "", text)).strip()


def _no_lists(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    """Each line a sentence, or a part of one where the next begins with a small letter; no bullet, no number."""
    bare = [re.sub(r"^\s*(?:[-*•–—▪◦]|\d{1,3}[.)])\s+", "", line).strip() for line in said.answer.splitlines()]
    lines = [line for line in bare if line]
    ends = ["," if after[:1].islower() else "." for after in (*lines[1:], "")]
    return " ".join(
        line if line.endswith((*_ENDS, ",", ";")) else line + end for line, end in zip(lines, ends, strict=True)
    )


def _no_contractions(charter: Charter, said: Said, one: Break, gender: Mapping[str, Gender]) -> str | None:
    """Not where a form may stand for two ('d, 's before a participle), or where the order of the words changes."""
    text = said.answer.replace("’", "'")
    for short in dict.fromkeys(writing.contractions(text)):
        for match in reversed(list(re.finditer(rf"\b{re.escape(short)}(?!\w)", text))):
            after = re.match(r"\s+(\w+)", text[match.end() :])
            full = _full_form(short.casefold(), after[1].casefold() if after else "")
            if full is not None:
                text = text[: match.start()] + _with_capitals(full, short) + text[match.end() :]
    return text


def _full_form(short: str, after: str) -> str | None:
    if short == "let's":
        return "let us"
    if short.endswith("n't"):
        return None if after in PRONOUNS or short == "ain't" else _NEGATED.get(short, f"{short[:-3]} not")
    word, _, ending = short.partition("'")
    if ending == "s":
        return None if after in AFTER_HAS or after.endswith("ed") else f"{word} is"
    return f"{word} {_FULL[ending]}" if ending in _FULL else None


def _with_capitals(full: str, short: str) -> str:
    full = re.sub(r"^i\b", "I", full)
    return french.like(full, short)


Edit = Callable[[Charter, Said, Break, Mapping[str, Gender]], str | None]
MENDS: dict[str, Edit] = {
    "no_lists": _no_lists,
    "no_emoji": _no_emoji,
    "no_exclamation": _no_exclamation,
    "no_contractions": _no_contractions,
    "person": _person,
    "address": _address,
    "instead_of": _instead_of,
    "forbidden": _forbidden,
    "required": _required,
}
ORDER: Sequence[str] = tuple(MENDS)
