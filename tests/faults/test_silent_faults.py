"""Faults that other tools let through, each put in on purpose: the default command finds it, and makes nothing."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapted import save_adapter
from limpide.adapt.loss import summed_loss
from limpide.adapt.packing import collate, pack
from limpide.models.model import open_model
from limpide.models.prompt import Rendered
from tiny import CHATML
from tiny_training import a_trainer, some_packs

from .conftest import Project, Said
from .faults_page import Fault, numbers, tell

RUN = "limpide run recipe.yaml"
NUMBER = re.compile(r"\d(\.\d+)?e[+-]\d+")  # another processor rounds it otherwise


def require(said: Said, code: int, *words: str) -> str:
    """What the page says of a command that stopped. Every word must be in its error."""
    text = " ".join(said.err.split())
    assert said.code == code, said.err
    assert "Traceback" not in said.err
    for word in words:
        assert word in text, said.err
    return f"exit code {code}: {said.first}"


def held(said: Said, *words: str) -> str:
    """What the certificate says of a release that it stopped. Every word must be in one of its sentences."""
    assert said.code == 3, said.err
    sentences = [line.removeprefix("warning: ") for line in said.err.splitlines() if "parity, " in line]
    found = [line for line in sentences if all(word in line for word in words)]
    assert found, said.err
    return f"exit code 3: {NUMBER.sub('…', found[0])}"


def template(project: Project, text: str) -> None:
    (project.base / "chat_template.jinja").write_text(text, encoding="utf-8")


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_no_fault_no_alarm(whole: Path) -> None:
    assert (whole / "releases" / "press-1.0.0" / "model.sig").is_file()


def test_template_without_generation_marks(project: Project, request: pytest.FixtureRequest) -> None:
    """The mask comes from the conversation, turn by turn, and needs no marks in the template."""
    assert "generation %}" not in CHATML
    said = project.run("data", "show", "examples.jsonl", "--model", "llama", "--rows", "1", "--json")
    tokens = json.loads(said.out)[0]["tokens"]
    trained = "".join(token["text"] for token in tokens if token["trained"])
    assert trained == "Stop the pump, then call.<|im_end|>"
    what = "cannot happen: the mask comes from the conversation; the answer and its end token are trained, nothing else"
    fault = Fault("1", "the chat template has no generation marks, so that nothing is trained")
    tell(request, fault, "limpide data show", what)


def test_mask_over_everything(project: Project, request: pytest.FixtureRequest) -> None:
    template(
        project,
        "{% for m in messages if m.role == 'assistant' %}{{ m.content }}<|im_end|>{% endfor %}",
    )
    said = require(project.run("run", "recipe.yaml"), 2, "trains every token")
    assert project.nothing_made()
    tell(request, Fault("2", "the loss is taken over the whole conversation"), RUN, said)


def test_doubled_bos(project: Project, request: pytest.FixtureRequest) -> None:
    template(project, "{{ bos_token }}{{ bos_token }}" + CHATML)
    said = require(project.run("run", "recipe.yaml"), 2, "two BOS tokens")
    assert project.nothing_made()
    tell(request, Fault("3", "two BOS tokens at the start"), RUN, said)


def test_no_end_token(project: Project, request: pytest.FixtureRequest) -> None:
    template(project, CHATML.replace("'<|im_end|>\\n'", "'\\n'"))
    said = require(project.run("run", "recipe.yaml"), 2, "no end token")
    assert project.nothing_made()
    tell(request, Fault("4", "answers without an end token: the model never learns to stop"), RUN, said)


def test_wrong_end_in_the_export(released: Project, request: pytest.FixtureRequest) -> None:
    released.again_from("export")
    reader = gguf.GGUFReader(released.step("export") / "gguf" / "model-f16.gguf", "r+")
    reader.fields["tokenizer.ggml.eos_token_id"].parts[-1][0] = 2
    reader.data.flush()
    said = held(released.run("run", "recipe.yaml"), "stops at token 2")
    assert released.nothing_made()
    tell(request, Fault("5", "another end token in the exported file"), RUN, said)


def test_role_typo(project: Project, request: pytest.FixtureRequest) -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "asistant", "content": "Because."}]
    project.examples.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    said = require(project.run("run", "recipe.yaml"), 2, "unknown role 'asistant'", "'assistant'", "examples.jsonl:1")
    assert project.nothing_made()
    tell(request, Fault("6", "a role misspelt in one row"), RUN, said)


def test_malformed_rows(project: Project, request: pytest.FixtureRequest) -> None:
    def spoil(rows: list[dict[str, Any]]) -> None:
        for row in rows[::3]:
            row.pop("answer")

    project.rows(spoil)
    said = require(project.run("run", "recipe.yaml"), 2, "8 things are wrong", "examples.jsonl:22")
    assert project.nothing_made()
    tell(request, Fault("7", "a third of the rows malformed"), RUN, said)


@pytest.mark.parametrize("near", [False, True], ids=["exact", "near"])
def test_leakage(project: Project, request: pytest.FixtureRequest, near: bool) -> None:
    def leak(rows: list[dict[str, Any]]) -> None:
        for place, row in enumerate(rows):
            row["split"] = "held_out" if place % 3 == 0 else "train"
        longer = " when the oil pressure of the main hydraulic circuit falls below its threshold during a night shift"
        rows[1]["prompt"] = f"What should the operator do first{longer}?"
        rows[3]["prompt"] = f"What should an operator do first{longer}?" if near else rows[1]["prompt"]

    project.rows(leak)
    said = require(project.run("run", "recipe.yaml"), 2, "examples.jsonl:2", "examples.jsonl:4")
    assert project.nothing_made()
    title = "a held-out question that is nearly one of training" if near else "a held-out question is in training"
    tell(request, Fault("8b" if near else "8a", title), RUN, said)


def test_adapter_of_zeros(released: Project, request: pytest.FixtureRequest) -> None:
    released.again_from("adapt")
    save_adapter(released.base, released.step("adapt") / "adapter", 0.0)
    said = held(released.run("run", "recipe.yaml"), "changes nothing")
    assert released.nothing_made()
    tell(request, Fault("9a", "an adapter that changes nothing"), RUN, said)


def test_adapter_under_wrong_names(released: Project, request: pytest.FixtureRequest) -> None:
    released.again_from("adapt")
    path = released.step("adapt") / "adapter" / "adapter_model.safetensors"
    save_file({name.replace(".layers.", ".blocks."): w for name, w in load_file(path).items()}, path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
        said = held(released.run("run", "recipe.yaml"), "changes nothing")
    assert released.nothing_made()
    tell(request, Fault("9b", "an adapter saved under names that the loader passes over"), RUN, said)


def test_adapter_lost_in_the_merge(released: Project, request: pytest.FixtureRequest) -> None:
    released.again_from("export")
    merged = released.step("export") / "merged" / "model.safetensors"
    weights = load_file(released.base / "model.safetensors")
    save_file({name: w.to(load_file(merged)[name].dtype) for name, w in weights.items()}, merged, {"format": "pt"})
    said = held(released.run("run", "recipe.yaml"), "merged", "divergence from the adapted model")
    assert released.nothing_made()
    tell(request, Fault("10", "rounding in the merge that erases the adapter"), RUN, said)


def test_answer_cut_off(project: Project, request: pytest.FixtureRequest) -> None:
    project.rows(lambda rows: rows[0].update(prompt="Why is the press red? " * 60))
    said = require(project.run("run", "recipe.yaml"), 2, "longer than the model's context", "examples.jsonl:1")
    assert project.nothing_made()
    tell(request, Fault("11", "a row so long that its answer would be cut off"), RUN, said)


def test_one_byte_of_the_weights(released: Project, request: pytest.FixtureRequest) -> None:
    path = released.release / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said = released.run("verify", released.release, "--key", released.public)
    served = released.run("serve", released.release, "--key", released.public, "--port", "0")
    require(served, 6, "model.safetensors")
    told = require(said, 6, "model.safetensors")
    tell(
        request,
        Fault("12", "one byte of the weights changed"),
        "limpide verify",
        f"{told} `limpide serve` refuses too.",
    )


def test_two_ids_swapped(released: Project, request: pytest.FixtureRequest) -> None:
    released.again_from("export")

    def swap(rules: dict[str, Any]) -> None:
        words = rules["model"]["vocab"]
        words["a"], words["e"] = words["e"], words["a"]

    edit_json(released.step("export") / "merged" / "tokenizer.json", swap)
    said = held(released.run("run", "recipe.yaml"), "merged", "2 tokens of the vocabulary have another id")
    assert released.nothing_made()
    tell(request, Fault("13", "two ids swapped in the exported tokenizer"), RUN, said)


def test_template_changed_after_signing(released: Project, request: pytest.FixtureRequest) -> None:
    path = released.release / "chat_template.jinja"
    path.write_text(path.read_text(encoding="utf-8").replace("assistant", "Assistant"), encoding="utf-8")
    said = released.run("ask", released.release, "Why?", "--key", released.public)
    told = require(said, 6, "chat_template.jinja")
    tell(request, Fault("14", "the chat template changed after signing"), "limpide ask", told)


def test_licence_inherited_wrongly(project: Project, request: pytest.FixtureRequest) -> None:
    (project.base / "LICENSE").write_text("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n", encoding="utf-8")
    (project.base / "README.md").write_text("---\nlicense: llama3.2\n---\n", encoding="utf-8")
    text = project.recipe.read_text(encoding="utf-8")
    claimed = text.replace("release: {", "release: {licence: apache-2.0, ")
    project.recipe.write_text(claimed, encoding="utf-8")
    said = require(project.run("run", "recipe.yaml"), 2, "licence", "apache-2.0", "llama3.2")
    assert project.nothing_made()
    tell(request, Fault("15", "Apache claimed over a base under Llama's licence"), RUN, said)


def test_personal_data(project: Project, request: pytest.FixtureRequest) -> None:
    project.rows(lambda rows: rows[4].update(answer="Write to marie.durand@usine-exemple.fr."))
    said = require(project.run("run", "recipe.yaml"), 2, "examples.jsonl:5", "e-mail address")
    assert "marie.durand" not in said
    assert project.nothing_made()
    tell(request, Fault("16", "an e-mail address in the examples"), RUN, said)


def test_packed_rows_that_see_each_other(tiny_model: Callable[[str], Any], request: pytest.FixtureRequest) -> None:
    model = tiny_model("llama")
    rows = [_random_row(seed, size) for seed, size in enumerate((17, 9, 24, 13))]
    with torch.inference_mode():
        together = float(summed_loss(model.network, model.family, collate(pack(rows, 200), 0)))
        apart = sum(float(summed_loss(model.network, model.family, collate(pack([row], 1), 0))) for row in rows)
    assert together == pytest.approx(apart, abs=1e-4)
    what = "cannot happen: rows packed together give the loss of the same rows apart, to 1e-4 nats"
    tell(request, Fault("17", "packed rows that see each other"), RUN, what)


def _random_row(seed: int, size: int) -> Rendered:
    ids = tuple(torch.randint(6, 400, (size,), generator=torch.Generator().manual_seed(seed)).tolist())
    return Rendered("", ids, tuple(size // 2 <= i < size - 1 for i in range(size)), ("",) * size, size // 2)


def test_adapter_made_before_the_seed(tiny_path: Callable[[str], Path], request: pytest.FixtureRequest) -> None:
    """Whatever was drawn before, the same seed starts the same adapter; another one does not."""
    starts = []
    for before in (1, 2):
        torch.manual_seed(before)
        starts.append({n: w.detach().clone() for n, w in a_trainer(open_model(tiny_path("llama"))).masters.items()})
    assert all(torch.equal(weight, starts[1][name]) for name, weight in starts[0].items())
    assert any(weight.abs().sum() > 0 for weight in starts[0].values())
    what = "cannot happen: equal seeds start equal adapters, whatever was drawn before"
    tell(request, Fault("18", "the adapter is drawn before the seed is set"), RUN, what)


def test_accumulation_changes_the_loss(tiny_path: Callable[[str], Path], request: pytest.FixtureRequest) -> None:
    """The gradient of a step is the same whether its packs are read at once or one by one."""
    from limpide.adapt.training import _gradients

    found = []
    for micro in (1, 8):
        model = open_model(tiny_path("llama"))
        state = a_trainer(model, micro)
        loss = _gradients(state, some_packs(model))
        found.append((loss, {name: m.grad for name, m in state.masters.items() if m.grad is not None}))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=1e-5, rtol=1e-4)
    what = "cannot happen: a step cut into pieces has the loss and the gradient of the whole step"
    tell(request, Fault("19", "gradient accumulation that changes the loss"), RUN, what)


def test_prompt_longer_than_the_context(released: Project, request: pytest.FixtureRequest) -> None:
    said = released.run("ask", released.release, "Why is the press red? " * 60, "--key", released.public)
    told = require(said, 2, "256")
    tell(request, Fault("20", "a prompt longer than the context is cut in silence"), "limpide ask", told)


def test_pickled_weights(project: Project, request: pytest.FixtureRequest) -> None:
    (project.base / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    said = require(project.run("run", "recipe.yaml"), 5, "pytorch_model.bin")
    assert project.nothing_made()
    tell(request, Fault("21a", "pickled weights in the base, which can run code"), RUN, said)


def test_code_named_by_the_config(project: Project, request: pytest.FixtureRequest) -> None:
    edit_json(project.base / "config.json", lambda c: c.update(auto_map={"AutoModel": "evil.Model"}))
    said = require(project.run("run", "recipe.yaml"), 5, "auto_map")
    assert project.nothing_made()
    tell(request, Fault("21b", "a base whose config names code to run"), RUN, said)


def test_template_of_the_gguf_differs(released: Project, request: pytest.FixtureRequest) -> None:
    released.again_from("export")
    path = released.step("export") / "gguf" / "model-f16.gguf"
    path.write_bytes(path.read_bytes().replace(b"|>assistant\\n'", b"|>Assistant\\n'"))
    said = held(released.run("run", "recipe.yaml"), "gguf:f16", "byte for byte")
    assert released.nothing_made()
    tell(request, Fault("22", "a GGUF whose chat template is not the tokenizer's"), RUN, said)


def test_the_page_has_every_fault() -> None:
    assert {number.rstrip("ab") for number in numbers()} == {str(number) for number in range(1, 23)}
