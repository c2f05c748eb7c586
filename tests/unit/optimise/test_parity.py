"""The certificate passes what was exported well, and each fault made on purpose fails the check that names it."""

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapted import Steps, make_steps, save_adapter
from limpide.core.errors import DataError
from limpide.core.operation import Result
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message
from limpide.models import scoring
from limpide.models.model import open_model
from limpide.optimise import export, parity
from limpide.optimise.gguf_writer import write_gguf
from limpide.optimise.parity import Check, ParitySettings, Probe, Served, largest_disagreement, lumped_divergence
from threads import one_thread

SETTINGS = ParitySettings(conversations=4, answer_tokens=8)
STOP = 5


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    steps = make_steps(tmp_path_factory.mktemp("steps") / "sound")
    export.run(steps.subject("export"), export.ExportSettings(), Quiet())
    return steps


@pytest.fixture
def steps(sound: Steps, tmp_path: Path) -> Steps:
    """A copy with GGUF F16 alone, to be damaged."""
    copied = sound.copy(tmp_path / "steps")
    (copied.root / "export" / "gguf" / "model-q8_0.gguf").unlink()
    return copied


def certify(steps: Steps, settings: ParitySettings = SETTINGS, *, adapt: bool = True) -> Result:
    return parity.run(steps.subject("parity", adapt=adapt), settings, Quiet())


def failed(steps: Steps, settings: ParitySettings = SETTINGS) -> set[str]:
    """'target: name' of the failed checks; the record, the warnings and `passed` must tell the same."""
    found = certify(steps, settings)
    names = {f"{c['target']}: {c['name']}" for c in found.facts["checks"] if not c["passed"]}
    assert found.facts["passed"] is not bool(names)
    assert len(found.warnings) == sum(not c["passed"] for c in found.facts["checks"])
    assert json.loads((steps.root / "parity" / "parity.json").read_text()) == found.facts
    return names


def f16(steps: Steps) -> Path:
    return steps.root / "export" / "gguf" / "model-f16.gguf"


def merged(steps: Steps) -> Path:
    return steps.root / "export" / "merged"


def edit(path: Path, change: Callable[[gguf.GGUFReader], None]) -> None:
    """Change a GGUF file in place."""
    reader = gguf.GGUFReader(path, "r+")
    change(reader)
    reader.data.flush()


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def put(key: str, value: int) -> Callable[[gguf.GGUFReader], None]:
    def change(reader: gguf.GGUFReader) -> None:
        reader.fields[key].parts[-1][0] = value

    return change


def test_a_sound_export_passes(sound: Steps) -> None:
    found = certify(sound)
    assert found.facts["passed"] is True
    assert found.warnings == ()
    checks = {(c["target"], c["name"]): c for c in found.facts["checks"]}
    names = ("stop ids", "prompt bytes", "token ids", "distributions", "adapter kept", "greedy text")
    assert checks.keys() == {
        ("adapter", "adapter acts"),
        ("merged", "chat template"),
        *(("merged", name) for name in ("stop ids", "token ids", "distributions", "adapter kept")),
        *((f"gguf:{kind}", name) for kind in ("f16", "q8_0") for name in names),
    }
    assert checks["adapter", "adapter acts"]["value"] > 0.01
    assert checks["merged", "distributions"]["value"] < checks["gguf:q8_0", "distributions"]["value"]
    assert checks["gguf:f16", "adapter kept"]["value"] < 0.01
    assert "with 0 BOS" in checks["gguf:f16", "token ids"]["sentence"]


def test_a_sound_export_of_a_template_with_bos_passes(tmp_path: Path) -> None:
    steps = make_steps(tmp_path / "steps", bos=True)
    export.run(steps.subject("export"), export.ExportSettings(formats=("gguf:f16",)), Quiet())
    found = certify(steps)
    assert found.facts["passed"] is True, found.warnings
    assert any("with 1 BOS" in c["sentence"] for c in found.facts["checks"])
    edit(f16(steps), put("tokenizer.ggml.add_bos_token", 1))
    assert failed(steps) == {"gguf:f16: prompt bytes", "gguf:f16: token ids"}
    assert any("with 2 BOS" in warning for warning in certify(steps).warnings)


def test_a_bos_that_only_the_runtime_adds(steps: Steps) -> None:
    edit(f16(steps), put("tokenizer.ggml.add_bos_token", 1))
    assert failed(steps) == {"gguf:f16: token ids"}


