"""Names of people in text, French and English: a dictionary of first names, and what stands around them.

A first name that is nothing else (Nathalie, Kevin) is found where it has its capital. One that is a word as well
(Pierre, Rose, Mark) is found alone when its capital does not come from the start of a sentence; one that is a place,
a month or a make (Florence, April, Mercedes) only beside a surname or a title. A title alone (Mme Lefèvre, Dr Patel)
makes a name of the word after it. List: data/lists/first_names.tsv, written for this project from general knowledge.

What it does not say: names that are not in the list, surnames alone and names in lower case are missed; people of
fiction and history are taken for persons. On 57 labelled sentences that were not used to adjust it (test_names.py) it
found 27 of 35 names (77 %, Wilson's 95 % interval 61 to 88 %), and 27 of the 29 it found were names (93 %, 78 to 98 %).
That is too little for a refusal by default: names warn.
"""

import re
from functools import cache
from typing import Literal, get_args

from limpide.data.found import Found
from limpide.data.shipped import read_list

Sense = Literal["plain", "word", "thing"]
SENSES: tuple[Sense, ...] = get_args(Sense)
KINDS = {"full_name": "name of a person", "first_name": "first name of a person"}
MOST_SURNAMES = 2

_CAPITALS = "A-ZÀÂÄÇÉÈÊËÎÏÔÖÙÛÜ"
_NAME = rf"[{_CAPITALS}]\w*(?:[-’'][{_CAPITALS}]\w*)*"
CAPITAL = re.compile(rf"(?<![\w@./#-])(?:[dDlLjJnNmMsStTcC][’']|[qQ]u[’'])?({_NAME})(?![@/])")
SURNAME = re.compile(rf"[ \u00a0\u202f](?:(?:de|du|des|van|von|der|le|la|de la)[ \u00a0]|d[’'])?({_NAME})")
TITLE = re.compile(
    r"\b(?:M|Mr|Mrs|Ms|Miss|Dr|Prof|Mme|Mlle|MM|Me|Mgr|Sir|Lady|[Mm]onsieur|[Mm]adame|[Mm]ademoiselle|[Mm]aître"
    r"|[Dd]octeure?|[Pp]rofesseure?|[Dd]octor|[Pp]rofessor|Mister)\.?[ \u00a0\u202f]+$"
)
# After these a capital names a place, an honour or a thing, not a person of the data.
OF_A_THING = re.compile(
    r"(?i:\b(?:rue|avenue|av\.|boulevard|bd|place|quai|pont|lycée|collège|hôpital|école|stade|gare|tour|port|île|mont"
    r"|lac|saint|sainte|st|ste|san|santa|notre|prix|cape|mount|lake|fort|the|le|la|les|un|une|des|ce|cette|an?)"
    r"[. \u00a0-]+)$"
)
SENTENCE_ENDS = '.!?…:;\n\r"“«»(•–—*>|[-'


def shortened(found: Found) -> str:
    """The initials: 'J… D…'."""
    return " ".join(f"{word[0]}…" for word in found.text.split())


@cache
def words(kind: str) -> frozenset[str]:
    """The words of one kind of the list: plain, word, thing (first names), verb, no_surname."""
    rows = [line.partition("\t") for line in read_list("first_names.tsv").splitlines()]
    return frozenset(word for its, _, listed in rows if its == kind for word in listed.split())


def find_names(text: str) -> list[Found]:
    """Names of people in `text`, by place, without overlap."""
    found: list[Found] = []
    past = 0
    for match in CAPITAL.finditer(text):
        start, end = match.span(1)
        if start < past:
            continue
        sense, before = _sense(match[1]), text[max(0, start - 16) : start]
        titled = bool(TITLE.search(before)) and (sense is not None or match[1] not in words("no_surname"))
        if sense is None and not titled:
            continue
        stop = _end_of_surnames(text, end)
        if not titled and OF_A_THING.search(before):  # 'rue Victor Hugo': the whole of it
            past = stop
        elif titled or _is_a_name(match[1], before, text[end:stop]):
            found.append(Found("full_name" if titled or stop > end else "first_name", start, stop, text[start:stop]))
            past = stop
    return found


def _sense(word: str) -> Sense | None:
    """What else a first name is; a compound (Jean-Pierre) is nothing else; None for a word that is no first name."""
    for sense in SENSES:
        if word in words(sense):
            return sense
    return "plain" if "-" in word and all(map(_sense, word.split("-"))) else None


def _end_of_surnames(text: str, end: int) -> int:
    """Where the capitals that follow a first name end; `end` where none follows."""
    for _ in range(MOST_SURNAMES):
        match = SURNAME.match(text, end)
        if match is None or match[1] in words("no_surname"):
            break
        end = match.end()
    return end


def _is_a_name(word: str, before: str, surnames: str) -> bool:
    """word: a first name. before: what stands before it. surnames: the capitals after it, '' without any."""
    sense = _sense(word)
    if sense == "plain":
        return True
    starts = before.rstrip(" \u00a0\u202f'’")[-1:] in ("", *SENTENCE_ENDS)
    if surnames:
        return not (starts and word in words("verb") and _sense(surnames.split()[0]))
    return sense == "word" and not starts
