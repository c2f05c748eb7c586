"""The page: self-contained, escaped, complete, the same bytes each time."""

import re
from pathlib import Path

import pytest

from checked_page import Checked
from evidence_sample import bare, evidence
from evidence_suites import item
from limpide.core.errors import UsageError
from limpide.document.evidence import Evidence
from limpide.document.read import suite_evidence
from limpide.document.report import SECTIONS, report
from limpide.document.write import write_documents


def hostile() -> Evidence:
    bad = "</style><script>alert(1)</script><img src=http://x/y onerror=z>\"'{{ 7*7 }}"
    sample = evidence()
    row = item(bad, {"axis": bad, "language": bad}, {"gap": 1.0}, stereotyped=bad, other=bad, outcome=bad)
    return sample.model_copy(
        update={
            "name": bad,
            "purpose": sample.purpose.model_copy(update={"intended": bad, "users": {"en": bad}, "contact": bad}),
            "examples": tuple(e.model_copy(update={"prompt": bad, "result_answer": bad}) for e in sample.examples),
            "suites": (suite_evidence("bias", [row], {"dialect": {"name": bad}}, before=[row], rerun=bad),),
            "decisions": (bad,),
            "how_to_rerun": (bad,),
        }
    )


@pytest.mark.parametrize("code", ["en", "fr"])
@pytest.mark.parametrize("made", [evidence, bare, hostile])
def test_the_page_is_well_formed_and_asks_for_nothing(made: object, code: str) -> None:
    assert callable(made)
    page = report(made(), code)
    checked = Checked(page)
    tags = {tag for tag, _, _ in checked.attributes}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "form"}
    for tag, name, value in checked.attributes:
        assert name not in ("src", "srcset", "xlink:href", "style") or value is None, (tag, name, value)
        assert not name.startswith("on")
        if name == "href":
            assert value is not None
            assert re.fullmatch(r"#[a-z]+|report(\.[a-z]+)?\.html", value)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert "49" not in re.findall(r"<h1>.*?</h1>", page)[0]


def test_every_section_is_there_and_in_the_contents() -> None:
    page = report(bare(), "fr")
    ids = re.findall(r'<section id="(\w+)"', page)
    assert tuple(ids) == SECTIONS
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert tuple(re.findall(r'href="#(\w+)"', contents)) == SECTIONS


def test_what_is_absent_is_said() -> None:
    page = report(bare(), "en")
    assert "Bias was not measured" in page
    assert "not declared" in page
    assert ">None<" not in page
    assert re.search(r"<dd>\s*</dd>", page) is None


def test_the_same_evidence_gives_the_same_bytes() -> None:
    assert report(evidence(), "fr") == report(evidence(), "fr")


def test_pictures_have_words_for_those_who_do_not_see_them() -> None:
    page = report(evidence(), "en")
    for svg in re.findall(r"<svg[^>]*>", page):
        assert 'aria-hidden="true"' in svg or "aria-label=" in svg or "viewBox" in svg


def test_foreign_text_says_its_language() -> None:
    assert '<html lang="fr">' in report(evidence(), "fr")
    assert '<span class="closed" lang="en">Sarah has worked' in report(evidence(), "fr")


def test_a_file_a_language_with_links_between_them(tmp_path: Path) -> None:
    french_first = evidence().model_copy(update={"report_languages": ("fr", "en")})
    written = write_documents(french_first, tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in written]
    assert names == ["README.md", "evidence/report.html", "evidence/report.en.html"]
    first, other = (path.read_text(encoding="utf-8") for path in written[1:])
    assert '<html lang="fr">' in first
    assert 'href="report.en.html" hreflang="en"' in first
    assert 'href="report.html" hreflang="fr"' in other


def test_one_language_has_no_switch(tmp_path: Path) -> None:
    written = write_documents(evidence().model_copy(update={"report_languages": ("en",)}), tmp_path)
    assert len(written) == 2
    assert 'class="switch"' not in written[1].read_text(encoding="utf-8")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UsageError, match="may not write"):
        write_documents(evidence(), tmp_path)
    assert not list(tmp_path.rglob("*.html"))
