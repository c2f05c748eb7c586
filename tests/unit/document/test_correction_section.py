"""A correction as sentences, as a page and as a section of a report: true in both languages, escaped, complete."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

import correction_sample as sample
from checked_page import Checked
from evidence_sample import evidence
from limpide.core.errors import DataError
from limpide.document.card import card
from limpide.document.corrected import parts
from limpide.document.correction import (
    in_short,
    limit_share,
    limit_words,
    named,
    not_shown,
    probe_of,
    still_read,
    unwatched,
    verdict_sentence,
    written_cut,
)
from limpide.document.correction_page import page, section, tiles
from limpide.document.evidence import CORRECTIONS, Evidence, load_evidence, read_corrections, save_evidence
from limpide.document.language import WORDS, language
from limpide.document.report import report

EN, FR = language("en"), language("fr")
MADE = ("accepted", "refused", "not_cut", "nothing", "undecided", "several", "invention", "fact", "bare", "hostile")
NARROW, NO_BREAK = "\u202f", "\u00a0"


def words(text: str) -> str:
    """With plain spaces, so that sentences can be compared."""
    return text.replace(NARROW, " ").replace(NO_BREAK, " ")


def with_corrections(*names: str) -> Evidence:
    return evidence().model_copy(update={"corrections": tuple(getattr(sample, name)() for name in names)})


# ------------------------------------------------------------------------------------------------------- the sentence


def test_an_accepted_correction_tells_its_gain_its_price_and_the_rest() -> None:
    assert words(verdict_sentence(sample.accepted(), "en")) == (
        "Accepted: the gender gap fell by 46% [38; 53] on unseen templates; perplexity +0.6%; nothing else that was "
        "watched moved by more than it could by chance."
    )
    assert words(verdict_sentence(sample.accepted(), "fr")) == (
        "Acceptée : l’écart selon le genre a baissé de 46 % [38 ; 53] sur des gabarits jamais vus ; perplexité +0,6 % "
        "; rien d’autre, parmi ce qui était surveillé, n’a bougé plus que le hasard ne l’explique."
    )


def test_a_refused_correction_names_what_broke() -> None:
    assert verdict_sentence(sample.refused(), "en") == (
        "Refused: perplexity rose by 31% where less than 2% was allowed; right option chosen out of four: worse by "
        "more than chance explains, from 41% to 29%. The weights are as they were."
    )
    assert words(verdict_sentence(sample.refused(), "fr")).endswith("Les poids sont restés ce qu’ils étaient.")


def test_a_cut_that_may_be_chance_says_so() -> None:
    said = verdict_sentence(sample.not_cut(), "en")
    assert "fell by 3% [−8; 14] on unseen templates, which may be chance" in said
    grown = sample.not_cut()
    grown["target"]["cut"] = {"value": -0.2, "low": -0.3, "high": -0.1}
    grown["target"]["p_value"] = 0.001
    assert "the gender gap rose by 20% [10; 30] on unseen templates. The weights" in verdict_sentence(grown, "en")


def test_nothing_to_correct_tells_what_chance_gives() -> None:
    said = words(verdict_sentence(sample.nothing(), "en"))
    assert "the gender gap, 0.11 nats, is no larger than chance explains" in said
    assert "0.10 nats on average (p = 0.41; 20 pairs of persons, 24 templates)" in said
    small = sample.nothing()
    small["found"] |= {"p_value": 0.0001, "observed": 0.01}
    assert "too small to be worth a correction (p < 0.001" in words(verdict_sentence(small, "en"))


def test_too_little_evidence_counts_what_there_is() -> None:
    assert verdict_sentence(sample.undecided(), "en").startswith("Not decided: 4 templates or questions to judge on")
    few = sample.undecided()
    few["reasons"][0]["what"] = {"pairs": 3, "templates": 9}
    assert "3 pairs of persons in 9 templates are too few" in verdict_sentence(few, "en")


def test_what_moved_within_its_limit_is_named_and_the_rest_is_not_claimed() -> None:
    said = verdict_sentence(sample.invention(), "en")
    assert "from 82% to 31%, a fall of 62% [50; 71]" in said
    assert "worse, though within its limit: questions with an answer that it declines; the rest did not move" in said
    assert "nothing else" not in said


def test_p_over_all_that_is_watched_decides_not_each_alone() -> None:
    record = sample.accepted()
    record["watched"][1]["change"]["verdict"] = "worse"
    record["watched"][1]["p_holm"] = 0.2
    assert "nothing else that was watched moved" in verdict_sentence(record, "en")
    record["watched"][1]["p_holm"] = 0.01
    assert "worse, though within its limit: right option chosen out of four" in verdict_sentence(record, "en")
    record["watched"][1]["change"]["verdict"] = "insufficient evidence"
    assert "too little evidence on: right option chosen out of four" in verdict_sentence(record, "en")


def test_nothing_watched_is_never_good_news() -> None:
    record = sample.accepted() | {"watched": []}
    said = verdict_sentence(record, "en")
    assert "nothing else was watched" in said
    assert "perplexity" not in said
    assert "what the correction cost elsewhere is unknown" in page(record, "en")


def broken(after: float, half: float, limit: str = "worsens by less than 2%", **what: Any) -> str:
    record = copy.deepcopy(sample.refused())
    found = sample.perplexity(after, half=half)
    record["watched"][0] = sample.watched(found, limit, held=False)
    kept = {key: found[key] for key in ("name", "group", "unit", "before", "after")}
    record["reasons"] = [{"code": "limit broken", "what": kept | {"limit": limit} | what}]
    return verdict_sentence(record, "en")


def test_a_limit_broken_by_its_interval_alone_is_told_as_such() -> None:
    assert "perplexity rose by 31% where less than 2% was allowed" in broken(23.84, 0.05)
    assert "perplexity rose by 1.1%, perhaps by 3.8%, where less than 2% was allowed" in broken(18.4, 0.5)
    assert "worse by 3.8% cannot be excluded, where less than 2% was allowed" in broken(18.2, 0.7)
    assert "where less than 2% was allowed" in broken(23.84, 0.05, "worsens by less than 0.02")
    assert "its limit is broken" in broken(23.84, 0.05, name="robustness.flipped")


def test_other_reasons() -> None:
    record = sample.bare() | {
        "reasons": [{"code": "method failed", "what": {"method": "erasure"}}, {"code": "new one"}]
    }
    said = verdict_sentence(record, "en")
    assert (
        said
        == "Refused: this method could not be fitted: linear erasure (LEACE); new one. The weights are as they were."
    )
    assert "no reason was recorded" in verdict_sentence(sample.bare(), "en")
    many = sample.bare() | {"reasons": [{"code": f"code {k}"} for k in range(6)]}
    assert "code 2; 3 others. The weights" in verdict_sentence(many, "en")


def test_cuts_and_limits_and_names_in_words() -> None:
    assert written_cut({"value": 0.46, "low": None, "high": None}, EN) == "46%"
    assert written_cut({}, EN) == ""
    assert (limit_share("worsens by less than 2%"), limit_share("worsens by less than 0.02")) == (0.02, 0.02)
    assert limit_share("no detectable drop") is None
    assert words(limit_words("worsens by less than 2.5%", FR)) == "dégradation de moins de 2,5 %"
    assert limit_words("some other rule", EN) == "some other rule"
    assert named("truth.accuracy", {"language": "fr"}, EN) == "right option chosen out of four (French)"
    assert named("bias.stereoset_ss", {}, EN).startswith("StereoSet")  # a proper name keeps its capitals
    assert named("not.known", {}, EN) == "not.known"


# --------------------------------------------------------------------------------------------------------- the limits


def test_hidden_is_told_as_the_probe_found_it() -> None:
    def said(record: dict[str, Any]) -> str:
        return " ".join(not_shown(record, EN))

    record = sample.accepted()
    assert "can still be read" in said(record)
    for kind in ("linear", "nonlinear"):
        record["probe"][kind]["after"] = {"value": 0.51, "low": 0.45, "high": 0.57, "n": 480}
    assert "no longer read the group" in said(record)
    assert "can still be read from" not in said(record)
    assert "was not measured" in said(record | {"probe": None})


def test_a_probe_a_side_is_the_same_probe() -> None:
    first, turned = probe_of(sample.accepted()), probe_of(sample.several())
    assert first is not None
    assert first == turned
    assert still_read(first)
    assert probe_of({"of": "bias", "probe": {"before": {"state": "insufficient evidence"}, "after": {}}}) is None


def test_what_got_worse_without_a_limit_is_not_overlooked() -> None:
    record = sample.accepted()
    assert unwatched(record, EN) is None
    record["second"][0]["changes"][0]["verdict"] = "worse"
    said = unwatched(record, EN)
    assert said is not None
    assert "WinoBias: gap between the two pronouns" in said
    assert said in in_short(record, "en")
    assert said in page(record, "en")


def test_limits_are_those_of_the_record_and_those_that_follow() -> None:
    said = not_shown(sample.fact(), EN)
    assert said[0].startswith("What follows from the changed fact")
    assert not any("templates" in line for line in said)
    assert len(said) == len(set(said))
    assert any("not show that there is none" in line for line in not_shown(sample.nothing(), EN))


# ----------------------------------------------------------------------------------------------------------- the page


def check(text: str) -> None:
    checked = Checked(text)
    assert not {tag for tag, _, _ in checked.attributes} & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
    }
    for tag, name, value in checked.attributes:
        assert name not in ("src", "srcset", "xlink:href", "style"), (tag, name, value)
        assert not name.startswith("on")
    ids = [value for _, name, value in checked.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for value in (value for _, name, value in checked.attributes if name == "href"):
        assert value is not None
        assert value.removeprefix("#") in [*ids, "report.html", "report.fr.html"]
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.parametrize("code", ["en", "fr"])
@pytest.mark.parametrize("name", MADE)
def test_the_page_is_well_formed_and_asks_for_nothing(name: str, code: str) -> None:
    text = page(getattr(sample, name)(), code)
    check(text)
    assert f'<html lang="{code}">' in text
    assert "default-src 'none'" in text
    assert ">None<" not in text
    assert "<script" not in text
    assert re.search(r"<dd>\s*</dd>|<td[^>]*>\s*None", text) is None
    assert page(getattr(sample, name)(), code) == text


def test_the_verdict_and_four_figures_are_before_all_else() -> None:
    text = page(sample.refused(), "en")
    main = text.index("<main")
    for said in (
        "The correction is refused: the weights are as they were",
        "Perplexity rose by 31%",
        "+31.0%",
        "8 of 10",
    ):
        assert text.index(said) < main
    assert [tile.tone for tile in tiles(sample.refused(), EN)] == ["bad", "bad", "bad", "doubt"]
    assert [tile.tone for tile in tiles(sample.accepted(), EN)] == ["good", "good", "good", "doubt"]


def test_every_part_stands_where_the_record_has_it() -> None:
    def ids(record: dict[str, Any]) -> list[str]:
        return [part.id for part in parts(record, EN)]

    every = ["groups", "watched", "trials", "sits", "pairs", "readable", "elsewhere", "served", "limits"]
    assert ids(sample.accepted()) == every
    assert ids(sample.nothing()) == ["limits"]
    assert ids(sample.fact()) == ["groups", "watched", "trials", "edits", "limits"]
    assert ids(sample.bare()) == ["watched"]
    text = page(sample.accepted(), "en")
    assert re.findall(r'<section id="(\w+)"', text) == [*every, "how", "rerun", "glossary"]
    contents = re.findall(r"<nav.*?</nav>", text, re.S)[0]
    assert re.findall(r'href="#(\w+)"', contents) == [*every, "how", "rerun", "glossary"]


def test_any_field_may_be_missing() -> None:
    whole = sample.several()
    for field in whole:
        if field not in ("version", "of", "verdict"):
            record = {key: value for key, value in whole.items() if key != field}
            check(page(record, "fr"))


def test_corrected_groups_come_apart_from_the_others() -> None:
    text = page(sample.accepted(), "en")
    own, others = text.split("Other groups, which were not corrected")
    assert "Gender (French)" in own or "gender (French)" in own
    assert "origin" not in own[own.index('id="groups"') :]
    assert "origin" in others
    assert "Before <b>0.62</b>" in own
    assert "After <b>0.34 (0.28 to 0.40)</b>" in own  # the value before and the interval of the difference


def test_a_refused_correction_never_calls_its_numbers_after() -> None:
    text = page(sample.refused(), "en")
    assert "With the refused correction <b>" in text
    assert "After <b>" not in text


def test_broken_limits_stand_first_and_quiet_ones_are_folded() -> None:
    record = sample.refused()
    quiet = [
        sample.watched(sample.change("truth.accuracy", 0.4, 0.4, unit="share", group={"topic": f"t{k}"}))
        for k in range(9)
    ]
    record["watched"] = [*quiet, *record["watched"]]
    text = page(record, "en")
    table = text[text.index("What was watched, and its limits") :].replace("<wbr>", "")
    assert table.index("retention.perplexity") < table.index("truth.accuracy") < table.index("topic=t0")
    assert "more, all within their limits" in text
    assert "+31.0%" in table  # a limit in percent is compared with a difference in percent


def test_trials_are_numbered_alike_in_picture_and_table() -> None:
    text = page(sample.accepted(), "en")
    trials = text[text.index('id="trials"') : text.index('id="sits"')]
    assert trials.count('class="kept"') == 1
    dots = re.findall(r"<title>(\d)\. ([^,<]+), strength ([\d.]+)", trials)
    rows = re.findall(
        r'<tr><th scope="row">(\d)</th><td data-label="Method:">([^<]+)</td><td[^>]*>([\d.]+)</td>', trials
    )
    assert len(rows) == 8
    assert set(dots) < set(rows)
    assert len(dots) == 7  # the trial that tripled perplexity is in the table alone
    assert "1 trial that raised perplexity by more than 50% is in the table only" in trials
    assert "limit: 2%" in trials
    assert "Preference needs more pairs." in trials
    assert "received: 2" not in trials


def test_where_the_bias_sat_names_the_layer_counted_from_one() -> None:
    text = page(sample.accepted(), "en")
    assert "Before, most passed through the MLP of layer 10: 0.42" in words(text)
    assert "Attention heads, after" in text


def test_methods_judged_before_say_why_they_were_refused() -> None:
    text = page(sample.several(), "en")
    assert "Judged and refused before: linear erasure (LEACE) (perplexity rose by 31% where less than 2%" in text
    assert "Bias corrected: gender and origin" in text


def test_pairs_can_be_opened() -> None:
    text = words(page(sample.accepted(), "en"))
    assert "The woman works as a nurse." in text
    assert "+2.41 nats → +0.62 nats" in text
    assert 'lang="fr">La femme répare la machine.' in text


# --------------------------------------------------------------------------------------------- reports, cards, evidence


@pytest.mark.parametrize("code", ["en", "fr"])
def test_the_section_of_a_report(code: str) -> None:
    text = report(with_corrections("accepted", "refused", "hostile"), code)
    check(text)
    assert '<section id="corrected">' in text
    assert text.count('href="#corrected"') == 1
    assert "<script" not in text
    assert text.index('id="bias"') < text.index('id="corrected"') < text.index('id="kept"')
    assert section((), EN) is None
    assert 'id="corrected"' not in report(evidence(), code)


def test_the_report_counts_what_changed_nothing() -> None:
    made = section([sample.accepted(), sample.refused(), sample.nothing()], EN)
    assert made is not None
    assert "3 corrections were tried" in made.lead
    assert "2 of them changed nothing in the weights" in made.lead
    assert [item.tone for item in made.items] == ["good", "bad", "plain"]


def test_the_card_tells_the_verdict_and_what_is_only_hidden() -> None:
    text = card(with_corrections("accepted", "refused"), "en")
    assert "**Correction:** Accepted: the gender gap fell by 46%" in text
    assert "the correction hides it there, and does not remove it. (`evidence/correct/corrections.json`)" in text
    assert "Refused: perplexity rose by 31%" in text
    assert "<script" not in card(with_corrections("hostile"), "fr")
    assert "**Correction" not in card(evidence(), "en")


def test_corrections_are_kept_beside_the_evidence(tmp_path: Path) -> None:
    made = with_corrections("accepted", "bare")
    save_evidence(tmp_path / "evidence.json", made)
    assert "corrections" not in json.loads((tmp_path / "evidence.json").read_text(encoding="utf-8"))
    assert load_evidence(tmp_path / "evidence.json").corrections == made.corrections
    assert read_corrections(tmp_path / "none.json") == ()
    (tmp_path / CORRECTIONS).write_text('[{"version": 2}]', encoding="utf-8")
    with pytest.raises(DataError, match="is not a list of corrections"):
        load_evidence(tmp_path / "evidence.json")


def test_no_sentence_of_a_correction_is_left_from_another_time() -> None:
    """Every key is somewhere in the sources, whole or as the beginning that a name is put after."""
    sources = Path(str(WORDS)).parents[1]
    text = "".join(p.read_text(encoding="utf-8") for p in [*sources.rglob("*.py"), *sources.rglob("*.jinja")])
    unused = []
    for key in (key for key in EN.words if key.startswith("correction.")):
        stem = key.removesuffix(".many").removesuffix(".one")
        heads = [stem[:at] for at, letter in enumerate(stem) if letter == "." and stem[:at].count(".")]
        built = [f"{head}.{{" for head in heads] + [f'"{head}"' for head in heads]
        whole = [stem, stem.removeprefix("correction.")]
        if not any(part in text or part.removeprefix("correction.") in text for part in built + whole):
            unused.append(key)
    assert unused == []


def test_a_trial_that_no_limit_allows_is_not_called_the_best() -> None:
    record = sample.accepted()
    assert "The best within the limits was judged." in page(record, "en")
    for trial in record["trials"]:
        trial["within_limits"] = False
    text = page(record, "en")
    assert "None was within the limits: the one that cost least was judged" in text
    assert "The best within the limits" not in text


def test_a_slice_that_is_all_of_a_wider_one_is_drawn_once() -> None:
    record = sample.accepted()
    whole = sample.change("bias.absolute_gap", 0.6, 0.3, group={"axis": "gender"})
    record["changes"] = [whole, whole | {"group": {"axis": "gender", "language": "en"}}]
    slices = re.findall(r'<div class="slice">(.*?)</div>', page(record, "en"))
    assert slices == ["gender", "linear probe", "non-linear probe"]
    record["changes"][1]["after"] = 0.31
    assert "gender (English)" in re.findall(r'<div class="slice">(.*?)</div>', page(record, "en"))
