"""Products by oneDNN: the same numbers, only where they are faster, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.models import linear
from limpide.models.linear import prefers_onednn, product, torch_rows, wide_products

here = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


@pytest.fixture(autouse=True)
def decided_anew() -> Any:
    prefers_onednn.cache_clear()
    yield
    prefers_onednn.cache_clear()


def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(linear, "CPUINFO", tmp_path / "cpuinfo")


@pytest.mark.skipif(not here, reason="this processor or this torch has no AVX-512 product by oneDNN")
@pytest.mark.parametrize(("vendor", "wanted"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_the_processor_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str, wanted: bool) -> None:
    processor(tmp_path, monkeypatch, vendor)
    assert prefers_onednn() is wanted


@pytest.mark.skipif(not here, reason="this processor or this torch has no AVX-512 product by oneDNN")
def test_the_product_is_the_linear_layer_s() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(3, 7, 33), torch.randn(20, 33), torch.randn(20)
    with torch.inference_mode():
        for b in (None, bias):
            torch.testing.assert_close(product(weight, b, x), torch.nn.functional.linear(x, weight, b))


@pytest.mark.skipif(not here, reason="this processor or this torch has no AVX-512 product by oneDNN")
def test_chosen_rows_are_torch_s_own_to_the_bit() -> None:
    torch.manual_seed(0)
    x, weight = 100 * torch.randn(1, 9, 512), torch.randn(300, 512)
    with torch.inference_mode():
        wide, own = product(weight, None, x), torch.nn.functional.linear(x[:, [0, 4]], weight)
        with torch_rows([0, 4]):
            mixed, of_experts = product(weight, None, x), product(weight, None, x[0])
        with torch_rows([]):
            assert torch.equal(product(weight, None, x), wide)
    rest = [1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(mixed[:, [0, 4]], own)
    assert torch.equal(mixed[:, rest], wide[:, rest])
    assert torch.equal(of_experts, wide[0])  # rows of their own, not of the text
    assert not torch.equal(wide[:, [0, 4]], own)  # else this shows nothing


@pytest.mark.skipif(not here, reason="this processor or this torch has no AVX-512 product by oneDNN")
def test_gpt2_s_transposed_layers_give_the_same_numbers(
    tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "prefers_onednn", lambda: True)
    network = tiny_model("gpt2").network
    ids = torch.tensor([[5, 9, 300, 17]])
    with torch.inference_mode():
        plain = network(ids).logits
        with wide_products(network):
            assert "forward" in vars(network.transformer.h[0].attn.c_attn)
            wide = network(ids).logits
    assert "forward" not in vars(network.transformer.h[0].attn.c_attn)
    torch.testing.assert_close(wide, plain, atol=1e-5, rtol=0)


def test_layers_get_their_own_forward_back(tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_model("llama").network
    plain = {name: vars(module).get("forward") for name, module in network.named_modules()}
    monkeypatch.setattr(linear, "prefers_onednn", lambda: True)

    def killed() -> None:
        with wide_products(network) as name:
            assert name == "oneDNN"
            assert "forward" in vars(network.lm_head)
            with wide_products(network):  # one inside another changes nothing
                pass
            assert "forward" in vars(network.lm_head)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert {name: vars(module).get("forward") for name, module in network.named_modules()} == plain


def test_other_precisions_and_processors_stay_with_torch(
    tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "prefers_onednn", lambda: True)
    with wide_products(torch.nn.Linear(3, 3).bfloat16()) as name:
        assert name == "torch"
    monkeypatch.setattr(linear, "prefers_onednn", lambda: False)
    with wide_products(tiny_model("llama").network) as name:
        assert name == "torch"
