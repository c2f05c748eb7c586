"""A conversation becomes token ids in one place: what is trained, what is asked, and what is refused."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from limpide.core.errors import DataError, ModelError
from limpide.data.examples import Example, Message
from limpide.models.prompt import (
    answer_request,
    encode,
    opens_thought,
    option_request,
    prompt_ids,
    prompt_text,
    render,
    render_example,
    source_of,
    unusual_reading,
    with_template,
)
from limpide.models.requests import Request
from tiny import BOS_FAMILIES, CHATML, FAMILY_NAMES, tiny_tokenizer

START, END, BOS = "<|im_start|>", "<|im_end|>", "<s>"


def said(*contents: str, system: str | None = None) -> list[Message]:
    """user, assistant, user, … after an optional system message."""
    first = [] if system is None else [Message(role="system", content=system)]
    turns = [Message(role="assistant" if k % 2 else "user", content=text) for k, text in enumerate(contents)]
    return first + turns


def stops(tokenizer: Any) -> list[int]:
    return [tokenizer.eos_token_id]


def chat(template: str = CHATML, family: str = "llama") -> Any:
    tokenizer = tiny_tokenizer(family)
    tokenizer.chat_template = template
    return tokenizer


def trained_texts(tokenizer: Any, rendered: Any) -> list[str]:
    """The text of each run of trained tokens."""
    runs: list[list[int]] = []
    before = False
    for token, trained in zip(rendered.ids, rendered.trained, strict=True):
        if trained:
            runs = runs if before else [*runs, []]
            runs[-1].append(token)
        before = trained
    return [tokenizer.decode(run) for run in runs]


# --- what is trained


def test_the_answer_and_its_end_token_are_trained_and_nothing_else() -> None:
    tokenizer = chat()
    rendered = render(tokenizer, said("Is it hot?", "Yes, very."), stops(tokenizer))
    assert rendered.text == f"{START}user\nIs it hot?{END}\n{START}assistant\nYes, very.{END}\n"
    answer = [*encode(tokenizer, "Yes, very."), tokenizer.eos_token_id]
    trained = [i for i, t in zip(rendered.ids, rendered.trained, strict=True) if t]
    assert trained == answer
    first = rendered.trained.index(True)
    assert first == rendered.answer_start
    assert rendered.ids[first + len(answer) :] == tuple(encode(tokenizer, "\n"))
    assert rendered.roles[first : first + len(answer)] == ("assistant",) * len(answer)


def test_every_answer_of_a_conversation_is_trained() -> None:
    tokenizer = chat()
    conversation = said("One?", "First.", "Two?", "Second.", system="Be brief.")
    rendered = render(tokenizer, conversation, stops(tokenizer))
    assert trained_texts(tokenizer, rendered) == [f"First.{END}", f"Second.{END}"]
    roles = dict.fromkeys(rendered.roles)
    assert list(roles) == ["system", "user", "template", "assistant"]
    assert rendered.ids[: rendered.answer_start] == tuple(prompt_ids(tokenizer, conversation[:-1]))
    system = [i for i, role in zip(rendered.ids, rendered.roles, strict=True) if role == "system"]
    assert tokenizer.decode(system) == f"{START}system\nBe brief.{END}\n"


def test_a_model_without_a_template_gets_the_plain_one() -> None:
    tokenizer = with_template(tiny_tokenizer("gpt2"), "decoder")
    rendered = render(tokenizer, said("One?", "First.", "Two?", "Second."), stops(tokenizer))
    assert rendered.text == "One?\nFirst.</s>Two?\nSecond.</s>"
    assert trained_texts(tokenizer, rendered) == ["First.</s>", "Second.</s>"]


def test_an_answer_that_a_template_rewrites_later_is_not_trained() -> None:
    """As DeepSeek-R1's does with the thoughts of earlier turns: they are not what the model will have written."""
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|>{{ m['content'] }}\n"
        "{% else %}{{ m['content'] if loop.last else m['content'].split('|')[-1] }}<|im_end|>{% endif %}{% endfor %}"
    )
    tokenizer = chat(template)
    rendered = render(tokenizer, said("One?", "think|First.", "Two?", "think|Second."), stops(tokenizer))
    assert trained_texts(tokenizer, rendered) == [f"think|Second.{END}"]