def test_without_an_adapter_the_base_passes(sound: Steps, tmp_path: Path) -> None:
    steps = sound.copy(tmp_path / "steps")
    subject = steps.subject("export", adapt=False)
    export.run(subject, export.ExportSettings(), Quiet())
    found = certify(steps, adapt=False)
    assert found.facts["passed"] is True, found.warnings
    assert not any(c["name"].startswith("adapter") for c in found.facts["checks"])


def test_swapped_stop_token_in_the_gguf(steps: Steps) -> None:
    edit(f16(steps), put("tokenizer.ggml.eos_token_id", 2))
    assert failed(steps) == {"gguf:f16: stop ids"}


def test_stop_token_that_llama_cpp_does_not_obey(steps: Steps) -> None:
    """The file's own field is right, but the folder also stops at 'the', and llama.cpp knows nothing of it."""
    for folder in (steps.base, merged(steps)):
        edit_json(folder / "generation_config.json", lambda c: c.update(eos_token_id=[STOP, 300]))
    assert "gguf:f16: stop ids" in failed(steps)
    assert any("goes on after [300]" in warning for warning in certify(steps).warnings)


def test_swapped_stop_token_in_the_generation_config(steps: Steps) -> None:
    edit_json(merged(steps) / "generation_config.json", lambda c: c.update(eos_token_id=2))
    assert "merged: stop ids" in failed(steps)


def test_swapped_stop_token_in_the_tokenizer(steps: Steps) -> None:
    edit_json(merged(steps) / "tokenizer_config.json", lambda c: c.update(eos_token="</s>"))
    assert {"merged: stop ids", "gguf:f16: stop ids"} <= failed(steps)


def test_changed_chat_template_in_the_gguf(steps: Steps) -> None:
    data = f16(steps).read_bytes()
    assert data.count(b"|>assistant\\n'") == 1
    f16(steps).write_bytes(data.replace(b"|>assistant\\n'", b"|>Assistant\\n'"))
    assert failed(steps) == {"gguf:f16: prompt bytes"}


def test_changed_chat_template_in_the_folder(steps: Steps) -> None:
    path = merged(steps) / "chat_template.jinja"
    path.write_text(path.read_text().replace("|>assistant", "|>Assistant"))
    assert failed(steps) == {"merged: chat template"}


def test_an_adapter_of_zeros(steps: Steps) -> None:
    save_adapter(steps.base, steps.root / "adapt" / "adapter", 0.0)
    export.run(steps.subject("export"), export.ExportSettings(formats=("gguf:f16",)), Quiet())
    assert failed(steps) == {"adapter: adapter acts"}


def test_an_adapter_with_wrong_names(steps: Steps) -> None:
    path = steps.root / "adapt" / "adapter" / "adapter_model.safetensors"
    save_file({name.replace(".layers.", ".blocks."): w for name, w in load_file(path).items()}, path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
        export.run(steps.subject("export"), export.ExportSettings(formats=("gguf:f16",)), Quiet())
        assert failed(steps) == {"adapter: adapter acts"}


def test_base_weights_in_the_folder(steps: Steps) -> None:
    save_file(load_file(steps.base / "model.safetensors"), merged(steps) / "model.safetensors", {"format": "pt"})
    assert {"merged: distributions", "merged: adapter kept"} <= failed(steps)


def test_base_weights_in_the_gguf(steps: Steps) -> None:
    write_gguf(steps.base, f16(steps), "f16")
    names = failed(steps)
    assert {"gguf:f16: distributions", "gguf:f16: adapter kept"} <= names
    assert not any(name.startswith("merged") for name in names)


def test_a_light_adapter_that_rounding_erases(tmp_path: Path) -> None:
    """Its effect is under these limits in nats, so only the comparison with the base can see that it is gone."""
    steps = make_steps(tmp_path / "steps", strength=0.004)
    settings = ParitySettings(conversations=4, answer_tokens=4, f16_divergence=1.0, merged_divergence=1.0, flips=1.0)
    export.run(steps.subject("export"), export.ExportSettings(formats=("gguf:f16",)), Quiet())
    assert failed(steps, settings) == set()
    export.run(steps.subject("export", adapt=False), export.ExportSettings(formats=("gguf:f16",)), Quiet())
    assert failed(steps, settings) == {"merged: adapter kept", "gguf:f16: adapter kept"}


def test_a_perturbed_tensor_in_the_gguf(steps: Steps) -> None:
    def change(reader: gguf.GGUFReader) -> None:
        tensor = next(t for t in reader.tensors if t.name == "blk.1.attn_q.weight")
        tensor.data[:] = tensor.data[::-1].copy()

    edit(f16(steps), change)
    assert {"gguf:f16: distributions"} <= failed(steps) <= {
        "gguf:f16: distributions", "gguf:f16: greedy text", "gguf:f16: adapter kept"
    }  # fmt: skip


def test_a_perturbed_tensor_in_the_folder(steps: Steps) -> None:
    path = merged(steps) / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.down_proj.weight"] *= -1
    save_file(weights, path, {"format": "pt"})
    assert "merged: distributions" in failed(steps)


def test_weights_that_are_no_numbers(steps: Steps) -> None:
    """A divergence that is not a number must fail, and still be written as JSON."""
    path = merged(steps) / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, path, {"format": "pt"})
    assert {"merged: distributions", "merged: adapter kept", "gguf:f16: distributions"} <= failed(steps)


