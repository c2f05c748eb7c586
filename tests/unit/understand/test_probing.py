"""Probes: what is planted in activations is found, what is not is not, and no name is remembered."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from limpide.core.errors import DataError, UsageError
from limpide.core.progress import Quiet
from limpide.data.templates import Case, read_cases
from limpide.models.encoding import encode_requests
from limpide.models.requests import Request
from limpide.models.row import row_of
from limpide.models.stacks import stacks
from limpide.models.trace import record
from limpide.understand import probes, probing
from limpide.understand.probes import Item, accuracy, folds_of, read_off, split
from limpide.understand.probing import found, items_of, lacking, probe, spread, states_of
from planted_circuits import SPECIAL, word_model
from tiny import FAMILY_NAMES, tiny_network

Open = Callable[[str], Any]
WIDTH = 16
NAMES, FILLERS = tuple(f"n{i}" for i in range(32)), tuple(f"f{i}" for i in range(24))


def cases_of(templates: int = 24, pairs: int = 16) -> list[Case]:
    """Names of two groups, n0 and n1, n2 and n3 …, in sentences of fillers."""
    rng, found = random.Random(0), []
    for number in range(templates):
        words = " ".join(rng.sample(FILLERS, 3))
        group = ("even", "odd")[number % 2]
        for pair in range(pairs):
            persons = [NAMES[2 * pair], NAMES[2 * pair + 1]]
            stereotyped, other = persons if group == "even" else persons[::-1]
            name = f"t{number}"
            found.append(
                Case(f"{name}/p{pair}", name, "parity", "en", f"{stereotyped} {words}", f"{other} {words}", " f0",
                     group, f"p{pair}")
            )  # fmt: skip
    return found


ITEMS = items_of(cases_of(templates=96))


def planted(seed: int, of: Callable[[Item, torch.Generator], Sequence[float]], items: Sequence[Item] = ITEMS) -> Any:
    """A vector for each person and each template, some noise, and in the first places what is planted."""
    rng = torch.Generator().manual_seed(seed)
    known: dict[str, torch.Tensor] = {}
    rows = []
    for item in items:
        person, sentence = f"{item.person}{item.group}", item.template
        for name in (person, sentence):
            known.setdefault(name, torch.randn(WIDTH, generator=rng))
        row = known[person] + known[sentence] + 0.3 * torch.randn(WIDTH, generator=rng)
        values = torch.tensor(list(of(item, rng)))
        row[: len(values)] = values
        rows.append(row)
    return torch.stack(rows)


def told(states: torch.Tensor, seed: int = 0, items: Sequence[Item] = ITEMS) -> dict[str, Any]:
    return found([(0, read_off(states, items, seed))], items)


def sign(item: Item) -> float:
    return 1.0 if item.group == "even" else -1.0


def test_a_planted_direction_is_found_by_both_probes() -> None:
    record = told(planted(0, lambda item, rng: [sign(item) * 2]))
    for kind in ("linear", "nonlinear"):
        assert record[kind]["value"] >= 0.95
        assert record[kind]["low"] > 0.7
        assert record[kind]["n"] == 24 * 2 * 2


def test_an_attribute_that_no_line_tells_is_found_by_the_other_probe_alone() -> None:
    def xor(item: Item, rng: torch.Generator) -> Sequence[float]:
        bit = 1.0 if float(torch.rand(1, generator=rng)) < 0.5 else -1.0
        return [2 * bit, 2 * bit * sign(item)]

    record = told(planted(0, xor))
    assert record["linear"]["low"] < 0.5 < record["linear"]["high"]
    assert record["nonlinear"]["value"] > 0.85
    assert record["nonlinear"]["low"] > 0.5


def test_persons_that_only_differ_as_persons_do_give_no_false_alarm() -> None:
    """Groups are then mere names: within the same persons a probe would tell them all."""
    alarms = [
        found[kind]["low"] > 0.5
        for seed in range(5)
        for found in (told(planted(seed, lambda item, rng: []), seed),)
        for kind in ("linear", "nonlinear")
    ]
    assert sum(alarms) <= 1


def test_no_probe_meets_a_template_or_a_person_that_it_is_judged_on() -> None:
    folds = folds_of(ITEMS, 0)
    judged = []
    for fold in range(probes.FOLDS):
        three = split(ITEMS, folds, fold)
        assert all(three)
        for name in ("template", "person"):
            met = [{getattr(ITEMS[place], name) for place in places} for places in three]
            assert sum(map(len, met)) == len(set().union(*met))
        judged += three[2]
    assert sorted(judged) == [place for place, item in enumerate(ITEMS) if item.part == "judge"]


def test_pairs_that_share_a_person_count_as_one_and_groups_are_the_shipped_ones() -> None:
    items = items_of(read_cases(("religion",), ("en",)))
    assert {item.group for item in items} == {"muslim", "christian", "jewish", "atheist"}
    meeting = {item.person for item in items if item.context.startswith("The Christian woman ")}
    assert len(meeting) == 1  # of three pairs, with a Muslim, a Jewish and an atheist woman
    assert len({item.person for item in items}) < 21
    for item in items:
        assert item.group in item.context.lower()


def test_the_record_names_the_best_layer_by_what_is_not_judged() -> None:
    hits = {
        name: np.array([part == "both" or item.part == part for item in ITEMS])
        for name, part in {"never": "none", "chosen": "choose", "judged": "judge"}.items()
    }
    layers = [(3, dict.fromkeys(probes.KINDS, hits["judged"])), (7, dict.fromkeys(probes.KINDS, hits["chosen"]))]
    record = found(layers, ITEMS)
    assert record["layer"] == 7
    assert record["linear"]["value"] == 0
    assert [one["layer"] for one in record["layers"]] == [3, 7]
    assert record["layers"][0]["linear"]["value"] == 1


def test_balanced_accuracy_counts_each_group_alike_and_its_interval_counts_clusters() -> None:
    hits = np.array([True] * 30 + [False] * 10)
    groups = ["a"] * 30 + ["b"] * 10
    alone = [str(k) for k in range(40)]
    assert accuracy(hits, groups, alone, alone)["value"] == 0.5  # always answering 'a'
    mixed = np.array([True, False] * 20)
    sides = ["a", "a", "b", "b"] * 10
    few = [str(k % 2) for k in range(40)]  # one cluster is all right, the other all wrong
    wide, narrow = accuracy(mixed, sides, alone, few), accuracy(mixed, sides, alone, alone)
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])
    assert narrow["low"] < narrow["value"] < narrow["high"]
    sure = accuracy(np.ones(40, dtype=np.bool_), sides, alone, [str(k % 8) for k in range(40)])
    assert sure["value"] == 1
    assert 0.5 < sure["low"] < 0.75  # eight persons, not forty texts


def test_the_same_seed_gives_the_same_and_the_callers_randomness_is_left_alone() -> None:
    states = planted(0, lambda item, rng: [sign(item)])
    before = torch.random.get_rng_state()
    few = ITEMS[: len(ITEMS) // 2]
    first, again = (told(states[: len(few)], 3, few) for _ in range(2))
    assert first == again
    assert torch.equal(before, torch.random.get_rng_state())
    assert folds_of(ITEMS, 3) != folds_of(ITEMS, 4)


def planted_words(strength: float) -> Any:
    """A random network of words in whose embeddings even names and odd ones lie apart by so much."""
    words = (*NAMES, *FILLERS)
    network = tiny_network("llama", 0, vocab_size=len(SPECIAL) + len(words), num_hidden_layers=3)
    with torch.no_grad():
        direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
        for number in range(len(NAMES)):
            network.model.embed_tokens.weight[len(SPECIAL) + number] += strength * (-1) ** number * direction
    return word_model(network, words)


def test_a_model_that_carries_the_group_to_the_outcome_is_told_from_one_that_does_not() -> None:
    record = probe(planted_words(4.0), cases_of(48), 0, Quiet(), layers=(0, 2))
    assert record["state"] == "measured"
    assert record["linear"]["value"] > 0.8
    assert record["linear"]["low"] > record["chance"] == 0.5
    assert [one["layer"] for one in record["layers"]] == [0, 2]
    nothing = probe(planted_words(0.0), cases_of(48), 0, Quiet(), layers=(2,))
    for kind in probes.KINDS:
        assert nothing[kind]["low"] < 0.5 < nothing[kind]["high"]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_activations_are_those_that_the_outcome_is_predicted_from(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    stack = stacks(model)[-1]
    items = items_of(read_cases(("gender",), ("en", "fr"))[:40:3])
    states = states_of(model, stack, items, (0, 1), Quiet())
    for place in (0, 3, len(items) - 1):
        item = items[place]
        (asked,) = encode_requests(model, [Request("x", item.context, item.outcome)])
        prompt = asked.context
        if model.kind == "encoder":
            tokenizer = model.tokenizer
            prompt = (tokenizer.cls_token_id, *prompt, tokenizer.mask_token_id, tokenizer.sep_token_id)
        row = row_of(model, prompt, asked.continuation[:1])
        plain = record(model, row)[stack.name]
        for layer in (0, 1):
            wanted = plain.residual[layer + 1][row.read[0]]
            torch.testing.assert_close(states[layer][place], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["bert", "t5", "gpt_oss"])
def test_every_kind_of_model_is_probed(tiny_model: Open, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PAIRS_EACH", 1)
    monkeypatch.setattr(probes, "STEPS", 10)
    model = tiny_model(name)
    record = probe(model, read_cases(("gender", "religion"), ("en",)), 0, Quiet(), layers=(1,))
    assert record["chance"] == 2 / 6
    assert record["layer"] == 1
    assert record["place"] == probing.PLACES[model.kind]
    for kind in probes.KINDS:
        assert 0 <= record[kind]["low"] <= record[kind]["value"] <= record[kind]["high"] <= 1
        assert record[kind]["n"] > 40


def test_without_a_part_to_choose_on_a_quarter_of_the_first_is() -> None:
    cases = [*read_cases(("gender",), ("en",), "fit"), *read_cases(("gender",), ("en",), "judge")]
    parts = {item.template: item.part for item in items_of(cases)}
    assert sorted(parts.values()).count("choose") == 6
    assert lacking(items_of(cases)) is None
    whole = {item.template: item.part for item in items_of(read_cases(("gender",), ("en",)))}
    assert {t for t, part in parts.items() if part == "judge"} == {t for t, part in whole.items() if part == "judge"}


def test_too_few_templates_or_pairs_are_no_evidence(tiny_model: Open) -> None:
    for cases, few in ((cases_of(templates=8), "templates"), (cases_of(pairs=4), "pairs of persons")):
        record = probe(tiny_model("llama"), cases, 0, Quiet())
        assert record["state"] == "insufficient evidence"
        assert few in record["why"]
        assert record["linear"]["value"] is None
        assert record["layers"] == []


def test_what_cannot_be_probed_is_said(tiny_model: Open) -> None:
    model = tiny_model("llama")
    with pytest.raises(DataError, match="no case"):
        probe(model, [], 0, Quiet())
    one_group = [replace(case, group="even") for case in cases_of()]
    with pytest.raises(DataError, match="groups of both persons"):
        probe(model, one_group, 0, Quiet())
    with pytest.raises(UsageError, match="no such layer"):
        probe(model, cases_of(), 0, Quiet(), layers=(2,))


def test_layers_are_spread() -> None:
    assert spread(30) == (7, 14, 21, 29)
    assert spread(12) == (2, 5, 8, 11)
    assert spread(2) == (0, 1)
    assert spread(1) == (0,)
