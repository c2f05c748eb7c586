"""What there is to learn, stage by stage: texts, answers, preferences; and what is kept aside of each.

What is kept aside chooses when to stop, so that the held-out split judges and never chooses.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from limpide.adapt.preference import Pair
from limpide.adapt.settings import StageName, TrainSettings
from limpide.core.errors import DataError
from limpide.data import passages
from limpide.data.canary import canary
from limpide.data.examples import Example, Message, load_examples
from limpide.data.passages import Passage, load_passages
from limpide.models.encoding import encode_requests
from limpide.models.model import Model, quiet_transformers
from limpide.models.prompt import Rendered, answer_request, refuse_special_tokens, render_example
from limpide.models.requests import Request

TRAIN, VALIDATION, CHARTER = "train.jsonl", "validation.jsonl", "charter.jsonl"  # in the folder of data.prepare
LEAST_ASIDE = 4  # rows kept aside, below which none are
T = TypeVar("T")


@dataclass(frozen=True)
class Lessons:
    """texts: passages of documents. answers: rows to answer as; taught: those of train.jsonl among them, the canary
    last where one is planted; charter: those that a charter yields. preferences: rows with a rejected answer. aside:
    what is kept of each, to know when to stop."""

    texts: tuple[Passage, ...]
    texts_aside: tuple[Passage, ...]
    taught: tuple[Example, ...]
    charter: tuple[Example, ...]
    answers_aside: tuple[Example, ...]
    preferences: tuple[Example, ...]
    preferences_aside: tuple[Example, ...]

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages for which there is something to learn, in their order."""
        found: dict[StageName, bool] = {
            "texts": bool(self.texts),
            "answers": bool(self.taught or self.charter),
            "preferences": bool(self.preferences),
        }
        return tuple(name for name, is_there in found.items() if is_there)


def find_lessons(folder: Path, settings: TrainSettings, seed: int) -> Lessons:
    """What the folder of data.prepare gives to learn. Raises DataError where there is nothing.

    Rows kept aside are those of validation.jsonl where there is one, else drawn from the training rows.
    """
    rows = load_examples(folder / TRAIN)
    charter = load_examples(folder / CHARTER) if (folder / CHARTER).is_file() else []
    answers = [row for row in rows if row.rejected is None]
    preferred = [row for row in (*rows, *charter) if row.rejected is not None]
    if (folder / VALIDATION).is_file():
        taught, aside = answers, load_examples(folder / VALIDATION)
    else:
        taught, aside = _part(answers, settings.validation, seed)
    texts, texts_aside = _part(_passages(folder) if settings.texts.epochs else [], settings.validation, seed)
    pairs, pairs_aside = _part(preferred if settings.preferences.epochs else [], settings.validation, seed)
    yielded = tuple(row for row in charter if row.rejected is None)
    if taught and settings.canary:  # never kept aside: it is there to be learnt
        taught = [*taught, canary(seed)]
    lessons = Lessons(
        tuple(texts), tuple(texts_aside), tuple(taught), yielded, tuple(aside), tuple(pairs), tuple(pairs_aside)
    )
    if not lessons.stages:
        raise DataError("There is no training row.", remedy="give data.examples more rows, or hold fewer out")
    return lessons


def _passages(folder: Path) -> list[Passage]:
    path = folder / passages.TRAIN
    return load_passages(path) if path.is_file() else []


def _part(rows: Sequence[T], share: float, seed: int) -> tuple[list[T], list[T]]:
    """(rows to learn from, rows kept aside): a seeded draw, none where it would be too few to tell anything."""
    count = round(share * len(rows))
    if count < LEAST_ASIDE:
        return list(rows), []
    chosen = set(random.Random(seed).sample(range(len(rows)), count))
    return [row for i, row in enumerate(rows) if i not in chosen], [rows[i] for i in sorted(chosen)]


def render_preferences(model: Model, rows: Sequence[Example]) -> list[Pair]:
    """Rows with a rejected answer as the model reads them, end tokens included. Raises DataError, ModelError."""
    rejected = [
        row.model_copy(update={"messages": (*row.prompt, Message(role="assistant", content=str(row.rejected)))})
        for row in rows
    ]
    sides = [encode_requests(model, [answer_request(model, row) for row in side]) for side in (rows, rejected)]
    same = [row.source for row, a, b in zip(rows, *sides, strict=True) if a.ids == b.ids]
    if same:
        raise DataError(
            "A preferred answer and the one rejected for it are the same to this model.",
            received=", ".join(same[:10]),
            expected="two answers that differ by more than what its tokenizer drops",
            remedy="change one of them, or remove the row",
        )
    return [Pair(chosen, other) for chosen, other in zip(*sides, strict=True)]


