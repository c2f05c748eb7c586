"""General examples mixed in, so that learning the new does not cost the old: the base's own answers, or given ones.

A model's own greedy answers to general questions are what it would say already, so learning them among the rest holds
it there. Source: Robins 1995, Catastrophic forgetting, rehearsal and pseudorehearsal; answers of the model itself as in
Yang et al. 2024, Self-Distillation Bridges Distribution Gap. What it cost all the same is measured by audit.retention.
"""

import json
import random
from pathlib import Path

from limpide.adapt.settings import RetainSettings
from limpide.core.errors import DataError, ModelError
from limpide.core.progress import Progress
from limpide.data.examples import Example, Message, load_examples, save_examples
from limpide.data.reading import read_all
from limpide.data.shipped import read_probe
from limpide.models.generation import sample
from limpide.models.model import Model
from limpide.models.requests import Sampling

FILE = "retained.jsonl"
PROBE = "general.jsonl"


def wanted(share: float, rows: int) -> int:
    """How many general examples make up `share` of the rows, beside `rows` others."""
    return max(1, round(share / (1 - share) * rows))


def retained(
    model: Model, settings: RetainSettings, rows: int, folder: Path, seed: int, progress: Progress
) -> tuple[list[Example], list[str]]:
    """(general examples to mix with `rows` others, what a person should know). model: the base, before training.

    Written to retained.jsonl under `folder`, and read from there by a run that goes on. Fewer than the share asks for
    are taken once each, and it is said. Raises DataError, ModelError.
    """
    count = wanted(settings.share, rows)
    kept = folder / FILE
    if kept.is_file():
        chosen = load_examples(kept)
    else:
        chosen = _own(model, settings, count, seed, progress) if settings.examples == "own" else []
        chosen = chosen or _given(settings, count, seed)
        save_examples(kept, chosen)
    if len(chosen) >= count:
        return chosen, []
    share = len(chosen) / (len(chosen) + rows)
    return chosen, [
        f"{len(chosen)} general examples are mixed in, {share:.0%} of the rows, "
        f"where retain.share asks for {settings.share:.0%}: there are no more"
    ]


def _given(settings: RetainSettings, count: int, seed: int) -> list[Example]:
    readings = read_all([Path(settings.examples)])
    rows = [row for reading in readings for row in reading.examples if row.rejected is None]
    chosen = random.Random(f"{seed}/retain").sample(rows, min(count, len(rows)))
    return [row.model_copy(update={"id": f"retained/{row.id}"}) for row in chosen]


def _own(model: Model, settings: RetainSettings, count: int, seed: int, progress: Progress) -> list[Example]:
    """The base's greedy answers; those that do not end within the tokens given would teach to stop in mid-sentence."""
    if model.kind == "encoder":
        raise ModelError(
            f"{model.family.title} only fills in words, so it has no answers of its own to keep.",
            received="retain.examples: own",
            remedy="give a file of general examples, or leave out adapt.retain",
        )
    questions = [json.loads(line) for line in read_probe(PROBE).splitlines()]
    asked = random.Random(f"{seed}/retain").sample(questions, min(2 * count, len(questions)))
    progress.say(f"the base answers {len(asked)} general questions, to keep what it knows")
    prompts = [[Message(role="user", content=row["text"])] for row in asked]
    answers = sample(model, prompts, Sampling(max_new_tokens=settings.tokens), progress)
    ended = [k for k, (answer,) in enumerate(answers) if (answer.tokens or 0) < settings.tokens and answer.text.strip()]
    found = [_example(asked[k], prompts[k], answers[k][0].text.strip(), model) for k in ended[:count]]
    if not found:
        raise DataError(
            f"None of the base's own answers ends within {settings.tokens} tokens.",
            received="retain.examples: own",
            remedy="raise retain.tokens, or give a file of general examples",
        )
    return found


def _example(row: dict[str, str], prompt: list[Message], answer: str, model: Model) -> Example:
    return Example(
        id=f"retained/{row['id']}",
        language=row["language"],
        messages=(*prompt, Message(role="assistant", content=answer)),
        source=f"{PROBE}, answered by {model.folder.name}",
        synthetic="the base model's own answer",
    )
