"""The studio's sentences: `words/<language>/<page>.json`, one file a page, whose keys begin with the page's name.

They join those of the documents (names of measures, units, months), and `document/language.py` fills them: it writes
numbers, shares, durations and dates as each language does, and sets French spacing.
"""

import json
from functools import cache
from pathlib import Path

from limpide.core.errors import LimpideError
from limpide.document.language import Language, spaced
from limpide.document.language import language as of_documents

WORDS = Path(__file__).parent
LANGUAGES = ("en", "fr")


@cache
def language(code: str) -> Language:
    """Every sentence in one language. Raises LimpideError when two files give the same key."""
    words = dict(of_documents(code).words)
    for path in sorted((WORDS / code).glob("*.json")):
        own: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        twice = sorted(words.keys() & own.keys())
        if twice:
            raise LimpideError(f"'{twice[0]}' is given twice among the studio's words.", received=path)
        words |= {key: spaced(text) if code == "fr" else text for key, text in own.items()}
    return Language(code, words)


def preferred(header: str, otherwise: str = "en") -> str:
    """The language a browser asks for in `Accept-Language`, among ours."""
    asked = []
    for position, part in enumerate(header[:1000].split(",")):
        tag, _, rest = part.strip().partition(";")
        weight = rest.strip().removeprefix("q=")
        try:
            asked.append((-float(weight) if weight else -1.0, position, tag[:2].lower()))
        except ValueError:
            continue
    return next((code for weight, _, code in sorted(asked) if weight < 0 and code in LANGUAGES), otherwise)
