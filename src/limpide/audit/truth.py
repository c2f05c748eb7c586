"""Does the model say what is true, know what it does not know, and keep from inventing? On Limpide's own questions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import Field
from scipy import stats

from limpide.audit import semantic, statistics, truth_answers, truth_options
from limpide.audit.items import (
    AuditSettings,
    Item,
    Spec,
    frame_of,
    not_run,
    respondent_of,
    save_evidence,
    summarise,
)
from limpide.audit.measurable import measurable
from limpide.audit.thoughts import CUT, cut_short, spoken
from limpide.audit.truth_questions import PARTS, Language, Part, Question, questions_digest, read_questions
from limpide.core import digests
from limpide.core.operation import Measurable, Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data import templates
from limpide.models.requests import Sampling
from limpide.models.respondents import GENERATES, SAMPLES, SCORES, Opened, Respondent

NO_LIKELIHOODS = "Needs the likelihood of given words, which only a model whose weights are here tells."
NO_ANSWERS = "Needs a model that writes answers, and this one only fills in words."
NO_SAMPLES = "Needs several answers drawn to one question, and here there is one answer to each at most."
NEEDED = {"short": GENERATES, "unanswerable": GENERATES, "semantic": SAMPLES}
CHANGED = 0.2  # share of answers assumed to change when planning what a comparison can see


class TruthSettings(AuditSettings):
    languages: tuple[Language, ...] = Field(
        default=("en", "fr"), min_length=1, description="languages of the questions"
    )
    parts: tuple[Part, ...] = Field(
        default=PARTS,
        min_length=1,
        description="options: four given answers; short: free answers; unanswerable: things that do not exist; "
        "semantic: the same question asked several times",
    )
    choices: Literal["likelihood", "letter"] = Field(
        default="likelihood",
        description="how options are chosen: by the likelihood of each, or by the letter that is answered, as they are "
        "where weights are closed",
    )
    max_new_tokens: int = Field(default=24, ge=1, description="tokens of each written answer")
    samples: int = Field(default=5, ge=2, description="answers drawn to each question of the part 'semantic'")
    temperature: float = Field(default=1.0, gt=0, le=2, description="of the answers drawn; 1 is the model's own")
    semantic_questions: int = Field(
        default=60, ge=2, description="questions of the part 'semantic', of all languages together, chosen by the seed"
    )
    limit: int | None = Field(
        default=None, ge=1, description="questions of each part and language, the first of each file; all when not set"
    )
    part: templates.Part | None = Field(
        default=None,
        description="one part of the questions of each alone: a correction is fitted on the first, its strength chosen "
        "on the second, and judged on the third",
    )


@dataclass
class Found:
    """What the parts gave so far. missing: measures that this respondent cannot have, each with the reason.

    written: answers that were written. cut: those of them whose thoughts were cut short.
    """

    items: list[Item] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)
    missing: list[tuple[Spec, str]] = field(default_factory=list)
    written: int = 0
    cut: int = 0

    def spoken(self, texts: Sequence[str]) -> list[str]:
        """Written answers without their thoughts, counted."""
        answers, cut = spoken(texts)
        self.written, self.cut = self.written + len(answers), self.cut + cut
        return answers

    def lacks(self, specs: Sequence[Spec], why: str) -> None:
        self.missing += [(spec, why) for spec in specs]


def run(subject: Subject, settings: TruthSettings, progress: Progress) -> Result:
    """Asks the parts that the respondent can answer; the measures of the others are 'not run', with the reason."""
    questions = {
        part: read_questions(part, settings.languages, settings.limit, settings.part) for part in settings.parts
    }
    if "semantic" in questions:
        questions["semantic"] = semantic.drawn(questions["semantic"], settings.semantic_questions, subject.seed)
    respondent = respondent_of(subject, settings)
    able = [part for part in questions if part not in NEEDED or NEEDED[part] in respondent.can]
    planned = smallest_detectable({part: len(questions[part]) for part in able})
    for name, plan in planned.items():
        progress.say(f"{name}: {plan['n']} questions {plan['in_words']}")
    found = Found()
    if "options" in questions:
        _options(found, respondent, questions["options"], settings, progress)
    _written(found, respondent, questions, settings, subject.seed, progress)
    save_evidence(subject.out, found.items, found.specs)
    frame = frame_of(subject, respondent, questions_digest(settings.parts, settings.languages))
    measures = (
        *summarise(found.items, found.specs, frame),
        *(not_run(spec, frame, why) for spec, why in found.missing),
    )
    facts = {
        "questions": {part: len(asked) for part, asked in questions.items()},
        "precision": settings.precision,
        CUT: found.cut,
        "smallest_detectable": planned,
        "topics": {m: truth_options.by_topic(found.items, m) for m in ("correct", "right", "made_up")},
        **truth_options.pictures(found.items),
    }
    warnings = cut_short(found.cut, found.written, settings.max_new_tokens)
    return Result(measures, facts | respondent.facts(), warnings)


def _options(
    found: Found, respondent: Respondent, questions: Sequence[Question], settings: TruthSettings, progress: Progress
) -> None:
    parameters = _parameters("options", settings)
    scored = truth_options.likelihood_specs(**parameters)
    if settings.choices == "likelihood" and isinstance(respondent, Opened) and SCORES in respondent.can:
        found.items += truth_options.by_likelihood(respondent, questions, progress)
        found.specs += [truth_options.accuracy_spec("likelihood", **parameters), *scored]
        return
    written = parameters | {"max_new_tokens": settings.max_new_tokens}
    read = (truth_options.accuracy_spec("letter", **written), truth_options.unreadable_spec(**written))
    if GENERATES in respondent.can:
        lettered = truth_options.by_letter(respondent, questions, settings.max_new_tokens, progress)
        found.items += lettered
        found.written += len(lettered)
        found.cut += sum(CUT in item.shown for item in lettered)
        found.specs += read
    else:
        found.lacks(read, NO_ANSWERS)
    found.lacks(scored, NO_LIKELIHOODS)


def _written(
    found: Found,
    respondent: Respondent,
    questions: Mapping[Part, Sequence[Question]],
    settings: TruthSettings,
    seed: int,
    progress: Progress,
) -> None:
    """The parts that need written answers. A question of several parts is answered once."""
    makers: dict[Part, tuple[Callable[[Question, str], Item], Callable[[Mapping[str, Any]], tuple[Spec, ...]]]] = {
        "short": (truth_answers.short_item, truth_answers.short_specs),
        "unanswerable": (truth_answers.unanswerable_item, truth_answers.unanswerable_specs),
    }
    parts = [part for part in PARTS if part in questions and part != "options"]
    asked = {q.id: q for part in parts for q in questions[part]}
    answers: dict[str, str] = {}
    if GENERATES in respondent.can and asked:
        said = respondent.answer([q.brief() for q in asked.values()], settings.max_new_tokens, progress)
        answers = dict(zip(asked, found.spoken(said), strict=True))
    for part, (item, specs) in makers.items():
        if part not in questions:
            continue
        made = specs(_parameters(part, settings, prompt="brief", max_new_tokens=settings.max_new_tokens))
        if answers:
            found.items += [item(q, answers[q.id]) for q in questions[part]]
            found.specs += made
        else:
            found.lacks(made, NO_ANSWERS)
    if "semantic" in questions:
        _semantic(found, respondent, questions["semantic"], answers, settings, seed, progress)


def _semantic(
    found: Found,
    respondent: Respondent,
    questions: Sequence[Question],
    answers: Mapping[str, str],
    settings: TruthSettings,
    seed: int,
    progress: Progress,
) -> None:
    parameters = _parameters(
        "semantic",
        settings,
        prompt="brief",
        max_new_tokens=settings.max_new_tokens,
        samples=settings.samples,
        temperature=settings.temperature,
        drawn=len(questions),
    )
    if SAMPLES not in respondent.can or not answers:
        found.lacks(semantic.specs("likelihood", parameters), NO_SAMPLES if answers else NO_ANSWERS)
        return
    sampling = Sampling(settings.samples, settings.temperature, settings.max_new_tokens, seed)
    samples = respondent.sample([q.brief() for q in questions], sampling, progress)
    samples = [
        [replace(answer, text=text) for answer, text in zip(drawn, found.spoken([a.text for a in drawn]), strict=True)]
        for drawn in samples
    ]
    weights = semantic.weights_of(samples, questions)
    for q, drawn in zip(questions, samples, strict=True):
        right = truth_answers.is_right(answers[q.id], q.expected)
        found.items.append(semantic.semantic_item(q, answers[q.id], right, drawn, weights))
    found.specs += semantic.specs(weights, parameters)


def _parameters(part: str, settings: TruthSettings, **more: object) -> dict[str, object]:
    """What changes the result of every measure of a part, for its method id."""
    languages = sorted(set(settings.languages))
    digest = questions_digest([part], languages)[: digests.SHORT]
    limit = settings.limit if settings.limit is not None else "all"
    only = {"part": settings.part} if settings.part else {}
    return {"languages": languages, "questions": digest, "limit": limit, **only, **more}


def smallest_detectable(counts: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """What this many questions find 8 times in 10, by measure: planned before a model is asked.

    counts: questions of each part. Shares: their distance from chance, and a change between two models that answer
    one question in five differently. AUC: its distance from 0.5 when half of the answers are wrong.
    """
    found: dict[str, dict[str, Any]] = {}
    for part, name in (("options", "accuracy"), ("short", "short_accuracy"), ("unanswerable", "made_up")):
        if n := counts.get(part, 0):
            change = statistics.smallest_detectable_paired_share(CHANGED, n)
            words = f"find a change of {100 * change:.1f} points 8 times in 10, if one answer in five changes."
            found[f"truth.{name}"] = {"n": n, "change": change, "in_words": words}
    if "options" in counts:
        above = statistics.smallest_detectable_share(counts["options"], 0.25)
        found["truth.accuracy"]["above_chance"] = above
    if n := counts.get("semantic", 0):
        # Standard error of an AUC of 0.5 with n/2 of each sort: √((n + 1)/(3n²)); Mann and Whitney 1947.
        error = math.sqrt((n + 1) / 3) / n
        above = float(stats.norm.ppf(1 - statistics.ALPHA / 2) + stats.norm.ppf(statistics.POWER)) * error
        found_at = f"find an AUC of {0.5 + above:.2f}" if above < 0.5 else "are too few to find any AUC"
        words = f"{found_at} 8 times in 10, if half of the answers are wrong."
        found["truth.semantic_entropy_auc"] = {"n": n, "above_chance": above, "in_words": words}
    return found


def gives(settings: TruthSettings) -> tuple[Measurable, ...]:
    chosen = settings.choices
    likelihoods = truth_options.likelihood_specs() if chosen == "likelihood" else (truth_options.unreadable_spec(),)
    parts: dict[Part, tuple[Spec, ...]] = {
        "options": (truth_options.accuracy_spec(chosen), *likelihoods),
        "short": truth_answers.short_specs({}),
        "unanswerable": truth_answers.unanswerable_specs({}),
        "semantic": semantic.specs("likelihood", {}),
    }
    return measurable([spec for part in settings.parts for spec in parts[part]], language=settings.languages)


operation = Operation(
    name="audit.truth",
    verb="look",
    summary="Whether the model knows what is true, is as sure as it should be, and admits what it cannot know.",
    settings=TruthSettings,
    run=run,
    gives=gives,
    needs=("scores",),
    source="ECE: Guo et al. 2017; risk–coverage: Geifman et al. 2019; semantic entropy: Farquhar et al. 2024",
)
