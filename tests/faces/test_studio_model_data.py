"""The pages of the model and of the data in a real browser: the whole way a person takes, and hostile files."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import RunningStudio, axe_violations, open_page, page_faults, running_studio, shot, visitor

from tiny import tiny_folder

pytestmark = pytest.mark.whole
VERBS = ("open", "bleed", "drain", "grease", "inspect", "replace", "label", "weigh", "lift", "clean", "oil", "test")
HOSTILE = "<img src=x onerror=alert(1)>"
WAIT = 60_000  # ms: a job starts a process that imports its libraries


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as people have them: a table with faults, one without known columns, a document, a charter, a picture."""
    folder = tmp_path_factory.mktemp("files")
    rows = [f"How do I {VERBS[i % 12]} part {i}?,Use tool {i} and wait for the light.,1" for i in range(30)]
    odd = ["Who?,Write to ada@example.org,1", "Nothing here,,1", f"{HOSTILE},Press {HOSTILE} twice.,2"]
    many = [f"Contact {i}?,Write to person{i}@example.org now,1" for i in range(25)]
    (folder / "faults.csv").write_text("\n".join([f"question,answer,{HOSTILE}", *rows, *odd, *many]) + "\n")
    (folder / "unnamed.csv").write_text(
        "Q,R\n" + "".join(f"How is part {i} {VERBS[i]}ed?,So {i}.\n" for i in range(12))
    )
    (folder / "manual.md").write_text("# Oil\n\nChange the oil of the press in the morning, and lock it before.\n")
    (folder / "charter.yaml").write_text("forbidden: [{term: cheap}]\nstyle: {no_emoji: true}\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n")
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningStudio]:
    with running_studio(tmp_path / "project") as started:
        yield started


def choose_model(page: Any, url: str, base: Path) -> None:
    open_page(page, url, "/model")
    page.get_by_label("Path of the folder or .gguf file").fill(str(base))
    page.get_by_text(f"A model folder: {base.name}.").wait_for()
    page.get_by_role("button", name="Open it").nth(1).click()
    page.get_by_role("button", name="Use this model").click(timeout=WAIT)
    page.get_by_role("link", name="Next: your data").wait_for()


