"""A checkpoint made elsewhere: copied when it fits, acts and speaks the base's template; refused otherwise."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from limpide.adapt import imported
from limpide.adapt.imported import ImportedSettings
from limpide.core import files
from limpide.core.errors import LimpideError, MissingError, ModelError, UntrustedInput
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from shared_adapters import deltas, logits, merged, random_adapter
from tiny import CHATML, tiny_network, tiny_tokenizer

Base = Callable[[str], Path]
HISTORY = {
    "epoch": 2.5,
    "global_step": 25,
    "log_history": [
        {"step": 10, "epoch": 1.0, "loss": 2.25, "learning_rate": 1e-4, "grad_norm": 0.5},
        {"step": 10, "epoch": 1.0, "eval_loss": 2.0, "eval_runtime": 1.0},
        {"step": 20, "epoch": 2.0, "loss": math.nan},
        {"step": 25, "epoch": 2.5, "train_runtime": 3.0},
    ],
}


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_path: Base) -> Path:
    """What a Trainer leaves: adapter, tokenizer, state, and pickles that are nobody's to open."""
    folder = random_adapter(tiny_path("llama"), tmp_path / "checkpoint-25", 1)
    tiny_tokenizer("llama").save_pretrained(folder)
    (folder / "training_args.bin").write_bytes(b"\x80\x04 whoever loads this runs it")
    (folder / "optimizer.pt").write_bytes(b"PK\x03\x04 likewise")
    (folder / "trainer_state.json").write_text(json.dumps(HISTORY))
    return folder


def run(folder: Path, base: Path, out: Path, **settings: Any) -> Result:
    out.mkdir(exist_ok=True)
    given = {"adapter": folder, **settings} if "model" not in settings else settings
    return imported.run(Subject(out=out, model=base), ImportedSettings(**given), Quiet())


def test_an_adapter_is_taken_as_it_is(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    base = tiny_path("llama")
    result = run(checkpoint, base, tmp_path / "out", tool="TRL", unseen=True)
    assert sorted(p.name for p in (tmp_path / "out" / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    expected = logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(checkpoint)))
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "out" / "adapter"))
    torch.testing.assert_close(logits(network), expected, atol=0, rtol=0)
    assert result.facts["tool"] == "TRL"
    assert (result.facts["rank"], result.facts["alpha"], result.facts["variant"]) == (4, 8, "lora")
    assert result.facts["epochs_done"] == 2.5
    assert result.warnings == ("Never opened, as reading a pickle can run code: optimizer.pt, training_args.bin.",)


def test_losses_are_read_from_the_trainers_state(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    run(checkpoint, tiny_path("llama"), tmp_path / "out")
    assert files.read_jsonl(tmp_path / "out" / "losses.jsonl") == [
        {"step": 10, "epoch": 1.0, "train": 2.25, "held_out": 2.0}
    ]


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"log_history": [1, {"step": "x"}]}',
        '{"log_history": null}',
        '{"log_history": 5}',
        "[" * 100_000,
    ],
)
def test_a_state_that_is_none_tells_nothing(checkpoint: Path, tiny_path: Base, tmp_path: Path, text: str) -> None:
    (checkpoint / "trainer_state.json").write_text(text)
    result = run(checkpoint, tiny_path("llama"), tmp_path / "out")
    assert "epochs_done" not in result.facts
    assert (tmp_path / "out" / "losses.jsonl").read_text() == ""


def test_what_was_seen_must_be_declared(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    assert any("may be memory" in w for w in run(checkpoint, tiny_path("llama"), tmp_path / "out").warnings)


def test_dora_is_taken_too(tiny_path: Base, tmp_path: Path) -> None:
    folder = random_adapter(tiny_path("llama"), tmp_path / "dora", use_dora=True)
    assert run(folder, tiny_path("llama"), tmp_path / "out").facts["variant"] == "dora"


def test_a_whole_model_is_taken_with_the_bases_tokenizer(tiny_path: Base, tmp_path: Path) -> None:
    base = tiny_path("llama")
    adapter = random_adapter(base, tmp_path / "adapter")
    whole = merged(base, adapter)
    whole.save_pretrained(tmp_path / "whole")
    (tmp_path / "whole" / "scheduler.pt").write_bytes(b"PK\x03\x04")
    result = run(Path(), base, tmp_path / "out", model=tmp_path / "whole")
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    torch.testing.assert_close(logits(made), logits(whole), atol=0, rtol=0)
    assert result.facts["changed_tensors"] == len(deltas(base, adapter))
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "out" / "model" / name).read_bytes() == (base / name).read_bytes()


