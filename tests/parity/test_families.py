"""What each family can do, found by doing it and compared with the plainest use of `transformers`.

`pytest tests/parity/test_families.py --write-capabilities` writes what is found to `capabilities.json`; without the
option, the tests fail where the file says something else.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.adapt.correct.counterfactual import CounterfactualSettings
from limpide.adapt.correct.counterfactual import run as run_counterfactual
from limpide.adapt.settings import TrainSettings
from limpide.adapt.train import run as adapt
from limpide.core import files
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message, save_examples
from limpide.models import sources
from limpide.models.encoding import encode_requests
from limpide.models.families import capabilities
from limpide.models.families.registry import FAMILIES
from limpide.models.generation import generate
from limpide.models.model import Model, open_model
from limpide.models.prompt import prompt_ids, source_of
from limpide.models.requests import Request
from limpide.models.scoring import score
from limpide.models.update import applied, fold, load_update
from limpide.optimise.gguf_writer import write_gguf
from limpide.understand.explain import EXPLANATION, ExplainSettings
from limpide.understand.explain import run as run_explain
from limpide.understand.question import ask
from tiny import FAMILY_NAMES, tiny_folder

REQUESTS = [
    Request("short", "The press is", " hot"),
    Request("shares its context", "The press is", " cold and slow, étage"),
    Request("shares a beginning", "The press was", " hot"),
    Request("longer than the window", "A much longer text about many things, that goes on", " here we are"),
    Request("no context", "", "All of it"),
    Request("again", "The press is", " hot"),
]
PROMPTS = [
    [Message(role="user", content="Why is the light red?")],
    [Message(role="user", content="Stop")],
    [Message(role="user", content="Quand la pression tombe, que fait la vanne, et qui faut-il prévenir d'abord ?")],
]
NEW_TOKENS = 8


def naive_log_likelihoods(model: Model, request: Request) -> list[float]:
    """Nats of each continuation token, one forward a request (one a masked token for an encoder), no batch."""
    (item,) = encode_requests(model, [request])
    context, target = item.context, item.continuation
    with torch.inference_mode():
        if model.kind == "encoder":
            return [_masked(model, context, target, k) for k in range(len(target))]
        if model.kind == "encoder-decoder":
            output = model.network(input_ids=torch.tensor([context]), labels=torch.tensor([target]))
            rows = output.logits[0]
        else:
            rows = model.network(input_ids=torch.tensor([context + target])).logits[0, len(context) - 1 : -1]
        return [float(row.log_softmax(-1)[token]) for row, token in zip(rows, target, strict=True)]


def _masked(model: Model, context: Sequence[int], target: Sequence[int], k: int) -> float:
    ids = [model.tokenizer.cls_token_id, *context, *target, model.tokenizer.sep_token_id]
    at = 1 + len(context) + k
    ids[at] = model.tokenizer.mask_token_id
    return float(model.network(input_ids=torch.tensor([ids])).logits[0, at].log_softmax(-1)[target[k]])


def naive_answer(model: Model, messages: Sequence[Message], new_tokens: int = NEW_TOKENS) -> str:
    """The most likely token again and again: one whole forward a token, no cache, no batch."""
    encodes_apart = model.kind == "encoder-decoder"
    source = torch.tensor([model.tokenizer(source_of(messages))["input_ids"]]) if encodes_apart else None
    start = [model.network.config.decoder_start_token_id] if encodes_apart else prompt_ids(model.tokenizer, messages)
    written: list[int] = []
    with torch.inference_mode():
        while len(written) < new_tokens and not (written and written[-1] in model.stop_ids):
            ids = torch.tensor([start + written])
            inputs = {"input_ids": source, "decoder_input_ids": ids} if encodes_apart else {"input_ids": ids}
            written.append(int(model.network(**inputs).logits[0, -1].argmax()))
    return str(model.tokenizer.decode(written, skip_special_tokens=True))


def opens(folder: Path, out: Path) -> None:
    source = sources.resolve(str(folder))
    assert open_model(source.folder).digest == source.digest


def scores(folder: Path, out: Path) -> None:
    model = open_model(folder)
    for request, found in zip(REQUESTS, score(model, REQUESTS), strict=True):
        expected = naive_log_likelihoods(model, request)
        assert found.token_log_likelihoods == pytest.approx(expected, abs=1e-4), request.id
        assert found.log_likelihood == pytest.approx(sum(expected), abs=1e-4), request.id


def generates(folder: Path, out: Path) -> None:
    model = open_model(folder)
    answers = generate(model, PROMPTS, max_new_tokens=NEW_TOKENS)
    assert answers == [naive_answer(model, prompt) for prompt in PROMPTS]
    assert any(answers)


def adapts(folder: Path, out: Path) -> None:
    """One step; then the adapter, opened by peft on a fresh base, must answer what training left in memory."""
    from peft import PeftModel

    messages = (*PROMPTS[0], Message(role="assistant", content="The pump is stopped."))
    (out / "data").mkdir()
    save_examples(out / "data" / "train.jsonl", [Example(id="a", messages=messages, source="x.jsonl:1")])
    settings = TrainSettings(rank=2, epochs=1, precision="float32", canary=False, learning_rate=0.05)
    subject = Subject(out=out, inputs={"data": out / "data"}, model=folder)
    assert adapt(subject, settings, Quiet()).facts["steps"] == 1

    before = score(open_model(folder), REQUESTS)
    model = open_model(folder, adapter=out / "adapter")
    after = score(model, REQUESTS)
    assert isinstance(model.network, PeftModel)
    assert max(abs(a.log_likelihood - b.log_likelihood) for a, b in zip(after, before, strict=True)) > 1e-2
    for request, found in zip(REQUESTS, after, strict=True):
        assert found.log_likelihood == pytest.approx(sum(naive_log_likelihoods(model, request)), abs=1e-4)
    merged = Model(**{**vars(model), "network": model.network.merge_and_unload()})
    for found, again in zip(after, score(merged, REQUESTS), strict=True):
        assert found.log_likelihood == pytest.approx(again.log_likelihood, abs=1e-3)


def gguf(folder: Path, out: Path) -> None:
    """Written, read back as a model folder, and scored again: float16 rounds, so only nearly equal."""
    path = write_gguf(folder, out / "tiny-f16.gguf", "f16")
    again = open_model(sources.resolve(str(path)).folder)
    for request, found in zip(REQUESTS, score(again, REQUESTS), strict=True):
        expected = sum(naive_log_likelihoods(open_model(folder), request))
        assert found.log_likelihood == pytest.approx(expected, abs=0.02 * found.tokens), request.id


def explained(folder: Path, out: Path, *methods: str) -> tuple[Model, dict[str, Any]]:
    """The model, and the explanation of one answer that it was given."""
    model = open_model(folder)
    masked = model.kind == "encoder"
    prompt = "The doctor said that he was [MASK] because" if masked else "The valve closes and the light turns"
    answers = {"answer": "e", "against": "a"} if masked else {"answer": "red", "against": "cold"}
    few = {
        "attribution": {"method": "integrated-gradients", "most_steps": 32},
        "faithfulness": {"points": 3, "draws": 3},
    }
    settings = ExplainSettings.model_validate({"prompt": prompt, "methods": methods, **answers, **few})
    run_explain(Subject(out=out, model=folder), settings, Quiet())
    return model, files.read_json(out / EXPLANATION)


def explains(folder: Path, out: Path) -> None:
    """Words that sum to what they explain, a last layer that is the model's own, parts that sum to the difference."""
    model, found = explained(folder, out, "attribution", "lens", "parts", "faithfulness")
    words, lens, parts = (found["methods"][name] for name in ("attribution", "lens", "parts"))
    assert abs(sum(words["tokens"]) - words["total"]) == pytest.approx(words["gap"], abs=1e-3)
    assert any(words["words"])
    question, at = found["question"], found["question"]["decision"]["at"]
    likely = math.exp(question["answer_tokens"][at]["nats"])
    assert lens["probability"]["token"][-1] == pytest.approx(likely, rel=1e-4)
    assert parts["sum"] == pytest.approx(parts["difference"], abs=1e-3)
    decision = ask(model, question["prompt"], answer=question["answer"], against=question["against"]).decision
    written = {"decoder_input_ids": torch.tensor([decision.row.written])} if decision.row.written else {}
    with torch.inference_mode():
        logits = model.network(input_ids=torch.tensor([decision.row.ids]), **written).logits[0, decision.row.read[0]]
    ahead = float(logits[decision.token] - logits[decision.rival])
    assert (parts["after_cap"] or parts["difference"]) == pytest.approx(ahead, abs=1e-3)
    test = found["methods"]["faithfulness"]
    assert test["n"] >= 5
    assert test["verdict"] in ("better than chance", "no better than chance", "insufficient evidence")


