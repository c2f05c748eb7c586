"""The options of a merge, apart from its mathematics so that a command line is read without torch."""

from typing import Literal

from pydantic import Field, model_validator

from limpide.core.errors import UsageError
from limpide.core.operation import Settings


class MergeSettings(Settings):
    """How adapters become one."""

    method: Literal["linear", "ties", "dare"] = Field(
        "linear", description="linear: weighted sum, exact; ties and dare keep a share of the entries"
    )
    weights: tuple[float, ...] = Field(
        (), description="one an adapter; without them equal ones: 1 ÷ adapters, and 1 for ties, which averages itself"
    )
    density: float = Field(
        0.2, gt=0, le=1, description="ties, dare: share of the entries of each adapter that is kept, above 0 to 1"
    )
    rank: int | None = Field(
        None, ge=1, description="ties, dare: rank of the result; without it the sum of the adapters' ranks"
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="dare: which entries are dropped")

    @model_validator(mode="after")
    def _rank_is_used(self) -> "MergeSettings":
        if self.method == "linear" and {"rank", "density"} & self.model_fields_set:
            raise ValueError("linear keeps every entry at the sum of the ranks: --rank and --density are of ties, dare")
        return self

    def shares(self, count: int) -> tuple[float, ...]:
        """A weight an adapter. Raises UsageError for another number of them."""
        if not self.weights:
            return (1.0 if self.method == "ties" else 1.0 / count,) * count
        if len(self.weights) != count:
            raise UsageError(
                "There must be one weight an adapter.",
                received=f"{len(self.weights)} weights, {count} adapters",
                remedy=f"--weights {','.join(['1'] * count)}",
            )
        return self.weights