# --------------------------------------------------------------------------------------------------------- refusals


def refused(kind: type[LimpideError], match: str, folder: Path, base: Path, tmp_path: Path, **settings: Any) -> str:
    with pytest.raises(kind, match=match) as error:
        run(folder, base, tmp_path / "out", **settings)
    assert error.value.remedy
    return str(error.value)


def test_a_pickled_adapter_is_never_opened(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    (checkpoint / "adapter_model.safetensors").rename(checkpoint / "adapter_model.bin")
    said = refused(UntrustedInput, "are a pickle", checkpoint, tiny_path("llama"), tmp_path)
    assert "safe_serialization=True" in said


def test_a_pickle_by_another_name_is_refused(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    (checkpoint / "adapter_model.safetensors").write_bytes(b"\x80\x04" + bytes(64))
    with pytest.raises(UntrustedInput):
        run(checkpoint, tiny_path("llama"), tmp_path / "out")


def test_an_adapter_of_another_size_is_refused(tiny_path: Base, tmp_path: Path) -> None:
    from tiny import tiny_folder

    wider = tiny_folder("llama", tmp_path / "wide", hidden_size=64)
    refused(ModelError, "does not fit this", random_adapter(wider, tmp_path / "a"), tiny_path("llama"), tmp_path)


def test_tensors_that_find_no_place_are_refused(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    """The silent fault of loaders: names that match nothing leave the base as it was, without a word."""
    path = checkpoint / "adapter_model.safetensors"
    save_file({name.replace("base_model.model.", "model."): t for name, t in load_file(path).items()}, path)
    said = refused(ModelError, "left out without a word", checkpoint, tiny_path("llama"), tmp_path)
    assert "8 tensors that find no place" in said


def test_a_missing_tensor_is_refused(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    path = checkpoint / "adapter_model.safetensors"
    save_file(dict(sorted(load_file(path).items())[2:]), path)
    said = refused(ModelError, "left out without a word", checkpoint, tiny_path("llama"), tmp_path)
    assert "2 that the file lacks" in said


@pytest.mark.parametrize("which", ["lora_A", "lora_B"])
def test_an_adapter_that_does_nothing_is_refused(checkpoint: Path, tiny_path: Base, tmp_path: Path, which: str) -> None:
    path = checkpoint / "adapter_model.safetensors"
    save_file({n: torch.zeros_like(t) if which in n else t for n, t in load_file(path).items()}, path)
    refused(ModelError, "changes nothing", checkpoint, tiny_path("llama"), tmp_path)


def test_a_whole_model_with_a_weight_that_is_no_number_is_refused(tiny_path: Base, tmp_path: Path) -> None:
    whole = tiny_network("llama")
    whole.save_pretrained(tmp_path / "whole")
    path = tmp_path / "whole" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] = math.nan
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ModelError, match="not a finite number"):
        run(Path(), tiny_path("llama"), tmp_path / "out", model=tmp_path / "whole")


def test_weights_that_are_not_numbers_are_refused(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    path = checkpoint / "adapter_model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] = math.inf
    save_file(tensors, path)
    refused(ModelError, "not a finite number", checkpoint, tiny_path("llama"), tmp_path)


@pytest.mark.parametrize("changes", [{"peft_type": "PROMPT_TUNING"}, {"init_lora_weights": "pissa"}])
def test_other_kinds_of_adapters_are_refused(
    checkpoint: Path, tiny_path: Base, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = checkpoint / "adapter_config.json"
    path.write_text(json.dumps(files.read_json(path) | changes))
    refused(ModelError, "Only LoRA adapters", checkpoint, tiny_path("llama"), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"lora_alpha": "many"}, {"r": "x"}, {"rank_pattern": [1]}, {"target_modules": 5}, {"target_modules": "(a+"}],
)
def test_values_of_another_kind_are_refused(
    changes: dict[str, Any], checkpoint: Path, tiny_path: Base, tmp_path: Path
) -> None:
    config = files.read_json(checkpoint / "adapter_config.json") | changes
    files.write_json(checkpoint / "adapter_config.json", config)
    with pytest.raises(ModelError, match="does not fit"):
        run(checkpoint, tiny_path("llama"), tmp_path / "out")


def test_code_in_the_configuration_is_refused(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    path = checkpoint / "adapter_config.json"
    mapping = {"parent_library": "evil", "base_model_class": "Evil"}
    path.write_text(json.dumps(files.read_json(path) | {"auto_mapping": mapping}))
    refused(UntrustedInput, "auto_mapping", checkpoint, tiny_path("llama"), tmp_path)


def test_another_template_is_refused_or_said(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    base = tiny_path("llama")
    (checkpoint / "chat_template.jinja").write_text(CHATML.replace("<|im_start|>", "<|turn|>"))
    said = refused(ModelError, "another chat template", checkpoint, base, tmp_path)
    assert "<|turn|>" in said
    assert "<|im_start|>" in said
    result = run(checkpoint, base, tmp_path / "out", template="base", unseen=True)
    assert "as declared (imported.template: base)" in result.warnings[0]


def test_a_template_that_differs_only_in_writing_is_the_same(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    (checkpoint / "chat_template.jinja").write_text("{#- the same -#}" + CHATML)
    assert len(run(checkpoint, tiny_path("llama"), tmp_path / "out", unseen=True).warnings) == 1


def test_no_template_is_said(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    for name in ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json"):
        (checkpoint / name).unlink()
    assert "no chat template" in run(checkpoint, tiny_path("llama"), tmp_path / "out", unseen=True).warnings[0]


def test_a_template_that_fails_on_a_conversation_is_another(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    (checkpoint / "chat_template.jinja").write_text("{{ messages[0]['content'] + 1 }}")
    with pytest.raises(ModelError, match="another chat template"):
        run(checkpoint, tiny_path("llama"), tmp_path / "out")


@pytest.mark.parametrize("name", ["adapter_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["not json", "[1]"])
def test_a_broken_file_is_named(checkpoint: Path, tiny_path: Base, tmp_path: Path, name: str, text: str) -> None:
    (checkpoint / "chat_template.jinja").unlink(missing_ok=True)
    (checkpoint / name).write_text(text)
    with pytest.raises(ModelError, match=rf"{name} is not"):
        run(checkpoint, tiny_path("llama"), tmp_path / "out")


def test_code_in_a_template_is_refused(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    (checkpoint / "chat_template.jinja").write_text("{{ messages.__class__.__mro__ }}")
    with pytest.raises(UntrustedInput):
        run(checkpoint, tiny_path("llama"), tmp_path / "out")


def test_two_ids_swapped_are_found(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    path = checkpoint / "tokenizer.json"
    content = files.read_json(path)
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    path.write_text(json.dumps(content))
    said = refused(ModelError, "another vocabulary", checkpoint, tiny_path("llama"), tmp_path)
    assert "2 tokens with another id" in said


def test_tokens_that_were_added_are_said(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    path = checkpoint / "tokenizer.json"
    content = files.read_json(path)
    content["added_tokens"].append({**content["added_tokens"][0], "id": 9000, "content": "<|PAD_TOKEN|>"})
    path.write_text(json.dumps(content))
    result = run(checkpoint, tiny_path("llama"), tmp_path / "out", unseen=True)
    assert result.warnings[0].endswith("which are not kept: '<|PAD_TOKEN|>'.")


def test_the_base_itself_is_no_tuned_model(tiny_path: Base, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_path("llama"), tmp_path / "copy")
    refused(ModelError, "is its base", Path(), tiny_path("llama"), tmp_path, model=copy)


def test_a_model_of_another_shape_is_refused(tiny_path: Base, tmp_path: Path) -> None:
    tiny_network("llama", num_hidden_layers=3).save_pretrained(tmp_path / "deeper")
    refused(ModelError, "not the shape of the base", Path(), tiny_path("llama"), tmp_path, model=tmp_path / "deeper")


def test_a_pickled_model_is_never_opened(tiny_path: Base, tmp_path: Path) -> None:
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    refused(UntrustedInput, "are pickles", Path(), tiny_path("llama"), tmp_path, model=tmp_path / "pickled")


def test_folders_that_hold_nothing(tiny_path: Base, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(ModelError, "holds no adapter", tmp_path / "empty", tiny_path("llama"), tmp_path)
    refused(ModelError, "no whole model", Path(), tiny_path("llama"), tmp_path, model=tmp_path / "empty")
    refused(MissingError, "no checkpoint folder", tmp_path / "nowhere", tiny_path("llama"), tmp_path)


def test_links_are_not_followed(checkpoint: Path, tiny_path: Base, tmp_path: Path) -> None:
    path = checkpoint / "adapter_model.safetensors"
    path.rename(tmp_path / "elsewhere.safetensors")
    path.symlink_to(tmp_path / "elsewhere.safetensors")
    refused(UntrustedInput, "symbolic link", checkpoint, tiny_path("llama"), tmp_path)


def test_either_an_adapter_or_a_model() -> None:
    for given in ({}, {"adapter": "a", "model": "b"}):
        with pytest.raises(ValueError, match="either adapter or model"):
            ImportedSettings.model_validate(given)
