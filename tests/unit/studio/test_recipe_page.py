"""The recipe that the form edits: comments and unknown keys kept, nothing lost, every fault beside its field."""

import asyncio
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from limpide.core.errors import RecipeError, UsageError
from limpide.recipe.load import load_recipe
from limpide.recipe.sectors import SECTORS, load_pack
from limpide.studio.pages.recipe import Editor
from limpide.studio.pages.recipe_fields import said
from limpide.studio.pages.recipe_file import (
    MISSING,
    Draft,
    begun,
    beside,
    discard,
    few_in,
    given_by,
    open_draft,
    set_aside,
    unsaved,
)
from limpide.studio.pages.recipe_offers import AXES, OFFERED, STRENGTHS, offers, strength_of, without_suite
from limpide.studio.pages.recipe_sector import choose, kept
from limpide.studio.project import Project
from limpide.studio.words import language

PRESS = Path(__file__).parents[3] / "examples" / "press-operator" / "recipe.yaml"
USUAL = {"method": "lora", "rank": 32, "epochs": 10, "learning_rate": None}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "My Press"
    (folder / "data").mkdir(parents=True)
    return Project(folder)


@pytest.fixture
def press(project: Project) -> Draft:
    project.recipe.write_bytes(PRESS.read_bytes())
    return open_draft(project, "en")


def test_a_change_keeps_comments_order_and_unknown_keys(project: Project) -> None:
    project.recipe.write_text("# mine\nname: a # the name\nmystery: {x: 1}\nadapt:\n  epochs: 3 # few\n  rank: 8\n")
    draft = open_draft(project, "en")
    draft.put("adapt.epochs", 5)
    draft.put("correct.bias.axes", ["gender"])
    text = draft.text()
    assert text.startswith("# mine\nname: a # the name\nmystery: {x: 1}\nadapt:\n  epochs: 5 # few\n  rank: 8\n")
    assert draft.get("mystery.x") == 1
    assert draft.get("correct.bias.axes") == ["gender"]


def test_untouched_it_says_the_same(press: Draft) -> None:
    press.put("adapt.rank", 32)
    assert press.text() == PRESS.read_text()
    assert not press.changed()


def test_a_cleared_setting_leaves_no_empty_section(press: Draft) -> None:
    press.put("parity.flips", 0.1)
    press.clear("parity.flips")
    assert press.get("parity") is MISSING


def test_an_optional_section_stays_when_its_last_setting_is_the_usual_one(press: Draft) -> None:
    """Without it there would be no correction, and nothing learnt."""
    press.put("correct.bias.axes", ["age"])
    press.clear("correct.bias.axes")
    assert press.get("correct.bias") == {}
    for name in ("method", "rank", "epochs", "learning_rate"):
        press.clear(f"adapt.{name}")
    assert press.get("adapt") == {}
    press.clear("adapt")
    assert press.get("adapt") is MISSING


@pytest.mark.parametrize("path", ["name.x.y", "gates.rule", "nothing.at.all", "purpose.intended.deep"])
def test_what_is_no_section_is_no_trouble(press: Draft, path: str) -> None:
    press.clear(path)
    assert press.get(path) is MISSING


def test_every_fault_is_beside_its_field(press: Draft) -> None:
    for path, value in {
        "adapt.rank": 0,
        "adapt.epoch": 3,
        "gates": ["nonsense", "domain.x improves", "domain.accuracy improves"],
        "data.personal_data": {"allow": "short"},
        "version": "one",
    }.items():
        press.put(path, value)
    press.clear("purpose.intended")
    faults = press.keep()
    places = {
        "adapt.rank": 1, "adapt.epoch": 1, "gates": 2, "data.personal_data": 1, "version": 1, "purpose.intended": 1
    }  # fmt: skip
    assert {path: len(beside(path, faults)) for path in places} == places
    assert len(faults) == sum(places.values())
    assert not beside("adapt", faults), "the section has no fault of its own"


