"""Configurations and checkpoints of other tools become recipes: every key is carried over, or left with its reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import Command, calling
from limpide.core import files
from limpide.core.errors import MissingError, ModelError, UsageError
from limpide.recipe.foreign import base_reference, read_foreign
from limpide.recipe.foreign_recipe import write_recipe
from limpide.recipe.gather import _of_import, _tuned_elsewhere
from limpide.recipe.load import load_recipe
from limpide.recipe.written import RECIPE
from shared_adapters import random_adapter

Base = Callable[[str], Path]

LLAMA_FACTORY = """\
### model
model_name_or_path: owner/Press-3B-Instruct
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 16
lora_target: all
lora_dropout: 0.05

### dataset
dataset: press,absent
template: llama3
cutoff_len: 2048
preprocessing_num_workers: 16
val_size: 0.1

### output
output_dir: saves/press
plot_loss: true

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
seed: 7
some_new_key: 3
"""
AXOLOTL = """\
base_model: owner/Press-1B
load_in_4bit: true
strict: false
chat_template: llama3
datasets:
  - path: rows.jsonl
    type: chat_template
    field_messages: talk
  - path: owner/rows-on-the-hub
    type: alpaca
val_set_size: 0.05
sequence_len: 4096
sample_packing: true
adapter: qlora
lora_r: 32
lora_alpha: 16
lora_target_linear: true
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 4
optimizer: adamw_bnb_8bit
learning_rate: '2e-4'
warmup_steps: 10
weight_decay: 0.0
wandb_project:
special_tokens:
  pad_token: <|end_of_text|>
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Why?", "answer": "Because."}\n')
    return path


@pytest.fixture
def llama_factory(tmp_path: Path, rows: Path) -> Path:
    (tmp_path / "data").mkdir()
    known = {"press": {"file_name": "../rows.jsonl", "columns": {"prompt": "prompt", "response": "answer"}}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(known))
    path = tmp_path / "press_lora_sft.yaml"
    path.write_text(LLAMA_FACTORY)
    return path


@pytest.fixture
def axolotl(tmp_path: Path, rows: Path) -> Path:
    path = tmp_path / "press.yml"
    path.write_text(AXOLOTL)
    return path


def imported(place: Path, out: Path, **given: Any) -> tuple[Any, dict[str, Any], str]:
    """(the recipe as it is loaded, the record, the recipe's text)."""
    found = read_foreign(place, given.pop("config", None))
    record = write_recipe(found, out, "press", base=given.get("base"), examples=given.get("examples", ()))
    return load_recipe(out / RECIPE), record, (out / RECIPE).read_text()


def test_llama_factory_key_by_key(llama_factory: Path, tmp_path: Path) -> None:
    recipe, record, text = imported(llama_factory, tmp_path / "out")
    assert record["tool"] == "LLaMA-Factory"
    assert recipe.base == "hub:owner/Press-3B-Instruct@main"
    assert recipe.seed == 7
    assert [str(path) for path in recipe.data.examples] == ["../rows.jsonl"]
    assert recipe.data.held_out == 0.1
    assert recipe.data.columns == {"prompt": "prompt", "answer": "answer"}
    assert (recipe.adapt.method, recipe.adapt.rank, recipe.adapt.alpha) == ("lora", 16, 32)  # alpha: its default
    assert (recipe.adapt.epochs, recipe.adapt.learning_rate, recipe.adapt.warmup) == (3, 1e-4, 0.1)
    left = {one["key"]: one["why"] for one in record["left"]}
    assert "chat template" in left["template"]
    assert "never cut" in left["cutoff_len"]
    assert "without dropout" in left["lora_dropout"]
    assert left["trust_remote_code"] == "code that comes with a model is never run"
    assert "not known here" in left["some_new_key"]
    assert "not what was learnt" in left["output_dir"]
    assert left["dataset"].startswith("no file of this machine")
    assert "#   template: llama3 –" in text


