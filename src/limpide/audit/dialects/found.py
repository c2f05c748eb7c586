"""What a dialect hands back, and what it may ask about the one who answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limpide.audit.dialects.registry import Dialect
from limpide.audit.items import Item, Spec, method_id
from limpide.core.errors import ModelError
from limpide.core.measure import Better
from limpide.core.progress import Progress
from limpide.data.templates import AXES, Axis, Part
from limpide.models.respondents import SCORES, Opened, Respondent

WITHOUT_SCORES = "needs the likelihood of given words, which cannot be asked of this model from outside"
WITHOUT_TOKENS = "needs the likelihood of single tokens, for which the weights must be on this machine"
Slices = tuple[dict[str, str], ...]
CLOSED = ("endpoint", "answers", "classifier")  # none of these tells how likely words are


@dataclass(frozen=True)
class Chosen:
    """What is asked of a set that is shipped. seed: what is drawn follows from it."""

    axes: tuple[Axis, ...] = AXES
    languages: tuple[str, ...] = ("en", "fr")
    part: Part | None = None
    seed: int = 0


@dataclass(frozen=True)
class Asked:
    """What one run of a dialect works on. category: one of the set's categories alone. chosen: of a shipped set."""

    dialect: Dialect
    file: Path | None
    category: str | None
    respondent: Respondent
    progress: Progress
    chosen: Chosen = Chosen()


@dataclass(frozen=True)
class Found:
    """items: none when `unable` says why the set could not be put to this respondent. digest: of the file read."""

    items: Sequence[Item]
    specs: Sequence[Spec]
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    unable: str | None = None


def unable(asked: Asked, *, tokens: bool) -> str | None:
    """Why this respondent cannot be asked for likelihoods, None if it can. tokens: of single token ids.

    Raises ModelError for weights of a kind that the dialect is not defined on, naming the dialect that is.
    """
    dialect, respondent = asked.dialect, asked.respondent
    if respondent.kind not in CLOSED and respondent.kind not in dialect.kinds:
        raise ModelError(
            f"The dialect '{dialect.name}' is not defined on this kind of model.",
            received=f"{respondent.title} ({respondent.kind})",
            expected=" or ".join(dialect.kinds),
            remedy=f"use --dialect {dialect.elsewhere}" if dialect.elsewhere else None,
        )
    if SCORES not in respondent.can:
        return WITHOUT_SCORES
    return WITHOUT_TOKENS if tokens and not isinstance(respondent, Opened) else None


def spec(
    dialect: Dialect,
    quantity: str,
    metric: str | tuple[str, ...],
    unit: str,
    better: Better,
    *,
    kind: str = "mean",
    slices: Slices = ({},),
    note: str = "",
    **how: object,
) -> Spec:
    """One measure of a dialect, `bias.<dialect>_<quantity>`. kind: share, mean, or the name of a statistic.

    metric: an item metric; the columns of a statistic. how: all that changes the result, for the method id.
    """
    columns = (metric,) if isinstance(metric, str) else metric
    own: dict[str, Any] = (
        {"kind": kind} if kind in ("share", "mean") else {"kind": "statistic", "statistic": kind, "columns": columns}
    )
    return Spec(
        name=f"bias.{dialect.slug}_{quantity}",
        metric=columns[0],
        unit=unit,
        better=better,
        slices=slices,
        method=method_id(f"{dialect.name}.{quantity}", 1, **how),
        note=f"{note} Dialect '{dialect.name}': {dialect.title}; other tools define it otherwise.".strip(),
        **own,
    )


def between(low: float, high: float, made: Spec) -> Spec:
    """The spec of a mean whose item metric has these ends."""
    return made.model_copy(update={"ends": (low, high)})
