"""Lists on a command line: `--axes gender,age` is `--axes gender --axes age`, which is what cyclopts reads."""

from collections.abc import Iterator, Sequence
from inspect import isclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from limpide.core.operation import Settings


def repeated(arguments: Sequence[str], settings: type[Settings]) -> list[str]:
    """The command line with every option that takes a list repeated, one value each; texts, which may hold commas, are
    left whole."""
    lists = set(_lists(settings))
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option.replace("_", "-") not in lists:
            found.append(word)
            continue
        given = value if equals else next(words, None)
        parts = [part.strip() for part in (given or "").split(",") if part.strip()]
        found += [w for part in parts for w in (option, part)] or ([word] if given is None else [option, given])
    return found


def _lists(settings: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The options that take a list of names or numbers, of settings within settings too."""
    for name, field in settings.model_fields.items():
        option = f"{prefix}{name.replace('_', '-')}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if get_origin(kind) is tuple and get_args(kind)[0] is not str:
                yield f"--{option}"
            elif _is_settings(kind):
                yield from _lists(kind, f"{option}.")


def _is_settings(kind: Any) -> bool:
    return isclass(kind) and get_origin(kind) is None and issubclass(kind, BaseModel)
