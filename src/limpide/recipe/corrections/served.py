"""A correction measured again on the very file that is served: rounding its weights may bring a bias back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.recipe.corrections import judging
from limpide.recipe.corrections.loop import RECORD, Bench, Target, items_of


class ServedCorrectionSettings(Settings):
    """Nothing to choose: what is measured is what the correction was judged on."""


def run(subject: Subject, settings: ServedCorrectionSettings, progress: Progress) -> Result:
    """Inputs: steps `correct`, of a bias, and `export`. The fact 'served' is None where nothing was accepted."""
    from limpide.audit.served import served_file
    from limpide.recipe.corrections import bias

    corrected = subject.input("correct")
    record = files.read_json(corrected / RECORD)
    if record["verdict"] != "accepted":
        return Result(facts={"served": None})
    _, gguf = served_file(subject.input("export"))
    target = bias.target_of(bias.BiasCorrectionSettings.model_validate(record["settings"]))
    return Result(facts={"served": measured_again(gguf, target, corrected / bias.BEFORE, subject, progress)})


def measured_again(gguf: Path, target: Target, before: Path, subject: Subject, progress: Progress) -> dict[str, Any]:
    """The target on the weights of a GGUF file, in float32: what they were rounded to counts, what the engine that
    serves them rounds besides does not. before: the folder of the audit of the model as it was."""
    from limpide.models.gguf_folder import dequantise
    from limpide.models.model import open_model

    progress.say(f"measuring {gguf.name} again")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "weights"
        folder.mkdir()
        dequantise(gguf, folder)
        model = open_model(folder)
        after = Bench(model, subject, progress).audit(target.judge, f"served-{gguf.stem}", model)
    sides = items_of(before, target.metric), items_of(after, target.metric)
    first, second = (sum(item.metric[target.metric] for item in side) / len(side) for side in sides)
    cut = judging.cut_of(*sides, target.metric, subject.seed) if target.better == "lower" else None
    return {"format": f"gguf:{gguf.stem.removeprefix('model-')}", "before": first, "after": second, "cut": cut}


operation = Operation(
    name="correct.served",
    verb="look",
    summary="measure what was corrected again, on the file that is served",
    settings=ServedCorrectionSettings,
    run=run,
    needs=("scores",),
)
