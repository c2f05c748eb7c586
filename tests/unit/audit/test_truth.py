import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from limpide.audit import compare, truth_options
from limpide.audit.items import load_items
from limpide.audit.truth import operation, smallest_detectable
from limpide.audit.truth_answers import is_right
from limpide.audit.truth_options import read_choice, softmax
from limpide.audit.truth_questions import questions_digest, read_questions
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.requests import Answer

BOTH = ("en", "fr")
OPTIONS = {q.text: q for q in read_questions("options", BOTH)}
SHORT = {q.text: q for q in read_questions("short", BOTH)}
NEITHER = {q.text: q for q in read_questions("unanswerable", BOTH)}


def place(context, continuation):
    """(the question, the index of the option that is asked about)."""
    question = OPTIONS[context[0]]
    return question, question.options.index(" ".join(continuation[:-1]))


def told(fake, probabilities):
    """Let the model give each question's options these probabilities. probabilities: {question: four}."""
    fake.likelihood = lambda *asked: math.log(probabilities[place(*asked)[0].text][place(*asked)[1]])


def run(tmp_path, tools, name="out", seed=0, **settings):
    result = tools.audit(operation, tmp_path / name, seed=seed, **settings)
    return result, tools.by_label(result)


# ----------------------------------------------------------------------------------------------------------- options


def test_a_model_that_knows_is_right_and_a_constant_has_no_calibration(tmp_path, fake, tools):
    fake.likelihood = lambda *asked: -0.1 if place(*asked)[0].right == place(*asked)[1] else -30.0
    _, found = run(tmp_path, tools, parts=("options",))
    accuracy = found["truth.accuracy"]
    assert (accuracy.value, accuracy.n, accuracy.clusters, accuracy.interval) == (1, 420, 420, "Wilson")
    assert {label for label in found if label.startswith("truth.accuracy[")} == {
        "truth.accuracy[language=en]",
        "truth.accuracy[language=fr]",
    }
    assert found["truth.accuracy_per_token"].value == 1
    assert found["truth.brier"].value == pytest.approx(0, abs=1e-9)
    assert found["truth.ece"].state == "insufficient evidence"
    assert "the same correct (1)" in found["truth.ece"].note
    assert "truth.made_up" not in found


def simulated(sharper=1.0, seed=5):
    """{question: four probabilities} such that the right option is right as often as it is likely; then sharpened."""
    random = np.random.default_rng(seed)
    found = {}
    for text, question in OPTIONS.items():
        p = random.dirichlet([0.8] * 4)
        right = random.choice(4, p=p)
        p[[question.right, right]] = p[[right, question.right]]
        p = p**sharper
        found[text] = (p / p.sum()).tolist()
    return found


def test_calibrated_confidences_have_no_detectable_error_and_sharpened_ones_do(tmp_path, fake, tools):
    told(fake, simulated())
    result, calibrated = run(tmp_path, tools, "before", parts=("options",))
    for name in ("truth.ece", "truth.ece_equal_mass"):
        assert calibrated[name].value < 0.06
        assert calibrated[name].low == 0
    told(fake, simulated(sharper=4.0))
    _, sharp = run(tmp_path, tools, "after", parts=("options",))
    for name in ("truth.ece", "truth.ece_equal_mass"):
        assert sharp[name].low > 0.1
    assert sharp["truth.accuracy"].value == calibrated["truth.accuracy"].value
    assert sharp["truth.brier"].value > calibrated["truth.brier"].value
    assert (
        calibrated["truth.aurc"].value < 1 - calibrated["truth.accuracy"].value
    )  # the sure answers are the right ones
    assert calibrated["truth.selective_accuracy"].value > calibrated["truth.accuracy"].value
    changes = {c.label: c for c in compare.compare(tmp_path / "before", tmp_path / "after", draws=1000)}
    assert changes["truth.ece"].verdict == "worse"
    assert changes["truth.accuracy"].verdict == "no detectable change"
    assert "paired bootstrap of clusters" in changes["truth.ece"].test
    rows = result.facts["reliability"]["all"]
    assert sum(row["n"] for row in rows) == 420
    filled = [row for row in rows if row["n"] > 40]
    assert all(abs(row["confidence"] - row["accuracy"]) < 0.15 for row in filled)


