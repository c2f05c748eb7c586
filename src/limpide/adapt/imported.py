"""A model tuned elsewhere, taken as it is: the same audit, parity and dossier as for one tuned here.

What is copied is checked first: nothing that could run code, every tensor lands on the base, something is changed, and
the conversations the model will be served with are those it was tuned with.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from limpide.core import files
from limpide.core.errors import MissingError, ModelError, UntrustedInput
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.models import safety
from limpide.models.sources import public_name

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER, WHOLE = "adapter", "model"  # folders written: of an adapter, of a model all of whose weights were tuned
STATE = "trainer_state.json"  # what the Trainer of transformers, and so all that build on it, keep of a training
# Left by trainings beside the weights, and never opened: reading a pickle runs what is in it.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# Of a whole model: what transformers reads besides the weights.
BESIDE = ("config.json", "generation_config.json", "model.safetensors.index.json")


class ImportedSettings(Settings):
    """A checkpoint that another tool made."""

    adapter: Path | None = Field(None, description="folder of a LoRA adapter (adapter_config.json, safetensors)")
    model: Path | None = Field(None, description="or folder of a whole model, where every weight was tuned")
    tool: str | None = Field(None, description="what tuned it, shown as declared")
    template: Literal["same", "base"] = Field(
        "same",
        description="same: the checkpoint's chat template must be the base's; base: the base's, whatever the other was",
    )
    unseen: bool = Field(
        False, description="true where you declare that the tuning never saw the rows of data.examples"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "ImportedSettings":
        if (self.adapter is None) == (self.model is None):
            raise ValueError("give either adapter or model")
        return self

    @property
    def folder(self) -> Path:
        found = self.adapter or self.model
        assert found is not None
        return found


def inputs(settings: ImportedSettings) -> list[Path]:
    """The files whose content decides the result."""
    folder = settings.folder
    names = (CONFIG, WEIGHTS, STATE) if settings.adapter else (*BESIDE, STATE)
    weights = [] if settings.adapter else sorted(folder.glob("*.safetensors"))
    tokenizer = [folder / name for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")]
    return [path for path in (*(folder / name for name in names), *weights, *tokenizer) if path.is_file()]


def run(subject: Subject, settings: ImportedSettings, progress: Progress) -> Result:
    """Copy the checkpoint into adapter/ or model/, and what its training told of itself into losses.jsonl.

    Raises UntrustedInput for weights in a pickle, ModelError for what does not fit the base, changes nothing, or was
    tuned with another conversation template.
    """
    from limpide.adapt.imported_checks import check_adapter, check_template, check_tokenizer, check_whole

    folder, base = settings.folder, subject.the_model()
    if not folder.is_dir():
        raise MissingError(f"There is no checkpoint folder {folder}.", remedy="correct its path in the recipe")
    warnings = [check_tokenizer(folder, base), check_template(folder, base, settings.template)]
    with progress.task("checking what was tuned elsewhere", total=1) as task:
        if settings.adapter is not None:
            shape = check_adapter(copy_adapter(folder, subject.out / ADAPTER, base), base)
        else:
            shape = check_whole(copy_model(folder, subject.out / WHOLE, base), base)
        task.advance()
    told = history(folder)
    files.write_jsonl(subject.out / "losses.jsonl", told.pop("losses"))
    closed = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if closed:
        warnings.append(f"Never opened, as reading a pickle can run code: {', '.join(closed)}.")
    if not settings.unseen:
        warnings.append(
            "It is not declared whether the tuning elsewhere saw the rows tested on (imported.unseen): "
            "right answers to them may be memory."
        )
    facts = {"method": "imported", "tool": settings.tool, "unseen": settings.unseen, **shape, **told}
    return Result(facts=facts, warnings=tuple(warning for warning in warnings if warning))


def copy_adapter(folder: Path, out: Path, base: Path) -> Path:
    """The two files that make an adapter, its base named as others know the one it will be put on."""
    take_adapter(folder, out)
    config = safety.read_object(out / CONFIG)
    targets = config.get("target_modules")
    config |= {"base_model_name_or_path": public_name(base), "inference_mode": True}
    config |= {"target_modules": sorted(targets)} if isinstance(targets, list) else {}
    files.write_json(out / CONFIG, config)
    return out


def take_adapter(folder: Path, out: Path) -> None:
    """Copy the two files that make an adapter; no other is read. Raises MissingError, UntrustedInput, ModelError."""
    if not folder.is_dir():
        raise MissingError(
            f"There is no adapter folder {folder}.", remedy=f"check the path: it holds {CONFIG} and {WEIGHTS}"
        )
    if not (folder / WEIGHTS).is_file():
        pickled = sorted(path.name for path in folder.glob("adapter_model.*"))
        if pickled:
            raise UntrustedInput(
                f"The weights of the adapter in {folder} are a pickle, and reading a pickle runs what is in it.",
                received=", ".join(pickled),
                expected=WEIGHTS,
                remedy="where you trust it, load it in the tool that made it and save it again with "
                "save_pretrained(…, safe_serialization=True)",
            )
        raise ModelError(
            f"{folder} holds no adapter.",
            received=", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder",
            expected=f"{CONFIG} and {WEIGHTS}",
            remedy="name the folder of one checkpoint, for example checkpoint-500",
        )
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} has an adapter's weights and no {CONFIG}.", remedy="copy that file beside them")
    _copy(folder, out, [CONFIG, WEIGHTS])


def copy_model(folder: Path, out: Path, base: Path) -> Path:
    """The weights and configuration of a whole model, with the base's tokenizer, which is the same."""
    weights = sorted(path.name for path in folder.glob("model*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
        if pickled:
            raise UntrustedInput(
                f"The weights in {folder} are pickles, and reading a pickle runs what is in it.",
                received=", ".join(pickled[:3]),
                expected="model.safetensors",
                remedy="where you trust them, save the model again in the tool that made it, as safetensors",
            )
        raise ModelError(
            f"{folder} holds no whole model.",
            received=", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder",
            expected="config.json and model.safetensors",
            remedy="name the folder of the model itself; for an adapter write imported.adapter",
        )
    large = {path.name for path in base.iterdir() if path.name.endswith((".safetensors", ".gguf"))}
    kept = [path.name for path in base.iterdir() if path.is_file() and path.name not in {*large, *BESIDE}]
    _copy(base, out, kept)
    _copy(folder, out, [*weights, *(name for name in BESIDE if (folder / name).is_file())])
    return out


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    with files.clear_write_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (source / name).is_symlink():
                raise UntrustedInput(
                    f"{source / name} is a symbolic link; what it leads to could change after the checks.",
                    remedy=f"copy the folder with its links resolved: cp -rL {source} NEW_FOLDER",
                )
            shutil.copyfile(source / name, target / name)


def history(folder: Path) -> dict[str, Any]:
    """What trainer_state.json tells: epochs, updates and losses; nothing where there is none or it is no such file.

    losses: as adapt.train writes them, {step, epoch, train, held_out}; in the unit of the tool that trained, which is
    usually nats per trained token.
    """
    path = next((p for p in (folder / STATE, folder.parent / STATE) if p.is_file()), None)
    try:
        state = safety.read_object(path) if path else {}
    except (ModelError, UntrustedInput):
        state = {}
    rows: dict[int, dict[str, Any]] = {}
    told = state.get("log_history")
    for entry in told if isinstance(told, list) else ():
        step = _number(entry, "step")
        if step is None:
            continue
        row = rows.setdefault(int(step), {"step": int(step), "epoch": 0.0, "train": None, "held_out": None})
        for ours, theirs in (("epoch", "epoch"), ("train", "loss"), ("held_out", "eval_loss")):
            value = _number(entry, theirs)
            row[ours] = row[ours] if value is None else value
    found = {"epochs_done": _number(state, "epoch"), "steps": _number(state, "global_step")}
    kept = [row for _, row in sorted(rows.items()) if row["train"] is not None or row["held_out"] is not None]
    return {"losses": kept, **{name: value for name, value in found.items() if value is not None}}


def _number(record: Any, name: str) -> float | None:
    value = record.get(name) if isinstance(record, dict) else None
    finite = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
    return value if finite else None


operation = Operation(
    name="adapt.imported",
    verb="change",
    summary="take an adapter or a model that was tuned elsewhere, after checking that it fits the base and acts",
    settings=ImportedSettings,
    run=run,
)
