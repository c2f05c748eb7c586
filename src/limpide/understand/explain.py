"""Why a model gave this answer: one question, several methods, and a test of whether what they say is true."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pydantic import Field

from limpide.core import files
from limpide.core.errors import UsageError
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress, Quiet
from limpide.data.examples import Message
from limpide.understand.methods import METHODS, MethodName, chosen
from limpide.understand.settings import (
    AttributionSettings,
    FaithfulnessSettings,
    InfluenceSettings,
    LensSettings,
    PartsSettings,
    PatchingSettings,
)

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.understand.question import Question

EXPLANATION = "explanation.json"
USUAL: tuple[MethodName, ...] = ("attribution", "lens", "parts", "faithfulness")  # seconds on a small model
OCCLUDED = 128  # tokens of a prompt up to which occlusion is computed too, to be agreed with
WHOLE = ("F32", "F16", "BF16")  # GGUF types that are not quantised
FEW_POINTS = 64  # of integrated gradients where they are only held beside another method


class HowExplained(Settings):
    """How one answer is explained: everything but the prompt and the methods."""

    answer: str | None = Field(None, description="what the model said; default: what it says when it is asked now")
    against: str | None = Field(None, description="another answer: why the first rather than this one")
    at: int | None = Field(
        None, ge=0, description="which token of the answer the layers and parts explain, from 0; default: chosen"
    )
    raw: bool | None = Field(
        None, description="the prompt is a text to go on with, not a message; default: where there is no chat template"
    )
    attribution: AttributionSettings = Field(AttributionSettings(), description="which words")
    lens: LensSettings = Field(LensSettings(), description="which layer")
    patching: PatchingSettings = Field(PatchingSettings(), description="which places inside")
    parts: PartsSettings = Field(PartsSettings(), description="which heads, MLPs and experts")
    influence: InfluenceSettings = Field(InfluenceSettings(), description="which training examples")
    faithfulness: FaithfulnessSettings = Field(FaithfulnessSettings(), description="whether it is true")


class ExplainSettings(HowExplained):
    """One question to a model, and the methods that explain its answer."""

    prompt: str | tuple[Message, ...] = Field(description="what the model was asked: a text, or a conversation")
    methods: tuple[MethodName, ...] = Field(
        (), description="methods; default: words, layers, parts and their test, and patching where it has a twin"
    )

    @property
    def wanted(self) -> tuple[MethodName, ...]:
        """The methods to run: those named, else the usual ones."""
        twin = self.against is not None or self.patching.twin is not None
        return chosen(self.methods or (*USUAL, *(("patching",) if twin else ())))


@dataclass
class Explained:
    """record: explanation.json. seconds: what each method took; no part of the record, which is the same each time."""

    record: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)


def run(subject: Subject, settings: ExplainSettings, progress: Progress) -> Result:
    """Write explanation.json. inputs 'adapter': a `peft` folder on top of the model.

    Raises ModelError, UsageError for a question that cannot be asked, or a method that was named and cannot answer
    it; a usual method that cannot is told under 'not_run', with the reason.
    """
    model, settings = opened(subject, progress), of_adapter(settings, subject)
    found = explain(model, question_of(model, settings), settings, progress, title=subject.label, seed=subject.seed)
    files.write_json(subject.out / EXPLANATION, found.record)
    facts = {name: found.record[name] for name in ("model", "not_run")}
    facts |= {"answer": found.record["question"]["answer"], "seconds": found.seconds}
    return Result(facts=facts, warnings=tuple(found.record["warnings"]))


def opened(subject: Subject, progress: Progress) -> Model:
    """The model, in float32: shares of an answer are small differences, which fewer digits would blur."""
    from limpide.models.model import open_model

    with progress.task(f"opening {subject.label}"):
        return open_model(subject.the_model(), adapter=subject.inputs.get("adapter"))


def of_adapter(settings: ExplainSettings, subject: Subject) -> ExplainSettings:
    """The settings, whose training is that of the subject's adapter unless another is named."""
    adapter = subject.inputs.get("adapter")
    if adapter is None or settings.influence.adapter is not None:
        return settings
    return settings.model_copy(update={"influence": settings.influence.model_copy(update={"adapter": adapter})})


