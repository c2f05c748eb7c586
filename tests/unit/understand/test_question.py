import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from limpide.core.errors import DataError, ModelError, UsageError
from limpide.data.examples import Message
from limpide.models.model import Model
from limpide.models.prompt import prompt_ids
from limpide.models.requests import Request
from limpide.models.scoring import score
from limpide.understand.question import LONGEST, Question, ask
from tiny import FAMILY_NAMES

Open = Callable[[str], Model]
PROMPTS = {"bert": "The doctor said that he was [MASK] because"}
ANSWERS = {"bert": "e"}


def asked(model: Model, **more: Any) -> Question:
    prompt = PROMPTS.get(model.family.name, "When the pressure drops the valve")
    return ask(model, prompt, **{"answer": ANSWERS.get(model.family.name, "closes"), **more})


def spelled(question: Question, part: str) -> list[str]:
    return [word.text for word in question.words if word.part == part]


# ------------------------------------------------------------------------------------------------ what the model reads


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_token_of_the_prompt_is_in_one_word(tiny_model: Open, name: str) -> None:
    question = asked(tiny_model(name))
    held = list(chain.from_iterable(word.tokens for word in question.words))
    assert held == list(range(len(question.tokens)))
    assert tuple(token.id for token in question.tokens) == question.row.ids[: len(held)]
    assert all(token.text for token in question.tokens)


def test_words_are_those_a_person_reads(tiny_model: Open) -> None:
    question = ask(tiny_model("gpt2"), "L'opérateur\n\n  lit 😀 well-known codes!", answer="yes")
    assert spelled(question, "user") == ["L'opérateur", "lit", "😀", "well-known", "codes", "!"]
    face = next(word for word in question.words if word.text == "😀")
    assert len(face.tokens) >= 4  # one token a byte, and one word all the same


@pytest.mark.parametrize("prompt", ["user", "assistant", "the system", "im_start"])
def test_words_of_the_template_are_not_taken_for_the_prompts(tiny_model: Open, prompt: str) -> None:
    question = ask(tiny_model("llama"), prompt, answer="yes")
    written = [token for token in question.tokens if token.part == "user"]
    assert "".join(token.text for token in written).replace(" ", "") == prompt.replace(" ", "")
    first = question.tokens.index(written[0])
    assert question.tokens[0].text == "<|im_start|>"
    assert {token.part for token in question.tokens[:first]} == {"frame"}
    assert spelled(question, "assistant") == []


def test_each_turn_of_a_conversation_has_its_part(tiny_model: Open) -> None:
    turns = [("system", "the rules"), ("user", "Where?"), ("assistant", "In the river"), ("user", "Why?")]
    question = ask(tiny_model("mistral"), [Message(role=r, content=c) for r, c in turns], answer="because")
    assert spelled(question, "system") == ["the", "rules"]
    assert spelled(question, "user") == ["Where", "?", "Why", "?"]
    assert spelled(question, "assistant") == ["In", "the", "river"]
    assert question.prompt == "the rules\nWhere?\nIn the river\nWhy?"


def test_a_chat_is_read_as_it_is_when_served_and_a_raw_text_as_it_stands(tiny_model: Open) -> None:
    model = tiny_model("llama")
    chat, raw = asked(model), asked(model, raw=True)
    expected = prompt_ids(model.tokenizer, [Message(role="user", content=chat.prompt)])
    assert [token.id for token in chat.tokens] == expected
    assert [token.id for token in raw.tokens] == list(model.tokenizer(raw.prompt)["input_ids"])
    assert {token.part for token in raw.tokens} == {"user"}


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "gpt_oss"])
def test_the_likelihood_is_that_of_the_scoring_engine(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    question = asked(model, answer="closes and the light turns red", raw=True)
    (expected,) = score(model, [Request("a", question.prompt, " closes and the light turns red")])
    record = question.record(model)
    assert record["log_likelihood"] == pytest.approx(expected.log_likelihood, abs=1e-4)
    nats = [token["nats"] for token in record["answer_tokens"]]
    assert nats == pytest.approx(expected.token_log_likelihoods, abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "mistral", "t5"])
def test_a_prompt_of_one_token_can_be_asked_about(tiny_model: Open, name: str) -> None:
    question = ask(tiny_model(name), "a", answer="b", raw=True)
    assert spelled(question, "user") == ["a"]
    assert len(question.tokens) == 2  # and a start or an end token


