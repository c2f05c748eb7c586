"""From the tokens a model chooses to the pieces of an answer that may be sent."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from limpide.models.model import Model
from limpide.models.stream import Chosen, fill
from limpide.serve.engines.forms import Piece, Token
from limpide.serve.engines.pieces import Pieces
from limpide.serve.engines.reading import Wanted


class Writing:
    """An answer under way."""

    def __init__(self, model: Model, wanted: Wanted) -> None:
        self._ends, self._wanted, self._written = model.stop_ids, wanted, 0
        self._text = Pieces(lambda ids: str(model.tokenizer.decode(ids, skip_special_tokens=True)), wanted.stops)
        self._spell = _speller(model.tokenizer)
        self._unsent: deque[tuple[Token, int]] = deque()  # each with the place in the answer where it ends

    def add(self, chosen: Chosen) -> Piece:
        """What can be sent after this token, often nothing."""
        self._written += 1
        ended, start, text = chosen.id in self._ends, self._text.made, ""
        if not ended:
            text = self._text.add(chosen.id)
            if self._wanted.alternatives is not None:
                self._unsent.append((self._token(chosen, start), self._text.made))
        full = self._written == self._wanted.most
        finish = "stop" if ended or self._text.stopped else "length" if full else None
        if finish and not self._text.stopped:
            text += self._text.end()
        return Piece(text, self._written, tuple(self._sent()), finish)

    def _sent(self) -> Iterator[Token]:
        """Tokens whose whole text is sent; one that reaches into a stop string never is."""
        while self._unsent and self._unsent[0][1] <= self._text.sent:
            yield self._unsent.popleft()[0]

    def _token(self, chosen: Chosen, start: int) -> Token:
        others = tuple((self._spell(id), nats) for id, nats in chosen.alternatives)
        return Token(self._spell(chosen.id), start, chosen.log_probability, others)


def filled(model: Model, wanted: Wanted) -> Piece:
    """The likeliest token under each mask, with a space between them."""
    chosen = fill(model, wanted.prompt, wanted.alternatives or 0)
    text, tokens = "", list[Token]()
    for one in chosen[: wanted.most]:
        text += " " if tokens else ""
        others = tuple((_word(model, id), nats) for id, nats in one.alternatives)
        tokens.append(Token(_word(model, one.id), len(text), one.log_probability, others))
        text += tokens[-1].text
    finish = "stop" if len(tokens) == len(chosen) else "length"
    return Piece(text, len(tokens), tuple(tokens) if wanted.alternatives is not None else (), finish)


def _word(model: Model, id: int) -> str:
    return str(model.tokenizer.decode([id])).strip()


def _speller(tokenizer: Any) -> Callable[[int], str]:
    """Token id → its text in the middle of an answer, where tokenizers keep the space before it."""
    before = tokenizer("a", add_special_tokens=False)["input_ids"]
    skipped = len(tokenizer.decode(before))
    return lambda id: str(tokenizer.decode([*before, id])[skipped:])
