"""Every form a model can be named in, and every way a model can be absent, broken or not what it says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from limpide.core import digests
from limpide.core.errors import ModelError, UntrustedInput
from limpide.models import cache, embedded, sources
from limpide.models.sources import card_metadata, resolve
from tiny import tiny_folder, tiny_gguf


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "model")


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


# --- folders


def test_a_folder_is_taken_as_it_is(folder: Path, own_cache: Path) -> None:
    source = resolve(str(folder))
    assert (source.kind, source.folder, source.base, source.oddities) == ("folder", folder, None, ())
    assert source.digest == sources.model_digest(folder)
    assert not own_cache.exists()


def test_the_digest_follows_weights_config_and_tokenizer(folder: Path) -> None:
    first = resolve(str(folder)).digest
    (folder / "README.md").write_text("# Words\n")
    assert resolve(str(folder)).digest == first
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        before = (folder / name).read_text()
        (folder / name).write_text(before + "\n")
        assert resolve(str(folder)).digest != first, name
        (folder / name).write_text(before)
    assert resolve(str(folder)).digest == first


def test_resolving_a_folder_imports_no_torch(folder: Path) -> None:
    code = f"""
import sys
from limpide.models.passport import passport
from limpide.models.sources import resolve
passport(resolve({str(folder)!r})).as_rows()
sys.exit("torch" in sys.modules or "transformers" in sys.modules)
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_an_untrusted_folder_is_refused(folder: Path) -> None:
    edit_json(folder / "config.json", auto_map={"AutoModel": "m.Evil"})
    with pytest.raises(UntrustedInput, match="auto_map"):
        resolve(str(folder))