def test_two_swapped_ids_in_the_gguf(steps: Steps) -> None:
    def change(reader: gguf.GGUFReader) -> None:
        field = reader.fields["tokenizer.ggml.tokens"]
        words = [field.parts[i] for i in field.data]
        left, right = words[80], words[81]
        assert len(left) == len(right)
        left[:], right[:] = right.copy(), left.copy()

    edit(f16(steps), change)
    names = failed(steps)
    assert names == {"gguf:f16: token ids"}
    assert any("2 tokens of the vocabulary have another id" in w for w in certify(steps).warnings)


def test_two_swapped_ids_in_the_folder(steps: Steps) -> None:
    def change(rules: dict[str, Any]) -> None:
        words = rules["model"]["vocab"]
        words["a"], words["e"] = words["e"], words["a"]

    edit_json(merged(steps) / "tokenizer.json", change)
    assert {"merged: token ids", "gguf:f16: token ids"} <= failed(steps)
    assert "merged: distributions" not in failed(steps)


def test_merges_lost_in_the_gguf(steps: Steps) -> None:
    """The vocabulary is the same, and text is cut otherwise."""

    def change(reader: gguf.GGUFReader) -> None:
        field = reader.fields["tokenizer.ggml.merges"]
        for i in field.data[:40]:
            field.parts[i][:] = np.frombuffer(b"~" * (len(field.parts[i]) - 2) + b" ~", np.uint8)

    edit(f16(steps), change)
    assert failed(steps) == {"gguf:f16: token ids"}


def test_no_conversation(steps: Steps) -> None:
    for name in ("train", "held_out"):
        (steps.root / "data" / f"{name}.jsonl").write_text("")
    with pytest.raises(DataError, match="no conversation") as caught:
        certify(steps)
    assert caught.value.exit_code == 2


def test_probes_are_seeded_and_held_out_first(sound: Steps) -> None:
    model = open_model(sound.base)
    data = sound.root / "data"
    chosen = [p.example.id for p in parity.choose_probes(model, data, 4, seed=1)]
    assert set(chosen[:2]) == {"e0", "e1"}
    assert chosen == [p.example.id for p in parity.choose_probes(model, data, 4, seed=1)]
    assert chosen != [p.example.id for p in parity.choose_probes(model, data, 4, seed=2)]
    assert len(parity.choose_probes(model, data, 99, seed=1)) == 8
    probe = parity.choose_probes(model, data, 4, seed=1)[0]
    assert probe.whole[: len(probe.prompt)] == probe.prompt
    assert probe.whole[-1] == STOP
    assert model.tokenizer.decode(probe.prompt) == probe.text


class FakeEngine:
    def __init__(self, tokens: Sequence[int]) -> None:
        self.answer = {"tokens": list(tokens)}

    def complete(self, prompt: Sequence[int], **_: Any) -> dict[str, Any]:
        return self.answer


