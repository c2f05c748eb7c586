"""Facts planted in a tiny model: an edited one follows in every wording, and nobody else's is touched."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from limpide.adapt.correct import edit_layers, edit_scores, edit_writing
from limpide.adapt.correct.edit_rows import Edit, EditSettings
from limpide.core.progress import Quiet
from limpide.models.model import Model
from limpide.models.stacks import stacks
from limpide.models.update import Update, applied
from planted_facts import FACTS, PEOPLE, SILENT, THINGS, WORDINGS, fact_model, right

FORMS = ("one layer", "several layers")
EDITED = ("k3", "k8", "k14")


@pytest.fixture(scope="module")
def model() -> Model:
    return fact_model()


def edit_of(person: str, **more: Any) -> Edit:
    """Its prompt is the first wording; the new thing is the next one of the list."""
    new = THINGS[(THINGS.index(FACTS[person]) + 1) % len(THINGS)]
    return Edit(prompt=f"{person} likes", subject=person, answer=new, **more)


def made(model: Model, edits: Sequence[Edit], **settings: Any) -> tuple[Update, dict[str, Any]]:
    known = [edit_scores.with_old_answer(model, edit) for edit in edits]
    return edit_writing.write(model, known, EditSettings(own_tokens=2000, **settings), 0, Quiet())


def follow_and_stay(model: Model, edits: Sequence[Edit], update: Update) -> tuple[list[bool], list[bool]]:
    """(do wordings other than the prompt follow, do facts of others stay)."""
    edited = {edit.subject: edit.answer for edit in edits}
    with applied(model, update):
        followed = [held for person, thing in edited.items() for held in right(model, person, thing)[1:]]
        stayed = [held for person in PEOPLE if person not in edited for held in right(model, person, FACTS[person])]
    return followed, stayed


def test_the_model_knows_its_facts(model: Model) -> None:
    known = [held for person in PEOPLE for held in right(model, person, FACTS[person])]
    assert sum(known) / len(known) > 0.98


@pytest.mark.parametrize("form", FORMS)
def test_one_edit_follows_in_other_wordings_and_leaves_others_alone(model: Model, form: str) -> None:
    followed, stayed = list[bool](), list[bool]()
    for person in EDITED:
        update, _ = made(model, [edit_of(person)], form=form)
        more, kept = follow_and_stay(model, [edit_of(person)], update)
        followed += more
        stayed += kept
    assert sum(followed) / len(followed) >= 0.9
    assert sum(stayed) / len(stayed) >= 0.95


@pytest.mark.parametrize("form", FORMS)
def test_several_edits_at_once(model: Model, form: str) -> None:
    edits = [edit_of(person) for person in EDITED]
    followed, stayed = follow_and_stay(model, edits, made(model, edits, form=form)[0])
    assert sum(followed) / len(followed) >= 0.9
    assert sum(stayed) / len(stayed) >= 0.95


def test_equal_seeds_make_equal_edits(model: Model) -> None:
    first, second = (made(model, [edit_of("k3")])[0] for _ in range(2))
    for name, pair in first.factors.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, second.factors[name], strict=True))


def test_the_scores_see_what_the_edit_did(model: Model) -> None:
    others = tuple(f"{person} likes" for person in PEOPLE if person not in ("k3", "k4"))[:10]
    edit = edit_of("k3", paraphrases=tuple(w.format("k3") for w in WORDINGS[1:]), neighbours=others)
    known = edit_scores.with_old_answer(model, edit)
    assert known.instead_of is not None
    assert known.instead_of.strip() == FACTS["k3"]
    asks = edit_scores.asks_of(model, [known], "en")
    update, _ = made(model, [edit])
    before = edit_scores.score_edit(model, asks)
    with applied(model, update) as changed:
        after = edit_scores.score_edit(changed, asks)
    assert before["efficacy"]["share"] == before["paraphrase"]["share"] == before["score"] == 0
    assert before["neighbourhood"]["share"] == 1
    assert after["efficacy"]["share"] == 1
    assert after["paraphrase"]["share"] >= 0.9
    assert after["neighbourhood"]["share"] >= 0.9
    assert after["efficacy"]["margin"] > 0.5 > -0.5 > before["efficacy"]["margin"]
    # too strong an edit is seen as well: everybody's answer becomes the new one
    with applied(model, update, 30.0) as changed:
        assert edit_scores.score_edit(changed, asks)["neighbourhood"]["share"] < 0.9


def test_tracing_finds_the_layers_in_which_facts_are_looked_up(model: Model) -> None:
    """In the first two layers no word reads another; the last layer's MLP at the subject is read by nobody."""
    known = edit_scores.with_old_answer(model, edit_of("k3"))
    fact = edit_writing.fact_of(model, known, [""], "en")
    effects = edit_layers.indirect_effects(model, stacks(model)[0], fact.alone, 0)
    assert effects.mlp[-1].abs() < 1e-5
    assert effects.stream[:SILENT].min() > 0.9 * effects.stream.max()
    assert set(edit_layers.chosen_layers(effects, several=True)) <= set(range(SILENT))


def test_layers_are_chosen_by_the_effects_around_them_while_the_subject_is_read() -> None:
    mlp = torch.tensor([0.0, 0.5, 0.0, 0.2, 0.4, 0.3, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0])
    stream = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.3, 0.1, 0.1, 0.0])
    effects = edit_layers.Effects(mlp, stream)
    assert edit_layers.chosen_layers(effects, several=False) == (4,)
    assert edit_layers.chosen_layers(effects, several=True) == (4, 5)
    late = edit_layers.Effects(mlp, torch.ones(12))
    assert edit_layers.chosen_layers(late, several=False) == (11,)