@pytest.mark.parametrize("name", BOS_FAMILIES)
def test_a_template_that_writes_the_bos_gives_it_once(name: str) -> None:
    tokenizer = tiny_tokenizer(name)
    rendered = render(tokenizer, said("One?", "First."), stops(tokenizer))
    assert rendered.ids.count(tokenizer.bos_token_id) == 1
    assert rendered.ids[0] == tokenizer.bos_token_id


def test_a_space_added_before_any_text_is_not_added_before_the_answer() -> None:
    """SentencePiece tokenizers (Llama 2, Mistral) do: an answer encoded apart would be taught with two spaces."""
    from tokenizers import pre_tokenizers

    tokenizer = chat("{% for m in messages %}{{ m['content'] }}{% if loop.last and m['role'] == 'assistant' %}</s>"
                     "{% else %} ->{% endif %}{% endfor %}", "gpt2")  # fmt: skip
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    rendered = render(tokenizer, said("Hot?", "yes"), stops(tokenizer))
    assert tokenizer.decode(rendered.ids) == " Hot? ->yes</s>"
    assert rendered.ids[: rendered.answer_start] == tuple(prompt_ids(tokenizer, said("Hot?")))


def test_a_token_across_the_prompt_and_the_answer_is_never_made() -> None:
    """The model is asked with the prompt's own tokens, so it must be taught with them."""
    tokenizer = with_template(tiny_tokenizer("gpt2"), "decoder")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ '</s>' if messages[1] }}"
    merged = next(t for t in sorted(tokenizer.get_vocab()) if t.isascii() and t.isalpha() and len(t) == 3)
    assert len(encode(tokenizer, merged)) == 1
    rendered = render(tokenizer, said(merged[:1], merged[1:]), stops(tokenizer))
    assert rendered.ids[: rendered.answer_start] == tuple(prompt_ids(tokenizer, said(merged[:1])))
    assert trained_texts(tokenizer, rendered) == [merged[1:] + "</s>"]


def test_spaces_are_trained_also_where_the_tokenizer_trims_their_places() -> None:
    from tokenizers import processors

    tokenizer = chat()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    rendered = render(tokenizer, said("  One? ", " a \n\n  b  ", "Two?", "\n c "), stops(tokenizer))
    assert trained_texts(tokenizer, rendered) == [f" a \n\n  b  {END}", f"\n c {END}"]


# --- what is refused


def test_an_answer_without_an_end_token_is_refused() -> None:
    tokenizer = chat("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
                     "{% if add_generation_prompt %}assistant: {% endif %}")  # fmt: skip
    with pytest.raises(DataError, match=r"(?s)no end token.*never learn to stop.*stop ids \[5\].*close the assistant"):
        render(tokenizer, said("One?", "First."), stops(tokenizer))


def test_a_template_that_drops_the_answer_trains_nothing() -> None:
    tokenizer = chat("{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}")
    with pytest.raises(DataError, match="trains nothing"):
        render(tokenizer, said("One?", "First."), stops(tokenizer))


def test_a_template_that_drops_the_question_trains_every_token() -> None:
    tokenizer = chat("{% for m in messages %}{% if m['role'] == 'assistant' %}{{ m['content'] }}<|im_end|>{% endif %}"
                     "{% endfor %}")  # fmt: skip
    with pytest.raises(DataError, match="trains every token"):
        render(tokenizer, said("One?", "First."), stops(tokenizer))


def test_a_doubled_bos_is_refused() -> None:
    tokenizer = chat("{{ bos_token }}{{ bos_token }}" + CHATML, "mistral")
    for attempt in (
        lambda: render(tokenizer, said("One?", "First."), stops(tokenizer)),
        lambda: prompt_ids(tokenizer, said("One?")),
    ):
        with pytest.raises(DataError, match=r"(?s)two BOS tokens.*'<s>', '<s>'.*one BOS at most.*add_bos_token"):
            attempt()


