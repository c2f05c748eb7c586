"""The release page in a browser: documents, signature, verification, approval, archive; and what a reader may not."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faces.browser import RunningStudio, open_page, page_faults, running_studio, shot, visitor
from faces.released import NAME, released
from limpide.release.approve import approvals
from limpide.release.keys import KeyPair, new_keys


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningStudio, Path, KeyPair]]:
    place = tmp_path_factory.mktemp("release") / "press"
    folder, keys = released(place, approval="required", sign=False)
    for path in (keys.private, keys.public):
        path.unlink()
    locked = new_keys(place / "keys" / "locked.pem", password="correct horse")
    with running_studio(place) as started:
        yield started, folder, locked


def test_sign_verify_approve_and_take_away(
    chromium: Any, project: tuple[RunningStudio, Path, KeyPair], axe: Callable[..., list[str]]
) -> None:
    studio, folder, keys = project
    with visitor(chromium, studio.way_in()) as page:
        open_page(page, studio.url, "/release")
        assert "not signed" in page.locator(".chip").first.inner_text()
        assert page.get_by_text("It can be served once it is signed").is_visible()
        page.get_by_label("Password of the key").fill("wrong")
        page.get_by_role("button", name="Sign this release").click()
        page.locator(".dialog .notice.bad").get_by_text("not the password of the key").wait_for()
        page.locator(".dialog").get_by_role("button", name="Close").click()
        page.get_by_label("Password of the key").fill("correct horse")
        page.get_by_role("button", name="Sign this release").click()
        page.get_by_text(keys.fingerprint).wait_for()
        kept = (path for path in folder.parent.parent.rglob("*") if path.is_file())
        assert not any(b"correct horse" in path.read_bytes() for path in kept)

        page.get_by_role("button", name="Verify now").click()
        page.get_by_text("exactly what was signed").wait_for(timeout=60_000)
        assert page.locator(".check").count() == 4
        assert axe(page) == []
        shot(page, "release")

        page.get_by_role("button", name="Approve this release").click()
        page.locator(".dialog").get_by_text("Say what was looked at").wait_for()
        page.locator(".dialog").get_by_role("button", name="Close").click()
        page.get_by_label("First and last name").fill("Ada <b>Martin</b>")
        page.get_by_text("the report", exact=True).click()
        page.get_by_label("Password of the key").fill("correct horse")
        page.get_by_role("button", name="Approve this release").click()
        page.get_by_text("Ada <b>Martin</b>", exact=True).wait_for()
        (given,) = approvals(folder, keys.public)
        assert (given.name, given.statement) == ("Ada <b>Martin</b>", "Looked at: the report.")

        with page.expect_download() as download:
            page.get_by_text("Download the whole release").click()
        with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
            assert f"{NAME}/model.sig" in archive.namelist()
        assert page.get_by_role("link", name="Serve it").get_attribute("href") == f"/service?of={NAME}"
        assert page_faults(page) == []


def test_a_tampered_release_shows_what_differs(
    chromium: Any, project: tuple[RunningStudio, Path, KeyPair], axe: Callable[..., list[str]]
) -> None:
    studio, folder, _ = project
    card = (folder / "README.md").read_bytes()
    (folder / "README.md").write_bytes(card + b"better")
    (folder / "extra.py").write_text("x")
    with visitor(chromium, studio.way_in(), language="fr", theme="dark", size="phone") as page:
        open_page(page, studio.url, "/release")
        page.get_by_role("button", name="Vérifier maintenant").click()
        page.get_by_text("n’est pas ce qui a été signé").wait_for(timeout=60_000)
        said = page.locator(".table-box", has_text="extra.py").inner_text()
        assert "ajouté après la signature" in said
        assert "README.md" in said
        assert "Ne l’utilisez pas" in page.locator(".notice.bad").inner_text()
        page.reload()
        page.get_by_text("différente de la version signée").wait_for()
        assert page.get_by_role("link", name="La servir").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert axe(page) == []
        shot(page, "release-tampered-fr")
    (folder / "README.md").write_bytes(card)
    (folder / "extra.py").unlink()
