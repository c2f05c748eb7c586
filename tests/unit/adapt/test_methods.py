"""Every method on every family: what was trained opens in plain `peft` and `transformers`, with the same logits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.adapt import adapters
from limpide.adapt.settings import TrainSettings
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.examples import save_examples
from limpide.models.changed import of_steps
from limpide.models.model import Model, open_model
from limpide.models.scoring import score
from limpide.optimise.export import ExportSettings
from limpide.optimise.export import run as run_export
from limpide.optimise.parity import ParitySettings
from limpide.optimise.parity import run as run_parity
from tiny import FAMILY_NAMES
from tiny_training import adapt, answer, examples

IDS = torch.tensor([[10, 42, 300, 7, 99, 150, 23, 8]])
METHODS = ("lora", "rslora", "dora", "full")
EXPERTS = ("deepseek_v2", "deepseek_v3", "gpt_oss")


def logits(network: Any) -> torch.Tensor:
    """float[token, vocabulary]"""
    written = {"decoder_input_ids": IDS} if network.config.is_encoder_decoder else {}
    with torch.inference_mode():
        found: torch.Tensor = network(input_ids=IDS, **written).logits[0]
    return found


def plain(folder: Path) -> Any:
    """The folder as anyone opens it."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    return getattr(transformers, config.architectures[0]).from_pretrained(folder).eval()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The network that a training leaves in memory."""
    seen: list[Any] = []
    real = adapters.trained_network

    def look(*arguments: Any) -> Any:
        seen.append(real(*arguments))
        return seen[-1]

    monkeypatch.setattr(adapters, "trained_network", look)
    return seen


def merged(given: Subject) -> Model:
    return of_steps(Subject(out=given.out, inputs={"adapt": given.out}, model=given.model))


