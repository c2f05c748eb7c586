"""The card: metadata that the Hub accepts, sentences that point to measures."""

import re

import pytest
import yaml
from huggingface_hub import ModelCardData
from pydantic import ValidationError

from evidence_sample import bare, evidence
from limpide.document.card import Metadata, card, code_block, escape, front_matter, hub_id, inline_code, metadata
from limpide.document.evidence import Evidence


def front(page: str) -> dict[str, object]:
    found = re.match(r"---\n(.*?)\n---\n", page, re.DOTALL)
    assert found is not None
    read = yaml.safe_load(found[1])
    assert isinstance(read, dict)
    return read


def with_base(**changes: object) -> Evidence:
    sample = evidence()
    return sample.model_copy(update={"base": sample.base.model_copy(update=changes)})


@pytest.mark.parametrize("code", ["en", "fr"])
def test_the_hubs_own_reader_finds_the_results(code: str) -> None:
    read = ModelCardData(**front(card(evidence(), code)))
    assert read.license == "apache-2.0"
    assert read.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert read.base_model_relation == "finetune"
    assert read.pipeline_tag == "text-generation"
    assert read.language == ["en", "fr"]
    assert read.model_name == "press-operator-assistant-1.0.0"
    accuracy = next(r for r in read.eval_results if r.metric_name == "domain.accuracy[slice=held_out]")
    assert accuracy.metric_value == pytest.approx(11 / 12, abs=1e-6)


def test_only_the_release_is_in_the_index() -> None:
    index = metadata(evidence()).model_index
    assert index is not None
    values = [m.name for result in index[0].results for m in result.metrics]
    assert len(values) == len(set(values))
    assert "domain.accuracy[language=fr,slice=held_out]" not in values  # too little evidence is no result


@pytest.mark.parametrize(
    ("declared", "licence", "name"),
    [("Apache-2.0", "apache-2.0", None), (None, "unknown", None), ("My own terms", "other", "My own terms")],
)
def test_the_licence_is_the_bases(declared: str | None, licence: str, name: str | None) -> None:
    found = metadata(with_base(licence=declared))
    assert (found.license, found.license_name) == (licence, name)


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("hub:owner/name@main", "owner/name"),
        ("./models/mine", None),
        ("owner/name", None),
        ("hub:../../etc", None),
    ],
)
def test_a_base_is_named_only_when_the_hub_has_it(ref: str, name: str | None) -> None:
    assert hub_id(ref) == name
    assert (metadata(with_base(ref=ref)).base_model_relation is None) == (name is None)


def test_metadata_the_hub_would_refuse_is_refused_here() -> None:
    with pytest.raises(ValidationError, match="knows no licence"):
        Metadata(license="free for all")
    with pytest.raises(ValidationError, match="relation to a base"):
        Metadata(license="mit", base_model_relation="finetune")
    with pytest.raises(ValidationError, match="ISO 639"):
        Metadata(license="mit", language=("English",))


def test_norwegian_stays_norwegian() -> None:
    read = yaml.safe_load(front_matter(metadata(evidence().model_copy(update={"languages": ("no",)}))))
    assert read["language"] == ["no"]


@pytest.mark.parametrize("code", ["en", "fr"])
def test_a_bare_card_says_what_is_missing(code: str) -> None:
    page = card(bare(), code)
    assert front(page)["license"] == "unknown"
    assert "model-index" not in front(page)
    assert "More Information Needed" not in page
    assert "None" not in page
    assert ("not measured" if code == "en" else "non mesuré") in page.lower()


def test_every_measure_is_in_the_card_with_its_interval_and_n() -> None:
    page = card(evidence(), "en")
    for m in evidence().measures:
        assert f"`{m.label}`" in page
    assert "| `domain.accuracy[slice=held_out]` | After (release) | 91.7% | 78.2% to 97.1% | 36 |" in page


def test_the_first_gguf_is_the_one_to_serve() -> None:
    assert "llama-server -m gguf/model-q8_0.gguf" in card(evidence(), "en")
    assert "holds no GGUF file" in card(evidence().model_copy(update={"files": ()}), "en")


def test_tables_keep_their_columns() -> None:
    hostile = evidence().model_copy(
        update={"environment": evidence().environment.model_copy(update={"machine": "a | b\n| c `d`"})}
    )
    lines = card(hostile, "en").splitlines()
    row = next(line for line in lines if line.startswith("| Machine"))
    assert row == r"| Machine | a \| b \| c \`d\` |"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>", "&lt;script&gt;"),
        ("a_b *c* [d](e)", r"a\_b \*c\* \[d\](e)"),
        ("# title", r"\# title"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("===", r"\==="),
        ("two\nlines", "two lines"),
        ("−3.4 and 12.5%", "−3.4 and 12.5%"),
    ],
)
def test_text_cannot_become_markup(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_code_cannot_escape_its_fence() -> None:
    assert code_block("a\n```\nb", "sh") == "````sh\na\n```\nb\n````"
    assert inline_code("a`b|c\nd") == "`a'b¦c d`"


def test_a_name_cannot_leave_the_front_matter() -> None:
    page = card(evidence().model_copy(update={"name": 'x"\n---\n# injected: true'}), "en")
    assert front(page)["license"] == "apache-2.0"
    assert "\n# injected" not in page