def text_check(
    monkeypatch: pytest.MonkeyPatch, rows: list[list[float]], tokens: Sequence[int], target: str = "gguf:f16"
) -> Check:
    """The check of one conversation where the folder has probabilities `rows` and llama.cpp wrote `tokens`."""

    def fake(model: Any, ids: Sequence[int], last: int) -> torch.Tensor:
        assert tuple(ids) == (0, 1, *tokens[:-1])
        assert last == len(tokens)
        return torch.tensor(rows).log()

    monkeypatch.setattr(scoring, "log_probabilities", fake)
    messages = (Message(role="user", content="q"), Message(role="assistant", content="a"))
    probe = Probe(Example(id="e", messages=messages, source="f:1"), "q", (0, 1), (0, 1, 2))
    engine: Any = FakeEngine(tokens)
    model: Any = None
    return parity._text_check(engine, model, [probe], target, SETTINGS)


LIKES_0, LIKES_1, TIE = [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.45, 0.44, 0.11]  # probabilities of the tokens 0, 1, 2


@pytest.mark.parametrize(
    ("rows", "tokens", "words"),
    [
        ([LIKES_0, LIKES_1], (0, 1), "1 of 1 greedy answers are the same; 0 part at a near tie, 0 elsewhere"),
        ([LIKES_0, TIE], (0, 1), "0 of 1 greedy answers are the same; 1 part at a near tie, 0 elsewhere"),
        ([LIKES_0, LIKES_0], (0, 1), "0 of 1 greedy answers are the same; 0 part at a near tie, 1 elsewhere"),
        ([TIE, LIKES_0], (1, 1), "0 of 1 greedy answers are the same; 0 part at a near tie, 1 elsewhere"),
        ([LIKES_0, [math.nan] * 3], (0, 0), "0 of 1 greedy answers are the same; 0 part at a near tie, 1 elsewhere"),
    ],
    ids=["same", "near tie", "flip", "flip after a tie", "not a number"],
)
def test_near_ties_are_counted_apart(
    monkeypatch: pytest.MonkeyPatch, rows: list[list[float]], tokens: tuple[int, ...], words: str
) -> None:
    check = text_check(monkeypatch, rows, tokens)
    assert words in check.sentence
    assert check.passed is ("0 elsewhere" in words)


def test_a_wider_format_has_wider_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[0.5, 0.37, 0.13]]  # token 0 is preferred to token 1 by 0.3 nats
    assert "0 part at a near tie, 1 elsewhere" in text_check(monkeypatch, rows, (1,), "gguf:f16").sentence
    assert "1 part at a near tie, 0 elsewhere" in text_check(monkeypatch, rows, (1,), "gguf:q8_0").sentence


def test_the_allowed_share_of_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    check = text_check(monkeypatch, [LIKES_0], (1,))
    assert (check.value, check.limit, check.passed) == (1.0, 0.0, False)


def test_largest_disagreement_of_a_model(sound: Steps) -> None:
    model = open_model(sound.base)
    prompt = (4, 90, 91, 7)
    greedy = list(prompt)
    for _ in range(4):
        greedy.append(int(scoring.log_probabilities(model, greedy, 1).argmax()))
    written = tuple(greedy[4:])
    assert largest_disagreement(model, prompt, written) == 0.0
    assert largest_disagreement(model, prompt, ()) == 0.0
    row = scoring.log_probabilities(model, prompt, 1)[0]
    second = int(row.topk(2).indices[1])
    assert largest_disagreement(model, prompt, (second,)) == pytest.approx(float(row.max() - row[second]), abs=1e-5)


def test_lumped_divergence() -> None:
    random = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 50, generator=random).log_softmax(-1)
    whole = float((p.exp() * (p - q)).sum())
    order = q.argsort(descending=True)
    every = [lumped_divergence(p, Served(order[:n], q[order[:n]])) for n in (1, 10, 40, 50)]
    assert every[-1] == pytest.approx(whole, rel=1e-5)
    assert every == sorted(every)
    assert lumped_divergence(p, Served(order, p[order])) == pytest.approx(0.0, abs=1e-6)
    assert lumped_divergence(p, Served(order[:5], p[order[:5]])) == pytest.approx(0.0, abs=1e-6)
    assert lumped_divergence(torch.full((50,), math.nan), Served(order, q)) == math.inf
    assert lumped_divergence(p, Served(order, torch.full((50,), math.nan))) == math.inf
    # All of the served mass is on a token that p does not have.
    assert lumped_divergence(p, Served(torch.tensor([0]), torch.tensor([0.0]))) > 10