def opened_by_anyone(given: Subject, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the adapter on the base, and of both merged, written and read again."""
    from peft import PeftModel

    network = PeftModel.from_pretrained(plain(given.the_model()), given.out / "adapter")
    found = logits(network)
    network.merge_and_unload().save_pretrained(folder)
    return found, logits(plain(folder))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_what_is_trained_opens_anywhere(
    subject: Callable[..., Subject], trained: list[Any], tmp_path: Path, name: str, method: str
) -> None:
    given = subject(model=name, rows=examples(3))
    rate = 1e-3 if method == "full" else 0.05
    facts = adapt(given, epochs=2, method=method, learning_rate=rate, keep=0).facts
    assert facts["method"] == method
    assert facts["largest_effect"] > 1e-3
    expected = logits(trained[0])
    assert (expected - logits(plain(given.the_model()))).abs().max() > 1e-3
    if method == "full":
        assert not (given.out / "adapter").exists()
        torch.testing.assert_close(logits(plain(given.out / "model")), expected, rtol=0, atol=1e-4)
    else:
        for found in opened_by_anyone(given, tmp_path / "merged"):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits(merged(given).network), expected, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
@pytest.mark.parametrize("method", ["lora", "rslora"])
@pytest.mark.parametrize("name", EXPERTS)
def test_experts_are_trained_and_open_anywhere(
    subject: Callable[..., Subject], trained: list[Any], tmp_path: Path, name: str, method: str
) -> None:
    given = subject(model=name, rows=examples(3))
    parts = ["attention", "experts"] if name == "gpt_oss" else ["attention", "mlp", "experts"]
    facts = adapt(given, epochs=2, method=method, targets=parts, learning_rate=0.05).facts
    assert facts["left_out"] == []
    assert "checkpoints" not in facts, "influence is not told from states of fused weights"
    moved = {n for n, p in trained[0].named_parameters() if "lora_B" in n and p.any()}
    assert any(".experts." in n for n in moved)
    assert any("self_attn" in n for n in moved)
    assert name == "gpt_oss" or any("shared_experts" in n for n in moved)
    expected = logits(trained[0])
    for found in opened_by_anyone(given, tmp_path / "merged"):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    item = answer(open_model(given.the_model()), examples(1)[0])
    scored = [
        score(m, [item])[0] for m in (open_model(given.the_model(), adapter=given.out / "adapter"), merged(given))
    ]
    assert scored[0].log_likelihood == pytest.approx(scored[1].log_likelihood, abs=1e-3), "scored without its experts"


def test_a_given_part_alone_is_adapted(tiny_path: Callable[[str], Path]) -> None:
    network = adapters.adapted_network(open_model(tiny_path("llama")), TrainSettings(rank=2, targets="mlp"), 0)
    found = {n.split(".")[-4] for n, p in network.named_parameters() if p.requires_grad}
    assert found == {"gate_proj", "up_proj", "down_proj"}


def test_what_is_left_out_is_said(subject: Callable[..., Subject]) -> None:
    assert adapt(subject(model="gpt_oss")).facts["left_out"] == ["experts"]
    assert adapt(subject("mlp"), targets="mlp").facts["left_out"] == ["attention"]


def test_dora_on_experts_is_refused(subject: Callable[..., Subject]) -> None:
    with pytest.raises(ModelError, match=r"(?s)DoRA does not reach gpt-oss's.*targets: experts.*adapt\.method"):
        adapt(subject(model="gpt_oss"), method="dora", targets="experts")


def test_experts_of_a_dense_model_are_refused(subject: Callable[..., Subject]) -> None:
    with pytest.raises(ModelError, match=r"(?s)Llama has no experts to adapt.*some of attention, mlp"):
        adapt(subject(), targets="experts")


def test_the_scale_is_the_methods(tiny_path: Callable[[str], Path]) -> None:
    def scale(**given: Any) -> float:
        network = adapters.adapted_network(open_model(tiny_path("llama")), TrainSettings(**given), 0)
        return float(network.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"])

    assert scale(rank=4) == 1
    assert scale(rank=4, alpha=8) == 2
    assert scale(rank=4, method="rslora") == 4
    assert scale(rank=64, method="rslora") == 1


def test_training_every_weight_of_a_large_model_says_what_would_fit(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    little = type("Memory", (), {"available": 100_000})()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    with pytest.raises(ModelError, match=r"(?s)not enough memory to train every weight.*are free.*adapt\.method: lora"):
        adapt(given := subject(), method="full")
    assert not list(given.out.iterdir())


@pytest.mark.parametrize(
    ("cuda", "library", "found"),
    [
        (False, None, "no CUDA device"),
        (True, None, "a CUDA device without bitsandbytes"),
        (True, 1, "with bitsandbytes"),
    ],
)
def test_a_base_in_four_bits_is_refused(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch, cuda: bool, library: Any, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(adapters, "find_spec", lambda name: library)
    with pytest.raises(
        ModelError, match=rf"(?s)four bits needs a CUDA device.*{found}.*leave out adapt\.base_precision"
    ):
        adapt(given := subject(), base_precision="4bit")
    assert not list(given.out.iterdir())


def served(given: Subject, precision: str, **limits: float) -> dict[str, bool]:
    """{check of the certificate: did it pass} of what was trained, exported in a precision."""
    data, out = given.input("data"), given.out.parent
    save_examples(data / "held_out.jsonl", examples(10)[8:])
    inputs = {"data": data, "adapt": given.out, "export": out / "export"}
    settings = ExportSettings(formats=("safetensors",), precision=precision)
    run_export(Subject(inputs["export"], inputs, given.model), settings, Quiet())
    found = run_parity(Subject(out / "parity", inputs, given.model), ParitySettings(**limits), Quiet())
    return {check["name"]: check["passed"] for check in found.facts["checks"]}


@pytest.mark.parametrize(("method", "rate"), [("full", 1e-3), ("dora", 0.05)])
def test_the_file_that_is_served_is_what_was_trained(subject: Callable[..., Subject], method: str, rate: float) -> None:
    adapt(given := subject(), epochs=4, method=method, learning_rate=rate)
    checks = served(given, "float16")
    assert checks.keys() >= {"adapter acts", "adapter kept", "distributions"}
    assert all(checks.values())


@pytest.mark.parametrize(("method", "rate"), [("full", 1e-6), ("dora", 3e-4)])
def test_a_training_that_rounding_erases_is_caught(subject: Callable[..., Subject], method: str, rate: float) -> None:
    adapt(given := subject(), epochs=1, method=method, learning_rate=rate)
    checks = served(given, "bfloat16", adapter_effect=1e-12)  # faint as it is, it did something until it was rounded
    assert checks["adapter acts"]
    assert not checks["adapter kept"]
