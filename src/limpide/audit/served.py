"""The organisation's own questions put to the very file that is served, in the engine that serves it."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from limpide.audit.domain import accuracy_spec, domain_item, read_questions
from limpide.audit.items import Frame, data_digest, save_evidence, summarise
from limpide.core import digests
from limpide.core.errors import MissingError
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.data.examples import Example

PREFERRED = ("q8_0", "f16")  # the order in which `limpide serve` chooses


class ServedSettings(Settings):
    max_new_tokens: int = Field(default=64, ge=1, description="longest answer, in tokens of the served file")


def run(subject: Subject, settings: ServedSettings, progress: Progress) -> Result:
    """Greedy answers of llama.cpp on held_out.jsonl and unseen.jsonl. Inputs: steps `data` and `export`.

    Raises MissingError when the export wrote no GGUF file.
    """
    kind, gguf = served_file(subject.input("export"))
    folder = subject.input("data")
    questions = read_questions(folder)
    everything = [example for _, example in questions]
    answers, allowed = served_answers(gguf, everything, settings.max_new_tokens, progress)
    items = [
        domain_item(part, example, answer, None) for (part, example), answer in zip(questions, answers, strict=True)
    ]
    made = (accuracy_spec(engine="llama.cpp", decoding="greedy", max_new_tokens=allowed),)
    save_evidence(subject.out, items, made)
    data = data_digest(folder, ["held_out.jsonl", "unseen.jsonl"])
    frame = Frame(f"gguf:{kind}", subject.seed, digests.of_file(gguf), data)
    return Result(tuple(summarise(items, made, frame)), {"file": gguf.name, "items": len(items)})


def served_file(export: Path) -> tuple[str, Path]:
    """(kind, file) of the GGUF that `limpide serve` would choose."""
    for kind in PREFERRED:
        path = export / "gguf" / f"model-{kind}.gguf"
        if path.is_file():
            return kind, path
    raise MissingError("The export wrote no GGUF file.", remedy="add gguf:q8_0 to optimise.formats in the recipe")


def served_answers(gguf: Path, examples: Sequence[Example], at_least: int, progress: Progress) -> tuple[list[str], int]:
    """Greedy answers, each prompt rendered by the engine from the template inside the file; and their longest length.

    at_least: tokens allowed, or more where an expected answer is longer: a limit that cuts it would count it wrong.
    """
    from limpide.models.llamacpp import LlamaEngine

    answers = []
    with LlamaEngine(gguf) as engine, progress.task("answering as served", total=len(examples)) as task:
        longest = max(len(engine.tokenize(example.answer, add_special=False)) for example in examples)
        allowed = max(at_least, longest + 1)  # and the end token
        for example in examples:
            messages = [{"role": m.role, "content": m.content} for m in example.prompt]
            prompt = engine.tokenize(engine.apply_template(messages), add_special=True)
            answers.append(str(engine.complete(prompt, n_predict=allowed)["content"]))
            task.advance()
    return answers, allowed


operation = Operation(
    name="audit.served",
    verb="look",
    summary="How often the served file gives the expected answer, in the engine that serves it.",
    settings=ServedSettings,
    run=run,
    needs=("generates",),
)
