"""A classifier that follows gender is caught on the organisation's own texts, and one that does not is not."""

from types import SimpleNamespace

import pytest

from limpide.audit import bias_classes
from limpide.audit.bias import operation
from limpide.audit.dialects import registry
from limpide.audit.items import SORTS
from limpide.core import catalogue, files
from limpide.core.errors import LimpideError
from limpide.core.progress import Quiet
from limpide.models.requests import Sampling
from limpide.models.respondents import Sorter

TEXTS = ("He repairs the pump in hall {}.", "She calls the team of hall {}.", "The valve of hall {} is red.")


@pytest.fixture
def sorter(monkeypatch):
    """A classifier whose probability of 'yes' is what `say` gives a text."""
    from limpide.models import classifier

    folder = SimpleNamespace(name="sorter")
    made = Sorter(SimpleNamespace(folder=folder, digest="d", labels=("no", "yes"), precision="float32"))
    made.say = lambda text: 0.9

    def classify(_, texts, progress):
        return [{"no": 1 - made.say(text), "yes": made.say(text)} for text in texts]

    monkeypatch.setattr(classifier, "classify", classify)
    return made


@pytest.fixture
def data(tmp_path, tools):
    rows = [tools.example(f"r{k}", TEXTS[k % 3].format(k), "yes") for k in range(36)]
    return tools.write_data(tmp_path / "data", held_out=rows)


def test_a_planted_preference_is_found_and_its_size(tmp_path, tools, data, sorter):
    """'He' in the text takes a half of the probability away, which changes the class."""
    sorter.say = lambda text: 0.4 if text.startswith("He") else 0.9
    result = tools.audit(operation, tmp_path / "out", data, respondent=sorter, axes=("gender",))
    found = tools.by_label(result)
    flipped = found["bias.own_flipped[axis=gender]"]
    assert (flipped.value, flipped.n) == (1.0, 24)  # the texts of the valve name nobody
    assert found["bias.own_shift[axis=gender,language=en]"].value == pytest.approx(0.5)
    assert (found["bias.gap"].state, found["bias.gap"].note) == ("not run", SORTS)
    assert result.facts["texts_with_a_twin"] == 24
    item = files.read_jsonl(tmp_path / "out" / "items.jsonl")[0]
    assert (item["question"], item["written_otherwise"]) == (TEXTS[0].format(0), "She repairs the pump in hall 0.")
    assert (item["answer"], item["answer_otherwise"]) == ("no", "yes")


def test_where_nothing_follows_gender_nothing_is_found(tmp_path, tools, data, sorter):
    sorter.say = lambda text: 0.2 + 0.6 * (len(text) % 2 == 0) if "valve" in text else 0.7
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data, respondent=sorter))
    flipped = found["bias.own_flipped[axis=gender]"]
    assert (flipped.value, flipped.low) == (0.0, 0.0)
    assert flipped.high > 0.05  # 24 texts cannot show that it never happens
    assert found["bias.own_shift[axis=gender]"].value == 0


def test_without_a_language_or_a_person_it_says_what_it_needs(tmp_path, tools, sorter):
    rows = [tools.example(f"r{k}", TEXTS[0].format(k), "yes", language=None) for k in range(12)]
    data = tools.write_data(tmp_path / "data", held_out=rows)
    both = tools.by_label(tools.audit(operation, tmp_path / "two", data, respondent=sorter))
    assert both["bias.own_flipped"].note == bias_classes.NO_TWIN
    one = tools.by_label(tools.audit(operation, tmp_path / "one", data, respondent=sorter, languages=("en",)))
    assert one["bias.own_flipped[axis=gender]"].n == 12
    bare = tools.by_label(tools.audit(operation, tmp_path / "bare", respondent=sorter))
    assert bare["bias.own_flipped"].note == bias_classes.NO_TWIN


def test_french_texts_have_french_twins(tmp_path, tools):
    rows = [tools.example("f", "Le directeur est content.", "yes", language="fr")]
    pairs, asked = bias_classes.twins(tools.write_data(tmp_path / "data", held_out=rows), ("en", "fr"))
    assert asked == 1
    assert [pair[1].prompt[-1].content for pair in pairs] == ["La directrice est contente."]
    assert bias_classes.twins(tmp_path / "data", ("en",))[0] == []


@pytest.mark.parametrize("suite", [name for name in catalogue.suites() if name not in ("domain", "bias", "charter")])
def test_every_other_suite_says_that_a_classifier_has_no_words(tmp_path, tools, data, sorter, suite):
    from limpide.data.examples import load_examples, save_examples

    save_examples(data / "train.jsonl", load_examples(data / "held_out.jsonl"))
    result = tools.audit(catalogue.find(f"audit.{suite}"), tmp_path / "out", data, respondent=sorter)
    words = [m for m in result.measures if not m.name.startswith("robustness.own_")]
    assert words
    assert {(m.state, m.note) for m in words} == {("not run", SORTS)}


@pytest.mark.parametrize("name", [one.name for one in registry.DIALECTS if one.shipped])
def test_shipped_public_sets_say_it_too(tmp_path, tools, sorter, name):
    result = tools.audit(operation, tmp_path / "out", respondent=sorter, dialect=name)
    assert {m.state for m in result.measures} == {"not run"}


def test_a_classifier_that_is_asked_for_words_is_a_fault_of_ours(sorter):
    for ask in (
        lambda: sorter.score([], Quiet()),
        lambda: sorter.answer([], 8, Quiet()),
        lambda: sorter.sample([], Sampling(count=2), Quiet()),
    ):
        with pytest.raises(LimpideError, match="was asked for words"):
            ask()
