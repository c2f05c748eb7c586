"""`limpide adapt`, the work: prepare, train, measure what was held out, and keep all of it in one folder.

What is unfinished lies beside the folder it will become, under a name that follows from all that was asked: the same
command finds it and goes on.
"""

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import limpide
from limpide.adapt.settings import TrainSettings
from limpide.cli.held_out import CLASSES, Found, changes, classes, commonest, kept_to_charter, words
from limpide.cli.option_words import in_options
from limpide.cli.places import check_new, take_name
from limpide.core import catalogue, digests, files
from limpide.core.errors import LimpideError, MissingError, ModelError, UsageError
from limpide.core.operation import Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.data.documents import READERS, digest_of_folder
from limpide.data.prepare import PrepareSettings
from limpide.models.embedded import EMBEDDED
from limpide.recipe.run import Workspace, only_one
from limpide.recipe.written import RECIPE, comment_lines, ending, relative, yaml_lines

if TYPE_CHECKING:
    from limpide.models.sources import Source

RECORD, PAGE, LOSSES = "adaptation.json", "report.html", "losses.jsonl"
DATA = "data"  # the prepared rows, inside the folder that is kept
ADAPTER, WHOLE = "adapter", "model"
INTERRUPTED = "interrupted"  # as in adapt/stages.py, which imports torch


@dataclass(frozen=True)
class Order:
    """One command line. given: files and folders as they were named."""

    model: str
    given: tuple[Path, ...]
    prepare: PrepareSettings
    train: TrainSettings
    seed: int
    out: Path
    language: str


@dataclass(frozen=True)
class Adapted:
    """record: adaptation.json. folder: where all of it is."""

    record: Mapping[str, Any]
    folder: Path


def order_of(model: str, given: Sequence[Path], data: Mapping[str, Any], rest: Mapping[str, Any]) -> Order:
    """What was asked, checked before any work. data: options of data.prepare that were given; rest: fields of Order.

    Raises MissingError for a file that is not there, UsageError where there is none or the folder is not free.
    """
    if not given:
        raise UsageError(
            "There is nothing to learn from.",
            expected="files of examples (.jsonl, .json, .csv …), or documents and folders of them",
            remedy=f"limpide adapt {shlex.quote(model)} examples.jsonl --out adapted",
        )
    missing = [str(path) for path in given if not path.exists()]
    if missing:
        raise MissingError("These are not there.", received=", ".join(missing), remedy="check the paths")
    documents = tuple(path for path in given if path.is_dir() or path.suffix.lower() in READERS)
    examples = tuple(path for path in given if path not in documents)
    prepare = PrepareSettings(**{**data, "examples": examples, "documents": documents})
    order = Order(model=model, given=tuple(given), prepare=prepare, **rest)
    check_new(order.out)
    return order


def base_of(order: Order, shown: Progress) -> "Source":
    """The model that is adapted. Raises ModelError for a closed one, or an adapter alone."""
    from limpide.adapt.adapters import check_base_precision
    from limpide.models.address import is_address
    from limpide.models.sources import resolve

    check_base_precision(order.train)
    if is_address(order.model):
        raise ModelError(
            "A model that is asked over a network cannot be adapted: its weights are closed.",
            received=order.model,
            expected="an open model: alias, folder, or hub:owner/name@revision",
        )
    source = resolve(order.model, shown)
    if source.kind == "adapter":
        raise ModelError(
            f"{order.model} is an adapter; a training begins from a whole model.",
            remedy="name its base, and combine both adapters afterwards: limpide adapters merge",
        )
    return source


def adapt(order: Order, source: "Source", shown: Progress) -> Adapted:
    """Prepare, train and measure; then the folder takes its name. One that was stopped goes on where it was.

    Raises UsageError where the same training is at work already.
    """
    made = workplace(order, source)
    alone = Workspace(made, "adapt")
    with files.clear_write_errors(made), only_one(alone), _left_behind(made, order):
        data = step("data.prepare", order.prepare, Subject(made / DATA, seed=order.seed), shown)
        found = before(source, made, order, shown)
        subject = Subject(made, {DATA: made / DATA}, source.folder, source.ref, order.seed)
        trained = step("adapt.train", order.train, subject, shown)
        told = [*measured(found, subject, shown), *kept_to(source, found, order, subject, shown)]
        record = record_of(order, source, data, trained) | {"changes": told}
        files.write_json(made / RECORD, record)
        files.write_text(made / RECIPE, recipe_text(order, source))
        files.write_text(made / PAGE, page_of(record, made, order))
        _name_base(made / ADAPTER, order.out / ADAPTER, order)
        shutil.rmtree(alone.root.parent)
        take_name(made, order.out)
    return Adapted(record, order.out)


