"""Names that people give to keys and accounts."""

import unicodedata

from limpide.core.errors import UsageError
from limpide.core.visible import visible

LONGEST = 64  # characters


def checked_name(name: str) -> str:
    """The name, composed (NFC) and without spaces around it. Raises UsageError for one that cannot be shown."""
    made = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode()).strip()
    if not 1 <= len(made) <= LONGEST:
        raise UsageError(
            "This name is empty or too long.", received=f"{len(made)} characters", expected=f"1 to {LONGEST} characters"
        )
    if visible(made) != made or "\n" in made or "\t" in made:
        what, expected = "This name holds a character that cannot be seen.", "letters, digits, spaces, signs"
        raise UsageError(what, received=visible(made), expected=expected)
    return made


def compared(name: str) -> str:
    """The form under which two names are the same: case, width and composition of letters do not count."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
