"""French pronouns of a person, and who they stand for, in the twin of a sentence (swaps_french.py)."""

from collections.abc import Iterator

from limpide.data.swaps_french_text import FEMININE, MASCULINE, Sentence, Unsure, known_words
from limpide.data.swaps_french_words import COPULAS, DETERMINERS, IMPERSONAL, IMPERSONAL_ADJECTIVES, PREPOSITIONS


def swap_pronouns(sentence: Sentence) -> None:
    """Swap those of a person. Raises Unsure where one may stand for a thing."""
    ways = {"elle": FEMININE, "elles": FEMININE, "il": MASCULINE, "ils": MASCULINE, "lui": MASCULINE, "eux": MASCULINE}
    for place, low in enumerate(sentence.low):
        gender = ways.get(low)
        if gender is None or (low == "il" and _impersonal(sentence, place)):
            continue
        disjunctive = _disjunctive(sentence, place)
        if low == "lui" and not disjunctive:
            continue  # 'je lui parle' is said of both
        if not (disjunctive and sentence.at(place - 1) in PREPOSITIONS):  # 'avec elle' is hardly ever said of a thing
            _require_person(sentence, place, gender)
        number = low.endswith("s") or low == "eux"
        subject = ("ils" if number else "il") if gender == FEMININE else ("elles" if number else "elle")
        alone = ("eux" if number else "lui") if gender == FEMININE else subject
        sentence.person[place] = gender
        sentence.become(place, alone if disjunctive else subject)


def _impersonal(sentence: Sentence, place: int) -> bool:
    ahead = [w for w in sentence.low[place + 1 : place + 6] if w not in ("ne", "n'", "me", "te", "lui", "nous", "vous")]
    if not ahead:
        return sentence.gaps[place].endswith("-") and sentence.at(place - 1) in (*IMPERSONAL, "t")
    if ahead[0] in IMPERSONAL or ahead[0] == "y" or ahead[:2] == ["s'", "agit"] or ahead[:2] == ["s'", "agissait"]:
        return True
    copula = next((at for at, word in enumerate(ahead) if word in COPULAS), None)
    return copula is not None and any(word in IMPERSONAL_ADJECTIVES for word in ahead[copula + 1 :][:3])


def _disjunctive(sentence: Sentence, place: int) -> bool:
    """Does it stand after a preposition or on its own, and not before its verb?"""
    before, ends = sentence.at(place - 1) if sentence.joined(place) else "", sentence.gaps[place + 1]
    if ends.startswith("-") and sentence.at(place + 1) in ("même", "mêmes"):
        return True
    if sentence.gaps[place].endswith("-"):
        return False
    if before in PREPOSITIONS or (before in ("c'est", "est") and sentence.at(place - 2) in ("c'", "ce")):
        return True
    alone = ends.strip(" ") != "" or place + 1 == len(sentence.low)
    return alone and (before in ("que", "qu'", "et", "ou", "ni", "comme") or sentence.at(place) in ("lui", "eux"))


def _require_person(sentence: Sentence, place: int, gender: str) -> None:
    """Raises Unsure where the pronoun may stand for a thing that was named since the last person of its gender."""
    persons = [at for at, own in sentence.person.items() if at < place and own == gender]
    for thing in _things(sentence, max(persons, default=-1) + 1, place):
        if thing in (gender, "?"):
            raise Unsure


def _things(sentence: Sentence, start: int, end: int) -> Iterator[str]:
    """Genders of the nouns between that are of no person and are led by a determiner of one gender."""
    for place in range(start, end):
        determiner = DETERMINERS.get(sentence.at(place))
        if determiner is None or place in sentence.placed:
            continue
        noun = place + 1
        while sentence.at(noun) in known_words().adjectives or sentence.at(noun) in known_words().same:
            noun += 1
        if noun < end and noun not in sentence.person:
            yield determiner[0]
