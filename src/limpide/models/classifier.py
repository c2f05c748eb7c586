"""A model that sorts texts into classes: its body is a family's, its head gives one logit a class.

An ordinary folder whose config.json names a `…ForSequenceClassification`, with the classes in `id2label`; or a base
with an adapter that holds the head. A text is read as `transformers.pipeline('text-classification')` reads it: by the
tokenizer alone, without a chat template. Nothing here imports torch until a model is opened.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limpide.core import digests, files
from limpide.core.errors import DataError, ModelError
from limpide.core.operation import Subject
from limpide.core.progress import Progress, Quiet
from limpide.models import safety
from limpide.models.families.family import Family
from limpide.models.families.registry import family_of
from limpide.models.sources import model_digest

if TYPE_CHECKING:
    from torch import Tensor

    from limpide.models.model import Precision

HEAD = "ForSequenceClassification"
LABELS = "labels.json"  # beside an adapter: its classes, in the order of the head's logits
ADAPTER, WHOLE = "adapter", "model"  # folders that the step 'adapt' writes
HEADS = ("classifier", "pooler", "score", "classification_head")  # modules that a base need not have
TOKENS = 2048  # of a batch, padding included
PADDING = 1 / 8  # of a batch's places, at most


@dataclass(frozen=True, eq=False)
class Classifier:
    """labels: the classes, in the order of the logits. network: a `transformers` module in eval mode.

    fresh: names of the modules that the base does not have and that start at random; none once they were trained.
    context: longest text, in tokens.
    """

    folder: Path
    digest: str
    family: Family
    tokenizer: Any
    network: Any
    labels: tuple[str, ...]
    context: int
    precision: "Precision" = "float32"
    fresh: tuple[str, ...] = ()

    @property
    def pad(self) -> int:
        return int(self.network.config.pad_token_id)


def is_classifier(folder: Path) -> bool:
    """Does config.json name a network with a classification head?"""
    path = folder / "config.json"
    config = files.read_json(path) if path.is_file() else None
    names = config.get("architectures") if isinstance(config, dict) else None
    return isinstance(names, list) and any(str(name).endswith(HEAD) for name in names)


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes that a config.json names, in the order of the logits. Raises ModelError."""
    given = config.get("id2label")
    named = {str(key): value for key, value in given.items()} if isinstance(given, Mapping) else {}
    labels = tuple(str(named.get(str(place))) for place in range(len(named)))
    if len(labels) < 2 or set(named) != {str(place) for place in range(len(named))} or len(set(labels)) < len(labels):
        raise ModelError(
            "config.json does not say which class each output of the head stands for.",
            received=f"id2label = {str(given)[:200]}",
            expected='at least two different names: {"0": "invoice", "1": "complaint"}',
            remedy="write the names of the classes into id2label, in the order in which the model was trained",
        )
    return labels


def open_classifier(folder: Path, *, adapter: Path | None = None, precision: "Precision" = "float32") -> Classifier:
    """Open a classification folder, or a base with an adapter that holds the head, after the checks of `open_model`.

    Raises UntrustedInput, ModelError.
    """
    if adapter is None:
        safety.check_folder(folder)
        opened = _open(folder, labels_of(files.read_json(folder / "config.json")), precision)
        if opened.fresh:
            raise _not_whole(folder, opened.family, list(opened.fresh))
        return opened
    base = with_head(folder, _adapter_labels(adapter), precision=precision)
    from limpide.models.model import with_adapter

    network = with_adapter(base.network, adapter)
    digest = digests.of_value([base.digest, model_digest(adapter)])
    return _ready(replace(base, network=network, digest=digest, fresh=()))


def of_steps(subject: Subject) -> Classifier | None:
    """The classifier that a recipe's step 'adapt' made of the subject's model, or that model itself, where it is one.

    Raises ModelError where corrections were made beside: they are of models that predict words.
    """
    base, adapted = subject.the_model(), subject.inputs.get("adapt")
    if adapted is not None and (adapted / ADAPTER / LABELS).is_file():
        made = open_classifier(base, adapter=adapted / ADAPTER)
    elif adapted is not None and is_classifier(adapted / WHOLE):
        made = open_classifier(adapted / WHOLE)
    elif adapted is None and is_classifier(base):
        made = open_classifier(base)
    else:
        return None
    if "correct" in subject.inputs:
        raise ModelError(
            "A classifier cannot be corrected: corrections are of models that predict words.",
            remedy="leave out 'correct' from the recipe",
        )
    return made


def with_head(folder: Path, labels: Sequence[str], *, seed: int = 0, precision: "Precision" = "float32") -> Classifier:
    """The base in `folder` under a new head for `labels`, which starts at random from `seed`.

    A base that is a classifier keeps its own head, and must sort into these very classes.
    Raises UntrustedInput, ModelError.
    """
    import torch

    safety.check_folder(folder)
    if is_classifier(folder) and (own := labels_of(files.read_json(folder / "config.json"))) != tuple(labels):
        raise ModelError(
            "The base is a classifier already, of other classes.",
            received=", ".join(map(repr, labels)),
            expected=", ".join(map(repr, own)),
            remedy="name the labels of the data as the base does, or start from a model without a head",
        )
    torch.manual_seed(seed)
    return _open(folder, tuple(labels), precision)