def patches(folder: Path, out: Path) -> None:
    """Everything patched is the one run, nothing the other."""
    _, found = explained(folder, out, "patching")
    found = found["methods"]["patching"]
    assert found["exact"]
    assert max(abs(found["checks"][name]) for name in ("everything", "nothing")) < 1e-4
    effects = [e for stack in found["stacks"] for rows in stack["sites"].values() for row in rows for e in row]
    assert max(map(abs, effects)) > 0.1


def corrects(folder: Path, out: Path) -> None:
    """A correction is learnt; folded into the weights and opened again, the model is the one that was tried."""
    few = CounterfactualSettings(languages=("en",), steps=2, twins=2, neutral_texts=4, own_words=0, precision="float32")
    run_counterfactual(Subject(out=out, model=folder), few, Quiet())
    model, update = open_model(folder), load_update(out / "update")
    assert update
    asked = [Request("a", "The doctor said that", " she was late")]
    (before,) = score(model, asked)
    with applied(model, update) as changed:
        (tried,) = score(changed, asked)
    assert not fold(model, update)
    model.network.save_pretrained(out / "corrected")
    model.tokenizer.save_pretrained(out / "corrected")
    (again,) = score(open_model(out / "corrected"), asked)
    assert again.log_likelihood == pytest.approx(tried.log_likelihood, abs=1e-4)
    assert abs(tried.log_likelihood - before.log_likelihood) > 1e-6