def test_every_key_is_accounted_for(llama_factory: Path, axolotl: Path, tmp_path: Path) -> None:
    """None is dropped in silence: it names the base, is carried, is left, or is read with the datasets."""
    for place, skipped in (
        (llama_factory, {"model_name_or_path", "stage", "dataset"}),
        (axolotl, {"base_model", "datasets", "wandb_project"}),
    ):
        _, record, _ = imported(place, tmp_path / place.stem)
        told = {one["key"].split(" (")[0] for one in (*record["carried"], *record["left"])}
        keys = {line.split(":")[0] for line in place.read_text().splitlines() if line[:1].isalpha()}
        assert keys - told - skipped == set()


def test_axolotl_key_by_key(axolotl: Path, tmp_path: Path) -> None:
    recipe, record, _ = imported(axolotl, tmp_path / "out")
    assert record["tool"] == "Axolotl"
    assert (recipe.adapt.method, recipe.adapt.rank, recipe.adapt.alpha) == ("lora", 32, 16)
    assert (recipe.adapt.learning_rate, recipe.adapt.epochs, recipe.adapt.weight_decay) == (2e-4, 4, 0)
    assert recipe.data.columns == {"messages": "talk"}
    assert recipe.data.held_out == 0.05
    left = {one["key"]: one for one in record["left"]}
    assert left["datasets"]["value"] == "owner/rows-on-the-hub"
    assert "CUDA" in left["load_in_4bit"]["why"]
    assert "share of the updates" in left["warmup_steps"]["why"]


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ("finetuning_type: full", "full"),
        ("use_dora: true", "dora"),
        ("use_rslora: true", "rslora"),
    ],
)
def test_methods(llama_factory: Path, tmp_path: Path, changes: str, method: str) -> None:
    text = llama_factory.read_text().replace(
        "finetuning_type: lora\n", "" if "type" in changes else "finetuning_type: lora\n"
    )
    llama_factory.write_text(text + changes + "\n")
    recipe, record, _ = imported(llama_factory, tmp_path / "out")
    assert recipe.adapt.method == method
    of_adapters = [one for one in record["left"] if "every weight is trained" in one["why"]]
    assert {one["key"] for one in of_adapters} == ({"lora_rank", "lora_target"} if method == "full" else set())


def test_values_that_do_not_fit_are_left_with_their_reason(llama_factory: Path, tmp_path: Path) -> None:
    text = LLAMA_FACTORY.replace("num_train_epochs: 3.0", "num_train_epochs: 2.5").replace(
        "lora_rank: 16", "lora_rank: 4096"
    )
    llama_factory.write_text(
        text.replace("lora_target: all", "lora_target: q_proj,v_proj").replace("val_size: 0.1", "val_size: 50")
    )
    recipe, record, _ = imported(llama_factory, tmp_path / "out")
    left = {one["key"]: one["why"] for one in record["left"]}
    assert "whole epochs" in left["num_train_epochs"]
    assert "adapt.rank" in left["lora_rank"]
    assert "adapt.targets" in left["lora_target"]
    assert "a number of rows" in left["val_size"]
    assert recipe.adapt.rank == 32


def test_preferences(llama_factory: Path, tmp_path: Path) -> None:
    llama_factory.write_text(LLAMA_FACTORY.replace("stage: sft", "stage: dpo\npref_loss: orpo\npref_beta: 0.2"))
    recipe, _, _ = imported(llama_factory, tmp_path / "out")
    assert (recipe.adapt.preferences.loss, recipe.adapt.preferences.beta) == ("orpo", 0.2)


# ------------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_path: Base) -> Path:
    folder = random_adapter(tiny_path("llama"), tmp_path / "saves" / "press", 1)
    config = files.read_json(folder / "adapter_config.json") | {"base_model_name_or_path": "unsloth/Press-3B-bnb-4bit"}
    files.write_json(folder / "adapter_config.json", config)
    (folder / "training_args.bin").write_bytes(b"\x80\x04")
    return folder


def test_the_folder_of_a_training_here_holds_its_adapter(checkpoint: Path, rows: Path, tmp_path: Path) -> None:
    """`limpide adapt` leaves adapter/ beside the data and the report."""
    whole = tmp_path / "adapted"
    (whole / "data").mkdir(parents=True)
    checkpoint.rename(whole / "adapter")
    assert read_foreign(whole).adapter == whole / "adapter"