def _open(folder: Path, labels: tuple[str, ...], precision: "Precision") -> Classifier:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from limpide.models.model import DTYPES, context_of, quiet_transformers

    options = {"trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(folder, **options)
    family = family_of(config)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        _prepare(config, tokenizer, labels)
        try:
            network, found = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                dtype=DTYPES[precision],
                output_loading_info=True,
                use_safetensors=True,
                **options,
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError(
                f"The model in {folder} cannot be opened as a classifier.",
                received=str(error).splitlines()[0][:300],
                expected=f"a {family.title} folder with config.json and safetensors weights",
                remedy=f"look at it with: limpide open {folder}",
            ) from error
    modules = sorted({name.rpartition(".")[0] for name in found["missing_keys"]})
    lost = [name for name in modules if not set(name.split(".")) & set(HEADS)]
    if lost:
        raise _not_whole(folder, family, lost)
    digest, context = model_digest(folder), context_of(config)
    return _ready(Classifier(folder, digest, family, tokenizer, network, labels, context, precision, tuple(modules)))


def _prepare(config: Any, tokenizer: Any, labels: Sequence[str]) -> None:
    """What the head's configuration needs beyond the base's. A decoder finds the end of a text by its padding."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: place for place, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    config.pad_token_id = tokenizer.pad_token_id


def _ready(classifier: Classifier) -> Classifier:
    classifier.network.eval()
    classifier.network.requires_grad_(False)
    return classifier


def _not_whole(folder: Path, family: Family, modules: Sequence[str]) -> ModelError:
    return ModelError(
        f"The weights in {folder} are not whole.",
        received=f"{len(modules)} modules without weights, the first {modules[0]}",
        expected=f"every weight of a {family.title} classifier",
        remedy="download the model again, or train it again",
    )


def _adapter_labels(adapter: Path) -> tuple[str, ...]:
    path = adapter / LABELS
    labels = files.read_json(path) if path.is_file() else None
    if not isinstance(labels, list):
        raise ModelError(
            f"The adapter in {adapter} does not say which classes it knows.",
            expected=f"{LABELS}, a list of the classes in the order of the head's outputs",
            remedy="write it, or train the adapter again",
        )
    return labels_of({"id2label": dict(enumerate(map(str, labels)))})


# ------------------------------------------------------------------------------------------------------------ texts


def encode_texts(classifier: Classifier, texts: Sequence[str], names: Sequence[str] = ()) -> list[list[int]]:
    """Token ids of each text. names: how a text is called in an error. Raises DataError for one that is too long."""
    ids: list[list[int]] = classifier.tokenizer(list(texts))["input_ids"] if texts else []
    long = [k for k, found in enumerate(ids) if len(found) > classifier.context]
    if long:
        called = [f"{names[k] if names else repr(texts[k][:40])} ({len(ids[k])} tokens)" for k in long[:10]]
        raise DataError(
            f"{len(long)} texts are longer than the model's context of {classifier.context} tokens.",
            received=", ".join(called),
            expected="texts that fit: Limpide never cuts a text in silence",
            remedy="shorten these texts, or classify their parts",
        )
    return ids


def batches(lengths: Sequence[int], budget: int = TOKENS) -> Iterator[list[int]]:
    """Places of texts, neighbours in length: at most `budget` tokens a batch, and at most PADDING of them padding."""
    batch: list[int] = []
    total = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        places = (len(batch) + 1) * lengths[place]
        if batch and (places > budget or places - total - lengths[place] > PADDING * places):
            yield batch
            batch, total = [], 0
        batch.append(place)
        total += lengths[place]
    if batch:
        yield batch


def logits(network: Any, rows: Sequence[Sequence[int]], pad: int) -> "Tensor":
    """float32[rows, classes] of token ids, padded on the right to the longest; gradients flow where they are on."""
    from limpide.models.likelihood import padded

    ids, seen = padded(rows, pad)
    found: Tensor = network(input_ids=ids, attention_mask=seen).logits
    return found.float()


def log_probabilities(
    classifier: Classifier, rows: Sequence[Sequence[int]], progress: Progress | None = None
) -> "Tensor":
    """Log-probability of each class, nats, float32[rows, classes], in the order of the rows of token ids."""
    import torch

    found = torch.empty(len(rows), len(classifier.labels))
    with torch.inference_mode(), (progress or Quiet()).task("classifying", total=len(rows)) as task:
        for batch in batches([len(row) for row in rows]):
            found[batch] = logits(classifier.network, [rows[k] for k in batch], classifier.pad).log_softmax(-1)
            task.advance(len(batch))
    return found


def classify(classifier: Classifier, texts: Sequence[str], progress: Progress | None = None) -> list[dict[str, float]]:
    """{class: probability} of each text, in their order. Raises DataError for a text longer than the context."""
    found = log_probabilities(classifier, encode_texts(classifier, texts), progress).exp().tolist()
    return [dict(zip(classifier.labels, row, strict=True)) for row in found]
