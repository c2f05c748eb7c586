"""French twins: a noun is swapped with all that agrees with it, or not at all.

No parser: a sentence is read from left to right with lists of words, in four passes (nouns with their determiner and
adjectives, pronouns, what follows the verb être, what could not be placed). A pass that meets what it cannot place
raises `Unsure`, and the sentence has no twin.
"""

from collections.abc import Iterable

from limpide.data.swaps_french_pronouns import swap_pronouns
from limpide.data.swaps_french_text import (
    FEMININE,
    MASCULINE,
    MELTED,
    Sentence,
    Unsure,
    begins_with_vowel,
    known_words,
    split,
    written,
)
from limpide.data.swaps_french_words import (
    ADVERBS,
    BOUNDARIES,
    COPULAS,
    DETERMINERS,
    ENDINGS,
    NAMED,
    PLURAL_COPULAS,
    PLURALS,
    PREPOSITIONS,
    PRONOUNS,
    SAME_ENDINGS,
    UNPLACED,
    VERBS_TOO,
)


def french(text: str) -> str | None:
    """The twin, or None where nothing is to be swapped or it is not sure what agrees."""
    sentence = split(text)
    try:
        if any(word in UNPLACED for word in sentence.low):
            return None
        _noun_phrases(sentence)
        swap_pronouns(sentence)
        _predicates(sentence)
        if sentence.new:
            _left_over(sentence)
        return written(sentence) if sentence.new else None
    except Unsure:
        return None


def gendered_words() -> Iterable[str]:
    lists = known_words()
    pronouns = ("il", "elle", "ils", "elles", "lui", "eux", "celle", "celui", "celles", "ceux")
    return (*lists.nouns, *lists.names, *pronouns)


# ------------------------------------------------------------------------------------------- nouns and what is around


def _noun_phrases(sentence: Sentence) -> None:
    for place in range(len(sentence.low)):
        found = _person(sentence, place)
        if found is None:
            continue
        gender, other = found
        sentence.person[place] = gender
        sentence.become(place, other)
        plural = sentence.at(place).endswith(("s", "x")) and sentence.at(place) != "fils"
        _before(sentence, place, gender)
        _after(sentence, place, gender, plural)


def _person(sentence: Sentence, place: int) -> tuple[str, str] | None:
    """(gender, its counterpart) of a noun, a title or a name of a person."""
    lists, word, low = known_words(), sentence.words[place], sentence.at(place)
    if low in ("m", "mme", "mlle"):
        return _abbreviated(sentence, place)
    compound = sentence.gaps[place + 1].startswith("-") or sentence.gaps[place].endswith("-")
    if compound and (word in lists.names or low in lists.nouns or low in lists.epicene):
        raise Unsure
    if word in lists.names:
        return lists.names[word]
    led = _leading(sentence, place)
    determiner = DETERMINERS.get(sentence.at(led)) if led is not None else None
    if low in lists.epicene:
        return (determiner[0], low) if determiner and determiner[0] in "fm" else None
    found = lists.nouns.get(low)
    if found is None or (led is None and _is_something_else(sentence, place, low)):
        return None
    gender, other = found
    if determiner and determiner[0] not in (gender, "?") and not begins_with_vowel(sentence.at((led or 0) + 1)):
        raise Unsure
    return gender, _chosen(sentence, led, low, other)


def _abbreviated(sentence: Sentence, place: int) -> tuple[str, str] | None:
    """M. and Mme: the first has a dot."""
    after = sentence.gaps[place + 1]
    if not sentence.words[place][0].isupper() or (sentence.at(place) == "m" and not after.startswith(". ")):
        return None
    if sentence.at(place) == "m":
        sentence.gaps[place + 1] = after[1:]
        return MASCULINE, "mme"
    sentence.gaps[place + 1] = f".{after.removeprefix('.')}"
    return FEMININE, "m"


def _chosen(sentence: Sentence, led: int | None, low: str, other: str) -> str:
    """Words that are swapped with one or another by what stands before: sa fille, la fille; le monsieur, Monsieur."""
    before = sentence.at(led) if led is not None else ""
    if low == "fille" and before in ("ma", "ta", "sa", "notre", "votre", "leur"):
        return "fils"
    if low == "femme" and before in ("ma", "ta", "sa"):
        return "mari"
    if low == "filles" and before in ("mes", "tes", "ses", "nos", "vos", "leurs"):
        return "fils"
    if low == "fils" and before in PLURALS:
        return "filles"
    return "dame" if low == "monsieur" and before else other


