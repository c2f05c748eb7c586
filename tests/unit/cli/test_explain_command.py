import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from adapted import save_adapter
from commands import Command, calling
from limpide.cli.explain import AGAINST, FOR, print_explanation, sentence
from limpide.cli.output import visible
from limpide.core import files
from limpide.core.operation import Settings
from limpide.document.weighed import Weight
from limpide.understand.explain import ExplainSettings, HowExplained
from limpide.understand.methods import NAMES
from tiny import tiny_folder, tiny_gguf

PROMPT = "When the pressure drops the valve"
QUICK = ("--method", "lens,parts", "--answer", "closes")


def test_nothing_that_a_model_wrote_commands_the_terminal() -> None:
    assert visible("a\x1b[2Jb \u202ec\n") == "a\\u001b[2Jb \\u202ec\n"


@pytest.fixture
def explain(capsys: pytest.CaptureFixture[str]) -> Command:
    return calling(capsys, "explain")


Path_ = Callable[[str], Path]


# ---------------------------------------------------------------------------------------------------------- the command


def test_an_explanation_as_json(explain: Command, tiny_path: Path_) -> None:
    said = explain(tiny_path("llama"), PROMPT, "--json", *QUICK)
    assert said.code == 0
    record = json.loads(said.out)
    assert set(record["methods"]) == {"lens", "parts"}
    assert record["question"]["prompt"] == PROMPT
    assert record["model"]["title"] == str(tiny_path("llama"))
    assert all(json.loads(line) for line in said.err.splitlines())  # progress is events then


def test_an_explanation_in_sentences_with_what_each_method_took(explain: Command, tiny_path: Path_) -> None:
    said = explain(tiny_path("llama"), PROMPT, *QUICK, "--language", "fr")
    assert said.code == 0
    assert "pourquoi le modèle" in said.out
    assert "closes" in said.out
    assert re.search(r"Durée : lens \d+,\d s, parts", said.err)
    assert "Took" not in said.err
    assert "\x1b[" not in said.out  # no colours where nobody can see them


def test_options_reach_the_methods(explain: Command, tiny_path: Path_) -> None:
    options = ("--lens.top", 2, "--parts.top", 3, "--at", 0, "--raw", "--seed", 4)
    record = json.loads(explain(tiny_path("llama"), PROMPT, "--json", *QUICK, *options).out)
    assert {len(layer) for layer in record["methods"]["lens"]["top"]} == {2}
    assert len(record["methods"]["parts"]["parts"]) == 4  # and all others
    assert record["question"]["decision"]["chosen"] == "given"
    assert {token["part"] for token in record["question"]["tokens"]} == {"user"}
    assert record["seed"] == 4


def test_a_question_may_stand_in_a_file(explain: Command, tiny_path: Path_, tmp_path: Path) -> None:
    files.write_json(tmp_path / "asked.json", {"prompt": PROMPT, "answer": "closes"})
    way = ("--method", "lens", "--json")
    typed = explain(tiny_path("llama"), PROMPT, "--answer", "closes", *way)
    assert json.loads(explain(tiny_path("llama"), "--asked", tmp_path / "asked.json", *way).out) == json.loads(
        typed.out
    )


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (None, (), "Say what the model is asked"),
        (None, ("--asked", "gone.json"), "There is no such file"),
        ('{"prompt": "a", "answer": "b"}', ("--asked", "asked.json", "--answer", "c"), "or stands in the file"),
        ('{"prompt": "a"}', (PROMPT, "--asked", "asked.json"), "is typed, or stands in a file"),
        ('{"answer": "a"}', ("--asked", "asked.json"), "holds no question"),
        ('{"prompt": 3}', ("--asked", "asked.json"), "holds no question"),
        ("prompt", ("--asked", "asked.json"), "holds no question"),
    ],
)
def test_no_question_or_two_are_refused(
    explain: Command, tiny_path: Path_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    content: str | None, words: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "asked.json").write_text(content)
    refused = explain(tiny_path("llama"), *words)
    assert refused.code == 2
    assert said in refused.err


def test_a_method_that_cannot_is_told_and_the_others_answer(explain: Command, tiny_path: Path_) -> None:
    said = explain(tiny_path("llama"), PROMPT, "--method", "lens,influence", "--answer", "closes")
    assert said.code == 0
    assert "influence: not run. Influence needs an adapted model" in said.out
    assert "To do:" in said.out
    assert "influence: not run" in said.err  # before the layers are read
    assert said.err.index("influence: not run") < said.err.index("reading the layers")


