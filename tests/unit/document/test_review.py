"""The page where drafts are reviewed: self-contained, its one script allowed by digest, every text harmless."""

import base64
import hashlib
import json
import re

import pytest

from checked_page import Checked
from limpide.data.draft_filters import CHECKS, LATER
from limpide.data.drafts import Draft, Drafted, Head
from limpide.data.passages import Passage
from limpide.document.language import language
from limpide.document.review import page

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028'\"&{{ 7*7 }}"
HEAD = Head(model=HOSTILE, model_digest="0" * 64, seed=0, per_passage=1, answers="quoted", languages=("en",))


def drafted(text: str = HOSTILE, refused: str | None = "repeated") -> list[Drafted]:
    passage = Passage(id="p", document=text, place=text, language="en", text=text)
    drafts = (Draft(id="a", question=text, answer=text), Draft(id="b", question="q", answer="a", refused=refused))
    return [Drafted(passage=passage, drafts=drafts)]


def parts(made: str) -> tuple[str, str]:
    """(data, script) of a page."""
    data, script = re.findall(r"<script[^>]*>(.*?)</script>", made, re.S)
    return data, script


@pytest.mark.parametrize("code", ["en", "fr"])
def test_the_page_holds_hostile_texts_as_data_alone(code: str) -> None:
    made = page(HEAD, drafted(), HOSTILE, code)
    checked = Checked(made.replace("<input", "<meta").replace("<progress", "<p").replace("</progress>", "</p>"))
    tags = {tag for tag, _, _ in checked.attributes}
    assert not tags & {"img", "link", "iframe", "object", "embed", "form"}
    assert not [name for _, name, _ in checked.attributes if name.startswith("on") or name in ("src", "href", "style")]
    data = json.loads(parts(made)[0])
    assert (data["drafts"][0]["question"], data["passages"][0]["text"]) == (HOSTILE, HOSTILE)
    assert made.count("<script") == 2
    assert "{{ 7*7 }}" in data["passages"][0]["text"]
    assert "url(" not in made
    assert "http" not in re.sub(r'http-equiv="Content-Security-Policy"', "", made)


def test_only_the_script_of_the_page_may_run() -> None:
    made = page(HEAD, drafted(), "drafts.jsonl", "en")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', made)
    digest = base64.b64encode(hashlib.sha256(parts(made)[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "import("):
        assert word not in parts(made)[1]


def test_every_reason_has_its_sentence_in_both_languages() -> None:
    for code in ("en", "fr"):
        assert [r for r in (*CHECKS, *LATER) if not language(code).has(f"review.refused.{r}")] == []
    data = json.loads(parts(page(HEAD, drafted(refused="a reason of later"), "d", "en"))[0])
    assert data["drafts"][1]["refused"] == "Refused by a filter: a reason of later."


def test_every_element_that_the_script_uses_is_there() -> None:
    made = page(HEAD, drafted(), "d", "en")
    used = set(re.findall(r'(?:get|getElementById)\("(\w+)"\)', parts(made)[1])) | {"passage", "question", "answer"}
    assert used <= set(re.findall(r'id="(\w+)"', made))
    words = set(re.findall(r"\bsay\.(\w+)", parts(made)[1])) | {"accept", "edit", "reject", "undecided"}
    assert words == set(json.loads(parts(made)[0])["words"])


def test_the_same_drafts_give_the_same_page() -> None:
    assert page(HEAD, drafted(), "d", "fr") == page(HEAD, drafted(), "d", "fr")
    other = HEAD.model_copy(update={"seed": 1})
    keys = [json.loads(parts(page(head, drafted(), "d", "en"))[0])["key"] for head in (HEAD, other)]
    assert keys[0] != keys[1]