def _is_something_else(sentence: Sentence, place: int, low: str) -> bool:
    """A noun without a determiner may be an adjective ('la ville voisine') or a verb ('conseiller')."""
    if not sentence.joined(place):
        return False
    before = sentence.at(place - 1)
    says_what_one_is = before in COPULAS or before in NAMED or before in ("comme", "qu'")
    if low.endswith("er"):
        return not says_what_one_is
    known = before in PREPOSITIONS or before in ADVERBS or before in BOUNDARIES or place - 1 in sentence.person
    return not (says_what_one_is or known)


def _leading(sentence: Sentence, place: int) -> int | None:
    """Place of the determiner before a noun, past the adjectives between."""
    lists = known_words()
    while sentence.joined(place):
        place -= 1
        low = sentence.at(place)
        if low in DETERMINERS or low in PLURALS:
            return place
        if not (low in lists.adjectives or low in lists.same or low in ADVERBS):
            return None
    return None


def _before(sentence: Sentence, noun: int, gender: str) -> None:
    """Adjectives and the determiner that lead to a noun."""
    led = _leading(sentence, noun)
    if led is None:
        return
    plural = sentence.at(led) in PLURALS
    for place in range(noun - 1, led, -1):
        if sentence.at(place) not in ADVERBS:
            _agree(sentence, place, gender, plural)
        if sentence.now(place) in _BEFORE_VOWEL and begins_with_vowel(sentence.now(place + 1)):
            sentence.new[place] = _BEFORE_VOWEL[sentence.now(place)]
    _determine(sentence, led, MASCULINE if gender == FEMININE else FEMININE)


_BEFORE_VOWEL = {"beau": "bel", "vieux": "vieil", "nouveau": "nouvel"}


def _determine(sentence: Sentence, place: int, gender: str) -> None:
    """Give the determiner the gender that its noun will have."""
    low = sentence.at(place)
    if low in PLURALS or low not in DETERMINERS:
        return
    _, forms = DETERMINERS[low]
    before = sentence.at(place - 1) if sentence.joined(place) else ""
    if low in ("la", "l'", "le") and before in PRONOUNS:
        raise Unsure  # 'elle la juge': a pronoun, maybe
    vowel = begins_with_vowel(sentence.now(place + 1))
    masculine, feminine, masculine_vowel, feminine_vowel = forms
    new = (masculine_vowel if vowel else masculine) if gender == MASCULINE else feminine_vowel if vowel else feminine
    if low in ("la", "l'") and before in ("de", "à") and gender == MASCULINE and not vowel:
        sentence.become(place - 1, MELTED)
        new = "du" if before == "de" else "au"
        if sentence.words[place - 1][0].isupper():
            new = new.capitalize()
    sentence.become(place, new)


def _after(sentence: Sentence, place: int, gender: str, plural: bool) -> None:
    """Adjectives that follow a noun, as long as they are known for such."""
    lists = known_words()
    while sentence.joined(place + 1):
        place += 1
        low = sentence.at(place)
        known = lists.adjectives.get(low)
        if low in VERBS_TOO:
            if sentence.at(place + 1) in DETERMINERS or sentence.at(place + 1) in PLURALS:
                return  # it has an object
            raise Unsure
        if low in ADVERBS or low in lists.same:
            sentence.placed.add(place)
        elif known or low.endswith(("é", "és", "ée", "ées")):
            if known and known[0] != gender:
                return
            _agree(sentence, place, gender, plural)
        elif gender == FEMININE and low.endswith(("euse", "trice", "ienne", "ive", "elle", "ante", "ente")):
            if low not in ("elle", "vive", "arrive", "vente", "attente", "chante", "plante"):
                raise Unsure
            return
        else:
            return


def _agree(sentence: Sentence, place: int, gender: str, plural: bool) -> None:
    """Put an adjective or participle of this gender into the other one. Raises Unsure where its form is not known."""
    if place in sentence.placed:
        return
    low, lists = sentence.at(place), known_words()
    if low in lists.nouns and low not in lists.adjectives:
        return
    known = lists.adjectives.get(low)
    if known:
        if known[0] != gender:
            raise Unsure
        sentence.become(place, lists.plurals.get(low, known[1]) if plural else known[1])
        return
    if low in lists.same or low in lists.epicene or low.endswith(SAME_ENDINGS):
        sentence.placed.add(place)
        return
    mark = "s" if low.endswith("s") and plural else ""
    stem = low.removesuffix("s") if mark else low
    for feminine, masculine in ENDINGS:
        own, others = (feminine, masculine) if gender == FEMININE else (masculine, feminine)
        if len(stem) > len(own) + 1 and stem.endswith(own):
            sentence.become(place, stem[: len(stem) - len(own)] + others + mark)
            return
    if low.endswith(("e", "es")) == (gender == FEMININE) or (gender == MASCULINE and low[-1] in "tdlnrs"):
        raise Unsure


# --------------------------------------------------------------------------------------------- after the verb 'être'