def test_ece_and_brier_by_hand(tmp_path, fake, tools):
    """Confidence 0.73 on every question but the first twenty of each language, 0.46; right on those and on half."""
    few = {q.text for q in OPTIONS.values() if int(q.id[-3:]) <= 20}
    table = {}
    for k, (text, q) in enumerate(OPTIONS.items()):
        top = q.right if text in few or k % 2 else (q.right + 1) % 4
        confidence = 0.46 if text in few else 0.73
        table[text] = [confidence if o == top else (1 - confidence) / 3 for o in range(4)]
    told(fake, table)
    result, found = run(tmp_path, tools, parts=("options",))
    right = 40 + sum(k % 2 for k, text in enumerate(OPTIONS) if text not in few)
    assert found["truth.accuracy"].value == pytest.approx(right / 420)
    assert found["truth.ece"].value == pytest.approx((40 * 0.54 + 380 * abs((right - 40) / 380 - 0.73)) / 420)
    unsure, sure, wrong = 0.54**2 + 3 * 0.18**2, 0.27**2 + 3 * 0.09**2, 0.73**2 + 0.91**2 + 2 * 0.09**2
    expected = (40 * unsure + (right - 40) * sure + (420 - right) * wrong) / 420
    assert found["truth.brier"].value == pytest.approx(expected)
    curve = result.facts["risk_coverage"]["all"]
    assert len(curve) == 50
    assert curve[-1] == {"coverage": 1.0, "risk": pytest.approx(1 - right / 420)}
    assert [row["n"] for row in result.facts["reliability"]["all"]] == [0, 0, 0, 0, 40, 0, 0, 380, 0, 0]
    assert sum(row["n"] for row in result.facts["topics"]["correct"].values()) == 420


def test_a_choice_per_token_does_not_set_long_options_back(tmp_path, fake, tools):
    def likelihood(context, continuation):
        question, option = place(context, continuation)
        return -len(continuation) * (1.0 if option == question.right else 1.1)

    fake.likelihood = likelihood
    _, found = run(tmp_path, tools, parts=("options",))

    def total(q, o):
        return -(len(q.options[o].split()) + 1) * (1.0 if o == q.right else 1.1)

    summed = [max(range(4), key=lambda o, q=q: total(q, o)) == q.right for q in OPTIONS.values()]
    assert found["truth.accuracy_per_token"].value == 1
    assert found["truth.accuracy"].value == pytest.approx(sum(summed) / 420)
    assert not all(summed)