class Words:
    """What telling a fault needs of a visit."""

    def say(self, key: str, **values: str) -> str:
        return " ".join([key.removeprefix("recipe.fault."), *values.values()])


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("name", MISSING, "empty"),
        ("purpose.intended", "", "empty"),
        ("data.personal_data", {"allow": "short"}, "short 10"),
        ("name", "x" * 99, "long 80"),
        ("audit.languages", [], "list"),
        ("adapt.rank", 0, "least 1"),
        ("adapt.weight_decay", 2, "most 1"),
        ("adapt.learning_rate", 0, "above 0"),
        ("data.held_out", 1, "below 1"),
        ("adapt.epochs", "many", "whole"),
        ("adapt.warmup", "slow", "number"),
        ("name", "My Press", "name"),
        ("version", "one", "version"),
    ],
)
def test_the_common_faults_are_told_in_plain_words(press: Draft, path: str, value: object, words: str) -> None:
    press.clear(path) if value is MISSING else press.put(path, value)
    assert [said(Words(), fault) for fault in beside(path, press.look())] == [words]  # type: ignore[arg-type]


def test_a_rare_fault_is_told_as_the_recipe_s_reader_tells_it(press: Draft) -> None:
    press.put("gates", ["domain.acuracy improves"])
    (fault,) = press.look()
    assert "Did you mean 'domain.accuracy'" in said(Words(), fault)  # type: ignore[arg-type]


def test_a_suite_without_its_file_is_told_at_the_suites(press: Draft) -> None:
    press.put("audit.suites", ["domain", "charter"])
    assert [fault.at for fault in press.look() if "data.charter" in fault.what] == ["audit.suites"]


def test_what_is_not_saved_outlives_the_page(press: Draft) -> None:
    press.put("name", "other")
    press.keep()
    again = open_draft(press.project, "en")
    assert again.get("name") == "other"
    assert again.changed()
    assert load_recipe(press.project.recipe).name == "press-operator-assistant", "not saved"
    again.save()
    assert load_recipe(press.project.recipe).name == "other"
    assert not unsaved(press.project).exists()
    assert not open_draft(press.project, "en").changed()


def test_a_later_recipe_of_an_editor_wins_over_what_was_not_saved(press: Draft) -> None:
    press.put("name", "other")
    press.keep()
    os.utime(unsaved(press.project), (1, 1))
    assert open_draft(press.project, "en").get("name") == "press-operator-assistant"


def test_a_change_elsewhere_is_noticed(press: Draft) -> None:
    assert not press.moved_on()
    press.project.recipe.write_text(PRESS.read_text() + "seed: 3\n")
    assert press.moved_on()


def test_discarded_changes_are_gone(press: Draft) -> None:
    press.put("name", "other")
    press.keep()
    discard(press.project)
    assert open_draft(press.project, "en").get("name") == "press-operator-assistant"


def test_looking_writes_nothing(press: Draft) -> None:
    press.put("adapt.rank", 0)
    assert press.look()
    assert sorted(p.name for p in press.project.folder.iterdir()) == ["data", "recipe.yaml"]


@pytest.mark.parametrize("text", ["a: [", "", "- 1\n", "a: 1\na: 2\n", "\x00"])
def test_a_file_that_is_no_recipe_is_set_aside_and_kept(project: Project, text: str) -> None:
    project.recipe.write_text(text)
    with pytest.raises(RecipeError):
        open_draft(project, "en")
    place = set_aside(project)
    assert place.read_text() == text
    assert not project.recipe.exists()
    assert open_draft(project, "en").fresh
    project.recipe.write_text("again: [")
    assert set_aside(project) != place


