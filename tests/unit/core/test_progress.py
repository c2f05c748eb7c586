import io
import json
import sys
import time
from typing import Any

import pytest

from limpide.core import progress
from limpide.core.progress import Bars, Events, Plain, Quiet, progress_for


class Clock:
    """A clock that tests move by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_plain_says_start_then_sometimes_then_end(clock: Clock) -> None:
    out = io.StringIO()
    with Plain(out).task("scoring", total=40) as task:
        for _ in range(4):
            clock.now += 4
            task.advance(5, loss=0.123456, kind="x")
    assert out.getvalue().splitlines() == [
        "scoring …",
        "  scoring: 15/40, loss 0.1235, kind x, 20 s left",
        "scoring: done in 16.0 s",
    ]


def test_plain_without_a_total_guesses_nothing(clock: Clock) -> None:
    out = io.StringIO()
    with Plain(out).task("reading") as task:
        clock.now += 11
        task.advance()
    assert out.getvalue().splitlines()[1] == "  reading: 1"


def test_time_left_of_a_resumed_task_counts_only_what_moved_now(clock: Clock) -> None:
    """80 of 100 were there already: ten more in 20 s leave 20 s, not 2."""
    out = io.StringIO()
    with Plain(out).task("training", total=100, done=80) as task:
        clock.now += 20
        task.advance(10)
    assert out.getvalue().splitlines()[1] == "  training: 90/100, 20 s left"


def test_events_are_one_json_object_a_line(clock: Clock) -> None:
    out = io.StringIO()
    events = Events(out)
    events.say("bonjour é\nici")
    events.warn("attention")
    with events.task("training", total=4, done=1) as task:
        clock.now += 3
        task.advance(1, loss=2.0)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "message", "text": "bonjour é\nici"},
        {"event": "warning", "text": "attention"},
        {"event": "start", "task": "training", "total": 4, "done": 1},
        {"event": "move", "task": "training", "done": 2, "total": 4, "seconds_left": 6.0, "loss": 2.0},
        {"event": "end", "task": "training", "seconds": 3.0},
    ]


def test_a_task_that_fails_is_not_said_to_be_done() -> None:
    out = io.StringIO()
    for way in (Plain(out), Events(out)):
        with pytest.raises(ValueError, match="x"), way.task("scoring"):
            raise ValueError("x")
    assert "done in" not in out.getvalue()
    assert '"end"' not in out.getvalue()


def test_bars_show_facts_and_take_text_literally() -> None:
    from rich.console import Console

    bars, out = Bars(), io.StringIO()
    bars.console = Console(file=out, force_terminal=True, width=120, highlight=False)
    bars.say("a [bold]literal[/bold] text")
    bars.warn("[red]")
    with bars.task("training [x]", total=4, done=1) as task:
        task.advance(1, loss=2.03456)
        with bars.task("validation", total=1) as inner:
            inner.advance()
    shown = out.getvalue()
    for text in ("a [bold]literal[/bold] text", "warning: [red]", "training [x]", "2/4", "loss 2.035", "validation"):
        assert text in shown


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Quiet()
    quiet.say("a")
    quiet.warn("b")
    with quiet.task("c", total=1) as task:
        task.advance(1, loss=1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("terminal", "kind"), [(True, Bars), (False, Plain)])
def test_auto_looks_at_standard_error(monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: type[Any]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert isinstance(progress_for(), kind)


def test_every_mode_has_its_way() -> None:
    modes: tuple[progress.Mode, ...] = ("rich", "plain", "json", "none")
    assert [type(progress_for(mode)) for mode in modes] == [Bars, Plain, Events, Quiet]


@pytest.mark.parametrize("way", [Plain, Events])
def test_results_have_standard_output_to_themselves(way: type[Any], capsys: pytest.CaptureFixture[str]) -> None:
    shown = way()
    shown.say("a")
    with shown.task("b", total=1) as task:
        task.advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert "b" in err


def test_events_of_many_small_moves_are_few(clock: Clock) -> None:
    """A hundred thousand rows are not as many lines; the last move is told, and each that tells more than its place."""
    out = io.StringIO()
    with Events(out).task("checking", total=1000) as task:
        for _ in range(1000):
            clock.now += 0.001
            task.advance()
    moves = [json.loads(line)["done"] for line in out.getvalue().splitlines()[1:-1]]
    assert len(moves) <= 6
    assert moves[-1] == 1000


@pytest.mark.parametrize("text", ["bad\x1b[31mname.pdf", "\u202egnp.exe"])
def test_a_name_cannot_command_the_terminal(text: str) -> None:
    from rich.console import Console

    out, bars = io.StringIO(), Bars()
    bars.console = Console(file=out, highlight=False)
    for way in (Plain(out), bars):
        way.say(text)
        way.warn(text)
    assert out.getvalue().count(f"\\u{ord(next(c for c in text if not c.isprintable())):04x}") == 4
    assert not {"\x1b", "\u202e"} & set(out.getvalue())
