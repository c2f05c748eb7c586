"""A correction that does nothing but leave what one leaves: the sample that its settings name."""

from typing import Any, Literal

from pydantic import Field

import correction_sample as sample
from limpide.core import files
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress


class Within(Settings):
    layers: tuple[int, ...] | None = Field(None, description="layers, from 0")
    merge: bool = Field(True, description="into the weights")


class StandInSettings(Settings):
    method: Literal["accepted", "refused", "nothing", "undecided", "hostile"] = Field("accepted", description="outcome")
    axes: tuple[Literal["gender", "origin"], ...] = Field(("gender",), min_length=1, description="groups")
    wordings: tuple[str, ...] = Field((), description="texts, which may hold commas")
    erasure: Within | None = Field(None, description="of a method")


def run(subject: Subject, settings: StandInSettings, progress: Progress) -> Result:
    progress.say("correcting")
    record: dict[str, Any] = getattr(sample, settings.method)()
    files.write_json(subject.out / "correction.json", record | {"rerun": None})
    if record["verdict"] == "accepted":
        files.write_json(subject.out / "corrected" / "config.json", {"axes": settings.axes, "seed": subject.seed})
        files.write_text(subject.out / "corrected" / "gguf" / "model-q8_0.gguf", "GGUF")
    return Result(facts={"inputs": sorted(subject.inputs), "settings": settings.model_dump(mode="json")})


operation = Operation(
    name="correct.bias", verb="change", summary="stand in for a correction", settings=StandInSettings, run=run
)
