"""A classification head: it learns what is planted, plain peft and transformers load it, and bad labels are refused."""

import json
import signal
from pathlib import Path

import pytest
import torch

from labelled import LABELS, learn, row, rows, write
from limpide.adapt import head, head_training
from limpide.adapt.settings import TrainSettings
from limpide.core import digests, files
from limpide.core.errors import DataError, ModelError
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.examples import save_examples
from limpide.models.classifier import classify, encode_texts, logits, open_classifier
from limpide.models.model import open_model, quiet_transformers
from tiny import FAMILY_NAMES, tiny_folder

TEXTS = [example.prompt[0].content for example in rows(9, first=900)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("bert", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"), rows(90), rows(30, first=90))


@pytest.fixture(scope="module")
def learnt(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("learnt")
    return out, learn(base, data, out, epochs=8)


def accuracy(base: Path, out: Path) -> float:
    whole = (out / "model").is_dir()
    made = open_classifier(out / "model") if whole else open_classifier(base, adapter=out / "adapter")
    held_out = rows(30, first=90)
    found = classify(made, [example.prompt[0].content for example in held_out])
    return sum(max(p, key=p.__getitem__) == e.label for p, e in zip(found, held_out, strict=True)) / len(held_out)


def test_it_learns_which_word_decides(base: Path, learnt: tuple[Path, Result]) -> None:
    out, result = learnt
    assert accuracy(base, out) > 0.8
    curve = [line for line in files.read_jsonl(out / "losses.jsonl") if line["held_out"] is not None]
    assert [line["epoch"] for line in curve] == list(range(9))
    assert curve[-1]["held_out"] < 0.7 * curve[0]["held_out"]
    assert curve[-1]["macro_f1"] > curve[0]["macro_f1"]
    assert result.facts["labels"] == dict.fromkeys(LABELS, 30)
    assert result.facts["best_macro_f1"] == curve[-1]["macro_f1"]
    assert 0 <= result.facts["padding"] < 0.125
    assert not list(out.glob("checkpoint*"))


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_plain_libraries_load_every_family_with_the_same_logits(
    family: str, method: str, data: Path, tmp_path: Path
) -> None:
    """The head of a plain load starts from another seed: whatever was trained must come from the files."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    folder = tiny_folder(family, tmp_path)
    learn(folder, data, tmp_path / "out", method=method, epochs=1, step_tokens=512)
    adapter, whole = tmp_path / "out" / "adapter", tmp_path / "out" / "model"
    made = open_classifier(whole) if method == "full" else open_classifier(folder, adapter=adapter)
    torch.manual_seed(99)
    with quiet_transformers():
        if method == "full":
            plain = AutoModelForSequenceClassification.from_pretrained(whole)
        else:
            plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS))
            plain.config.pad_token_id = made.pad
            plain = PeftModel.from_pretrained(plain, str(adapter))
    plain.eval()
    ids = encode_texts(made, TEXTS)
    with torch.inference_mode():
        assert torch.allclose(logits(plain, ids, made.pad), logits(made.network, ids, made.pad), atol=1e-4)
    suffixes = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".jinja"}


@pytest.mark.parametrize("method", ["rslora", "dora"])
def test_other_adapters_carry_a_head_too(method: str, base: Path, data: Path, tmp_path: Path) -> None:
    learn(base, data, tmp_path, method=method, epochs=4)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["use_rslora" if method == "rslora" else "use_dora"] is True
    assert config["task_type"] == "SEQ_CLS"
    assert {"bert.pooler.dense", "classifier"} <= set(config["modules_to_save"])
    assert config["base_model_name_or_path"] == "bert"
    assert accuracy(base, tmp_path) > 0.4


def test_two_runs_are_equal_to_the_byte_and_the_seed_counts(base: Path, data: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        learn(base, data, tmp_path / name, epochs=1)
    assert digests.of_folder(tmp_path / "one" / "adapter") == digests.of_folder(tmp_path / "two" / "adapter")
    other = Subject(out=tmp_path, inputs={"data": data}, model=base, seed=4)
    head.run(other, TrainSettings(rank=4, epochs=1), Quiet())
    assert digests.of_folder(tmp_path / "adapter") != digests.of_folder(tmp_path / "one" / "adapter")


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_run_that_goes_on_ends_with_the_bytes_of_an_unbroken_one(
    how: str, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in what it runs behind itself
    learn(base, data, tmp_path / "unbroken", epochs=2)
    step, done = head_training._step, 0

    def breaks(state: head_training.State, chosen: list[head_training.Row]) -> float:
        nonlocal done
        done += 1
        if done == 6 and how == "killed":
            raise _KilledError
        if done == 6:
            signal.raise_signal(signal.SIGINT)
        return step(state, chosen)

    monkeypatch.setattr(head_training, "_step", breaks)
    with pytest.raises(_KilledError if how == "killed" else KeyboardInterrupt):
        learn(base, data, tmp_path / "broken", epochs=2, checkpoint_seconds=0)
    if how == "stopped":
        assert open_classifier(base, adapter=tmp_path / "broken" / "interrupted" / "adapter").labels == LABELS
    monkeypatch.setattr(head_training, "_step", step)
    learn(base, data, tmp_path / "broken", epochs=2)
    assert not (tmp_path / "broken" / "interrupted").exists()
    for name in ("adapter/adapter_model.safetensors", "losses.jsonl"):
        assert digests.of_file(tmp_path / "broken" / name) == digests.of_file(tmp_path / "unbroken" / name)


def test_how_an_update_is_cut_into_batches_changes_nothing(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []
    for name, budget in (("wide", 2048), ("narrow", 16)):
        wide = head_training.batches
        monkeypatch.setattr(head_training, "batches", lambda lengths, _wide=wide, _b=budget: _wide(lengths, _b))
        learn(base, data, tmp_path / name, epochs=1)
        losses.append([line["train"] for line in files.read_jsonl(tmp_path / name / "losses.jsonl") if line["train"]])
        monkeypatch.undo()
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0] != losses[1]  # the two were computed apart


def test_balanced_weights_let_a_rare_class_be_heard(base: Path, tmp_path: Path) -> None:
    """One class of eight texts among ninety: unweighted, a short training always says the common ones."""
    counts = {"water": 60, "people": 22, "time": 8}
    assert head.class_weights(counts, LABELS, balanced=True) == pytest.approx([90 / 66, 90 / 24, 90 / 180])
    assert head.class_weights(counts, LABELS, balanced=False) == [1.0, 1.0, 1.0]
    uneven = [row(k, label) for label, n in counts.items() for k in range(n)]
    uneven = [example.model_copy(update={"id": f"u{k}"}) for k, example in enumerate(uneven)]
    data = write(tmp_path / "data", uneven)
    rare = [row(k, "time").prompt[0].content for k in range(4)]
    share = {}
    for weights in ("none", "balanced"):
        learn(base, data, tmp_path / weights, epochs=2, class_weights=weights)
        made = open_classifier(base, adapter=tmp_path / weights / "adapter")
        share[weights] = sum(p["time"] for p in classify(made, rare))
    assert share["balanced"] > 1.5 * share["none"]


def test_rows_kept_aside_are_of_every_class_and_never_all_of_one(data: Path, tmp_path: Path) -> None:
    subject = Subject(out=tmp_path, inputs={"data": data}, seed=1)
    chosen = [row(k, "water") for k in range(60)] + [row(k, "time") for k in range(60, 78)] + [row(78, "people")] * 2
    chosen = [example.model_copy(update={"id": f"s{k}"}) for k, example in enumerate(chosen)]
    kept, aside = head._split(chosen, 0.1, subject)
    assert (len(kept), len(aside)) == (72, 8)
    assert {label: sum(e.label == label for e in aside) for label in ("water", "time")} == {"water": 6, "time": 2}
    assert sum(e.label == "people" for e in kept) == 2
    assert head._split(chosen, 0.01, subject)[1] == []


def test_macro_f1_by_definition() -> None:
    """Class 0: 2 right of 3 asked and 3 said; class 1: 1 of 2 and 2; class 2 is said once and never asked."""
    expected, said = [0, 0, 0, 1, 1], [0, 0, 1, 1, 0]
    assert head_training.macro_f1(expected, said) == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert head_training.macro_f1([0, 0], [0, 2]) == pytest.approx((2 / 3 + 0) / 2)


# ---------------------------------------------------------------------------------------------------- which models


def test_a_head_is_for_encoders_unless_it_is_asked_for(base: Path, data: Path, tmp_path: Path) -> None:
    llama = tiny_folder("llama", tmp_path)
    texts = write(tmp_path / "texts", [example.model_copy(update={"label": None}) for example in rows(6)])

    def asked(model: Path, given: Path, **settings: object) -> bool:
        return head.asked(Subject(out=tmp_path, inputs={"data": given}, model=model), TrainSettings(**settings))

    assert asked(base, data)
    assert not asked(base, texts)
    assert not asked(base, data, head=False)
    assert not asked(llama, data)
    assert asked(llama, data, head=True)


def test_the_step_of_a_recipe_trains_the_head(base: Path, data: Path, tmp_path: Path) -> None:
    from limpide.adapt.train import operation

    subject = Subject(out=tmp_path, inputs={"data": data}, model=base, seed=3)
    result = operation.run(subject, TrainSettings(rank=4, epochs=1), Quiet())
    assert result.facts["task"] == head.CLASSIFICATION
    assert json.loads((tmp_path / "adapter" / "labels.json").read_text()) == list(LABELS)


def test_an_adapter_with_a_head_is_no_model_of_words(base: Path, learnt: tuple[Path, Result], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds a classification head"):
        open_model(base, adapter=learnt[0] / "adapter")
    (tmp_path / "labels.json").write_text('{"not": "a list"}')
    with pytest.raises(ModelError, match="does not say which classes"):
        open_classifier(base, adapter=tmp_path)


# ------------------------------------------------------------------------------------------------------- bad input


def refused(data: Path) -> DataError:
    with pytest.raises(DataError) as told:
        head.read_rows(data)
    return told.value


def test_one_class_is_nothing_to_learn(tmp_path: Path) -> None:
    told = refused(write(tmp_path, [row(k, "water") for k in range(9)]))
    assert told.what == "A classifier needs two classes or more."
    assert told.received == "one class, 'water', in 9 training rows"


def test_every_fault_of_the_labels_is_told_with_its_line(tmp_path: Path) -> None:
    """A class of one row, a class that only the tests have, in both files; and nothing else is at fault."""
    train = [*rows(9), row(20, "smell", word="rose")]
    held_out = [*rows(3, first=30), row(40, "sound", word="bell")]
    data = write(tmp_path, train, held_out)
    save_examples(data / "unseen.jsonl", [row(50, "taste", word="salt")])
    told = refused(data)
    assert [str(fault) for fault in told.faults] == [
        "rows.csv:22: the only training row of the class 'smell'",
        "rows.csv:42: held out, of the class 'sound', which no training row has",
        "rows.csv:52: held out, of the class 'taste', which no training row has",
    ]
    assert "3 rows cannot be learnt" in told.what


def test_rows_without_a_label_are_listed(tmp_path: Path) -> None:
    unlabelled = [example.model_copy(update={"label": None}) for example in rows(30)]
    told = refused(write(tmp_path, [*rows(6, first=60), *unlabelled]))
    assert len(told.faults) == head.LISTED
    assert str(told.faults[0]) == "rows.csv:2: has no label"
    assert told.received == "10 rows more"


def test_ten_thousand_labels_are_free_text(tmp_path: Path) -> None:
    example = rows(1)[0].model_dump(mode="json")
    many = (
        {**example, "id": f"e{k}", "label": f"l{k}", "messages": _answering(example, f"l{k}")} for k in range(10_000)
    )
    files.write_jsonl(tmp_path / "train.jsonl", many)
    told = refused(tmp_path)
    assert "10000 different labels" in told.what
    assert str(told.received).startswith("'l0', 'l1', 'l10'")


def _answering(example: dict[str, object], answer: str) -> list[object]:
    messages = example["messages"]
    assert isinstance(messages, list)
    return [*messages[:-1], {"role": "assistant", "content": answer}]


def test_a_text_that_spells_a_control_token_is_refused(base: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data", [*rows(30), row(31, "water", word="[SEP]")])
    with pytest.raises(DataError, match="control token"):
        learn(base, data, tmp_path / "out")


def test_a_text_that_is_too_long_is_named(base: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data", [*rows(30), row(31, "water", word="valve " * 300)])
    with pytest.raises(DataError, match="longer than the model's context") as told:
        learn(base, data, tmp_path / "out")
    assert "rows.csv:33" in str(told.value)


def test_what_plays_no_part_is_said(base: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data", rows(24))
    (data / "passages.jsonl").write_text("")
    result = learn(base, data, tmp_path / "out", epochs=1, precision="bfloat16")
    assert any("adapt.precision, the documents" in said for said in result.warnings)
    assert any("fewer than 20 training rows: 'people' (8)" in said for said in result.warnings)
    assert any("Too few rows to keep some aside" in said for said in result.warnings)
    with pytest.raises(ModelError, match="over a whole base"):
        learn(base, data, tmp_path / "other", base_precision="4bit")


def test_a_learning_rate_that_blows_up_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    """Weights that are no numbers give a loss that is none."""
    from limpide.models.classifier import with_head

    made = with_head(base, LABELS)
    made.network.requires_grad_(True)
    with torch.no_grad():
        made.network.classifier.weight.fill_(float("nan"))
    plan = head._plan([head_training.Row((1, 2), 0)], TrainSettings(epochs=1), seed=0)
    state = head_training.start(made, plan, [1.0] * 3)
    with pytest.raises(ModelError, match="training loss of step 1 is not a number"):
        head_training._step(state, [head_training.Row((5, 6), 0)])


@pytest.mark.parametrize("layers", [1, "all"])
def test_the_head_learns_whichever_blocks_do(base: Path, data: Path, tmp_path: Path, layers: int | str) -> None:
    learn(base, data, tmp_path / "out", method="full", layers=layers, epochs=1)
    start = head.made(base, LABELS, TrainSettings(), seed=3).network.base_model.model
    before = start.classifier.original_module.state_dict()
    after = open_classifier(tmp_path / "out" / "model").network.classifier.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_a_trial_of_layers_that_is_not_made_is_said(base: Path, data: Path, tmp_path: Path) -> None:
    result = learn(base, data, tmp_path / "out", layers="auto", epochs=1)
    assert any("adapt.layers: auto" in warning for warning in result.warnings)


def test_a_search_that_is_not_made_is_said(base: Path, data: Path, tmp_path: Path) -> None:
    result = learn(base, data, tmp_path / "out", epochs=1, search={})
    assert any("adapt.search" in warning for warning in result.warnings)


def test_some_blocks_of_an_encoder_decoder_are_refused_with_what_to_do(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ModelError, match="every block") as caught:
        learn(tiny_folder("t5", tmp_path), data, tmp_path / "out", layers=1)
    assert caught.value.remedy == "leave out adapt.layers"