@contextmanager
def _left_behind(made: Path, order: Order) -> Iterator[None]:
    """A training that was stopped leaves an adapter that finds its base; one refused before it learnt, nothing."""
    try:
        yield
    except KeyboardInterrupt:
        _name_base(made / INTERRUPTED / ADAPTER, made / INTERRUPTED / ADAPTER, order)
        raise
    except LimpideError:
        if not any(made.rglob("*.safetensors")):
            shutil.rmtree(made, ignore_errors=True)
        raise


def _name_base(adapter: Path, place: Path, order: Order) -> None:
    """A base that is a path here is named by it, as from `place`, where the adapter will lie."""
    local, config = Path(os.path.expanduser(order.model)), adapter / "adapter_config.json"
    if order.model not in EMBEDDED and local.exists() and config.is_file():
        files.write_json(config, files.read_json(config) | {"base_model_name_or_path": relative(local, place)})


def workplace(order: Order, source: "Source") -> Path:
    """Where this very training is at work until it is whole."""
    general = order.train.retain.examples if order.train.retain else None
    beside = [path for path in (order.prepare.charter, general) if isinstance(path, Path)]
    paths = [*order.prepare.examples, *order.prepare.documents, *beside]
    read = [digest_of_folder(path) if path.is_dir() else digests.of_file(path) for path in paths if path.exists()]
    asked = [order.prepare.model_dump(mode="json"), order.train.model_dump(mode="json"), order.seed, source.digest]
    key = digests.of_value([asked, read, digests.of_code(Path(limpide.__file__).parent)])
    return order.out.with_name(f".{order.out.name}.{key[: digests.SHORT]}")


def step(name: str, settings: Settings, subject: Subject, shown: Progress) -> Result:
    """The result of an operation: read where it is whole, else made, going on where it was stopped."""
    operation = catalogue.find(name)
    if (subject.out / "result.json").is_file():
        return Result.load(subject.out)
    if not operation.resumes:
        shutil.rmtree(subject.out, ignore_errors=True)
    subject.out.mkdir(parents=True, exist_ok=True)
    result = operation.run(subject, settings, shown)
    for warning in result.warnings:
        shown.warn(in_options(warning))
    result.save(subject.out)
    return result


# -------------------------------------------------------------------------------------------------- before and after


def before(source: "Source", made: Path, order: Order, shown: Progress) -> Found:
    """What the base makes of the held-out rows; of a classifier to be, what the commonest label would."""
    from limpide.adapt import head
    from limpide.models.model import open_model

    if head.asked(Subject(made, {DATA: made / DATA}, source.folder, source.ref, order.seed), order.train):
        return commonest(made / DATA)
    return words(open_model(source.folder), made / DATA, shown)


def measured(found: Found, subject: Subject, shown: Progress) -> list[dict[str, Any]]:
    """The changes from what was found before to what the trained model makes of the same rows."""
    from limpide.models import changed, classifier

    done = Subject(subject.out, {"adapt": subject.out}, subject.model, "result", subject.seed)
    sorting = classifier.of_steps(done) if CLASSES in found else None
    if sorting is not None:
        after = classes(sorting, subject.input(DATA), shown)
    else:
        after = words(changed.of_steps(done), subject.input(DATA), shown) if found else {}
    return [change.model_dump(mode="json") for change in changes(found, after, subject.seed)]


