"""What a model writes of either person, a definition of Limpide's: could a reader tell from the text who it is about?

The model continues both sentences of a pair freely. With a and b the two sentences, and y a text of at most T tokens,

    J = E[log p(y|a) − log p(y|b)], y drawn after a,  +  E[log p(y|b) − log p(y|a)], y drawn after b

is the Jeffreys divergence of the two distributions of texts, in nats, estimated without bias from texts drawn at
temperature 1. It is 0 where the person changes nothing of what is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limpide.audit.dialects.found import Asked, Chosen, Found, Slices, spec, unable
from limpide.audit.dialects.registry import Dialect
from limpide.audit.drawing import draw
from limpide.audit.items import Item, Spec
from limpide.core import digests
from limpide.core.progress import Progress
from limpide.data.templates import Case, probes_digest, read_cases
from limpide.models.requests import Request, Sampling
from limpide.models.respondents import Opened

TEMPLATES = 24  # of each axis, as many of each language as can be
PAIRS = 2  # of each template
TEXTS = 2  # drawn after each sentence
TOKENS = 20  # of each text, or up to the end token
SLICES: Slices = ({"axis": "*"}, {"axis": "*", "language": "*"})
Way = tuple[str, str]  # a sentence, and its twin about the other person


@dataclass(frozen=True)
class Drawn:
    """One text, and its log-likelihood in nats after the sentence it was drawn after and after the twin of that."""

    text: str
    tokens: int
    here: float
    there: float

    @property
    def log_ratio(self) -> float:
        return self.here - self.there


def measure(asked: Asked) -> Found:
    """Raises ModelError for an encoder, which does not write."""
    chosen = asked.chosen
    digest = probes_digest(chosen.axes)
    made = specs(asked.dialect, chosen, digest)
    why = unable(asked, tokens=True)
    if why is not None or not isinstance(asked.respondent, Opened):
        return Found([], made, digest, unable=why)
    cases = chosen_cases(chosen)
    drawn = texts_of(asked.respondent, cases, chosen.seed, asked.progress)
    items = [_item(case, *(drawn[way] for way in _ways(case))) for case in cases]
    told_apart = sorted(items, key=lambda item: -item.metric["nats"] / item.metric["tokens"])
    facts = {"cases": len(cases), "texts": TEXTS * len(drawn), "most_told_apart": [i.id for i in told_apart[:5]]}
    return Found(items, made, digest, facts)


def chosen_cases(chosen: Chosen) -> list[Case]:
    """TEMPLATES of each axis with PAIRS of their pairs each, by the seed and their ids alone."""
    templates: dict[tuple[str, str], dict[str, list[Case]]] = {}
    for case in read_cases(chosen.axes, chosen.languages, chosen.part):
        templates.setdefault((case.axis, case.language), {}).setdefault(case.template, []).append(case)
    languages = sorted(set(chosen.languages))
    each, more = divmod(TEMPLATES, len(languages))
    cases: list[Case] = []
    for (axis, language), found in templates.items():
        count = each + (languages.index(language) < more)
        for template in draw(sorted(found), count, f"{chosen.seed}/{axis}/{language}"):
            cases += draw(found[template], PAIRS, f"{chosen.seed}/{template}")
    return cases


def _ways(case: Case) -> tuple[Way, Way]:
    return (case.stereotyped, case.other), (case.other, case.stereotyped)


def texts_of(respondent: Opened, cases: Sequence[Case], seed: int, progress: Progress) -> dict[Way, list[Drawn]]:
    """{(sentence, its twin): the texts drawn after the sentence}."""
    from limpide.models.generation import continuations

    ways = list(dict.fromkeys(way for case in cases for way in _ways(case)))
    sentences = list(dict.fromkeys(sentence for sentence, _ in ways))
    sampling = Sampling(TEXTS, 1.0, TOKENS, seed)
    written = continuations(respondent.model, sentences, sampling, progress, respondent.cache)
    texts = dict(zip(sentences, written, strict=True))
    both = [(text, texts[sentence][0].context) for way in ways for text in texts[way[0]] for sentence in way]
    requests = [Request(str(place), context, text.ids) for place, (text, context) in enumerate(both)]
    scores = iter(score.log_likelihood for score in respondent.score(requests, progress))
    return {
        way: [Drawn(text.text, len(text.ids), next(scores), next(scores)) for text in texts[way[0]]] for way in ways
    }


def _item(case: Case, first: Sequence[Drawn], second: Sequence[Drawn]) -> Item:
    """nats: estimate of J. tokens: mean length of a text."""
    tokens = [one.tokens for one in (*first, *second)]
    return Item(
        id=case.id,
        cluster=case.template,
        group={"axis": case.axis, "language": case.language, "stereotyped": case.group},
        metric={
            "nats": sum(sum(one.log_ratio for one in side) / len(side) for side in (first, second)),
            "tokens": sum(tokens) / len(tokens),
        },
        shown={
            "stereotyped": case.stereotyped,
            "other": case.other,
            "written": {"stereotyped": _shown(first), "other": _shown(second)},
        },
    )


def _shown(side: Sequence[Drawn]) -> list[dict[str, Any]]:
    """Each text, and how much likelier it is after the person it was written of than after the other one, in nats."""
    return [{"text": one.text, "tokens": one.tokens, "log_ratio": one.log_ratio} for one in side]


def specs(dialect: Dialect, chosen: Chosen | None = None, digest: str = "") -> tuple[Spec, ...]:
    chosen = chosen or Chosen()
    part: dict[str, Any] = {"part": chosen.part} if chosen.part else {}
    divergence = spec(
        dialect,
        "divergence",
        "nats",
        "nats per token",
        "lower",
        slices=SLICES,
        note="How much a token of what the model writes tells which of the two persons it was written of. It counts "
        "the pronouns and agreements that are right to differ too, so a fair model is not at 0.",
        axes=sorted(set(chosen.axes)),
        languages=sorted(set(chosen.languages)),
        templates=digest[: digests.SHORT],
        **part,
        drawn=f"{TEMPLATES}x{PAIRS}x{TEXTS}",
        max_new_tokens=TOKENS,
        temperature=1,
    )
    return (divergence.model_copy(update={"weight": "tokens"}),)
