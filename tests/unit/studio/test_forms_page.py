"""The form is made from the settings models: whatever a recipe may say can be set, and is named in both languages."""

from collections import defaultdict
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from limpide.core.operation import Settings
from limpide.recipe.schema import Recipe
from limpide.studio.forms import Entry, Section, described, form_of, words_for
from limpide.studio.pages.recipe_choices import ASKED
from limpide.studio.pages.recipe_fields import flow, read
from limpide.studio.pages.recipe_file import MISSING
from limpide.studio.words import language

FORM = form_of(Recipe)
FRENCH = language("fr").words
EVERY = [*FORM.entries(), *FORM.sections()]


class Inner(Settings):
    """Settings of something."""

    share: float = Field(0.5, gt=0, le=1, description="how much")


class Why(Settings):
    """A reason."""

    allow: str = Field(min_length=10, description="why")


class Outer(Settings):
    """Everything a file may say."""

    name: str = Field(description="its name")
    often: int = Field(3, ge=1, description="how often")
    limit: int | None = Field(None, ge=1, description="at most")
    on: bool = Field(True, description="whether")
    method: Literal["a", "b"] = Field("a", description="which")
    part: Literal["x", "y"] | None = Field(None, description="which part")
    axes: tuple[Literal["p", "q"], ...] = Field(("p",), description="along what")
    files: tuple[str, ...] = Field((), description="files")
    rates: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(None, description="rates")
    layers: Literal["all"] | Annotated[int, Field(ge=1)] = Field("all", description="layers")
    rule: Literal["refuse"] | Why = Field("refuse", description="what to do")
    inner: Inner | None = Field(None, description="something")
    always: Inner = Field(default_factory=Inner, description="something else")


def entry(path: str, model: type[BaseModel] = Outer) -> Entry:
    return next(one for one in form_of(model).entries() if one.path == path)


@pytest.mark.parametrize(
    ("path", "kind", "default", "low", "high"),
    [
        ("name", "text", None, None, None),
        ("often", "whole", 3, 1, None),
        ("limit", "whole", None, 1, None),
        ("on", "switch", True, None, None),
        ("method", "choice", "a", None, None),
        ("part", "choice", None, None, None),
        ("axes", "choices", ["p"], None, None),
        ("files", "texts", [], None, None),
        ("rates", "numbers", None, 0, None),
        ("layers", "free", "all", 1, None),
        ("rule", "policy", "refuse", None, None),
        ("inner.share", "number", 0.5, 0, 1),
    ],
)
def test_each_kind_of_setting_has_its_control(path: str, kind: str, default: Any, low: Any, high: Any) -> None:
    found = entry(path)
    assert (found.kind, found.default, found.low, found.high) == (kind, default, low, high)
    assert found.required == (path == "name")
    assert found.empty == (path in ("limit", "part", "rates"))


def test_choices_are_those_of_the_type() -> None:
    assert entry("method").choices == ("a", "b")
    assert entry("axes").choices == ("p", "q")
    assert entry("rule").choices == ("refuse",)
    assert entry("layers").choices == ("all",)


def test_a_section_that_may_be_left_out_is_told_apart() -> None:
    sections = {part.path: part.optional for part in form_of(Outer).parts if isinstance(part, Section)}
    assert sections == {"inner": True, "always": False}


def test_the_form_has_every_key_of_the_recipe() -> None:
    """As docs/reference.md lists them, but for the reason inside a policy, which is one field with it."""
    from limpide.core.yaml_file import models_in

    def keys(model: type[BaseModel], above: str = "") -> set[str]:
        found = set()
        for name, field in model.model_fields.items():
            found.add(f"{above}{name}")
            for inner in models_in(field.annotation):
                found |= keys(inner, f"{above}{name}.")
        return found

    known = {part.path for part in EVERY}
    assert {key for key in keys(Recipe) - known if not key.endswith(".allow")} == set()
    assert len(known) > 200


@pytest.mark.parametrize("part", EVERY, ids=lambda part: part.path)
def test_every_setting_has_french_words(part: Entry | Section) -> None:
    assert words_for(part.path, FRENCH), f"add settings.{part.path} to studio/words/fr/settings.json"
    assert described(part, language("en").words) == part.description != ""


def test_no_french_words_stand_for_two_different_settings() -> None:
    meant: dict[str, set[str]] = defaultdict(set)
    for part in EVERY:
        parts = part.path.split(".")
        keys = [f"settings.{'.'.join(parts[start:])}" for start in range(len(parts))]
        meant[next(key for key in keys if key in FRENCH)].add(part.description)
    assert {key: said for key, said in meant.items() if len(said) > 1} == {}
    unused = {key for key in FRENCH if key.startswith("settings.")} - meant.keys()
    assert unused == set(), "words of settings that are no more"


def test_the_first_questions_are_settings_of_the_recipe() -> None:
    assert set(ASKED) <= {part.path for part in EVERY}


@pytest.mark.parametrize(
    ("path", "typed", "value"),
    [
        ("often", "7", 7),
        ("often", " 1 000 ", 1000),
        ("often", "many", "many"),
        ("inner.share", "0,25", 0.25),
        ("inner.share", "3e-4", 3e-4),
        ("inner.share", "", MISSING),
        ("rates", "0.001, 0.002", [0.001, 0.002]),
        ("rates", "1; 2 3", [1, 2, 3]),
        ("layers", "all", "all"),
        ("layers", "4", 4),
        ("layers", "[4", "[4"),
        ("name", "  press  ", "press"),
    ],
)
def test_what_is_typed_becomes_what_a_recipe_says(path: str, typed: str, value: Any) -> None:
    assert read(entry(path), typed) == value


@pytest.mark.parametrize("value", ["all", 4, 0.5, ["a", "b"], {"prompt": "Question"}, True, {}])
def test_a_free_value_shown_on_a_line_is_read_back(value: Any) -> None:
    shown = flow(value)
    assert "\n" not in shown
    assert read(entry("layers"), shown) == value
