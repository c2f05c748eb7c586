"""Texts and their labels: an encoder learns them under a classification head, any other model where it is asked to.

For `adapt.train`, whose settings these are: where `asked` says so, `run` does the whole step in its place. Without
`head: true` a decoder or a T5 answers with the label instead, and nothing here is called.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from limpide.core import files
from limpide.core.errors import DataError, Fault, ModelError
from limpide.core.operation import Result, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from limpide.adapt.head_training import Row, State
    from limpide.adapt.settings import TrainSettings
    from limpide.adapt.training import Plan
    from limpide.core.progress import Progress
    from limpide.data.examples import Example
    from limpide.models.classifier import Classifier

CLASSIFICATION = "classification"  # what facts['task'] says of such a training
MOST_LABELS = 1000
LEAST_ROWS = 2  # of a class in the training rows
LEAST_ASIDE = 4  # rows kept aside, below which none are
LISTED = 20


def asked(subject: Subject, settings: TrainSettings) -> bool:
    """Are the rows to be learnt by a classification head?"""
    from limpide.data.examples import load_examples
    from limpide.models.classifier import is_classifier
    from limpide.models.families.registry import family_of

    if settings.head is not None or is_classifier(subject.the_model()):
        return settings.head is not False
    encoder = family_of(files.read_json(subject.the_model() / "config.json")).kind == "encoder"
    return encoder and any(row.label is not None for row in load_examples(subject.input("data") / "train.jsonl"))


def run(subject: Subject, settings: TrainSettings, progress: Progress) -> Result:
    """Train a head on data/train.jsonl, and with it an adapter or the whole model.

    Writes losses.jsonl and adapter/, a `peft` folder that holds the head, with its classes in labels.json; or with
    `method: full` model/, an ordinary classification folder.
    Ctrl-C leaves a checkpoint, from which the same command goes on, and the best so far in interrupted/.
    Raises DataError with every fault of the labels, ModelError.
    """
    from limpide.adapt import checkpoint, head_training
    from limpide.adapt.stages import INTERRUPTED, tidy

    not_used = _not_used(settings, subject.input("data"))
    settings = settings.model_copy(update={"layers": "all"}) if settings.layers == "auto" else settings
    examples, aside = _split(read_rows(subject.input("data")), settings.validation, subject)
    counts = Counter(str(row.label) for row in (*examples, *aside))
    labels = tuple(sorted(counts))
    classifier = made(subject.the_model(), labels, settings, subject.seed)
    rows, kept_aside = (_encode(classifier, part) for part in (examples, aside))
    plan = _plan(rows, settings, subject.seed)
    weights = class_weights(counts, labels, balanced=settings.class_weights == "balanced")
    state = head_training.start(classifier, plan, weights)
    progress.say(f"training {len(rows)} texts of {len(labels)} classes, at most {plan.steps} steps")
    try:
        head_training.train(state, rows, kept_aside, subject.out, progress)
    except KeyboardInterrupt:
        head_training.keep_best(state)
        save(classifier, settings, subject.out / INTERRUPTED)
        progress.say(f"stopped after {state.step} of {plan.steps} steps: the best so far is in {INTERRUPTED}/")
        raise
    save(classifier, settings, subject.out)
    files.write_jsonl(subject.out / "losses.jsonl", state.losses)
    checkpoint.remove(subject.out)
    tidy(subject.out)
    facts = _facts(state, settings, rows) | {
        "labels": dict(sorted(counts.items())),
        "class_weights": {label: round(weight, 4) for label, weight in zip(labels, weights, strict=True)},
        "validation_rows": len(kept_aside),
    }
    warnings = (*state.notes, *_few(counts, bool(kept_aside)), *not_used)
    return Result(facts=facts, warnings=warnings)


# ------------------------------------------------------------------------------------------------------------- rows


def read_rows(folder: Path) -> list[Example]:
    """The training rows, when a head can learn them and every row held out. Raises DataError with every fault."""
    from limpide.data.examples import load_examples

    examples = load_examples(folder / "train.jsonl")
    tests = [row for name in ("held_out", "unseen") for row in _if_there(folder / f"{name}.jsonl")]
    counts = Counter(row.label for row in examples if row.label is not None)
    faults = [_fault(row, "has no label") for row in (*examples, *tests) if row.label is None]
    if not faults and len(counts) > MOST_LABELS:
        raise DataError(
            f"The training rows have {len(counts)} different labels: this looks like free text, not like classes.",
            received=", ".join(repr(label) for label in sorted(counts)[:5]) + ", …",
            expected=f"at most {MOST_LABELS} classes",
            remedy="give the column of the classes as 'label', or train a model that writes its answers",
        )
    if not faults and len(counts) < 2:
        raise DataError(
            "A classifier needs two classes or more.",
            received=f"one class, {next(iter(counts))!r}, in {len(examples)} training rows" if counts else "no row",
            remedy="bring rows of another class; whatever is asked, one class alone is the right answer",
        )
    faults += [
        _fault(row, f"the only training row of the class {row.label!r}")
        for row in examples
        if counts[str(row.label)] == 1
    ]
    faults += [
        _fault(row, f"held out, of the class {row.label!r}, which no training row has")
        for row in tests
        if row.label is not None and row.label not in counts
    ]
    if faults:
        more = f"{len(faults) - LISTED} rows more" if len(faults) > LISTED else None
        raise DataError(
            f"{len(faults)} rows cannot be learnt as classes, or cannot test what was learnt.",
            faults=faults[:LISTED],
            received=more,
            expected=f"a label in every row, and at least {LEAST_ROWS} training rows of each class, better 20",
            remedy="bring more rows of these classes, merge them with others, or name the rows to hold out in a "
            "column 'split'",
        )
    return examples


def _if_there(path: Path) -> list[Example]:
    from limpide.data.examples import load_examples

    return load_examples(path) if path.is_file() else []


def _fault(row: Example, what: str) -> Fault:
    file, line = row.place
    return Fault(file, line, what)


def _split(rows: list[Example], share: float, subject: Subject) -> tuple[list[Example], list[Example]]:
    """(rows to train on, rows kept aside to tell when to stop): of each class in proportion, never all of one."""
    import random

    given = _if_there(subject.input("data") / "validation.jsonl")
    if given:
        return rows, given
    count = round(share * len(rows))
    if count < LEAST_ASIDE:
        return rows, []
    shuffled = random.Random(subject.seed).sample(rows, len(rows))
    ordered = sorted(shuffled, key=lambda row: str(row.label))
    chosen = {ordered[(2 * k + 1) * len(rows) // (2 * count)].id for k in range(count)}
    return [row for row in rows if row.id not in chosen], [row for row in rows if row.id in chosen]


def _encode(classifier: Classifier, rows: Sequence[Example]) -> list[Row]:
    from limpide.adapt.head_training import Row
    from limpide.models.classifier import encode_texts
    from limpide.models.prompt import refuse_special_tokens, source_of

    for row in rows:
        refuse_special_tokens(classifier.tokenizer, row.prompt)
    ids = encode_texts(classifier, [source_of(row.prompt) for row in rows], [row.source for row in rows])
    place = {label: k for k, label in enumerate(classifier.labels)}
    return [Row(tuple(found), place[str(row.label)]) for found, row in zip(ids, rows, strict=True)]


def class_weights(counts: Mapping[str, int], labels: Sequence[str], *, balanced: bool) -> list[float]:
    """1 each; balanced: rows ÷ (classes · rows of the class), so that every class weighs the same in all.

    Source: King and Zeng 2001, Political Analysis 9, p. 144.
    """
    total = sum(counts.values())
    return [total / (len(labels) * counts[label]) if balanced else 1.0 for label in labels]


# ---------------------------------------------------------------------------------------------------------- network


def made(base: Path, labels: Sequence[str], settings: TrainSettings, seed: int) -> Classifier:
    """The base under a new head, with what is trained of it: the head, and an adapter or the blocks asked for.

    Both start at random, so the seed is set before each is made.
    """
    from dataclasses import replace

    import torch
    from peft import get_peft_model

    from limpide.adapt.adapters import lora_config, targets_of, trained_network
    from limpide.models.classifier import HEADS, with_head

    if settings.base_precision != "whole":
        raise ModelError(
            "A classification head is trained over a whole base.",
            received=f"base_precision: {settings.base_precision}",
            remedy="leave out adapt.base_precision",
        )
    classifier = with_head(base, labels, seed=seed)
    if isinstance(settings.layers, int) and classifier.family.kind == "encoder-decoder":
        raise ModelError(
            "Under a classification head, every block of an encoder–decoder is trained.",
            received=f"layers: {settings.layers}",
            remedy="leave out adapt.layers",
        )
    like: Any = classifier  # has the network, the family and the precision of a model, which is all that is read there
    if settings.method == "full":
        network = trained_network(like, settings, seed)
        for name, weight in network.named_parameters():
            weight.requires_grad_(weight.requires_grad or not set(name.split(".")).isdisjoint(HEADS))
        return replace(classifier, network=network)
    targets = targets_of(like, settings)
    torch.manual_seed(seed)
    config = lora_config(settings, targets, classifier.family, "SEQ_CLS", classifier.fresh)
    network = get_peft_model(classifier.network, config)
    network.eval()  # no dropout: the loss of a step must not depend on how the step is cut
    return replace(classifier, network=network)


def _plan(rows: Sequence[Row], settings: TrainSettings, seed: int) -> Plan:
    from limpide.adapt.training import Plan

    mean = sum(len(row.ids) for row in rows) / len(rows)
    at_once = min(len(rows), max(4, round(settings.step_tokens / mean)))
    return Plan(
        epochs=settings.epochs,
        packs_per_step=at_once,
        steps_per_epoch=-(-len(rows) // at_once),
        learning_rate=settings.rate("answers"),
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        patience=settings.patience,
        seed=seed,
        checkpoint_seconds=settings.checkpoint_seconds,
    )


def save(classifier: Classifier, settings: TrainSettings, out: Path) -> None:
    """adapter/ or model/, in safetensors, naming the base as others know it and never by a path of this machine."""
    from limpide.adapt.adapters import readable
    from limpide.models.classifier import LABELS
    from limpide.models.model import quiet_transformers
    from limpide.models.sources import public_name

    with quiet_transformers():
        if settings.method == "full":
            classifier.network.save_pretrained(out / "model")
            classifier.tokenizer.save_pretrained(out / "model")
            readable(out / "model", "config.json")
            return
        adapter = out / "adapter"
        classifier.network.peft_config["default"].base_model_name_or_path = public_name(classifier.folder)
        classifier.network.save_pretrained(str(adapter), safe_serialization=True, save_embedding_layers=False)
    (adapter / "README.md").unlink(missing_ok=True)  # peft's card template is full of blanks; ours is the release's
    config: dict[str, Any] = files.read_json(adapter / "adapter_config.json")
    for name in ("target_modules", "target_parameters", "modules_to_save"):
        config[name] = (
            sorted(config[name]) if config.get(name) else None
        )  # peft writes sets, in another order each time
    files.write_json(adapter / "adapter_config.json", config)
    readable(adapter, "adapter_config.json")
    files.write_json(adapter / LABELS, list(classifier.labels))


# ------------------------------------------------------------------------------------------------------------ facts


def _facts(state: State, settings: TrainSettings, rows: Sequence[Row]) -> dict[str, Any]:
    from limpide.adapt.head_training import share_of_padding

    lora = settings.method != "full"
    total = sum(p.numel() for p in state.classifier.network.parameters())
    best = next((point for point in state.losses if point["step"] == state.kept_step), {})
    return {
        "task": CLASSIFICATION,
        "method": settings.method,
        "rank": settings.rank if lora else None,
        "alpha": settings.scale if lora else None,
        "learning_rate": settings.rate("answers"),
        "precision": state.precision,
        "row_tokens": sum(len(row.ids) for row in rows),
        "longest_row_tokens": max(len(row.ids) for row in rows),
        "truncated_rows": 0,
        "padding": round(share_of_padding(state.plan, rows), 4),
        "steps": state.step,
        "steps_planned": state.plan.steps,
        "epochs_planned": settings.epochs,
        "epochs_done": state.step / state.plan.steps_per_epoch,
        "best_step": state.kept_step,
        "best_held_out_loss": state.best_loss,
        "best_macro_f1": best.get("macro_f1"),
        "tokens_seen": state.tokens,
        "seconds": round(state.seconds, 2),
        "tokens_per_second": round(state.tokens / state.seconds, 1) if state.seconds else None,
        "rows": len(rows),
        "rows_per_step": state.plan.packs_per_step,
        "trainable_parameters": sum(weight.numel() for weight in state.weights.values()),
        "total_parameters": total,
        "flops_upper_bound": 6.0 * total * state.tokens,
        "canary": False,
    }


def _few(counts: Mapping[str, int], watched: bool) -> list[str]:
    few = [f"{label!r} ({count})" for label, count in sorted(counts.items()) if count < 20]
    listed = ", ".join(few[:10]) + (" …" if len(few) > 10 else "")
    said = [f"Classes with fewer than 20 training rows: {listed}."] if few else []
    if not watched:
        said.append("Too few rows to keep some aside: training went on to its last epoch, whatever it learnt.")
    return said


def _not_used(settings: TrainSettings, data: Path) -> list[str]:
    """What was asked for, or is there, and plays no part under a classification head."""
    found = {
        "adapt.retain": settings.retain is not None,
        "adapt.search": settings.search is not None,
        "adapt.layers: auto": settings.layers == "auto",
        "adapt.precision": settings.precision == "bfloat16",
        "the documents": (data / "passages.jsonl").is_file(),
        "the charter's pairs": (data / "charter.jsonl").is_file(),
    }
    named = ", ".join(name for name, there in found.items() if there)
    return [f"Not used under a classification head, which learns labels in float32: {named}."] if named else []
