"""`limpide data`: check files of examples, look at them as the model will see them, and describe them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from limpide.cli.adapt import DATA, DataOptions
from limpide.cli.data_drafts import draft, review
from limpide.cli.option_words import in_options
from limpide.cli.output import Json, print_json, progress, visible
from limpide.core import catalogue
from limpide.core.errors import DataError, UsageError, nearest
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from limpide.data.check import Looked
    from limpide.data.checks import Check
    from limpide.data.examples import Example
    from limpide.data.prepare import PrepareSettings
    from limpide.models.lengths import Reader

app = App(name="data", help="Check examples, look at them as the model will, describe them.", help_format="plaintext")
app.command(draft)
app.command(review)

MARKS = {"stops": ("✗", "\x1b[1;31m"), "warns": ("!", "\x1b[1;33m"), "told": ("·", "\x1b[2m")}
PLAIN = "\x1b[0m"
Files = Annotated[Path, Parameter(help="files of examples")]


@dataclass(frozen=True)
class Layout:
    """Where in the files the examples are, where it cannot be recognised."""

    columns: Annotated[
        dict[str, str], Parameter(help="our column name and the file's, as --columns.prompt Question")
    ] = field(default_factory=dict)
    sheet: Annotated[str | None, Parameter(help="sheet of an .xlsx file; without it, the first that holds rows")] = None


Where = Annotated[Layout, Parameter(name="*")]
ANYWHERE = Layout()


@dataclass(frozen=True)
class Owner:
    """What the owner of a data set declares."""

    name: Annotated[str | None, Parameter(help="what the set is called; without it, the first file's name")] = None
    description: Annotated[str | None, Parameter(help="what it is, in a sentence")] = None
    licence: Annotated[str | None, Parameter(help="its licence, as its owner declares it")] = None
    provenance: Annotated[str | None, Parameter(help="where the rows come from, as its owner declares it")] = None


@app.command
def check(
    *files: Annotated[Path, Parameter(help="files of examples, documents, and folders of documents")],
    prepare: Annotated[DataOptions, Parameter(name="*", group=DATA)] = DataOptions(),  # noqa: B008  # immutable
    model: Annotated[
        str | None, Parameter(help="whose tokens are counted: what is too long, what would be lost")
    ] = None,
    places: Annotated[int, Parameter(help="how many places of each check are shown")] = 5,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Check examples, documents and a charter before a model learns from them: what stops, what warns, what is worth
    knowing, each with lines.

    Leaves with code 2 when a check stops, and 0 otherwise. Nothing is changed.

    Example: limpide data check examples.jsonl manual.pdf --model smollm2-135m-instruct
    """
    from limpide.data.check import look
    from limpide.data.checks import MOST_LISTED

    shown = progress(as_json)
    looked = look(_settings(files, prepare.model_dump(exclude_unset=True)), seed, shown)
    if model is not None:
        looked = replace(looked, of_tokens=tuple(_of_tokens(model, looked.examined.examples, shown)))
    stopping = looked.stopping()
    if as_json:
        print_json(looked.report(max(places, MOST_LISTED)))
    else:
        _print_read(looked)
        for severity in MARKS:
            for one in looked.checks:
                if one.severity == severity:
                    _print_check(one, places)
    if stopping:
        raise DataError(
            f"{len(stopping)} {'check stops' if len(stopping) == 1 else 'checks stop'}: "
            f"{', '.join(one.name for one in stopping)}.",
            remedy="; ".join(dict.fromkeys(one.remedy for one in stopping if one.remedy)) or None,
        )


def _settings(files: Sequence[Path], chosen: Mapping[str, Any]) -> "PrepareSettings":
    """What is read, from the files as they were named. Raises UsageError where none was."""
    from limpide.data.documents import READERS
    from limpide.data.prepare import PrepareSettings

    if not files:
        raise UsageError("No file of examples was named.", remedy="name one, as examples.jsonl, after the command")
    documents = tuple(path for path in files if path.is_dir() or path.suffix.lower() in READERS)
    examples = tuple(path for path in files if path not in documents)
    return PrepareSettings(**{**chosen, "examples": examples, "documents": documents})


def _print_read(looked: "Looked") -> None:
    """What was read as what."""
    from limpide.data.columns import listed

    for reading in looked.examined.readings:
        used = ", ".join(f"{ours} = '{theirs}'" for ours, theirs in reading.columns.names.items())
        unread = f"; not read: {listed(reading.columns.unused)}" if reading.columns.unused else ""
        print(visible(f"{reading.name}: {reading.rows} rows, read as {reading.columns.title}: {used}{unread}"))
        for warning in reading.warnings:
            print(visible(f"  {in_options(warning)}"))
    if looked.documents is not None:
        for document in looked.documents.readings:
            print(visible(f"{document.name}: {len(document.passages)} passages, {document.words} words"))
        for warning in looked.documents.warnings:
            print(visible(f"  {in_options(warning)}"))


