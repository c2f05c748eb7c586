"""`limpide data show`: examples as the model will see them."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from limpide.cli.output import Json, print_json, progress

app = App(name="data", help="Look at examples as the model will see them.", help_format="plaintext")


@app.command
def show(
    examples: Path,
    *,
    model: Annotated[str, Parameter(help="whose tokenizer and template are used")] = "smollm2-135m-instruct",
    rows: Annotated[int, Parameter(help="how many examples to show")] = 3,
    as_json: Json = False,
) -> None:
    """Print examples with the tokens that are trained in colour; without colour, between «».

    Example: limpide data show examples/press-operator/examples.jsonl --rows 2

    Parameters
    ----------
    examples
        A .jsonl, .json or .csv file.
    """
    from limpide.data.reading import read_examples
    from limpide.models.model import open_tokenizer
    from limpide.models.prompt import render
    from limpide.models.sources import resolve

    reading = read_examples(examples)
    source = resolve(model, progress(as_json))
    tokenizer, stop_ids = open_tokenizer(source.base or source.folder)
    for example in reading.examples[: max(0, rows)]:
        rendered = render(tokenizer, example.messages, stop_ids)
        pieces = [tokenizer.decode([i]) for i in rendered.ids]
        if as_json:
            tokens = zip(rendered.ids, pieces, rendered.roles, rendered.trained, strict=True)
            rows_of = [{"id": i, "text": p, "role": r, "trained": t} for i, p, r, t in tokens]
            print_json({"example": example.id, "source": example.source, "tokens": rows_of})
        else:
            trained = sum(rendered.trained)
            print(f"{example.id} ({example.source}): {len(pieces)} tokens, {trained} trained")
            print(coloured(rendered.ids, rendered.trained, tokenizer))
            print()


def coloured(ids: tuple[int, ...], trained: tuple[bool, ...], tokenizer: object) -> str:
    """The text with runs of trained tokens marked."""
    start, end = ("\x1b[30;42m", "\x1b[0m") if sys.stdout.isatty() else ("«", "»")
    text, at = "", 0
    while at < len(ids):
        until = at
        while until < len(ids) and trained[until] == trained[at]:
            until += 1
        piece = tokenizer.decode(list(ids[at:until]))  # type: ignore[attr-defined]  # transformers has no types
        text += f"{start}{piece}{end}" if trained[at] else piece
        at = until
    return text
