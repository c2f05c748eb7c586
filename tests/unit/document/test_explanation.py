"""The page of an explanation, and its section in a report: self-contained, escaped, complete, never too large."""

import re
from pathlib import Path
from typing import Any

import pytest

import explanation_sample as sample
from checked_page import Checked
from evidence_sample import evidence
from limpide.core.errors import DataError
from limpide.document.again import command
from limpide.document.curves import Line, axis, bars, lines
from limpide.document.evidence import EXPLANATIONS, Evidence, load_evidence, read_explanations, save_evidence
from limpide.document.explanation import page, section
from limpide.document.heat import effects, shade, strongest_columns
from limpide.document.language import language
from limpide.document.report import report

EN, FR = language("en"), language("fr")
MADE = ("explanation", "bare", "two_stacks", "mixture", "chance", "comparison", "hostile")


def with_explanations(*names: str) -> Evidence:
    found = tuple(getattr(sample, name)() for name in names)
    return evidence().model_copy(update={"explanations": found})


def check(text: str) -> None:
    checked = Checked(text)
    tags = {tag for tag, _, _ in checked.attributes}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "form"}
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
    text = page([getattr(sample, name)()], code)
    check(text)
    assert f'<html lang="{code}">' in text
    assert "default-src 'none'" in text
    assert ">None<" not in text
    assert "49" not in re.findall(r"<h1>.*?</h1>", text)[0]
    assert re.search(r"<dd>\s*</dd>", text) is None


def test_every_method_has_its_part() -> None:
    text = page([sample.mixture()], "en")
    ids = re.findall(r'<section id="(\w+)"', text)
    methods = ["words", "lens", "patching", "parts", "influence", "faithfulness"]
    assert ids == ["story", *methods, "limits", "how", "rerun", "glossary"]
    assert tuple(re.findall(r"<nav.*?</nav>", text, re.S)[0].count(f'href="#{one}"') for one in ids) == (1,) * len(ids)


def test_the_verdict_is_before_all_else() -> None:
    text = page([sample.chance()], "en")
    main = text[text.index("<header>") :]
    assert main.index("does no better than chance") < main.index("<main")
    assert "It rests most on" not in text  # no word is put forward
    assert "not to be relied upon" in text


def test_what_did_not_run_says_why() -> None:
    text = page([sample.bare()], "en")
    assert "There is nothing to swap in this prompt." in text
    assert "The explanation was not tested" in text
    assert '<section id="lens"' not in text


def test_frame_tokens_are_muted_and_the_explained_one_is_marked() -> None:
    text = page([sample.explanation()], "en")
    assert re.search(r'<span class="chip p1 frame" title="[^"]*">&lt;s&gt;user↵</span><br>', text)
    assert re.search(r'<span class="chip p8" title="“nurse”: \+1.31\xa0nats, \+37% of the weight">nurse</span>', text)
    assert re.search(r'class="chip n2" title="“tired”', text) or re.search(r'class="chip n3" title="“tired”', text)
    assert re.search(r"<mark>nurse</mark>", text)


def test_pictures_have_words_for_those_who_do_not_see_them() -> None:
    text = page([sample.mixture()], "fr")
    for svg in re.findall(r"<svg[^>]*>", text):
        assert 'aria-hidden="true"' in svg or "aria-label=" in svg
    for table in re.findall(r"<table.*?</table>", text, re.S):
        assert "aria-label=" in table or "<caption>" in table
        assert 'scope="row"' in table


def test_two_stacks_have_a_grid_each() -> None:
    text = page([sample.two_stacks()], "en")
    assert "<h3>Encoder</h3>" in text
    assert "<h3>Decoder</h3>" in text
    assert text.count("state before the layer, in percent") >= 2