def test_a_base_that_is_a_gguf_file_is_found_beside_the_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "base.gguf").write_bytes(b"GGUF")
    found = base_reference("../base.gguf", tmp_path / "adapter")[0]
    assert found is not None
    assert Path(found).samefile(tmp_path / "base.gguf")


def test_a_checkpoint_is_imported_and_not_trained_again(checkpoint: Path, rows: Path, tmp_path: Path) -> None:
    recipe, record, text = imported(checkpoint, tmp_path / "out", examples=(rows,))
    assert record["tool"] == "Unsloth"
    assert recipe.base == "hub:unsloth/Press-3B@main"
    assert recipe.adapt is None
    assert str(recipe.imported.adapter) == "../saves/press"
    assert recipe.imported.unseen
    assert "memorisation" not in recipe.audit.suites, "rows that were never learnt cannot have been memorised"
    assert any("rounded" in note for note in record["notes"])
    assert any("training_args.bin" in note for note in record["notes"])
    assert str(tmp_path) not in text, "no path of this machine in a recipe"


def test_rows_that_were_trained_on_are_not_called_unseen(checkpoint: Path, llama_factory: Path, tmp_path: Path) -> None:
    recipe, record, text = imported(checkpoint, tmp_path / "out", config=llama_factory)
    assert not recipe.imported.unseen
    assert "may be memory" in text
    assert "# adapt:" in text, "the same training here is one edit away"
    assert any("names another base" in note for note in record["notes"])


def test_an_evaluation_set_was_not_trained_on(checkpoint: Path, llama_factory: Path, tmp_path: Path) -> None:
    (tmp_path / "held.jsonl").write_text('{"prompt": "Why?", "answer": "So."}\n')
    known = files.read_json(tmp_path / "data" / "dataset_info.json") | {"held": {"file_name": "../held.jsonl"}}
    files.write_json(tmp_path / "data" / "dataset_info.json", known)
    llama_factory.write_text(LLAMA_FACTORY.replace("val_size: 0.1", "eval_dataset: held"))
    recipe, _, _ = imported(checkpoint, tmp_path / "out", config=llama_factory)
    assert recipe.imported.unseen
    assert [path.name for path in recipe.data.examples] == ["held.jsonl"]


def test_the_last_checkpoint_counts(checkpoint: Path, rows: Path, tmp_path: Path) -> None:
    for step in (100, 20):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for path in checkpoint.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    recipe, _, _ = imported(tmp_path / "run", tmp_path / "out", examples=(rows,))
    assert recipe.imported.adapter.name == "checkpoint-100"


def test_a_whole_model_with_its_card(tmp_path: Path, tiny_path: Base, rows: Path) -> None:
    folder = tmp_path / "whole"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((tiny_path("llama") / name).read_bytes())
    (folder / "README.md").write_text("---\nbase_model: owner/Press-1B\ntags: [trl, sft]\n---\n")
    recipe, record, _ = imported(folder, tmp_path / "out", examples=(rows,), base=str(tiny_path("llama")))
    assert record["tool"] == "TRL"
    assert recipe.imported.model is not None
    assert "gguf:f16" in recipe.optimise.formats
    assert read_foreign(folder).base == "hub:owner/Press-1B@main"


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("unsloth/Llama-3.2-1B-Instruct-bnb-4bit", "hub:unsloth/Llama-3.2-1B-Instruct@main"),
        ("unsloth/Qwen2.5-7B-Instruct-unsloth-bnb-4bit", "hub:unsloth/Qwen2.5-7B-Instruct@main"),
        ("owner/Model", "hub:owner/Model@main"),
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("smollm2-135m-instruct-b179c9523d0e", "smollm2-135m-instruct"),  # our own folder in somebody's cache
        ("/home/alice/.cache/limpide/models/smollm2-135m-instruct-b179c9523d0e", "smollm2-135m-instruct"),
        ("/nowhere/at/all", None),
        ("", None),
        (3, None),
    ],
)
def test_names_of_bases(named: object, expected: str | None, tmp_path: Path) -> None:
    assert base_reference(named, tmp_path)[0] == expected


# ----------------------------------------------------------------------------------------------------------- the plan


