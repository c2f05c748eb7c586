import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from limpide.cli.init import Answers, asked, init, quoted, recipe_text
from limpide.core.errors import UsageError
from limpide.recipe.load import load_recipe
from limpide.recipe.schema import Recipe

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
TRICKY = st.sampled_from(
    [
        "null",
        "123",
        "1e5",
        "true",
        "~",
        "- a",
        "a: b",
        "# c",
        "'",
        '"',
        "{x}",
        "{name}",
        "\\",
        "%",
        "é",
        "😀",
        "&a",
        "*a",
    ]
)
LINES = st.sampled_from(["\n", "\r\n", "\x85", "\u2028", "\x00", "\x7f", "\ufeff", "\t", "a\nbase: evil", "...\n---\n"])
ANY = TEXT | TRICKY | LINES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("init")


@given(
    answers=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("name", "intended", "users", "contact", "examples", "base"), ANY)
        | {"language": st.sampled_from(["en", "fr"])},
    ),
    file=ANY,
)
def test_any_answers_give_a_recipe_that_says_them(folder: Path, answers: dict[str, Any], file: str) -> None:
    given_answers = Answers.model_validate(answers)
    (folder / "recipe.yaml").write_text(recipe_text(Path("a") / file, given_answers), encoding="utf-8")
    recipe = load_recipe(folder / "recipe.yaml")
    assert recipe.purpose.intended == given_answers.intended
    assert recipe.purpose.users == given_answers.users
    assert recipe.purpose.contact == given_answers.contact
    assert recipe.base == given_answers.base
    assert recipe.data.examples == (Path(given_answers.examples),)
    assert recipe.release.languages == (given_answers.language,)


@given(TEXT | LINES)
def test_quoted_text_is_one_line(text: str) -> None:
    assert len(quoted(text).splitlines()) == 1


def test_defaults_make_a_whole_recipe(tmp_path: Path) -> None:
    path = tmp_path / "new" / "recipe.yaml"
    init(path, yes=True)
    recipe = load_recipe(path)
    assert recipe.name == "my-assistant"
    assert recipe.release.sign_with == "keys/release.pem"
    assert recipe.gates
    assert all(f"limpide run {path}" in text for text in path.read_text().splitlines()[:1])


def test_every_section_of_the_schema_is_shown_or_has_a_default() -> None:
    shown = set(re.findall(r"^([a-z]+):", recipe_text(Path("recipe.yaml"), Answers()), re.M))
    assert shown <= set(Recipe.model_fields)
    assert {"name", "version", "purpose", "base", "data", "audit", "adapt", "optimise", "gates", "release"} == shown


@pytest.mark.parametrize("name", Answers.model_fields)
def test_empty_answers_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Answers.model_validate({name: ""})


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("mine")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        init(path, yes=True)
    assert path.read_text() == "mine"


def test_only_what_was_not_given_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []

    def answer(question: str) -> str:
        questions.append(question)
        return " typed " if "sentence" in question else ""

    monkeypatch.setattr("builtins.input", answer)
    found = asked(Answers(name="given", base="mine"))
    assert found == Answers(name="given", base="mine", intended="typed")
    assert len(questions) == len(Answers.model_fields) - 2
    assert questions[-1] == "language of the card and the report (en, fr) [en]: "


def test_an_answer_that_is_no_choice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "de")
    with pytest.raises(UsageError, match="language will not do: Input should be 'en' or 'fr'"):
        asked(Answers())