def test_options_are_scored_together(tmp_path, fake, tools, monkeypatch):
    """Fast precision scores again what decides a question: it must be told which requests those are."""
    from limpide.models import respondents

    seen = []
    score = respondents.Opened.score

    def spied(opened, asked, progress=None, compared=None):
        seen.extend(compared)
        return score(opened, asked, progress, compared)

    monkeypatch.setattr(respondents.Opened, "score", spied)
    run(tmp_path, tools, parts=("options",), limit=3)
    assert [list(group) for group in seen] == [list(range(k, k + 4)) for k in range(0, 24, 4)]
    assert len({request.context for request in fake.asked[:4]}) == 1


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("B", 1),
        ("b.", 1),
        ("**C**", 2),
        ("(D) Nice", 3),
        ("The correct answer is: A.", 0),
        ("The answer is B", 1),
        ("La bonne réponse est C.", 2),
        ("Réponse : D", 3),
        ("B\nBecause it is", 1),
        ("It is Lyon, of course.", 1),
        ("lyon", 1),
        ("New Paris", 2),  # the longer option, of which another is a part
        ("A city in the south", None),
        ("Lyon or Nice", None),
        ("Marseille", None),
        ("E", None),
        ("", None),
        ("D'accord : Paris", 0),
        ("La réponse correcte est B.", 1),
        ("La bonne réponse est la B", 1),
        ("La bonne réponse est la lettre B", 1),
        ("Réponse B", 1),
        ("C'est B", 1),
        ("C’est la B.", 1),
        ("The answer is letter B.", 1),
        ("My answer is B.", 1),
        ("It is B.", 1),
        ("The answer is B because it is in the south.", 1),
        ("Option B is correct", 1),
        ("The correct option is (C)", 2),
        ("I think the answer is D.", 3),
        ("So the answer is C, of course", 2),
        ("Answer: b", 1),
        ("The answer is a.", 0),
        ("The answer is A because", 0),
        ("The right choice is option D", 3),
        ("The answer is **B**: Lyon", 1),
        ("B is correct.", 1),
        ("B is the correct answer", 1),
        ("A: Lyon", 1),
        ("A: Paris", 0),
        ("A:", 0),
        ("A) Paris", 0),
        ("A. Lyon", 0),
        ("Ma réponse : la lettre C", 2),
        ("Il s'agit de la réponse D.", 3),
        ("B - Lyon", 1),
        ("B Lyon", 1),
        ("The answer is option A which", 0),
        ("That's C!", 2),
        ("Final answer: D", 3),
        ("Réponse correcte : C", 2),
        ("La réponse D est la bonne.", 3),
        ("The answer is B, not A.", 1),
        ("I don't know", None),
        ("I do not know.", None),
        ("It is a river.", None),
        ("The answer is a city in the south", None),
        ("It's a trap", None),
        ("C'est dommage", None),
        ("C'est à voir", None),
        ("The answer is debatable", None),
        ("Option", None),
        ("The answer is not B.", None),
        ("Je ne sais pas, c'est difficile", None),
        ("It is A great city", None),
        ("D'accord", None),
        ("C'est d'accord", None),
        ("It is neither A nor B.", None),
        ("The answer is B or C.", None),
        ("B or C", None),
        ("A and B", None),
        ("Both A and B are correct", None),
        ("La réponse est soit B, soit C", None),
        ("A, B", None),
        ("C'est Lyon", 1),
        ("The answer is Nice.", 3),
        ("I don't know. The answer is B?", None),
        ("It is a Lyon dish", 1),
        ("The answer is B: New Paris", 2),
    ],
)
def test_a_choice_is_read_from_text(answer, choice):
    assert read_choice(answer, ("Paris", "Lyon", "New Paris", "Nice")) == choice


def test_softmax_keeps_far_options_finite():
    assert softmax([-1000.0, -1000.0 - math.log(3)]) == pytest.approx([0.75, 0.25])
    assert softmax([0.0, -5000.0]) == [1.0, 0.0]


def test_pictures_of_nothing_are_none():
    assert truth_options.pictures([]) == {}


# ----------------------------------------------------------------------------------------------------------- answers


def brief(question):
    return question.split("\n")[0]


def test_planted_knowledge_invention_and_doubt_are_found(tmp_path, fake, tools):
    """Right on the first 100 of each language, unsure on the next 50; invents on the first 63 of 105."""

    def answer(question):
        text = brief(question)
        q = SHORT.get(text) or NEITHER[text]
        number = int(q.id[-3:])
        if text in SHORT:
            if number <= 100:
                return f"Let me see: {q.expected[-1]}! But Zorgon is near."
            return "I don't know." if number <= 150 else "Zorgon."
        return "It was built in 1823." if number <= 63 else f"Il n'existe pas de {q.invented}."

    fake.answer = answer
    _, found = run(tmp_path, tools, parts=("short", "unanswerable"))
    assert found["truth.short_accuracy"].value == pytest.approx(200 / 420)
    assert found["truth.unsure_on_known"].value == pytest.approx(100 / 420)
    made_up = found["truth.made_up"]
    assert (made_up.value, made_up.n) == (pytest.approx(0.6), 210)
    assert 0.52 < made_up.low < 0.6 < made_up.high < 0.67
    assert 0 < found["truth.short_f1"].value < 0.4
    assert "admission=rules-2" in made_up.method
    shown = {item.id: item for item in load_items(tmp_path / "out")}
    assert shown["truth-unanswerable-fr-105"].shown["admitted"] is True
    assert shown["truth-short-en-001"].group["topic"] == SHORT[shown["truth-short-en-001"].shown["question"]].topic


