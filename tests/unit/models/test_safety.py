"""Each danger is planted in a sound tiny folder and must be refused by name; the sound folders must pass."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import ModelError, UntrustedInput
from limpide.models import safety
from limpide.models.safetensors_header import read_header
from tiny import CHATML, FAMILY_NAMES, tiny_folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "model")


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


def refused(folder: Path, *mentions: str) -> UntrustedInput:
    with pytest.raises(UntrustedInput) as caught:
        safety.check_folder(folder)
    for mention in mentions:
        assert mention in str(caught.value)
    assert caught.value.exit_code == 5
    assert caught.value.remedy or "too large" in caught.value.what
    return caught.value


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_sound_folders_pass(name: str, tmp_path: Path) -> None:
    assert safety.check_folder(tiny_folder(name, tmp_path)) == ()


def test_no_folder_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        safety.check_folder(tmp_path / "absent")


# --- files


@pytest.mark.parametrize("name", ["training_args.bin", "rng_state.pth", "optimizer.pt", "a.CKPT", "x.pkl", "v.npy"])
def test_pickles_are_refused_with_the_file_to_delete(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"anything")
    refused(folder, name, "pickle", f"delete it (the folder also has safetensors): {folder / name}")


def test_pickle_alone_asks_for_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin", "safetensors version")


def test_pickle_in_a_subfolder(folder: Path) -> None:
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_bytes(b"x")
    refused(folder, "original/consolidated.00.pth")


@pytest.mark.parametrize("name", ["modeling_x.py", "custom/generate.py", "kernel.so", "run.exe", "setup.sh"])
def test_programs_are_refused(name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("print('hello')")
    refused(folder, name, "program code")


@pytest.mark.parametrize("name", ["tf_model.h5", "flax.msgpack", "model.onnx", "m.tflite", "saved_model.pb", "a.zip"])
def test_other_formats_are_refused(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"x")
    refused(folder, name, "safetensors only")


@pytest.mark.parametrize(
    ("start", "what"),
    [(b"\x80\x04\x95", "pickle"), (b"PK\x03\x04", "zip"), (b"\x7fELF", "program"), (b"\x89HDF", "HDF5")],
)
def test_first_bytes_betray_a_disguise(start: bytes, what: str, folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(start + b"rest")
    refused(folder, "tokenizer.model", what)


def test_links_are_refused_and_the_copy_command_given(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    os.symlink(tmp_path / "elsewhere.json", folder / "generation.json")
    refused(folder, "symbolic link", "elsewhere.json", "cp -rL")


def test_a_linked_subfolder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    os.symlink(tmp_path / "there", folder / "sub")
    refused(folder, "symbolic link")


def test_git_leftovers_are_told_not_read(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "hook.py").write_text("x")
    assert safety.check_folder(folder) == (".git/: not part of the model, not looked at",)


# --- configuration


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling.Evil"}}),
        ("config.json", {"_attn_implementation_internal": "someone/kernel"}),
        ("config.json", {"_attn_implementation": "eager"}),
        ("config.json", {"attn_implementation": "someone/kernel"}),
        ("config.json", {"text_config": {"layers": [{"_attn_implementation": "a/b"}]}}),
        ("config.json", {"vision": {"trust_remote_code": True}}),
        ("config.json", {"experts_implementation": "a/b"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["t.Evil", None]}}),
        ("generation_config.json", {"custom_generate": "someone/code"}),
        ("model_index.json", {"custom_pipelines": {"x": 1}}),
        ("adapter_config.json", {"auto_mapping": {"base_model_class": "X", "parent_library": "os"}}),
        ("adapter_config.json", {"megatron_core": "evil.core"}),
        ("adapter_config.json", {"megatron_config": {"a": 1}, "megatron_core": "megatron.core"}),
    ],
)
def test_keys_that_run_code_are_refused(file: str, changes: dict[str, Any], folder: Path) -> None:
    edit_json(folder / file, **changes)
    refused(folder, file)


def test_a_key_given_twice_cannot_hide(folder: Path) -> None:
    text = (folder / "config.json").read_text().rstrip()[:-1]
    (folder / "config.json").write_text(text + ', "auto_map": {"AutoModel": "m.Evil"}, "auto_map": null}')
    refused(folder, "auto_map")


def test_keys_switched_off_are_oddities(folder: Path) -> None:
    edit_json(folder / "config.json", auto_map=None, trust_remote_code=False, attn_implementation="sdpa")
    edit_json(folder / "config.json", _attn_implementation_autoset=True)
    odd = safety.check_folder(folder)
    assert len(odd) == 2
    assert "auto_map" in odd[0]
    assert "trust_remote_code" in odd[1]


def test_a_token_named_like_a_key_is_a_token(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["auto_map"] = 399
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert safety.check_folder(folder) == ()


def test_ordinary_adapter_config_passes(folder: Path) -> None:
    mapping = {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers.models.llama.modeling_llama"}
    edit_json(folder / "adapter_config.json", peft_type="LORA", megatron_core="megatron.core", auto_mapping=mapping)
    assert safety.check_folder(folder) == ()


def test_broken_json_gives_line_and_column(folder: Path) -> None:
    (folder / "config.json").write_text('{\n "model_type": llama }')
    with pytest.raises(ModelError, match=r"(?s)config\.json is not valid JSON.*line 2, column 16") as caught:
        safety.check_folder(folder)
    assert caught.value.exit_code == 2


def test_nested_too_deeply(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 200_000 + "]" * 200_000)
    refused_or_model = pytest.raises((UntrustedInput, ModelError), match=r"nested too deeply")
    with refused_or_model:
        safety.check_folder(folder)


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..\\x.safetensors"]
)
def test_index_may_not_leave_the_folder(name: str, folder: Path) -> None:
    edit_json(folder / "model.safetensors.index.json", weight_map={"a": name})
    refused(folder, "outside the model's folder", name)


def test_index_may_not_name_a_pickle(folder: Path) -> None:
    edit_json(folder / "model.safetensors.index.json", weight_map={"a": "weights.dat"})
    refused(folder, "not safetensors")


def test_index_names_what_is_missing(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    edit_json(index, weight_map={"a": "model-00002-of-00002.safetensors"})
    with pytest.raises(ModelError, match=r"missing: model-00002"):
        safety.check_folder(folder)
    edit_json(index, weight_map={"no.such.tensor": "model.safetensors"})
    with pytest.raises(ModelError, match=r"no\.such\.tensor"):
        safety.check_folder(folder)


# --- safetensors


def safetensors(header: Any, data: bytes, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(begin: int, end: int, dtype: str = "F32", shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


LIES: dict[str, bytes] = {
    "too short to hold": b"abc",
    "absurd size": safetensors({}, b"", length=1 << 40),
    "shorter than its header says": safetensors({}, b"", length=90_000),
    "is not JSON": safetensors(b"{nope", b""),
    "not a JSON object": safetensors([1], b""),
    "text to text": safetensors({"__metadata__": {"a": 1}}, b""),
    "'a' twice": safetensors(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
    ),
    "must have dtype": safetensors({"a": {**entry(0, 8), "extra": 1}}, bytes(8)),
    "type the format does not know": safetensors({"a": entry(0, 8, "Q9")}, bytes(8)),
    "impossible shape": safetensors({"a": {**entry(0, 8), "shape": [-2]}}, bytes(8)),
    "impossible offsets": safetensors({"a": {**entry(0, 8), "data_offsets": [0]}}, bytes(8)),
    "length its type and shape give": safetensors({"a": entry(0, 12)}, bytes(12)),
    "overlaps": safetensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
    "leaves a hole": safetensors({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20)),
    "data that no tensor claims": safetensors({"a": entry(0, 8)}, bytes(9)),
    "8 bytes of data": safetensors({"a": entry(0, 8)}, bytes(7)),
}


@pytest.mark.parametrize("why", LIES)
def test_safetensors_that_lie_are_refused(why: str, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(LIES[why])
    refused(folder, "model.safetensors", why)


def test_cut_weights_give_both_sizes(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(folder, "shorter than its header says", "bytes of data")


def test_header_agrees_with_the_official_reader(sound: Path) -> None:
    from safetensors import safe_open

    ours = read_header(sound / "model.safetensors")
    with safe_open(sound / "model.safetensors", framework="np") as file:
        theirs = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
        assert ours.metadata == file.metadata()
    assert {name: tensor.shape for name, tensor in ours.tensors.items()} == theirs


# --- where chat templates are looked for (what they may do: test_template_safety.py)


def plant_file(folder: Path, text: str) -> None:
    (folder / "chat_template.jinja").write_text(text)


def plant_extra(folder: Path, text: str) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(text)


def plant_text(folder: Path, text: str) -> None:
    edit_json(folder / "tokenizer_config.json", chat_template=text)


def plant_list(folder: Path, text: str) -> None:
    edit_json(folder / "tokenizer_config.json", chat_template=[{"name": "tool_use", "template": text}])


def plant_legacy(folder: Path, text: str) -> None:
    edit_json(folder / "chat_template.json", chat_template=text)


@pytest.mark.parametrize("plant", [plant_file, plant_extra, plant_text, plant_list, plant_legacy])
def test_templates_are_found_wherever_they_lie(plant: Callable[[Path, str], None], folder: Path) -> None:
    plant(folder, "{{ x.__class__ }}")
    refused(folder, "chat template was refused", "__class__")


# --- GGUF


def write_gguf(path: Path, template: str = CHATML) -> Path:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.license", "apache-2.0")
    writer.add_array("tokenizer.ggml.tokens", ["a", "é", "<s>"])
    writer.add_array("numbers", [1.5, 2.5])
    writer.add_chat_template(template)
    writer.add_tensor("token_embd.weight", np.zeros((4, 64), dtype=np.float32))
    writer.add_tensor("output.weight", np.ones((4, 32), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_sound_gguf_passes_and_agrees_with_the_official_reader(tmp_path: Path) -> None:
    import gguf

    path = write_gguf(tmp_path / "m.gguf")
    assert safety.check_gguf(path) == ()
    ours, theirs = safety.read_gguf(path), gguf.GGUFReader(path)
    assert ours.metadata["tokenizer.ggml.tokens"] == ["a", "é", "<s>"]
    assert ours.metadata["numbers"] == [1.5, 2.5]
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert (mine.shape, mine.size, mine.kind) == (tuple(tensor.shape), tensor.n_bytes, tensor.tensor_type.name)
        assert ours.data_start + mine.offset == tensor.data_offset


@pytest.mark.parametrize("share", [0.99, 0.5, 0.2, 0.05])
def test_a_gguf_cut_anywhere_is_called_truncated(share: float, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match="truncated") as caught:
        safety.check_gguf(path)
    assert caught.value.received == f"{int(len(whole) * share)} bytes"
    assert "bytes" in str(caught.value.expected)
    assert caught.value.exit_code == 2


def test_not_gguf_and_old_versions(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"nope")
    with pytest.raises(ModelError, match="not a GGUF file"):
        safety.check_gguf(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(ModelError, match="GGUF version"):
        safety.check_gguf(path)
    with pytest.raises(ModelError, match="no file"):
        safety.check_gguf(tmp_path / "absent.gguf")


@pytest.mark.parametrize(
    "after",
    [
        struct.pack("<IQQ", 3, 1 << 60, 0),
        struct.pack("<IQQ", 3, 0, 1 << 60),
        struct.pack("<IQQQ", 3, 0, 1, 1 << 50),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<I", 99),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 8, 1 << 40),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"\xff" + struct.pack("<I", 4),
    ],
)
def test_absurd_gguf_headers_are_refused(after: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + after + bytes(64))
    with pytest.raises(UntrustedInput, match="header is impossible"):
        safety.check_gguf(path)


def test_a_gguf_template_is_checked_too(tmp_path: Path, folder: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "{{ x.__class__ }}")
    with pytest.raises(UntrustedInput, match=r"m\.gguf \(tokenizer\.chat_template\)"):
        safety.check_gguf(path)
    (folder / "gguf").mkdir()
    shutil.copy(path, folder / "gguf")
    refused(folder, "m.gguf")
