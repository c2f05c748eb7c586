"""Did an edit take, does it follow other wordings, and did it leave other subjects alone?

Efficacy, paraphrase and neighbourhood scores as Meng et al. 2022 define them (§3.1): shares of prompts after which the
answer that should be the likelier one is. What must stay is asked of the model before it is changed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from scipy import stats

from limpide.adapt.correct.common import NothingToCorrectError
from limpide.adapt.correct.edit_keys import follow
from limpide.adapt.correct.edit_rows import Edit
from limpide.core import files
from limpide.core.progress import Progress, Quiet
from limpide.data.shipped import read_probe
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.families.registry import logits_from_hidden
from limpide.models.likelihood import read
from limpide.models.requests import Request
from limpide.models.scoring import score

if TYPE_CHECKING:
    from limpide.models.model import Model

Kind = Literal["efficacy", "paraphrase", "neighbourhood"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILE = "edit-asks.jsonl"
FEWEST = 5  # prompts below which a share has no interval worth its name
ENOUGH = 6  # paraphrases, or neighbours, of one's own: with fewer, shipped wordings and questions are asked too
QUESTIONS = 40  # shipped ones
WORDINGS = {
    "en": (
        "In fact, {}",
        "It is well known that {}",
        "Someone said: {}",
        "As everybody here knows, {}",
        "I read it twice in the newspaper. {}",
        "Let me tell you something. {}",
    ),
    "fr": (
        "En fait, {}",
        "Il est bien connu que {}",
        "Quelqu'un a dit : {}",
        "Comme chacun le sait ici, {}",
        "Je l'ai lu deux fois dans le journal. {}",
        "Laissez-moi vous dire une chose. {}",
    ),
}
ASKED = {"en": "Question: {}\nAnswer:", "fr": "Question : {}\nRéponse :"}


@dataclass(frozen=True)
class Ask:
    """After `prompt`, the option with index `right` should be the likeliest. edit: its number, from 0; of a shipped
    question, which all edits share, −1. shipped: the wording or the question is Limpide's."""

    kind: Kind
    edit: int
    prompt: str
    options: tuple[str, ...]
    right: int
    shipped: bool = False


def with_old_answer(model: "Model", edit: Edit) -> Edit:
    """The edit with what the model says now, where that was not given. Raises
    NothingToCorrectError where it is the new answer."""
    if edit.instead_of is not None:
        return edit
    old = says(model, edit.prompt, edit.answer)
    if old.strip() == edit.answer.strip():
        raise NothingToCorrectError(
            "The model already gives this answer: there is nothing to edit.",
            received=f"{edit.prompt} {edit.answer.strip()}",
            remedy="say with --instead-of which answer is to become less likely, or leave this edit out",
        )
    return edit.model_copy(update={"instead_of": old})


def says(model: "Model", prompt: str, like: str) -> str:
    """The likeliest continuation, token by token, as many of them as `like` has, so that the two compare."""
    item = encode_requests(model, [Request(prompt, prompt, follow(model, prompt, like))])[0]
    found: tuple[int, ...] = ()
    blank = model.tokenizer.mask_token_id if model.kind == "encoder" else 0
    for _ in item.continuation:
        with torch.inference_mode():
            places = read(model, [Encoded(0, item.context, (*found, blank))])
            logits = logits_from_hidden(model.network, model.family, places.hidden[-1])
        found = (*found, int(logits.argmax()))
    return str(model.tokenizer.decode(found))


def asks_of(model: "Model", edits: Sequence[Edit], language: str) -> list[Ask]:
    """What an edited model is asked, with what `model`, not yet edited, says of the neighbours.

    edits: with their old answers. Neighbours that already get the new answer say nothing and are left out.
    """
    found = []
    for k, edit in enumerate(edits):
        options = (edit.answer, str(edit.instead_of))
        found.append(Ask("efficacy", k, edit.prompt, options, 0))
        found += [Ask("paraphrase", k, wording, options, 0) for wording in edit.paraphrases]
        if len(edit.paraphrases) < ENOUGH:
            found += [Ask("paraphrase", k, w.format(edit.prompt), options, 0, True) for w in WORDINGS[language]]
        for prompt in edit.neighbours:
            now = says(model, prompt, edit.answer)
            if now.strip() != edit.answer.strip():
                found.append(Ask("neighbourhood", k, prompt, (edit.answer, now), 1))
    if sum(len(edit.neighbours) for edit in edits) < ENOUGH:
        found += _shipped(model, edits, language)
    return found