def test_an_imported_recipe_has_the_plan_of_an_adapted_one(
    checkpoint: Path, rows: Path, tmp_path: Path, tiny_path: Base
) -> None:
    from limpide.models.sources import resolve
    from limpide.recipe.plan import make_plan

    base = str(tiny_path("llama"))
    recipe, _, _ = imported(checkpoint, tmp_path / "out", examples=(rows,), base=base)
    plan = make_plan(recipe, tmp_path / "out" / RECIPE, resolve(base))
    step = plan.step("adapt")
    assert step.operation.name == "adapt.imported"
    assert plan.step("export").inputs["adapt"] == plan.step("parity").inputs["adapt"] == "adapt"
    (checkpoint / "trainer_state.json").write_text("{}")
    assert make_plan(recipe, tmp_path / "out" / RECIPE, resolve(base)).step("adapt").key != step.key


def test_the_dossier_says_that_nobody_here_saw_the_training(checkpoint: Path, rows: Path, tmp_path: Path) -> None:
    facts = {"method": "imported", "tool": "TRL", "rank": 4, "alpha": 8, "epochs_done": 2.0}
    training = _tuned_elsewhere(facts, [{"step": 1, "epoch": 0.5, "train": 2.0, "held_out": None}])
    assert (training.method, training.elsewhere, training.rank, training.tokens_seen) == ("imported", "TRL", 4, None)
    assert len(training.losses) == 1
    recipe, _, _ = imported(checkpoint, tmp_path / "out", examples=(rows,))
    assert any("never saw the rows" in decision for decision in _of_import(recipe.imported))
    declared = recipe.imported.model_copy(update={"unseen": False, "template": "base"})
    assert any("Not declared" in decision for decision in _of_import(declared))
    assert any("chat template" in decision for decision in _of_import(declared))


def test_tuned_here_or_elsewhere_not_both(checkpoint: Path, rows: Path, tmp_path: Path) -> None:
    _, _, text = imported(checkpoint, tmp_path / "out", examples=(rows,))
    path = tmp_path / "both.yaml"
    path.write_text(text + "\nadapt: {epochs: 1}\n")
    with pytest.raises(UsageError, match=r"both.yaml") as error:
        load_recipe(path)
    assert "either adapt (tuned here) or imported" in str(error.value)


# --------------------------------------------------------------------------------------------------------- bad input


def test_what_lacks_is_asked_for(checkpoint: Path, llama_factory: Path, tmp_path: Path, rows: Path) -> None:
    with pytest.raises(MissingError, match="no file of examples") as error:
        imported(checkpoint, tmp_path / "out")
    assert "--examples" in str(error.value)
    config = files.read_json(checkpoint / "adapter_config.json") | {"base_model_name_or_path": "/home/alice/x"}
    files.write_json(checkpoint / "adapter_config.json", config)
    with pytest.raises(MissingError, match="which model this was tuned from") as error:
        imported(checkpoint, tmp_path / "out", examples=(rows,))
    assert "--base" in str(error.value)
    assert "/home/alice/x" in str(error.value)
    with pytest.raises(MissingError, match="no such files of examples"):
        imported(llama_factory, tmp_path / "out", examples=(tmp_path / "nowhere.jsonl",))
    assert not (tmp_path / "out").exists()


