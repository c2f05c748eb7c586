"""A classification folder: opened safely, read as transformers reads it, and refused where it is not whole."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from limpide.core.errors import DataError, ModelError, UntrustedInput
from limpide.models.classifier import (
    PADDING,
    batches,
    classify,
    encode_texts,
    is_classifier,
    labels_of,
    log_probabilities,
    logits,
    open_classifier,
    with_head,
)
from limpide.models.model import open_model, quiet_transformers
from limpide.models.passport import passport
from limpide.models.sources import resolve
from limpide.serve.release import find_gguf
from tiny import FAMILY_NAMES, tiny_folder

LABELS = ("complaint", "invoice", "praise")
TEXTS = ("The pump.", "Where does the water come from? It comes from the river.", "x", "Qui arrête la presse ?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a head, saved as any tool saves it."""
    root = tmp_path_factory.mktemp("classifier")
    made = with_head(tiny_folder("bert", root / "base"), LABELS, seed=1)
    with quiet_transformers():
        made.network.save_pretrained(root / "sorter")
        made.tokenizer.save_pretrained(root / "sorter")
    return root / "sorter"


def test_it_gives_what_the_pipeline_of_transformers_gives(folder: Path) -> None:
    from transformers import pipeline

    with quiet_transformers():
        theirs = pipeline("text-classification", model=str(folder))(list(TEXTS), top_k=None)
    ours = classify(open_classifier(folder), TEXTS)
    for mine, his in zip(ours, theirs, strict=True):
        assert mine == pytest.approx({row["label"]: row["score"] for row in his}, abs=1e-5)
        assert sum(mine.values()) == pytest.approx(1)
    assert max(ours[0].values()) > 0.4  # the head says something


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_padding_changes_nothing_in_any_family(family: str, tmp_path: Path) -> None:
    """The texts in one batch of uneven lengths, and each alone."""
    made = with_head(tiny_folder(family, tmp_path), LABELS, seed=2)
    ids = encode_texts(made, TEXTS)
    with torch.inference_mode():
        together = logits(made.network, ids, made.pad)
        alone = torch.cat([logits(made.network, [one], made.pad) for one in ids])
    assert torch.allclose(together, alone, atol=1e-5)
    assert float((alone[0] - alone[1]).abs().max()) > 1e-3  # and the texts matter


def test_the_seed_makes_the_head(folder: Path) -> None:
    base = folder.parent / "base" / "bert"
    same, other = (classify(with_head(base, LABELS, seed=seed), TEXTS[:1]) for seed in (5, 6))
    assert classify(with_head(base, LABELS, seed=5), TEXTS[:1]) == same != other
    assert with_head(base, LABELS).fresh == ("bert.pooler.dense", "classifier")


def test_batches_hold_neighbours_in_length_and_little_padding() -> None:
    lengths = [5, 100, 6, 7, 90, 5, 300, 8]
    found = list(batches(lengths, budget=200))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        width = max(lengths[place] for place in batch)
        held = sum(lengths[place] for place in batch)
        assert len(batch) == 1 or width * len(batch) <= 200
        assert width * len(batch) - held <= PADDING * width * len(batch)
    assert [6] in found  # longer than the budget: alone
    assert max(map(len, found)) > 1
    assert list(batches([])) == []


def test_a_text_beyond_the_context_is_refused_and_named(folder: Path) -> None:
    long = "valve " * 300
    with pytest.raises(DataError, match="1 texts are longer than the model's context of 256 tokens") as told:
        classify(open_classifier(folder), ["short", long])
    assert "'valve valve" in str(told.value)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ({"0": "a", "1": "b"}, ("a", "b")),
        ({1: "b", 0: "a"}, ("a", "b")),
        (None, None),
        ({"0": "a"}, None),
        ({"0": "a", "2": "b"}, None),
        ({"0": "a", "1": "a"}, None),
    ],
)
def test_classes_are_read_from_the_config(given: object, right: object) -> None:
    if right is not None:
        assert labels_of({"id2label": given}) == right
        return
    with pytest.raises(ModelError, match="which class each output"):
        labels_of({"id2label": given})


def test_other_models_are_no_classifiers_and_say_so(folder: Path) -> None:
    base = folder.parent / "base" / "bert"
    assert is_classifier(folder)
    assert not is_classifier(base)
    assert not is_classifier(folder.parent)
    with pytest.raises(ModelError, match="is a classifier"):
        open_model(folder)
    with pytest.raises(ModelError, match="which class each output"):
        open_classifier(base)


def test_a_base_that_sorts_already_must_sort_into_these_classes(folder: Path) -> None:
    assert with_head(folder, LABELS).fresh == ()
    with pytest.raises(ModelError, match="is a classifier already, of other classes") as told:
        with_head(folder, ("complaint", "invoice"))
    assert "'praise'" in str(told.value)


def test_a_head_without_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    """A config that names a head over weights that lack one: transformers would make it up at random."""
    broken = tmp_path / "broken"
    shutil.copytree(folder.parent / "base" / "bert", broken)
    config = json.loads((folder / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="not whole") as told:
        open_classifier(broken)
    assert "classifier" in str(told.value) or "pooler" in str(told.value)


def test_the_checks_of_every_model_come_first(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bad")
    (tmp_path / "bad" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UntrustedInput, match="pickles"):
        open_classifier(tmp_path / "bad")
    (tmp_path / "bad" / "pytorch_model.bin").unlink()
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoModel": "x.Y"}}
    (tmp_path / "bad" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UntrustedInput, match="auto_map"):
        with_head(tmp_path / "bad", LABELS)


def test_a_passport_names_the_classes(folder: Path) -> None:
    rows = dict(passport(resolve(str(folder))).as_rows())
    assert rows["classes"] == "3: complaint, invoice, praise"
    assert "classes" not in dict(passport(resolve(str(folder.parent / "base" / "bert"))).as_rows())


def test_the_gateway_says_that_it_serves_text(folder: Path) -> None:
    from limpide.core.errors import MissingError

    with pytest.raises(MissingError, match="is a classifier") as told:
        find_gguf(folder)
    assert "text-classification" in str(told.value)


def test_probabilities_are_of_the_rows_in_their_order(folder: Path) -> None:
    made = open_classifier(folder)
    ids = encode_texts(made, TEXTS)
    found = log_probabilities(made, ids)
    assert torch.allclose(found, log_probabilities(made, ids[::-1]).flip(0), atol=1e-6)
    assert torch.allclose(found.exp().sum(-1), torch.ones(len(ids)))
