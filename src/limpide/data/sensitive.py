"""What a model should not learn, looked for in every text of an example: secrets, personal data, names of people.

Nothing here raises: what is found is returned with its places, so that the faults of every check are told at once.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limpide.core.errors import Fault
from limpide.data import names, personal, secrets, texts
from limpide.data.examples import Example, Message


@dataclass(frozen=True)
class Sort:
    """What is looked for. find: text → pieces with `kind`, `start`, `end`. kinds: kind → how a person calls it.

    hint: enough of a piece to recognise it where it stands, never the piece.
    """

    name: str
    find: Callable[[str], Sequence[Any]]
    kinds: Mapping[str, str]
    hint: Callable[[Any], str]


PERSONAL = {str(kind): said for kind, said in personal.KINDS.items()}
# Secrets first: the end of 'https://ada:pass@example.org' reads as an e-mail address.
SORTS = (
    Sort("secrets", secrets.find_secrets, secrets.KINDS, secrets.shortened),
    Sort("personal_data", personal.find_personal, PERSONAL, personal.shortened),
    Sort("names", names.find_names, names.KINDS, names.shortened),
)
# What stands in the place of a piece in a French text; in any other, its kind in capitals.
FRENCH: Mapping[str, str] = {
    "private_key": "CLÉ_PRIVÉE",
    "aws_key": "CLÉ_AWS",
    "github_token": "JETON_GITHUB",
    "gitlab_token": "JETON_GITLAB",
    "access_key": "CLÉ_D_ACCÈS",
    "hugging_face_token": "JETON_HUGGING_FACE",
    "slack_token": "JETON_SLACK",
    "google_key": "CLÉ_GOOGLE",
    "payment_service_key": "CLÉ_DE_PAIEMENT",
    "model_service_key": "CLÉ_DE_SERVICE",
    "web_token": "JETON_WEB",
    "url_password": "MOT_DE_PASSE_D_ADRESSE",
    "named_secret": "SECRET",
    "password": "MOT_DE_PASSE",
    "email": "COURRIEL",
    "phone": "TÉLÉPHONE",
    "iban": "IBAN",
    "nir": "NIR",
    "card": "CARTE",
    "full_name": "NOM",
    "first_name": "PRÉNOM",
}
MASKS = {*FRENCH.values(), *(kind.upper() for sort in SORTS for kind in sort.kinds)}
PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(sorted(MASKS))})\]")


@dataclass
class Seen:
    """What was found of one sort. places: one a piece. stuck: those in labels that tell rows apart, never masked."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    places: list[Fault] = field(default_factory=list)
    stuck: list[Fault] = field(default_factory=list)


def look(
    examples: Sequence[Example], masked: Collection[str] = (), advance: Callable[[], None] = lambda: None
) -> tuple[list[Example], dict[str, Seen]]:
    """The examples, and what was found in them by name of a sort.

    masked: names of the sorts whose pieces are replaced by their kind, as in `[EMAIL]`; in a row that is French, by its
    column or as it reads, in French, as in `[COURRIEL]`. Ids, topics and groups are searched and never masked, because
    that would mix different rows. advance: called once a row.
    """
    seen = {sort.name: Seen() for sort in SORTS}
    kept = []
    for example in examples:
        kept.append(_look_at(example, masked, seen))
        advance()
    return kept, seen


def pieces(text: str) -> list[tuple[Sort, Any]]:
    """Everything of every sort in a text, without overlap."""
    found: list[tuple[Sort, Any]] = []
    for sort in SORTS:
        for piece in sort.find(text):
            if all(piece.end <= other.start or piece.start >= other.end for _, other in found):
                found.append((sort, piece))
    return found


def mask(text: str, masked: Collection[str], language: str | None = None) -> str:
    """The text with the pieces of the sorts named replaced by their kinds. Masking twice changes nothing.

    language: of the text; 'fr' names the kinds in French.
    """
    named = FRENCH if language == "fr" else {}
    while found := [piece for sort, piece in pieces(text) if sort.name in masked]:
        for piece in sorted(found, key=lambda one: -one.start):
            text = f"{text[: piece.start]}[{named.get(piece.kind, piece.kind.upper())}]{text[piece.end :]}"
    return text


def holds_placeholder(text: str) -> bool:
    """Does it hold what masking leaves: `[EMAIL]`, `[PRIVATE_KEY]`, `[COURRIEL]`?"""
    return PLACEHOLDER.search(text) is not None


def _look_at(example: Example, masked: Collection[str], seen: Mapping[str, Seen]) -> Example:
    places: list[tuple[str, str]] = [(f"the {m.role} message", m.content) for m in example.messages]
    if example.rejected is not None:
        places.append(("the rejected answer", example.rejected))
    counts = dict.fromkeys(seen, 0)
    # A class keeps one name in all rows, whatever the language of each.
    language = example.language or texts.language(example) if masked and example.label is None else None
    written = []
    for where, text in places:
        found = pieces(text)
        for sort, piece in found:
            _note(seen[sort.name], sort, piece, example, where)
            counts[sort.name] += 1
        written.append(mask(text, masked, language) if any(sort.name in masked for sort, _ in found) else text)
    for label in ("id", "topic", "group"):
        for sort, piece in pieces(getattr(example, label) or ""):
            if sort.name != "names":  # a topic may be called 'Pierre' or 'Rose': it groups rows, nobody learns it
                _note(seen[sort.name], sort, piece, example, f"the {label}")
                seen[sort.name].stuck.append(seen[sort.name].places[-1])
                counts[sort.name] += 1
    for name, count in counts.items():
        seen[name].rows += count > 0
    if [text for _, text in places] == written:
        return example
    made = _rewritten(example, written)
    if made.rejected == made.answer:
        both = Fault(*example.place, "masked, the preferred and the rejected answer are the same")
        for sort, _ in pieces(example.answer):
            if sort.name in masked:
                seen[sort.name].stuck.append(both)
                break
    return made


def _note(seen: Seen, sort: Sort, piece: Any, example: Example, where: str) -> None:
    seen.counts[piece.kind] += 1
    seen.places.append(Fault(*example.place, f"{sort.kinds[piece.kind]} '{sort.hint(piece)}' in {where}"))


def _rewritten(example: Example, texts: Sequence[str]) -> Example:
    """The example with other contents: of its messages, then of its rejected answer."""
    messages = tuple(Message(role=m.role, content=text) for m, text in zip(example.messages, texts, strict=False))
    rejected = texts[-1] if example.rejected is not None else None
    label = messages[-1].content if example.label is not None else None
    return example.model_copy(update={"messages": messages, "rejected": rejected, "label": label})