def test_places_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds nothing of a training"):
        read_foreign(tmp_path / "empty")
    with pytest.raises(MissingError, match="There is nothing at"):
        read_foreign(tmp_path / "nowhere")
    (tmp_path / "other.yaml").write_text("a: 1\nb: 2\n")
    with pytest.raises(UsageError, match="no tool that is known here"):
        read_foreign(tmp_path / "other.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(UsageError, match="not valid YAML"):
        read_foreign(tmp_path / "broken.yaml")
    (tmp_path / "empty" / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        read_foreign(tmp_path / "empty")


def test_several_configurations_are_asked_about(checkpoint: Path, llama_factory: Path, axolotl: Path) -> None:
    for path in (llama_factory, axolotl):
        (checkpoint / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="several configurations") as error:
        read_foreign(checkpoint)
    assert "--config" in str(error.value)


def test_what_others_wrote_cannot_end_a_comment(llama_factory: Path, tmp_path: Path) -> None:
    odd = LLAMA_FACTORY + 'strange: "x\\nname: other\\u2028seed: 9\\u0007"\n"odd\\nkey": 1\n'
    llama_factory.write_text(odd)
    recipe, _, _ = imported(llama_factory, tmp_path / "out")
    assert (recipe.name, recipe.seed) == ("press", 7)


def test_a_secret_of_the_configuration_is_written_nowhere(llama_factory: Path, tmp_path: Path) -> None:
    secrets = {"hub_token": "hunter2-of-the-house", "wandb_api_key": "0123abcd"}
    secrets["note"] = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
    llama_factory.write_text(LLAMA_FACTORY + "".join(f"{key}: {value}\n" for key, value in secrets.items()))
    _, record, text = imported(llama_factory, tmp_path / "out")
    for value in secrets.values():
        assert value not in text + json.dumps(record)
    assert "hub_token: (not shown: a secret)" in text


def test_the_recipe_tells_no_place_of_the_machine_that_trained(llama_factory: Path, tmp_path: Path) -> None:
    places = "output_dir: /home/alice/saves", "adapter_name_or_path: /home/alice/first"
    llama_factory.write_text(LLAMA_FACTORY.replace("output_dir: saves/press", "\n".join(places)))
    _, _, text = imported(llama_factory, tmp_path / "out")
    assert "alice" not in text
    assert "output_dir – it says how" in text


@pytest.mark.parametrize(
    "line",
    [
        "num_train_epochs: .inf",
        "val_size: .nan",
        "seed: 3.5",
        "seed: 99999999999",
        "pref_loss: [a]",
        f"dataset: press,{'a' * 6000}",
        "unknown: 2026-01-02",
    ],
)
def test_an_odd_value_is_left_and_stops_nothing(llama_factory: Path, tmp_path: Path, line: str) -> None:
    key = line.partition(":")[0]
    kept = [row for row in LLAMA_FACTORY.replace("stage: sft", "stage: dpo").splitlines() if not row.startswith(key)]
    llama_factory.write_text("\n".join([*kept, line]) + "\n")
    _, record, _ = imported(llama_factory, tmp_path / "out")
    assert key in {one["key"] for one in record["left"]}


@pytest.mark.parametrize("named", ["~nobody-of-this-name/base", "a" * 5000])
def test_a_name_that_no_system_takes_is_no_folder(named: str, tmp_path: Path) -> None:
    assert base_reference(named, tmp_path) == (None, None)


def test_rows_that_were_learnt_are_not_unseen_because_they_are_given(
    checkpoint: Path, llama_factory: Path, rows: Path, tmp_path: Path
) -> None:
    again = tmp_path / "data" / ".." / rows.name
    recipe, _, text = imported(checkpoint, tmp_path / "out", config=llama_factory, examples=(again,))
    assert not recipe.imported.unseen
    assert "may be memory" in text


# -------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return calling(capsys, "import")


def test_the_command(checkpoint: Path, rows: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    out = tmp_path / "press-recipe"
    code, said, _ = run(checkpoint, "--examples", rows, "--out", out)
    assert code == 0
    assert "Unsloth:" in said
    assert f"limpide run {out / RECIPE}" in said
    assert sorted(path.name for path in out.iterdir()) == ["import.json", RECIPE]
    code, _, said = run(checkpoint, "--examples", rows, "--out", out)
    assert code == 2
    assert "nothing is overwritten" in said


def test_the_next_commands_can_be_typed(checkpoint: Path, rows: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    _, out, _ = run(
        checkpoint, "--out", tmp_path / "press assistant", "--base", "smollm2-135m-instruct", "--examples", rows
    )
    assert f"limpide run '{tmp_path}/press assistant/recipe.yaml' --dry-run" in out


def test_the_command_as_json(llama_factory: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    record = json.loads(run(llama_factory, "--out", tmp_path / "out", "--json")[1])
    assert record["base"] == "hub:owner/Press-3B-Instruct@main"
    assert {"key": "lora_rank", "value": 16, "as": "adapt.rank"} in record["carried"]