@pytest.mark.parametrize(
    ("delete", "says"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_what_is_missing_is_named(delete: str, says: str, folder: Path) -> None:
    (folder / delete).unlink()
    with pytest.raises(ModelError, match=says) as caught:
        resolve(str(folder))
    assert caught.value.remedy
    assert delete in str(caught.value)


def test_a_folder_with_only_a_gguf_file_points_at_it(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "only" / "m.gguf")
    with pytest.raises(ModelError, match=r"give the file itself: .*m\.gguf"):
        resolve(str(path.parent))


def test_a_tokenizer_larger_than_the_embedding_gives_both_numbers(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 431, "content": "<new>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match=r"(?s)received: 432 tokens.*at most 400"):
        resolve(str(folder))


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5"])
def test_the_embedding_is_found_in_every_layout(name: str, tmp_path: Path) -> None:
    folder = tiny_folder(name, tmp_path)
    edit_json(folder / "config.json", vocab_size=10_000)  # a config that lies: the weights decide
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 400, "content": "<new>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="401 tokens"):
        resolve(str(folder))


def test_an_unknown_architecture_is_refused_early(folder: Path) -> None:
    edit_json(folder / "config.json", model_type="mamba")
    with pytest.raises(ModelError, match="does not know the architecture 'mamba'"):
        resolve(str(folder))


# --- names


@pytest.mark.parametrize(
    "head",
    [
        "a: &a [x, x, x]\nb: &b [*a, *a, *a]\ntags: [*b, *b, *b]",  # nine times over, it would fill the memory
        "tags: &a [*a]",
        "tags: " + "[" * 5000,
    ],
)
def test_a_card_made_to_exhaust_the_machine_tells_nothing(tmp_path: Path, head: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# A model\n")
    assert card_metadata(tmp_path) == {}


def test_a_card_is_read_from_its_head(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\ntags: [trl]\nlicence: mit\n---\n# A model\n")
    assert card_metadata(tmp_path) == {"tags": ["trl"], "licence": "mit"}


def test_a_home_that_there_is_not_is_no_model() -> None:
    with pytest.raises(ModelError, match="There is no model"):
        resolve("~nobody-of-this-name/model")


def test_unknown_names_suggest_the_nearest_alias() -> None:
    with pytest.raises(ModelError, match=r"Did you mean 'smollm2-135m-instruct'\?") as caught:
        resolve("smollm2-135-instruct")
    assert "hub:owner/name@revision" in str(caught.value)


def test_a_bare_hub_name_is_explained() -> None:
    with pytest.raises(ModelError, match="hub:meta/Llama@main"):
        resolve("meta/Llama")


def test_a_loose_file_is_explained(folder: Path) -> None:
    with pytest.raises(ModelError, match="give the folder it is in"):
        resolve(str(folder / "model.safetensors"))


# --- licences


def test_licence_is_read_from_the_card_then_from_the_text(folder: Path) -> None:
    assert sources.licence_of(folder) == (None, None)
    (folder / "LICENSE").write_text("   LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n")
    assert sources.licence_of(folder) == ("llama3.1", "the text of LICENSE")
    (folder / "LICENSE").write_text("Apache License\n   Version 2.0, January 2004")
    assert sources.licence_of(folder) == ("Apache-2.0", "the text of LICENSE")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Model\n")
    assert sources.licence_of(folder) == ("MIT", "'license' in README.md")
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: mrl\n---\n")
    assert sources.licence_of(folder) == ("mrl", "'license_name' in README.md")
    (folder / "README.md").write_text("---\nlicense: [unclosed\n---\n")
    assert sources.licence_of(folder)[0] == "Apache-2.0"
    edit_json(folder / "limpide-source.json", licence="apache-2.0", licence_source="there")
    assert sources.licence_of(folder) == ("Apache-2.0", "there")


# --- adapters


def write_adapter(folder: Path, base: str | None) -> Path:
    from safetensors.numpy import save_file

    folder.mkdir()
    edit_json(folder / "adapter_config.json", peft_type="LORA", r=2, base_model_name_or_path=base)
    import numpy as np

    save_file({"base_model.model.x.lora_A.weight": np.zeros((2, 4), np.float32)}, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_finds_its_base(folder: Path, tmp_path: Path) -> None:
    (folder / "LICENSE").write_text("MIT License")
    source = resolve(str(write_adapter(tmp_path / "adapter", str(folder))))
    assert (source.kind, source.folder, source.base) == ("adapter", tmp_path / "adapter", folder)
    assert source.digest == digests.of_value([sources.model_digest(folder), sources.model_digest(source.folder)])
    assert source.licence == "MIT"
    assert source.licence_source == "the base model's: the text of LICENSE"
    beside = resolve(str(write_adapter(tmp_path / "adapter2", "../model")))
    assert beside.base is not None
    assert beside.base.samefile(folder)


def test_an_adapter_made_elsewhere_finds_an_embedded_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(wheel: embedded.Wheel, progress: Any) -> tuple[Path, tuple[str, ...]]:
        asked.append(wheel.alias)
        return tiny_folder("llama", tmp_path / "fetched"), ()

    monkeypatch.setattr(embedded, "fetch", fetch)
    adapter = write_adapter(tmp_path / "adapter", "/home/someone/models/smollm2-135m-instruct-b179c9523d0e")
    assert resolve(str(adapter)).base == tmp_path / "fetched" / "llama"
    assert asked == ["smollm2-135m-instruct"]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"alias": "smollm2-135m-instruct", "gguf": {"name": "x.gguf"}}, "smollm2-135m-instruct"),
        ({"hub": {"repository": "house/base", "commit": "0" * 40}}, "house/base"),
        ({"gguf": {"name": "press.gguf"}}, "press.gguf"),
        (None, "model"),
    ],
)
def test_a_model_is_called_as_others_know_it(folder: Path, record: dict[str, Any] | None, name: str) -> None:
    if record is not None:
        (folder / "limpide-source.json").write_text(json.dumps(record))
    assert sources.public_name(folder) == name


def test_an_adapter_finds_a_base_that_was_downloaded(folder: Path, tmp_path: Path, own_cache: Path) -> None:
    kept = cache.model_folder("house--base", "0" * 40)
    assert kept.is_relative_to(own_cache)
    shutil.copytree(folder, kept)
    (kept / "limpide-source.json").write_text(json.dumps({"hub": {"repository": "house/base", "commit": "0" * 40}}))
    assert resolve(str(write_adapter(tmp_path / "adapter", "house/base"))).base == kept


@pytest.mark.parametrize("base", [None, "", "meta-llama/Llama-3.1-8B", "/nowhere/model"])
def test_an_adapter_without_its_base_says_which(base: str | None, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", base)
    with pytest.raises(ModelError, match="base model of the adapter") as caught:
        resolve(str(adapter))
    assert repr(base) in str(caught.value.received)
    assert "adapter_config.json" in str(caught.value.remedy)


def test_an_adapter_without_weights(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", "x")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="no adapter's weights"):
        resolve(str(adapter))


def test_an_adapter_on_an_adapter(folder: Path, tmp_path: Path) -> None:
    first = write_adapter(tmp_path / "one", str(folder))
    with pytest.raises(ModelError, match="itself an adapter"):
        resolve(str(write_adapter(tmp_path / "two", str(first))))


def test_an_adapter_never_decides_what_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(sources.hub, "fetch", fetched)
    adapter = write_adapter(tmp_path / "adapter", "hub:someone/else@main")
    with pytest.raises(ModelError, match="not on this machine"):
        resolve(str(adapter))


def test_a_whole_model_with_an_adapter_beside_is_refused(folder: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    (mixed / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="applied without a word"):
        resolve(str(mixed))
