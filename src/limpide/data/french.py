"""A little French grammar, for edits that must be certain: genders as the texts show them, and 'vous' or 'tu'."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

from limpide.data import french_verbs, writing

Gender = Literal["m", "f"]
SHOWS: dict[str, Gender] = {
    **dict.fromkeys(("le", "un", "du", "au", "ce", "quel", "aucun"), "m"),
    **dict.fromkeys(("la", "une", "cette", "ma", "ta", "sa", "quelle", "aucune"), "f"),
}
VOWELS = frozenset("aàâeéèêiîoôuy")
CLITICS = frozenset(["ne", "n'", "y", "en", "le", "la", "l'", "les", "lui", "leur", "me", "m'", "nous"])
_AFTER_TOI = "à au aux de du des et ou ni mais dans sur pour avec en si quand par chez sans que qui"
AFTER_TOI = frozenset(_AFTER_TOI.split())
STARTS_A_CLAUSE = frozenset((".", "!", "?", "…", ":", ";", "\n", "•"))
DONE = "·"  # in place of a folded word that is turned: it is no verb to find again
JOINS = frozenset((",", "et", "puis", "ou"))

_PART = re.compile(r"[^\W\d_]+'?|\n|\s+|[^\w\s]|[\d_]+")


def genders(texts: Iterable[str]) -> dict[str, Gender]:
    """{word in small letters: its gender}, of the words that follow a determiner which shows it, the same each time."""
    seen: dict[str, set[Gender]] = defaultdict(set)
    for text in texts:
        before = ""
        for part in parts(text.casefold()):
            if part.isspace():
                continue
            if before in SHOWS and part.isalpha():
                seen[part].add(SHOWS[before])
            before = part
    return {word: next(iter(found)) for word, found in seen.items() if len(found) == 1}


def parts(text: str) -> list[str]:
    """Words (with the apostrophe that cuts them), signs and spaces; together they are the text."""
    return _PART.findall(text.replace("’", "'"))


def begins_with_vowel(word: str) -> bool | None:
    """None for an h, which only a dictionary can tell, and for a y."""
    first = word[:1].casefold()
    return None if first in ("h", "y", "") else first in VOWELS


def like(word: str, model: str) -> str:
    """`word` with a capital where `model` has one."""
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


def to_tu(text: str, gender: Mapping[str, Gender]) -> str | None:
    """A text that says 'vous', saying 'tu'; None where a verb or a gender is not known for certain."""
    return _Turned(text, gender).to_tu()


def to_vous(text: str) -> str | None:
    """A text that says 'tu', saying 'vous'; None where a verb is not known for certain."""
    return _Turned(text, {}).to_vous()


class _Turned:
    """One text in parts. written: the parts as they are turned; words: the places of those that are no space."""

    def __init__(self, text: str, gender: Mapping[str, Gender]) -> None:
        self.written, self.gender = parts(text), gender
        self.folded = [part.casefold() for part in self.written]
        self.words = [i for i, part in enumerate(self.written) if not part.isspace() or part == "\n"]

    def near(self, k: int, step: int) -> str:
        """The folded word or sign that stands `step` words from word k; '' past the ends."""
        return self.folded[self.words[k + step]] if 0 <= k + step < len(self.words) else ""

    def put(self, k: int, word: str) -> None:
        at = self.words[k]
        self.written[at] = like(word, self.written[at])

    def is_question(self, k: int) -> bool:
        return next((p for p in self.folded[self.words[k] :] if p in (".", "!", "?", "…", "\n")), "") == "?"

    def verb_after(self, k: int, known: Mapping[str, object]) -> int | None:
        """Place of the verb of the pronoun at word k: the next word but for the small ones between."""
        for step in range(1, 5):
            word = self.near(k, step)
            if word in known:
                return k + step
            if word not in CLITICS | {"vous", "te", "t'"}:
                return None
        return None

    # ------------------------------------------------------------------------------------------------- vous → tu

    def to_tu(self) -> str | None:
        subjects = {self.verb_after(k, french_verbs.TU) for k in range(len(self.words)) if self.near(k, 0) == "vous"}
        for k in range(len(self.words)):
            word = self.near(k, 0)
            if word in french_verbs.TU:
                if not self._verb_to_tu(k, k in subjects):
                    return None
            elif word == "vous":
                self.put(k, self._vous_to_tu(k))
            elif word == "vos":
                self.put(k, "tes")
            elif word == "votre":
                own = self._ton(self.near(k, 1))
                if own is None:
                    return None
                self.put(k, own)
        turned = _elided("".join(self.written))
        return None if writing.says_vous(turned) or not writing.says_tu(turned) else turned

    def _verb_to_tu(self, k: int, has_subject: bool) -> bool:
        present, imperative = french_verbs.TU[self.near(k, 0)]
        joined = self.near(k, 1) == "-"
        if has_subject or (joined and self.near(k, 2) in ("y", "en")):
            self.put(k, present)
        elif joined and self.near(k, 2) == "vous":
            self.put(k, present if self.is_question(k) else imperative)
        elif self.near(k, 0).endswith("ez") or self.near(k, -1) in STARTS_A_CLAUSE | JOINS | {""}:
            self.put(k, imperative)  # 'faites' in the middle of a sentence may be a participle
        else:
            return False
        return True

    def _vous_to_tu(self, k: int) -> str:
        if self.near(k, -1) == "-":
            return "tu" if self.is_question(k) else "toi"
        if self.verb_after(k, french_verbs.TU) is not None and self.near(k, -1) != "vous":
            return "tu"
        after = self.near(k, 1)
        return "toi" if not after.rstrip("'").isalpha() or after in AFTER_TOI else "te"

    def _ton(self, noun: str) -> str | None:
        if begins_with_vowel(noun):
            return "ton"
        return {"m": "ton", "f": "ta", None: None}[self.gender.get(noun)]

    # ------------------------------------------------------------------------------------------------- tu → vous

    def to_vous(self) -> str | None:
        """A present form left over may be another verb of the same subject, so that the text is given up."""
        for k in range(len(self.words)):
            word = self.near(k, 0)
            if word == "tu" and not self._tu_to_vous(k):
                return None
            if word in ("te", "t'"):
                if self.near(k, -1) in STARTS_A_CLAUSE | {"", "-"}:
                    return None  # an order that has lost its 'ne'; 'va-t'en', and 'a-t'il' for 'a-t-il'
                self.put(k, "vous " if word == "t'" else "vous")
            if word in ("toi", "ton", "ta", "tes") and self.near(k, -1) not in writing.BEFORE_A_NOUN:
                self.put(k, {"toi": "vous", "tes": "vos"}.get(word, "votre"))
        if not self._imperatives():
            return None
        turned = "".join(self.written)
        left = [p for p in parts(turned.casefold()) if p in french_verbs.VOUS and p.endswith("es") and len(p) > 3]
        return None if left or writing.says_tu(turned) or not writing.says_vous(turned) else turned

    def _tu_to_vous(self, k: int) -> bool:
        self.put(k, "vous")
        verb = k - 2 if self.near(k, -1) == "-" else self.verb_after(k, french_verbs.VOUS)
        if verb is None or self.near(verb, 0) not in french_verbs.VOUS:
            return False
        self.put(verb, french_verbs.VOUS[self.near(verb, 0)])
        self.folded[self.words[verb]] = DONE
        return True

    def _imperatives(self) -> bool:
        """Orders that begin a sentence, and those that follow one in it. False where one stands elsewhere."""
        ordered = False
        for k in range(len(self.words)):
            word, before = self.near(k, 0), self.near(k, -1)
            if before in STARTS_A_CLAUSE or before == "":
                ordered = False
            order = word in french_verbs.ORDERS and self.near(k, 1) in french_verbs.AFTER_AN_ORDER
            if not order or before not in STARTS_A_CLAUSE | JOINS | {"", "ne", "n'"}:
                continue
            if before in JOINS and not ordered and self.near(k, 1) != "-":
                return False
            self.put(k, french_verbs.ORDERS[word])
            self.folded[self.words[k]], ordered = DONE, True
        return True


def _elided(text: str) -> str:
    """'te aide' → 't'aide'."""
    return re.sub(r"\b([Tt])e (?=[aàâeéèêiîoôu])", r"\1'", text)
