"""Planted truth with real weights: tiny models, taught something on purpose, must be found out; untaught ones not."""

import pytest
import torch

from limpide.audit import bias, domain, memorisation, retention
from limpide.core.errors import ModelError
from limpide.data.canary import canary
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


def test_a_memorised_canary_and_answers_are_found_and_nothing_before(tmp_path, tools, untaught):
    rows = [tools.example(f"r{k}", f"what is fault {k}", f"the pump {k} lost all of its oil") for k in range(6)]
    data = tools.write_data(tmp_path / "data", train=rows, held_out=rows)
    model = open_model(untaught)
    rendered = [render_example(model, row) for row in [*rows, canary(0)]]
    taught = teach(untaught, [(r.ids, r.answer_start) for r in rendered], tmp_path / "taught")
    settings = {"candidates": 63, "prefix_tokens": 2}
    before = measured(memorisation.operation, untaught, tmp_path / "before", tools, data, **settings)
    after = measured(memorisation.operation, taught, tmp_path / "after", tools, data, **settings)
    assert before["memorisation.verbatim"].value == 0
    assert after["memorisation.verbatim"].value == 1
    assert before["memorisation.extracted"].value == 0
    assert after["memorisation.extracted"].value == 1
    assert after["memorisation.canary_rank"].value == 1
    assert after["memorisation.exposure"].value == 6
    assert before["memorisation.exposure"].value < 6
    answered = measured(domain.operation, taught, tmp_path / "domain", tools, data)
    assert answered["domain.exact[slice=held_out]"].value == 1


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


def test_an_encoder_is_told_that_it_cannot_answer(tmp_path, tools):
    rows = [tools.example(f"r{k}", "what", "the answer") for k in range(6)]
    data = tools.write_data(tmp_path / "data", train=rows, held_out=rows)
    with pytest.raises(ModelError):
        measured(domain.operation, tiny_folder("bert", tmp_path), tmp_path / "out", tools, data)
