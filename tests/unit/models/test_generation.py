"""Greedy answers: the most likely token each time, whatever the model's own defaults say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import DataError, ModelError
from limpide.core.progress import Quiet
from limpide.data.examples import Message
from limpide.models import generation
from limpide.models.generation import continuations, generate
from limpide.models.model import open_model
from limpide.models.prompt import prompt_ids
from limpide.models.requests import Sampling
from tiny import CONTEXT, tiny_folder

Opened = Callable[[str], Any]
DECODERS = ("llama", "gpt2", "mistral", "gemma3", "gpt_oss")


def asked(*texts: str) -> list[list[Message]]:
    return [[Message(role="user", content=text)] for text in texts]


QUESTIONS = asked("Why is the light red?", "Stop", "Quand la pression tombe sous le seuil, que fait la vanne ?", "Go")


@pytest.mark.parametrize("name", [*DECODERS, "t5"])
def test_a_batch_answers_as_one_at_a_time(tiny_model: Opened, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(name)
    alone = [generate(model, [question], max_new_tokens=6)[0] for question in QUESTIONS]
    assert generate(model, QUESTIONS, max_new_tokens=6) == alone
    monkeypatch.setattr(generation, "BATCH", 3)
    assert generate(model, QUESTIONS, max_new_tokens=6) == alone
    if name == "llama":
        assert len(set(alone)) > 1, "the test would not see one answer in the place of another"


def test_no_prompt_gives_no_answer(tiny_model: Opened) -> None:
    assert generate(tiny_model("llama"), []) == []


def test_the_models_own_defaults_are_set_aside(tmp_path: Path) -> None:
    """A published generation_config.json may sample, penalise repetition or forbid tokens; greedy must stay greedy."""
    plain = open_model(tiny_folder("llama", tmp_path / "plain"))
    expected = generate(plain, QUESTIONS, max_new_tokens=12)
    model = open_model(tiny_folder("llama", tmp_path / "odd"))
    first = model.tokenizer.encode(expected[0])[0]
    own = model.network.generation_config
    own.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, no_repeat_ngram_size=1)
    own.update(suppress_tokens=[first], min_new_tokens=12)
    assert generate(model, QUESTIONS, max_new_tokens=12) == expected
    assert model.network.generation_config is own
    assert own.repetition_penalty == 9.0


def test_an_answer_stops_at_each_end_token_of_the_model(tiny_model: Opened, tmp_path: Path) -> None:
    """Also at one that only generation_config.json names, and its text is not part of the answer."""
    model = tiny_model("llama")
    ids = list(prompt_ids(model.tokenizer, QUESTIONS[0]))
    written: list[int] = []
    with torch.inference_mode():
        while len(written) < 4:
            written.append(int(model.network(input_ids=torch.tensor([ids + written])).logits[0, -1].argmax()))
    stop = written[2]
    assert stop not in written[:2]
    assert stop not in model.stop_ids
    again = open_model(tiny_folder("llama", tmp_path))
    again.network.generation_config.eos_token_id = [stop]
    assert again.stop_ids == (stop, model.tokenizer.eos_token_id)
    (answer,) = generate(again, QUESTIONS[:1], max_new_tokens=20)
    assert answer == model.tokenizer.decode(written[:3], skip_special_tokens=True)


def test_an_encoder_writes_no_answers(tiny_model: Opened) -> None:
    with pytest.raises(ModelError, match=r"(?s)BERT model fills in words.*limpide families"):
        generate(tiny_model("bert"), QUESTIONS)


def test_a_prompt_without_room_for_its_answer_is_refused(tiny_model: Opened) -> None:
    model = tiny_model("llama")
    long = asked("word " * 60)
    room = CONTEXT - len(prompt_ids(model.tokenizer, long[0]))
    assert generate(model, long, max_new_tokens=room)
    with pytest.raises(ModelError) as error:
        generate(model, QUESTIONS + long, max_new_tokens=room + 1)
    assert f"received: {CONTEXT - room} prompt tokens and {room + 1} to write" in str(error.value)
    assert f"expected: at most {CONTEXT} together" in str(error.value)


@pytest.mark.parametrize(("name", "token"), [("llama", "<|im_start|>"), ("t5", "</s>")])
def test_a_control_token_in_a_prompt_is_refused(tiny_model: Opened, name: str, token: str) -> None:
    with pytest.raises(DataError, match="contains the control token"):
        generate(tiny_model(name), asked(f"Hello {token} system"))


def test_progress_counts_answers(tiny_model: Opened) -> None:
    class Counting(Quiet):
        done = 0.0

        def advance(self, by: float = 1, **facts: Any) -> None:
            self.done += by

    progress = Counting()
    generate(tiny_model("llama"), QUESTIONS, max_new_tokens=2, progress=progress)
    assert progress.done == len(QUESTIONS)


@pytest.mark.parametrize("name", [*DECODERS, "t5"])
def test_a_text_is_continued_as_it_is_without_a_conversation(tiny_model: Opened, name: str) -> None:
    """Texts of unlike lengths in one batch, against the network alone, token by token."""
    model = tiny_model(name)
    texts = ["The operator stops", "Quand la pression tombe sous le seuil, la vanne", "Go"]
    written = continuations(model, texts, Sampling(1, 0.0, 5))
    for text, (one,) in zip(texts, written, strict=True):
        assert list(one.context) == model.tokenizer(text)["input_ids"]
        assert list(one.ids) == naive(model, one.context, 5)
        assert one.text == model.tokenizer.decode(one.ids, skip_special_tokens=True)


def naive(model: Any, context: tuple[int, ...], count: int) -> list[int]:
    ids: list[int] = []
    while len(ids) < count and not (ids and ids[-1] in model.stop_ids):
        with torch.inference_mode():
            if model.kind == "encoder-decoder":
                given = {"input_ids": [list(context)], "decoder_input_ids": [[model.tokenizer.pad_token_id, *ids]]}
            else:
                given = {"input_ids": [[*context, *ids]]}
            logits = model.network(**{key: torch.tensor(value) for key, value in given.items()}).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids


def test_continuations_are_drawn_as_often_as_asked_and_by_their_seed(tiny_model: Opened) -> None:
    model, texts = tiny_model("llama"), ["The light turns", "Where does"]

    def drawn(seed: int) -> list[list[tuple[int, ...]]]:
        return [[one.ids for one in each] for each in continuations(model, texts, Sampling(3, 1.0, 6, seed))]

    assert [len(each) for each in drawn(0)] == [3, 3]
    assert len(set(drawn(0)[0])) > 1
    assert drawn(0) == drawn(0) != drawn(1)


def test_texts_are_continued_by_models_that_write_and_where_there_is_room(tiny_model: Opened) -> None:
    with pytest.raises(ModelError, match="BERT model fills in words"):
        continuations(tiny_model("bert"), ["Go"], Sampling())
    with pytest.raises(ModelError, match="leaves no room for its answer"):
        continuations(tiny_model("llama"), ["word " * 60], Sampling(1, 0.0, CONTEXT))
    assert continuations(tiny_model("llama"), [], Sampling()) == []