def _print_check(one: "Check", most: int) -> None:
    mark, colour = MARKS[one.severity]
    if sys.stdout.isatty():
        mark = f"{colour}{mark}{PLAIN}"
    print(f"{mark} {visible(in_options(one.said))}")
    if one.severity == "told":
        return
    for place in one.places[: max(0, most)]:
        if place.what != one.said:
            print(visible(f"    {place}"))
    if len(one.places) > most:
        print(f"    … and {len(one.places) - most} more")


def _of_tokens(model: str, examples: Sequence["Example"], shown: Progress) -> list["Check"]:
    """The checks that need a model's tokenizer."""
    from limpide.models.lengths import length_checks, open_reader
    from limpide.models.sources import resolve

    source = resolve(model, shown)
    with shown.task("Opening the tokenizer"):
        reader = open_reader(source.base or source.folder)
    width = catalogue.find("adapt.train").settings.model_fields["pack_tokens"].default
    with shown.task("Counting tokens", total=len(examples)) as task:
        return length_checks(reader, examples, width, task.advance)


@app.command
def card(
    *files: Files,
    out: Annotated[Path, Parameter(help="folder to write the card in")],
    owner: Annotated[Owner | None, Parameter(name="*")] = None,
    language: Annotated[Literal["en", "fr"], Parameter(help="language of README.md; the other stands beside")] = "en",
    croissant: Annotated[bool, Parameter(negative="", help="write croissant.json too (Croissant 1.0)")] = False,
    model: Annotated[str | None, Parameter(help="whose tokens are counted")] = None,
    layout: Where = ANYWHERE,
    as_json: Json = False,
) -> None:
    """Write the card of a data set: composition, provenance, filtering log and checks, in English and French.

    Everything is counted from the files but what is declared here. Files that would be refused get a card that says so.

    Example: limpide data card examples.jsonl --out card --licence cc-by-4.0 --provenance "Written by our support team."
    """
    from limpide.data.examine import Rules, examine
    from limpide.document.data_card import Declared, card_of, write_card

    shown = progress(as_json)
    if not files:
        raise UsageError("No file of examples was named.", remedy="name one, as examples.jsonl, after the command")
    examined = examine(files, layout.columns, Rules(sheet=layout.sheet), 0, shown)
    more = [] if model is None else _of_tokens(model, examined.examples, shown)
    sizes = {reading.name: path.stat().st_size for reading, path in zip(examined.readings, files, strict=True)}
    said = {name: value for name, value in vars(owner or Owner()).items() if value}
    declared = Declared.model_validate({"name": files[0].stem, **said})
    made = card_of(examined, more, declared, sizes)
    written = write_card(made, out, language, croissant=croissant)
    stopping = [one.name for one in made.checks if one.severity == "stops"]
    if as_json:
        print_json(
            {"written": [str(path) for path in written], "stops": stopping, "card": made.model_dump(mode="json")}
        )
        return
    for path in written:
        print(path)
    if stopping:
        print(f"The card says that these files would be refused: {', '.join(stopping)}.")


@app.command
def show(
    examples: Path,
    *,
    model: Annotated[str, Parameter(help="whose tokenizer and template are used")] = "smollm2-135m-instruct",
    rows: Annotated[int, Parameter(help="how many examples to show")] = 3,
    row: Annotated[str | None, Parameter(help="the one example to show: its id, or its line in the file")] = None,
    limit: Annotated[int | None, Parameter(help="tokens after which to mark a cut; without it, the context")] = None,
    mask: Annotated[
        tuple[Literal["secrets", "personal_data", "names"], ...],
        Parameter(negative="", help="what is replaced by its kind, as where a recipe masks it before training"),
    ] = (),
    layout: Where = ANYWHERE,
    as_json: Json = False,
) -> None:
    """Print examples with the tokens that are trained in colour; without colour, between «».

    Of a preference both answers are shown. Where a row is longer than the limit, the place where it would be cut is
    marked ✂; Limpide cuts nothing.

    Example: limpide data show examples/press-operator/examples.jsonl --rows 2

    Parameters
    ----------
    examples
        A file of examples.
    """
    for option, number in (("--rows", rows), ("--limit", limit)):
        if number is not None and number < 1:
            raise UsageError(f"{option} is a number from 1 up.", received=str(number))
    from limpide.data.reading import read_examples
    from limpide.data.sensitive import look
    from limpide.models.lengths import open_reader
    from limpide.models.sources import resolve

    shown_how = progress(as_json)
    reading = read_examples(examples, layout.columns, sheet=layout.sheet, skip_bad_rows=True)
    if reading.skipped:
        shown_how.warn(f"Rows at fault are not shown: {reading.skipped}. See: limpide data check")
    found = reading.examples
    chosen, _ = look(found[:rows] if row is None else [_the_row(found, row)], mask)
    source = resolve(model, shown_how)
    with shown_how.task("Opening the tokenizer"):
        reader = open_reader(source.base or source.folder)
    if reader.kind != "decoder":
        raise UsageError(
            f"{model} is an {reader.kind}: it has no conversations to show.", remedy="name a decoder with --model"
        )
    limit = reader.context if limit is None else limit
    if as_json:
        print_json([_record(reader, example, limit) for example in chosen])
        return
    if chosen:
        print(f"{coloured_text('trained', True)}: what the model learns to say. The rest is what it is given.\n")
    for example in chosen:
        for name, one in _sides(reader, example, limit).items():
            _print_tokens(example, name, one, limit, reader.tokenizer)