def test_a_model_that_declines_everything_invents_nothing_and_is_caught(tmp_path, fake, tools):
    fake.answer = lambda question: "Sorry, I don't know."
    _, found = run(tmp_path, tools, parts=("short", "unanswerable"))
    assert (found["truth.made_up"].value, found["truth.unsure_on_known"].value) == (0, 1)
    fake.answer = lambda question: ""
    _, found = run(tmp_path, tools, "empty", parts=("short", "unanswerable"))
    assert (found["truth.made_up"].value, found["truth.unsure_on_known"].value) == (0, 1)


def test_one_prompt_for_both_so_that_declining_compares(tmp_path, fake, tools):
    asked = []
    fake.answer = lambda question: asked.append(question) or ""
    run(tmp_path, tools, parts=("short", "unanswerable"), limit=2, languages=("fr",))
    assert len(asked) == 4
    assert all(question.endswith("\nRépondez en quelques mots.") for question in asked)


def test_a_right_answer_is_in_the_first_sentence():
    assert is_right("It is Paris. Not Lyon.", ("Paris",))
    assert not is_right("It is Lyon. Not Paris.", ("Paris",))
    assert is_right("the USA", ("United States", "USA"))
    assert not is_right("Parisian", ("Paris",))


# ---------------------------------------------------------------------------------------------------------- semantic


@pytest.fixture
def sampled(fake, monkeypatch):
    """Right on even questions. Five answers alike where right, five different where wrong; lengths say nothing."""
    from limpide.models import generation

    random = np.random.default_rng(3)

    def right(text):
        return int(SHORT[text].id[-3:]) % 2 == 0

    fake.answer = lambda question: SHORT[brief(question)].expected[0] if right(brief(question)) else "Zorgon"

    def sample(opened, prompts, sampling, progress=None, cache=None):
        assert (sampling.temperature, sampling.count) == (1.0, 5)
        found = []
        for messages in prompts:
            text = brief(messages[-1].content)
            longer = " ".join(["it is"] * int(random.integers(1, 9)))
            words = [SHORT[text].expected[0]] * 5 if right(text) else [f"word{k}" for k in range(5)]
            found.append([Answer(f"{longer} {word}", -2.0, 4) for word in words])
        return found

    monkeypatch.setattr(generation, "sample", sample)
    return fake


def test_entropy_that_separates_has_an_auc_of_one_and_length_none(tmp_path, sampled, tools):
    _, found = run(tmp_path, tools, parts=("semantic",))
    entropy, length = found["truth.semantic_entropy_auc"], found["truth.length_auc"]
    assert (entropy.value, entropy.n, entropy.high) == (1, 60, 1)
    assert 0.85 < entropy.low < 1
    assert length.low < 0.5 < length.high
    assert length.better == "neither"
    assert 0.2 < found["truth.semantic_entropy_gain"].low < found["truth.semantic_entropy_gain"].value < 0.8
    assert "clusters=normalised,weights=likelihood" in entropy.method
    assert "no entailment model" in entropy.note
    assert {item.group["part"] for item in load_items(tmp_path / "out")} == {"semantic"}


def test_a_question_of_two_parts_is_answered_once(tmp_path, sampled, tools):
    asked = []
    answer = sampled.answer
    sampled.answer = lambda question: asked.append(question) or answer(question)
    _, found = run(tmp_path, tools, parts=("short", "semantic"))
    assert len(asked) == len(set(asked)) == 420
    assert found["truth.semantic_entropy_auc"].value == 1