def test_a_thousand_tokens_are_cut_with_a_note() -> None:
    text = page([sample.long()], "en")
    assert len(text) < 2_000_000
    assert "Only the 40 columns with the largest numbers, of 1,000, are shown, and the last." in text
    assert "Only the last 20 of 1,000 places are shown." in text
    assert text.count('class="chip') >= 1000
    check(text)


def test_columns_that_are_kept_are_the_strongest_and_the_last() -> None:
    values = [[0.0, 0.9, 0.1, -0.8, 0.2, 0.0]]
    assert strongest_columns(values, 6, 3) == [1, 3, 5]
    assert strongest_columns(values, 6, 6) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("value", "scale", "expected"),
    [(1.0, 1.0, "p8"), (-2.0, 1.0, "n8"), (0.01, 1.0, ""), (0.5, 1.0, "p4"), (None, 1.0, ""), (1.0, 0.0, "")],
)
def test_shades(value: float | None, scale: float, expected: str) -> None:
    assert shade(value, scale) == expected


def test_axes_hold_their_numbers() -> None:
    for low, high in ((-5.0, -1.0), (0.0, 0.37), (3.0, 4.0), (2.0, 2.0), (-1.2, 3.9)):
        first, last, step = axis(low, high)
        assert first <= low <= high <= last
        assert abs((last - first) / step - round((last - first) / step)) < 1e-6
        assert last > first


def test_bars_and_curves_are_where_their_numbers_are() -> None:
    drawn = bars([("a", 3.0, "+3"), ("b", -1.0, "−1")], "caption", "value")
    assert drawn is not None
    assert drawn.zero == 25.0
    assert [(b.left, b.width, b.side) for b in drawn.bars] == [(25.0, 75.0, "p"), (0.0, 25.0, "n")]
    curve = lines([Line("a", "after", [0.0, 1.0, None])], range(3), ["0", "1", "2"], ("x", "y", "z"), EN, share=True)
    assert curve is not None
    assert curve.strokes[0].points == ((0.0, 100.0), (50.0, 0.0))
    assert lines([Line("a", "after", [None])], range(1), ["0"], ("x", "y", "z"), EN) is None
    assert bars([], "caption", "value") is None


def test_the_command_is_quoted_for_a_shell() -> None:
    found = sample.explanation()
    found["question"] |= {"prompt": "it's; rm -rf $HOME", "against": "no"}
    assert command(found).startswith(
        "limpide explain invented-6-layers 'it'\"'\"'s; rm -rf $HOME' --answer 'the nurse' --against no"
    )

    assert "--raw" not in command(found)


def test_what_begins_with_a_dash_is_no_option() -> None:
    found = sample.explanation()
    found["question"] |= {"prompt": "--seed what?", "answer": "-40", "against": "-4"}
    line = command(found)
    assert "'--prompt=--seed what?'" in line
    assert "--answer=-40 --against=-4" in line


def test_the_command_carries_what_was_asked_for() -> None:
    found = sample.explanation(seed=3)
    found["question"] |= {"raw": True}
    found["settings"] = {
        "attribution.method": "gradient-x-input",
        "patching.twin": "The man's hat",
        "faithfulness.random_orders": 50,
        "faithfulness.sanity": False,
        "lens.tuned": True,
        "lens.texts": None,
    }
    line = command(found)
    assert " --raw " in line
    assert "--attribution.method gradient-x-input --patching.twin 'The man'\"'\"'s hat'" in line
    assert line.endswith("--faithfulness.random-orders 50 --faithfulness.no-sanity --lens.tuned --seed 3")


def test_a_comparison_is_compared_again() -> None:
    found = sample.comparison()
    found["before"]["model"]["title"] = "one of before"
    found["settings"] = {"lens.top": 2}
    assert "--lens.top 2 --compare" in command(found)
    assert command(found).startswith("limpide explain invented-6-layers ")
    assert command(found).endswith(" --compare 'one of before'")
    assert "--compare &#39;one of before&#39;" in page([found], "en")


