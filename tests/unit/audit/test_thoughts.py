"""A model that thinks before it answers, as DeepSeek-R1 does: its answers are read without its thoughts, and alone."""

from types import SimpleNamespace

import pytest

from limpide.audit import charter, domain, memorisation, refusal, retention, robustness, truth
from limpide.audit.items import load_items
from limpide.audit.matching import without_thoughts
from limpide.audit.thoughts import cut_short, spoken
from limpide.audit.truth_questions import read_questions
from limpide.models.requests import Asked
from limpide.models.respondents import Opened

# Written for this test: like DeepSeek-R1's, it opens a thought for the model and cuts earlier thoughts out.
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\n' + m['content'].split('</think>')[-1] + '<|im_end|>' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    from limpide.models.model import open_model
    from tiny import tiny_folder

    model = open_model(tiny_folder("llama", tmp_path_factory.mktemp("thinker"), max_position_embeddings=768))
    model.tokenizer.chat_template = TEMPLATE
    return model


@pytest.fixture
def data(tmp_path, tools):
    def rows(part, n):
        return [
            tools.example(
                f"{part}{k}", f"Where is key {k}?", f"Key {k} hangs behind door {k} of the press.", topic=f"k{k}"
            )
            for k in range(n)
        ]

    return tools.write_data(tmp_path / "data", rows("t", 3), rows("h", 3), rows("u", 2))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Paris.", "Paris."),
        ("", ""),
        ("<think>\nHm.\n</think>\n\nParis.", "Paris."),
        ("  <think></think>Paris.", "Paris."),
        ("Hm, a city …\n</think>\n\nParis.", "Paris."),  # the prompt had opened the thought
        ("<think>\nIt may be Paris, or", None),
        ("<think>\nParis.\n</think>\n", None),
        ("Hm.</think><think>Or else", None),
        ("The tag <think> opens a thought.", "The tag <think> opens a thought."),
    ],
)
def test_the_answer_without_its_thoughts(text, answer):
    assert without_thoughts(text) == answer


def test_cut_thoughts_are_counted_and_said():
    assert spoken(["<think>a", "b", "c</think>d"]) == (["", "b", "d"], 1)
    assert cut_short(0, 3, 48) == ()
    (warning,) = cut_short(1, 3, 48)
    assert warning.startswith("1 of 3 written answers are thoughts that ended before an answer came")
    assert "raise max_new_tokens, which was 48" in warning


def test_what_is_written_after_an_open_thought_starts_with_it(thinker):
    texts = Opened(thinker).answer([Asked.question("q", "Where is the key?")], 4, None)
    assert texts[0].startswith("<think>\n")
    assert without_thoughts(texts[0]) is None


SUITES = {
    "truth": (truth, {"limit": 2, "semantic_questions": 4, "samples": 2, "max_new_tokens": 4}, 16),
    "domain": (domain, {"max_new_tokens": 4}, 5),
    "robustness": (robustness, {"questions": 2, "examples": 2, "perturbations": ("uppercase",)}, 4),
    "memorisation": (memorisation, {"candidates": 15}, 3),
    "retention": (retention, {"questions": 2}, None),
}


@pytest.mark.parametrize("name", SUITES)
def test_a_model_that_thinks_is_audited_from_end_to_end(name, thinker, tmp_path, tools, data):
    suite, settings, written = SUITES[name]
    folder = data if suite in (domain, robustness, memorisation) else None
    result = tools.audit(suite.operation, tmp_path / "out", folder, respondent=Opened(thinker), **settings)
    assert result.facts["thoughts"] == "empty"
    assert result.facts["answers_read"] == "right after the prompt"
    assert not [m.label for m in result.measures if m.state == "not run" and "template" in (m.note or "")]
    if written is not None:  # its thoughts are random and never end
        (warning,) = result.warnings
        assert warning.startswith(f"{written} of {written} written answers are thoughts that ended before")


def test_openings_of_refusals_are_read_too(thinker):
    from limpide.core.progress import Quiet

    asks = refusal.read_asks(("en",))[:2]
    found, why = refusal.margins(Opened(thinker), asks, Quiet())
    assert (len(found), why) == (2, None)


# ------------------------------------------------------------------------------------------------- written from outside


