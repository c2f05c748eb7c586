"""The page of an audit, of one model or of two, from the folders that audits leave."""

import re
from pathlib import Path

import pytest

from checked_page import Checked
from evidence_suites import measure, write_audit, write_suite
from limpide.core import files
from limpide.core.errors import DataError
from limpide.core.measure import Change
from limpide.document import audit_report, read
from limpide.document.audit_report import audit_evidence, write_comparison, write_report
from limpide.document.evidence import Audited, AuditEvidence


def words_of(page: Path) -> str:
    """What a reader sees."""
    shown = page.read_text(encoding="utf-8").split("</style>")[1].replace("<wbr>", "")
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown))


def change(name: str, before: float, after: float, verdict: str) -> Change:
    given = {"name": name, "before": before, "after": after, "difference": after - before, "verdict": verdict}
    given |= {"low": after - before - 0.1, "high": after - before + 0.1, "unit": "share", "better": "higher", "n": 40}
    return Change.model_validate(
        given | {"test": "McNemar exact", "p_value": 0.01, "smallest_detectable": 0.2, "sentence": f"{name} moved"}
    )


@pytest.mark.parametrize("kind", ["model", "endpoint"])
def test_a_page_a_language_is_written_well_formed_and_without_requests(tmp_path: Path, kind: str) -> None:
    folder = write_audit(tmp_path / "audited", kind=kind)
    assert write_report(folder) == folder / "report.html"
    for name, code in (("report.html", "en"), ("report.fr.html", "fr")):
        page = (folder / name).read_text(encoding="utf-8")
        assert f'<html lang="{code}">' in page
        checked = Checked(page)
        assert not {tag for tag, _, _ in checked.attributes} & {"script", "img", "link", "iframe", "form"}
        anchors = [value for tag, key, value in checked.attributes if key == "href" and str(value).startswith("#")]
        ids = {value for _, key, value in checked.attributes if key == "id"}
        assert {str(anchor)[1:] for anchor in anchors} <= ids
        assert ">None<" not in page


def test_the_page_says_who_what_and_how_again(tmp_path: Path) -> None:
    said = words_of(write_report(write_audit(tmp_path / "audited")))
    assert "tiny was asked the questions of 2 suites" in said
    assert "ab" * 32 in said
    assert "The model favours the stereotype on: gender (English)." in said
    assert "To which country do the Galápagos Islands belong?" in said
    assert "limpide audit all tiny --out audited" in said
    assert "truth.accuracy@1(parameters=all)" in said
    assert "What cannot be said without weights" not in said
    assert "It needs prepared data: --data." in said
    assert "adaptation" not in said


def test_a_closed_model_shows_what_cannot_be_said(tmp_path: Path) -> None:
    folder = write_audit(tmp_path / "audited", kind="endpoint")
    said = words_of(write_report(folder))
    assert "weights closed" in said
    missing = said[said.rindex("What cannot be said without weights") :]
    assert "needs the likelihood of given words" in missing
    assert "Bias gap" in missing
    assert "Calibration error of its certainty" in missing
    assert "can change from one day to the next" in said
    french = words_of(folder / "report.fr.html")
    assert "Ce qu’on ne peut pas dire sans les poids" in french
    assert "il faut la vraisemblance de mots donnés" in french


def test_the_folder_of_one_suite_has_its_page_too(tmp_path: Path) -> None:
    folder = write_audit(tmp_path / "audited") / "truth"
    said = words_of(write_report(folder))
    assert said.count("Does it tell the truth") == 2  # in the contents and as a title
    assert "The command was not recorded." in said


def test_an_unknown_suite_is_shown_like_any_other(tmp_path: Path) -> None:
    folder = tmp_path / "novelty"
    write_suite(folder, [measure("novelty.share", 0.3)], [{"id": "a", "cluster": "a", "group": {}, "metric": {}}], {})
    assert "Suite novelty" in words_of(write_report(folder))


