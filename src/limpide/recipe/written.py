"""Recipes that Limpide writes itself: from values to a file that a person reads and edits."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from ruamel.yaml import YAML

from limpide.core import files
from limpide.models.embedded import EMBEDDED
from limpide.models.families.registry import family_of

RECIPE = "recipe.yaml"
KEY = "keys/release.pem"
LONGEST = 120  # characters of a comment's line
GATES = ("domain.accuracy improves", "bias.gender.gap does not worsen", "bias.origin.gap does not worsen")


def ending(base: str, local: Path) -> dict[str, Any]:
    """The sections every such recipe ends with: formats, gates, and how the release is signed."""
    ggufs = ["gguf:f16", "gguf:q8_0"] if writes_gguf(base, local) else []
    return {
        "optimise": {"formats": ["safetensors", *ggufs]},
        "gates": list(GATES),
        "release": {"sign_with": KEY, "languages": ["en"]},
    }


def relative(path: Path, folder: Path) -> str:
    """The path as a recipe in `folder` writes it: without what tells where on this machine it is, where that can be."""
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()


def writes_gguf(base: str, local: Path) -> bool:
    """Is the base of a family that is written as GGUF? A base that is not on this machine is not known to be."""
    if base in EMBEDDED:
        return True
    config = local / "config.json"
    return config.is_file() and family_of(files.read_json(config)).gguf


def yaml_lines(values: Mapping[str, Any]) -> list[str]:
    yaml, stream = YAML(), io.StringIO()
    yaml.width = 4096  # a text stays on its line
    yaml.dump(dict(values), stream)
    return stream.getvalue().rstrip("\n").split("\n")


def comment_lines(sentences: Sequence[str], indent: str = "") -> Iterator[str]:
    """Sentences as comments, wrapped; what others wrote in a key or a value cannot end a comment."""
    for sentence in sentences:
        plain = "".join(c if c.isprintable() else "?" for c in " ".join(sentence.split()))
        for number, line in enumerate(wrap(plain, LONGEST - len(indent) - 4) or [""]):
            yield f"# {indent}{'  ' if number else ''}{line}"
