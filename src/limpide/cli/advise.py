"""`limpide advise MODEL DATA…`: what to expect of a training, before it takes its time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from cyclopts import Parameter

from limpide.adapt.settings import TrainSettings
from limpide.cli import adapt
from limpide.cli.adapt import TRAINING, DataOptions
from limpide.cli.output import Json, print_json, progress, visible
from limpide.core import catalogue
from limpide.core.operation import Subject


def advise(
    model: Annotated[str, Parameter(help="alias, folder, .gguf file, or hub:owner/name@revision")],
    *data: Annotated[Path, Parameter(help="files of examples, documents, and folders of documents")],
    prepare: Annotated[DataOptions, Parameter(name="*", group=adapt.DATA)] = DataOptions(),  # noqa: B008  # immutable
    train: Annotated[TrainSettings, Parameter(name="*", group=TRAINING)] = TrainSettings(),  # noqa: B008  # immutable
    seed: Annotated[int, Parameter(help="every random choice follows from it")] = 0,
    language: Annotated[Literal["en", "fr"], Parameter(name="--report-language", help="language of the advice")] = "en",
    as_json: Json = False,
) -> None:
    """Say whether a training can work, what it takes on this machine, and what its held-out rows could show.

    A few steps are tried, and nothing is kept.

    Example: limpide advise smollm2-135m-instruct examples/press-operator/examples.jsonl
    """
    from limpide.cli.adapting import DATA, base_of, command_line, order_of, step
    from limpide.document.advised import sentences

    shown = progress(as_json)
    with TemporaryDirectory(prefix="limpide-") as name:
        folder = Path(name)
        rest = {"train": train, "seed": seed, "out": folder / "adapted", "language": language}
        order = order_of(model, data, prepare.model_dump(exclude_unset=True), rest)
        source = base_of(order, shown)
        step("data.prepare", order.prepare, Subject(folder / DATA, seed=seed), shown)
        subject = Subject(folder, {DATA: folder / DATA}, source.folder, source.ref, seed)
        found = catalogue.find("adapt.advice").run(subject, train, shown).facts
    if as_json:
        print_json(dict(found))
        return
    for sentence in sentences(found, language):
        print(visible(sentence))
    print(f"Next:\n  {command_line(replace(order, out=Path('adapted')))}")


def spread(arguments: Sequence[str]) -> list[str]:
    """The command line with every list of the training's settings repeated."""
    return adapt.spread(arguments)