def test_a_first_recipe_is_whole_but_for_its_purpose(project: Project) -> None:
    for name in ("rows.jsonl", "b.xlsx", "manual.pdf", "charter.yaml"):
        (project.data / name).write_text("{}")
    project.change_draft(base="smollm2-135m-instruct", sector="industry", name="My Déjà Vu!")
    draft = open_draft(project, "fr")
    faults = draft.look()
    assert [fault.at for fault in faults] == ["purpose.intended"]
    assert draft.get("data.examples") == ["data/b.xlsx", "data/rows.jsonl"]
    assert draft.get("data.documents") == ["data/manual.pdf"]
    assert draft.get("data.charter") == "data/charter.yaml"
    assert "charter" in draft.get("audit.suites")
    assert draft.get("purpose.users") == load_pack("industry").users.fr
    assert draft.get("release.approval") == "required"
    draft.put("purpose.intended", "Répondre.")
    draft.save()
    assert load_recipe(project.recipe).release.languages == ("fr",)
    assert draft.text().index("data:") < draft.text().index("adapt:") < draft.text().index("gates:")


@pytest.mark.parametrize("name", ["", "..", "É", "日本", "a b/c", "x" * 300])
def test_any_folder_name_gives_a_name_that_is_accepted(project: Project, name: str) -> None:
    project.change_draft(name=name)
    (project.data / "rows.jsonl").write_text("{}")
    draft = Draft(project, open_draft(project, "en").document, None, fresh=True)
    assert [fault.at for fault in draft.look()] == ["purpose.intended"]


def test_only_the_chosen_files_are_given(project: Project) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (project.data / name).write_text("{}")
    project.change_draft(files=("b.jsonl",))
    assert begun(project, "en")["data"] == {"examples": ["data/b.jsonl"]}
    assert given_by(project, []) == {}


@pytest.mark.parametrize("text", ["a\nb: evil", "'", '"', "{x}", "é 😀", "# c", "- a", "null", "*x", "\x07", "%"])
def test_any_text_comes_back_as_it_was_typed(press: Draft, text: str) -> None:
    press.put("purpose.intended", text)
    press.put("purpose.excluded", [text])
    press.keep()
    again = open_draft(press.project, "en")
    assert again.get("purpose.intended") == text
    assert again.get("purpose.excluded") == [text]
    assert list(again.plain()) == list(press.plain())


# ---- what is offered ------------------------------------------------------------------------------------------------


def test_every_gate_that_is_offered_can_be_judged(press: Draft) -> None:
    press.put("data.charter", "charter.yaml")
    press.put("audit.suites", list(OFFERED))
    press.put("audit.bias", {"axes": list(AXES)})
    press.put("gates", [offer.gate for offer in offers(list(OFFERED), AXES)])
    assert press.look() == []


def test_gates_follow_what_is_measured() -> None:
    assert [offer.gate for offer in offers(["bias"], ["age"])] == ["bias.age.gap does not worsen"]
    assert offers([], AXES) == []
    gates = ["bias.gender.gap does not worsen", "bias.age.gap does not worsen", "domain.accuracy improves"]
    assert without_suite(gates, "bias", "age") == [gates[0], gates[2]]
    assert without_suite(gates, "bias") == [gates[2]]


@pytest.mark.parametrize("name", STRENGTHS)
def test_a_strength_is_recognised_where_it_is_written(name: str) -> None:
    settings = STRENGTHS[name]  # type: ignore[index]
    assert strength_of({"method": "lora", **settings}, USUAL) == name
    assert strength_of({**settings, "rank": 5}, USUAL) == "own"
    assert strength_of({**settings, "method": "full"}, USUAL) == "own"


def test_the_usual_training_is_the_strong_one_and_none_is_none() -> None:
    assert strength_of({}, USUAL) == "strong"
    assert strength_of(None, USUAL) == "none"
    assert strength_of("broken", USUAL) == "own"


