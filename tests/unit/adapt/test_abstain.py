"""Abstaining, taught to a tiny model that answers whatever it is asked; held on names that it never saw."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from limpide.adapt.correct import abstain, abstaining
from limpide.adapt.correct.abstain import AbstainSettings
from limpide.adapt.correct.abstaining import WORDINGS, Answered, answered, is_made_up, is_right, pairs_of, require_chat
from limpide.adapt.correct.common import NothingToCorrectError
from limpide.audit.admission import is_admission
from limpide.core.errors import ModelError
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data import questions
from limpide.data.examples import Example, Message
from limpide.data.questions import Question
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.generation import generate
from limpide.models.likelihood import read
from limpide.models.model import Model, open_model
from limpide.models.prompt import answer_request
from limpide.models.update import applied, load_update
from tiny import tiny_folder

COLOURS = ("red", "green", "blue", "black")
KNOWN = ("pump", "valve", "press", "light", "river", "guard", "doctor", "nurse", "water", "team", "key", "code")
ADMISSIONS = Path(__file__).parents[1] / "audit" / "admission_answers.jsonl"
QUICK: dict[str, object] = {"languages": ("en",), "steps": 120, "learning_rate": 0.01, "rank": 4}
QUICK |= {"neutral_texts": 10, "max_new_tokens": 16}
WAYS = {"dpo": {"sft": 3.0, "hold": 0.1}, "orpo": {"beta": 0.3, "hold": 0.2, "learning_rate": 5e-3, "rank": 8}}


def known() -> list[Question]:
    return [Question(name, "en", "t", f"What colour is the {name}?", (COLOURS[n % 4],)) for n, name in enumerate(KNOWN)]


def invented(count: int, seed: int) -> list[Question]:
    rng = random.Random(seed)
    names = [f"Zo{''.join(rng.choices('abcdefghijklmnop', k=4))}" for _ in range(count)]
    return [Question(name, "en", "t", f"What colour is the {name}?", invented=name) for name in names]


def example(question: Question, answer: str) -> Example:
    messages = (Message(role="user", content=question.brief), Message(role="assistant", content=answer))
    return Example(id=question.id, messages=messages, source="planted")


def told(model: Model, item: Encoded) -> str:
    return str(model.tokenizer.decode(item.continuation, skip_special_tokens=True)).strip()


def said(model: Model, asked: Sequence[Question]) -> list[str]:
    return generate(model, [(Message(role="user", content=q.brief),) for q in asked], max_new_tokens=16)


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model that names a colour whatever it is asked: the right one of what it knows, any one of the rest."""
    folder = tiny_folder("llama", tmp_path_factory.mktemp("talkative"))
    model, rng = open_model(folder), random.Random(0)
    taught = [example(q, f"It is {q.expected[0]}.") for q in known()] * 2
    taught += [example(q, f"It is {rng.choice(COLOURS)}.") for q in invented(24, 1)]
    items = encode_requests(model, [answer_request(model, e) for e in taught])
    model.network.requires_grad_(True)
    optimiser = torch.optim.Adam(model.network.parameters(), lr=4e-3)
    for _ in range(120):
        optimiser.zero_grad()
        (-read(model, rng.sample(items, 16)).log_likelihoods(model).mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimiser.step()
    model.network.save_pretrained(folder)
    return folder


@pytest.fixture
def own_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    of = {"unanswerable": invented(30, 2), "short": known()}
    monkeypatch.setattr(abstaining, "read_questions", lambda kind, languages, part: of[kind])


def corrected(folder: Path, out: Path, **changes: object) -> Result:
    out.mkdir()
    return abstain.run(Subject(out=out, model=folder), AbstainSettings.model_validate({**QUICK, **changes}), Quiet())


@pytest.mark.usefixtures("own_questions")
@pytest.mark.parametrize("loss", ["dpo", "orpo"])
def test_it_abstains_on_names_it_never_saw_and_still_answers(loss: str, talkative: Path, tmp_path: Path) -> None:
    model, unseen = open_model(talkative), invented(30, 3)
    assert not any(is_admission(answer) for answer in said(model, unseen))
    right = sum(is_right(a, q.expected) for a, q in zip(said(model, known()), known(), strict=True))
    assert right >= 11
    facts = corrected(talkative, tmp_path / "out", loss=loss, **WAYS[loss]).facts
    assert (facts["asked_unanswerable"], facts["made_up"], facts["asked_answerable"]) == (30, 30, 12)
    assert facts["right"] == right
    with applied(model, load_update(tmp_path / "out" / "update")):
        assert sum(is_admission(a, q.invented) for a, q in zip(said(model, unseen), unseen, strict=True)) >= 27
        assert sum(is_right(a, q.expected) for a, q in zip(said(model, known()), known(), strict=True)) >= right - 1


@pytest.mark.usefixtures("own_questions")
def test_pairs_prefer_abstaining_where_there_is_no_answer_and_answering_where_there_is(talkative: Path) -> None:
    model = open_model(talkative)
    answers = answered(model, ("en",), 0.4, 16, 0, Quiet())
    pairs = pairs_of(model, answers, 0)
    assert len(pairs) == 30 + 12
    texts = [(told(model, pair.chosen), told(model, pair.rejected)) for pair in pairs]
    assert all(chosen in WORDINGS["en"] and rejected.startswith("It is") for chosen, rejected in texts[:30])
    assert all(chosen.startswith("It is") and rejected in WORDINGS["en"] for chosen, rejected in texts[30:])
    assert all(p.chosen.context == p.rejected.context for p in pairs)
    assert all(p.chosen.continuation[-1] in model.stop_ids for p in pairs)


def test_a_wrong_answer_to_what_is_known_is_not_taught(talkative: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [Question(q.id, "en", "t", q.text, ("violet",)) for q in known()]
    of = {"unanswerable": invented(20, 2), "short": wrong}
    monkeypatch.setattr(abstaining, "read_questions", lambda kind, languages, part: of[kind])
    answers = answered(open_model(talkative), ("en",), 1.0, 16, 0, Quiet())
    assert answers.right == 0
    assert {text for _, text in answers.known} == {"violet"}


def test_a_model_that_already_abstains_is_not_taught(talkative: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abstaining, "generate", lambda model, prompts, **_: ["I don't know."] * len(prompts))
    with pytest.raises(NothingToCorrectError, match="too few answers to learn from") as caught:
        answered(open_model(talkative), ("en",), 1.0, 16, 0, Quiet())
    assert str(caught.value.received).startswith("0 of ")


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5"])
def test_models_that_hold_no_conversation_are_refused(
    name: str, tiny_path: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="no chat template") as caught:
        corrected(tiny_path(name), tmp_path / "out")
    assert caught.value.expected == "a decoder with a chat template"


def test_a_model_that_thinks_first_is_refused(tiny_path: Callable[[str], Path]) -> None:
    model = open_model(tiny_path("llama"))
    model.tokenizer.chat_template = model.tokenizer.chat_template.replace("assistant\\n", "assistant\\n<think>\\n")
    with pytest.raises(ModelError, match="thinks before it answers"):
        require_chat(model)


def test_audits_take_every_wording_for_an_admission() -> None:
    assert all(is_admission(wording) for wordings in WORDINGS.values() for wording in wordings)
    assert not any(is_made_up(wording) for wordings in WORDINGS.values() for wording in wordings)


def test_no_admission_is_held_against_the_model() -> None:
    """On answers written to be hard to tell apart, hardly an admission gets through; nor do many inventions."""
    rows = [json.loads(line) for line in ADMISSIONS.read_text("utf-8").splitlines()]
    taken = [row["answer"] for row in rows if row["admits"] and is_made_up(row["answer"])]
    seen = [row for row in rows if not row["admits"] and is_made_up(row["answer"])]
    assert len(taken) <= 4
    assert len(seen) >= 0.25 * sum(not row["admits"] for row in rows)


@pytest.mark.parametrize(("answer", "right"), [("It is Paris.", True), ("PARIS", True), ("Parisian", False)])
def test_right_answers_are_whole_words(answer: str, right: bool) -> None:
    assert is_right(answer, ("Paris", "Lutetia")) is right


def test_shipped_questions_are_cut_by_question() -> None:
    whole = questions.read_questions("unanswerable", ("en", "fr"))
    parts = [questions.read_questions("unanswerable", ("en", "fr"), part) for part in ("fit", "choose", "judge")]
    assert sorted(q.id for part in parts for q in part) == sorted(q.id for q in whole)
    assert 0.45 * len(whole) < len(parts[0]) < 0.6 * len(whole)
    assert min(map(len, parts)) >= 30
    assert {q.language for q in parts[2]} == {"en", "fr"}
    assert all(q.invented and not q.expected for q in whole)
    assert all(q.expected for q in questions.read_questions("short", ("fr",)))


def test_no_answer_leaves_a_pair_out() -> None:
    assert Answered((), (), 3, 0).unknown == ()
    assert not is_made_up(" … ")
