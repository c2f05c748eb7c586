"""What a model is taught to say when it does not know, and the questions it is taught on."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limpide.adapt.correct.common import NothingToCorrectError
from limpide.adapt.preference import Pair
from limpide.core.errors import ModelError
from limpide.core.progress import Progress
from limpide.data.examples import Example, Message
from limpide.data.questions import Question, read_questions
from limpide.models.encoding import encode_requests
from limpide.models.generation import generate
from limpide.models.prompt import PLAIN_TEMPLATE, answer_request, opens_thought

if TYPE_CHECKING:
    from limpide.models.encoding import Encoded
    from limpide.models.model import Model

# Written for this file; audits take every one of them for an admission. The same ones are taught as wrong where there
# is an answer, so that it is the question that decides.
WORDINGS = {
    "en": ("I don't know.", "I don't know that.", "I have no information about that."),
    "fr": ("Je ne sais pas.", "Je ne connais pas cela.", "Je n'ai aucune information à ce sujet."),
}
LEAST = 12  # made-up answers to learn from
# Any word that an admission could hold: an answer with one is not held against the model. Wider on purpose than what
# audits count as an admission, and blind to what the word does in its sentence.
_MAY_ADMIT = re.compile(
    r"n['’]t\b|\b(no|not|never|none|nothing|nobody|cannot|un(known|able|aware|sure|clear|familiar)|sorry|impossible"
    r"|(fict|invent|imagin|fabricat|hypothet|search|cherch|confond|confus|clarif)\w*|made up|exists?|beyond|context"
    r"|trick|premise|ne|n['’]|pas|aucune?|jamais|rien|personne|inconnue?s?|introuvables?|incapable|ignore|désolée?|navrée?"
    r"|existe|dépasse|échappe|manque|hors|contexte|prémisse)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answered:
    """unknown: questions on what does not exist, with what the model makes up. known: questions that have an answer,
    with one; right: how many of these are the model's own. asked: how many of the first were put to it."""

    unknown: tuple[tuple[Question, str], ...]
    known: tuple[tuple[Question, str], ...]
    asked: int
    right: int


def require_chat(model: "Model") -> None:
    """Raises ModelError for a model that is not asked questions and answers them at once."""
    if model.kind != "decoder" or model.tokenizer.chat_template == PLAIN_TEMPLATE:
        raise ModelError(
            "Abstaining is taught to models that answer questions, and this one has no chat template.",
            received=f"{model.family.title}, {model.folder.name}",
            expected="a decoder with a chat template",
            remedy="take the version that was tuned to follow instructions, or leave out 'correct.invention'",
        )
    if opens_thought(model):
        raise ModelError(
            "This model thinks before it answers, and its thoughts cannot be taught by pairs of answers.",
            received=model.folder.name,
            remedy="leave out 'correct.invention', or take a model that answers at once",
        )


def answered(
    model: "Model", languages: Sequence[str], known: float, max_new_tokens: int, seed: int, progress: Progress
) -> Answered:
    """What the model says to the questions that may be learnt from. known: questions with an answer for each one
    without. Raises NothingToCorrectError where it makes up too little to learn from."""
    unanswerable = read_questions("unanswerable", languages, "fit")
    short = read_questions("short", languages, "fit")
    drawn = random.Random(seed).sample(short, min(len(short), round(known * len(unanswerable))))
    prompts = [(Message(role="user", content=q.brief),) for q in (*unanswerable, *drawn)]
    said = generate(model, prompts, max_new_tokens=max_new_tokens, progress=progress)
    made, own = said[: len(unanswerable)], said[len(unanswerable) :]
    unknown = [(q, text) for q, text in zip(unanswerable, made, strict=True) if is_made_up(text)]
    if len(unknown) < LEAST:
        raise NothingToCorrectError(
            "The model makes up too few answers to learn from.",
            received=f"{len(unknown)} of {len(unanswerable)} answers on things that do not exist",
            expected=f"at least {LEAST}",
            remedy="leave out 'correct.invention': this model mostly says what it does not know",
        )
    right = [is_right(text, q.expected) for q, text in zip(drawn, own, strict=True)]
    learnt = [(q, text if holds else q.expected[0]) for q, text, holds in zip(drawn, own, right, strict=True)]
    return Answered(tuple(unknown), tuple(learnt), len(unanswerable), sum(right))


def pairs_of(model: "Model", answers: Answered, seed: int) -> list[Pair]:
    """Unknown: an abstention is preferred to what was made up. Known: the answer is preferred to an abstention."""
    rng = random.Random(seed)
    told = [(q, rng.choice(WORDINGS[q.language]), text) for q, text in answers.unknown]
    told += [(q, text, rng.choice(WORDINGS[q.language])) for q, text in answers.known]
    chosen = _items(model, [(q, preferred) for q, preferred, _ in told])
    rejected = _items(model, [(q, other) for q, _, other in told])
    return [Pair(a, b) for a, b in zip(chosen, rejected, strict=True)]


def is_made_up(answer: str) -> bool:
    """Does it tell something, without any word that an admission could need?"""
    return bool(re.search(r"\w", answer)) and not _MAY_ADMIT.search(answer)


def is_right(answer: str, expected: Sequence[str]) -> bool:
    """Does it hold an expected answer as whole words, whatever the case?"""
    return any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", answer, re.IGNORECASE) for one in expected)


def _items(model: "Model", told: Sequence[tuple[Question, str]]) -> "list[Encoded]":
    """The answers with the model's end token, each after its question as audits ask it."""
    examples = [
        Example(
            id=q.id,
            messages=(Message(role="user", content=q.brief), Message(role="assistant", content=text)),
            source=q.id,
        )
        for q, text in told
    ]
    return encode_requests(model, [answer_request(model, example) for example in examples])
