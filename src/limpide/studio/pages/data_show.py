"""A few examples as the model reads them, with what it learns to write marked: by colour, by a line, and in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from limpide.core.visible import visible
from limpide.studio import parts
from limpide.studio.visit import Visit

ROWS = 3
# `mark` says it to who sees no colour, and the hidden words to who sees nothing.
LOOK = """
.stack:empty { display: none; }
.plain-list { display: grid; gap: .75rem; grid-template-columns: minmax(0, 1fr); list-style: none; padding: 0; }
.place { font-weight: 500; margin: -.675rem 0 -.675rem -.75rem; text-align: start; }
.file { gap: .15rem; }
.file-name { overflow-wrap: anywhere; }
.tokens { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; font-family: ui-monospace, monospace;
  font-size: .92em; margin: 0; }
.tokens mark, .legend mark { color: inherit; background: color-mix(in srgb, var(--good) 20%, transparent);
  border-bottom: 3px solid var(--good); border-radius: 3px 3px 0 0; padding: .1em .15em; }
.tokens mark.worse, .legend mark.worse { background: color-mix(in srgb, var(--warning) 20%, transparent);
  border-bottom: 3px dotted var(--warning); }
.tokens del, .legend del { opacity: .75; text-decoration: line-through; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
"""


def draw_examples(visit: Visit, records: Sequence[Mapping[str, Any]]) -> None:
    """records: what `limpide data show --json` prints."""
    _draw_legend(visit, records)
    for record in records:
        with parts.card():
            parts.heading(visit.say("data.tokens.example", name=record["example"]), 3)
            if "rejected_runs" in record:
                parts.word("p", visit.say("data.tokens.better_answer")).classes("strong")
            _draw_runs(visit, record["runs"])
            if "rejected_runs" in record:
                parts.word("p", visit.say("data.tokens.worse_answer")).classes("strong")
                _draw_runs(visit, record["rejected_runs"], worse=True)


def _draw_legend(visit: Visit, records: Sequence[Mapping[str, Any]]) -> None:
    runs = [run for record in records for run in record["runs"]]
    with parts.row().classes("legend"):
        parts.word("span", visit.say("data.tokens.legend")).classes("muted small")
        parts.word("mark", visit.say("data.tokens.learnt"))
        parts.word("span", visit.say("data.tokens.given"))
        if any("rejected_runs" in record for record in records):
            parts.word("mark", visit.say("data.tokens.worse")).classes("worse")
        if not all(run["kept"] for run in runs):
            parts.word("del", visit.say("data.tokens.lost"))


def _draw_runs(visit: Visit, runs: Sequence[Mapping[str, Any]], *, worse: bool = False) -> None:
    with ui.element("p").classes("tokens").props("tabindex=0"):
        for run in runs:
            words = visible(run["text"])
            if not run["kept"]:
                parts.word("del", words)
            elif run["trained"]:
                with ui.element("mark").classes("worse" if worse else ""):
                    parts.word("span", f" {visit.say('data.tokens.starts')} ").classes("unseen")
                    parts.word("span", words)
                    parts.word("span", f" {visit.say('data.tokens.ends')} ").classes("unseen")
            else:
                parts.word("span", words)
    trained = sum(run["tokens"] for run in runs if run["trained"])
    tokens = sum(run["tokens"] for run in runs)
    parts.text(visit.say("data.tokens.count", tokens=tokens, trained=trained)).classes("muted small")
