"""The passport says what the files say, counts what the network counts, and names what is unknown."""

import json
import math
from pathlib import Path

import pytest

from limpide.models.embedded import SMOLLM2
from limpide.models.gguf_folder import SOURCE_FILE
from limpide.models.passport import NOT_DOCUMENTED, count_parameters, passport, unspoken
from limpide.models.safetensors_header import Tensor
from limpide.models.sources import resolve
from tiny import CHAT_FAMILIES, CONTEXT, FAMILY_NAMES, VOCABULARY, tiny_folder, tiny_network

CARD = """---
license: apache-2.0
base_model: someone/base
language: [en, fr]
datasets: [set/one, set/two]
---
# Model
## Training Data
words
## Bias, Risks and Limitations
words
"""


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_counts_are_the_networks(name: str, tmp_path: Path) -> None:
    facts = passport(resolve(str(tiny_folder(name, tmp_path))))
    network = tiny_network(name)
    buffers = dict(network.named_buffers())
    saved = [b for n, b in buffers.items() if n in network.state_dict()]
    assert facts.parameters == sum(p.numel() for p in network.parameters()) + sum(b.numel() for b in saved)
    assert facts.family == name
    assert facts.architecture == type(network).__name__
    assert (facts.layers, facts.width) == (2, 32)
    assert facts.context == (None if name == "t5" else CONTEXT)
    assert facts.precisions == {"F32": facts.parameters}
    assert facts.tokenizer.tokens == VOCABULARY
    assert facts.tokenizer.type.startswith("BPE")
    assert facts.tokenizer.chat_template == (name in CHAT_FAMILIES)
    assert "pad" in facts.tokenizer.special


def test_what_nothing_documents_is_unknown(tmp_path: Path) -> None:
    facts = passport(resolve(str(tiny_folder("llama", tmp_path))))
    assert (facts.declared, facts.languages) == ({}, ())
    assert facts.unknown == dict.fromkeys(("licence", "training data", "data filtering", "safety work"), NOT_DOCUMENTED)
    rows = dict(facts.as_rows())
    assert rows["licence"] == rows["training data"] == NOT_DOCUMENTED


def test_what_the_card_declares_is_quoted_as_such(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path)
    (folder / "README.md").write_text(CARD)
    facts = passport(resolve(str(folder)))
    assert facts.licence == "Apache-2.0"
    assert facts.base_models == ("someone/base",)
    assert facts.languages == ("en", "fr")
    assert facts.declared["training data"].startswith("set/one, set/two ('datasets' in README.md)")
    assert facts.declared["safety work"] == "section 'Bias, Risks and Limitations' of README.md"
    assert facts.unknown == {"data filtering": NOT_DOCUMENTED}
    assert "not verified" in dict(facts.as_rows())["training data"]


def test_files_carry_size_and_digest(tmp_path: Path) -> None:
    from limpide.core import digests

    folder = tiny_folder("llama", tmp_path)
    facts = {file.name: file for file in passport(resolve(str(folder))).files}
    assert set(facts) == {p.name for p in folder.iterdir()}
    weights = facts["model.safetensors"]
    assert weights.digest == digests.of_file(folder / "model.safetensors")
    assert weights.size == (folder / "model.safetensors").stat().st_size


def test_the_chat_template_digest_follows_its_text(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path)
    before = passport(resolve(str(folder))).tokenizer.chat_template_digest
    text = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for value in (text, [{"name": "tool_use", "template": "x"}, {"name": "default", "template": text}]):
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": value}))
        assert passport(resolve(str(folder))).tokenizer.chat_template_digest == before


def test_shards_are_counted_once_and_copies_not_at_all(tmp_path: Path) -> None:
    import shutil

    whole = tiny_folder("llama", tmp_path)
    facts = passport(resolve(str(whole)))
    sharded = tmp_path / "sharded"
    shutil.copytree(whole, sharded, ignore=shutil.ignore_patterns("*.safetensors"))
    tiny_network("llama").save_pretrained(sharded, max_shard_size="40KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    shutil.copy(whole / "model.safetensors", sharded / "consolidated.safetensors")
    again = passport(resolve(str(sharded)))
    assert (again.parameters, again.precisions) == (facts.parameters, facts.precisions)


def test_an_adapter_is_counted_apart(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    base, adapter = tiny_folder("llama", tmp_path), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    save_file({"a": np.zeros((2, 4), np.float32)}, adapter / "adapter_model.safetensors")
    facts = passport(resolve(str(adapter)))
    assert facts.adapter_parameters == 8
    assert facts.parameters == passport(resolve(str(base))).parameters
    assert dict(facts.as_rows())["adapter parameters"] == "8"


def test_quantised_blocks_count_the_numbers_they_hold() -> None:
    def tensor(dtype: str, *shape: int) -> Tensor:
        return Tensor(dtype, shape, math.prod(shape))

    total, kinds, notes = count_parameters(
        {
            "mlp.experts.down_proj_blocks": tensor("U8", 4, 32, 2, 16),
            "mlp.experts.down_proj_scales": tensor("U8", 4, 32, 2),
            "q.weight": tensor("F8_E4M3", 8, 8),
            "q.weight_scale_inv": tensor("F32", 1, 1),
            "norm": tensor("BF16", 8),
        }
    )
    assert kinds == {"MXFP4": 8192, "F8_E4M3": 64, "BF16": 8}
    assert total == 8264
    assert notes == ("257 scales of quantised weights are not counted as parameters",)


def test_a_passport_is_plain_json(tmp_path: Path) -> None:
    facts = passport(resolve(str(tiny_folder("gpt_oss", tmp_path))))
    assert type(facts).model_validate_json(facts.model_dump_json()) == facts


def test_languages_of_a_gguf_file_and_of_the_embedded_model(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path)
    (folder / SOURCE_FILE).write_text(json.dumps({"languages": ["fr"]}))
    assert passport(resolve(str(folder))).languages == ("fr",)
    (folder / SOURCE_FILE).write_text(json.dumps({"alias": SMOLLM2.alias}))
    assert passport(resolve(str(folder))).languages == ("en",)


def test_a_language_is_unspoken_where_others_are_declared() -> None:
    assert unspoken(["en-GB"], {"fr": 40, "en": 60, "not recognised": 3}) == ["fr"]
    assert unspoken(["en"], {"fr": 1, "en": 99}) == []
    assert unspoken(["en", "multilingual"], {"fr": 9}) == [], "no list of languages"
    assert unspoken([], {"fr": 9}) == []