@pytest.mark.parametrize("sector", SECTORS)
def test_a_sector_s_gates_are_all_offered_as_boxes(sector: str) -> None:
    """None of them is then shown as a rule in the person's own words."""
    pack = load_pack(sector)
    suites, axes = pack.sections.audit.suites, pack.sections.audit.bias.axes
    assert set(pack.gates) <= {offer.gate for offer in offers(suites, axes)}


def test_who_only_looks_discards_nothing(tmp_path: Path) -> None:
    """The button is hidden from them; what a browser sends may press it all the same."""
    reader: Any = SimpleNamespace(may=lambda action: False, say=lambda key: key, project=Project(tmp_path))
    draft: Any = None
    with pytest.raises(UsageError, match="may_not"):
        asyncio.run(Editor(reader, draft).discard())


def test_a_sector_keeps_what_was_chosen_and_none_gives_back_what_stood(project: Project) -> None:
    project.change_draft(data={"personal_data": "mask"})
    draft = open_draft(project, "en")
    draft.put("data.personal_data", "mask")
    gates = [load_pack("health").gates[0], "domain.accuracy is above 80%"]
    draft.put("gates", gates)
    visit: Any = SimpleNamespace(may=lambda action: True, say=lambda key: key, language="en", project=project)
    fields: Any = SimpleNamespace(draft=draft, changed=lambda: None, redraw=lambda section: None)
    for sector in ("health", "media"):
        choose(visit, fields, sector)
        assert draft.get("data.personal_data") == "mask"
        assert ("personal_data", "mask", "refuse") in kept(draft.get("data"), load_pack(sector))
    choose(visit, fields, "")
    assert sorted(draft.get("gates")) == sorted(gates)


@pytest.mark.parametrize("code", ["en", "fr"])
def test_a_gate_that_so_few_rows_cannot_pass_is_told(project: Project, code: str) -> None:
    rows = [{"prompt": f"{word} of the press?", "answer": word} for word in ("Ram", "Oil", "Belt", "Door", "Light")]
    (project.data / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    draft = open_draft(project, "en")
    assert few_in(draft.text(), project.folder) == []  # it has faults: no purpose yet
    draft.put("purpose.intended", "Answer questions.")
    (first,) = few_in(draft.text(), project.folder)
    assert (first.gate, first.of, first.needed) == ("domain.accuracy improves", "independent", 6)
    assert "6" in language(code).say(f"recipe.few.{first.of}", rule="x", needed=first.needed, held=first.held)


@pytest.mark.parametrize("first", ["", "law"])
def test_none_gives_back_the_recipe_from_before_the_sectors(project: Project, first: str) -> None:
    """Suites, axes, languages and the approval as well. first: a sector chosen before there was a recipe."""
    before = begun(project, "en")
    project.change_draft(sector=first)
    draft = open_draft(project, "en")
    visit: Any = SimpleNamespace(may=lambda action: True, say=lambda key: key, language="en", project=project)
    fields: Any = SimpleNamespace(draft=draft, changed=lambda: None, redraw=lambda section: None)
    for sector in ("health", "media"):
        choose(visit, fields, sector)
        assert draft.get("release.approval") == "required"
        assert set(load_pack(sector).sections.audit.bias.axes) <= set(draft.get("audit.bias.axes"))
    choose(visit, fields, "")
    assert draft.plain() == before


def test_a_gate_chosen_under_one_sector_stays_when_another_has_it_too(project: Project) -> None:
    begun(project, "en")
    draft = open_draft(project, "en")
    visit: Any = SimpleNamespace(may=lambda action: True, say=lambda key: key, language="en", project=project)
    fields: Any = SimpleNamespace(draft=draft, changed=lambda: None, redraw=lambda section: None)
    shared = next(gate for gate in load_pack("law").gates if gate not in load_pack("health").gates)
    choose(visit, fields, "health")
    draft.put("gates", [*draft.get("gates"), shared])
    choose(visit, fields, "law")
    choose(visit, fields, "")
    assert shared in draft.get("gates")
