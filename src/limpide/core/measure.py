"""A number with everything needed to trust it, doubt it or make it again."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from limpide.core import files

Better = Literal["higher", "lower", "nearer zero", "neither"]
State = Literal["measured", "insufficient evidence", "not run"]


class Frozen(BaseModel):
    """Base of every record: immutable, no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Measure(Frozen):
    """One number about one model on one set of items.

    value, low, high: in `unit`; None when `state` is not 'measured'. n: items behind the value.
    """

    name: str = Field(description="suite.quantity, for example domain.accuracy")
    subject: str = Field(description="which model: base, result, gguf:q8_0, …")
    value: float | None
    unit: str = Field(description="share, nats, ratio, rank, count …")
    better: Better
    n: int = Field(ge=0)
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    interval: str | None = Field(default=None, description="how low and high were computed")
    clusters: int | None = Field(default=None, description="independent groups of items, where items are not")
    group: dict[str, str] = Field(default_factory=dict, description="slice, for example {'language': 'fr'}")
    state: State = "measured"
    method: str = Field(description="method id with every parameter that changes the result")
    model_digest: str | None = None
    data_digest: str | None = None
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    note: str | None = Field(default=None, description="what the number does not say")

    @property
    def label(self) -> str:
        """Name with its slice: `bias.gap[axis=gender,language=fr]`."""
        inside = ",".join(f"{k}={v}" for k, v in sorted(self.group.items()))
        return f"{self.name}[{inside}]" if inside else self.name


class Change(Frozen):
    """One measure before and after, paired on the same items."""

    name: str
    group: dict[str, str] = Field(default_factory=dict)
    unit: str
    better: Better
    before: float | None
    after: float | None
    difference: float | None = Field(description="after − before, in `unit`; for 'nearer zero', of absolute values")
    low: float | None
    high: float | None
    level: float = 0.95
    n: int
    test: str
    p_value: float | None
    smallest_detectable: float | None = Field(description="difference this many items find 8 times in 10")
    verdict: Literal["better", "worse", "no detectable change", "insufficient evidence"]
    sentence: str

    @property
    def label(self) -> str:
        inside = ",".join(f"{k}={v}" for k, v in sorted(self.group.items()))
        return f"{self.name}[{inside}]" if inside else self.name


def save_measures(path: Path, measures: Iterable[Measure]) -> None:
    files.write_jsonl(path, (m.model_dump(mode="json") for m in measures))


def load_measures(path: Path) -> list[Measure]:
    rows: list[dict[str, Any]] = files.read_jsonl(path)
    return [Measure.model_validate(row) for row in rows]