def test_a_comparison_has_its_changes_first_and_both_sides() -> None:
    text = page([sample.comparison()], "en")
    assert text.index("became likelier") < text.index('<div class="before">') < text.index('<div class="after">')
    assert text.count("The prompt as the model reads it") == 4  # a label and a visible name on both sides


def test_several_on_one_page() -> None:
    check(page([sample.explanation(), sample.chance(), sample.comparison()], "en"))


def test_the_same_record_gives_the_same_bytes() -> None:
    assert page([sample.mixture()], "fr") == page([sample.mixture()], "fr")


# ------------------------------------------------------------------------------------------------------- in a report


@pytest.mark.parametrize("code", ["en", "fr"])
def test_a_report_opens_its_explanations(code: str) -> None:
    text = report(with_explanations("explanation", "chance", "comparison", "hostile"), code)
    check(text)
    assert text.count('<details class="item explained">') == 4
    assert language(code).say("explain.section.understand") in text[text.index("<nav") : text.index("</nav>")]
    assert text.index('id="bias"') < text.index('id="understand"') < text.index('id="kept"')


def test_a_report_without_explanations_has_no_such_section() -> None:
    assert section((), EN) is None
    assert "table.heat" not in report(evidence(), "en")
    assert 'id="understand"' not in report(evidence(), "en")


def test_the_section_counts_those_that_failed_their_test() -> None:
    found = section([sample.explanation(), sample.chance()], EN)
    assert found is not None
    assert "One of the explanations does no better than chance" in found.lead
    assert [item.tone for item in found.items] == ["good", "bad"]


def test_explanations_are_kept_beside_the_record(tmp_path: Path) -> None:
    kept = with_explanations("explanation")
    save_evidence(tmp_path / "evidence.json", kept)
    assert (tmp_path / EXPLANATIONS).is_file()
    assert "invented-6-layers" not in (tmp_path / "evidence.json").read_text(encoding="utf-8")
    assert load_evidence(tmp_path / "evidence.json").explanations == kept.explanations
    assert read_explanations(tmp_path / "none.json") == ()


@pytest.mark.parametrize("written", ["{}", "[1]", "[{}]", "not json"])
def test_a_file_that_holds_no_explanations_is_named(tmp_path: Path, written: str) -> None:
    path = tmp_path / "explanations.json"
    path.write_text(written, encoding="utf-8")
    with pytest.raises(DataError, match=r"explanations\.json is not a list of explanations"):
        read_explanations(path)


def test_words_of_a_method_that_nobody_knows_do_no_harm() -> None:
    found: dict[str, Any] = sample.explanation()
    found["question"]["decision"]["chosen"] = "by the moon"
    found["methods"]["faithfulness"]["verdict"] = "perhaps"
    found["methods"]["parts"]["parts"][0] |= {"kind": "gate", "name": "gate of layer 3"}
    text = page([found], "fr")
    assert "gate of layer 3" in text
    assert "pas été testée" in text


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("changes with the weights", "gives another explanation"),
        ("does not depend on the weights", "speaks against it"),
        ("insufficient evidence", "too few words to tell whether a network with random weights"),
    ],
)
def test_what_random_weights_show(verdict: str, said: str) -> None:
    found = sample.explanation()
    found["methods"]["faithfulness"]["sanity"]["verdict"] = verdict
    assert said in page([found], "en")


def test_the_head_of_a_page_says_what_was_tested_and_no_more() -> None:
    text = page([sample.explanation()], "en")
    assert "Its words do better than chance" in text
    assert '<span class="label">Better than chance?</span><span class="big">yes</span>' in text
    found = sample.explanation()
    found["methods"]["faithfulness"]["verdict"] = "insufficient evidence"
    assert '<span class="big">indécis</span>' in page([found], "fr")


