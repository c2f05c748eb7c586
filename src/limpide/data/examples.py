"""One training or test example, and the files that hold them once they are prepared."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, model_validator

from limpide.core import files
from limpide.core.errors import DataError, Fault, MissingError
from limpide.core.measure import Frozen

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
SplitName = Literal["train", "held_out", "unseen"]
SPLITS: tuple[SplitName, ...] = ("train", "held_out", "unseen")


class Message(Frozen):
    """One turn of a conversation."""

    role: Role
    content: str


class Example(Frozen):
    """A conversation that ends with the answer to learn or to compare with.

    topic: what it is about, the unit of `held_out` (new wordings) and `unseen` (new topics).
    group: rows that must stay on one side of a split. source: 'file:line' it was read from.
    rejected: the answer to which the last message is preferred; such a row is a preference. label: the class of a text
    to classify; it is the last message too. synthetic: what it was made from by a machine, None where people wrote it.
    """

    id: str
    topic: str | None = None
    group: str | None = None
    language: str | None = None
    messages: tuple[Message, ...]
    source: str
    rejected: str | None = None
    label: str | None = None
    synthetic: str | None = None

    @model_validator(mode="after")
    def _is_a_conversation(self) -> "Example":
        wrong = order_faults([m.role for m in self.messages])
        if wrong:
            raise ValueError("; ".join(wrong))
        if self.rejected == self.answer:
            raise ValueError("the rejected answer is the preferred one")
        if self.label not in (None, self.answer):
            raise ValueError("the label is not the last message")
        return self

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The content of the last message."""
        return self.messages[-1].content

    @property
    def system(self) -> str:
        """The content of the system message, '' without one."""
        return self.messages[0].content if self.messages[0].role == "system" else ""

    @property
    def question(self) -> str:
        """Everything said before the answer except the system message, which rows often share."""
        return "\n".join(m.content for m in self.prompt if m.role != "system")

    @property
    def place(self) -> tuple[str, int | None]:
        """`source` as (file, line)."""
        file, _, line = self.source.rpartition(":")
        return (file, int(line)) if file and line.isdecimal() else (self.source, None)


def order_faults(roles: list[Role]) -> list[str]:
    """What is wrong with the order of speakers: [system,] user, assistant, …, user, assistant."""
    if not roles:
        return ["the conversation has no message"]
    faults = []
    if "system" in roles[1:]:
        faults.append(f"message {roles.index('system', 1) + 1} is a system message: only the first may be one")
    spoken = [role for role in roles if role != "system"]
    if spoken and spoken[0] == "assistant":
        faults.append("the first message is from 'assistant': a user must speak before")
    for number, (before, after) in enumerate(pairwise(roles), start=2):
        if before == after != "system":
            faults.append(f"message {number} is from '{after}' like the one before: user and assistant must alternate")
            break
    if roles[-1] != "assistant":
        faults.append(f"the last message is from '{roles[-1]}': there is no assistant answer to learn from")
    return faults


def save_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write one example a line, whole or not at all."""
    files.write_jsonl(path, (example.model_dump(mode="json") for example in examples))


def load_examples(path: Path) -> list[Example]:
    """Read a file written by `save_examples`. Raises MissingError, or DataError naming the line."""
    if not path.is_file():
        raise MissingError(f"{path} is not there.", remedy="run the step data.prepare first")
    examples = []
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                examples.append(Example.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise DataError(
                    f"{path.name} is not prepared data.",
                    faults=[Fault(path.name, number, f"{where}: {first['msg']}" if where else first["msg"])],
                    remedy="prepare the examples again: this file was changed after it was written",
                ) from error
    return examples
