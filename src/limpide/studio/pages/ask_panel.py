"""Why a word: the explanation of one word of an answer, made by a job once and found again afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element

from limpide.document import notes
from limpide.document.weighed import clip
from limpide.studio import parts
from limpide.studio.boxes import Kind
from limpide.studio.jobs import Job
from limpide.studio.pages.ask_why import Why, not_run, taught, why
from limpide.studio.pages.ask_words import Word, argv, taught_by, tokens_of
from limpide.studio.pages.report_figures import blocks, drawn
from limpide.studio.visit import Visit

KIND = "explain"  # of job
LONGEST = 40  # characters of a word that is named
CHIPS: dict[str, Kind] = {"good": "good", "bad": "bad", "doubt": "warning", "plain": "info"}


def explained(visit: Visit, command: Sequence[str]) -> Job:
    """The job of this very question: the one that ran or runs, else a new one."""
    found = known(visit, command)
    if found is not None:
        return found
    visit.log("studio.explain")
    return visit.jobs.start(KIND, command, who=visit.name)


def known(visit: Visit, command: Sequence[str]) -> Job | None:
    """A job of this very question that runs, or that ended well."""
    wanted = (*command, "--json")
    alike = (job for job in visit.jobs.all(KIND) if job.argv == wanted)
    return next((job for job in alike if visit.jobs.state(job) in ("done", "running")), None)


@dataclass(frozen=True)
class Asked:
    """What is explained: a word of an answer of a model. asked: the file of the question and the answer. trained: are
    there examples that taught it."""

    model: str
    asked: Path
    word: Word
    trained: bool

    def command(self, at: int) -> list[str]:
        return argv(self.model, self.asked, at)

    def teachers(self, at: int) -> list[str]:
        return taught_by(self.model, self.asked, at)


def panel(visit: Visit, shown: Element, asked: Asked, pieces: Sequence[str]) -> None:
    """Fill `shown` with why a word was said. pieces: the tokens of the answer as they came."""
    places = tokens_of(asked.word, pieces)
    follow(visit, shown, asked, places[0] if places else 0, again=True)


def follow(visit: Visit, shown: Element, asked: Asked, at: int, *, again: bool) -> None:
    """Show a job, then what it found. again: the explanation may be asked once more, for another token: the one that
    streamed may not be the one that the explanation counts."""
    job = explained(visit, asked.command(at))
    shown.clear()
    with shown:
        parts.heading(visit.say("ask.why.title", word=clip(asked.word.text, LONGEST)))
        inside = parts.stack()

    def draw() -> None:
        found = visit.jobs.result(job)
        if visit.jobs.state(job) != "done" or not isinstance(found, dict):
            return
        tokens = [str(token["text"]) for token in found["question"]["answer_tokens"]]
        places = tokens_of(asked.word, tokens)
        if again and places and found["question"]["decision"]["at"] not in places:
            follow(visit, shown, asked, places[0], again=False)
            return
        inside.clear()
        with inside:
            tell(visit, why(found, clip(asked.word.text, LONGEST), places, visit.words))
            if asked.trained:
                teachers(visit, asked, found["question"]["decision"]["at"])

    with inside:
        if visit.jobs.state(job) == "done":
            draw()
        else:
            parts.text(visit.say("ask.why.wait")).classes("muted")
            parts.job_panel(visit, job, draw)


def tell(visit: Visit, found: Why) -> None:
    """Whether to believe it, then words, layers and examples, each with its numbers in text."""
    verdict, tone, sentences = found.faithful
    with parts.row():
        parts.text(visit.say("ask.why.test")).classes("strong")
        parts.chip(verdict, CHIPS[tone])
    for sentence in sentences:
        parts.text(sentence).classes("muted")
    parts.heading(visit.words.say("explain.section.words"), 3)
    parts.text(visit.say("ask.why.words", word=found.word)).classes("muted small")
    drawn(blocks(found.strip, visit.words))
    if found.weights:
        columns = [visit.words.say(f"explain.column.{name}") for name in ("word", "share", "weight")]
        parts.table(columns, [list(row) for row in found.weights], 10, numbers=(1, 2))
    if found.layers or found.pictures:
        parts.heading(visit.words.say("explain.section.lens"), 3)
        for sentence in found.layers:
            parts.text(sentence)
        drawn(blocks(found.pictures[:1], visit.words))
        with parts.more(visit.say("ask.why.layers")):
            drawn(blocks(found.pictures[1:], visit.words))
    left_out(visit, found.not_run)
    with parts.more(visit.words.say("explain.section.limits")), ui.element("ul"):
        for line in found.limits:
            parts.word("li", line)


def teachers(visit: Visit, asked: Asked, at: int) -> None:
    """Training examples that taught the answer: looked for when asked, since it takes longer than all the rest."""
    parts.heading(visit.words.say("explain.section.influence"), 3)
    shown = parts.stack()

    def draw(job: Job) -> None:
        found = visit.jobs.result(job)
        shown.clear()
        with shown:
            if visit.jobs.state(job) == "done" and isinstance(found, dict):
                told(visit, found)
            else:
                parts.job_panel(visit, job, lambda: draw(job))

    def look() -> None:
        draw(explained(visit, asked.teachers(at)))

    before = known(visit, asked.teachers(at))
    if before is not None:
        draw(before)
        return
    with shown:
        parts.text(visit.say("ask.taught.lead")).classes("muted small")
        parts.button(visit.say("ask.taught"), look, icon="school")


def told(visit: Visit, found: Mapping[str, Any]) -> None:
    """The examples on both sides, what the numbers are, and what they do not say."""
    parts.text(visit.words.say("explain.note.influence")).classes("muted small")
    columns = [visit.words.say(f"explain.column.{name}") for name in ("prompt", "answer", "influence")]
    for side in ("raises", "lowers"):
        rows = taught(found, side, visit.words)
        if rows:
            cells = [[one.prompt, one.answer, one.influence] for one in rows]
            caption = visit.words.say(f"explain.table.{side}", len(rows))
            parts.table(columns, cells, 5, caption=caption, numbers=(2,))
    left_out(visit, not_run(found, visit.words))
    parts.text(visit.words.say("explain.limit.influence")).classes("muted small")


def left_out(visit: Visit, rows: Sequence[tuple[str, notes.Said]]) -> None:
    """What could not be answered, and why."""
    for name, (sentence, language) in rows:
        line = parts.text(f"{name}{visit.words.say('colon')} {sentence}").classes("muted small")
        if language:
            line.props(f"lang={language}")
