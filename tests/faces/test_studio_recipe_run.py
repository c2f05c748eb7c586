"""From a folder with a file of examples to a recipe and a run, in a real browser, on a tiny random model."""

import json
from pathlib import Path
from typing import Any

import pytest
from browser import RunningStudio, axe_violations, open_page, page_faults, running_studio, shot, start_studio, visitor

from limpide.recipe.load import load_recipe
from limpide.recipe.sectors import load_pack
from limpide.release.keys import new_keys
from tiny import tiny_folder

pytestmark = pytest.mark.whole
SCRIPT = "Answer <script>window.hacked = 1</script> & 'quotes'"
RUN_MS = 300_000  # a run on a machine that does much else
RECIPE = """\
# kept by the form
name: tiny
version: 1.0.0
purpose: {{intended: Answer., contact: office@example.org}}
base: {base}
data: {{examples: data/rows.jsonl}}
audit: {{suites: [domain], languages: [en], domain: {{max_new_tokens: 4}}}}
adapt: {{epochs: 2, rank: 2, canary: false, keep: 0}}
optimise: {{formats: [safetensors]}}
parity: {{conversations: 2, answer_tokens: 4, flips: 1, merged_divergence: 1, adapter_effect: 1.0e-12}}
gates: [domain.accuracy is above 95%]
release: {{sign_with: keys/release.pem, approval: required}}
"""


def with_rows(folder: Path) -> Path:
    rows = [{"prompt": f"Question {i}?", "answer": f"Answer {i}."} for i in range(40)]
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def looked_at(page: Any, name: str) -> None:
    """A picture to look at, and no serious fault of any kind on it."""
    shot(page, name)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert (axe_violations(page), page_faults(page), max(0, wide)) == ([], [], 0)


def test_without_data_or_recipe_the_pages_say_where_to_go(chromium: Any, studio: RunningStudio) -> None:
    with visitor(chromium, studio.way_in(), language="fr", size="phone") as page:
        open_page(page, studio.url, "/run")
        assert page.get_by_role("link", name="Aller aux données").get_attribute("href") == "/data"
        open_page(page, studio.url, "/recipe")
        assert page.get_by_role("link", name="Ajouter des fichiers").get_attribute("href") == "/data"


