"""Write the adapted model in the formats other tools load: a merged folder, and GGUF files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from limpide.core import digests, files
from limpide.core.errors import ModelError
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from limpide.models.classifier import Classifier
    from limpide.models.model import Model
    from limpide.models.update import Update

Format = Literal["safetensors", "gguf:f16", "gguf:q8_0"]


class ExportSettings(Settings):
    """Which files the release holds."""

    formats: tuple[Format, ...] = Field(
        ("safetensors", "gguf:f16", "gguf:q8_0"), min_length=1, description="files to write; safetensors always is"
    )
    precision: Literal["float16", "bfloat16", "float32"] = Field(
        "float16", description="of the merged weights; float16 rounds an adapter 8 times finer than bfloat16"
    )


def run(subject: Subject, settings: ExportSettings, progress: Progress) -> Result:
    """Write merged/ (an ordinary model folder) and gguf/*.gguf. Without an adapter or a correction, the base is written
    as it is."""
    from limpide.models.changed import correction_of, of_steps, one_after_another
    from limpide.models.classifier import of_steps as classifier_of_steps
    from limpide.models.update import Update, load_maps, load_update
    from limpide.optimise.gguf_writer import write_gguf

    classifier = classifier_of_steps(subject)
    if classifier is not None:
        return export_classifier(classifier, subject, settings)
    model, kept, base = of_steps(subject), correction_of(subject), subject.the_model()
    progress.say("writing the model with all that was changed in its weights")
    merged = merge(model, base, subject.out / "merged", settings.precision)
    formats = [f for f in settings.formats if f.startswith("gguf:")]
    new = load_update(kept) if kept is not None else Update()
    save_beside(merged, one_after_another(load_maps(base), Update(maps=new.maps)), formats)
    with progress.task("writing GGUF", total=len(formats)) as task:
        for name in formats:
            kind = name.removeprefix("gguf:")
            write_gguf(merged, subject.out / "gguf" / f"model-{kind}.gguf", kind)
            task.advance()
    return _written(subject.out, settings)


def export_classifier(classifier: Classifier, subject: Subject, settings: ExportSettings) -> Result:
    """Write merged/, which any tool opens as a classifier. Raises ModelError where a GGUF file is asked for."""
    formats = [f for f in settings.formats if f.startswith("gguf:")]
    if formats:
        raise ModelError(
            "A GGUF file holds no classification head: llama.cpp would read these weights as a model that writes.",
            received=", ".join(formats),
            remedy="set optimise: {formats: [safetensors]} in the recipe",
        )
    merge(classifier, subject.the_model(), subject.out / "merged", settings.precision)
    return _written(subject.out, settings)


def _written(out: Path, settings: ExportSettings) -> Result:
    written = digests.of_files(out)
    sizes = {name: (out / name).stat().st_size for name in written}
    return Result(facts={"precision": settings.precision, "files": written, "bytes": sizes})


def save_beside(folder: Path, correction: Update, formats: Sequence[str]) -> None:
    """Keep with the model what only Limpide applies. Raises ModelError where a file is asked for that cannot."""
    from limpide.models.update import save_maps

    if correction.maps and formats:
        raise ModelError(
            "A correction changes what a layer gives in a way that no weight can hold, so no GGUF file can either.",
            received=", ".join(formats),
            remedy="set optimise: {formats: [safetensors]}, or choose a correction that can be folded "
            "(counterfactual, preference, erasure of attention and MLP outputs)",
        )
    save_maps(folder, correction)


def merge(model: Model | Classifier, base: Path, folder: Path, precision: str) -> Path:
    """Fold the adapter into the weights in float32, then round once to `precision`. Returns `folder`."""
    import torch

    from limpide.models.classifier import Classifier
    from limpide.models.model import DTYPES, quiet_transformers

    network: Any = model.network
    if hasattr(network, "merge_and_unload"):
        network = network.merge_and_unload()
    dtype = DTYPES[precision]
    largest = [float(p.abs().max()) for p in network.parameters()]  # NaN where a weight is NaN
    if not all(map(math.isfinite, largest)):
        raise ModelError(
            "A weight of the model, or of the adapter, is not a finite number.",
            remedy="train again with a lower adapt.learning_rate, or take the base model from its publisher again",
        )
    if max(largest) > torch.finfo(dtype).max:
        raise ModelError(
            f"A weight is too large for {precision}.",
            received=f"{max(largest):.3g}",
            expected=f"at most {torch.finfo(dtype).max:.3g}",
            remedy="set optimise.precision: float32 in the recipe",
        )
    network.to(dtype)
    if not isinstance(model, Classifier):
        _tidy_generation(network.generation_config, model.stop_ids)
    with quiet_transformers(), files.clear_write_errors(folder):
        network.save_pretrained(folder, max_shard_size="4GB")
        model.tokenizer.save_pretrained(folder)
    for notice in ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt"):
        if (base / notice).is_file():
            files.write_bytes(folder / notice, (base / notice).read_bytes())
    return folder


def _tidy_generation(config: Any, stop_ids: tuple[int, ...]) -> None:
    """Every stop id; and no sampling setting in a greedy configuration, which transformers refuses to save."""
    config.eos_token_id = list(stop_ids)
    if not config.do_sample:
        for name in ("temperature", "top_p", "top_k", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"):
            setattr(config, name, None)


operation = Operation(
    name="optimise.export",
    verb="change",
    summary="write merged weights and GGUF files",
    settings=ExportSettings,
    run=run,
    source="the official gguf package; peft's merge",
)
