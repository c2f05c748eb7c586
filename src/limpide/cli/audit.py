"""`limpide audit SUITE MODEL`: one command a suite of the catalogue, its options from the suite's settings."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from limpide.cli.output import Json, print_json, print_rows, progress
from limpide.core import catalogue
from limpide.core.errors import ModelError, UsageError
from limpide.core.files import clear_write_errors
from limpide.core.measure import Measure
from limpide.core.operation import Operation, Subject

app = App(name="audit", help="Measure one thing about a model.", help_format="plaintext")


def command(operation: Operation) -> Callable[..., None]:
    """The command line of one audit, derived from its settings."""
    suite = operation.name.split(".")[1]

    def audit(
        model: str,
        *,
        data: Annotated[Path | None, Parameter(help="prepared data: the folder of a recipe's step 'data'")] = None,
        out: Annotated[Path | None, Parameter(help="folder to keep measures and items in; it must not exist")] = None,
        seed: int = 0,
        settings: Any = None,
        as_json: Json = False,
    ) -> None:
        from limpide.models.sources import resolve

        if out is not None and out.exists():
            raise UsageError(f"{out} exists.", remedy="name a folder that does not exist yet")
        shown = progress(as_json)
        source = resolve(model, shown)
        if source.kind == "adapter":
            raise ModelError(
                f"{model} is an adapter; what is measured is a whole model.",
                remedy="merge it into its base first (`limpide run` does, and measures both)",
            )
        inputs = {} if data is None else {"data": data}
        if out is not None:
            with clear_write_errors(out):
                out.parent.mkdir(parents=True, exist_ok=True)
        with (
            clear_write_errors(out or Path(tempfile.gettempdir()) / "audit"),
            tempfile.TemporaryDirectory(dir=out.parent if out else None) as made,
        ):
            subject = Subject(Path(made), inputs, source.folder, source.ref, seed)
            result = operation.run(subject, settings or operation.settings(), shown)
            result.save(subject.out)
            if out is not None:
                subject.out.rename(out)
                Path(made).mkdir()  # what the context manager removes
        if as_json:
            print_json([m.model_dump(mode="json") for m in result.measures])
        else:
            print_rows([(m.label, in_words(m)) for m in result.measures])

    audit.__doc__ = f"{operation.summary}\n\nExample: limpide audit {suite} smollm2-135m-instruct"
    audit.__annotations__["settings"] = Annotated[operation.settings, Parameter(name="*")]
    return audit


def in_words(measure: Measure) -> str:
    if measure.value is None:
        return f"{measure.state} (n = {measure.n})"
    interval = "" if measure.low is None or measure.high is None else f" [{measure.low:.4g}; {measure.high:.4g}]"
    return f"{measure.value:.4g}{interval} {measure.unit} (n = {measure.n})"


for _suite in catalogue.suites():
    app.command(command(catalogue.find(f"audit.{_suite}")), name=_suite)
