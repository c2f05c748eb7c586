"""A respondent whose likelihoods a test tells, in place of an opened model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from limpide.core.progress import Progress
from limpide.models.requests import Request, Score
from limpide.models.respondents import Opened


@dataclass
class Told(Opened):
    """likelihood: (context, continuation) → nats, spread evenly over its words. asked, compared: what it was put."""

    model: Any = field(
        default_factory=lambda: SimpleNamespace(kind="decoder", digest="told", folder=Path("told"), precision="float32")
    )
    likelihood: Callable[[Any, Any], float] = lambda context, continuation: -2.0
    asked: list[Request] = field(default_factory=list)
    compared: list[Sequence[int]] = field(default_factory=list)

    def score(
        self,
        requests: Sequence[Request],
        progress: Progress | None = None,
        compared: Sequence[Sequence[int]] | None = None,
    ) -> list[Score]:
        self.asked += requests
        self.compared += compared or []
        return [self._score(request) for request in requests]

    def _score(self, request: Request) -> Score:
        text = request.continuation
        nats, count = self.likelihood(request.context, text), len(text.split() if isinstance(text, str) else text)
        return Score(request.id, nats, count, False, (nats / count,) * count)