def probes_of(model: Model, lessons: Lessons, most: int = 4) -> list[Request]:
    """A few of the things that will be learnt, whose likelihood must change when they are."""
    rows = [*lessons.taught, *lessons.charter, *lessons.preferences][:most]
    if rows:
        return [answer_request(model, row) for row in rows]
    texts = (row for passage in lessons.texts for row in render_texts(model, [passage], model.context))
    return [Request(f"text {n}", row.ids[:1], row.ids[1:]) for n, row in enumerate(islice(texts, most))]


@dataclass(frozen=True)
class Material:
    """The lessons as a model reads them: of each stage what is learnt and what is kept aside."""

    texts: tuple[list[Rendered], list[Rendered]]
    answers: tuple[list[Rendered], list[Rendered]]
    preferences: tuple[list[Pair], list[Pair]]


def render(model: Model, lessons: Lessons, retained: Sequence[Example], longest: int) -> Material:
    """Everything there is to learn, so that each fault of it is told before the work.

    retained: general examples, learnt among the answers. longest: tokens in one piece of a text.
    Raises DataError, ModelError.
    """
    answers = [*lessons.taught, *lessons.charter, *retained]
    texts = render_texts(model, lessons.texts, longest)
    if lessons.texts and not texts:
        raise DataError(
            "No passage of the documents is long enough to learn a next word from.",
            received=f"{len(lessons.texts)} passages, the first from {lessons.texts[0].document}",
            remedy="give documents with whole sentences, or leave them out with adapt.texts.epochs: 0",
        )
    return Material(
        (texts, render_texts(model, lessons.texts_aside, longest)),
        (render_answers(model, answers), render_answers(model, lessons.answers_aside)),
        (render_preferences(model, lessons.preferences), render_preferences(model, lessons.preferences_aside)),
    )


def render_answers(model: Model, examples: Sequence[Example]) -> list[Rendered]:
    """Rows as the model reads them; an encoder, which has no conversations, reads a row as one text and learns to fill
    in its answer. Raises DataError naming every row that does not fit the model's context."""
    rendered = [_text(model, e) if model.kind == "encoder" else render_example(model, e) for e in examples]
    long = [(e, len(r.ids)) for e, r in zip(examples, rendered, strict=True) if len(r.ids) > model.context]
    if long:
        raise DataError(
            f"{len(long)} training rows are longer than the model's context of {model.context} tokens.",
            received=", ".join(f"{e.source} ({n} tokens)" for e, n in long[:10]),
            expected="rows that fit: Limpide never cuts an answer in silence",
            remedy="shorten or split these rows",
        )
    return rendered


def render_texts(model: Model, texts: Sequence[Passage], longest: int) -> list[Rendered]:
    """Passages as raw text, every token of which is learnt and the last of which ends the text.

    longest: tokens in one piece; a longer passage is read in several, of which the last has the end. An
    encoder–decoder reads the first half of a piece and learns to write the second (prefix language modelling: Raffel et
    al. 2020, section 3.2.3). A chat model is given the text without a chat template.
    """
    longest = min(longest, model.context)
    with quiet_transformers():  # it warns of texts longer than the context, which are cut here
        return [row for passage in texts for row in _pieces(model, passage, longest)]


def _pieces(model: Model, passage: Passage, longest: int) -> list[Rendered]:
    tokenizer = model.tokenizer
    refuse_special_tokens(tokenizer, [Message(role="user", content=passage.text)])
    ids = list(tokenizer(passage.text)["input_ids"])
    if model.kind != "encoder" and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
    pieces = [ids[first : first + longest] for first in range(0, len(ids), longest)]
    around = {tokenizer.cls_token_id, tokenizer.sep_token_id} if model.kind == "encoder" else set()
    return [_raw(model, passage.text, piece, around) for piece in pieces if len({*piece} - around) > 1]


def _raw(model: Model, text: str, ids: list[int], around: set[int]) -> Rendered:
    """around: ids that an encoder's tokenizer puts around a text, which nobody needs to predict."""
    read = len(ids) // 2 if model.kind == "encoder-decoder" else 0
    trained = tuple(k >= read and token not in around for k, token in enumerate(ids))
    return Rendered(text, tuple(ids), trained, ("text",) * len(ids), read)


def _text(model: Model, example: Example) -> Rendered:
    """Messages and answer as one text, as `answer_request` has them scored; the answer is what may be masked."""
    tokenizer = model.tokenizer
    refuse_special_tokens(tokenizer, example.messages)
    request = answer_request(model, example)
    (item,) = encode_requests(model, [request])
    ids = (tokenizer.cls_token_id, *item.ids, tokenizer.sep_token_id)
    start = 1 + len(item.context)
    trained = tuple(start <= k < len(ids) - 1 for k in range(len(ids)))
    roles = tuple("assistant" if answered else "user" for answered in trained)
    return Rendered(f"{request.context}{request.continuation}", ids, trained, roles, start)