def _predicates(sentence: Sentence) -> None:
    for place, low in enumerate(sentence.low):
        if low not in COPULAS or (low == "été" and sentence.at(place - 1) in ("l'", "d'", "cet", "en", "un")):
            continue
        subject, after = _subject(sentence, place), place + 1
        if sentence.gaps[after].endswith("-") and after in sentence.person:
            subject, after = after, after + 1  # 'est-elle partie ?'
        if subject is None:
            continue
        plural = low in PLURAL_COPULAS or (sentence.at(subject).endswith(("s", "x")) and sentence.at(subject) != "fils")
        if low in PLURAL_COPULAS and not sentence.at(subject).endswith(("s", "x", "m")):
            raise Unsure  # 'Paul et Marie sont …'
        _predicate(sentence, after, sentence.person[subject], plural, sentence.at(place - 1) == "s'")


def _subject(sentence: Sentence, verb: int) -> int | None:
    """Place of the person that is the subject of a verb; None where it is a thing, or somebody who speaks."""
    if sentence.at(verb - 1) == "qui":
        return _relative(sentence, verb - 2)
    place, thing = verb - 1, False
    while place >= 0:
        low = sentence.at(place)
        if low in ("je", "j'", "tu", "nous", "vous", "on", "c'", "ce", "ça", "cela"):
            return None
        led = _leading(sentence, place) if place in sentence.person else None
        start = led if led is not None else place
        ruled = sentence.at(start) in ("du", "au") or (
            sentence.joined(start) and sentence.at(start - 1) in PREPOSITIONS
        )
        if place in sentence.person and not ruled:
            return place
        if low in DETERMINERS and place not in sentence.placed and sentence.at(place - 1) not in PREPOSITIONS:
            thing = low not in ("du", "au")
        if thing:
            return None
        if low in BOUNDARIES and low not in ("et", "ou", "mais", "puis", "ni"):
            return None
        place -= 1
    return None


def _relative(sentence: Sentence, place: int) -> int | None:
    """The noun that 'qui' takes up, with its adjectives between."""
    while place >= 0 and place not in sentence.person:
        if place not in sentence.placed:
            return None
        place -= 1
    return place if place >= 0 else None


def _predicate(sentence: Sentence, place: int, gender: str, plural: bool, reflexive: bool) -> None:
    """Adjectives and participles that say something of the subject, joined by commas and 'et' where they are."""
    lists, first = known_words(), True
    while place < len(sentence.low) and (sentence.gaps[place] == " " or (not first and sentence.gaps[place] == ", ")):
        low = sentence.at(place)
        known = low in lists.adjectives or low.endswith(("é", "ée", "és", "ées"))
        if low in ADVERBS or low in COPULAS or (low.endswith("ment") and len(low) > 6):
            place += 1
            continue
        if not first and low in ("et", "ou", "ni", "mais"):
            place += 1
            continue
        if place in sentence.person or low in DETERMINERS or low in PLURALS or low in PREPOSITIONS or low in BOUNDARIES:
            return
        if not first and not known:
            return
        if known and low in lists.adjectives and lists.adjectives[low][0] != gender and not first:
            return
        before = len(sentence.new)
        _agree(sentence, place, gender, plural)
        object_follows = sentence.at(place + 1) in DETERMINERS or sentence.at(place + 1) in PLURALS
        if reflexive and len(sentence.new) > before and object_follows:
            raise Unsure  # 's'est lavé les mains' does not agree
        first = False
        place += 1


# ---------------------------------------------------------------------------------------------------- what was left


def _left_over(sentence: Sentence) -> None:
    """Raises Unsure for words that may agree with a person and were not placed."""
    lists = known_words()
    for place, low in enumerate(sentence.low):
        if place in sentence.placed or place in sentence.person:
            continue
        clitic = low in ("l'", "la", "le") and sentence.at(place - 1) in PRONOUNS and sentence.joined(place)
        if clitic and _agrees_with_object(sentence, place):
            raise Unsure
        marked = low in lists.adjectives or low.endswith(("é", "ée", "és", "ées"))
        loose = (
            place == 0
            or sentence.gaps[place] not in (" ", "", "-")
            or sentence.at(place - 1) in ("et", "toute", "tout", "si")
        )
        if marked and loose and sentence.at(place - 1) not in lists.adjectives:
            raise Unsure


def _agrees_with_object(sentence: Sentence, place: int) -> bool:
    """'je la vois', 'je l'ai vue': the pronoun, or a participle after it, is of a gender that may be the person's."""
    if sentence.at(place) in ("la", "le"):
        return True
    return any(
        word.endswith(("ée", "ue", "ie", "ise", "ées", "ues", "ies")) for word in sentence.low[place + 1 : place + 4]
    )