@pytest.mark.parametrize(
    ("verdict", "tone", "said"),
    [
        ("better than chance", "good", "Both explanations do better than chance."),
        ("no better than chance", "bad", "The explanation of the second model does no better than chance."),
        ("insufficient evidence", "doubt", "For the explanation of the second model there is too little evidence"),
        (None, "doubt", "The explanation of the first model does better than chance."),
    ],
)
def test_the_head_of_a_comparison_tells_both_verdicts(verdict: str | None, tone: str, said: str) -> None:
    found = sample.comparison()
    found["after"]["methods"]["faithfulness"]["verdict"] = verdict
    text = page([found], "en")
    assert f'<div class="banner {tone}">' in text
    assert text.index(said) < text.index("<main")
    assert text.count(said) == 1


def test_a_mark_is_not_the_headline() -> None:
    found = sample.explanation()
    found["methods"]["attribution"]["words"] = [0.0, 0.0, 1.0, *[0.0] * 9, 5.0, 0.0]
    text = page([found], "en")
    assert '<span class="big">“nurse”</span>' in text
    assert "Punctuation carries 83% of the weight." in text
    assert re.search(r'<th scope="row">\?</th>', text)  # and its row is in the table


def test_equal_words_are_told_apart_and_weightless_ones_counted() -> None:
    found = sample.explanation()
    found["methods"]["attribution"]["words"][8] = 0.0049
    text = page([found], "en")
    assert '<th scope="row">tired (2nd)</th>' in text
    assert "1 word or mark below 0.005 nats, either way, is left out." in text


def test_layers_whose_numbers_are_all_nothing_are_counted() -> None:
    values = [[0.0049, -0.0049], *[[0.0, 0.3]] * 13, [0.0, None], [0.0, 0.0]]
    rows = [str(k) for k in range(16)]
    grid = effects(values, ["a", "b"], rows, ("", ""), EN, limit=9, as_share=False)
    assert [name for name, _ in grid.rows] == rows[1:14]
    assert grid.note.endswith("3 layers below 0.005 everywhere are left out.")
    assert len(effects(values[:15], ["a", "b"], rows, ("", ""), EN, limit=9, as_share=False).rows) == 15
    assert len(effects(values[:12], ["a", "b"], rows, ("", ""), EN, limit=9).rows) == 12
    assert len(effects(values, ["a", "b"], rows, ("", ""), EN, limit=9, layers=False).rows) == 16


def test_a_warning_is_in_the_language_of_the_page_where_the_record_has_it() -> None:
    text = page([sample.explanation(warnings=[{"en": "Mind this.", "fr": "Attention."}, "An older one."])], "fr")
    assert "<li>Attention.</li>" in text
    assert "Mind this." not in text
    assert '<li><span lang="en">An older one.</span></li>' in text
    assert "Ce dont elle avertit elle-même" in text


def test_rounding_is_called_rounding() -> None:
    assert "what is left over is rounding only" in page([sample.explanation()], "en")
    found = sample.explanation()
    found["methods"]["parts"]["residual"] = 0.02
    assert "0.02 is left over" in page([found], "en")


def test_what_is_put_in_place_of_words_is_said_in_the_language_of_the_page() -> None:
    found = sample.explanation()
    for said, shown in {
        "<pad> in place of what is occluded": "«\xa0&lt;pad&gt;\xa0» à la place de ce qui est caché",
        "<pad> in place of each token that a person wrote": "à la place de chaque jeton écrit par une personne",
        "something else": "something else",
    }.items():
        found["methods"]["attribution"]["baseline"] = said
        assert f"{shown}</dd>" in page([found], "fr")


def test_the_words_of_the_field_are_told_at_the_end() -> None:
    lens = sample.explanation(methods={"lens": sample.lens()})
    text = page([lens], "en")[page([lens], "en").index('<section id="glossary">') :]
    assert "<dt>entropy</dt>" in text
    assert "<dt>logits</dt>" not in text
    for code in ("en", "fr"):
        assert page([sample.comparison()], code).count("<dt>MLP</dt>") == 1
