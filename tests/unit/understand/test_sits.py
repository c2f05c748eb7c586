"""Where a bias sits: where it was planted, and in every family what plain runs with hooks of our own give."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from limpide.core.errors import UsageError
from limpide.core.progress import Quiet
from limpide.data.templates import Case
from limpide.models.encoding import encode_requests
from limpide.models.requests import Request
from limpide.models.row import Row, embed, final_hidden, row_of, target_log_likelihoods
from limpide.models.scoring import Options, score_with
from limpide.models.stacks import stacks
from limpide.understand import sits
from limpide.understand.sits import chosen, effects, layers_of, where
from planted_circuits import INDUCTION_HEAD, PREVIOUS_HEAD, SPECIAL, copy_cases, copy_model, word_model
from tiny import FAMILY_NAMES, tiny_network

Open = Callable[[str], Any]


def twin_cases(pairs: Sequence[tuple[str, str]], outcome: str) -> list[Case]:
    return [
        Case(f"t{number}/p", f"t{number}", "planted", "en", first, second, outcome, "a", "p")
        for number, (first, second) in enumerate(pairs)
    ]


def ranked_heads(found: dict[str, Any]) -> list[tuple[int, int]]:
    every = [(layer, head) for layer, row in enumerate(found["heads"]) for head in range(len(row))]
    return sorted(every, key=lambda spot: -found["heads"][spot[0]][spot[1]])


@pytest.fixture(scope="module")
def circuit() -> Any:
    return copy_model()


@pytest.mark.parametrize(
    ("swapped", "carriers"), [("values", {INDUCTION_HEAD}), ("keys", {PREVIOUS_HEAD, INDUCTION_HEAD})]
)
def test_the_heads_that_were_wired_to_carry_the_difference_come_first(
    circuit: Any, swapped: str, carriers: set[tuple[int, int]]
) -> None:
    made = copy_cases(12, 0, swapped)
    cases = [one for case in made for one in twin_cases([(case.prompt, case.twin)], f" {case.answer}")]
    found = where(circuit, cases[:6], Quiet())
    assert found["pairs"] == 6
    heads = ranked_heads(found)
    assert set(heads[: len(carriers)]) == carriers
    first, next_one = (found["heads"][layer][head] for layer, head in (heads[0], heads[len(carriers)]))
    assert first > 20 * next_one
    assert max(found["mlp"]) < 0.1 * max(found["attention"])
    assert layers_of(found, len(carriers)) == tuple(sorted(layer for layer, _ in carriers))


def test_one_mlp_that_alone_writes_anything_has_all_the_effect() -> None:
    """The person is the last word, and all else in the network gives zero."""
    names = tuple(f"n{i}" for i in range(12))
    network = tiny_network("llama", 0, vocab_size=len(SPECIAL) + len(names), num_hidden_layers=3)
    with torch.no_grad():
        for number, block in enumerate(network.model.layers):
            block.self_attn.o_proj.weight.zero_()
            if number != 1:
                block.mlp.down_proj.weight.zero_()
    model = word_model(network, names)
    cases = twin_cases([(f"n0 n{2 * k + 1}", f"n0 n{2 * k + 2}") for k in range(4)], " n0")
    found = where(model, cases, Quiet())
    assert found["mlp"][1] > 0.01
    others = [found["mlp"][0], found["mlp"][2], *found["attention"], *(v for row in found["heads"] for v in row)]
    assert max(others) < 1e-5
    assert layers_of(found, 1) == (1,)


def plain_change(model: Any, row: Row, other: Row, stack: Any, module: Any, places: Sequence[int]) -> float:
    """log p of the target when a module gives, at these places, what it gave in the run of the other row."""
    kept: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        kept.append((output[0] if isinstance(output, tuple) else output).clone())

    def put(_: Any, __: Any, output: Any) -> Any:
        values = (output[0] if isinstance(output, tuple) else output).clone()
        values[:, list(places)] = kept[0][:, list(places)]
        return (values, *output[1:]) if isinstance(output, tuple) else values

    def run(row: Row, hook: Any) -> float:
        handle = None if hook is None else module.register_forward_hook(hook)
        try:
            with torch.inference_mode():
                hidden = final_hidden(model, row, embed(model, row.ids)[None])
                return float(target_log_likelihoods(model, row, hidden)[0, 0])
        finally:
            if handle is not None:
                handle.remove()

    before = run(row, None)
    run(other, keep)
    return run(row, put) - before


WORDS = ("opens", "stops", "reads", "checks", "the light", "the pump", "a valve")


def waiting(templates: int = 12, pairs: int = 3) -> list[Case]:
    """Persons of one letter: every tokenizer gives them as many tokens."""
    letters, rng, cases = "BCDFGHJK", random.Random(0), []
    for template in range(templates):
        words = " ".join(rng.sample(WORDS, 4))
        for pair in range(pairs):
            texts = [f"The man {letter} {words}" for letter in letters[2 * pair : 2 * pair + 2]]
            name = f"t{template}"
            cases.append(Case(f"{name}/p{pair}", name, "letter", "en", *texts, " turns", "a", f"p{pair}"))
    return cases


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5", "gemma2", "deepseek_v2"])
def test_each_effect_is_what_a_plain_run_gives(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    stack = stacks(model)[0]
    twin = chosen(model, waiting())[0]
    found = {(kind, layer): change for (kind, layer, _), change in effects(model, stack, twin) if kind != "head"}
    rows = []
    for context in (twin.case.stereotyped, twin.case.other):
        (asked,) = encode_requests(model, [Request("x", context, twin.case.outcome)])
        prompt = asked.context
        if model.kind == "encoder":
            prompt = (
                model.tokenizer.cls_token_id,
                *prompt,
                model.tokenizer.mask_token_id,
                model.tokenizer.sep_token_id,
            )
        rows.append(row_of(model, prompt, asked.continuation[:1]))
    places = range(len(rows[0]))  # what lies before the person is alike in a decoder: putting it in changes nothing
    for layer in range(len(stack)):
        for kind, path in (("attention", stack.attention), ("mlp", stack.mlp)):
            wanted = plain_change(model, rows[0], rows[1], stack, stack.module(layer, path), places)
            assert found[kind, layer] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_family_has_its_effects(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    found = where(model, waiting(), Quiet())
    assert 0 < found["pairs"] <= sits.MOST
    assert found["stack"] == ("encoder" if name == "t5" else "text")
    assert found["layers"] == len(found["attention"]) == len(found["mlp"]) == 2
    assert [len(row) for row in found["heads"]] == [4, 4]
    assert max(found["attention"] + found["mlp"]) > 0
    assert len(layers_of(found, 1)) == 1
    assert layers_of(found, 5) == (0, 1)


def test_the_widest_gaps_are_looked_at_each_of_another_template(tiny_model: Open) -> None:
    model = tiny_model("gpt2")
    cases = waiting()
    twins = chosen(model, cases)
    assert len({twin.case.template for twin in twins}) == len(twins) == sits.MOST
    assert [abs(twin.gap) for twin in twins] == sorted((abs(twin.gap) for twin in twins), reverse=True)
    for twin in twins[:3]:
        texts = [(text.context, text.continuation) for text in (twin.stereotyped, twin.other)]
        scores = score_with(model, [Request(str(k), *text) for k, text in enumerate(texts)], Options()).scores
        assert twin.gap == pytest.approx(scores[0].log_likelihood - scores[1].log_likelihood, abs=1e-4)
    again = where(model, cases, Quiet())
    assert again["cases"] == [twin.case.id for twin in twins]
    assert again == where(model, cases, Quiet())
    few = [case for case in cases if case.id in again["cases"]]
    assert sorted(where(model, few, Quiet())["cases"]) == sorted(again["cases"])


def test_where_no_twin_fits_it_says_so(tiny_model: Open) -> None:
    cases = twin_cases([("The man waits for a", "The very old man waits for a")], " bus")
    found = where(tiny_model("gpt2"), cases, Quiet())
    assert (found["pairs"], found["heads"], found["attention"], found["mlp"]) == (0, None, [], [])
    assert "as many tokens" in found["why"]
    assert layers_of(found, 3) == ()
    assert where(tiny_model("gpt2"), [], Quiet())["pairs"] == 0


def test_layers_of_a_record_are_those_that_carry_most_together() -> None:
    found = {"attention": [1.0, 0.0, 0.5, 0.0], "mlp": [0.0, 0.2, 0.6, 0.9]}
    assert layers_of(found, 1) == (2,)
    assert layers_of(found, 2) == (0, 2)
    with pytest.raises(UsageError, match="No layer"):
        layers_of(found, 0)