@pytest.mark.parametrize(
    ("name", "text"), [("audit.json", "not JSON"), ("audit.json", "[]"), ("truth/result.json", "{}"), ("truth", "")]
)
def test_a_broken_folder_is_named(tmp_path: Path, name: str, text: str) -> None:
    folder = write_audit(tmp_path / "audited")
    if text:
        files.write_text(folder / name, text)
    else:
        (folder / name).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is not the folder of an audit") as error:
        write_report(folder)
    assert "limpide audit" in str(error.value.remedy)


def test_a_folder_without_a_measure_is_no_audit(tmp_path: Path) -> None:
    write_suite(tmp_path / "empty", [], [], {})
    with pytest.raises(DataError, match="holds no measure"):
        write_report(tmp_path / "empty")


def test_facts_that_no_page_shows_stay_in_their_folder(tmp_path: Path) -> None:
    evidence = audit_evidence(write_audit(tmp_path / "audited"))
    assert set(evidence.suite("truth").facts) == {"reliability", "risk_coverage", "topics"}


def test_two_models_stand_side_by_side_worse_first(tmp_path: Path) -> None:
    sides = [
        read.read_audited(write_audit(tmp_path / name, title=title))
        for name, title in (("a", "the-first-model"), ("b", "a-second-model-with-a-very-long-name"))
    ]
    changes = [
        change("truth.accuracy", 0.3, 0.4, "better"),
        change("truth.made_up", 0.8, 0.9, "worse"),
        change("truth.ece", 0.3, 0.3, "no detectable change"),
    ]
    out = tmp_path / "compared"
    page = write_comparison(out, sides[0], sides[1], changes, left_out={"domain": "Another method."}, command="again")
    said = words_of(page)
    assert "B is worse than A on some measures" in said
    assert "On 1 measure, B is worse than A. On 1 measure, B is better than A. On 1, no difference" in said
    assert "A · the-first-model" in said
    assert "B · a-second-model-with-a-very-long-n…" in said
    table = said[said.index("What differs between A and B") :]
    assert table.index("truth.made_up") < table.index("truth.accuracy")
    assert "Not compared, the job" in said
    assert "of 3 that were compared" in said
    assert "With A it is 30%: B is better" in said
    assert "adaptation" not in said
    Checked(page.read_text(encoding="utf-8"))
    Checked((out / "report.fr.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("verdicts", "title"),
    [
        (["better", "no detectable change"], "and worse on none"),
        (["no detectable change"], "No difference was detected"),
        (["insufficient evidence"], "too little evidence to compare them"),
        ([], "too little evidence to compare them"),
    ],
)
def test_the_banner_never_says_more_than_the_changes(tmp_path: Path, verdicts: list[str], title: str) -> None:
    side = read.read_audited(write_audit(tmp_path / "a"))
    names = ("truth.accuracy", "truth.made_up")
    changes = [change(name, 0.3, 0.4, verdict) for name, verdict in zip(names, verdicts, strict=False)]
    page = write_comparison(tmp_path / "out", side, side, changes).read_text(encoding="utf-8")
    banner = page[page.index('<div class="banner') : page.index('<ul class="tiles')]
    assert title in banner
    assert "good" in banner if verdicts[:1] == ["better"] else "good" not in banner


def test_two_definitions_without_a_common_measure_are_said_to_be_that() -> None:
    sides = (measure("bias.one", 0.1), "base"), (measure("bias.two", 0.1), "result")
    measures = tuple(m.model_copy(update={"subject": subject}) for m, subject in sides)
    told = AuditEvidence(audited=Audited(title="b"), before=Audited(title="a"), measures=measures)
    spoken = audit_report.spoken_of(told, "en")
    assert "no measure is common to both" in audit_report.banner(told, spoken)[1].sentence
    assert "same questions" not in audit_report.who(told, spoken)
    same = told.model_copy(update={"measures": tuple(m.model_copy(update={"name": "bias.one"}) for m in measures)})
    assert "same questions" in audit_report.who(same, spoken)
