"""Twins become equally likely, on templates that were not learnt from; the rest stays."""

import pytest
import torch

from limpide.adapt.correct import counterfactual, twin_training
from limpide.adapt.correct.common import UPDATE
from limpide.adapt.correct.counterfactual import CounterfactualSettings
from limpide.adapt.correct.low_rank import with_adapter
from limpide.core.errors import DataError, ModelError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data import templates
from limpide.data.swaps import before_gender
from limpide.data.templates import read_cases
from limpide.models.encoding import encode_requests
from limpide.models.likelihood import read
from limpide.models.model import open_model
from limpide.models.requests import Request
from limpide.models.scoring import score
from limpide.models.update import applied, load_update, update_digest
from planted_bias_models import mean_gap, neutral, planted
from tiny import FAMILY_NAMES, tiny_folder

QUICK = {"languages": ("en",), "precision": "float32", "neutral_texts": 20, "own_words": 0, "first_layer": 0.0}
GAP = 1.5


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return {"biased": planted(folder, GAP), "fair": planted(folder, 0.0)}


def corrected(folder, out, seed=0, **settings):
    """(model as it was, update, result)."""
    out.mkdir(parents=True)
    chosen = CounterfactualSettings(**QUICK | settings)
    result = counterfactual.operation.run(Subject(out=out, model=folder, seed=seed), chosen, Quiet())
    return open_model(folder), load_update(out / UPDATE), result


def unseen():
    return read_cases(("gender",), ("en",), "choose") + read_cases(("gender",), ("en",), "judge")


def absolute_gap(model, cases):
    twins = twin_training.of_cases(model, cases)
    with torch.no_grad():
        return float(twin_training.differences(model, twins).sums.abs().mean())


# ---------------------------------------------------------------------------------------------------- planted truths


def test_a_planted_bias_is_cut_by_four_fifths_on_templates_that_were_not_learnt_from(folders, tmp_path):
    model, update, result = corrected(
        folders["biased"], tmp_path / "out", own_words=1, hold=8.0, neutral_texts=80, learning_rate=5e-3
    )
    before, nats = absolute_gap(model, unseen()), neutral_nats(model)
    assert mean_gap(model, unseen()) == pytest.approx(GAP, abs=0.25)
    with applied(model, update, 1.5):
        assert absolute_gap(model, unseen()) < 0.2 * before
        assert neutral_nats(model) > nats - 0.025
    assert absolute_gap(model, unseen()) == pytest.approx(before, abs=1e-6)
    assert result.facts["gap_in_last_steps"] < 0.3 * result.facts["gap_in_first_steps"]


def test_where_no_bias_was_planted_hardly_anything_changes(folders, tmp_path):
    model, update, _ = corrected(folders["fair"], tmp_path / "out", steps=30)
    before, nats = absolute_gap(model, unseen()), neutral_nats(model)
    assert before < 0.2 * GAP
    with applied(model, update):
        assert absolute_gap(model, unseen()) <= before + 0.01
        assert neutral_nats(model) > nats - 0.02


def neutral_nats(model):
    """Nats a token of texts that the model learnt and the correction did not see."""
    items = encode_requests(model, [Request("", "", text) for text in neutral()[:40]])
    with torch.no_grad():
        nats = read(model, items).log_likelihoods(model).sum()
    return float(nats) / sum(len(item.continuation) for item in items)


# ------------------------------------------------------------------------------------------------------ every family


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_twins_become_as_likely_in_every_family(name, tiny_path, tmp_path, monkeypatch):
    """Learnt and measured on a few twins: what the adapter learnt is what the update adds to the weights."""
    few = [case for case in read_cases(("gender",), ("en",), "fit") if case.pair.endswith(("a", "d"))][:16]
    monkeypatch.setattr(counterfactual, "fit_cases", lambda settings: few)
    far_sighted = {"mistral": {"sliding_window": 64}}.get(name)  # else its last place does not see the person
    folder = tiny_folder(name, tmp_path, **far_sighted) if far_sighted else tiny_path(name)
    model, update, result = corrected(
        folder, tmp_path / "out", steps=12, learning_rate=1e-2, hold=0.1, own_words=int(name != "bert")
    )
    before = absolute_gap(model, few)
    assert before > 1e-3
    with applied(model, update):
        assert absolute_gap(model, few) < 0.8 * before
    assert list(result.facts["strengths"]) == sorted(result.facts["strengths"])


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5"])
def test_differences_are_those_of_the_scoring_engine(name, tiny_model):
    model = tiny_model(name)
    cases = read_cases(("gender",), ("fr",), "fit")[:6]
    twins = twin_training.of_cases(model, cases)
    requests = [Request("", context, case.outcome) for case in cases for context in (case.stereotyped, case.other)]
    scores = torch.tensor([one.log_likelihood for one in score(model, requests)])
    with torch.no_grad():
        found = twin_training.differences(model, twins)
    torch.testing.assert_close(found.sums, scores[::2] - scores[1::2], atol=1e-4, rtol=0)
    assert float(found.tokens.sum()) == pytest.approx(float(found.sums.sum()), abs=1e-4)


