"""Questions and answers drafted from passages by the local model alone, and the tests that a draft must pass.

A passage is cut into excerpts. The model, shown how it is done elsewhere, ends several beginnings of a question about
an excerpt, and the one that makes the excerpt most likely as its answer is kept. A draft passes when its words are the
passage's, when it repeats no other, when the model finds no other excerpt of the passage likelier to be asked so, and
when the passage makes the answer clearly more likely than the question alone does.
Sources: the likelihood of a question given a text ranks texts, Ponte and Croft 1998; consistency of drafted questions,
Alberti et al. 2019.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from limpide.adapt.draft_prompts import SHOTS, excerpts, first_line, first_question, openings, to_answer, to_ask
from limpide.core import digests
from limpide.core.errors import DataError
from limpide.core.operation import Settings
from limpide.core.progress import Progress, Quiet
from limpide.data.draft_filters import refusal
from limpide.data.drafts import Draft, Drafted, DraftsFile, draft_id
from limpide.data.duplicates import normalise, shingles
from limpide.data.examples import Message
from limpide.data.passages import Passage
from limpide.models import generation
from limpide.models.prompt import option_request, refuse_special_tokens
from limpide.models.requests import Request, Sampling
from limpide.models.scoring import score

if TYPE_CHECKING:
    from limpide.models.model import Model

LEAST_GAIN = 0.5  # nats a token of the answer that the passage must add
ALIKE = 0.8  # Jaccard similarity of the 5-grams of two questions that are nearly the same
TRIES = 3  # excerpts looked at for each draft that is wanted, at most
QUESTION_TOKENS, ANSWER_TOKENS = 28, 64
NEUTRAL = {"en": "Tell me something.", "fr": "Dites-moi quelque chose."}


class DraftSettings(Settings):
    """per_passage: drafts that should pass, of each passage. candidates: questions about each excerpt, of which one is
    kept. seed: in which order the excerpts of a passage are asked about.

    answers: 'quoted', the passage's own sentences, or 'written' by the model, which a weak model does badly.
    """

    per_passage: int = Field(default=2, ge=1, le=20)
    candidates: int = Field(default=4, ge=1, le=16)
    answers: Literal["quoted", "written"] = "quoted"
    seed: int = 0


@dataclass
class _Candidate:
    """excerpt: its place among those of the passage. adds: nats that the question adds to its excerpt."""

    excerpt: int
    question: str
    answer: str
    refused: str | None = None
    adds: float = 0.0
    gain: float | None = None

    def draft(self, passage: Passage) -> Draft:
        id = draft_id(passage, self.question, self.answer)
        gain = None if self.gain is None else round(self.gain, 3)
        return Draft(id=id, question=self.question, answer=self.answer, refused=self.refused, gain=gain)


def draft_passages(
    model: "Model", passages: Sequence[Passage], settings: DraftSettings, file: DraftsFile, progress: Progress
) -> None:
    """Draft from every passage that the file does not hold yet; each is written as soon as it is done.

    Equal seeds give equal drafts, whether or not the run was interrupted. Passages in a language without examples of
    how it is done (`SHOTS`) must be left out before. Raises ModelError for a model that does not write.
    """
    done = {drafted.passage.id for drafted in file.done}
    asked = [shingles(normalise(d.question)) for one in file.done for d in one.drafts if d.refused is None]
    kept = len(asked)
    with progress.task("Drafting", total=len(passages), done=len(done)) as task:
        for passage in passages:
            if passage.id in done:
                continue
            drafted = Drafted(passage=passage, drafts=tuple(draft(model, passage, settings, asked)))
            file.add(drafted)
            kept += sum(one.refused is None for one in drafted.drafts)
            task.advance(drafts_to_review=kept)


def draft(
    model: "Model", passage: Passage, settings: DraftSettings, asked: list[frozenset[str]] | None = None
) -> list[Draft]:
    """The drafts of one passage, those refused too. asked: grams of the questions that passed before; added to.

    A passage that holds a control token of the model gives none: it would be read as the end of a turn.
    """
    asked = [] if asked is None else asked
    if not _is_plain(model, passage.text) or passage.language not in SHOTS:
        return []
    pieces = excerpts(passage)
    order = list(range(len(pieces)))
    random.Random(digests.of_value([settings.seed, passage.id])).shuffle(order)
    order = order[: TRIES * settings.per_passage]
    tried: dict[str, _Candidate] = {}
    kept = 0
    while order and kept < settings.per_passage:
        chosen, order = order[: settings.per_passage - kept], order[settings.per_passage - kept :]
        for group in _write(model, passage, pieces, chosen, settings):
            fresh = {_key(one): one for one in group if _key(one) not in tried}
            tried |= fresh
            _weigh(model, passage, pieces, [one for one in fresh.values() if one.refused is None])
            kept += _choose(list(fresh.values()), asked)
    return [one.draft(passage) for one in tried.values()]


def _key(candidate: _Candidate) -> str:
    return normalise(f"{candidate.question} {candidate.answer}")


def _write(
    model: "Model", passage: Passage, pieces: Sequence[str], chosen: Sequence[int], settings: DraftSettings
) -> list[list[_Candidate]]:
    """What the model asks about each of the chosen excerpts, refused where the words alone say why."""
    language = str(passage.language)
    begun = [(i, opening) for i in chosen for opening in openings(pieces[i], language, settings.candidates)]
    texts = _go_on(model, [to_ask(pieces[i], language, opening) for i, opening in begun], QUESTION_TOKENS)
    asked = [(i, first_question(opening + text)) for (i, opening), text in zip(begun, texts, strict=True)]
    answers = [pieces[i] for i, _ in asked]
    if settings.answers == "written":
        written = _go_on(model, [to_answer(pieces[i], language, question) for i, question in asked], ANSWER_TOKENS)
        answers = [first_line(text) for text in written]
    groups: dict[int, list[_Candidate]] = {i: [] for i in chosen}
    for (i, question), answer in zip(asked, answers, strict=True):
        refused = refusal(passage, question, answer)
        if refused is None and not _is_plain(model, question, answer):
            refused = "control token"
        groups[i].append(_Candidate(i, question, answer, refused))
    return list(groups.values())


def _go_on(model: "Model", texts: Sequence[str], tokens: int) -> list[str]:
    return [one.text for (one,) in generation.continuations(model, texts, Sampling(max_new_tokens=tokens))]


def _is_plain(model: "Model", *texts: str) -> bool:
    try:
        refuse_special_tokens(model.tokenizer, [Message(role="user", content=text) for text in texts])
    except DataError:
        return False
    return True


def _weigh(model: "Model", passage: Passage, pieces: Sequence[str], candidates: Sequence[_Candidate]) -> None:
    """Set how much each question adds to its excerpt, and the passage to its answer; refuse those that fail.

    A question is consistent when no other excerpt of the passage makes it more likely than the one it was asked of.
    """
    if not candidates:
        return
    language = str(passage.language)
    requests: list[Request] = []
    for one in candidates:
        requests += [Request("", to_ask(piece, language, "").rstrip(), f" {one.question}") for piece in pieces]
        for question, answer in ((NEUTRAL[language], pieces[one.excerpt]), (one.question, pieces[one.excerpt])):
            requests.append(_said(model, (question,), answer))
        requests += [_said(model, (one.question,), one.answer), _said(model, (passage.text, one.question), one.answer)]
    scores = score(model, requests, Quiet())
    for one in candidates:
        found, scores = scores[: len(pieces) + 4], scores[len(pieces) + 4 :]
        asked, (plain, answered, bare, supported) = found[: len(pieces)], found[len(pieces) :]
        one.adds = answered.log_likelihood - plain.log_likelihood
        one.gain = (supported.log_likelihood - bare.log_likelihood) / bare.tokens
        if max(other.log_likelihood for other in asked) > asked[one.excerpt].log_likelihood:
            one.refused = "asks of another place"
        elif one.gain < LEAST_GAIN:
            one.refused = "not supported"


def _said(model: "Model", asked: Sequence[str], answer: str) -> Request:
    return option_request(model, "", [Message(role="user", content="\n\n".join(asked))], answer)


def _choose(group: Sequence[_Candidate], asked: list[frozenset[str]]) -> int:
    """Keep the question that adds most to the excerpt, if it was not asked before; the others are refused.

    Returns how many are kept, 1 or 0. asked: added to.
    """
    kept = 0
    for one in sorted((one for one in group if one.refused is None), key=lambda one: -one.adds):
        grams = shingles(normalise(one.question))
        if kept:
            one.refused = "another is better"
        elif any(len(grams & other) >= ALIKE * len(grams | other) for other in asked):
            one.refused = "repeated"
        else:
            asked.append(grams)
            kept = 1
    return kept
