"""Free pronouns: a planted leaning is found, a frame's own is not counted, and both numbers are what they say."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from limpide.audit.bias import BiasSettings, operation
from limpide.audit.compare import compare
from limpide.audit.dialects import pronouns, registry
from limpide.audit.dialects.pronouns import read_sentences
from limpide.audit.items import load_items
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.shipped import read_probe
from limpide.models.respondents import Opened
from told import Told

NAME = "pronouns@limpide"
BOTH = ("en", "fr")
SENTENCES = {(s.context, word): (s, side) for s in read_sentences(BOTH) for word, side in ((s.she, 1), (s.he, -1))}


def run(out, respondent, **settings):
    out.mkdir()
    result = operation.run(Subject(out=out, respondent=respondent), BiasSettings(dialect=NAME, **settings), Quiet())
    result.save(out)
    return result, {m.label: m for m in result.measures}


def leaning(odds):
    """A respondent whose log-odds of she against he are `odds(sentence)`."""

    def likelihood(context, word):
        sentence, side = SENTENCES[context, word]
        return -5 + side * odds(sentence) / 2

    return Told(likelihood=likelihood)


# ------------------------------------------------------------------------------------------------------- the measures


@pytest.mark.parametrize("size", [0.8, 0.0, -0.8])
def test_a_planted_stereotype_is_found_with_its_sign(tmp_path, size):
    """Occupations lean by ±size/2 with what is declared, and by 0.3 of their own; frames lean as they like."""
    random, own = np.random.default_rng(0), {}
    for kind in {(s.language, s.label) for s in read_sentences(BOTH)}:
        persons = list(dict.fromkeys(s.person for s in read_sentences(BOTH) if (s.language, s.label) == kind))
        drawn = random.normal(0, 0.3, len(persons))
        own |= {(kind[0], person): value for person, value in zip(persons, drawn - drawn.mean(), strict=True)}

    def odds(s):
        side = {"female": 1, "male": -1, "neither": 0}[s.label]
        return 3.0 * (s.frame - 2) + 5.0 * (s.language == "fr") + side * size / 2 + own[s.language, s.person]

    _, found = run(tmp_path / "out", leaning(odds))
    for label in ("", "[language=en]", "[language=fr]"):
        measure = found[f"bias.pronouns_limpide_alignment{label}"]
        assert measure.low < size < measure.high
        assert measure.high - measure.low < 0.6
        assert measure.state == "measured"
    assert found["bias.pronouns_limpide_alignment"].clusters == 92
    assert found["bias.pronouns_limpide_spread"].clusters == 128


def test_a_model_to_which_the_occupation_says_nothing_has_0_however_frames_and_languages_lean(tmp_path):
    result, found = run(tmp_path / "out", leaning(lambda s: 3.0 * s.frame - 4.0 * (s.language == "fr")))
    for measure in found.values():
        assert measure.value == pytest.approx(0, abs=1e-9)
        assert measure.low == pytest.approx(0, abs=1e-9)
        assert measure.high == pytest.approx(0, abs=1e-9)
    assert len(found) == 6
    assert result.warnings == ()


def test_both_numbers_by_their_definition(tmp_path):
    """Mean over frames of |log-odds − the frame's mean|, and the difference of the means of the two labels."""
    random = np.random.default_rng(0)
    told = {(s.context): random.normal() for s in read_sentences(BOTH)}
    _, found = run(tmp_path / "out", leaning(lambda s: told[s.context]), languages=("fr",))
    french = read_sentences(("fr",))
    frames = [np.array([told[s.context] for s in french if s.frame == frame]) for frame in range(6)]
    spread = np.mean([np.abs(values - values.mean()).mean() for values in frames])
    of = {label: np.mean([told[s.context] for s in french if s.label == label]) for label in ("female", "male")}
    assert found["bias.pronouns_limpide_spread"].value == pytest.approx(spread)
    assert found["bias.pronouns_limpide_alignment"].value == pytest.approx(of["female"] - of["male"])
    assert found["bias.pronouns_limpide_alignment"].n == 40 * 6
    assert found["bias.pronouns_limpide_spread"].n == 58 * 6


def test_items_pair_by_sentence_and_are_clustered_by_occupation(tmp_path):
    run(tmp_path / "a", leaning(lambda s: len(s.person)))
    result, _ = run(tmp_path / "b", leaning(lambda s: -len(s.person)))
    before, after = load_items(tmp_path / "a"), load_items(tmp_path / "b")
    assert [item.id for item in before] == [item.id for item in after]
    assert len({item.id for item in before}) == len(before) == 128 * 6
    first = before[0]
    assert (first.id, first.cluster) == ("en/nurse/1", "en/nurse")
    assert first.shown["sentence"] == "The nurse said that"
    assert set(first.shown["log_likelihood"]) == {"she", "he"}
    assert first.shown["log_odds"] == 5.0
    neither = [item for item in before if item.group["label"] == "neither"]
    assert len(neither) == 36 * 6
    assert all("alignment" not in item.metric for item in neither)
    assert result.facts["most_male"][0] == "fr/auxiliaire de puériculture"
    assert result.facts["occupations"] == {"female": 46, "male": 46, "neither": 36}


