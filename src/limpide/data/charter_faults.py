"""The same answer with one rule of a charter broken: what a preference pair rejects.

Nothing is invented: a fault is a word that the charter itself names, a form turned, a text left out, or one of the
wordings below. Whether exactly that rule is broken is checked afterwards (charter_pairs.py).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from limpide.data import french, writing
from limpide.data.charter import Charter
from limpide.data.charter_mends import sentence
from limpide.data.charter_rules import Said, asked_to_say
from limpide.data.french import Gender
from limpide.data.swapping import swap_all

EMOJIS = ("🙂", "👍", "😊", "🎉")
OPENINGS: dict[tuple[str, str], tuple[str, ...]] = {  # (who speaks, language)
    ("I", "en"): ("I think this: ", "Let me tell you what I know: "),
    ("I", "fr"): ("Je pense ceci : ", "À mon avis : "),
    ("we", "en"): ("We think this: ", "Here is our answer: "),
    ("we", "fr"): ("Nous pensons ceci : ", "Voici notre réponse : "),
}
FILLERS = {  # sentences that say nothing
    "en": (
        "There is much more to say about this.",
        "Many people have asked the same question before.",
        "It depends on the day and on the place.",
        "All of this is good to keep in mind.",
        "The answer may be longer or shorter than that.",
        "This is what is most often said about it.",
    ),
    "fr": (
        "Il y a encore beaucoup à dire à ce sujet.",
        "Bien des personnes ont déjà posé la même question.",
        "Tout cela dépend du jour et du lieu.",
        "Il est bon de garder cela en tête.",
        "La réponse peut être plus longue ou plus courte.",
        "Voilà ce que l'on en dit le plus souvent.",
    ),
}
MOST_FILLERS = 60
JOINED = {"en": ", and", "fr": ", et"}
SHORT = (
    ("cannot", "can't"), ("do not", "don't"), ("does not", "doesn't"), ("did not", "didn't"), ("is not", "isn't"),
    ("are not", "aren't"), ("will not", "won't"), ("must not", "mustn't"), ("should not", "shouldn't"),
    ("you are", "you're"), ("we are", "we're"), ("they are", "they're"), ("you will", "you'll"), ("we will", "we'll"),
    ("it is", "it's"), ("that is", "that's"), ("there is", "there's"), ("we have", "we've"), ("you have", "you've"),
)  # fmt: skip

Fault = tuple[str, str, str]  # rule, entry, the text that breaks it


def faults(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[Fault]:
    """Texts that break one rule each, more than one for some. turn: which of several wordings is taken."""
    yield from _terms(charter, said, turn)
    yield from _forbidden(charter, said, turn)
    yield from _required(charter, said)
    for rule in charter.style_rules:
        for text in FAULTS[rule](charter, said, gender, turn) if rule in FAULTS else ():
            yield rule, rule, text


def _terms(charter: Charter, said: Said, turn: int) -> Iterator[Fault]:
    for entry in charter.glossary:
        if not entry.instead_of or entry.language not in (None, said.spoken):
            continue
        at = turn % len(entry.instead_of)
        for word in (*entry.instead_of[at:], *entry.instead_of[:at]):
            if text := swap_all(said.answer, charter.cut[entry.term], word, said.spoken, None):
                yield "instead_of", entry.term, text
                break


def _forbidden(charter: Charter, said: Said, turn: int) -> Iterator[Fault]:
    """In the place of what is to be said instead, else as a sentence of its own."""
    for ban in charter.forbidden:
        if ban.language not in (None, said.spoken):
            continue
        put = sentence(ban.term)
        text = f"{put} {said.answer}" if turn % 2 else f"{said.answer} {put}"
        if ban.drop_in and ban.instead:
            text = swap_all(said.answer, charter.cut[ban.instead], ban.term, said.spoken, None) or text
        yield "forbidden", ban.term, text


def _required(charter: Charter, said: Said) -> Iterator[Fault]:
    """The answer without the sentence that is required; where it is a part of one, there is no fault to make."""
    for rule in asked_to_say(charter, said):
        wanted = re.escape(sentence(rule.say).rstrip(".")).replace(r"\ ", r"\s+")
        left = re.sub(rf"(?:(?<=[.!?…:»])\s+|^){wanted}\.?(?=\s|$)", "", said.answer, count=1).strip()
        if left and left != said.answer:
            yield "required", rule.say, left


# ------------------------------------------------------------------------------------------------------ style


def _address(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    if said.spoken == "fr":
        turned = french.to_tu(said.answer, gender) if charter.tone.address == "vous" else french.to_vous(said.answer)
        if turned:
            yield turned


def _person(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    for (who, language), openings in OPENINGS.items():
        if language == said.spoken and who != charter.tone.person:
            yield openings[turn % len(openings)] + said.answer


def _no_exclamation(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    sign = " !" if said.spoken == "fr" else "!"
    if said.answer.endswith("."):
        yield said.answer[:-1] + sign
    first = re.search(r"(?<=\w)\.(?= )", said.answer)
    if first:
        yield said.answer[: first.start()] + sign + said.answer[first.end() :]


def _no_emoji(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    yield f"{said.answer} {EMOJIS[turn % len(EMOJIS)]}"


def _no_lists(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    mark = ("- {}", "{n}. {}", "* {}")[turn % 3]
    yield "\n".join(mark.format(text, n=n) for n, text in enumerate(writing.sentences(said.answer), start=1))


def _no_contractions(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    if said.spoken == "en":
        for full, short in SHORT:
            text = re.sub(rf"\b{full}\b(?= \w)", partial(_shortened, short), said.answer, flags=re.IGNORECASE)
            if text != said.answer:
                yield text


def _shortened(short: str, match: re.Match[str]) -> str:
    return french.like(short, match[0])


def _max_words(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    fillers, text = FILLERS.get(said.spoken or "", ()), said.answer
    for step in range(MOST_FILLERS if fillers else 0):
        text = f"{text} {fillers[(turn + step) % len(fillers)]}"
        if len(writing.words(text)) > (charter.style.max_words or 0):
            yield text
            return


def _min_words(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    yield writing.sentences(said.answer)[0]
    kept = said.answer.split()[: (charter.style.min_words or 1) - 1]
    if kept:
        yield " ".join(kept).rstrip(",;:") + "."


def _max_words_per_sentence(charter: Charter, said: Said, gender: Mapping[str, Gender], turn: int) -> Iterator[str]:
    """All its sentences in one."""
    pieces = writing.sentences(said.answer)
    if said.spoken in JOINED and len(pieces) > 1 and all(piece.endswith(".") for piece in pieces):
        ended = [piece.rstrip(".") for piece in pieces]
        yield f"{JOINED[said.spoken]} ".join([ended[0], *map(_in_a_sentence, ended[1:])]) + "."


def _in_a_sentence(text: str) -> str:
    """Without the capital of a sentence, where its first word is one that never has another."""
    first = next(iter(re.findall(r"\w+", text)), "").casefold()
    return text[:1].lower() + text[1:] if any(first in known for known in writing.FUNCTION_WORDS.values()) else text


Make = Callable[[Charter, Said, Mapping[str, Gender], int], Iterator[str]]
FAULTS: dict[str, Make] = {
    "address": _address,
    "person": _person,
    "min_words": _min_words,
    "max_words": _max_words,
    "max_words_per_sentence": _max_words_per_sentence,
    "no_exclamation": _no_exclamation,
    "no_emoji": _no_emoji,
    "no_lists": _no_lists,
    "no_contractions": _no_contractions,
}
