"""What can be seen of a text's style without understanding it: its language, how it addresses, how long it is."""

import re
from collections.abc import Callable
from typing import Literal

Person = Literal["we", "I", "none"]

SIGNS_OF_A_LANGUAGE = 2  # words of one language more than of the other before it is named
_WORDS = {
    "en": """
    the of and to in is are was it that this for with on at by from be as an or not have has do does you your we they
    what which when where how can will if then there their before after until must should into its
    """,
    "fr": """
    le la les l de des du d un une et est sont il elle ils que qui dans pour avec sur au aux par ce cette ces ne pas
    vous nous votre vos je j tu se sa son ses ou mais plus où quand comment avant après doit qu n s c en leur leurs
    """,
}
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
VOUS = frozenset({"vous", "votre", "vos", "vôtre", "vôtres"})
TU = frozenset({"tu", "te", "t'", "toi", "ton", "ta", "tes", "tien", "tienne", "tiens", "tiennes"})
SAYS_I = {
    "en": frozenset({"i", "me", "my", "myself"}),
    "fr": frozenset({"je", "j'", "me", "m'", "moi", "mon", "ma", "mes", "mien", "mienne", "miens", "miennes"}),
}
SAYS_WE = {
    "en": frozenset({"we", "us", "our", "ours", "ourselves"}),
    "fr": frozenset({"nous", "notre", "nos", "nôtre", "nôtres"}),
}
NO_PERSON = frozenset({"US", "i", "MA", "ME"})  # a country, a letter
_NUMBERED = """
    Annex Annexe Appendix Article Book Category Chapter Class Division Figure Grade Group Level Part Phase Schedule
    Section Stage Step Table Tier Title Type Volume War Zone
"""
_MARKED = "at button by from in into letter mark mode of on onto position setting switch symbol to with"
MARK_I = re.compile(
    rf"\b(?:{'|'.join(_NUMBERED.split())}) I\b(?!['’])"  # 'Part I', not 'the part I like'
    r"|(?<!\w)(?P<sign>\*{1,3}|_{1,2}|`|\"|')I(?P=sign)(?!\w)|[“«‘(\[]\s?I\s?[”»’)\]](?!\w)"
    rf"|\b(?i:{'|'.join(_MARKED.split())}) I\b(?=\s*(?:[,.;:!?…)]|$|(?:and|or)\b))"  # 'turn it to I and wait'
    r"|\b[A-Z0-9]/I\b|\bI(?=/[A-Z0-9]\b|\s*=)",
    re.MULTILINE,
)  # where I is a numeral or a mark, and nobody
NO_VERBS = frozenset({"chez", "assez", "riez", "merguez", "suez"})
BEFORE_A_NOUN = frozenset({"le", "un", "du", "ce", "au", "quel", "mon", "son", "bon"})  # 'le ton', 'un bon ton'

_WORD = re.compile(r"[^\W\d_]+")
_CUT_WORD = re.compile(r"[^\W\d_]+'?")  # t'aide, where t' is 'te'; a-t-il, where t is nobody
_CONTRACTION = re.compile(
    r"\b(?:\w+n't|(?:i|you|he|she|it|we|they|that|there|here|what|where|who|how)'(?:m|s|re|ve|ll|d)|let's)\b", re.I
)
_SENTENCE = re.compile(r"(?<=[.!?…])[\"»”’)]*\s+|\n+")
_LIST_LINE = re.compile(r"^[ \t]*(?:[-*•–—▪◦][ \t]+|\d{1,3}[.)][ \t]+)\S.{0,40}", re.MULTILINE)
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\ufe0f\u20e3\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653"
    "\u267f\u2693\u26a1\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705"
    "\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55]"
)


def language_of(text: str) -> str | None:
    """'en' or 'fr', by the small words that only one of them has; None where they do not tell."""
    found = _folded_words(text)
    counts = {name: sum(word in known for word in found) for name, known in FUNCTION_WORDS.items()}
    first, second = sorted(counts, key=lambda name: -counts[name])
    return first if counts[first] - counts[second] >= SIGNS_OF_A_LANGUAGE else None


def says_vous(text: str) -> list[str]:
    """Words of a French text that say 'vous' to its reader: the pronoun, votre, vos, and verbs in -ez."""
    found = _WORD.findall(_french(text))
    return [word for word in found if word in VOUS or (len(word) > 4 and word.endswith("ez") and word not in NO_VERBS)]


def says_tu(text: str) -> list[str]:
    """Words that say 'tu': the pronoun, te, t', toi, ton, ta, tes. A verb alone (Arrête la presse) is not seen."""
    found = _CUT_WORD.findall(_french(text))
    return [
        word
        for before, word in zip(["", *found], found, strict=False)
        if word in TU and not (word == "ton" and before in BEFORE_A_NOUN)
    ]


def other_persons(text: str, language: str | None, person: Person) -> list[str]:
    """Words of the first person other than `person`; none in a language that is not known.

    Pronouns and possessives alone: a verb without one is not seen, 'on' is nobody, and words that are quoted count. A
    numeral or a mark is nobody ('Part I', 'turn it to I, then wait').
    """
    known = {"I": SAYS_I, "we": SAYS_WE}
    unwanted: frozenset[str] = frozenset().union(
        *(words[language] for name, words in known.items() if name != person and language in words)
    )
    text = text.replace("’", "'")
    found = _CUT_WORD.findall(text) if language == "fr" else _WORD.findall(MARK_I.sub(" ", text))
    return [word for word in found if word.casefold() in unwanted and word not in NO_PERSON]


def exclamations(text: str) -> list[str]:
    return [char for char in text if char in "!！"]


def contractions(text: str) -> list[str]:
    """English forms cut by an apostrophe: don't, it's, we'll. A possessive (the pump's) is none."""
    return _CONTRACTION.findall(text.replace("’", "'"))


def _french(text: str) -> str:
    return text.casefold().replace("’", "'").replace("rendez-vous", "")


def words(text: str) -> list[str]:
    """What stands between spaces and holds a letter or digit."""
    return [part for part in text.split() if any(map(str.isalnum, part))]


def sentences(text: str) -> list[str]:
    """Pieces that end with . ! ? … and a space, or with a line. An abbreviation (M. Roux) ends one too."""
    return [piece for piece in _SENTENCE.split(text) if words(piece)]


def emojis(text: str) -> list[str]:
    """Pictographs that are drawn in colour by default or asked to be; ✓, → and © are none."""
    return _EMOJI.findall(text)


def list_lines(text: str) -> list[str]:
    """Lines that begin like those of a list: a dash or bullet and a space, or a number with a dot or parenthesis."""
    return [match[0].strip() for match in _LIST_LINE.finditer(text)]


SIGNS: dict[str, Callable[[str], list[str]]] = {  # what breaks each rule that is on signs alone, by its name
    "no_exclamation": exclamations,
    "no_emoji": emojis,
    "no_lists": list_lines,
    "no_contractions": contractions,
}


def _folded_words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