def test_a_leaning_that_is_halved_is_seen_as_better_pair_by_pair(tmp_path):
    random = np.random.default_rng(0)
    own = {s.id: random.normal() * 0.3 + (s.label == "female") for s in read_sentences(BOTH)}
    for name, share in (("base", 1.0), ("result", 0.5)):
        run(tmp_path / name, leaning(lambda s, share=share: 7 * (1 - share) + share * own[s.id]))
    changes = {(c.name, c.group.get("language")): c for c in compare(tmp_path / "base", tmp_path / "result")}
    for language in (None, *BOTH):
        spread, alignment = (changes[f"bias.pronouns_limpide_{q}", language] for q in ("spread", "alignment"))
        assert spread.after == pytest.approx(spread.before / 2)
        assert alignment.after == pytest.approx(alignment.before / 2)
        assert spread.verdict == alignment.verdict == "better"


def test_the_method_names_languages_and_sentences_and_the_note_whose_labels_they_are(tmp_path):
    _, found = run(tmp_path / "out", leaning(lambda s: len(s.person)), languages=("fr",))
    measure = found["bias.pronouns_limpide_alignment"]
    assert re.fullmatch(
        r"pronouns@limpide\.alignment@1\(languages=fr,sentences=\w{12},centre=frame,scored=sum\)", measure.method
    )
    assert "declared by Limpide's authors, by judgement" in measure.note
    assert {m.better for m in found.values()} == {"lower", "nearer zero"}


# ------------------------------------------------------------------------------------------------------ who is asked


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_every_kind_of_weights_can_be_asked(family, tmp_path, tiny_model):
    _, found = run(tmp_path / "out", Opened(tiny_model(family)), languages=("en",))
    spread = found["bias.pronouns_limpide_spread"]
    assert 0 < spread.low < spread.value < spread.high


def test_the_log_odds_are_those_of_the_network(tmp_path, tiny_model):
    model = tiny_model("llama")
    run(tmp_path / "out", Opened(model), languages=("fr",))
    for item in load_items(tmp_path / "out")[::97]:
        context = model.tokenizer(item.shown["sentence"])["input_ids"]
        naive = {}
        for word in (" elle", " il"):
            ids = model.tokenizer(word)["input_ids"]
            with torch.inference_mode():
                logits = model.network(input_ids=torch.tensor([context + ids])).logits[0].log_softmax(-1)
            naive[word] = sum(float(logits[len(context) - 1 + k, token]) for k, token in enumerate(ids))
        assert item.shown["log_odds"] == pytest.approx(naive[" elle"] - naive[" il"], abs=1e-4)


def test_whoever_tells_no_likelihoods_has_measures_that_say_so(tmp_path):
    closed = SimpleNamespace(can=frozenset({"generates"}), kind="endpoint", title="x", digest=None, facts=dict)
    _, found = run(tmp_path / "out", closed)
    assert {m.state for m in found.values()} == {"not run"}
    assert all("needs the likelihood of given words" in m.note for m in found.values())


@pytest.mark.parametrize("setting", [{"file": "x.csv"}, {"category": "gender"}])
def test_a_file_or_category_is_refused_since_the_set_is_shipped(setting):
    with pytest.raises(
        ValidationError, match="'pronouns@limpide' is shipped with Limpide and is asked whole: leave out"
    ):
        BiasSettings(dialect=NAME, **setting)


def test_a_part_of_the_templates_is_refused_where_they_are_not_asked():
    for name in (NAME, "crows@lm-eval"):
        with pytest.raises(ValidationError, match=f"a part is of the shipped templates, which '{name}' does not ask"):
            BiasSettings(dialect=name, part="judge")


# --------------------------------------------------------------------------------------------------- what is shipped


def test_occupations_are_many_met_once_and_as_many_of_each_side():
    """The difference of two means is the mean of ±2·shift only where both sides are as many."""
    shipped = json.loads(read_probe(pronouns.PROBE))
    assert set(shipped) == set(pronouns.LANGUAGES) == set(BOTH)
    for language, least in (("en", 60), ("fr", 40)):
        persons = shipped[language]["persons"]
        every = [person for label in persons.values() for person in label]
        assert len(every) == len(set(every)) >= least
        assert len(persons["female"]) == len(persons["male"]) >= 20
        assert len(persons["neither"]) >= 15
        assert len(set(shipped[language]["frames"])) >= 5
    assert registry.find(NAME).known_limits.count("70 occupations in English, 58 in French") == 1


def test_nothing_in_a_sentence_tells_the_gender():
    gendered = {
        "en": r"(man|men|woman|women|boy|girl|lady|wife|ess|maid|mother|father)$",
        "fr": r"(euse|trice|ière|ienne|eur|ier|ien|ant|ante|teur|tif|ive|é|ée)$",  # endings that one form alone has
    }
    determiners = re.compile(r"\b(le|la|un|une|son|sa|mon|ma|ce|cet|cette|du|au|she|he|her|his)\b")
    for sentence in read_sentences(BOTH):
        words = sentence.person.split()
        noun = words[0] if sentence.language == "fr" else words[-1]
        assert not re.search(gendered[sentence.language], noun), sentence.person
        assert sentence.context.count(sentence.person) == 1
        around = sentence.context.casefold().replace(sentence.person, "")
        assert not determiners.search(around.replace("la porte", "")), sentence.context
        assert sentence.context == sentence.context.strip()
        assert not sentence.context.endswith(("que", "qu'", "'"))  # "que il" is no French
        assert sentence.she.startswith(" ")
        assert sentence.he.startswith(" ")
