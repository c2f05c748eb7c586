"""A piece of a text that a search found: a name, personal data, a secret."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """text[start:end] of the text searched: the part to hide, and no more."""

    kind: str
    start: int
    end: int
    text: str
