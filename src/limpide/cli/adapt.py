"""`limpide adapt MODEL DATA…`: one training alone, outside a recipe. Its options are those of data.prepare and of
adapt.train, from their settings."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from pydantic import BeforeValidator, create_model

from limpide.adapt.settings import TrainSettings
from limpide.cli.lists import repeated
from limpide.cli.output import Json, print_json, print_rows, progress, visible
from limpide.core.operation import Settings
from limpide.data.prepare import PrepareSettings

if TYPE_CHECKING:
    from limpide.cli.adapting import Adapted

DATA = Group("Data", sort_key=1)
TRAINING = Group("Training", sort_key=2)
STAGES = {"answers": "rows", "texts": "passages", "preferences": "pairs"}  # stage: what it learns from


def _topics(value: Any) -> Any:
    """`--unseen-topics valves,pumps` on a command line, where a list is one word."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _data_options() -> type[Settings]:
    """data.prepare's settings without the files, which are given by position."""
    fields: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in PrepareSettings.model_fields.items()
        if name not in ("examples", "documents")
    }
    annotation, field = fields["unseen_topics"]
    fields["unseen_topics"] = (Annotated[annotation, BeforeValidator(_topics)], field)
    return create_model("DataOptions", __base__=Settings, **fields)


DataOptions: Any = _data_options()


def adapt(
    model: Annotated[str, Parameter(help="alias, folder, .gguf file, or hub:owner/name@revision")],
    *data: Annotated[Path, Parameter(help="files of examples, documents, and folders of documents")],
    out: Annotated[Path, Parameter(help="folder for the adapter and all that is known of it; it must not exist")],
    prepare: Annotated[DataOptions, Parameter(name="*", group=DATA)] = DataOptions(),  # noqa: B008  # immutable
    train: Annotated[TrainSettings, Parameter(name="*", group=TRAINING)] = TrainSettings(),  # noqa: B008  # immutable
    seed: Annotated[int, Parameter(help="every random choice follows from it")] = 0,
    language: Annotated[Literal["en", "fr"], Parameter(name="--report-language", help="language of the page")] = "en",
    as_json: Json = False,
) -> None:
    """Adapt a model to examples and documents: checked, trained, and measured on rows that were held out.

    Ctrl-C keeps the best so far, and the same command goes on. What is written holds a recipe that makes the same a
    signed release.

    Example: limpide adapt smollm2-135m-instruct examples/press-operator/examples.jsonl --out adapted --epochs 4
    """
    from limpide.cli.adapting import adapt as adapted
    from limpide.cli.adapting import base_of, order_of

    shown = progress(as_json)
    chosen = prepare.model_dump(exclude_unset=True)
    rest = {"train": train, "seed": seed, "out": out, "language": language}
    order = order_of(model, data, chosen, rest)
    found = adapted(order, base_of(order, shown), shown)
    if as_json:
        print_json({"folder": str(found.folder), **found.record})
    else:
        _print(found, model, language)


def _print(found: "Adapted", model: str, code: str) -> None:
    from limpide.cli.adapting import ADAPTER, PAGE, WHOLE, sentences
    from limpide.recipe.written import RECIPE

    facts, folder = found.record["training"], found.folder
    for sentence in sentences(found.record, code):
        print(visible(sentence))
    rows = [("learnt", learnt(facts)), ("held out", f"{found.record['data'].get('held_out', 0)} rows")]
    if facts.get("tokens_per_second"):
        stage = f", learning {STAGES[facts['stage']]}" if facts.get("stage") in STAGES else ""
        rows.append(("speed", f"{facts['tokens_per_second']:,.0f} tokens/s{stage}"))
        rows.append(("training", f"{facts['seconds']:,.0f} s in all"))
    place = folder / (WHOLE if (folder / WHOLE).is_dir() else ADAPTER)
    rows += [("adapter" if place.name == ADAPTER else "model", str(place)), ("page", str(folder / PAGE))]
    print_rows(rows)
    if "charter" in found.record["data"]:
        asked = any(change["name"] == "adapted.charter" for change in found.record["changes"])
        print("On more questions, rule by rule:" if asked else "Whether answers keep to the charter is measured by:")
        print(f"  {shlex.join(audit_of_charter(place, folder, RECIPE))}")
    print("Next:")
    for words in following(place, folder, model, RECIPE):
        print(f"  {shlex.join(words)}")


def learnt(facts: Mapping[str, Any]) -> str:
    """How many rows, passages and pairs each stage learnt from; of a classifier, rows."""
    stages = facts.get("stages") or {"answers": facts}
    return ", ".join(f"{stages[name]['rows']} {what}" for name, what in STAGES.items() if name in stages)


def audit_of_charter(place: Path, folder: Path, recipe: str) -> Sequence[str]:
    """The command that holds answers against each rule of the charter: an adapter is measured merged, by its recipe."""
    if place.name == "adapter":
        return ["limpide", "run", str(folder / recipe)]
    data = folder / "data"
    return ["limpide", "audit", "charter", str(place), "--charter", str(data / "charter.yaml"), "--data", str(data)]


def following(place: Path, folder: Path, model: str, recipe: str) -> Sequence[Sequence[str]]:
    """Commands that use what was made."""
    look = ["limpide", "open", str(place)]
    if place.name == "model":
        look = ["limpide", "compare", model, str(place), "--data", str(folder / "data")]
    key = ["limpide", "keys", "new", str(folder / "keys" / "release.pem")]
    return look, key, ["limpide", "run", str(folder / recipe)]


def spread(arguments: Sequence[str]) -> list[str]:
    """The command line with every list of the training's settings repeated."""
    return repeated(arguments, TrainSettings)
