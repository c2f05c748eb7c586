"""A bias of known size, planted: its interval holds the size, and none is found where none was planted."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from limpide.audit import bias
from limpide.audit.items import Frame, Item, summarise
from limpide.core import files
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.model import open_model
from tiny import tiny_folder

SIZE, SPREAD = 0.6, 0.3  # nats: the true mean of the planted gap over templates, and how much templates differ
TEMPLATES, TRAINED = 24, 16  # simulated; and of each axis in the trained model, to keep its training short
BOTH = {"axes": ("gender", "origin"), "languages": ("en",)}


# -------------------------------------------------------------------------------------------------------- real weights


def chosen_cases():
    """The first shipped English templates of two axes, each with one of its pairs, so that training is short."""
    cases = {}
    for k, case in enumerate(bias.read_cases(bias.BiasSettings(**BOTH))):
        if k % 8 == k // 8 % 8:
            cases.setdefault(case.axis, []).append(case)
    return [case for axis in BOTH["axes"] for case in cases[axis][:TRAINED]]


def log_likelihoods(network, tokenizer, texts):
    """float[texts]: of each outcome after its context, in one padded batch. texts: (context, outcome)."""
    whole = [tokenizer(context + outcome)["input_ids"] for context, outcome in texts]
    starts = [len(tokenizer(context)["input_ids"]) for context, _ in texts]
    ids = torch.zeros(len(texts), max(map(len, whole)), dtype=torch.long)
    told = torch.zeros(ids.shape)
    for row, (tokens, start) in enumerate(zip(whole, starts, strict=True)):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        told[row, start : len(tokens)] = 1
    each = network(input_ids=ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return (each * told[:, 1:]).sum(axis=1)


def plant(folder, target, cases, gaps):
    """Train the model until log p(outcome | stereotyped) − log p(outcome | other) is `gaps`, in nats, and save it."""
    torch.manual_seed(0)
    model = open_model(folder)
    network = model.network.train().requires_grad_(True)
    texts = [(context, case.outcome) for case in cases for context in (case.stereotyped, case.other)]
    wanted = torch.tensor(gaps, dtype=torch.float32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for _ in range(45):
        found = log_likelihoods(network, model.tokenizer, texts).view(-1, 2)
        ((found[:, 0] - found[:, 1] - wanted) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    network.eval().save_pretrained(target)
    model.tokenizer.save_pretrained(target)
    return target


def measured(folder, out):
    """(measures by label, items by id) of the bias suite."""
    out.mkdir()
    result = bias.operation.run(Subject(out=out, model=folder, label="base"), bias.BiasSettings(**BOTH), Quiet())
    rows = files.read_jsonl(out / "items.jsonl")
    return {m.label: m for m in result.measures}, {row["id"]: row["metric"]["gap"] for row in rows}


def test_a_bias_of_known_size_is_measured_where_it_was_planted_and_not_elsewhere(tmp_path, monkeypatch):
    """Gender: gaps drawn around SIZE. Origin, in the same model: as large, around 0. Truth by transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cases, random = chosen_cases(), np.random.default_rng(0)
    monkeypatch.setattr(bias, "read_cases", lambda settings: cases)
    wanted = random.normal([SIZE] * TRAINED + [0.0] * TRAINED, SPREAD)
    untaught = tiny_folder("llama", tmp_path)
    planted = plant(untaught, tmp_path / "planted", cases, wanted)
    found, gaps = measured(planted, tmp_path / "after")
    network, tokenizer = AutoModelForCausalLM.from_pretrained(planted).eval(), AutoTokenizer.from_pretrained(planted)
    with torch.no_grad():
        naive = [
            float(torch.sub(*[log_likelihoods(network, tokenizer, [(c, case.outcome)])[0] for c in contexts]))
            for case in cases
            for contexts in [(case.stereotyped, case.other)]
        ]
    assert np.abs(naive - wanted).max() < 0.25  # the training reached what it was told to
    np.testing.assert_allclose([gaps[case.id] for case in cases], naive, atol=1e-4)
    gender, origin = (found[f"bias.gap[axis={axis}]"] for axis in BOTH["axes"])
    assert gender.value == pytest.approx(np.mean(naive[:TRAINED]), abs=1e-4)
    assert origin.value == pytest.approx(np.mean(naive[TRAINED:]), abs=1e-4)
    assert 0 < gender.low < SIZE < gender.high
    assert origin.low < 0 < origin.high < SIZE
    before, _ = measured(untaught, tmp_path / "before")
    for axis in BOTH["axes"]:
        assert before[f"bias.gap[axis={axis}]"].low < 0 < before[f"bias.gap[axis={axis}]"].high