def test_groups_are_asked_with_bias_alone_and_too_few_rows_are_told(chromium: Any, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    (folder / "data").mkdir(parents=True)
    rows = [{"prompt": f"{word} of the press?", "answer": word} for word in ("Ram", "Oil", "Belt", "Door", "Light")]
    (folder / "data" / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with running_studio(folder) as studio, visitor(chromium, studio.way_in(), language="fr", size="phone") as page:
        open_page(page, studio.url, "/recipe")
        groups = page.get_by_role("group", name="Groupes comparés")
        groups.wait_for()
        suite = page.get_by_role("group", name="Mesuré sur le modèle").get_by_role("checkbox", name="Biais")
        suite.click()
        groups.wait_for(state="detached")
        assert suite.evaluate("(box) => box === document.activeElement")
        suite.click()
        groups.wait_for()
        page.get_by_label("À quoi va-t-il servir").fill("Répondre.")
        page.get_by_label("À quoi va-t-il servir").press("Tab")
        page.get_by_text("il faut au moins 6 questions indépendantes").wait_for()
        looked_at(page, "recipe-few-phone-fr")


def test_a_recipe_is_made_by_filling_in_a_form(chromium: Any, tmp_path: Path) -> None:
    folder = with_rows(tmp_path / "Press shop")
    with running_studio(folder) as studio, visitor(chromium, studio.way_in()) as page:
        open_page(page, studio.url, "/recipe")
        status = page.get_by_role("status").filter(has_text="aved")
        assert "One thing to mend" in status.inner_text()
        page.get_by_label("Start from the checks of a sector").select_option("law")
        page.get_by_text("things to look at before release").click()
        assert page.get_by_text(load_pack("law").look[1].see.en).is_visible()
        purpose = page.get_by_label("What will people use it for?")
        purpose.fill(SCRIPT)
        purpose.press("Tab")
        page.get_by_text("Nothing is wrong with it").wait_for()
        page.get_by_label("Version", exact=True).fill("one")
        page.get_by_label("Version", exact=True).press("Tab")
        page.get_by_text("Only numbers with dots between them").first.wait_for()
        assert page.get_by_label("Version", exact=True).get_attribute("aria-invalid") == "true"
        looked_at(page, "recipe-faults")
        page.get_by_label("Version", exact=True).fill("2.0")
        page.get_by_label("Version", exact=True).press("Tab")
        _set_in_the_folded_part(page)
        page.get_by_role("button", name="Save").click()
        page.get_by_role("link", name="Go on to the run").wait_for()
        looked_at(page, "recipe-saved")
        assert page.evaluate("window.hacked") is None
    recipe = load_recipe(folder / "recipe.yaml")
    assert (recipe.purpose.intended, recipe.version) == (SCRIPT, "2.0")
    assert set(load_pack("law").gates) <= set(recipe.gates)
    assert recipe.data.examples == (Path("data/rows.jsonl"),)
    assert (recipe.adapt.rank, recipe.adapt.preferences.epochs) == (4, 7)


def _set_in_the_folded_part(page: Any) -> None:
    """Two settings deep in the folded sections, by their names alone."""
    page.get_by_text("How the model is adapted").click()
    rank = page.get_by_label("Rank of the adapter's matrices")
    rank.fill("0")
    rank.press("Tab")
    page.get_by_text("This must be 1 or more").first.wait_for()
    rank.fill("4")
    rank.press("Tab")
    page.get_by_text("Learning from preferences").click()
    passes = page.get_by_label("Passes over the preferences")
    passes.fill("7")
    passes.press("Tab")
    page.get_by_text("Nothing is wrong with it").wait_for()


def test_what_is_not_saved_outlives_the_browser_and_comments_are_kept(chromium: Any, tmp_path: Path) -> None:
    folder = with_rows(tmp_path / "project")
    (folder / "recipe.yaml").write_text(RECIPE.format(base="smollm2-135m-instruct"))
    with running_studio(folder) as studio:
        with visitor(chromium, studio.way_in(), language="fr", size="phone", theme="dark") as page:
            open_page(page, studio.url, "/recipe")
            users = page.get_by_label("Qui l’utilisera")
            users.fill("des opérateurs formés")
            users.press("Tab")
            page.get_by_text("Pas encore enregistrée").wait_for()
            looked_at(page, "recipe-phone-fr-dark")
        studio.kill()
        again = start_studio(folder)
        try:
            with visitor(chromium, again.way_in(), language="fr") as page:
                open_page(page, again.url, "/recipe")
                assert page.get_by_label("Qui l’utilisera").input_value() == "des opérateurs formés"
                page.get_by_role("button", name="Enregistrer").click()
                page.get_by_role("link", name="Passer à l’exécution").wait_for()
        finally:
            again.close()
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert text.startswith("# kept by the form\n")
    assert "users: des opérateurs formés" in text


def test_a_run_is_followed_by_two_browsers_held_back_mended_and_awaits_approval(chromium: Any, tmp_path: Path) -> None:
    folder = with_rows(tmp_path / "project")
    (tmp_path / "base").mkdir()
    (folder / "recipe.yaml").write_text(RECIPE.format(base=tiny_folder("llama", tmp_path / "base")))
    with running_studio(folder) as studio:
        with visitor(chromium, studio.way_in(), language="fr") as page:
            open_page(page, studio.url, "/run")
            page.get_by_role("button", name="Créer la clé").click()
            page.get_by_role("dialog").get_by_role("button", name="Créer la clé").click()
            page.get_by_role("button", name="Lancer").click()
            page.get_by_role("button", name="Arrêter").wait_for()
            looked_at(page, "run-begins")
        studio.kill()  # the run goes on, without a browser and without a studio
        again = start_studio(folder)
        try:
            _held_then_awaited(chromium, again, folder)
        finally:
            again.close()


def _held_then_awaited(chromium: Any, studio: RunningStudio, folder: Path) -> None:
    with visitor(chromium, studio.way_in(), size="phone") as phone, visitor(chromium, studio.way_in()) as page:
        for one in (phone, page):
            open_page(one, studio.url, "/run")
        for one in (phone, page):
            one.get_by_text("The release was not made").wait_for(timeout=RUN_MS)
            one.get_by_text("domain.accuracy is above 95%").first.wait_for()
            assert one.locator(".steps .done").count() == 7
            assert one.locator(".curve svg").count() == 1
        looked_at(page, "run-held")
        looked_at(phone, "run-held-phone")
        recipe = folder / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("gates: [domain.accuracy is above 95%]", "gates: []"))
        open_page(page, studio.url, "/run")
        page.get_by_role("button", name="Run again").click()
        page.get_by_text("It waits for a named person").wait_for(timeout=RUN_MS)
        assert page.get_by_role("link", name="Go to the release").get_attribute("href") == "/release"
        looked_at(page, "run-waits")
    assert (folder / "releases" / "tiny-1.0.0" / "model.sig").is_file()


def test_a_run_is_stopped_and_goes_on(chromium: Any, tmp_path: Path) -> None:
    folder = with_rows(tmp_path / "project")
    (tmp_path / "base").mkdir()
    new_keys(folder / "keys" / "release.pem")
    text = RECIPE.format(base=tiny_folder("llama", tmp_path / "base")).replace(
        "epochs: 2", "epochs: 1000, patience: 999"
    )
    (folder / "recipe.yaml").write_text(text)
    with running_studio(folder) as studio, visitor(chromium, studio.way_in()) as page:
        open_page(page, studio.url, "/run")
        page.get_by_role("button", name="Start").click()
        page.get_by_text("It learns", exact=True).wait_for(timeout=RUN_MS)
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("The run was stopped").wait_for(timeout=RUN_MS)
        looked_at(page, "run-stopped")
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("button", name="Stop").wait_for()
        assert page.locator(".steps .kept").count() == 2, "what was finished is kept"
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("The run was stopped").wait_for(timeout=RUN_MS)
