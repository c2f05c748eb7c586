"""The tuned lens: never worse than the logit lens, kept and reused, and refused where it is damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import DataError, UsageError
from limpide.core.progress import Quiet
from limpide.models.stacks import stacks
from limpide.models.trace import record
from limpide.understand import tuned_lens as module
from limpide.understand.lens import explain
from limpide.understand.question import ask
from limpide.understand.settings import LensSettings
from limpide.understand.tuned_lens import TunedLens, read_texts, train, tuned_lens

SETTINGS = LensSettings(tuned=True)
PROMPT = "The valve closes and the light turns"


class Heard(Quiet):
    """Keeps what a person would read."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and a short training."""
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(module, "STEPS", 30)
    return tmp_path / "cache"


def kept_files(cache: Path) -> list[Path]:
    return sorted((cache / "lenses").iterdir())


def some_texts(count: int = 20) -> list[str]:
    return read_texts(None)[:count]


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> TunedLens:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(module, "train", never)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "bert", "t5", "deepseek_v3"])
def test_it_is_nearer_to_the_end_than_the_logit_lens(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    lens = train(model, some_texts(), Quiet())
    before, after = lens.trained_on["kl_logit"], lens.trained_on["kl_tuned"]
    assert len(before) == len(after) == len(stacks(model)[-1])
    assert all(tuned <= logit for logit, tuned in zip(before, after, strict=True))
    assert min(tuned / logit for logit, tuned in zip(before, after, strict=True)) < 0.8
    assert lens.trained_on["texts"] == 16
    assert lens.trained_on["held_out_texts"] == 4


def test_what_it_says_of_itself_is_so(tiny_model: Callable[[str], Any]) -> None:
    """KL(final ‖ lens) by its definition, on texts of its own: as far from the end as it says, about."""
    model = tiny_model("llama")
    lens = train(model, some_texts(40), Quiet())
    ids = tuple(model.tokenizer(read_texts(None)[45])["input_ids"])[:128]
    trace = record(model, module.Row(ids, tuple(range(1, len(ids))), ()))["text"]
    with torch.inference_mode():
        own = model.network(input_ids=torch.tensor([ids])).logits[0, 1:].log_softmax(1)
    for layer in range(2):
        shares = module.unembed(model, lens.translate(layer, trace.residual[layer, 1:])).log_softmax(1)
        found = float((own.exp() * (own - shares)).sum(1).mean())
        assert found == pytest.approx(lens.trained_on["kl_tuned"][layer], rel=0.25)
        assert found < 0.9 * lens.trained_on["kl_logit"][layer]


def test_a_planted_map_is_found() -> None:
    """The last stream is an affine map of the layer's, at sizes of its own at each place."""
    draw = torch.Generator().manual_seed(1)
    planted, shift = torch.randn(8, 8, generator=draw), torch.randn(8, generator=draw)
    stream = torch.randn(400, 8, generator=draw)
    final = stream @ planted.T + shift
    found = module._least_squares((stream[:300], final[:300]), (stream[300:], final[300:]))
    torch.testing.assert_close(found.weight + torch.eye(8), planted, atol=0.05, rtol=0.05)
    torch.testing.assert_close(found.bias, shift, atol=0.05, rtol=0.05)


def test_two_trainings_are_one(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("bert")  # masks are drawn
    first, second = (train(model, some_texts(10), Quiet(), seed=3) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    assert not torch.equal(first.weight, train(model, some_texts(10), Quiet(), seed=4).weight)


def test_training_leaves_the_network_as_it_was(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    train(model, some_texts(10), Quiet())
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert all(parameter.grad is None for parameter in model.network.parameters())


def test_it_is_kept_and_reused(
    tiny_model: Callable[[str], Any], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    first = tuned_lens(model, SETTINGS, Quiet())
    assert len(kept_files(own_cache)) == 1
    forbid_training(monkeypatch)
    again = tuned_lens(model, SETTINGS.model_copy(update={"top": 9}), Quiet())
    assert torch.equal(first.weight, again.weight)
    assert first.trained_on == again.trained_on
    with pytest.raises(AssertionError, match="trained again"):  # another seed is another lens
        tuned_lens(model, SETTINGS, Quiet(), seed=1)

    found = explain(model, ask(model, PROMPT, answer="red"), SETTINGS, Quiet())
    plain = explain(model, ask(model, PROMPT, answer="red"), LensSettings(), Quiet())
    assert (found.lens, plain.lens) == ("tuned", "logit")
    assert found.trained_on == first.trained_on
    assert found.probability[-1] == plain.probability[-1]  # the last layer is the model's own
    assert found.grid.probability[-1] == plain.grid.probability[-1]
    assert found.probability[:-1] != plain.probability[:-1]


@pytest.mark.parametrize("damage", ["cut", "not a file of tensors", "of another model", "not finite"])
def test_a_damaged_lens_is_trained_again_and_said(
    tiny_model: Callable[[str], Any], own_cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    model, heard = tiny_model("llama"), Heard()
    made = TunedLens(torch.zeros(2, 32, 32), torch.zeros(2, 32), {"texts": 1})
    monkeypatch.setattr(module, "train", lambda *_: made)
    tuned_lens(model, SETTINGS, heard)
    (path,) = kept_files(own_cache)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-100])
    elif damage == "not a file of tensors":
        path.write_bytes(b"\xff" * 50)
    else:
        value = torch.full((2, 32, 32), float("nan")) if damage == "not finite" else torch.zeros(3, 32, 32)
        module._keep(TunedLens(value, made.bias, {}), path, path.stem)
    assert heard.warnings == []
    assert tuned_lens(model, SETTINGS, heard) is made
    assert "cannot be used and is trained again" in heard.warnings[0]
    assert path.read_bytes() == whole
    assert tuned_lens(model, SETTINGS, heard) is not made  # it is read
    assert len(heard.warnings) == 1


def test_a_lens_that_cannot_be_kept_is_used_all_the_same(
    tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, heard = TunedLens(torch.zeros(2, 32, 32), torch.zeros(2, 32), {}), Heard()

    def full(*_: Any) -> None:
        raise UsageError("The disk is full.")

    monkeypatch.setattr(module, "train", lambda *_: made)
    monkeypatch.setattr(module.files, "write_bytes", full)
    assert tuned_lens(tiny_model("llama"), SETTINGS, heard) is made
    assert heard.warnings == ["The tuned lens is not kept and will be trained again: The disk is full."]


def test_a_user_trains_on_a_file_of_texts(tmp_path: Path) -> None:
    file = tmp_path / "ours.txt"
    file.write_text("\n\n".join(f"Text {k}\nof two lines." for k in range(12)) + "\n \n\n", encoding="utf-8")
    assert read_texts(file) == [f"Text {k}\nof two lines." for k in range(12)]
    assert len(read_texts(None)) == 60


def test_texts_that_cannot_be_used(tmp_path: Path, tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("été".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_texts(tmp_path / "latin.txt")
    (tmp_path / "few.txt").write_text("One.\n\nTwo.")
    with pytest.raises(DataError, match="too little text") as caught:
        read_texts(tmp_path / "few.txt")
    assert "2 texts" in str(caught.value.received)
    with pytest.raises(DataError, match="shorter than 4 tokens"):
        train(tiny_model("gpt2"), ["a"] * 12, Quiet())
