"""From token ids, one by one, to text that may be sent: whole characters, and nothing of a stop string."""

from collections.abc import Callable, Sequence

HALF = "\ufffd"  # what a tokenizer makes of bytes that are no whole character yet
MOST_HALVES = 3  # a character has at most four bytes: a fourth such sign in a row is what the model wrote


class Pieces:
    """The text of an answer as it grows. made: characters decoded. sent: characters given back, a stop string and what
    could become one left out. stopped: was a stop string written."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self.made = self.sent = 0
        self.stopped = False
        self._decode, self._stops = decode, stops
        self._ids: list[int] = []
        # Tokenizers treat a text's first token differently, so tokens are decoded after the last ones known: the
        # window starts at `_start`, what follows `_read` is new, and `_given` characters of the window are made.
        self._start = self._read = self._given = 0
        self._held = ""

    def add(self, token: int) -> str:
        """The text that is certain now and was not before."""
        self._ids.append(token)
        return self._release(self._decoded(), last=False)

    def end(self) -> str:
        """The rest, when no token follows. Half a character at the end is dropped."""
        return self._release("", last=True)

    def _decoded(self) -> str:
        text = self._decode(self._ids[self._start :])
        halves = len(text) - len(text.rstrip(HALF))
        certain = text[: len(text) - min(halves, MOST_HALVES)]
        new, self._given = certain[self._given :], max(self._given, len(certain))
        if new and not halves:
            self._start, self._read = self._read, len(self._ids)
            self._given = len(self._decode(self._ids[self._start :]))
        return new

    def _release(self, new: str, *, last: bool) -> str:
        self.made += len(new)
        text = self._held + new
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        self.stopped = bool(found)
        end = min(found) if found else len(text) if last else self._certain_end(text)
        self._held = "" if found else text[end:]
        self.sent += end
        return text[:end]

    def _certain_end(self, text: str) -> int:
        """Where the longest end of `text` begins with which a stop string begins."""
        longest = max(map(len, self._stops), default=1) - 1
        places = range(max(0, len(text) - longest), len(text))
        return next((k for k in places if any(stop.startswith(text[k:]) for stop in self._stops)), len(text))