# ---------------------------------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "deepseek_v3"])
def test_without_an_answer_the_likeliest_one_is_explained(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    question = ask(model, "Where does the water come from?")
    assert not question.given
    assert question.record(model)["answer_from"] == "model"
    ids, targets = torch.tensor([question.row.ids]), question.row.targets
    given = {"input_ids": ids}
    if model.kind == "encoder-decoder":
        given["decoder_input_ids"] = torch.tensor([question.row.written])
    with torch.inference_mode():
        logits = model.network(**given).logits[0, list(question.row.read)]
    assert tuple(logits.argmax(-1).tolist()) == targets
    assert question.cut == (len(targets) == LONGEST)
    assert not set(targets[1:]) & set(model.stop_ids)


def test_a_models_own_generation_defaults_do_not_change_its_answer(tiny_model: Open) -> None:
    model = tiny_model("llama")
    plain, own = ask(model, "Stop").answer, model.network.generation_config
    model.network.generation_config = penalising = GenerationConfig(repetition_penalty=100.0)
    try:
        assert ask(model, "Stop").answer == plain
        assert model.network.generation_config is penalising
    finally:
        model.network.generation_config = own


def test_an_encoder_fills_its_masks(tiny_model: Open) -> None:
    model = tiny_model("bert")
    question = ask(model, "The [MASK] is [MASK]")
    with torch.inference_mode():
        logits = model.network(input_ids=torch.tensor([question.row.ids])).logits[0]
    assert question.row.targets == tuple(logits[list(question.row.read)].argmax(-1).tolist())
    assert len(question.row.read) == 2
    assert (question.at, question.chosen) == (0, "first mask")


# -------------------------------------------------------------------------------------------------------- the decision


def test_the_decision_is_where_the_two_answers_part(tiny_model: Open) -> None:
    model = tiny_model("llama")
    question = asked(model, answer="the water is red", against="the water was late")
    chosen = question.decision
    assert question.chosen == "first difference"
    assert chosen.token == question.row.targets[question.at]
    assert question.against_row is not None
    assert chosen.rival == question.against_row.targets[question.at]
    assert question.row.targets[: question.at] == question.against_row.targets[: question.at]
    assert not chosen.from_model
    assert chosen.row.read == (question.row.read[question.at],)
    assert chosen.row.targets == (chosen.token,)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_an_answer_that_goes_on_is_held_against_its_end(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    question = asked(model, answer="the water", against="the")
    assert question.chosen == "first difference"
    assert question.decision.rival in model.stop_ids


def test_an_answer_that_the_other_goes_on_from_has_no_token_of_its_own_there(tiny_model: Open) -> None:
    question = asked(tiny_model("llama"), answer="the", against="the water")
    assert question.chosen == "owes the prompt most"
    assert question.decision.from_model
    assert question.at < len(question.answer_tokens)


def test_the_difference_is_that_of_the_logits(tiny_model: Open) -> None:
    model = tiny_model("gemma2")
    question = asked(model, answer="the water is red", against="the water was late")
    decision = question.decision
    with torch.inference_mode():
        logits = model.network(input_ids=torch.tensor([decision.row.ids])).logits[0, -1]
        hidden = model.network.model(input_ids=torch.tensor([decision.row.ids])).last_hidden_state[:, -1:]
    found = decision.difference(model, hidden)
    assert float(found[0]) == pytest.approx(float(logits[decision.token] - logits[decision.rival]), abs=1e-5)


def test_alone_it_is_the_token_that_owes_the_prompt_most(tiny_model: Open) -> None:
    model = tiny_model("llama")
    question = asked(model, answer="closes and the light turns red")
    ids = [token.id for token in question.tokens]
    answer = list(question.row.targets)
    with torch.inference_mode():
        full = model.network(input_ids=torch.tensor([ids + answer])).logits[0].log_softmax(-1)
        bare = model.network(input_ids=torch.tensor([ids[:1] + answer])).logits[0].log_softmax(-1)
    owed = [float(full[len(ids) - 1 + k, t] - bare[k, t]) for k, t in enumerate(answer)]
    assert question.at == max(range(len(owed)), key=owed.__getitem__)
    likeliest = full[len(ids) - 1 + question.at].clone()
    likeliest[answer[question.at]] = -math.inf
    assert question.decision.rival == int(likeliest.argmax())
    assert question.decision.from_model


def test_a_token_and_its_rival_can_be_named(tiny_model: Open) -> None:
    question = asked(tiny_model("llama"), answer="closes and turns", at=1, rival=7)
    assert (question.at, question.chosen, question.decision.rival) == (1, "given", 7)
    assert question.decision.token == question.row.targets[1]


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("prompt", ["", "  \n", []])
def test_an_empty_prompt_is_refused(tiny_model: Open, prompt: Any) -> None:
    with pytest.raises(UsageError, match="The prompt is empty"):
        ask(tiny_model("llama"), prompt)


def test_an_empty_answer_is_refused(tiny_model: Open) -> None:
    with pytest.raises(UsageError, match="The answer is empty"):
        asked(tiny_model("llama"), answer=" ")


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bert"])
def test_an_answer_held_against_itself_is_refused(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    answer = ANSWERS.get(name, "closes")
    with pytest.raises(UsageError, match="are the same") as caught:
        asked(model, answer=answer, against=answer)
    assert "--against" in str(caught.value)


def test_what_the_model_says_itself_held_against_itself_is_refused(
    tiny_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("gpt2")
    ids = tuple(model.tokenizer(" red")["input_ids"])
    monkeypatch.setattr("limpide.understand.question._write", lambda *_: (ids, False))
    with pytest.raises(UsageError, match="are the same") as caught:
        ask(model, "The press", against="red")
    assert "'red', which is what the model says itself" in str(caught.value)


@pytest.mark.parametrize("at", [-1, 99])
def test_a_token_that_does_not_exist_is_refused_with_those_that_do(tiny_model: Open, at: int) -> None:
    with pytest.raises(UsageError, match="has no such token") as caught:
        asked(tiny_model("llama"), answer="red", at=at)
    assert str(at) in str(caught.value)
    assert "its tokens are" in str(caught.value)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_an_answer_longer_than_the_context_is_refused(tiny_model: Open, name: str) -> None:
    with pytest.raises(ModelError, match="longer than the model's context") as caught:
        asked(tiny_model(name), answer="water " * 300)
    assert f"at most {tiny_model(name).context}" in str(caught.value)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_a_prompt_that_fills_the_context_is_refused_before_it_is_run(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    unable = replace(model, network=None)
    with pytest.raises(ModelError, match="no room for an answer") as caught:
        ask(unable, "water [MASK] " * 300 if name == "bert" else "water " * 300)
    assert f"at most {model.context}" in str(caught.value)


def test_an_encoder_asked_to_write_is_told_of_masks(tiny_model: Open) -> None:
    with pytest.raises(UsageError, match="does not write answers") as caught:
        ask(tiny_model("bert"), "Where does the water come from?")
    assert "[MASK]" in str(caught.value.expected)
    assert "--against" in str(caught.value.remedy)


def test_an_encoders_answer_must_fill_its_masks(tiny_model: Open) -> None:
    with pytest.raises(ModelError, match="does not fill the masks") as caught:
        ask(tiny_model("bert"), "The [MASK] is red", answer="maintenance team")
    assert "1 masks" in str(caught.value)


def test_an_answer_in_characters_without_a_token_is_refused(tiny_model: Open) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: id for id, word in enumerate(["[UNK]", "[MASK]", "The", "is", "red"])}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", mask_token="[MASK]")
    model = replace(tiny_model("bert"), tokenizer=tokenizer)
    assert ask(model, "The ??? is [MASK]", answer="red").answer == "red"
    with pytest.raises(UsageError, match="no token for part of this answer") as caught:
        ask(model, "The ??? is [MASK]", answer="漢")
    assert "漢" in str(caught.value)


@pytest.mark.parametrize(("name", "raw"), [("llama", False), ("llama", True), ("bert", None), ("t5", None)])
def test_an_answer_that_spells_a_control_token_is_refused(tiny_model: Open, name: str, raw: bool | None) -> None:
    model = tiny_model(name)
    with pytest.raises(DataError, match="control token"):
        asked(model, answer=model.tokenizer.pad_token, raw=raw)