def _shipped(model: "Model", edits: Sequence[Edit], language: str) -> list[Ask]:
    """Questions of general knowledge about other subjects. Right is what the model chooses, be it true or not."""
    rows = [json.loads(line) for line in read_probe(f"truth/options.{language}.jsonl").splitlines() if line.strip()]
    rows = [row for row in rows if not any(edit.subject in row["question"] for edit in edits)][:QUESTIONS]
    asks = [
        Ask("neighbourhood", -1, ASKED[language].format(row["question"]), tuple(row["options"]), 0, True)
        for row in rows
    ]
    chosen = [max(range(len(nats)), key=nats.__getitem__) for nats in _nats(model, asks, Quiet())]
    return [Ask(a.kind, a.edit, a.prompt, a.options, right, True) for a, right in zip(asks, chosen, strict=True)]


def save_asks(folder: Path, asks: Sequence[Ask]) -> None:
    files.write_jsonl(folder / FILE, (asdict(ask) for ask in asks))


def load_asks(folder: Path) -> list[Ask]:
    return [Ask(**row | {"options": tuple(row["options"])}) for row in files.read_jsonl(folder / FILE)]


def score_edit(model: "Model", asks: Sequence[Ask], progress: Progress | None = None) -> dict[str, Any]:
    """{kind: {share, right, n, low, high, state, margin}, 'score': S}. The same asks before and after compare.

    share: of prompts where the right option is the likeliest, with Wilson's interval; below FEWEST prompts the state is
    'insufficient evidence' and there is none. margin: mean probability of the right option less the likeliest other's.
    score: harmonic mean of the three shares, None where one was not asked. Wordings of one prompt are alike, so the
    interval is about wordings such as these, not about other facts.
    """
    found: dict[str, Any] = {}
    every = score_asks(model, asks, progress or Quiet())
    for kind in KINDS:
        held = [one for ask, one in zip(asks, every, strict=True) if ask.kind == kind]
        found[kind] = _share([right for right, _ in held], [margin for _, margin in held])
    shares = [found[kind]["share"] for kind in KINDS]
    found["score"] = None if None in shares else (float(stats.hmean(shares)) if min(shares) > 0 else 0.0)
    return found


def score_asks(model: "Model", asks: Sequence[Ask], progress: Progress) -> list[tuple[bool, float]]:
    """(is the right option the likeliest, its probability less that of the likeliest other) of each."""
    return [_held(ask, nats) for ask, nats in zip(asks, _nats(model, asks, progress), strict=True)]


def _held(ask: Ask, nats: Sequence[float]) -> tuple[bool, float]:
    """(is the right option the likeliest, its probability less that of the likeliest other)."""
    other = max(value for k, value in enumerate(nats) if k != ask.right)
    right = torch.tensor([nats[ask.right], other], dtype=torch.float64).exp()
    return nats[ask.right] > other, float(right[0] - right[1])


def _share(right: Sequence[bool], margins: Sequence[float]) -> dict[str, Any]:
    n, count = len(right), sum(right)
    few = n < FEWEST
    interval = None if few else stats.binomtest(count, n).proportion_ci(0.95, "wilson")
    return {
        "share": count / n if n else None,
        "right": count,
        "n": n,
        "low": None if interval is None else float(interval.low),
        "high": None if interval is None else float(interval.high),
        "state": "insufficient evidence" if few else "measured",
        "margin": sum(margins) / n if n else None,
    }


def _nats(model: "Model", asks: Sequence[Ask], progress: Progress) -> list[list[float]]:
    """Log-likelihood of each option of each ask."""
    requests = [
        Request(f"{k}/{o}", ask.prompt, follow(model, ask.prompt, option))
        for k, ask in enumerate(asks)
        for o, option in enumerate(ask.options)
    ]
    scores = score(model, requests, progress)
    owner = [int(request.id.partition("/")[0]) for request in requests]
    pairs = zip(owner, scores, strict=True)
    return [[s.log_likelihood for _, s in several] for _, several in groupby(pairs, key=lambda pair: pair[0])]
