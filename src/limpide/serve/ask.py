"""Ask one question on this machine: verify, load, print the answer as it comes. No port is opened to others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limpide.core.errors import UsageError
from limpide.core.progress import Progress, Quiet
from limpide.models.llamacpp import LlamaEngine
from limpide.serve.openai_types import CHAT_ROUTE, ChatRequest
from limpide.serve.release import choose, open_engine
from limpide.serve.settings import ServeSettings

MOST_TOKENS = 512


@dataclass(frozen=True)
class Answer:
    """finish: 'stop' when the model ended its answer, 'length' when `max_tokens` or the context did."""

    text: str
    finish: str
    prompt_tokens: int
    answer_tokens: int


def ask(
    folder: Path,
    question: str,
    *,
    public_key: Path | None = None,
    unsigned: bool = False,
    system: str | None = None,
    max_tokens: int = MOST_TOKENS,
    on_text: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> Answer:
    """The greedy answer to `question`; `on_text` receives each piece of text as it is made.

    folder, public_key, unsigned: as for `release.choose`. max_tokens: at most, less when the context is full.
    Raises IntegrityError, UsageError, ModelError; DataError when the question is longer than the context.
    """
    if not question.strip():
        raise UsageError("The question is empty.", remedy='limpide ask FOLDER "What does code E17 mean?"')
    progress = progress or Quiet()
    chosen = choose(folder, public_key=public_key, unsigned=unsigned, progress=progress, engine="llamacpp")
    with open_engine(chosen, ServeSettings()) as engine:
        return ask_engine(engine, question, system=system, max_tokens=max_tokens, on_text=on_text)


def ask_engine(
    engine: LlamaEngine,
    question: str,
    *,
    system: str | None = None,
    max_tokens: int = MOST_TOKENS,
    on_text: Callable[[str], None] = lambda _: None,
) -> Answer:
    """`ask` with an engine already open. Same prompt and same sampling as the gateway."""
    _refuse_control_tokens(engine, question, system or "")
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": question})
    asked = ChatRequest.model_validate({"messages": turns, "max_tokens": max_tokens, "stream": True})
    text, finish, usage = "", "length", {"prompt_tokens": 0, "completion_tokens": 0}
    for event in engine.stream(CHAT_ROUTE, {"messages": turns, **asked.sampling()}):
        for choice in event.get("choices", []):
            piece = choice["delta"].get("content") or ""
            if piece:
                text += piece
                on_text(piece)
            finish = choice.get("finish_reason") or finish
        usage = event.get("usage") or usage
    return Answer(text, finish, usage["prompt_tokens"], usage["completion_tokens"])


def _refuse_control_tokens(engine: LlamaEngine, *texts: str) -> None:
    found = next((token for text in texts for token in engine.control_tokens if token in text), None)
    if found is not None:
        raise UsageError(
            "The text contains a control token, which the model would read as the end or the start of a turn.",
            received=found,
            remedy="remove it from the question",
        )
    if not engine.has_template:
        raise UsageError(
            "This model has no chat template, so it cannot be asked a question.",
            received=engine.gguf,
            remedy="send it a raw prompt through `limpide serve`, at /v1/completions",
        )
