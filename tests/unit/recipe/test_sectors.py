import io
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from limpide.cli.init import Answers, init, recipe_text
from limpide.core import yaml_file
from limpide.core.errors import RecipeError, UsageError
from limpide.models.sources import Source
from limpide.recipe import sectors
from limpide.recipe.gates import parse_gate
from limpide.recipe.load import RECIPE, load_recipe
from limpide.recipe.plan import make_plan
from limpide.recipe.sectors import SECTORS, adopted, checklist, load_pack, read_pack

EXAMPLES = Path(__file__).parents[3] / "examples"
LANGUAGES: tuple[Any, ...] = ("en", "fr")


def plain(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml_file.read(path, RECIPE)[1]
    return values


def written(folder: Path, values: dict[str, Any]) -> Path:
    stream = io.StringIO()
    YAML().dump(values, stream)
    path = folder / "recipe.yaml"
    path.write_text(stream.getvalue(), encoding="utf-8")
    return path


@pytest.mark.parametrize("sector", SECTORS)
@pytest.mark.parametrize("example", ["press-operator", "bicycle-hire"])
def test_a_pack_makes_a_recipe_that_is_accepted_and_planned(
    sector: str, example: str, tmp_path: Path, source: Source
) -> None:
    before = plain(EXAMPLES / example / "recipe.yaml")
    after = adopted(before, load_pack(sector), "fr")
    for name in ("examples.jsonl", "charter.yaml"):
        (tmp_path / name).write_bytes((EXAMPLES / example / name).read_bytes())
    recipe = load_recipe(written(tmp_path, after))
    plan = make_plan(recipe, tmp_path / "recipe.yaml", source)
    assert {f"audit-result-{suite}" for suite in recipe.audit.suites} <= {step.name for step in plan.steps}
    assert {*before["gates"], *load_pack(sector).gates} <= {*recipe.gates}
    assert {*before["audit"]["suites"]} <= {*recipe.audit.suites}
    assert {*before["purpose"]["excluded"], *load_pack(sector).excluded.fr} == {*recipe.purpose.excluded}
    assert recipe.purpose.users == before["purpose"]["users"], "what a person said stays"
    assert recipe.release.approval == "required"


def test_a_charter_is_measured_and_kept_whatever_the_sector() -> None:
    after = adopted({"data": {"charter": "charter.yaml"}}, load_pack("media"), "en")
    assert "charter" in after["audit"]["suites"]
    assert sectors.CHARTER_GATE in after["gates"]
    said = adopted({"data": {"charter": "c.yaml"}, "gates": ["charter.respected improves"]}, load_pack("media"), "en")
    assert sectors.CHARTER_GATE not in said["gates"], "the recipe has a gate of its own on it"


def test_another_sector_takes_the_first_one_s_own_words_away() -> None:
    mine = {"purpose": {"intended": "x", "excluded": ["my own"]}, "gates": ["domain.accuracy is above 80%"]}
    health = adopted(mine, load_pack("health"), "en")
    law = adopted(sectors.withdrawn(health, load_pack("health"), mine), load_pack("law"), "fr")
    assert law["purpose"]["excluded"] == ["my own", *load_pack("law").excluded.fr]
    assert law["purpose"]["users"] == load_pack("law").users.fr
    assert law["gates"] == ["domain.accuracy is above 80%", *load_pack("law").gates]


def test_what_a_person_chose_of_personal_data_stays() -> None:
    chosen = {"personal_data": "mask", "examples": "a.jsonl"}
    after = adopted({"data": {"personal_data": "mask"}}, load_pack("health"), "en", chosen=chosen)
    assert after["data"] == {"personal_data": "mask", "names": "mask"}


MINE: dict[str, Any] = {
    "purpose": {"intended": "x", "excluded": ["my own"]},
    "gates": ["domain.accuracy improves", "domain.accuracy is above 80%"],
    "audit": {"suites": ["domain", "bias"], "bias": {"axes": ["gender"]}},
    "release": {"sign_with": "k.pem", "approval": "none"},
}


@pytest.mark.parametrize("sector", SECTORS)
@pytest.mark.parametrize("mine", [{}, MINE, {**MINE, "data": {"charter": "c.yaml", "names": "warn"}}])
def test_what_a_pack_added_and_nothing_else_is_taken_out(sector: str, mine: dict[str, Any]) -> None:
    pack = load_pack(sector)
    left = sectors.withdrawn(adopted(mine, pack, "fr", chosen=mine.get("data")), pack, mine)
    assert left == mine


def test_what_a_person_chose_since_the_pack_stays() -> None:
    health = load_pack("health")
    recipe = adopted(MINE, health, "en")
    recipe["audit"]["suites"] = [suite for suite in recipe["audit"]["suites"] if suite != "bias"]
    recipe["audit"]["bias"]["axes"].append("physical_appearance")
    recipe["release"]["approval"] = "none"
    left = sectors.withdrawn(recipe, health, {**MINE, "release": {"approval": "required"}})
    assert left["audit"] == {"suites": ["domain"], "bias": {"axes": ["gender", "physical_appearance"]}}
    assert left["release"] == {"sign_with": "k.pem", "approval": "none"}


def test_adopting_twice_changes_nothing() -> None:
    once = adopted({"data": {"examples": "a.jsonl"}}, load_pack("finance"), "en")
    assert adopted(once, load_pack("finance"), "en") == once


@pytest.mark.parametrize("sector", SECTORS)
def test_every_axis_a_pack_measures_has_its_gate(sector: str) -> None:
    pack: Any = load_pack(sector)
    judged = {gate.metric[1] for gate in map(parse_gate, pack.gates) if gate.metric[0] == "bias"}
    assert judged == set(pack.sections.audit.bias.axes)


@pytest.mark.parametrize("sector", SECTORS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_person_looks_at_promises_nothing(sector: str, language: Any) -> None:
    lines = checklist(load_pack(sector), language)
    assert len(lines) >= 6
    text = "\n".join(lines).lower()
    assert not any(word in text for word in ("compliant", "certifi", "conforme à la loi", "guarantee", "garanti")) or (
        sector == "health"  # a host of health data is certified, in France
    )
    assert "2027" in text


def test_unknown_sector_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'health'") as caught:
        load_pack("helth")
    assert "industry" in str(caught.value.expected)


def test_a_pack_at_fault_says_everything_at_once(tmp_path: Path) -> None:
    text = (sectors.FOLDER / "law.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("as_of:", "as_of_day:").replace("personal_data: refuse", "personal_data: allow"))
    with pytest.raises(RecipeError) as caught:
        read_pack(path)
    said = "\n".join(fault.what for fault in caught.value.faults)
    assert "unknown key 'as_of_day'. Did you mean 'as_of'?" in said
    assert "sections.data.personal_data" in said
    assert all(fault.line for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("domain.accuracy improves", "domain.accuracy is nice", "is no gate"),
        ("bias.religion.gap", "bias.disability.gap", "there is no such part of bias.gap"),
        ("suites: [domain, ", "suites: [", "the suite 'domain' is not measured"),
    ],
)
def test_a_gate_that_could_never_pass_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text((sectors.FOLDER / "law.yaml").read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_pack(path)
    assert said in caught.value.faults[0].what


@pytest.mark.parametrize("sector", SECTORS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_init_writes_a_whole_recipe_of_the_sector(sector: str, language: Any, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(path, Answers(language=language), load_pack(sector)), encoding="utf-8")
    recipe = load_recipe(path)
    pack = load_pack(sector)
    assert set(pack.gates) <= set(recipe.gates)
    assert recipe.purpose.users == pack.users.within(language)
    assert recipe.purpose.excluded == pack.excluded.within(language)
    comments = " ".join(path.read_text(encoding="utf-8").replace("\n#   ", " ").split())
    assert " ".join(pack.look[0].source.within(language).replace("\u202f", " ").split()) in comments


def test_init_keeps_the_users_that_are_given(tmp_path: Path) -> None:
    init(tmp_path / "recipe.yaml", answers=Answers(users="two nurses"), sector="health", yes=True)
    assert load_recipe(tmp_path / "recipe.yaml").purpose.users == "two nurses"


def test_init_names_every_sector_in_its_help() -> None:
    assert all(sector in (init.__doc__ or "") for sector in SECTORS)
