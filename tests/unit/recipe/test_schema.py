import pytest
from pydantic import BaseModel, ValidationError

from limpide.core import catalogue
from limpide.core.yaml_file import models_in
from limpide.recipe import schema


def sections(model: type[BaseModel], name: str = "recipe") -> dict[str, type[BaseModel]]:
    found = {name: model}
    for key, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            found |= sections(inner, f"{name}.{key}")
    return found


@pytest.mark.parametrize(("name", "model"), sections(schema.Recipe).items())
def test_every_key_is_documented_and_unknown_ones_are_refused(name: str, model: type[BaseModel]) -> None:
    assert [key for key, field in model.model_fields.items() if not field.description] == []
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"] is True


@pytest.mark.parametrize(
    ("section", "operation"),
    [
        ("data", "data.prepare"),
        ("adapt", "adapt.train"),
        ("optimise", "optimise.export"),
        ("parity", "optimise.parity"),
        ("audit.domain", "audit.domain"),
        ("audit.bias", "audit.bias"),
    ],
)
def test_sections_are_the_settings_of_operations(section: str, operation: str) -> None:
    assert sections(schema.Recipe)[f"recipe.{section}"] is catalogue.find(operation).settings


def test_every_suite_has_its_section() -> None:
    assert set(schema.SUITES) >= {"domain", "bias", "retention", "memorisation", "charter"}
    assert not {"compare", "served"} & set(schema.SUITES)
    assert set(schema.Audit.model_fields) == {"suites", "languages", *schema.SUITES}


def test_a_suite_that_needs_a_file_is_no_default() -> None:
    assert set(schema.SUITES) - set(schema.DEFAULT_SUITES) == {"charter"}
    assert schema.FILES["charter"] == ("charter",)
    assert set(schema.FILES["charter"]) <= set(schema.Data.model_fields)


@pytest.mark.parametrize("name", ["a", "press-operator", "v1.2", "9lives"])
def test_names(name: str) -> None:
    assert schema.RecipeBase.model_validate(minimal(name=name)).name == name


@pytest.mark.parametrize("name", ["", ".a", "-a", "A", "a b", "a/b", "a\n", "é", "a" * 81])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValidationError):
        schema.RecipeBase.model_validate(minimal(name=name))


@pytest.mark.parametrize("version", ["1", "1.0", "1.0.0", "1.0.0-rc.1"])
def test_versions(version: str) -> None:
    assert schema.RecipeBase.model_validate(minimal(version=version)).version == version


@pytest.mark.parametrize("version", ["", "v1", "1.0/..", "1.0\n", "1 0"])
def test_versions_that_are_none(version: str) -> None:
    with pytest.raises(ValidationError):
        schema.RecipeBase.model_validate(minimal(version=version))


def minimal(**more: str) -> dict[str, object]:
    return {"name": "a", "version": "1", "purpose": {"intended": "b"}, "base": "c"} | more