def question_of(model: Model, settings: ExplainSettings, like: Question | None = None) -> Question:
    """like: the same question to a model of the same vocabulary, whose answer and decision are taken."""
    from limpide.understand.question import ask

    given: dict[str, Any] = {
        "answer": settings.answer,
        "at": settings.at,
        "against": settings.against,
        "raw": settings.raw,
    }
    if like is not None:
        given |= {"answer": like.row.targets, "at": like.at, "rival": like.decision.rival}
    return ask(model, settings.prompt, **given)


def explain(
    model: Model, question: Question, settings: ExplainSettings, progress: Progress, *, title: str, seed: int = 0
) -> Explained:
    """Each method on one question. Raises what a method that was named raises."""
    from limpide.models.families.registry import blocks

    found: dict[str, Any] = {}
    not_run: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name in settings.wanted:
        started = time.monotonic()
        try:
            found[name] = _answer(name, model, question, settings, found, progress, seed)
        except UsageError as error:
            if settings.methods:
                raise
            not_run[name] = " ".join(filter(None, (error.what, error.remedy and f"To do: {error.remedy}.")))
            progress.say(f"{name}: not run. {error.what}")
            continue
        seconds[name] = round(time.monotonic() - started, 1)
    record = {
        "version": 1,
        "model": {
            "title": title,
            "digest": model.digest,
            "family": model.family.title,
            "kind": model.kind,
            "precision": model.precision,
            "layers": len(blocks(model.network, model.family)),
        },
        "question": question.record(model),
        "methods": {name: answer.record() for name, answer in found.items()},
        "not_run": not_run,
        "warnings": list(_warnings(model, question)),
        "seed": seed,
        "versions": _versions(),
    }
    return Explained(record, seconds)


def _answer(
    name: MethodName,
    model: Model,
    question: Question,
    settings: ExplainSettings,
    found: Mapping[str, Any],
    progress: Progress,
    seed: int,
) -> Any:
    """The record of one method. found: of those before it."""
    if name == "faithfulness":
        if "attribution" not in found:
            raise UsageError("There is no explanation by words that could be tested.")
        return _tested(model, question, settings, found["attribution"], progress, seed)
    return METHODS[name].load().explain(model, question, getattr(settings, name), progress, seed)


def _tested(
    model: Model, question: Question, settings: ExplainSettings, attribution: Any, progress: Progress, seed: int
) -> Any:
    """The test of the attribution, beside other methods' rankings of the same words.

    Integrated gradients are among these with few points, and only where they converge: else they rank by noise.
    """
    explain: Callable[..., Any] = METHODS["attribution"].load().explain
    own = settings.attribution
    others = [m for m in ("gradient-x-input", "occlusion", "integrated-gradients") if m != own.method]
    if len(question.tokens) > OCCLUDED:
        others = [m for m in others if m != "occlusion"]
    few = {"most_steps": min(own.most_steps, FEW_POINTS), "each_token": False}
    bare = own.model_copy(update=few)
    rankings: dict[str, Any] = {own.method: attribution.words}
    with progress.task("other methods, to agree with", total=len(others)) as task:
        for method in others:
            found = explain(model, question, bare.model_copy(update={"method": method}), Quiet(), seed)
            if found.converged is not False:
                rankings[method] = found.words
            task.advance()

    def again(other: Model) -> Any:
        return explain(other, question, bare, Quiet(), seed).words

    check: Callable[..., Any] = METHODS["faithfulness"].load().check
    return check(model, question, rankings, settings.faithfulness, progress, seed, again)


def _warnings(model: Model, question: Question) -> Iterator[str]:
    from limpide.models.gguf_folder import SOURCE_FILE

    source = model.folder / SOURCE_FILE
    held = (files.read_json(source).get("gguf") or {}).get("quantisation") if source.is_file() else None
    if held is not None and held not in WHOLE:
        yield (
            f"The weights were made float32 again from {held}. A program that computes with {held} itself, such as "
            "llama.cpp, rounds more, and may answer otherwise."
        )
    if question.cut:
        count = len(question.answer_tokens)
        yield f"The model would have gone on: the first {count} tokens of its answer are explained."


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("limpide", "torch", "transformers", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # Limpide in a source tree
            continue
    return found


operation = Operation(
    name="understand.explain",
    verb="look",
    summary="Say why a model gave an answer: which words, layers, parts and examples, and whether that is true.",
    settings=ExplainSettings,
    run=run,
    needs=("scores", "gradients", "activations"),
    source="Sundararajan et al. 2017; nostalgebraist 2020; Wang et al. 2022; Pruthi et al. 2020; DeYoung et al. 2020",
)