def thinking(say):
    return lambda question: f"<think>\nThey ask: {question} I do not know.\n</think>\n\n{say(question)}"


def test_thoughts_are_no_part_of_the_answers_of_truth(tmp_path, tools):
    """Its thoughts doubt and name every option; its answers are right."""
    right = {q.text: q.expected[0] for q in read_questions("short", ("en",))}
    letters = {q.lettered().messages[-1].content: "ABCD"[q.right] for q in read_questions("options", ("en",))}
    closed = tools.closed(thinking(lambda text: letters.get(text) or right.get(text.split("\n")[0], "I do not know.")))
    settings = {"parts": ("options", "short", "unanswerable"), "languages": ("en",), "limit": 5}
    result = tools.audit(truth.operation, tmp_path / "out", respondent=closed, **settings)
    found = tools.by_label(result)
    shares = ("truth.accuracy", "truth.short_accuracy", "truth.short_f1", "truth.unsure_on_known", "truth.made_up")
    means = {name: _mean(tmp_path / "out", name) for name in ("correct", "right", "f1", "declined", "made_up")}
    assert list(means.values()) == [1, 1, 1, 0, 0]
    assert set(shares) <= set(found)
    assert (result.facts["thoughts_cut_short"], result.warnings) == (0, ())


def test_a_cut_thought_is_no_answer_in_truth(tmp_path, tools):
    closed = tools.closed(lambda question: "<think>\nI wonder whether A or B was built in 1823")
    settings = {"parts": ("options", "short", "unanswerable"), "languages": ("en",), "limit": 5}
    result = tools.audit(truth.operation, tmp_path / "out", respondent=closed, **settings)
    means = {name: _mean(tmp_path / "out", name) for name in ("unreadable", "right", "declined", "made_up")}
    assert list(means.values()) == [1, 0, 1, 0]
    assert result.facts["thoughts_cut_short"] == 15
    assert "15 of 15 written answers" in result.warnings[0]


def test_thoughts_are_no_part_of_the_answers_of_the_other_suites(tmp_path, tools, data):
    answers = {f"Where is key {k}?": f"Key {k} hangs behind door {k} of the press." for k in range(3)}
    closed = tools.closed(thinking(lambda text: answers.get(text, "A")))
    tools.audit(domain.operation, tmp_path / "domain", data, respondent=closed)
    assert _mean(tmp_path / "domain", "exact") == 1
    small = {"questions": 1, "examples": 3, "perturbations": ("uppercase",)}
    result = tools.audit(robustness.operation, tmp_path / "robust", data, respondent=closed, **small)
    assert result.facts["examples"]["right_as_they_were"] == 3
    assert _mean(tmp_path / "robust", "flipped") == 0
    tools.audit(memorisation.operation, tmp_path / "memory", data, respondent=closed)
    assert _mean(tmp_path / "memory", "verbatim") == 1
    path = tmp_path / "charter.yaml"
    path.write_text("forbidden:\n  - term: they ask\nquestions:\n  - Where is key 1?\n")
    tools.audit(charter.operation, tmp_path / "charter", respondent=closed, charter=path)
    assert _mean(tmp_path / "charter", "respected") == 1


def test_a_cut_thought_is_counted_by_charter_and_refusal(tmp_path, tools):
    path = tmp_path / "charter.yaml"
    path.write_text("forbidden:\n  - term: they ask\nquestions:\n  - Where is key 1?\n")
    closed = tools.closed(lambda question: "<think>I can't help with")
    for suite, settings, asked in (
        (charter, {"charter": path}, 1),
        (refusal, {}, len(refusal.read_asks(("en", "fr")))),
    ):
        result = tools.audit(suite.operation, tmp_path / "out", respondent=closed, **settings)
        assert result.facts["thoughts_cut_short"] == asked
        assert any("raise max_new_tokens" in warning for warning in result.warnings)


def _mean(folder, metric):
    values = [item.metric[metric] for item in load_items(folder) if metric in item.metric]
    return sum(values) / len(values)


def test_a_model_without_thoughts_tells_none(tiny_model):
    opened = Opened(tiny_model("llama"), records=[{"pass": 1}])
    assert opened.facts() == {"scoring": [{"pass": 1}]}
    assert Opened(SimpleNamespace()).facts() == {}
