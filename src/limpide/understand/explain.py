"""Why a model gave this answer: one question, several methods, and a test of whether what they say is true.

In explanation.json everything counts from 0: tokens of the answer, places, layers (a layer is a block of the network),
heads and experts. Where a method looks between the blocks, as the lens does, index k is the stream after k blocks: 0 is
the embeddings, and `first_lead: k` means after k blocks, that is, from layer k − 1 on. Pages count from 1.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from limpide.core import files
from limpide.core.errors import LimpideError, UsageError
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.data.examples import Message
from limpide.understand.methods import METHODS, NAMES, MethodName, chosen
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
WHOLE = ("F32", "F16", "BF16")  # GGUF types that are not quantised


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
    """record: explanation.json. seconds: what each method took; no part of the record, which is the same each time.

    Its question's `raw`, `settings` ({dotted option: value} of what differs from its default) and `seed` are all that
    asks the same again. `warnings`: [{"en", "fr"}].
    """

    record: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)


def run(subject: Subject, settings: ExplainSettings, progress: Progress) -> Result:
    """Write explanation.json. inputs 'adapter': a `peft` folder on top of the model.

    Raises ModelError, UsageError for a question that cannot be asked, or that no method can answer; a method that
    cannot, where others can, is told under 'not_run', with the reason.
    """
    model = opened(subject, progress)
    question = question_of(model, settings)
    adapter = subject.inputs.get("adapter")
    found = explain(model, question, settings, progress, title=subject.label, seed=subject.seed, adapter=adapter)
    files.write_json(subject.out / EXPLANATION, found.record)
    facts = {name: found.record[name] for name in ("model", "not_run")}
    facts |= {"answer": found.record["question"]["answer"], "seconds": found.seconds}
    return Result(facts=facts, warnings=tuple(warning["en"] for warning in found.record["warnings"]))


def opened(subject: Subject, progress: Progress) -> Model:
    """The model, in float32: shares of an answer are small differences, which fewer digits would blur."""
    from limpide.models.model import open_model

    with progress.task(f"opening {subject.label}"):
        return open_model(subject.the_model(), adapter=subject.inputs.get("adapter"))


def of_adapter(settings: ExplainSettings, adapter: Path | None) -> ExplainSettings:
    """The settings, whose training is that of the adapter opened unless another is named."""
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


def options(settings: HowExplained) -> dict[str, Any]:
    """{dotted option: value} of each option of a method that is not its default, as plain JSON."""
    given = {name: getattr(settings, name).model_dump(mode="json", exclude_defaults=True) for name in NAMES}
    return {f"{name}.{option}": value for name, own in given.items() for option, value in own.items()}


def explain(
    model: Model,
    question: Question,
    settings: ExplainSettings,
    progress: Progress,
    *,
    title: str,
    seed: int = 0,
    adapter: Path | None = None,
    may_be_empty: bool = False,
) -> Explained:
    """Each method on one question. A method that cannot answer it stands under 'not_run' with the reason.

    adapter: what was put on the model, whose training influence looks at. Raises, unless the explanation may be empty,
    what the first method raised where none can answer; before anything is computed, as far as that can be known.
    """
    from limpide.models.families.registry import blocks
    from limpide.understand import cost

    settings, named = of_adapter(settings, adapter), settings
    unable = _unable(model, question, settings)
    able = tuple(name for name in settings.wanted if name not in unable)
    if able:
        cost.tell(model, question, settings.model_copy(update={"methods": able}), progress)
    elif not may_be_empty:
        raise next(iter(unable.values()))
    found: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, error in unable.items():
        progress.say(f"{name}: not run. {error.what}")
    for name in able:
        started = time.monotonic()
        try:
            found[name] = _answer(name, model, question, settings, found, progress, seed)
        except LimpideError as error:
            unable[name] = error
            progress.say(f"{name}: not run. {error.what}")
            continue
        seconds[name] = round(time.monotonic() - started, 1)
    if not found and not may_be_empty:
        raise next(iter(unable.values()))
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
        "settings": options(named),
        "methods": {name: answer.record() for name, answer in found.items()},
        "not_run": {name: _reason(unable[name]) for name in settings.wanted if name in unable},
        "warnings": list(_warnings(model, question, settings, found)),
        "seed": seed,
        "versions": _versions(),
    }
    return Explained(record, seconds)


def _unable(model: Model, question: Question, settings: ExplainSettings) -> dict[MethodName, LimpideError]:
    """Methods that say at once that they cannot answer, and why."""
    found: dict[MethodName, LimpideError] = {}
    for name in settings.wanted:
        require: Callable[..., Any] | None = getattr(METHODS[name].load(), "require", None)
        try:
            if require is not None:
                require(model, question, getattr(settings, name))
        except LimpideError as error:
            found[name] = error
    return found


def _reason(error: LimpideError) -> str:
    return " ".join(filter(None, (error.what, error.remedy and f"To do: {error.remedy}.")))


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
        from limpide.understand.tested import test

        return test(model, question, settings, found["attribution"], progress, seed)
    return METHODS[name].load().explain(model, question, getattr(settings, name), progress, seed)


def _warnings(
    model: Model, question: Question, settings: ExplainSettings, found: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    """What a reader should know, in each language of the documents: {"en", "fr"}."""
    from limpide.models.gguf_folder import SOURCE_FILE
    from limpide.understand.tested import bounded

    source = model.folder / SOURCE_FILE
    held = (files.read_json(source).get("gguf") or {}).get("quantisation") if source.is_file() else None
    if held is not None and held not in WHOLE:
        yield {
            "en": f"The weights were made float32 again from {held}. A program that computes with {held} itself, such "
            "as llama.cpp, rounds more, and may answer otherwise.",
            "fr": f"Les poids ont été remis en float32 à partir de {held}. Un programme qui calcule en {held} même, "
            "comme llama.cpp, arrondit davantage et peut répondre autrement.",
        }
    if question.cut:
        count = len(question.answer_tokens)
        yield {
            "en": f"The model would have gone on: the first {count} tokens of its answer are explained.",
            "fr": f"Le modèle aurait continué : les {count} premiers tokens de sa réponse sont expliqués.",
        }
    test = bounded(question, settings.faithfulness)
    if "faithfulness" in found and test != settings.faithfulness:
        size = len(question.tokens)
        yield {
            "en": f"The prompt is long ({size} tokens), so its test is shorter: curves of {test.points} steps, and "
            f"{test.draws} draws of random weights.",
            "fr": f"La question est longue ({size} tokens), son test est donc plus court : des courbes de "
            f"{test.points} pas, et {test.draws} tirages de poids au hasard.",
        }


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