# ------------------------------------------------------------------------------------------------- whom it can't ask


@dataclass
class Closed:
    """An endpoint that gives text alone."""

    can: frozenset[str] = frozenset({"generates"})
    kind: str = "endpoint"
    title: str = "closed"
    digest: str | None = None
    asked: list[str] = field(default_factory=list)

    def answer(self, asked, max_new_tokens, progress):
        self.asked += [one.id for one in asked]
        return [f"{'ABCD'[q.right]}." if (q := OPTIONS.get(brief(a.messages[-1].content))) else "?" for a in asked]

    def facts(self):
        return {"endpoint": {"requests": len(self.asked)}}


def ask(respondent, out, tools, **settings):
    out.mkdir()
    subject = Subject(out=out, respondent=respondent)
    result = operation.run(subject, operation.settings(**settings), Quiet())
    return result, tools.by_label(result)


def test_without_weights_options_are_asked_by_letter_and_the_rest_says_why_not(tmp_path, tools):
    closed = Closed()
    result, found = ask(closed, tmp_path / "out", tools)
    assert (found["truth.accuracy"].value, found["truth.unreadable"].value) == (1, 0)
    assert "choice=letter" in found["truth.accuracy"].method
    for name in ("truth.ece", "truth.ece_equal_mass", "truth.brier", "truth.aurc", "truth.accuracy_per_token"):
        assert found[name].state == "not run"
        assert "likelihood" in found[name].note
    assert found["truth.semantic_entropy_auc"].state == "not run"
    assert "drawn" in found["truth.semantic_entropy_auc"].note
    assert found["truth.made_up"].state == "measured"
    assert result.facts["endpoint"] == {"requests": 420 + 420 + 210}
    assert "reliability" not in result.facts
    assert len(set(closed.asked)) == len(closed.asked)


def test_what_names_no_option_is_wrong_and_counted(tmp_path, fake, tools):
    fake.answer = lambda question: "I would rather not"
    _, found = run(tmp_path, tools, parts=("options",), choices="letter")
    assert (found["truth.accuracy"].value, found["truth.unreadable"].value) == (0, 1)


def test_a_model_that_fills_in_words_is_asked_the_options_alone(tmp_path, fake, tools):
    fake.kind = "encoder"
    fake.likelihood = lambda context, option: (
        -1.0 if OPTIONS[context].options[OPTIONS[context].right] in option else -9.0
    )
    _, found = run(tmp_path, tools)
    assert found["truth.accuracy"].value > 0.95  # an option may hold the words of another
    assert found["truth.brier"].state == "measured"
    for name in ("truth.short_accuracy", "truth.made_up", "truth.unsure_on_known", "truth.semantic_entropy_auc"):
        assert found[name].state == "not run"
        assert "fills in words" in found[name].note
    _, found = run(tmp_path, tools, "letters", parts=("options",), choices="letter")
    assert found["truth.accuracy"].state == "not run"


# -------------------------------------------------------------------------------------------------------------- plan


def test_what_can_be_seen_is_said_before_anybody_is_asked(tmp_path, tools):
    said = []

    class Said(Quiet):
        def say(self, text):
            said.append(text)

    class Never(Closed):
        def answer(self, asked, max_new_tokens, progress):
            assert [line.split(":")[0] for line in said] == ["truth.accuracy", "truth.short_accuracy", "truth.made_up"]
            raise InterruptedError

    (tmp_path / "out").mkdir()
    subject = Subject(out=tmp_path / "out", respondent=Never())
    with pytest.raises(InterruptedError):
        operation.run(subject, operation.settings(), Said())
    assert said[0].startswith("truth.accuracy: 420 questions find a change of 6.")


