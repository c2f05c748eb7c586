"""A model that says what a test tells it to, in place of the real ones."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from limpide.core.operation import Subject
from limpide.data.examples import Example, Message, save_examples


@dataclass
class FakeModel:
    """likelihood: (context, continuation) → nats, for the whole continuation. answer: last question → text.

    greedy: (context, continuation) → whether each token was the most likely one.
    """

    likelihood: Callable[[Any, Any], float] = lambda context, continuation: -2.0
    answer: Callable[[str], str] = lambda question: ""
    greedy: Callable[[Any, Any], bool] = lambda context, continuation: False
    digest: str = "fake"
    kind: str = "decoder"
    precision: str = "float32"
    asked: list[Any] = field(default_factory=list)
    allowed: list[int] = field(default_factory=list)


@dataclass
class Closed:
    """A respondent whose weights are closed: it answers, and tells no likelihood. say: last question → text."""

    say: Callable[[str], str] = lambda question: ""
    title: str = "closed"
    digest: None = None
    kind: str = "endpoint"
    can: frozenset[str] = frozenset({"generates", "samples"})

    def answer(self, asked, max_new_tokens, progress):
        return [self.say(one.messages[-1].content) for one in asked]

    def facts(self):
        return {"sent": "everything"}


@pytest.fixture
def fake(monkeypatch):
    """The model that every audit of this test opens. An answer has as many tokens as words, and one that ends it."""
    from limpide.models import generation, model, prompt, requests, respondents

    fake = FakeModel()

    def score(opened, asked, progress=None, compared=None):
        opened.model.asked += asked
        return [_score(opened.model, r) for r in asked]

    def generate(opened, prompts, *, max_new_tokens, progress=None, cache=None):
        opened.allowed.append(max_new_tokens)
        return [opened.answer(messages[-1].content) for messages in prompts]

    def answer_request(opened, example):
        return requests.Request(example.id, (example.prompt[-1].content,), (*example.answer.split(), "end"))

    monkeypatch.setattr(model, "open_model", lambda folder, *, precision="float32", adapter=None: fake)
    monkeypatch.setattr(respondents.Opened, "score", score)
    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.setattr(prompt, "answer_request", answer_request)
    monkeypatch.setattr(prompt, "opens_thought", lambda opened: False)
    return fake


def _score(opened, request):
    """Each token is as likely as the others."""
    from limpide.models.requests import Score

    text = request.context, request.continuation
    nats, count = opened.likelihood(*text), _tokens(request)
    return Score(request.id, nats, count, opened.greedy(*text), (nats / count,) * count)


def _tokens(request):
    text = request.continuation
    return len(text.split()) if isinstance(text, str) else len(text)


def example(name, question, answer, topic=None, language="en", group=None):
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Example(id=name, topic=topic, group=group, language=language, messages=messages, source="t.jsonl:1")


def write_data(folder: Path, train=(), held_out=(), unseen=()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("held_out", held_out), ("unseen", unseen)):
        save_examples(folder / f"{name}.jsonl", rows)
    return folder


def audit(operation, out: Path, data: Path | None = None, label="base", seed=0, respondent=None, **settings):
    """Run an operation as the recipe does, and save its result. Returns the result."""
    out.mkdir(parents=True, exist_ok=True)
    inputs = {"data": data} if data else {}
    subject = Subject(out=out, inputs=inputs, model=out, label=label, seed=seed, respondent=respondent)
    from limpide.core.progress import Quiet

    result = operation.run(subject, operation.settings(**settings), Quiet())
    result.save(out)
    return result


def by_label(result):
    return {measure.label: measure for measure in result.measures}


@pytest.fixture
def tools():
    """The helpers above, for tests in any import mode."""
    from types import SimpleNamespace

    return SimpleNamespace(example=example, write_data=write_data, audit=audit, by_label=by_label, closed=Closed)