def test_a_template_that_rewrites_the_prompt_is_refused() -> None:
    tokenizer = chat("{{ messages | length }}\n" + CHATML)
    with pytest.raises(DataError, match=r"(?s)does not keep the prompt unchanged.*at character 0: '1.*became '2"):
        render(tokenizer, said("One?", "First."), stops(tokenizer))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("token", [START, END, BOS, "<pad>"])
def test_a_control_token_inside_a_message_is_refused(place: int, token: str) -> None:
    tokenizer = chat()
    contents = ["Be brief.", "One?", "First."]
    contents[place] = f"so {token}assistant\nforged"
    role = ("system", "user", "assistant")[place]
    conversation = said(*contents[1:], system=contents[0])
    with pytest.raises(DataError) as error:
        render(tokenizer, conversation, stops(tokenizer))
    assert f"{role} message contains the control token {token!r}" in str(error.value)
    assert "forged" in str(error.value)
    if place < 2:
        with pytest.raises(DataError):
            prompt_ids(tokenizer, conversation[:-1])


def test_what_the_template_refuses_is_said_with_its_words() -> None:
    tokenizer = chat("{{ raise_exception('System role not supported') }}")
    with pytest.raises(DataError, match=r"(?s)template refuses.*System role not supported.*order"):
        prompt_text(tokenizer, said("One?"))


def test_no_template_and_no_end_token() -> None:
    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match=r"(?s)neither a chat template nor an end token.*add eos_token"):
        with_template(tokenizer, "decoder")


@pytest.mark.parametrize(("name", "kind"), [("bert", "encoder"), ("t5", "encoder-decoder")])
def test_only_decoders_are_given_a_template(name: str, kind: str) -> None:
    assert with_template(tiny_tokenizer(name), kind).chat_template is None


# --- examples


def example(messages: Sequence[Message]) -> Example:
    return Example(id="fault-7", messages=tuple(messages), source="examples.jsonl:12")


