"""The whole way of a person who does not code: from a model to a service that is called, stopped and started again.

One function a page, in the order of the way, written once for all languages.
"""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from browser import ROOT, start_studio
from ruamel.yaml import YAML
from walker import Walk

from limpide.models.embedded import SMOLLM2, is_here
from limpide.recipe.schema import SUITES, Recipe
from limpide.studio.forms import described, form_of
from limpide.studio.words import language

EXAMPLE = ROOT / "examples" / "press-operator"
TOPICS = 10  # of the example: enough for a verdict, few enough for a short training
QUESTION = "What does fault E-104 mean?"
GATE = "domain.log_likelihood improves"  # even one pass over the examples makes their answers likelier
PERSON = "Ada Moreau"
SETTINGS = {  # path in the recipe → what is typed: a training of seconds, and tolerances for one so short
    "adapt.rank": "8",
    "adapt.epochs": "1",
    "parity.conversations": "4",
    "parity.answer_tokens": "8",
    "parity.flips": "0.5",
}
JOB_MS = 1_200_000  # a job, or a run, on a machine that does much else


def the_whole_way(walk: Walk, *, killed: bool) -> None:
    """From a model to a service. killed: the studio is, in the middle of the run, and is started again."""
    model(walk)
    data(walk)
    recipe(walk)
    run(walk, killed=killed)
    report(walk)
    ask(walk)
    release(walk)
    service(walk)


# ---- model and data -------------------------------------------------------------------------------------------------


def model(walk: Walk) -> None:
    """The embedded model is opened, its label read, and chosen."""
    page, here = walk.page, is_here(SMOLLM2)
    walk.arrived("model")
    assert walk.text("model.nothing").is_visible()
    walk.button("model.embedded.open").first.click()
    if not here:
        walk.button("model.embedded.fetch_it", walk.dialog).click()
    walk.button("model.use").or_(walk.text("model.failed")).first.wait_for(timeout=JOB_MS)
    if walk.text("model.failed").is_visible():
        why = walk.jobs().error(walk.jobs().all("open")[0]) or {}
        assert "pip could not download it" in why["what"], why
        pytest.skip(f"no embedded model here: {why['what']}")
    for key in ("model.licence.title", "model.open.title", "model.unknown.title"):
        assert page.get_by_role("heading", name=walk.say(key)).is_visible()
    walk.seen("model-opened")
    walk.button("model.use").click()
    walk.link("model.next").wait_for()
    walk.seen("model-chosen", whole=False)
    walk.link("model.next").click()


def data(walk: Walk) -> None:
    """Files with two faults are dropped; the faults are looked at and mended."""
    page = walk.page
    walk.arrived("data")
    assert walk.text("data.empty").is_visible()
    walk.seen("data-empty")
    page.get_by_label(walk.say("frame.upload.drop")).last.set_input_files([*files(walk.folder.parent)])
    walk.text("data.check.stops", 2).wait_for(timeout=JOB_MS)
    for summary in page.get_by_text(walk.pattern("data.list.places", 1)).all():
        summary.click()
    walk.seen("data-faults")
    page.get_by_role("button", name=walk.say("data.place.line", file="examples.jsonl", line="2"), exact=True).click()
    walk.dialog.get_by_text(walk.say("data.row.empty")).wait_for()
    walk.seen("data-row", whole=False)
    walk.button("frame.close", walk.dialog).click()
    walk.button("data.act.rows").click()
    walk.text("data.check.stops", 1).wait_for(timeout=JOB_MS)
    walk.button("data.act.personal_data").click()
    walk.text("data.check.good").or_(walk.text("data.check.good_warned")).first.wait_for(timeout=JOB_MS)
    walk.button("data.tokens.run").click()
    page.get_by_role("mark").first.wait_for(timeout=JOB_MS)
    walk.seen("data-mended")
    walk.link("data.next").click()


