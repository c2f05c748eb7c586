"""Whether the chosen model is declared to speak the languages of the rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from limpide.models.passport import unspoken
from limpide.studio import parts
from limpide.studio.pages.model import KIND, passport_of
from limpide.studio.pages.model_label import exact_ref
from limpide.studio.visit import Visit


def draw_languages(visit: Visit, report: Mapping[str, Any]) -> None:
    """A warning where a good part of the rows is in a language that the model's publisher does not name."""
    declared = declared_of(visit)
    found = unspoken(declared, report["checks"].get("language", {}).get("facts", {}).get("found", {}))
    if found:
        ours, theirs = (
            visit.words.join(visit.words.name("language", one) for one in some) for some in (found, declared)
        )
        parts.notice("warning", visit.say("data.unspoken", found=ours, declared=theirs), visit.say("data.unspoken.do"))


def declared_of(visit: Visit) -> Sequence[str]:
    """The languages in the passport of the chosen model; empty where it was not opened here."""
    base = visit.project.draft().base
    opened = (passport_of(visit.jobs.result(job)) for job in visit.jobs.all(KIND))
    return next((one.languages for one in opened if one is not None and base in (one.ref, exact_ref(one))), ())