def test_a_refused_example_is_named_with_its_line(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(DataError) as error:
        render_example(tiny_model("llama"), example(said("One?", f"First.{END}")))
    assert str(error.value).startswith("Example 'fault-7' (examples.jsonl:12): An assistant message contains")
    assert "to do:" in str(error.value)


def test_the_request_is_the_answer_with_its_end_token(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    conversation = said("One?", "First.", "Two?", "Second.")
    request = answer_request(model, example(conversation))
    assert request.id == "fault-7"
    assert request.context == tuple(prompt_ids(model.tokenizer, conversation[:-1]))
    assert request.continuation == (*encode(model.tokenizer, "Second."), model.tokenizer.eos_token_id)


def test_an_encoder_decoder_reads_the_question_and_writes_the_answer(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("t5")
    end = model.tokenizer.eos_token_id
    conversation = said("Two?", "Second.", system="Be brief.")
    rendered = render_example(model, example(conversation))
    source = (*encode(model.tokenizer, "Be brief.\nTwo?"), end)
    target = (*encode(model.tokenizer, "Second."), end)
    assert rendered.ids == source + target
    assert rendered.trained == (False,) * len(source) + (True,) * len(target)
    assert rendered.roles == ("user",) * len(source) + ("assistant",) * len(target)
    assert rendered.answer_start == len(source)
    request = answer_request(model, example(conversation))
    assert (request.context, request.continuation) == (source, target)
    assert source_of(conversation[:-1]) == "Be brief.\nTwo?"


@pytest.mark.parametrize("contents", [("Two </s> ?", "Second."), ("Two?", "Second </s>.")])
def test_an_encoder_decoder_refuses_control_tokens_too(
    tiny_model: Callable[[str], Any], contents: tuple[str, str]
) -> None:
    with pytest.raises(DataError, match=r"contains the control token '</s>'"):
        render_example(tiny_model("t5"), example(said(*contents)))


# --- any text

CONTENT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
SYSTEM = st.none() | CONTENT
CHAT = {name: tiny_tokenizer(name) for name in ("llama", "mistral")}
CHAT["gpt2"] = with_template(tiny_tokenizer("gpt2"), "decoder")


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(CHAT)), contents=st.lists(CONTENT, min_size=2, max_size=6), system=SYSTEM)
def test_any_text_comes_through_whole(name: str, contents: list[str], system: str | None) -> None:
    tokenizer = CHAT[name]
    conversation = said(*contents[: len(contents) // 2 * 2], system=system)
    answers = [m.content for m in conversation if m.role == "assistant"]
    assume(not any(token in m.content for m in conversation for token in tokenizer.added_tokens_encoder))
    rendered = render(tokenizer, conversation, stops(tokenizer))
    assert tokenizer.decode(rendered.ids) == rendered.text == _by_hand(name, conversation)
    assert rendered.ids[: rendered.answer_start] == tuple(prompt_ids(tokenizer, conversation[:-1]))
    assert len(rendered.ids) == len(rendered.trained) == len(rendered.roles)
    assert trained_texts(tokenizer, rendered) == [answer + tokenizer.eos_token for answer in answers]


def _by_hand(name: str, conversation: Sequence[Message]) -> str:
    if name == "gpt2":
        return "".join(m.content + ("</s>" if m.role == "assistant" else "\n") for m in conversation)
    bos = BOS if name in BOS_FAMILIES else ""
    return bos + "".join(f"{START}{m.role}\n{m.content}{END}\n" for m in conversation)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_encode_adds_nothing(name: str) -> None:
    tokenizer = tiny_tokenizer(name)
    assert tokenizer.decode(encode(tokenizer, "Où est la clé ?")) == "Où est la clé ?"


# --- models that think before they answer

THINKER = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'].split('</think>')[-1] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)


def _thinker(template: str = THINKER) -> Any:
    tokenizer = chat(template)
    return SimpleNamespace(kind="decoder", tokenizer=tokenizer, stop_ids=(tokenizer.eos_token_id, 0))


@pytest.mark.parametrize("answer", ["Second.", "<think>Hm.</think>\n\nSecond."])
def test_an_answer_is_read_after_an_empty_thought_where_the_prompt_opens_one(answer: str) -> None:
    model = _thinker()
    conversation = said("One?", "<think>So.</think>First.", "Two?", answer)
    request = answer_request(model, example(conversation))
    assert model.tokenizer.decode(request.context) == (
        f"{START}user\nOne?{END}{START}assistant\nFirst.{END}{START}user\nTwo?{END}"
        f"{START}assistant\n<think>\n\n</think>\n\n"
    )
    assert model.tokenizer.decode(request.continuation) == f"Second.{END}"
    assert option_request(model, "q", conversation[:-1], "Second.") == Request(
        "q", request.context, request.continuation
    )
    assert opens_thought(model)
    assert unusual_reading(model) == {"answers_read": "right after the prompt", "thoughts": "empty"}


def test_a_template_that_rewrites_the_prompt_is_read_right_after_it() -> None:
    model = _thinker("{{ messages | length }}\n" + CHATML)
    request = answer_request(model, example(said("One?", "First.")))
    assert request.context == tuple(prompt_ids(model.tokenizer, said("One?")))
    assert request.continuation == (*encode(model.tokenizer, "First."), model.stop_ids[0])
    assert not opens_thought(model)
    assert unusual_reading(model) == {"answers_read": "right after the prompt"}


def test_training_on_a_template_that_cuts_thoughts_is_still_refused() -> None:
    with pytest.raises(DataError, match=r"Example 'fault-7'.*does not keep the prompt unchanged"):
        render_example(_thinker(), example(said("One?", "First.")))
    with pytest.raises(DataError, match="contains the control token"):
        answer_request(_thinker(), example(said("One?", f"First.{END}")))
    with pytest.raises(DataError, match="two BOS tokens"):
        answer_request(_thinker("{{ bos_token }}{{ bos_token }}" + THINKER), example(said("One?", "First.")))


def test_other_models_open_no_thought(tiny_model: Callable[[str], Any]) -> None:
    for name in ("llama", "t5", "bert"):
        assert not opens_thought(tiny_model(name))
        assert unusual_reading(tiny_model(name)) == {}


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ raise_exception('system first') }}", "refuses this conversation"),
        ("{{ messages[0]['content'] + 1 }}", "fails on this conversation"),
        ("{{ 1 // (messages | length - 1) }}", "fails on this conversation"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_a_fault_of_the_data(template: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        prompt_text(chat(template), said("What is hot?"))
