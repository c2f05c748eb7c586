"""Text of a user or a model, as a terminal may print it."""

from unicodedata import category

HIDDEN = ("Cc", "Cf", "Co", "Cs")  # general categories of Unicode: control, format, private use, surrogates


def visible(text: str) -> str:
    """Text of a user or a model, in which nothing commands the terminal or turns the direction of reading: control and
    format characters but newline, tab and the joiners of scripts and emoji are written as their code points."""
    return "".join(c if c in "\n\t\u200c\u200d" or category(c) not in HIDDEN else f"\\u{ord(c):04x}" for c in text)
