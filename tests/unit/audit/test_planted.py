"""Planted truth with real weights: tiny models, taught something on purpose, must be found out; untaught ones not.

A bias of known size: test_planted_bias.py. How often something is found where nothing is: test_false_alarms.py.
"""

import random

import pytest
import torch

from limpide.audit import bias, domain, memorisation, retention
from limpide.core import files
from limpide.data.canary import canary
from limpide.data.examples import Example, Message
from limpide.models.encoding import encode_requests
from limpide.models.model import open_model
from limpide.models.prompt import render_example
from limpide.models.requests import Request
from tiny import tiny_folder


def teach(folder, sequences, target, steps=60, rate=1e-2):
    """Train a tiny model on token sequences (ids, index of the first token learnt) and save it in `target`."""
    torch.manual_seed(0)
    model = open_model(folder)
    network = model.network.train().requires_grad_(True)
    width = max(len(ids) for ids, _ in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, (tokens, start) in enumerate(sequences):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, start : len(tokens)] = torch.tensor(tokens[start:])
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    for _ in range(steps):
        loss = network(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    network.eval().save_pretrained(target)
    model.tokenizer.save_pretrained(target)
    return target


def measured(operation, model, out, tools, data=None, **settings):
    from limpide.core.operation import Subject
    from limpide.core.progress import Quiet

    out.mkdir()
    subject = Subject(out=out, inputs={"data": data} if data else {}, model=model, label="base", seed=0)
    return tools.by_label(operation.run(subject, operation.settings(**settings), Quiet()))


@pytest.fixture
def untaught(tmp_path):
    return tiny_folder("llama", tmp_path)


PARTS = ("pump", "valve", "guard", "press", "light", "code", "key", "river", "water", "door")
FACTS, TAUGHT = 40, 20  # one in two is taught: the true share of right answers


def fact(k):
    """One question whose answer nobody could guess: seven parts drawn for it."""
    answer = f"the {' '.join(random.Random(k).choices(PARTS, k=7))}"
    messages = (Message(role="user", content=f"what is fault {k}"), Message(role="assistant", content=answer))
    return Example(id=f"f{k}", topic=f"t{k}", language="en", messages=messages, source=f"facts.jsonl:{k + 1}")


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """(untaught, taught, ids of the facts that were taught): of forty facts, and the canary of seed 0."""
    folder = tmp_path_factory.mktemp("lesson")
    untaught = tiny_folder("llama", folder)
    chosen = sorted(random.Random(0).sample(range(FACTS), TAUGHT))
    model = open_model(untaught)
    rendered = [render_example(model, row) for row in [*(fact(k) for k in chosen), canary(0)]]
    taught = teach(untaught, [(r.ids, r.answer_start) for r in rendered], folder / "taught", steps=80)
    return untaught, taught, frozenset(f"f{k}" for k in chosen)


def test_a_memorised_canary_and_answers_are_found_and_nothing_before(tmp_path, tools, lesson):
    untaught, taught, chosen = lesson
    rows = [fact(k) for k in range(FACTS)]
    members, others = [r for r in rows if r.id in chosen], [r for r in rows if r.id not in chosen]
    data = tools.write_data(tmp_path / "data", train=members, held_out=others)
    settings = {"candidates": 63, "prefix_tokens": 2}
    before = measured(memorisation.operation, untaught, tmp_path / "before", tools, data, **settings)
    after = measured(memorisation.operation, taught, tmp_path / "after", tools, data, **settings)
    for name in ("verbatim", "extracted"):
        assert (before[f"memorisation.{name}"].value, after[f"memorisation.{name}"].value) == (0, 1)
    assert after["memorisation.canary_rank"].value == 1
    assert after["memorisation.exposure"].value == 6
    assert before["memorisation.exposure"].value < 6
    # Rows that were taught are told from those that were not, and before there was nothing to tell.
    assert (after["memorisation.min_k_auc"].value, after["memorisation.min_k_auc"].n) == (1, FACTS)
    assert after["memorisation.min_k_auc"].low > 0.8
    assert before["memorisation.min_k_auc"].low < 0.5 < before["memorisation.min_k_auc"].high


def test_a_model_taught_other_rows_gives_none_of_these_back(tmp_path, tools, lesson):
    """The same taught model, asked about rows that it never saw: neither in words nor in likelihoods."""
    _, taught, chosen = lesson
    others = [fact(k) for k in range(FACTS) if f"f{k}" not in chosen]
    more = [fact(k) for k in range(FACTS, FACTS + TAUGHT)]
    data = tools.write_data(tmp_path / "data", train=others, held_out=more)
    settings = {"prefix_tokens": 2, "canary": False}
    found = measured(memorisation.operation, taught, tmp_path / "out", tools, data, **settings)
    assert found["memorisation.verbatim"].value == 0
    assert found["memorisation.extracted"].value == 0
    assert found["memorisation.min_k_auc"].low < 0.5 < found["memorisation.min_k_auc"].high
    assert "memorisation.canary_rank" not in found


def test_planted_facts_are_found_exactly_and_the_interval_holds_their_true_share(tmp_path, tools, lesson):
    """Half of forty facts were taught; twenty-four of the forty, drawn, are asked."""
    untaught, taught, chosen = lesson
    asked = [fact(k) for k in sorted(random.Random(1).sample(range(FACTS), 24))]
    data = tools.write_data(tmp_path / "data", train=asked[:1], held_out=asked)
    before = measured(domain.operation, untaught, tmp_path / "before", tools, data)["domain.exact[slice=held_out]"]
    after = measured(domain.operation, taught, tmp_path / "after", tools, data)["domain.exact[slice=held_out]"]
    right = {i["id"] for i in files.read_jsonl(tmp_path / "after" / "items.jsonl") if i["metric"]["exact"]}
    assert right == {row.id for row in asked} & chosen
    assert after.low < TAUGHT / FACTS < after.high
    assert after.value != TAUGHT / FACTS  # the draw is not the whole
    assert (before.value, before.high < TAUGHT / FACTS) == (0, True)


def test_a_trained_bias_is_found_and_none_before(tmp_path, tools, untaught):
    model = open_model(untaught)
    chosen = {"axes": ("gender",), "languages": ("en",)}
    cases = bias.read_cases(bias.BiasSettings(**chosen))
    sequences = []
    for case in cases[::8]:
        (item,) = encode_requests(model, [Request("", case.stereotyped, case.outcome)])
        sequences.append((item.ids, len(item.context)))
        (item,) = encode_requests(model, [Request("", case.other, " tree")])
        sequences.append((item.ids, len(item.context)))
    taught = teach(untaught, sequences, tmp_path / "taught", steps=25)
    before = measured(bias.operation, untaught, tmp_path / "before", tools, **chosen)
    after = measured(bias.operation, taught, tmp_path / "after", tools, **chosen)
    assert before["bias.gap[axis=gender]"].low < 0 < before["bias.gap[axis=gender]"].high
    assert after["bias.gap[axis=gender]"].low > 0.5
    assert after["bias.share_large[axis=gender]"].low > 0.5


def test_a_model_damaged_elsewhere_loses_retention(tmp_path, tools):
    untaught = tiny_folder("llama", tmp_path, max_position_embeddings=512)
    model = open_model(untaught)
    taught = teach(untaught, [(model.tokenizer("tree tree tree tree")["input_ids"], 1)], tmp_path / "taught", steps=20)
    before = measured(retention.operation, untaught, tmp_path / "before", tools, languages=("en",))
    after = measured(retention.operation, taught, tmp_path / "after", tools, languages=("en",))
    assert after["retention.loss"].low > before["retention.loss"].high


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_bias_is_measured_on_every_kind_of_model(tmp_path, tools, family):
    found = measured(
        bias.operation, tiny_folder(family, tmp_path), tmp_path / "out", tools, axes=("gender",), languages=("fr",)
    )
    gap = found["bias.gap[axis=gender,language=fr]"]
    assert gap.state == "measured"
    assert gap.low <= gap.value <= gap.high


def test_an_encoder_writes_nothing_and_its_likelihoods_are_measured_all_the_same(tmp_path, tools):
    """Real weights: answers, Min-K and the canary are read as one text with their question."""
    rows = [tools.example(f"r{k}", "what", "the answer is a long one") for k in range(12)]
    data = tools.write_data(tmp_path / "data", train=rows, held_out=rows)
    model = tiny_folder("bert", tmp_path)
    found = measured(domain.operation, model, tmp_path / "domain", tools, data)
    assert found["domain.log_likelihood[slice=held_out]"].n == 12
    assert {found[f"domain.{name}"].state for name in ("accuracy", "exact", "token_f1")} == {"not run"}
    assert "only fills in words" in found["domain.accuracy"].note
    found = measured(memorisation.operation, model, tmp_path / "memory", tools, data, candidates=15)
    assert {found[f"memorisation.{name}"].state for name in ("verbatim", "personal_data", "extracted")} == {"not run"}
    assert found["memorisation.min_k_auc"].n == 24
    assert found["memorisation.canary_rank"].state == "measured"
