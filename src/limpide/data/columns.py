"""Which column of the user's file is which: asked for by name, recognised, or guessed and said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from limpide.core.errors import DataError, nearest

Form = Literal["messages", "conversations", "prompt", "chosen", "text"]

# Our name → the names other tools and people use for it, most usual first.
ALIASES: dict[str, tuple[str, ...]] = {
    "messages": (),
    "conversations": (),
    "prompt": ("question", "instruction", "consigne"),
    "input": (),
    "answer": ("response", "output", "completion", "réponse", "reponse"),
    "chosen": ("preferred", "chosen_response", "response_chosen", "choisie", "préférée"),
    "rejected": ("dispreferred", "rejected_response", "response_rejected", "rejetée", "écartée"),
    "text": ("sentence", "texte", "phrase", "document", "review", "avis", "comment", "commentaire", "tweet"),
    "label": ("category", "catégorie", "categorie", "class", "classe", "étiquette", "etiquette", "sentiment", "intent"),
    "system": ("system_prompt",),
    "id": (),
    "topic": (),
    "group": (),
    "language": ("lang", "langue"),
    "split": (),
    "synthetic": (),
}
# The columns that make an example, by form; those of every form; what to call the form in front of a person.
SAID: dict[Form, tuple[str, ...]] = {
    "messages": ("messages", "chosen", "rejected"),
    "conversations": ("conversations", "chosen", "rejected"),
    "prompt": ("prompt", "input", "answer", "chosen", "rejected"),
    "chosen": ("chosen", "rejected"),
    "text": ("text", "label"),
}
ABOUT = ("system", "id", "topic", "group", "language", "split", "synthetic")
TITLES: dict[Form, str] = {
    "messages": "chat messages",
    "conversations": "ShareGPT conversations",
    "prompt": "prompt and answer",
    "chosen": "preference pairs",
    "text": "text and label",
}
EXPECTED = (
    "columns 'prompt' and 'answer', 'messages', 'conversations', 'text' and 'label', "
    "or 'chosen' and 'rejected' beside one of the first three"
)
WORDS = {"prompt": "question", "answer": "answer", "text": "text", "label": "label"}


@dataclass(frozen=True)
class Columns:
    """names: our name → the file's. guessed: the part of `names` that rests on an alias. unused: left out.

    note: which other form the columns would fit, and how to ask for it.
    """

    form: Form
    names: Mapping[str, str]
    guessed: Mapping[str, str]
    unused: tuple[str, ...] = ()
    note: str | None = None

    @property
    def title(self) -> str:
        """What the file was read as, for a person: 'Alpaca', 'chat messages, some with a rejected answer' …"""
        title = TITLES[self.form]
        if self.form == "prompt":
            said = (_fold(self.names["prompt"]), _fold(self.names.get("answer", "")))
            title = "Alpaca" if said == ("instruction", "output") else title
        return f"{title}, with rejected answers" if self.form != "chosen" and "rejected" in self.names else title

    def record(self) -> dict[str, object]:
        return {
            "form": self.form,
            "read_as": self.title,
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
    fitting = _fitting(found, given)
    fits = _forms(fitting)
    if not fits:
        raise _not_found(file, found, fitting)
    asked = {ours for ours, theirs in given.items() if theirs is not None} - set(ABOUT)
    form = next((form for form in fits if asked <= set(SAID[form])), fits[0])
    if foreign := sorted(asked - set(SAID[form])):
        raise DataError(
            f"{file} is read as {TITLES[form]}, where '{foreign[0]}' of data.columns has no place.",
            expected=", ".join((*SAID[form], *ABOUT)),
        )
    if form == "prompt" and not fitting["prompt"]:
        fitting["prompt"], fitting["input"] = fitting["input"], []
    elif form == "prompt" and _fold(fitting["prompt"][0]) != "instruction" and "input" not in asked:
        fitting["input"] = []  # `input` completes `instruction` alone; beside another question it is something else
    if form == "text" and not fitting["text"]:
        fitting["text"] = fitting["prompt"] or fitting["input"]
    names: dict[str, str] = {}
    for ours in (*SAID[form], *ABOUT):
        if len(fitting[ours]) > 1:
            raise _ambiguous(file, ours, fitting[ours])
        if fitting[ours]:
            names[ours] = fitting[ours][0]
    guessed = {ours: theirs for ours, theirs in names.items() if _fold(theirs) != ours and ours not in given}
    return Columns(form, names, guessed, note=None if asked else _other_form(form, fitting))


def _fitting(found: Sequence[str], given: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Our name → the columns that could be it: the one given, else the one of that name, else all of its aliases."""
    taken = {name for name in given.values() if name is not None}
    folded: dict[str, str] = {}
    for name in found:
        if name not in taken:
            folded.setdefault(_fold(name), name)
    fitting = {}
    for ours, aliases in ALIASES.items():
        if ours in given:
            asked = given[ours]
            fitting[ours] = [] if asked is None else [asked]
        elif ours in folded:
            fitting[ours] = [folded[ours]]
        else:
            fitting[ours] = [folded[alias] for alias in aliases if alias in folded]
    return fitting


def _forms(fitting: Mapping[str, Sequence[str]]) -> list[Form]:
    """The forms whose columns are all there, the likeliest first."""
    question = fitting["prompt"] or fitting["input"]
    there: dict[Form, object] = {
        "messages": fitting["messages"],
        "conversations": fitting["conversations"],
        "prompt": question and (fitting["answer"] or fitting["chosen"]),
        "chosen": fitting["chosen"] and fitting["rejected"],
        "text": (fitting["text"] or question) and fitting["label"],
    }
    return [form for form, columns in there.items() if columns]


def _other_form(form: Form, fitting: Mapping[str, Sequence[str]]) -> str | None:
    """What to say of a file that could be texts and labels too."""
    if form == "text" or not (fitting["text"] and fitting["label"]):
        return None
    text, label = fitting["text"][0], fitting["label"][0]
    return (
        f"it was read as {TITLES[form]}; the columns '{text}' and '{label}' could be texts to classify. "
        f"To read them so: data.columns: {{text: {text}, label: {label}}}"
    )


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


def _not_found(file: str, found: Sequence[str], fitting: Mapping[str, Sequence[str]]) -> DataError:
    question, answer = fitting["prompt"] or fitting["input"], fitting["answer"] or fitting["chosen"]
    missing = [ours for ours, there in (("prompt", question), ("answer", answer)) if not there]
    if len(missing) == 2 and (fitting["text"] or fitting["label"]):
        missing = ["label"] if fitting["text"] else ["text"]
    used = {name for names in fitting.values() for name in names}
    hints = "".join(nearest(ours, [_fold(name) for name in found if name not in used]) for ours in missing)
    example = ", ".join(f"{ours}: NAME" for ours in missing)
    other = "; a running text without questions or labels goes into data.documents" if missing == ["label"] else ""
    return DataError(
        f"{file} has no column for the {' nor the '.join(WORDS[ours] for ours in missing)}.{hints}",
        received=f"columns {listed(found)}",
        expected=EXPECTED,
        remedy=f"rename the column, or say which one it is in the recipe: data.columns: {{{example}}}{other}",
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """Column names for a message: short, and not too many."""
    shown = [name if len(name) <= 40 else name[:39] + "…" for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "") if shown else "none"
