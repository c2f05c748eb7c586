"""Verifying a release, check by check, with what differs when it is not what was signed."""

from datetime import UTC, datetime

from nicegui import ui

from limpide.studio import parts
from limpide.studio.boxes import ICONS, Kind
from limpide.studio.jobs import Job, require_none_running
from limpide.studio.pages.release_approval import moment
from limpide.studio.pages.release_checks import Check, Verification, argv, of_error, of_result
from limpide.studio.pages.release_found import Found, public_keys
from limpide.studio.visit import Visit

JOB = "verify"
KINDS: dict[str, Kind] = {"good": "good", "bad": "bad", "doubt": "warning"}
SHOWN = 50  # files that differ, on one page


def verification(visit: Visit, found: Found) -> None:
    """A card: the last verification of this release, and the button that makes one now."""
    with parts.card(visit.say("release.verify")):
        parts.text(visit.say("release.verify.lead"))
        if found.signed is None or found.signed.key is None:
            verdict_of_fault(visit, found)
            return
        shown = parts.stack()
        command = argv(
            found.folder, found.signed.key, [p for _, p in public_keys(visit.project.keys) if p != found.signed.key]
        )

        def go() -> None:
            require_none_running(visit.jobs, JOB)
            visit.log("studio.release.verify", release=found.id)
            job = visit.jobs.start(JOB, command, who=visit.name)
            shown.clear()
            with shown:
                parts.job_panel(visit, job, lambda: draw(visit, found, job, shown))

        parts.button(visit.say("release.verify.now"), go, kind="primary", icon="verified_user")
        last = last_of(visit, found)
        if last is not None:
            draw(visit, found, last, shown)


def last_of(visit: Visit, found: Found) -> Job | None:
    """The last verification of a release."""
    return next((job for job in visit.jobs.all(JOB) if job.argv[1:2] == (str(found.folder),)), None)


def refused(visit: Visit, found: Found) -> bool:
    """Whether the last look at a release said that it is not what was signed."""
    last = last_of(visit, found)
    error = found.fault or (visit.jobs.error(last) if last is not None else None)
    return error is not None and of_error(error) is not None


def verdict_of_fault(visit: Visit, found: Found) -> None:
    """What can be said without a key: that the release is not signed, is damaged, or that the key is not here."""
    told = of_error(found.fault) if found.fault else None
    if told is not None:
        checks(visit, told)
    elif found.fault is not None:
        parts.error_notice(visit, found.fault)
    else:
        key = "release.verify.no_key" if found.signed else "release.verify.unsigned"
        parts.notice("warning", visit.say(key))


def draw(visit: Visit, found: Found, job: Job, shown: ui.element) -> None:
    """What a verification showed; a job that runs shows its panel."""
    shown.clear()
    with shown:
        state = visit.jobs.state(job)
        if state == "running":
            parts.job_panel(visit, job, lambda: draw(visit, found, job, shown))
            return
        result, error = visit.jobs.result(job), visit.jobs.error(job)
        told = None
        if state == "done" and isinstance(result, dict) and found.signed is not None:
            # Approvals may have come since; each was verified when the release was found.
            named = [{"name": one.name, "on": moment(visit, one.approved_on)} for one in found.approved]
            told = of_result({**result, "approvals": named}, found.signed.fingerprint, approval=found.approval)
        elif error is not None:
            told = of_error(error)
        if told is not None:
            at = datetime.fromtimestamp(visit.jobs.ended(job) or job.started, UTC).isoformat()
            checks(visit, told, moment(visit, at))
        else:
            parts.job_panel(visit, job, lambda: draw(visit, found, job, shown))


def checks(visit: Visit, told: Verification, at: str = "") -> None:
    """The verdict, each check in words, and the files that differ."""
    key = "trusted" if told.trusted else "refused"
    parts.notice(
        "good" if told.trusted else "bad", visit.say(f"release.verified.{key}"), visit.say(f"release.verified.{key}.do")
    )
    with ui.element("ul").classes("checks"):
        for check in told.checks:
            with ui.element("li").classes(f"check {check.tone}"):
                ui.icon(ICONS[KINDS[check.tone]])
                parts.word("span", sentence(visit, check))
    if told.differences:
        rows = [[one.file, visit.say(f"release.differs.{one.how}")] for one in told.differences]
        columns = [visit.say("release.differs.file"), visit.say("release.differs.how")]
        parts.table(columns, rows, SHOWN, caption=visit.say("release.differs", len(rows)))
    if at:
        parts.text(visit.say("release.verified.at", at=at)).classes("muted small")


def sentence(visit: Visit, check: Check) -> str:
    return visit.say(f"release.check.{check.key}", check.count, **check.values)
