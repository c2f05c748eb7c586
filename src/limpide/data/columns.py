"""Which column of the user's file is which: asked for by name, recognised, or guessed and said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from limpide.core.errors import DataError, nearest

Form = Literal["messages", "conversations", "prompt"]

# Our name → the names other tools and people use for it, most usual first.
ALIASES: dict[str, tuple[str, ...]] = {
    "messages": (),
    "conversations": (),
    "prompt": ("question", "instruction", "consigne"),
    "input": (),
    "answer": ("response", "output", "completion", "réponse", "reponse"),
    "system": ("system_prompt",),
    "id": (),
    "topic": (),
    "group": (),
    "language": ("lang", "langue"),
    "split": (),
}
EXPECTED = "columns 'prompt' and 'answer', or 'messages', or 'conversations'"


@dataclass(frozen=True)
class Columns:
    """names: our name → the file's. guessed: the part of `names` that rests on an alias. unused: left out."""

    form: Form
    names: Mapping[str, str]
    guessed: Mapping[str, str]
    unused: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        return {
            "form": self.form,
            "used": dict(self.names),
            "guessed": dict(self.guessed),
            "unused": list(self.unused),
        }


def recognise(file: str, found: Sequence[str], given: Mapping[str, str | None]) -> Columns:
    """Decide what each column of `found` is.

    given: our name → the file's name, or None to leave a column out; it wins over any guess.
    Raises DataError when a given name is unknown, when no question or no answer is found, or when two could be it.
    """
    _check_given(file, found, given)
    folded: dict[str, str] = {}
    for name in found:
        folded.setdefault(_fold(name), name)
    names: dict[str, str] = {}
    guessed: dict[str, str] = {}
    taken = {name for name in given.values() if name is not None}
    for ours, aliases in ALIASES.items():
        if ours in given:
            asked = given[ours]
            if asked is not None:
                names[ours] = asked
            continue
        exact = folded.get(ours)
        if exact is not None and exact not in taken:
            names[ours] = exact
            continue
        candidates = [folded[a] for a in aliases if a in folded and folded[a] not in taken]
        if len(candidates) > 1 and not {"messages", "conversations"} & names.keys():
            raise _ambiguous(file, ours, candidates)
        if candidates:
            names[ours] = guessed[ours] = candidates[0]
    return _with_form(file, found, names, guessed)


def _with_form(file: str, found: Sequence[str], names: dict[str, str], guessed: dict[str, str]) -> Columns:
    """Keep the columns that the file's form uses."""
    form: Form = "prompt"
    if "messages" in names:
        form = "messages"
    elif "conversations" in names:
        form = "conversations"
    if form != "prompt":
        for other in {"messages", "conversations", "prompt", "input", "answer"} - {form}:
            names.pop(other, None)
            guessed.pop(other, None)
    else:
        if "prompt" not in names and "input" in names:
            names["prompt"] = guessed["prompt"] = names.pop("input")
        elif _fold(names.get("prompt", "")) != "instruction" and "input" in names:
            del names["input"]  # `input` completes `instruction` alone; beside another question it is something else
        missing = [ours for ours in ("prompt", "answer") if ours not in names]
        if missing:
            raise _not_found(file, found, names, missing)
    return Columns(form, names, guessed)


def _fold(name: str) -> str:
    return name.strip().casefold()


def _check_given(file: str, found: Sequence[str], given: Mapping[str, str | None]) -> None:
    for ours, theirs in given.items():
        if ours not in ALIASES:
            raise DataError(
                f"data.columns: there is no column '{ours}' to set.{nearest(ours, list(ALIASES))}",
                expected=", ".join(ALIASES),
            )
        if theirs is not None and theirs not in found:
            raise DataError(
                f"{file} has no column '{theirs}', which data.columns names for '{ours}'.{nearest(theirs, found)}",
                received=f"columns {listed(found)}",
            )


def _ambiguous(file: str, ours: str, candidates: Sequence[str]) -> DataError:
    return DataError(
        f"{file}: {len(candidates)} columns could be the {ours}: {', '.join(candidates)}.",
        remedy=f"say which one in the recipe: data.columns: {{{ours}: {candidates[0]}}}",
    )


def _not_found(file: str, found: Sequence[str], names: Mapping[str, str], missing: Sequence[str]) -> DataError:
    what = {"prompt": "question", "answer": "answer"}
    hints = ""
    for ours in missing:
        hints += nearest(ours, [_fold(name) for name in found if name not in names.values()])
    example = ", ".join(f"{ours}: NAME" for ours in missing)
    return DataError(
        f"{file} has no column for the {' nor the '.join(what[ours] for ours in missing)}.{hints}",
        received=f"columns {listed(found)}",
        expected=EXPECTED,
        remedy=f"rename the column, or say which one it is in the recipe: data.columns: {{{example}}}",
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """Column names for a message: short, and not too many."""
    shown = [name if len(name) <= 40 else name[:39] + "…" for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "") if shown else "none"
