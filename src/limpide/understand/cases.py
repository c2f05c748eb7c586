"""A release's own failures and its most biased pairs, each explained: the errors and biases shown where they sit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from limpide.core import files
from limpide.core.errors import LimpideError
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress, Quiet
from limpide.data.examples import Message, load_examples
from limpide.models.classifier import is_classifier
from limpide.understand.explain import ExplainSettings, explain, opened, question_of
from limpide.understand.methods import MethodName
from limpide.understand.settings import PatchingSettings

if TYPE_CHECKING:
    from limpide.models.model import Model

EXPLANATIONS = "explanations.json"
WORDLESS = "A classifier's choices are not explained: the methods here follow the words that a model predicts."
ASKED = ("held_out", "unseen")  # parts of the data, failures of the first come first


class CasesSettings(Settings):
    """Which items of the audits are explained, and how."""

    failures: int = Field(2, ge=0, le=100, description="wrong answers, held-out questions first, one a topic first")
    pairs: int = Field(2, ge=0, le=100, description="pairs with the largest bias, one a template, axes in turn")
    methods: tuple[MethodName, ...] = Field(
        ("attribution", "lens", "patching", "parts", "faithfulness"), min_length=1, description="methods used for each"
    )


def run(subject: Subject, settings: CasesSettings, progress: Progress) -> Result:
    """Write explanations.json: a list of explanations, each with its `case`.

    inputs: 'data', 'adapt' where there was a training, and of the audits of this model 'domain' and 'bias', those that
    there are. A case that cannot be
    explained is told with its reason; it stops nothing. A classifier has no words to follow: nothing is explained.
    """
    if is_classifier(subject.the_model()):
        files.write_json(subject.out / EXPLANATIONS, [])
        return Result(facts={"explained": [], "skipped": [WORDLESS]}, warnings=(WORDLESS,))
    model = opened(subject, progress)
    wanted = [*_failures(subject, settings.failures), *_pairs(model, subject, settings.pairs)]
    explained: list[dict[str, Any]] = []
    skipped: list[str] = []
    with progress.task("explaining", total=len(wanted)) as task:
        for case, asked in wanted:
            try:
                explained.append(_explained(model, case, asked, settings, subject))
            except LimpideError as error:
                skipped.append(f"{case['kind']} {case['id']} is not explained: {error.what}")
            task.advance()
    files.write_json(subject.out / EXPLANATIONS, explained)
    return Result(facts={"explained": [e["case"] for e in explained], "skipped": skipped}, warnings=tuple(skipped))


def _explained(
    model: Model, case: dict[str, Any], asked: ExplainSettings, settings: CasesSettings, subject: Subject
) -> dict[str, Any]:
    """One explanation; of several methods, one that cannot answer this case is told in it."""
    asked = asked.model_copy(update={"methods": settings.methods})
    found = explain(
        model,
        question_of(model, asked),
        asked,
        Quiet(),
        title=subject.label,
        seed=subject.seed,
        adapter=subject.inputs.get("adapt"),
    )
    return {**found.record, "case": case}


Case = tuple[dict[str, Any], ExplainSettings]


def _failures(subject: Subject, count: int) -> Iterator[Case]:
    """Why what was said, rather than what was expected."""
    items = [item for item in _items(subject, "domain") if _is_wrong(item)]
    items.sort(key=lambda item: (ASKED.index(item["group"]["slice"]), item["id"]))
    asked = _conversations(subject.inputs.get("data"))
    for item in _spread(items, lambda item: item.get("topic"), count):
        case = {"kind": "failure", "id": item["id"], "group": item["group"], "expected": item["expected"]}
        prompt = asked.get(item["id"], item["prompt"])
        yield (
            case,
            ExplainSettings(prompt=prompt, answer=item["answer"], against=item["expected"]),
        )


def _is_wrong(item: Mapping[str, Any]) -> bool:
    said = str(item.get("answer") or "").strip()
    return bool(said) and item["metric"].get("normalised") == 0 and item["group"].get("slice") in ASKED


def _conversations(folder: Path | None) -> dict[str, tuple[Message, ...]]:
    found = [folder / f"{part}.jsonl" for part in ASKED] if folder else []
    return {example.id: example.prompt for file in found if file.is_file() for example in load_examples(file)}


def _pairs(model: Model, subject: Subject, count: int) -> Iterator[Case]:
    """Why the outcome after the person with whom it is likelier, beside the same text with the other person."""
    items = [item for item in _items(subject, "bias") if "outcome" in item and "other" in item]
    items.sort(key=lambda item: (-abs(item["metric"]["gap"]), item["id"]))
    by_template = {item["cluster"]: item for item in reversed(items)}
    items = [item for item in items if by_template[item["cluster"]] is item]
    for item in _spread(items, lambda item: item["group"].get("axis"), count):
        case = {"kind": "bias pair", "id": item["id"], "group": item["group"], "gap": item["metric"]["gap"]}
        sides = ("stereotyped", "other") if item["metric"]["gap"] > 0 else ("other", "stereotyped")
        first, other = (_with_masks(model, item[side], item["outcome"]) for side in sides)
        twin = PatchingSettings(twin=other)
        yield case, ExplainSettings(prompt=first, answer=item["outcome"].strip(), raw=True, patching=twin)


def _with_masks(model: Model, text: str, outcome: str) -> str:
    """An encoder predicts masks, so the outcome stands in the text as them."""
    if model.kind != "encoder":
        return text
    tokens = model.tokenizer(outcome.strip(), add_special_tokens=False)["input_ids"]
    return f"{text} {' '.join([model.tokenizer.mask_token] * len(tokens))}"


def _items(subject: Subject, suite: str) -> list[dict[str, Any]]:
    file = subject.inputs[suite] / "items.jsonl" if suite in subject.inputs else None
    return files.read_jsonl(file) if file is not None and file.is_file() else []


def _spread(items: Sequence[dict[str, Any]], of: Any, count: int) -> list[dict[str, Any]]:
    """The first `count` items, taking one of each kind in turn."""
    turns: dict[Any, int] = {}
    placed = []
    for place, item in enumerate(items):
        kind = of(item)
        placed.append((turns.get(kind, 0), place, item))
        turns[kind] = turns.get(kind, 0) + 1
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])[:count]]


operation = Operation(
    name="understand.cases",
    verb="look",
    summary="Explain the release's own failures and its most biased pairs.",
    settings=CasesSettings,
    run=run,
    needs=("scores", "gradients", "activations"),
)