def _sides(reader: "Reader", example: "Example", limit: int) -> dict[str, list[dict[str, Any]]]:
    """The tokens of an example; of a preference, those of both answers, by name."""
    from limpide.models.model import quiet_transformers

    sides = {"": example}
    if example.rejected is not None:
        sides = {"preferred": example, "rejected": _other_side(example)}
    with quiet_transformers():  # which warns of the long rows that are looked for
        return {name: _tokens(reader, side, limit) for name, side in sides.items()}


def _record(reader: "Reader", example: "Example", limit: int) -> dict[str, Any]:
    """The same for programs. runs: tokens that follow each other and are treated alike, as one text."""
    record = {"example": example.id, "source": example.source, "limit": limit}
    for name, one in _sides(reader, example, limit).items():
        before = "rejected_" if name == "rejected" else ""
        record |= {f"{before}tokens": one, f"{before}runs": list(runs(one, reader.tokenizer))}
    return record


def _the_row(found: Sequence["Example"], named: str) -> "Example":
    """The example of this id, or of this line of the file."""
    for example in found:
        if named in (example.id, str(example.place[1])):
            return example
    raise UsageError(
        f"No example has the id or the line '{named}'.{nearest(named, [example.id for example in found])}",
        expected=f"one of {len(found)} examples, from {found[0].id} to {found[-1].id}",
    )


def _other_side(example: "Example") -> "Example":
    """The same conversation, ending with the rejected answer."""
    from limpide.data.examples import Message

    last = Message(role="assistant", content=example.rejected or "")
    return example.model_copy(update={"messages": (*example.prompt, last), "rejected": None, "label": None})


def _tokens(reader: "Reader", example: "Example", limit: int) -> list[dict[str, Any]]:
    """Each token: its id, text, role, and whether it is trained and kept within the limit."""
    from limpide.models.prompt import render

    rendered = render(reader.tokenizer, example.messages, reader.stop_ids)
    marked = zip(rendered.ids, rendered.roles, rendered.trained, strict=True)
    return [
        {"id": id, "text": reader.tokenizer.decode([id]), "role": role, "trained": trained, "kept": at < limit}
        for at, (id, role, trained) in enumerate(marked)
    ]


def _print_tokens(example: "Example", side: str, tokens: list[dict[str, Any]], limit: int, tokenizer: Any) -> None:
    trained = sum(token["trained"] for token in tokens)
    lost = sum(token["trained"] for token in tokens if not token["kept"])
    use = "to be made less likely" if side == "rejected" else "trained"
    title = f"{example.id} ({example.source}){f', {side}' if side else ''}: {len(tokens)} tokens, {trained} {use}"
    if len(tokens) > limit:
        title += f"; ✂ after {limit} would lose {len(tokens) - limit}, {lost} of them trained"
    print(visible(title))
    kept = tokens[:limit]
    print(coloured(kept, tokenizer) + (f"✂{coloured(tokens[limit:], tokenizer)}" if len(tokens) > limit else ""))
    print()


def runs(tokens: Sequence[dict[str, Any]], tokenizer: Any) -> Iterator[dict[str, Any]]:
    """The text of tokens that follow each other and are treated alike: one may be a part of a character only."""
    for alike, some in groupby(tokens, lambda token: {name: token[name] for name in ("role", "trained", "kept")}):
        ids = [token["id"] for token in some]
        yield {"text": tokenizer.decode(ids), "tokens": len(ids), **alike}


def coloured(tokens: Sequence[dict[str, Any]], tokenizer: Any) -> str:
    """The text with runs of trained tokens marked."""
    return "".join(coloured_text(visible(run["text"]), run["trained"]) for run in runs(tokens, tokenizer))


def coloured_text(text: str, trained: bool) -> str:
    start, end = ("\x1b[30;42m", PLAIN) if sys.stdout.isatty() else ("«", "»")
    return f"{start}{text}{end}" if trained else text
