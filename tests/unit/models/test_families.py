"""Every path a family names is checked against the real network, and its logits against the network's own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import ModelError
from limpide.models.families import registry
from limpide.models.families.family import Family
from tiny import BOS_FAMILIES, CHAT_FAMILIES, FAMILY_NAMES, VOCABULARY, tiny_folder, tiny_network, tiny_tokenizer

IDS = torch.tensor([[10, 42, 300, 7, 99, 150]])


def family_and_network(name: str, **overrides: Any) -> tuple[Family, Any]:
    network = tiny_network(name, **overrides)
    return registry.family_of(network.config), network


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_paths_and_shapes_hold(name: str) -> None:
    family, network = family_and_network(name, **({} if name in ("gpt2", "t5") else {"num_hidden_layers": 3}))
    assert family.name == name
    registry.check(network, family)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_logits_from_hidden_are_the_networks_own(name: str) -> None:
    family, network = family_and_network(name)
    with torch.inference_mode():
        if family.kind == "encoder-decoder":
            whole = network(input_ids=IDS, decoder_input_ids=IDS)
            read = network.encoder(input_ids=IDS).last_hidden_state
            hidden = registry.backbone(network, family)(input_ids=IDS, encoder_hidden_states=read).last_hidden_state
        else:
            whole = network(input_ids=IDS)
            hidden = registry.backbone(network, family)(input_ids=IDS).last_hidden_state
        ours = registry.logits_from_hidden(network, family, hidden)
        rows = registry.logits_from_hidden(network, family, hidden[0, [1, 4]])
    torch.testing.assert_close(ours, whole.logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(rows, whole.logits[0, [1, 4]], rtol=0, atol=1e-5)


def test_gemma2_cap_is_felt() -> None:
    """The cap of the tiny model really changes its logits, so the test above would see it missing."""
    family, network = family_and_network("gemma2", final_logit_softcapping=2.0)
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    assert registry.logits_from_hidden(network, family, hidden).abs().max() <= 2.0
    assert registry.head(network, family)(hidden).abs().max() > 2.0


def test_t5_untied_head_is_not_scaled() -> None:
    family, network = family_and_network("t5", scale_decoder_outputs=False, tie_word_embeddings=False)
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(registry.logits_from_hidden(network, family, hidden), network.lm_head(hidden))


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_lora_targets_are_linear_layers_of_the_blocks(name: str) -> None:
    family, network = family_and_network(name)
    targets = registry.lora_targets(network, family)
    modules = dict(network.named_modules())
    matched = [n for n in modules if any(n.endswith(f".{t}") for t in targets)]
    assert matched
    for path in matched:
        assert path.startswith((family.blocks, family.encoder_blocks or family.blocks))
        assert type(modules[path]).__name__ == ("Conv1D" if family.transposed else "Linear")
    linear = {n for n, m in modules.items() if type(m).__name__ in ("Linear", "Conv1D") and n.startswith(family.blocks)}
    missed = {n for n in linear - set(matched) if not (family.experts and f".{family.mlp}." in n)}
    assert not missed, "a linear layer of a block that no target reaches"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_parts_are_found_under_a_peft_wrapper(name: str) -> None:
    from peft import LoraConfig, get_peft_model

    family, network = family_and_network(name)
    targets = registry.lora_targets(network, family)
    named = {n for n, _ in network.named_modules() if any(n.endswith(f".{t}") for t in targets)}
    embedding = registry.get(network, family.embedding)
    wrapped = get_peft_model(network, LoraConfig(r=2, target_modules=targets, fan_in_fan_out=family.transposed))
    registry.check(wrapped, family)
    assert registry.get(wrapped, family.embedding) is embedding
    adapted = {n for n, m in registry.plain(wrapped).named_modules() if hasattr(m, "lora_A")}
    assert adapted == named, "peft adapted something else than what the family names"
    assert not wrapped.peft_config["default"].target_parameters


def test_declared_traits_match_the_configs() -> None:
    for name in FAMILY_NAMES:
        family, network = family_and_network(name)
        names = [n for n, _ in network.named_parameters()]
        assert family.sinks == any(n.endswith("sinks") for n in names), name
        assert family.experts == any(".experts." in n for n in names), name
        if getattr(network.config, "sliding_window", None):
            assert family.sliding, name


@pytest.mark.parametrize("config", [{"model_type": "lama"}, {"model_type": None}, {}])
def test_unknown_architecture_lists_what_is_known(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as error:
        registry.family_of(config)
    assert "deepseek_v3" in str(error.value)
    assert "gpt_oss" in str(error.value)
    assert ("Did you mean 'llama'?" in str(error.value)) == (config.get("model_type") == "lama")


def test_check_names_the_shape_that_is_wrong() -> None:
    family, network = family_and_network("llama")
    network.config.vocab_size = 401
    with pytest.raises(ModelError, match=r"(?s)rows of the token embedding.*received: 400.*expected: 401"):
        registry.check(network, family)


def test_check_names_the_module_that_is_missing() -> None:
    family, network = family_and_network("llama")
    del network.model.norm
    with pytest.raises(ModelError, match=r"no module 'model\.norm'"):
        registry.check(network, family)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_tiny_folder_opens_again_with_the_same_tokens(name: str, tmp_path: Path) -> None:
    """AutoTokenizer may swap the tokenizer's class by model type; the tiny folders must not be touched by that."""
    from transformers import AutoConfig, AutoTokenizer

    folder = tiny_folder(name, tmp_path)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in folder.iterdir()}
    made, opened = tiny_tokenizer(name), AutoTokenizer.from_pretrained(folder)
    text = "Où est la clé ? « Été » — naïve œuvre, 12  345\n\n\tß 漢字 🙂 user"
    ids = opened(text, add_special_tokens=False).input_ids
    assert ids == made(text, add_special_tokens=False).input_ids
    assert opened.decode(ids) == text
    assert len(opened) == VOCABULARY == AutoConfig.from_pretrained(folder).vocab_size
    assert (opened(text).input_ids[0] == opened.bos_token_id) == (name in BOS_FAMILIES)
    assert (opened.chat_template is not None) == (name in CHAT_FAMILIES)
    assert opened.eos_token_id == AutoConfig.from_pretrained(folder).eos_token_id


def test_tiny_folder_is_the_same_twice(tmp_path: Path) -> None:
    from limpide.core import digests

    one, two = tiny_folder("llama", tmp_path / "a"), tiny_folder("llama", tmp_path / "b")
    assert digests.of_folder(one) == digests.of_folder(two)
    assert digests.of_folder(tiny_folder("llama", tmp_path / "c", seed=1)) != digests.of_folder(one)