def files(beside: Path) -> Iterator[Path]:
    """The example's files, the examples shortened and with two faults: an answer left empty, and a person's address."""
    rows = [json.loads(line) for line in (EXAMPLE / "examples.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = list(dict.fromkeys(row["topic"] for row in rows))[:TOPICS]
    rows = [row for row in rows if row["topic"] in kept]
    rows[1]["answer"] = ""
    rows[8]["answer"] += " Then write to jeanne.martin@example.org."
    place = beside / "examples.jsonl"
    place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    yield place
    yield EXAMPLE / "charter.yaml"


# ---- recipe and run -------------------------------------------------------------------------------------------------


def recipe(walk: Walk) -> None:
    """A small recipe is made in the form: what for, one suite, one gate, formats, approval, a key."""
    page = walk.page
    walk.arrived("recipe")
    walk.seen("recipe-begun")
    walk.fill(walk.say("recipe.intended"), walk.typed["intended"])
    walk.fill(walk.say("recipe.users"), walk.typed["users"])
    suites = page.get_by_role("group", name=walk.say("recipe.suites"))
    for suite in SUITES:
        box = suites.get_by_role("checkbox", name=walk.say(f"recipe.suite.{suite}"))
        box.set_checked(suite == "domain")
    walk.until(lambda: written(walk)["audit"]["suites"] == ["domain"], "the suites are written")
    gates = page.get_by_role("group", name=walk.say("recipe.gates"))
    gates.get_by_role("checkbox", name=walk.say("recipe.gate.domain.1")).uncheck()
    page.get_by_text(walk.say("recipe.gates.own"), exact=True).click()
    walk.fill(walk.say("recipe.gates.own.label"), GATE)
    page.get_by_label(walk.say("recipe.charter"), exact=True).select_option("")  # learning it too takes twice as long
    page.get_by_role("radio", name=walk.say("recipe.strength.strong")).check()
    formats = page.get_by_role("group", name=walk.say("recipe.formats"))
    formats.get_by_role("checkbox", name=walk.say("recipe.format.gguf:f16")).uncheck()
    page.get_by_role("checkbox", name=walk.say("recipe.approval.required")).check()
    settings(walk)
    walk.button("recipe.key.make").click()
    walk.text("recipe.key.about").wait_for()
    walk.seen("recipe-key", whole=False)
    walk.button("recipe.key.make", walk.dialog).click()
    walk.text("recipe.key.there").wait_for()
    walk.until(lambda: written(walk)["gates"] == [GATE], "the gate is written")
    assert walk.text("recipe.whole").is_visible()
    walk.button("recipe.save").click()
    walk.link("recipe.next").wait_for()
    walk.seen("recipe-saved")
    walk.link("recipe.next").click()


def settings(walk: Walk) -> None:
    """Settings deep in the folded sections, found by their names alone."""
    words, form = language(walk.code).words, form_of(Recipe)
    entries = {entry.path: entry for entry in form.entries()}
    sections = {section.path: section for section in form.sections()}
    opened: set[str] = set()
    for path, value in SETTINGS.items():
        above = path.rpartition(".")[0]
        if above not in opened:
            walk.page.get_by_text(_title(described(sections[above], words)), exact=True).click()
            opened.add(above)
        walk.fill(_title(described(entries[path], words)), value)


def _title(words: str) -> str:
    return " ".join((words[:1].upper() + words[1:]).split())


def written(walk: Walk) -> Any:
    """The recipe as the page shows it beside the form."""
    shown = walk.page.get_by_label(walk.say("recipe.yaml"), exact=True).text_content()
    return YAML(typ="safe", pure=True).load(shown)


def run(walk: Walk, *, killed: bool) -> None:
    """It runs; in its middle the browser is closed, or even the studio is killed, and all of it is there afterwards."""
    walk.arrived("run")
    walk.seen("run-planned")
    walk.button("run.start").click()
    reached(walk, curve(walk))
    walk.seen("run-learns")
    if killed:
        walk.studio.kill()
    walk.leave()
    if killed:
        walk.studio = start_studio(walk.folder)
    walk.enter()
    walk.go("run")
    curve(walk).wait_for()
    assert len(walk.jobs().all("run")) == 1
    reached(walk, walk.text("run.end.waits"))
    walk.link("run.to.release").wait_for()
    walk.seen("run-ended")


def curve(walk: Walk) -> Any:
    """The picture of the losses, by what it tells who does not see it."""
    return walk.page.get_by_role("img", name=walk.pattern("run.curve.alt", updates="§", loss="§"))


def reached(walk: Walk, shown: Any) -> None:
    """Wait for what the run comes to show, unless it fails."""
    failed = walk.page.get_by_role("heading", name=walk.say("frame.job.state.failed"), exact=True)
    shown.or_(failed).first.wait_for(timeout=JOB_MS)
    assert not failed.is_visible(), walk.jobs().error(walk.jobs().all("run")[0])


# ---- report and questions -------------------------------------------------------------------------------------------


def report(walk: Walk) -> None:
    """The verdict first; a number opens to its items."""
    page = walk.page
    walk.go("report")
    page.get_by_role("heading", name=walk.say("verdict.ship.title")).wait_for()
    page.get_by_text(GATE, exact=True).first.wait_for()
    walk.seen("report")
    numbers = page.get_by_role("button", name=walk.pattern("report.number.open", what="§", column="§", value="§"))
    numbers.first.click()
    page.get_by_role("heading", name=walk.say("report.items"), exact=True).wait_for()
    items = walk.dialog.get_by_role("group")
    items.first.wait_for()
    items.first.locator("summary").click()
    walk.seen("report-number", whole=False)
    walk.button("frame.close", walk.dialog).click()
    walk.dialog.wait_for(state="hidden")


def ask(walk: Walk) -> None:
    """Both are asked the same, side by side; a word of the release's answer says why."""
    page = walk.page
    walk.go("ask")
    page.get_by_label(walk.say("ask.question")).fill(QUESTION)
    walk.button("ask.go").click()
    lines = {side: _side(walk, side).get_by_role("toolbar", name=walk.say("ask.words")) for side in ("base", "release")}
    words = {side: line.get_by_role("button") for side, line in lines.items()}
    for side in words.values():
        side.first.wait_for(timeout=JOB_MS)
    walk.until(lambda: walk.button("ask.stop").is_disabled(), "both answers end")
    walk.seen("ask-answers")
    words["release"].nth(1).click()
    why = page.get_by_role("region", name=walk.say("ask.why"))
    why.get_by_role("heading", name=walk.say("explain.section.words")).wait_for(timeout=JOB_MS)
    why.get_by_role("table").first.wait_for()
    walk.seen("ask-why")
    walk.button("ask.gateway.end").click()


def _side(walk: Walk, role: str) -> Any:
    heading = walk.page.get_by_role("heading", name=walk.say(f"ask.side.{role}"), exact=True)
    return walk.page.locator("section").filter(has=heading)


# ---- release --------------------------------------------------------------------------------------------------------


def release(walk: Walk) -> None:
    """It is signed by the run; a named person approves it, it is verified, and taken to be served."""
    page = walk.page
    walk.go("release")
    walk.text("release.chip.signed").wait_for()
    walk.text("release.chip.waits").wait_for()
    walk.text("release.serve.not_yet").wait_for()
    assert not walk.link("release.serve").is_visible()
    walk.seen("release-waits")
    page.get_by_label(walk.say("release.approval.name")).fill(PERSON)
    for looked in ("report", "asked"):
        page.get_by_role("checkbox", name=walk.say(f"release.looked.{looked}"), exact=True).click()
    page.get_by_label(walk.say("release.approval.words")).fill(walk.typed["statement"])
    walk.button("release.approve").click()
    page.get_by_text(walk.say("release.chip.approved", 1), exact=True).wait_for()
    page.get_by_text(PERSON).first.wait_for()
    walk.button("release.verify.now").click()
    walk.text("release.verified.trusted").wait_for(timeout=JOB_MS)
    page.get_by_text(walk.pattern("release.check.approved", name=PERSON, on="§")).wait_for()
    walk.seen("release-verified")
    walk.link("release.serve").click()


# ---- service --------------------------------------------------------------------------------------------------------


def service(walk: Walk) -> None:
    """It is served; a key is made, a program calls with it, the log tells; it is stopped, and answers again."""
    walk.arrived("service")
    walk.seen("service-off")
    walk.fill(walk.say("service.port"), str(free_port()))
    walk.button("service.start").click()
    walk.text("service.chip.on").wait_for(timeout=JOB_MS)
    secret = new_key(walk)
    url = walk.page.get_by_text(re.compile(r"^http://127\.0\.0\.1:\d+/v1$")).inner_text()
    with openai.OpenAI(base_url=url, api_key=secret, max_retries=0, timeout=JOB_MS / 1000) as client:
        (name,) = [one.id for one in client.models.list()]
        answered(client, name)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="none").models.list()
        logged(walk)
        stopped(walk, client, name)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def new_key(walk: Walk) -> str:
    """Made in the form, and shown once."""
    page = walk.page
    page.get_by_text(walk.say("service.key.new"), exact=True).click()
    page.get_by_label(walk.say("service.key.name")).fill(walk.typed["caller"])
    walk.button("service.key.make").click()
    shown = walk.dialog.get_by_text(re.compile(r"^lmp_\w+"))
    shown.wait_for()
    secret = shown.inner_text()
    walk.button("service.key.once.done", walk.dialog).click()
    shown.wait_for(state="detached")
    page.get_by_role("cell", name=walk.typed["caller"], exact=True).wait_for()
    assert secret not in page.content(), "it is shown once"
    walk.text("service.chip.keys").wait_for()
    return str(secret)


def answered(client: openai.OpenAI, name: str) -> None:
    """A program asks, and is told what answered and that it is a machine."""
    raw = client.chat.completions.with_raw_response.create(
        model=name, messages=[{"role": "user", "content": QUESTION}], max_tokens=24, temperature=0
    )
    assert raw.headers["x-limpide-release"] == name
    assert raw.headers["x-limpide-ai-generated"] == "true"
    assert (raw.parse().choices[0].message.content or "").strip()


def logged(walk: Walk) -> None:
    """The request is in the log, under the name of its key, and the log is what was written."""
    page = walk.page
    page.reload()
    walk.arrived("service")
    answered = (
        page.get_by_role("row").filter(has_text=walk.say("service.event.answer")).filter(has_text=walk.typed["caller"])
    )
    answered.first.wait_for()
    assert QUESTION not in page.content(), "no text is kept"
    walk.button("service.log.verify.now").click()
    walk.text("service.log.intact").wait_for(timeout=JOB_MS)
    walk.seen("service-log")


def stopped(walk: Walk, client: openai.OpenAI, name: str) -> None:
    """The stop switch: the next call is refused with the reason, until somebody takes the order back."""
    walk.button("service.switch.stop").click()
    walk.fill(walk.say("service.switch.who"), PERSON, walk.dialog)
    walk.fill(walk.say("service.switch.why.field"), walk.typed["reason"], walk.dialog)
    walk.seen("service-stop", whole=False)
    walk.button("service.switch.stop", walk.dialog).click()
    walk.text("service.switch.stopped").wait_for()
    walk.text("service.chip.halted").wait_for()
    with pytest.raises(openai.InternalServerError, match=walk.typed["reason"]) as refused:
        answered(client, name)
    assert refused.value.status_code == 503
    walk.seen("service-stopped")
    walk.fill(walk.say("service.switch.who"), PERSON)
    walk.button("service.switch.resume").click()
    walk.button("service.switch.resume", walk.dialog).click()
    walk.text("service.switch.ready").wait_for()
    answered(client, name)
    walk.button("service.end").click()
    walk.button("service.end", walk.dialog).click()
    walk.text("service.chip.off").wait_for(timeout=JOB_MS)
    walk.seen("service-ended")