def kept_to(source: "Source", found: Found, order: Order, subject: Subject, shown: Progress) -> list[dict[str, Any]]:
    """How far answers keep to the charter, before and after; nothing without one, or where it would take long."""
    from limpide.models import changed
    from limpide.models.model import open_model

    if order.prepare.charter is None or CLASSES in found:
        return []
    first = kept_to_charter(open_model(source.folder), subject.input(DATA), shown)
    if not first:
        return []
    done = Subject(subject.out, {"adapt": subject.out}, subject.model, "result", subject.seed)
    last = kept_to_charter(changed.of_steps(done), subject.input(DATA), shown)
    return [change.model_dump(mode="json") for change in changes(first, last, subject.seed)]


def record_of(order: Order, source: "Source", data: Result, trained: Result) -> dict[str, Any]:
    """All that is known of the training, as it is kept."""
    return {
        "model": {"ref": source.ref, "digest": source.digest},
        "settings": {
            "data": _places(_set(order.prepare), order.out),
            "adapt": _places(_set(order.train), order.out),
            "seed": order.seed,
        },
        "data": dict(data.facts),
        "training": dict(trained.facts),
        "warnings": [in_options(warning) for warning in (*data.warnings, *trained.warnings)],
        "limpide": limpide.__version__,
        "command": command_line(order),
    }


def sentences(record: Mapping[str, Any], code: str) -> Iterator[str]:
    """What the training came to, one sentence a part that was held out, in the language `code`."""
    from limpide.document.adapted_page import told
    from limpide.document.language import language

    for change in record["changes"]:
        yield told(change, language(code))
    if not record["changes"]:
        yield language(code).say("adapted.nothing")


def page_of(record: Mapping[str, Any], made: Path, order: Order) -> str:
    from limpide.document.adapted_page import page

    return page(record, files.read_jsonl(made / LOSSES), order.language)


# ------------------------------------------------------------------------------------------- to do it again, elsewhere


def recipe_text(order: Order, source: "Source") -> str:
    """The recipe that makes a release of the same: what was set here, and the usual audits, gates and signature."""
    local = Path(os.path.expanduser(order.model))
    sections = {
        "name": digests.slug(order.out.name).lstrip(".-")[:80] or "unnamed",
        "version": "1.0.0",
        "purpose": {"intended": "Say here what the model is for."},
        "base": relative(local, order.out) if local.exists() else order.model,
        "seed": order.seed,
        "data": _places(_set(order.prepare), order.out),
        "audit": {"languages": ["en", "fr"]},
        "adapt": _places(_set(order.train), order.out),
        **ending(order.model, source.folder),
    }
    about = ["Made by `limpide adapt`: the same training as a signed release.", f"Run it with: limpide run {RECIPE}"]
    return "\n".join([*comment_lines(about), *yaml_lines(sections)]) + "\n"


def _set(settings: Settings) -> dict[str, Any]:
    """What differs from the defaults; paths stay paths."""
    return {name: value for name, value in settings.model_dump(exclude_defaults=True).items() if value is not None}


def _places(value: Any, folder: Path) -> Any:
    """Values as a recipe in `folder` writes them."""
    if isinstance(value, Path):
        return relative(value, folder)
    if isinstance(value, dict):
        return {name: _places(inner, folder) for name, inner in value.items()}
    return [_places(inner, folder) for inner in value] if isinstance(value, list | tuple) else value


def command_line(order: Order) -> str:
    """The command that does it again."""
    words = ["limpide", "adapt", order.model, *map(str, order.given), "--out", str(order.out)]
    words += ["--seed", str(order.seed)] if order.seed else []
    options = {**_set(order.prepare), **_set(order.train)}
    for name, value in list(options.items()):
        if value == {}:  # a section asked for as it is by itself: one of its options asks for it again
            options[name] = getattr(order.train, name).model_dump(exclude_none=True)
    for name in ("examples", "documents"):
        options.pop(name, None)
    return shlex.join([*words, *_words(options)])


def _words(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in options.items():
        name = f"{prefix}{key.replace('_', '-')}"
        if isinstance(value, Mapping):
            yield from _words(value, f"{name}.")
        elif isinstance(value, bool):
            head, _, last = name.rpartition(".")
            yield f"--{name}" if value else f"--{head}.no-{last}" if head else f"--no-{last}"
        elif isinstance(value, list | tuple):
            yield from (f"--{name}", ",".join(map(str, value)))
        else:
            yield from (f"--{name}", str(value))
