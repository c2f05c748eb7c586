"""The parity certificate of a classifier: the folder that is released sorts texts as the network that was trained.

There is no conversation, no stop token and no GGUF file: what is compared is the classes, the token ids of texts, the
probabilities, and the class that each text gets.
"""

import random
from typing import TYPE_CHECKING

from limpide.core.errors import DataError
from limpide.core.operation import Subject
from limpide.core.progress import Progress
from limpide.data.examples import load_examples
from limpide.models.classifier import (
    Classifier,
    encode_texts,
    log_probabilities,
    of_steps,
    open_classifier,
    with_head,
)
from limpide.models.prompt import source_of
from limpide.optimise.parity import Check, ParitySettings, divergences, ids_check, shown

if TYPE_CHECKING:
    from torch import Tensor

MERGED = "merged"


def classifier_checks(subject: Subject, settings: ParitySettings, progress: Progress) -> list[Check]:
    """Everything compared between the trained network and the merged folder. Raises DataError without any text."""
    texts = choose_texts(subject, settings.conversations)
    with progress.task("comparing runtimes", total=2) as task:
        trained = of_steps(subject)
        assert trained is not None  # the export found one
        merged = open_classifier(subject.input("export") / MERGED)
        ids = encode_texts(trained, texts)
        runtime = log_probabilities(trained, ids)
        task.advance()
        checks = [_labels_check(trained, merged), _ids_check(trained, merged, texts, ids)]
        checks += probability_checks(runtime, log_probabilities(merged, ids), settings)
        if "adapt" in subject.inputs:
            start = with_head(subject.the_model(), trained.labels, seed=subject.seed)
            checks.append(acting_check(log_probabilities(start, ids), runtime, settings))
        task.advance()
    return checks


def choose_texts(subject: Subject, count: int) -> list[str]:
    """A seeded choice among held-out and training texts, held-out first."""
    data = subject.input("data")
    chosen: list[str] = []
    for name in ("held_out", "train"):
        rows = load_examples(data / f"{name}.jsonl")
        found = random.Random(f"{subject.seed}/{name}").sample(rows, min(len(rows), count - len(chosen)))
        chosen += [source_of(row.prompt) for row in found]
    if not chosen:
        raise DataError("There is no text to compare runtimes on.", received=data, expected="rows in train.jsonl")
    return chosen


def _labels_check(trained: Classifier, merged: Classifier) -> Check:
    same = trained.labels == merged.labels
    words = "are those of the trained head, in its order" if same else f"are {', '.join(merged.labels)}"
    return Check("labels", MERGED, same, f"The {len(merged.labels)} classes that config.json names {words}.")


def _ids_check(trained: Classifier, merged: Classifier, texts: list[str], ids: list[list[int]]) -> Check:
    vocabulary = merged.tokenizer.get_vocab()
    moved = sum(vocabulary.get(token) != i for token, i in trained.tokenizer.get_vocab().items())
    differ = sum(a != b for a, b in zip(ids, encode_texts(merged, texts), strict=True))
    return ids_check(MERGED, len(texts), differ, moved)


def probability_checks(runtime: "Tensor", found: "Tensor", settings: ParitySettings) -> list[Check]:
    """runtime, found: log-probabilities of the classes, float32[texts, classes] each."""
    largest, limit = max(divergences([runtime], [found])), settings.merged_divergence
    said = f"The largest divergence from the training runtime is {largest:.2g} nats (limit {limit:g})."
    same = int((runtime.argmax(-1) == found.argmax(-1)).sum())
    share = 1 - same / len(runtime)
    return [
        Check("probabilities", MERGED, largest <= limit, said, shown(largest), limit),
        Check(
            "classes",
            MERGED,
            share <= settings.flips,
            f"{same} of {len(runtime)} texts get the same class.",
            share,
            settings.flips,
        ),
    ]


def acting_check(start: "Tensor", runtime: "Tensor", settings: ParitySettings) -> Check:
    """A training that changes nothing leaves the probabilities of the head as it was made, at random."""
    effect = max(divergences([runtime], [start]))
    acts = effect >= settings.adapter_effect
    words = "changes the classes' probabilities" if acts else "changes nothing: it is a no-op"
    sentence = f"The training {words} (largest divergence from the head before it {effect:.3g} nats)."
    return Check("adapter acts", "adapter", acts, sentence, shown(effect), settings.adapter_effect)
