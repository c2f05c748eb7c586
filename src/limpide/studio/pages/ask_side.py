"""One side of the page: an answer that comes word by word, and whose words can then be clicked."""

import time
from collections.abc import Callable
from typing import Any

from nicegui import ui

from limpide.core.errors import LimpideError
from limpide.studio import parts
from limpide.studio.pages.ask_gateway import Gateway, stream
from limpide.studio.pages.ask_words import Word, words
from limpide.studio.visit import Visit

DRAW_EVERY = 0.1  # seconds between two drawings of an answer that is coming


class Side:
    """An answer. role: 'base' or 'release'. letter: what it is called while nobody may know which it is."""

    def __init__(self, visit: Visit, role: str, letter: str, clicked: Callable[["Side", Word], Any]) -> None:
        self.visit, self.role, self.letter, self.clicked = visit, role, letter, clicked
        self.pieces: list[str] = []
        self.question = self.model = ""
        with ui.element("section").classes("card answer-side"):
            self.title = parts.heading("")
            self.text = ui.element("div").classes("answer-text").props("aria-live=polite")
            self.foot = parts.text("").classes("muted small")
        self.empty()

    def name(self, *, hidden: bool) -> None:
        """Its name, or only its letter."""
        self.title.text = self.visit.say(f"ask.side.{self.letter if hidden else self.role}")

    def empty(self) -> None:
        self.text.clear()
        with self.text:
            parts.text(self.visit.say("ask.side.empty")).classes("muted")
        self.foot.text = ""

    async def ask(self, gateway: Gateway, question: str, most: int) -> None:
        """Stream the answer; an error is shown here, on its side."""
        self.question, self.pieces = question, []
        self.model = (gateway.base if self.role == "base" else gateway.release) or ""
        self.text.clear()
        self.text.props("aria-busy=true")
        with self.text:
            coming = parts.text("…").classes("coming")
        began, drawn, finish, tokens = time.monotonic(), 0.0, None, None
        try:
            async for piece in stream(gateway, self.model, question, most=most):
                if piece.text:
                    self.pieces.append(piece.text)
                finish, tokens = piece.finish or finish, piece.tokens or tokens
                if time.monotonic() - drawn > DRAW_EVERY:
                    coming.text, drawn = f"{self.answer}…", time.monotonic()
        except LimpideError as error:
            self.show()
            with self.text:
                parts.error_notice(self.visit, error.record())
            return
        finally:
            self.text.props(remove="aria-busy")
        self.show()
        ending = "length" if finish == "length" else "stop"
        took = self.visit.words.duration(time.monotonic() - began)
        self.foot.text = self.visit.say(f"ask.took.{ending}", int(tokens or len(self.pieces)), time=took)

    @property
    def answer(self) -> str:
        return "".join(self.pieces)

    def show(self) -> None:
        """The answer as buttons, one a word: a toolbar, so that they are one stop of the Tab key (see studio.js)."""
        self.text.clear()
        with self.text:
            if not self.answer.strip():
                parts.text(self.visit.say("ask.side.nothing")).classes("muted")
                return
            with ui.element("p").classes("words").props("role=toolbar") as line:
                for number, one in enumerate(words(self.answer)):
                    self.one_word(one, stop=number == 0)
            line.props["aria-label"] = self.visit.say("ask.words")
            hint = parts.text(self.visit.say("ask.words.hint")).classes("muted small")
            line.props["aria-describedby"] = hint.html_id

    def one_word(self, one: Word, *, stop: bool) -> None:
        """stop: the Tab key comes to it at first."""
        if "\n" in one.before:
            ui.element("br")
        elif one.before:
            parts.word("span", " ")
        button = (
            parts.word("button", one.text).classes("answer-word").props(f"type=button tabindex={0 if stop else -1}")
        )
        button.on("click", lambda: parts.safely(lambda: self.clicked(self, one)), args=[])

    def cut(self) -> None:
        """What came so far, when the person stopped it."""
        self.show()
        self.foot.text = self.visit.say("ask.cut")
