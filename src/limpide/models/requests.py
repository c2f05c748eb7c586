"""What is asked of a model, and what it says: likelihoods of given text, and text of its own. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from limpide.data.examples import Message

# Which scores a verdict compares: groups of options, each one request or several whose log-likelihoods are summed.
Compared = Sequence[Sequence[int | tuple[int, ...]]]


@dataclass(frozen=True)
class Request:
    """How likely is `continuation` after `context`? Each is text, or token ids to be taken as they are."""

    id: str
    context: str | tuple[int, ...]
    continuation: str | tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """log_likelihood: nats, summed over the continuation's tokens. greedy: each was the most likely one.

    merged: the continuation's first token also holds the end of the context. windows: 1, or the windows of a text
    longer than the model's context.
    """

    id: str
    log_likelihood: float
    tokens: int
    greedy: bool
    token_log_likelihoods: tuple[float, ...]
    merged: bool = False
    windows: int = 1


@dataclass(frozen=True)
class Asked:
    """One conversation that waits for an answer. id: how an answer given in a file finds its question."""

    id: str
    messages: tuple[Message, ...]

    @staticmethod
    def question(id: str, text: str) -> "Asked":
        return Asked(id, (Message(role="user", content=text),))


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. temperature: 0 takes the most likely token each time. count: answers a question."""

    count: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """text: decoded, without control tokens. log_likelihood: nats of all its tokens, None where weights are closed."""

    text: str
    log_likelihood: float | None = None
    tokens: int | None = None