def test_the_options_of_the_record_ask_the_same_again(explain: Command, tiny_path: Path_) -> None:
    options = ("--lens.top", 2, "--attribution.most_steps", 8, "--attribution.method=integrated-gradients", "--raw")
    quick = ("--method", "lens,attribution", "--answer", "closes", "--json")
    first = json.loads(explain(tiny_path("llama"), PROMPT, *quick, *options).out)
    assert set(first["settings"]) == {"lens.top", "attribution.most_steps", "attribution.method"}
    written = [f"--{name}={value}" for name, value in first["settings"].items()]
    again = explain(tiny_path("llama"), PROMPT, *quick, *written, "--raw" if first["question"]["raw"] else "--no-raw")
    assert json.loads(again.out) == first


def test_the_page_is_written_whole(explain: Command, tiny_path: Path_, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    said = explain(tiny_path("llama"), PROMPT, *QUICK, "--html", tmp_path / "new" / "why.html")
    page = (tmp_path / "new" / "why.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "pressure" in page
    assert "why.html" in said.err
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["why.html"]


def test_an_interrupted_command_leaves_nothing(
    explain: Command, tiny_path: Path_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("limpide.understand.parts.explain", stop)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = explain(tiny_path("llama"), PROMPT, *QUICK, "--html", tmp_path / "why.html")
    assert said.code == 130
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_is_explained_on_its_base(explain: Command, tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    save_adapter(base, tmp_path / "adapter", 0.5)
    config = files.read_json(tmp_path / "adapter" / "adapter_config.json")
    files.write_json(tmp_path / "adapter" / "adapter_config.json", config | {"base_model_name_or_path": str(base)})
    own, other = (json.loads(explain(ref, PROMPT, "--json", *QUICK).out) for ref in (base, tmp_path / "adapter"))
    assert own["model"]["digest"] != other["model"]["digest"]
    assert own["question"]["log_likelihood"] != other["question"]["log_likelihood"]


def test_two_models_on_one_question(explain: Command, tmp_path: Path) -> None:
    folders = [tiny_folder("llama", tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    said = explain("--compare", *folders, PROMPT, *QUICK, "--html", tmp_path / "changed.html")
    assert said.code == 0
    for folder in folders:
        assert str(folder) in said.out
    assert (tmp_path / "changed.html").is_file()
    record = json.loads(explain("--compare", *folders, PROMPT, *QUICK, "--json").out)
    assert record["kind"] == "comparison"
    assert [record[side]["model"]["title"] for side in ("before", "after")] == list(map(str, folders))


# ------------------------------------------------------------------------------------------------------------ bad input


def test_a_closed_model_is_told_what_is_possible_instead(explain: Command) -> None:
    for ref in ("https://api.example.org/v1#large", "http://127.0.0.1:8000/v1#large", "gpt-4o", "claude-opus"):
        said = explain(ref, PROMPT)
        assert said.code == 2
        assert "cannot be seen from outside" in said.words
        assert "limpide audit robustness http" in said.words
        assert "open them" in said.words


def test_the_error_of_an_address_repeats_no_password(explain: Command) -> None:
    said = explain("https://me:secret@api.example.org/v1#large", PROMPT)
    assert said.code == 2
    assert "secret" not in said.words


def test_a_gguf_file_is_explained_in_float32_and_says_so(
    explain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    path = tiny_gguf(tmp_path / "tiny.gguf")
    record = json.loads(explain(path, PROMPT, "--json", *QUICK).out)
    assert record["model"]["precision"] == "float32"
    assert record["warnings"] == []  # F32: nothing was rounded


def test_a_gguf_file_that_cannot_be_made_a_folder_asks_for_the_weights_it_came_from(
    explain: Command, tmp_path: Path
) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(60))
    said = explain(tmp_path / "broken.gguf", PROMPT)
    assert said.code in (2, 5)
    assert "Traceback" not in said.words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--method", "lens,atribution"], "Did you mean 'attribution'?"),
        (["--lens.top", "0"], "--lens.top: Input should be greater than or equal to 1"),
        (["--at", "-1"], "--at"),
        (["--lens.tpo", "1"], "Did you mean --lens.top?"),
        (["--answer", "closes", "--against", "closes"], "are the same"),
        (["--answer", "closes", "--at", "9"], "has no such token"),
        (["--answer", "water " * 300], "longer than the model's context"),
        (["--answer", ""], "The answer is empty"),
        (["--compare", "no-such-model"], "There is no model 'no-such-model'"),
        (["--html", "."], "needs a file name"),
        (["--html", "no/such/why.html"], "There is no folder no/such for the page"),
        (["--method", "influence"], "Influence needs an adapted model"),
    ],
)
def test_a_wrong_option_is_told(explain: Command, tiny_path: Path_, arguments: Sequence[str], expected: str) -> None:
    said = explain(tiny_path("llama"), PROMPT, *arguments)
    assert said.code == 2
    assert expected in said.words
    assert said.out == ""


def test_an_empty_prompt_an_encoder_without_a_mask_and_one_token(explain: Command, tiny_path: Path_) -> None:
    assert "The prompt is empty" in explain(tiny_path("llama"), " ").words
    said = explain(tiny_path("bert"), PROMPT)
    assert said.code == 2
    assert "[MASK]" in said.words
    record = json.loads(explain(tiny_path("llama"), "a", "--answer", "b", "--json").out)
    test = record["methods"].get("faithfulness", {}).get("verdict") or record["not_run"]["faithfulness"]
    assert test == "insufficient evidence" or "prompt" in test


def test_errors_are_json_too(explain: Command) -> None:
    said = explain("gpt-4o", PROMPT, "--json")
    assert json.loads(said.err.splitlines()[-1])["error"] == "ModelError"


# ----------------------------------------------------------------------------------------------------- on the terminal


def spans(text: Text) -> dict[str, str]:
    return {text.plain[span.start : span.end]: str(span.style) for span in text.spans}


def test_words_are_shaded_by_their_share() -> None:
    found = [Weight("The", "user", 0.1, 0.01), Weight("nurse", "user", 6.0, 0.6), Weight("left", "user", -3.9, 0.39)]
    text = sentence("The nurse\n left.", found)
    assert text.plain == "The nurse\n left."
    assert spans(text) == {"nurse": FOR[2], "left": AGAINST[1]}


def test_a_word_that_is_written_otherwise_is_left_as_it_is() -> None:
    text = sentence(
        "a b", [Weight("a", "user", 1.0, 0.5), Weight("?", "user", 1.0, 0.3), Weight("b", "user", -1.0, 0.2)]
    )
    assert text.plain == "a b"
    assert set(spans(text)) == {"a", "b"}
    assert sentence("a b", []).plain == "a b"


def told(verdict: str) -> dict[str, Any]:
    words = [{"text": text, "part": "user", "tokens": [k]} for k, text in enumerate(("The", "[nurse]"))]
    question = {"prompt": "The [nurse]", "answer": "she", "answer_from": "given", "words": words, "against": None}
    numbers = {"value": 1.0, "random": 0.5, "difference": 0.5, "low": -0.1, "high": 1.1}
    return {
        "version": 1,
        "model": {"title": "tiny", "kind": "decoder"},
        "question": question | {"answer_tokens": [], "log_likelihood": -1.0, "log_odds": None},
        "methods": {
            "attribution": {"words": [1.0, -3.0]},
            "faithfulness": {"verdict": verdict, "comprehensiveness": numbers},
        },
        "not_run": {"lens": "It could not."},
        "warnings": [{"en": "It was rounded.", "fr": "Arrondi."}],
    }


def test_an_explanation_no_better_than_chance_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    print_explanation(told("no better than chance"), "en")
    lines = capsys.readouterr().out.splitlines()
    assert "no better than chance" in lines[0]
    assert "The [nurse]" in lines[1]
    print_explanation(told("better than chance"), "en")
    lines = capsys.readouterr().out.splitlines()
    assert "The [nurse]" in lines[0]
    assert any("Tested" in line for line in lines[1:])
    assert "lens: not run. It could not." in lines
    assert "It was rounded." in lines
    print_explanation(told("better than chance"), "fr")
    lines = capsys.readouterr().out.splitlines()
    assert "lens : non calculé. It could not." in lines
    assert "Arrondi." in lines


def test_words_have_their_numbers_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    print_explanation(told("better than chance"), "en")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["[nurse]", "−75%", "−3.00", "nats"] in lines
    assert ["The", "25%", "+1.00", "nats"] in lines


# ------------------------------------------------------------------------------------------------------ said only once


def test_every_method_has_its_section_of_settings_and_no_name_is_taken() -> None:
    fields = HowExplained.model_fields
    for name in NAMES:
        section = fields[name].annotation
        assert isinstance(section, type)
        assert issubclass(section, Settings)
        assert fields[name].default == section()
    assert set(fields) & {"model", "prompt", "method", "compare", "html", "language", "seed", "json"} == set()
    assert set(ExplainSettings.model_fields) - set(fields) == {"prompt", "methods"}
