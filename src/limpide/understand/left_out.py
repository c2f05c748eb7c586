"""The test of an influence ranking: train again without its first examples, and see what becomes of the answer."""

import math
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any, Literal

from scipy import stats

from limpide.core import catalogue
from limpide.core.errors import UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Progress, Quiet
from limpide.data.canary import canary
from limpide.data.examples import Example, load_examples, save_examples
from limpide.models.model import Model, open_model
from limpide.understand.settings import InfluenceSettings
from limpide.understand.trained import Trained

Verdict = Literal["taught", "no more than chance"]
LEAST = 0.1  # nats: a smaller loss is not what teaching a fact looks like, however alike the other trainings are


@dataclass(frozen=True)
class LeftOut:
    """Log-likelihood of the answer, in nats (log-odds against another, where one was given): before, by the adapter
    itself; without_top, by one trained without the `removed` examples ranked first; without_random, by as many others
    as draws, each trained without as many examples that are not among those.

    'taught': less likely than before by `LEAST` at least, than after every random removal, and than `limit`.
    """

    removed: int
    before: float
    without_top: float
    without_random: tuple[float, ...]

    @property
    def limit(self) -> float:
        """Where one more random removal would fall lower in 5 % of cases: the lower prediction limit of Student's t,
        which takes draws as normal. To be lowest of so few draws is not enough: of three, one ranking in four that
        knows nothing would be."""
        draws = self.without_random
        t = float(stats.t.ppf(0.95, len(draws) - 1))
        return mean(draws) - t * stdev(draws) * math.sqrt(1 + 1 / len(draws))

    @property
    def verdict(self) -> Verdict:
        lowest = min(self.before - LEAST, self.limit, *self.without_random)
        return "taught" if self.without_top < lowest else "no more than chance"

    def record(self) -> dict[str, Any]:
        found = asdict(self) | {"without_random": list(self.without_random), "limit": self.limit, "unit": "nats"}
        return found | {"draws": len(self.without_random), "verdict": self.verdict}


def check_removable(trained: Trained, settings: InfluenceSettings) -> None:
    """Raise UsageError when there are too few examples to take away as many others."""
    free = len(_removable(trained))
    if math.comb(max(0, free - settings.check), settings.check) < settings.draws:
        raise UsageError(
            f"There are too few examples to leave {settings.check} of them out, and {settings.draws} times others.",
            received=f"influence.check: {settings.check}, with {free} examples trained on",
            remedy="lower influence.check or influence.draws",
        )


def leave_out(
    trained: Trained,
    ranking: Sequence[str],
    before: float,
    settings: InfluenceSettings,
    measure: Callable[[Model], float],
    progress: Progress,
    seed: int,
) -> LeftOut:
    """Train without the first of the ranking, and without others drawn at random; the rest is as it was: settings,
    seed, rows kept aside. ranking: ids, the most influential first. measure: the answer's nats by a model."""
    removable = _removable(trained)
    top = [id for id in ranking if id in removable][: settings.check]
    others = [id for id in removable if id not in top]
    draws = _draws(others, settings.check, settings.draws, seed)
    found = []
    with progress.task(f"training {1 + len(draws)} times without {settings.check}", total=1 + len(draws)) as task:
        for left_out in (top, *draws):
            found.append(_measure_without(set(left_out), trained, measure))
            task.advance(1)
    return LeftOut(settings.check, before, found[0], tuple(found[1:]))


def _draws(ids: Sequence[str], size: int, draws: int, seed: int) -> list[tuple[str, ...]]:
    """So many different sets of `size` ids, drawn at random."""
    drawing = random.Random(seed)
    found: dict[tuple[str, ...], None] = {}
    while len(found) < draws:
        found[tuple(sorted(drawing.sample(ids, size)))] = None
    return list(found)


def _removable(trained: Trained) -> list[str]:
    """Ids of the rows trained on, without the canary, which training plants itself."""
    return [row.id for row in trained.examples if row.id != canary(trained.trail.seed).id]


def _measure_without(left_out: set[str], trained: Trained, measure: Callable[[Model], float]) -> float:
    """The answer's nats by an adapter trained without some rows. Training is reached by name: rooms do not import
    each other."""
    operation = catalogue.find("adapt.train")
    removable = set(_removable(trained)) - left_out
    rows: list[Example] = [row for row in trained.examples if row.id in removable]
    with TemporaryDirectory(prefix="limpide-") as made:
        out, data = Path(made) / "adapt", Path(made) / "data"
        out.mkdir()
        save_examples(data / "train.jsonl", [*rows, *_preferences(trained.data)])
        save_examples(data / "validation.jsonl", trained.aside)
        for file in (trained.data / "passages.jsonl", trained.data / "charter.jsonl"):
            if file.is_file():
                shutil.copyfile(file, data / file.name)
        if (general := trained.folder / "retained.jsonl").is_file():
            shutil.copyfile(general, out / general.name)
        subject = Subject(out=out, inputs={"data": data}, model=trained.base, seed=trained.trail.seed)
        operation.run(subject, operation.settings.model_validate(trained.trail.settings | {"keep": 0}), Quiet())
        return measure(open_model(trained.base, adapter=out / "adapter"))


def _preferences(data: Path) -> list[Example]:
    """Rows that another stage learns, and that are ranked for no answer."""
    file = data / "train.jsonl"
    return [row for row in load_examples(file) if row.rejected is not None] if file.is_file() else []
