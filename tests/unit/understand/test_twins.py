"""The other run: token for token as long, less in favour of the answer, and refused with reasons where it is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import ModelError, UsageError
from limpide.data.examples import Message
from limpide.understand import twins
from limpide.understand.question import Question, ask
from limpide.understand.settings import PatchingSettings
from limpide.understand.twins import LEAST, Twin, decided, twin_of

TEXT = "The operator reads the code and the light turns"
Open = Callable[[str], Any]


def found(model: Any, question: Question, twin: str | None = None, seed: int = 0) -> Twin:
    return twin_of(model, question, PatchingSettings(twin=twin), seed)


def logits(model: Any, question: Question, twin: Twin) -> tuple[float, float]:
    clean, other = decided(model, question.decision, [Twin("", question.decision.row, (), "given"), twin])
    return clean, other


def favoured(model: Any, text: str = TEXT) -> Question:
    """What the model says itself, so that other words rather lower it."""
    return ask(model, text, raw=True)


def test_a_given_twin_is_read_as_the_prompt_was_and_must_be_the_lower_one(tiny_model: Open) -> None:
    model = tiny_model("gpt2")
    texts = [TEXT, TEXT.replace("code", "system")]
    questions = [ask(model, text, answer=" red", against=" the") for text in texts]
    values = [decided(model, q.decision, [Twin("", q.decision.row, (), "given")])[0] for q in questions]
    high = values.index(max(values))
    twin = found(model, questions[high], texts[1 - high])
    assert twin.how == "given"
    assert twin.prompt == texts[1 - high]
    assert sorted(twin.swaps[0]) == ["code", "system"]
    assert twin.row == questions[1 - high].decision.row
    clean, other = logits(model, questions[high], twin)
    assert (clean, other) == pytest.approx((max(values), min(values)), abs=1e-5)
    with pytest.raises(UsageError, match="more likely, not less") as caught:
        found(model, questions[1 - high], texts[high])
    assert "swap the two prompts" in str(caught.value)


def test_a_twin_of_another_length_is_refused_with_both_counts_and_the_words(tiny_model: Open) -> None:
    model = tiny_model("gpt2")
    question = favoured(model)
    other = TEXT.replace("code", "extraordinary code")
    with pytest.raises(UsageError, match="another number of tokens") as caught:
        found(model, question, other)
    assert f"{len(model.tokenizer(other)['input_ids'])} tokens" in str(caught.value.received)
    assert "'' → 'extraordinary' (0 → " in str(caught.value.received)
    assert str(len(question.tokens)) in str(caught.value.expected)


def test_the_prompt_is_no_twin_of_itself(tiny_model: Open) -> None:
    with pytest.raises(UsageError, match="the prompt itself"):
        found(tiny_model("gpt2"), favoured(tiny_model("gpt2")), TEXT)


def test_the_mask_stays_where_it_is(tiny_model: Open) -> None:
    model = tiny_model("bert")
    question = ask(model, "The doctor [MASK] the press", answer="e")
    with pytest.raises(UsageError, match="mask elsewhere"):
        found(model, question, "The doctor the [MASK] press")


def test_a_twin_that_changes_nothing_is_refused(tiny_path: Callable[[str], Path]) -> None:
    model = _deaf(tiny_path)
    with pytest.raises(UsageError, match="nothing to restore"):
        found(model, ask(model, TEXT), TEXT.replace("code", "system"))


def test_where_nothing_depends_on_the_words_no_twin_is_made_up(tiny_path: Callable[[str], Path]) -> None:
    model = _deaf(tiny_path)
    with pytest.raises(ModelError, match="No other run was found") as caught:
        found(model, ask(model, TEXT))
    assert "at most 0 logits" in str(caught.value.received)


def _deaf(tiny_path: Callable[[str], Path]) -> Any:
    """A chat model whose answer begins without a look at the message: no attention passes anything on."""
    from limpide.models.model import open_model

    model = open_model(tiny_path("llama"))
    for block in model.network.model.layers:
        torch.nn.init.zeros_(block.self_attn.o_proj.weight)
    return model


def test_a_word_for_a_group_is_swapped_by_its_counterpart(tiny_model: Open) -> None:
    model = tiny_model("gpt2")
    for old, new in (("seventies", "twenties"), ("twenties", "seventies")):  # one of the two ways lowers the answer
        question = favoured(model, f"The doctor said that a woman in her {old} stops the press and the light {old}")
        twin = found(model, question)
        if twin.swaps == ((old, new),):
            break
    assert twin.how == "counterfactual word"
    assert twin.swaps == ((old, new),)
    assert twin.prompt == question.prompt.replace(old, new)
    assert len(twin.row) == len(question.decision.row)
    clean, other = logits(model, question, twin)
    assert clean - other >= LEAST


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5", "gemma2"])
def test_else_the_word_that_counts_most_is_replaced(tiny_model: Open, name: str) -> None:
    model = tiny_model(name)
    text = "The operator stops [MASK] the press" if name == "bert" else TEXT
    question = ask(model, text, raw=True)
    twin = found(model, question)
    assert twin.how == "replaced word"
    [(before, after)] = twin.swaps
    assert twin.prompt in {
        text[:k] + after + text[k + len(before) :] for k in range(len(text)) if text[k:].startswith(before)
    }
    tokens = next(w.tokens for w in question.words if w.text == before)
    changed = [k for k, (a, b) in enumerate(zip(question.row.ids, twin.row.ids, strict=False)) if a != b]
    assert len(changed) <= len(tokens)
    assert len(twin.row) == len(question.decision.row)
    clean, other = logits(model, question, twin)
    assert clean - other >= LEAST
    assert found(model, question) == twin  # the seed decides


def test_a_conversation_keeps_its_frame_and_the_words_of_the_others(tiny_model: Open) -> None:
    model = tiny_model("gemma")
    told = ("system", "Answer"), ("user", TEXT), ("assistant", "It turns"), ("user", "Where does the press stop")
    question = ask(model, [Message.model_validate({"role": role, "content": text}) for role, text in told])
    twin = found(model, question)
    assert twin.how == "replaced word"
    users = {place for place, token in enumerate(question.tokens) if token.part == "user"}
    assert {k for k in range(len(question.tokens)) if twin.row.ids[k] != question.row.ids[k]} <= users


def test_without_words_there_is_noise_on_what_the_user_wrote(tiny_model: Open) -> None:
    model = tiny_model("qwen2")
    question = ask(model, "17 + 25 = ?")
    twin = found(model, question)
    assert twin.how == "noise"
    assert twin.swaps == ()
    assert twin.row == question.decision.row
    clean, other = logits(model, question, twin)
    assert clean - other >= LEAST
    plain = model.network.get_input_embeddings()(torch.tensor(twin.row.ids))
    assert twin.embeddings is not None
    moved = (twin.embeddings - plain).std(dim=1)
    users = [k for k, token in enumerate(question.tokens) if token.part == "user"]
    assert [k for k in range(len(moved)) if moved[k] > 0] == users
    assert float(moved[users].mean()) == pytest.approx(3 * float(plain.std()), rel=0.2)


def test_counterparts_come_from_whole_phrases_and_from_the_words_that_part_them() -> None:
    pairs = twins._pairs()
    assert {
        ("My sister", "My brother"),
        ("sister", "brother"),
        ("Sophie", "Laurent"),
        ("Cette femme", "Cet homme"),
    } <= set(pairs)
    assert {(b, a) for a, b in pairs} == set(pairs)
    assert ("64", "24") not in pairs  # a number is nobody's name


@pytest.mark.parametrize(
    ("text", "broken"), [("an elderly man", True), ("the elderly man", False), ("an elderly woman and the rest", True)]
)
def test_an_article_is_not_broken(text: str, broken: bool) -> None:
    assert twins._breaks_article("elderly", "young", [text]) is broken
    assert not twins._breaks_article("elderly", "old", [text])
