"""Gates on the organisation's own questions that too few held-out rows can never pass, told before anything runs.

Only the suite 'domain' asks the held-out rows, and of it only the measures of answers are looked at, not those of
classes; the questions of other suites are shipped with Limpide, or made in the run, so that nothing can be told of them
from the data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from limpide.audit import statistics
from limpide.audit.compare import fewest
from limpide.audit.domain import HELD_OUT, UNSEEN, domain_item, specs, with_topics
from limpide.audit.items import Item, Spec, slices
from limpide.core.errors import LimpideError, RecipeError
from limpide.core.progress import Quiet
from limpide.data.examine import examine
from limpide.data.prepare import PrepareSettings, rules
from limpide.data.reading import read_all
from limpide.data.splits import Split
from limpide.recipe.gates import Gate, matches, parse_gate

LOOKED_AT = 2000  # rows: of more, enough are held out, and to divide them takes longer than a plan may
MOST = 10_000  # questions beyond which a gate is not said to need so many


@dataclass(frozen=True)
class Few:
    """A gate that so few questions cannot pass. needed, held: questions, or what counts as one where 'independent'."""

    gate: str
    of: Literal["independent", "questions"]
    needed: int
    held: int

    def __str__(self) -> str:
        if self.of == "independent":
            counted = f"{self.needed} independent held-out questions (rows of one topic or group count as one)"
        else:
            counted = f"{self.needed} held-out questions, even if all goes well"
        return f"'{self.gate}' cannot pass: it needs at least {counted}, and the data holds out {self.held}."


def too_few(recipe: Any, folder: Path) -> list[Few]:
    """The gates of a recipe that its data cannot pass; none where the data cannot be divided, which is said elsewhere.

    folder: of the recipe, to which its paths are relative. Files of more than `LOOKED_AT` rows are not divided.
    """
    gates = [gate for gate in _gates(recipe.gates) if gate.metric[0] == "domain"]
    parts = _parts(recipe, folder) if gates and recipe.data.examples else None
    return [] if parts is None else list(judged(gates, parts))


def judged(gates: Sequence[Gate], parts: Split) -> Iterator[Few]:
    """The gates, of the suite 'domain', that so many questions cannot pass."""
    asked = [domain_item(HELD_OUT, row, None, None) for row in parts.held_out]
    asked += [domain_item(UNSEEN, row, None, None) for row in parts.unseen]
    items, _ = with_topics(asked)
    for gate in gates:
        spec = next((one for one in specs({}) if one.name == f"domain.{gate.metric[-1]}"), None)
        few = _few(gate, spec, _within(gate, spec, items)) if spec else None
        if few:
            yield few


def _few(gate: Gate, spec: Spec, items: Sequence[Item]) -> Few | None:
    independent, level = len({item.cluster for item in items}), gate.rule in ("is above", "is below")
    needed = statistics.minimum_clusters(spec.kind) if level else fewest(spec)
    if independent < needed:
        return Few(gate.text, "independent", needed, independent)
    rows = _for_level(gate) if level and spec.kind == "share" else None
    return Few(gate.text, "questions", rows, len(items)) if rows and len(items) < rows else None


def _for_level(gate: Gate) -> int | None:
    """Fewest questions whose interval is within the limit when every one goes as wished: the best that can be."""
    assert gate.limit is not None
    limit = gate.limit if gate.rule == "is above" else 1 - gate.limit
    return next((n for n in range(1, MOST) if statistics.wilson(n, n)[0] > limit), None)


def _within(gate: Gate, spec: Spec, items: Sequence[Item]) -> list[Item]:
    """The questions that the gate is about, as the audit would count them."""
    able = [replace(item, metric=dict.fromkeys(spec.metrics, 0.0)) for item in items]
    return next((found for group, found in slices(spec, able) if matches(gate.metric, spec.name, group)), [])


def _gates(texts: Sequence[str]) -> Iterator[Gate]:
    for text in texts:
        try:
            yield parse_gate(text)
        except RecipeError:  # said already
            continue


def _parts(recipe: Any, folder: Path) -> Split | None:
    """The rows divided as the run would divide them."""
    places: Mapping[str, Any] = {"examples": tuple(folder / name for name in recipe.data.examples)}
    settings: PrepareSettings = recipe.data.model_copy(update=places)
    try:
        readings = read_all(settings.examples, settings.columns, sheet=settings.sheet, skip_bad_rows=True)
        if sum(reading.rows for reading in readings) > LOOKED_AT:
            return None
        return examine(settings.examples, settings.columns, rules(settings), recipe.seed, Quiet()).parts
    except (LimpideError, OSError):
        return None