def test_a_model_is_chosen_and_refused_ones_say_what_to_do(
    chromium: Any, fresh: RunningStudio, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    with visitor(chromium, fresh.way_in()) as page:
        choose_model(page, fresh.url, base)
        draft = json.loads((fresh.folder / ".limpide" / "studio" / "draft.json").read_text())
        assert draft["base"] == str(base)
        label = page.locator(".label").inner_text()
        for said in ("What its licence asks", "none is declared", "What nobody says", "What it was trained on"):
            assert said in label
        assert axe_violations(page) == []
        shot(page, "model-label")
        for size in ("phone", "wall"):
            with visitor(chromium, fresh.way_in(), language="fr", theme="dark", size=size) as other:
                open_page(other, fresh.url, "/model")
                other.get_by_text("Ce que demande sa licence").wait_for()
                assert other.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
                assert axe_violations(other) == []
                shot(other, f"model-label-{size}", whole=size == "phone")
        path = page.get_by_label("Path of the folder or .gguf file")
        path.fill(str(tmp_path / "nothing-here"))
        page.get_by_text("There is nothing at this path.").wait_for()
        assert page.get_by_role("button", name="Open it").nth(1).is_disabled()
        path.fill(str(tmp_path / "pickled"))
        page.get_by_text("which can run code").wait_for()
        path.press("Enter")  # the keyboard alone will do
        page.get_by_text("This model was refused: its weights are in a form (pickle)").wait_for(timeout=WAIT)
        page.get_by_text("The exact message").click()
        assert axe_violations(page) == []
        shot(page, "model-refused")
        assert page_faults(page) == []


def test_nothing_goes_to_the_hub_unasked(chromium: Any, fresh: RunningStudio) -> None:
    with visitor(chromium, fresh.way_in(), language="fr") as page:
        open_page(page, fresh.url, "/model")
        name = page.get_by_label("propriétaire/nom@révision")
        name.fill("pas un nom")
        page.get_by_text("Écrivez propriétaire/nom").wait_for()
        name.fill("someone/model")
        page.get_by_role("button", name="Le télécharger et l’ouvrir").click()
        page.get_by_text("Télécharger ce modèle").wait_for()
        shot(page, "model-download-asked", whole=False)
        page.get_by_role("button", name="Annuler").click()
        page.get_by_text("Télécharger ce modèle").wait_for(state="hidden")
        assert not (fresh.folder / ".limpide" / "studio" / "jobs").exists()


@pytest.fixture
def drop(files: Path) -> Callable[..., None]:
    def dropped(page: Any, *names: str) -> None:
        page.locator("input[type=file]").set_input_files([files / name for name in names])

    return dropped


def test_the_way_of_the_data(chromium: Any, fresh: RunningStudio, base: Path, drop: Callable[..., None]) -> None:
    """Drop, see faults, mend them, see the tokens and the advice; a second browser sees the same."""
    with visitor(chromium, fresh.way_in()) as page:
        page.on("dialog", lambda dialog: pytest.fail("a script of a file ran"))
        choose_model(page, fresh.url, base)
        open_page(page, fresh.url, "/data")
        assert page.get_by_text("There is no data yet").is_visible()
        drop(page, "faults.csv", "manual.md", "charter.yaml", "picture.png")
        page.get_by_text("2 things must be mended").wait_for(timeout=WAIT)
        assert page.get_by_text("Limpide does not learn from files of this kind").is_visible()
        for title in page.locator(".finding summary").all():
            title.click()
        assert page.get_by_text("Page 1 of 3").is_visible()
        page.get_by_role("button", name="Next", exact=True).first.click()
        page.get_by_text("Page 2 of 3").wait_for()
        assert page.locator("main img, #content img").count() == 0
        assert axe_violations(page) == []
        shot(page, "data-faults")
        page.get_by_role("button", name="faults.csv, line 33").click()
        page.get_by_text("Line 33 of faults.csv").wait_for()
        assert page.get_by_text("(empty)").is_visible()
        assert axe_violations(page) == []
        page.get_by_role("button", name="Close", exact=True).click()
        page.get_by_role("button", name="Leave these rows out").click()
        page.get_by_text("1 thing must be mended").wait_for(timeout=WAIT)
        page.get_by_role("button", name="Mask all personal data").click()
        page.get_by_text("Nothing stands in the way").wait_for(timeout=WAIT)
        draft = json.loads((fresh.folder / ".limpide" / "studio" / "draft.json").read_text())
        assert draft["data"] == {"skip_bad_rows": True, "personal_data": "mask"}
        page.get_by_role("button", name="Show some examples").click()
        page.locator("mark", has_text="Use tool 0").wait_for(timeout=WAIT)
        page.get_by_role("button", name="Ask for advice").click()
        page.get_by_text("Smallest change that shows").wait_for(timeout=WAIT)
        assert axe_violations(page) == []
        shot(page, "data-mended")
        assert page_faults(page) == []
        with visitor(chromium, fresh.way_in(), language="fr", theme="dark", size="phone") as other:
            open_page(other, fresh.url, "/data")
            other.get_by_text(re.compile("Rien ne s’y oppose")).wait_for()
            other.get_by_text("Plus petit changement visible").wait_for()
            assert other.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            assert axe_violations(other) == []
            shot(other, "data-mended-phone")


def test_unknown_columns_are_named_and_files_removed(
    chromium: Any, fresh: RunningStudio, drop: Callable[..., None]
) -> None:
    with visitor(chromium, fresh.way_in()) as page:
        open_page(page, fresh.url, "/data")
        drop(page, "unnamed.csv")
        page.get_by_text("cannot be read as they are").wait_for(timeout=WAIT)
        assert axe_violations(page) == []
        page.get_by_role("button", name="Say which column is which").click()
        page.get_by_role("button", name="Read it so").click()
        page.get_by_text("Nothing stands in the way").wait_for(timeout=WAIT)
        assert page.get_by_text("12 rows: questions and answers").is_visible()
        shot(page, "data-columns")
        drop(page, "unnamed.csv")
        page.get_by_text("unnamed-2.csv", exact=True).wait_for()
        page.get_by_role("button", name="Use: unnamed.csv").wait_for()
        page.get_by_role("button", name="Remove: unnamed.csv").click()
        page.get_by_role("button", name="Remove", exact=True).last.click()
        page.get_by_text("unnamed.csv", exact=True).wait_for(state="hidden")
        assert [path.name for path in (fresh.folder / "data").iterdir()] == ["unnamed-2.csv"]