CELLS: dict[str, Callable[[Path, Path], None]] = {
    "opens": opens,
    "scores": scores,
    "generates": generates,
    "adapts": adapts,
    "gguf": gguf,
    "explains": explains,
    "patches": patches,
    "corrects": corrects,
}


def cell(name: str, folder: Path, out: Path) -> str:
    """'yes' when it was done and right, 'no' when Limpide refuses it clearly. Anything else is a failure."""
    out.mkdir()
    if name == "generates" and open_model(folder).kind == "encoder":
        with pytest.raises(ModelError, match="does not write answers"):
            CELLS[name](folder, out)
        return "n/a"
    try:
        CELLS[name](folder, out)
    except ModelError:
        return "no"
    return "yes"


def record(title: str, row: dict[str, str]) -> None:
    """Put a row into capabilities.json, in the registry's order, and nothing that the registry does not know."""
    path = capabilities.PATH
    table = {**(capabilities.load_capabilities() if path.is_file() else {}), title: row}
    titles = [family.title for family in FAMILIES.values()]
    files.write_json(path, {t: table[t] for t in titles if t in table})


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_capabilities(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    folder, family = tiny_folder(name, tmp_path), FAMILIES[name]
    row = {what: cell(what, folder, tmp_path / f"out-{what}") for what in CELLS}
    assert row["opens"] == row["scores"] == "yes"
    assert row["generates"] == ("n/a" if family.kind == "encoder" else "yes")
    assert row["gguf"] == ("yes" if family.gguf else "no")
    assert row["adapts"] == row["explains"] == row["patches"] == row["corrects"] == "yes"
    if request.config.getoption("--write-capabilities"):
        record(family.title, row)
    assert capabilities.load_capabilities()[family.title] == row, "out of step: make families"


def test_every_family_has_a_row_and_nothing_else_has() -> None:
    assert list(capabilities.load_capabilities()) == [family.title for family in FAMILIES.values()]
    assert set(FAMILY_NAMES) == set(FAMILIES)


def test_the_table_for_people() -> None:
    table: dict[str, Any] = {"Llama": {"opens": "yes", "gguf": "no"}, "BERT": {"opens": "yes", "gguf": "n/a"}}
    assert capabilities.markdown(table).splitlines() == [
        "| family | opens | gguf |",
        "|---|---|---|",
        "| Llama | yes | no |",
        "| BERT | yes | n/a |",
    ]