# ---------------------------------------------------------------------------------------------------------- many times

SEEDS, PAIRS, NOISE = 500, 4, 0.4  # NOISE: nats, by which the pairs of one template differ
CASES = [
    case
    for k, case in enumerate(bias.read_cases(bias.BiasSettings(axes=("gender",), languages=("en",))))
    if k % 8 < PAIRS and k < 8 * TEMPLATES
]


def planted_gaps(size, seed):
    """float[cases]: each template's own size is drawn around `size`, and each pair's around its template's."""
    random = np.random.default_rng(seed)
    own = np.repeat(random.normal(size, SPREAD, TEMPLATES), PAIRS)
    return random.normal(own, NOISE)


def items_of(gaps):
    """As the suite makes them; the test below holds it to that."""
    return [
        Item(case.id, case.template, {"axis": case.axis, "language": case.language}, metrics(float(gap)))
        for case, gap in zip(CASES, gaps, strict=True)
    ]


def metrics(gap):
    return {"gap": gap, "absolute_gap": abs(gap), "large": float(abs(gap) > bias.LARGE)}


def specs():
    settings = bias.BiasSettings(axes=("gender",), languages=("en",))
    return [spec.model_copy(update={"slices": ({"axis": "*"},)}) for spec in bias.specs(settings, "")]


def test_the_suite_makes_these_items_of_a_model_with_these_likelihoods(tmp_path, fake, tools, monkeypatch):
    gaps = planted_gaps(SIZE, 0)
    told = {(case.other, case.outcome): -7 + 0.1 * k for k, case in enumerate(CASES)}
    told |= {(c.stereotyped, c.outcome): told[c.other, c.outcome] + g for c, g in zip(CASES, gaps, strict=True)}
    assert len(told) == 2 * len(CASES)
    fake.likelihood = lambda context, outcome: told[context, outcome]
    monkeypatch.setattr(bias, "read_cases", lambda settings: CASES)
    result = tools.audit(bias.operation, tmp_path / "out", axes=["gender"], languages=["en"])
    simulated = summarise(items_of(gaps), specs(), Frame("base", 0, "fake", result.measures[0].data_digest))
    found = tools.by_label(result)
    for one in simulated:
        assert (one.value, one.low, one.high) == pytest.approx(
            (found[one.label].value, found[one.label].low, found[one.label].high), abs=1e-9
        )


@pytest.mark.parametrize("size", [0.1, SIZE])
def test_intervals_hold_the_planted_size_as_often_as_they_say(size):
    """Of the gap, of its absolute value and of the share of large ones, over 500 draws of templates and pairs.

    A true 95 % is counted between 92 % and 97.4 % in 99 of 100 simulations of so many.
    """
    deviation = math.hypot(SPREAD, NOISE)
    truths = {
        "bias.gap": size,
        "bias.absolute_gap": float(stats.foldnorm.mean(size / deviation, scale=deviation)),
        "bias.share_large": float(1 - np.diff(stats.norm.cdf([-bias.LARGE, bias.LARGE], size, deviation))[0]),
    }
    hits, found = dict.fromkeys(truths, 0), 0
    for seed in range(SEEDS):
        for measure in summarise(items_of(planted_gaps(size, seed)), specs(), Frame("base", seed, None, "d")):
            hits[measure.name] += measure.low <= truths[measure.name] <= measure.high
            found += measure.name == "bias.gap" and measure.low > 0
    least, most = stats.binom.ppf([0.005, 0.995], SEEDS, 0.95)
    assert {name: n for name, n in hits.items() if not least <= n <= most} == {}
    assert found > 0.99 * SEEDS if size == SIZE else found < 0.6 * SEEDS  # 0.1 nats is near what so few can show
