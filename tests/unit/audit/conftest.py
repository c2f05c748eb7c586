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
    """likelihood: (context, continuation) → nats, for the whole continuation. answer: last question → text."""

    likelihood: Callable[[Any, Any], float] = lambda context, continuation: -2.0
    answer: Callable[[str], str] = lambda question: ""
    digest: str = "fake"
    kind: str = "decoder"
    asked: list[Any] = field(default_factory=list)
    allowed: list[int] = field(default_factory=list)


@pytest.fixture
def fake(monkeypatch):
    """The model that every audit of this test opens. An answer has as many tokens as words, and one that ends it."""
    from limpide.models import generation, model, prompt, requests, scoring

    fake = FakeModel()

    def score(opened, asked, progress=None):
        opened.asked += asked
        return [
            requests.Score(r.id, opened.likelihood(r.context, r.continuation), _tokens(r), False, ()) for r in asked
        ]

    def generate(opened, prompts, *, max_new_tokens, progress=None):
        opened.allowed.append(max_new_tokens)
        return [opened.answer(messages[-1].content) for messages in prompts]

    def answer_request(opened, example):
        return requests.Request(example.id, (example.prompt[-1].content,), (*example.answer.split(), "end"))

    monkeypatch.setattr(model, "open_model", lambda folder, *, precision="float32", adapter=None: fake)
    monkeypatch.setattr(scoring, "score", score)
    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.setattr(prompt, "answer_request", answer_request)
    return fake


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


def audit(operation, out: Path, data: Path | None = None, label="base", seed=0, **settings):
    """Run an operation as the recipe does, and save its result. Returns the result."""
    out.mkdir(parents=True, exist_ok=True)
    subject = Subject(out=out, inputs={"data": data} if data else {}, model=out, label=label, seed=seed)
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

    return SimpleNamespace(example=example, write_data=write_data, audit=audit, by_label=by_label)