def test_the_seed_decides_and_layers_left_alone_stay(tiny_path, tmp_path):
    made = [
        corrected(tiny_path("llama"), tmp_path / str(n), seed=seed, steps=2, first_layer=0.5)[1]
        for n, seed in enumerate((0, 0, 1))
    ]
    assert update_digest(made[0]) == update_digest(made[1]) != update_digest(made[2])
    assert made[0].factors
    assert all(name.startswith("model.layers.1.") for name in made[0].factors)


def test_bfloat16_learns_too(tiny_path, tmp_path):
    _, update, result = corrected(tiny_path("llama"), tmp_path / "out", steps=2, precision="bfloat16")
    assert result.facts["precision"] == "bfloat16"
    assert all(left.isfinite().all() and left.abs().max() > 0 for left, _ in update.factors.values())


# ------------------------------------------------------------------------------------------------------------- texts


def test_what_the_model_says_itself_is_read_after_both_persons_and_names_no_gender(folders):
    model = open_model(folders["biased"])
    twins = twin_training.of_own_words(model, ("gender",), ("en",), 2, 0, Quiet())
    assert len(twins) > 8
    for twin in twins:
        assert twin.first.continuation == twin.second.continuation
        assert twin.first.context != twin.second.context
        said = model.tokenizer.decode(twin.first.continuation)
        assert before_gender(said, "en") == said


def test_texts_are_cut_into_what_stands_before_and_the_longest_shared_stretch(tiny_model):
    model = tiny_model("llama")
    texts = [("en", "At noon she opens the shop and then her brother comes."), ("en", "The shop is open.")]
    (twin,), left_out = twin_training.of_texts(model, texts, "gender", None)
    assert left_out == 1
    told = [model.tokenizer.decode(ids) for ids in (twin.first.context, twin.second.context, twin.first.continuation)]
    assert told == ["At noon she", "At noon he", " opens the shop and then "]


def test_ones_own_texts_are_learnt_from_with_ones_own_words(tiny_path, tmp_path):
    texts, listed = tmp_path / "texts.txt", tmp_path / "swaps.tsv"
    texts.write_text("\n".join(f"The Tarn worker checks press {n} before noon." for n in range(10)) + "\nNobody.\n")
    listed.write_text("Tarn\tVoss\n")
    _, _, result = corrected(tiny_path("llama"), tmp_path / "out", steps=1, texts=texts, swaps=listed)
    assert result.facts["text_twins"] == 10
    assert result.facts["texts_left_out"] == 1
    assert result.warnings[0].startswith("1 of 11 sentences were left out")


# --------------------------------------------------------------------------------------------------------- bad input


def test_texts_in_which_nothing_can_be_swapped_are_refused(tiny_path, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("The press stops.\nThe valve opens.\n")
    with pytest.raises(DataError, match="too few sentences") as told:
        corrected(tiny_path("llama"), tmp_path / "out", texts=texts)
    assert told.value.received == "0 of 2"
    with pytest.raises(DataError, match="cannot be read"):
        corrected(tiny_path("llama"), tmp_path / "other", texts=tmp_path / "absent.txt")


def test_texts_about_another_axis_need_a_list(tiny_path, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("The man from Oslo works at the press.\n")
    with pytest.raises(UsageError, match="no shipped list of words to swap for origin"):
        corrected(tiny_path("llama"), tmp_path / "out", texts=texts, axes=("origin",))


def test_an_axis_with_one_group_has_no_twins(tiny_path, tmp_path, monkeypatch):
    pairs = {"en": [{"id": "one", "groups": {"female": "Anna"}}], "fr": []}
    monkeypatch.setattr(templates, "read_pairs", lambda axis: pairs)
    with pytest.raises(DataError, match="'gender' name one group alone"):
        corrected(tiny_path("llama"), tmp_path / "out")


def test_too_few_templates_are_refused(tiny_path, tmp_path, monkeypatch):
    few = read_cases(("gender",), ("en",), "fit")[:8]
    monkeypatch.setattr(templates, "read_cases", lambda *asked: few)
    with pytest.raises(DataError, match="too few templates"):
        corrected(tiny_path("llama"), tmp_path / "out")


def test_training_that_leaves_numbers_says_what_to_lower(tiny_path):
    model = open_model(tiny_path("llama"))
    twins = twin_training.Twins(tuple(twin_training.of_cases(model, read_cases(("gender",), ("en",), "fit")[:8])))
    adapted = with_adapter(model, 2, 0)
    plan = twin_training.Plan(1, 1, 0, 1e-3, 2.0, 0.1, 1.0, 0, 0)
    with pytest.raises(ModelError, match="no number at step 1") as told:
        twin_training.train(adapted, twins, lambda model, rng: torch.tensor(float("nan")), plan, Quiet())
    assert "learning_rate" in told.value.remedy
