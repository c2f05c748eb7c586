"""The page where a person reads drafted questions and answers beside their passages, and accepts or rejects them.

One HTML file that asks for nothing and sends nothing: decisions are kept in the browser and saved as a file. Every text
is somebody else's: it reaches the page as JSON and is only ever set as text. The one script is allowed by its digest.
"""

import base64
import hashlib
import shlex
from collections.abc import Sequence
from functools import cache
from typing import Any

from markupsafe import Markup

from limpide.core import digests
from limpide.data.drafts import Drafted, Head, counts
from limpide.document.language import Language, language
from limpide.document.pages import TEMPLATES, environment

# Names of `review.*` sentences that the script shows.
IN_SCRIPT = ("accept", "edit", "reject", "undecided")
SENTENCES = ("place", "none_left", "one_left", "many_left", "kept", "needs_both", "saved")


def page(head: Head, drafted: Sequence[Drafted], name: str, code: str) -> str:
    """The page of the drafts in the file `name`, in the language `code`. The same drafts give the same bytes."""
    spoken = language(code)
    found = counts(drafted)
    meta = spoken.say("review.meta", drafts=found["drafts"], passages=found["passages"], model=head.model)
    return environment().get_template("review.html.jinja").render(
        l=spoken,
        name=name,
        meta=meta,
        refused=sum(found["refused"].values()),
        data=_data(head, drafted, spoken),
        script=Markup(_script()),
        script_digest=base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode(),
        command=f"limpide data review {shlex.quote(name)} --decisions decisions.json --by NAME --out examples.jsonl",
    )  # fmt: skip


@cache
def _script() -> str:
    return (TEMPLATES / "review.js").read_text(encoding="utf-8")


def _data(head: Head, drafted: Sequence[Drafted], spoken: Language) -> dict[str, Any]:
    drafts = [
        {
            "id": draft.id,
            "passage": number,
            "question": draft.question,
            "answer": draft.answer,
            "refused": _refused(draft.refused, spoken),
        }
        for number, one in enumerate(drafted)
        for draft in one.drafts
    ]
    passages = [
        {"source": one.passage.source, "language": one.passage.language, "text": one.passage.text} for one in drafted
    ]
    words = {key: spoken.say(f"review.state.{key}") for key in IN_SCRIPT}
    words |= {key: spoken.words[f"review.{key}"] for key in SENTENCES}
    return {
        "key": f"limpide-review-{digests.of_value([head.model_dump(mode='json'), [d['id'] for d in drafts]])[:24]}",
        "language": spoken.code,
        "words": words,
        "drafts": drafts,
        "passages": passages,
    }


def _refused(reason: str | None, spoken: Language) -> str | None:
    if reason is None:
        return None
    key = f"review.refused.{reason}"
    return spoken.say(key) if spoken.has(key) else spoken.say("review.refused", reason=reason)