def test_smallest_detectable_by_hand():
    """√(0.25·0.75/420)·(1.96 + 0.84) is 0.059; the alternative's variance adds a little."""
    found = smallest_detectable({"options": 420, "semantic": 60})
    assert found["truth.accuracy"]["above_chance"] == pytest.approx(0.0602, abs=5e-4)
    assert found["truth.semantic_entropy_auc"]["above_chance"] == pytest.approx(
        2.8 * math.sqrt(61 / (12 * 900)), abs=1e-3
    )
    assert "too few" in smallest_detectable({"semantic": 10})["truth.semantic_entropy_auc"]["in_words"]
    assert smallest_detectable({}) == {}


def test_the_shipped_questions_are_whole():
    parts = [read_questions(part, BOTH) for part in ("options", "short", "unanswerable")]
    ids = [q.id for part in parts for q in part]
    assert len(ids) == len(set(ids)) == 2 * (210 + 210 + 105)
    assert all(len(set(q.options)) == 4 and 0 <= q.right < 4 for q in parts[0])
    assert all(q.expected and not is_right(q.text, q.expected) for q in parts[1])  # no question holds its answer
    assert all(q.invented for q in parts[2])
    assert len(read_questions("semantic", ("fr",), 7)) == 7
    assert questions_digest(("short",), BOTH) != questions_digest(("short",), ("en",))
    assert questions_digest(("semantic",), BOTH) == questions_digest(("short",), BOTH)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_real_model_from_end_to_end_twice_alike(family, tmp_path, tiny_path, tools):
    settings = {"limit": 2, "semantic_questions": 2, "samples": 2, "max_new_tokens": 3}
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        subject = Subject(out=tmp_path / name, model=tiny_path(family), seed=4)
        result = operation.run(subject, operation.settings(**settings), Quiet())
        found.append([m.value for m in result.measures])
        assert {m.state for m in result.measures} <= {"measured", "insufficient evidence"}
    assert found[0] == found[1]
    assert (tmp_path / "a" / "items.jsonl").read_bytes() == (tmp_path / "b" / "items.jsonl").read_bytes()
    options = [item for item in load_items(tmp_path / "a") if item.group["part"] == "options"]
    assert len(options) == 4
    assert all(0.25 <= item.metric["confidence"] <= 1 for item in options)


@pytest.mark.parametrize(
    ("id", "wrong"),
    [
        ("en-019", "Right, that would be Katze."),
        ("en-033", "That will be a sub-machine."),
        ("en-084", "It will be called a deed."),
        ("en-127", "The best answer is badder."),
        ("en-134", "William Shakespeare"),
        ("en-158", "Alexander Fleming"),
        ("en-164", "The number of colours rose to three: purple."),
        ("en-166", "There is nothing like fifteen."),
        ("fr-040", "Il est permis de montrer son passeport."),
        ("fr-050", "Stephen King"),
        ("fr-092", "Un livre de comptes en euros"),
        ("fr-120", "I cannot say."),
        ("fr-134", "Le but du jeu est la boule."),
        ("fr-141", "La lumière des frères Pathé"),
    ],
)
def test_an_ordinary_word_is_no_right_answer(id, wrong):
    expected = {q.id: q.expected for q in SHORT.values()}[f"truth-short-{id}"]
    assert not is_right(wrong, expected)


@pytest.mark.parametrize(
    ("id", "right"),
    [
        ("en-019", "Hund."),
        ("en-084", "It is called a will."),
        ("en-124", "Carl Linnæus"),
        ("en-134", "William I of England"),
        ("fr-011", "Au palais de l'elysee"),
        ("fr-040", "Le permis."),
        ("fr-050", "Martin Luther King"),
        ("fr-092", "La livre."),
        ("fr-096", "Delemont"),
        ("fr-120", "J.-B. Say"),
        ("fr-141", "Auguste et Louis Lumière"),
    ],
)
def test_a_right_answer_is_right_with_or_without_its_accents(id, right):
    expected = {q.id: q.expected for q in SHORT.values()}[f"truth-short-{id}"]
    assert is_right(right, expected)
