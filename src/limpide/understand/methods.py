"""The methods of an explanation by name: what each answers, what it needs of the model, and where it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Literal, get_args

from limpide.core.errors import UsageError, nearest
from limpide.core.operation import Need

MethodName = Literal["attribution", "lens", "patching", "parts", "influence", "faithfulness"]
NAMES: tuple[MethodName, ...] = get_args(MethodName)  # in the order in which they run


@dataclass(frozen=True)
class Method:
    """module: a file with `explain(model, question, settings, progress, seed)` and a record that it returns; that of
    faithfulness has `check` instead, which takes the rankings of others. Either may have a
    `require(model, question, settings)`: in no time, whether the method can answer at all; else it raises UsageError.
    after: what must have run before."""

    module: str
    title: str
    needs: tuple[Need, ...]
    after: tuple[MethodName, ...] = ()

    def load(self) -> ModuleType:
        return import_module(self.module)


METHODS: dict[MethodName, Method] = {
    "attribution": Method(
        "limpide.understand.attribution", "which words of the prompt the answer rests on", ("gradients",)
    ),
    "lens": Method("limpide.understand.lens", "what each layer would answer", ("activations",)),
    "patching": Method(
        "limpide.understand.patching", "which places inside the network carry the answer", ("activations",)
    ),
    "parts": Method("limpide.understand.parts", "what each head, MLP and expert adds", ("activations",)),
    "influence": Method("limpide.understand.influence", "which training examples taught it", ("gradients",)),
    "faithfulness": Method(
        "limpide.understand.faithfulness", "whether the explanation is true", ("scores",), ("attribution",)
    ),
}


def chosen(given: Iterable[str]) -> tuple[MethodName, ...]:
    """The methods named, with what they build on, in the order in which they run.

    given: names, or several separated by commas. Raises UsageError naming the nearest.
    """
    names = {name.strip() for words in given for name in words.split(",") if name.strip()}
    for name in sorted(names):
        if name not in METHODS:
            raise UsageError(f"There is no method '{name}'.{nearest(name, NAMES)}", expected=", ".join(NAMES))
    before = {first for name in NAMES if name in names for first in METHODS[name].after}
    return tuple(name for name in NAMES if name in names or name in before)
