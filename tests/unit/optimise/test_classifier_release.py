"""A classifier is released as a folder that any tool opens, with a certificate that it sorts as what was trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from labelled import LABELS, learn, rows, write
from limpide.core.errors import DataError, ModelError
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.models.classifier import classify, open_classifier
from limpide.optimise import export, parity
from limpide.optimise.export import ExportSettings
from limpide.optimise.parity import ParitySettings
from tiny import tiny_folder

TEXTS = [example.prompt[0].content for example in rows(6, first=700)]
SAFETENSORS = ExportSettings(formats=("safetensors",))


def exported(root: Path, family: str, method: str, **settings: object) -> Path:
    """Folders base/, data/, adapt/ and export/ in `root`."""
    base = tiny_folder(family, root / "base")
    write(root / "data", rows(60), rows(12, first=60))
    learn(base, root / "data", root / "adapt", method=method, **settings)
    (root / "export").mkdir()
    export.run(subject(root, "export"), SAFETENSORS, Quiet())
    return root


def subject(root: Path, step: str) -> Subject:
    (base,) = (root / "base").iterdir()
    (root / step).mkdir(exist_ok=True)
    return Subject(root / step, {name: root / name for name in ("data", "adapt", "export")}, base, seed=3)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("lora"), "bert", "lora")


@pytest.fixture
def copy(steps: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(steps, tmp_path / "copy"))


def certificate(root: Path) -> tuple[Result, dict[str, bool]]:
    result = parity.run(subject(root, "parity"), ParitySettings(), Quiet())
    return result, {check["name"]: check["passed"] for check in result.facts["checks"]}


@pytest.mark.parametrize(("family", "method"), [("bert", "full"), ("gpt2", "lora"), ("t5", "full"), ("llama", "dora")])
def test_every_kind_of_model_and_method_passes(family: str, method: str, tmp_path: Path) -> None:
    root = exported(tmp_path, family, method, epochs=2)
    result, checks = certificate(root)
    assert set(checks) == {"labels", "token ids", "probabilities", "classes", "adapter acts"}
    assert result.facts["passed"], result.warnings


def test_the_folder_opens_with_plain_transformers_and_the_classes_of_the_data(steps: Path) -> None:
    from transformers import pipeline

    merged = steps / "export" / "merged"
    config = json.loads((merged / "config.json").read_text())
    assert config["id2label"] == {str(k): label for k, label in enumerate(LABELS)}
    assert config["label2id"] == {label: k for k, label in enumerate(LABELS)}
    assert config["architectures"] == ["BertForSequenceClassification"]
    (base,) = (steps / "base").iterdir()
    trained = classify(open_classifier(base, adapter=steps / "adapt" / "adapter"), TEXTS)
    for mine, plain in zip(trained, pipeline("text-classification", model=str(merged))(TEXTS, top_k=None), strict=True):
        assert mine == pytest.approx({row["label"]: row["score"] for row in plain}, abs=2e-3)  # rounded to float16
    assert not list(merged.glob("generation_config.json"))


def test_the_certificate_compares_what_a_classifier_has(steps: Path) -> None:
    result, checks = certificate(steps)
    assert all(checks.values())
    assert "12 of 12" not in str(result.warnings)
    said = {check["name"]: check["sentence"] for check in result.facts["checks"]}
    assert said["classes"] == "16 of 16 texts get the same class."
    assert said["labels"] == "The 3 classes that config.json names are those of the trained head, in its order."


def test_another_order_of_the_classes_is_caught(copy: Path) -> None:
    path = copy / "export" / "merged" / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = dict(zip("012", reversed(LABELS), strict=True))
    path.write_text(json.dumps(config))
    result, checks = certificate(copy)
    assert not result.facts["passed"]
    assert not checks["labels"]


def test_the_base_under_another_head_is_caught(copy: Path) -> None:
    """Weights of the head swapped between two classes."""
    path = copy / "export" / "merged" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"] = weights["classifier.weight"].flip(0).contiguous()
    save_file(weights, path, metadata={"format": "pt"})
    result, checks = certificate(copy)
    assert (checks["probabilities"], checks["classes"]) == (False, False)
    assert any("divergence from the training runtime" in warning for warning in result.warnings)


def test_a_training_that_changes_nothing_is_caught() -> None:
    from limpide.optimise.parity_classifier import acting_check

    start = torch.tensor([[0.2, 0.8], [0.5, 0.5]]).log()
    check = acting_check(start, start.clone(), ParitySettings())
    assert not check.passed
    assert "no-op" in check.sentence
    assert acting_check(start, start.flip(1), ParitySettings()).passed


def test_no_gguf_holds_a_head(steps: Path, tmp_path: Path) -> None:
    found = subject(steps, "other")
    with pytest.raises(ModelError, match="holds no classification head"):
        export.run(found, ExportSettings(formats=("safetensors", "gguf:f16")), Quiet())
    assert not list((steps / "other").iterdir())


def test_a_classifier_is_not_corrected(steps: Path) -> None:
    given = subject(steps, "export")
    with pytest.raises(ModelError, match="cannot be corrected"):
        export.run(Subject(given.out, {**given.inputs, "correct": steps}, given.model), SAFETENSORS, Quiet())


def test_a_certificate_needs_texts(copy: Path) -> None:
    write(copy / "data", [])
    with pytest.raises(DataError, match="no text to compare"):
        certificate(copy)
