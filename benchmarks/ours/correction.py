"""One correction of a bias as `limpide correct bias` runs it, and public sets before and after it. No peer."""

import time
from pathlib import Path
from typing import Any

import torch
from child import peak_bytes, serve

from limpide.adapt.correct.common import UPDATE
from limpide.audit.bias import BiasSettings
from limpide.audit.compare import compare
from limpide.core import catalogue, files
from limpide.core.errors import LimpideError
from limpide.core.measure import load_measures
from limpide.core.operation import Subject
from limpide.core.progress import Plain
from limpide.document.correction import verdict_sentence
from limpide.models.model import Model, open_model
from limpide.models.respondents import Opened
from limpide.models.update import applied, load_update
from limpide.recipe.corrections.loop import RECORD


def work(job: dict[str, Any]) -> dict[str, Any]:
    """job: model (folder), threads, folder (to work in, new), settings (of correct.bias), sets ([dialect, file]).

    record: the file of the correction; sentence: its verdict; public: the changes of each set, those also of a
    correction that was refused. error: why there was no correction, and nothing else.
    """
    torch.set_num_threads(job["threads"])
    operation, out = catalogue.find("correct.bias"), Path(job["folder"])
    settings = operation.settings.model_validate(job["settings"])
    out.mkdir(parents=True)
    started = time.perf_counter()
    try:
        operation.run(Subject(out=out, model=Path(job["model"])), settings, Plain()).save(out)
    except LimpideError as error:
        return {"error": str(error)}
    seconds, peak = time.perf_counter() - started, peak_bytes()
    record = files.read_json(out / RECORD)
    public = _public(job, record, out) if "method" in record else []
    return {
        "record": record,
        "sentence": verdict_sentence(record, "en"),
        "seconds": seconds,
        "peak_bytes": peak,
        "public": public,
    }


def _public(job: dict[str, Any], record: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """The changes of each public set, paired sentence by sentence."""
    model = open_model(Path(job["model"]))
    update = load_update(out / "methods" / record["method"] / UPDATE)
    found = []
    for number, (dialect, file) in enumerate(job["sets"]):
        settings = BiasSettings(dialect=dialect, file=Path(file))
        before = _audit(model, settings, out / "public" / f"{number}-before")
        with applied(model, update, record["strength"]) as corrected:
            after = _audit(corrected, settings, out / "public" / f"{number}-after")
        found.append({"dialect": dialect, "file": Path(file).stem, "changes": _changes(before, after)})
    return found


def _changes(before: Path, after: Path) -> list[dict[str, Any]]:
    """Those that are paired, then the shares of which neither direction is better: half is."""
    paired = {change.label: change.model_dump(mode="json") for change in compare(before, after)}
    sides = [{m.label: m for m in load_measures(folder / "measures.jsonl")} for folder in (before, after)]
    for label, last in sides[1].items():
        first = sides[0][label]
        if label not in paired and first.value is not None and last.value is not None:
            ends = {"before": first.value, "after": last.value, "difference": last.value - first.value}
            named = {"name": last.name, "group": last.group, "unit": last.unit, "n": last.n}
            paired[label] = named | ends | {"low": None, "high": None, "verdict": "neither direction is better"}
    return list(paired.values())


def _audit(model: Model, settings: BiasSettings, folder: Path) -> Path:
    folder.mkdir(parents=True)
    subject = Subject(out=folder, respondent=Opened(model))
    catalogue.find("audit.bias").run(subject, settings, Plain()).save(folder)
    return folder


if __name__ == "__main__":
    serve(work)
