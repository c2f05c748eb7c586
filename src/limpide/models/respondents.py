"""Whoever is audited: an opened model, an endpoint seen from outside, or answers that somebody already has.

An audit asks a `Respondent` and looks at `can` before it asks: what is not possible without weights becomes a
measure whose state is 'not run', with the reason. Nothing here imports torch until a model is opened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from limpide.core.errors import LimpideError
from limpide.core.progress import Progress, Quiet
from limpide.data.examples import Example
from limpide.models.requests import Answer, Asked, Compared, Request, Sampling, Score

if TYPE_CHECKING:
    from limpide.models.classifier import Classifier
    from limpide.models.model import Model
    from limpide.models.score_cache import ScoreCache
    from limpide.models.scoring import Options

SCORES, GENERATES, SAMPLES, CLASSIFIES = "scores", "generates", "samples", "classifies"


class Respondent(Protocol):
    """title: as shown to people. digest: of the weights, None where they are closed.

    can: some of SCORES, GENERATES, SAMPLES; CLASSIFIES alone for a `Sorter`.
    kind: decoder, encoder, encoder-decoder, classifier; 'endpoint' or 'answers' without weights.
    """

    @property
    def title(self) -> str: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def kind(self) -> str: ...
    @property
    def can(self) -> frozenset[str]: ...

    def score(self, requests: Sequence[Request], progress: Progress, compared: Compared | None = None) -> list[Score]:
        """compared: options whose order decides something, by index; used when precision is 'fast'."""
        ...

    def answer(self, asked: Sequence[Asked], max_new_tokens: int, progress: Progress) -> list[str]:
        """The most likely answer to each, in their order."""
        ...

    def sample(self, asked: Sequence[Asked], sampling: Sampling, progress: Progress) -> list[list[Answer]]:
        """`sampling.count` answers to each, in their order."""
        ...

    def facts(self) -> dict[str, Any]:
        """How the numbers were obtained, for the record: parity sample, precision, requests sent …"""
        ...


@dataclass
class Opened:
    """A model whose weights are here. exact: opens it in float32, where `model` is the faster of two precisions."""

    model: "Model"
    cache: "ScoreCache | None" = None
    exact: "Callable[[], Model] | None" = None
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        return str(self.model.folder.name)

    @property
    def digest(self) -> str | None:
        return self.model.digest

    @property
    def kind(self) -> str:
        return self.model.kind

    @property
    def can(self) -> frozenset[str]:
        return frozenset({SCORES}) if self.kind == "encoder" else frozenset({SCORES, GENERATES, SAMPLES})

    def score(
        self,
        requests: Sequence[Request],
        progress: Progress | None = None,
        compared: Compared | None = None,
    ) -> list[Score]:
        from limpide.models.scoring import Options

        return self.score_with(requests, Options(cache=self.cache), progress or Quiet(), compared)

    def score_with(
        self,
        requests: Sequence[Request],
        options: "Options",
        progress: Progress,
        compared: Compared | None = None,
    ) -> list[Score]:
        """As `score`, with other options than the usual."""
        from limpide.models import fast, scoring

        if self.exact is None:
            scored = scoring.score_with(self.model, requests, options, progress)
        else:
            scored = fast.score_fast(self.model, self.exact, requests, options, progress, compared)
        self.records.append(dict(scored.record))
        return scored.scores

    def answer(self, asked: Sequence[Asked], max_new_tokens: int, progress: Progress) -> list[str]:
        """Where the prompt opens a thought, so does the text: what was thought can be told from what was answered."""
        from limpide.models import generation, prompt

        prompts = [a.messages for a in asked]
        texts = generation.generate(
            self.model, prompts, max_new_tokens=max_new_tokens, progress=progress, cache=self.cache
        )
        return [f"{prompt.OPEN_THOUGHT}\n{text}" for text in texts] if prompt.opens_thought(self.model) else texts

    def sample(self, asked: Sequence[Asked], sampling: Sampling, progress: Progress) -> list[list[Answer]]:
        from limpide.models import generation, prompt

        drawn = generation.sample(self.model, [a.messages for a in asked], sampling, progress, self.cache)
        if not prompt.opens_thought(self.model):
            return drawn
        return [[replace(one, text=f"{prompt.OPEN_THOUGHT}\n{one.text}") for one in answers] for answers in drawn]

    def facts(self) -> dict[str, Any]:
        """Of what was scored since the last time: one opened model serves several suites."""
        from limpide.models import prompt

        records, self.records = self.records, []
        return {"scoring": records, **prompt.unusual_reading(self.model)} if records else {}


@dataclass
class Sorter:
    """A classifier: the probability of each of its classes is all it can be asked."""

    classifier: "Classifier"

    @property
    def title(self) -> str:
        return str(self.classifier.folder.name)

    @property
    def digest(self) -> str | None:
        return self.classifier.digest

    @property
    def kind(self) -> str:
        return "classifier"

    @property
    def can(self) -> frozenset[str]:
        return frozenset({CLASSIFIES})

    def classify(self, examples: Sequence[Example], progress: Progress) -> list[dict[str, float]]:
        """{class: probability} of each example's messages before its answer, a line each."""
        from limpide.models.classifier import classify
        from limpide.models.prompt import source_of

        return classify(self.classifier, [source_of(example.prompt) for example in examples], progress)

    def score(self, requests: Sequence[Request], progress: Progress, compared: Compared | None = None) -> list[Score]:
        raise _wordless(self.title)

    def answer(self, asked: Sequence[Asked], max_new_tokens: int, progress: Progress) -> list[str]:
        raise _wordless(self.title)

    def sample(self, asked: Sequence[Asked], sampling: Sampling, progress: Progress) -> list[list[Answer]]:
        raise _wordless(self.title)

    def facts(self) -> dict[str, Any]:
        return {"classes": list(self.classifier.labels)}


def _wordless(title: str) -> LimpideError:
    return LimpideError(f"{title} is a classifier and was asked for words.", expected="a question about its classes")


def open_respondent(folder: Path, precision: Literal["float32", "bfloat16", "fast"], *, fresh: bool = False) -> Opened:
    """The model in `folder`, whose results are kept and used again unless `fresh`."""
    from limpide.models.model import open_model
    from limpide.models.score_cache import ScoreCache

    if precision == "fast":
        return Opened(open_model(folder, precision="bfloat16"), exact=cache(lambda: open_model(folder)))
    model = open_model(folder, precision=precision)
    return Opened(model, None if fresh else ScoreCache(model))


def open_sorter(folder: Path, precision: Literal["float32", "bfloat16", "fast"]) -> Sorter:
    """The classifier in `folder`; 'fast' opens it in float32, which is fast enough for one reading a text."""
    from limpide.models.classifier import open_classifier

    return Sorter(open_classifier(folder, precision="float32" if precision == "fast" else precision))
