"""One question to an OpenAI-compatible endpoint: sent, paced, asked again where that can help, read with suspicion.

Source: the OpenAI API reference, chat completions; RFC 9110, section 10.2.3 (Retry-After).
"""

import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from limpide.core.errors import nearest
from limpide.data.examples import Message
from limpide.models.address import FORM, KEY_VARIABLE, Address, EndpointError, EndpointSettings
from limpide.models.journal import Reply, utc
from limpide.models.requests import Sampling

AGAIN = (408, 425, 429, 500, 502, 503, 504, 529)  # statuses that may pass
FIRST_WAIT, LONGEST_BACKOFF, LONGEST_WAIT = 1.0, 60.0, 600.0  # seconds
CROWDED_WAIT = 5.0  # seconds: limits are counted by the minute, which six attempts then outlast
SAID_FROM = 5.0  # seconds: a wait as long as this is told
LARGEST = 10_000_000  # bytes of one answer
SHOWN = 200  # characters of what came back that an error shows
SECRET = 8  # characters from which a key is blotted out of what the endpoint says
ESCAPED = 8  # backslashes before one of its characters, at most: JSON within JSON within JSON has seven
LEFT_OUT = ("temperature", "seed")  # settings that some endpoints do not accept
UNKNOWN = re.compile(r"support|unknown|unrecogni|unexpected|extra|permitted|forbidden|allowed|deprecated", re.I)


class Stopped(Exception):  # no error: another thread has one
    """The run ends: nothing more is sent."""


@dataclass(frozen=True)
class Clock:
    """Time, so that a test need not wait. wait: sleeps until then, or until the run stops."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    wait: Callable[[threading.Event, float], object] = threading.Event.wait


class Pace:
    """At most `per_minute` requests a minute, evenly spaced, over all threads."""

    def __init__(self, per_minute: float | None, clock: Clock) -> None:
        self.between = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._next, self._lock = clock, 0.0, threading.Lock()

    def take(self) -> float:
        """Seconds until the caller may send; that place is then taken."""
        with self._lock:
            now = self._clock.monotonic()
            start = max(now, self._next)
            self._next = start + self.between
            return start - now

    def hold(self, seconds: float) -> None:
        """Nobody sends before `seconds` have passed."""
        with self._lock:
            self._next = max(self._next, self._clock.monotonic() + seconds)


class _Again(Exception):  # no error yet
    """This may pass. after: seconds that the endpoint asks to wait. hold: everyone waits, not this thread alone."""

    def __init__(self, error: EndpointError, after: float | None = None, hold: bool = False) -> None:
        super().__init__()
        self.error, self.after, self.hold = error, after, hold


class Caller:
    """Asks one endpoint, from several threads. sent, retried: requests so far. without: settings it did not accept."""

    def __init__(self, address: Address, settings: EndpointSettings, key: str | None, clock: Clock) -> None:
        self.address, self.settings, self.clock = address, settings, clock
        self.pace = Pace(settings.requests_per_minute, clock)
        self.sent = self.retried = 0
        self.without: set[str] = set()
        self.length_name = "max_tokens"
        self.stop = threading.Event()
        self.say: Callable[[str], None] = lambda text: None
        self._said_until = 0.0
        self._key = key
        self._hidden = spellings(key) if key and len(key) >= SECRET else None
        self._lock = threading.Lock()
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=settings.timeout_s,
            limits=httpx.Limits(max_connections=settings.at_once),
            follow_redirects=False,
            verify=address.url.startswith("https:"),  # certificates take 50 ms to load, and http has none
            trust_env=not address.local,  # a proxy is not asked for this very machine
        )

    def close(self) -> None:
        self._client.close()

    def ask(self, messages: Sequence[Message], sampling: Sampling, index: int) -> Reply:
        """One answer. Raises EndpointError after the last attempt, or at once where asking again cannot help."""
        failures = 0
        while True:
            self._wait(self.pace.take())
            body = self._body(messages, sampling, index)
            try:
                reply = self._once(body)
            except _Again as again:
                failures += 1
                if failures >= self.settings.attempts:
                    raise self._given_up(again.error) from None
                self._back_off(again, failures)
                continue
            if reply is None:
                continue  # without the setting that it does not accept
            if reply.text or reply.finish in ("length", "content_filter") or failures + 1 >= self.settings.attempts:
                return reply
            failures += 1
            self._back_off(_Again(self._error("sent an empty answer")), failures)

    def _body(self, messages: Sequence[Message], sampling: Sampling, index: int) -> dict[str, Any]:
        settings = {
            "temperature": sampling.temperature,
            self.length_name: sampling.max_new_tokens,
            "seed": sampling.seed + index,
        }
        said = [{"role": m.role, "content": m.content} for m in messages]
        body: dict[str, Any] = {"model": self.address.model, "messages": said}
        return body | {name: value for name, value in settings.items() if name not in self.without}

    def _once(self, body: Mapping[str, Any]) -> Reply | None:
        """One request. None: the endpoint does not accept a setting, which is left out from now on."""
        status, headers, text = self._post(body)
        if 200 <= status < 300:
            return self._read(text)
        if status in AGAIN and not _unpaid(text):
            after = retry_after(headers.get("retry-after"), self.clock.wall())
            error = self._error(f"said HTTP {status}", text)
            if after is not None and after > LONGEST_WAIT:
                raise self._error(f"asks to wait {after:.0f} s", text, "run the same command again after that time")
            raise _Again(error, after, hold=status == 429)
        if status in (400, 422):
            fault = _fault(text)
            if fault.get("code") == "content_filter":
                return self._reply("", "content_filter", {})
            if self._adapt(fault, body):
                return None
        raise self._refused(status, headers, text)

    def _post(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], str]:
        """(status, headers, text). The whole answer must come in time: a server could drip for ever."""
        with self._lock:
            self.sent += 1
        end = self.clock.monotonic() + self.settings.timeout_s
        data = bytearray()
        try:
            with self._client.stream("POST", f"{self.address.url}/chat/completions", json=body) as response:
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > LARGEST:
                        raise _Again(self._error(f"sent more than {LARGEST // 1_000_000} MB"))
                    if self.clock.monotonic() > end:
                        raise httpx.ReadTimeout("too slow")
        except httpx.TimeoutException:
            raise _Again(self._error(f"did not answer within {self.settings.timeout_s:g} s")) from None
        except httpx.RequestError as error:
            raise _Again(self._error("could not be reached", f"{type(error).__name__}: {error}")) from None
        return response.status_code, response.headers, self._clean(data.decode("utf-8", errors="replace"))

    def _read(self, text: str) -> Reply:
        """The answer in a response. Raises _Again for what is not one."""
        try:
            answer = json.loads(text)
            choice = answer["choices"][0]
            message = choice["message"]
            content = message["refusal"] if isinstance(message.get("refusal"), str) else message.get("content")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise _Again(self._error("sent something that is not an answer", text)) from None
        if isinstance(content, list):  # parts, of which some may be thoughts
            content = "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
        finish = choice.get("finish_reason")
        if content is None and finish in ("length", "content_filter"):
            content = ""
        if not isinstance(content, str):
            raise _Again(self._error("sent an answer without text", text))
        return self._reply(content, finish if isinstance(finish, str) else None, answer)

    def _reply(self, text: str, finish: str | None, answer: Mapping[str, Any]) -> Reply:
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return Reply(
            text=self._told(text) or "",
            finish=self._told(finish),
            model=self._told(answer.get("model")),
            fingerprint=self._told(answer.get("system_fingerprint")),
            tokens_in=_count(usage.get("prompt_tokens")),
            tokens_out=_count(usage.get("completion_tokens")),
            date=utc(self.clock.wall()).isoformat(),
            without=tuple(sorted(self.without)),
        )

    def _adapt(self, fault: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
        """Whether a setting was at fault and can be renamed or left out: endpoints differ in what they accept."""
        message = str(fault.get("message"))
        if "max_tokens" in body and "max_completion_tokens" in message:
            self.length_name = "max_completion_tokens"
            return True
        for name in LEFT_OUT:
            blamed = fault.get("param") == name or re.search(rf"\b{name}\b", message)
            if name in body and blamed and UNKNOWN.search(message):
                self.without.add(name)
                return True
        return False

    def _back_off(self, again: _Again, failures: int) -> None:
        """Wait before the next attempt: twice as long each time, a little less by chance; as long as asked at least."""
        with self._lock:
            self.retried += 1
        spread = random.uniform(0.5, 1.0)  # so that threads do not all come back at once
        first = CROWDED_WAIT if again.hold and not again.after else FIRST_WAIT
        chosen = min(LONGEST_BACKOFF, first * 2 ** (failures - 1)) * spread
        seconds = max(chosen, again.after or 0.0)
        now = self.clock.monotonic()
        if seconds >= SAID_FROM and now >= self._said_until:  # once, and not for each thread
            self._said_until = now + seconds
            self.say(f"{again.error.what} Asking again in {seconds:.0f} s.")
        if again.hold:
            self.pace.hold(seconds)
        else:
            self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and not self.stop.is_set():
            self.clock.wait(self.stop, seconds)
        if self.stop.is_set():
            raise Stopped

    def _refused(self, status: int, headers: Mapping[str, str], text: str) -> EndpointError:
        """What is wrong where asking again cannot help."""
        if status in (401, 403) and self._key is None:
            remedy = f"put it into the environment variable {KEY_VARIABLE}, or name yours with --key-env"
            return self._error(f"asks for a key (HTTP {status})", text, remedy)
        if status in (401, 403):
            remedy = f"check the key in {self.settings.key_env}, and that it may use this model"
            return self._error(f"refuses the key (HTTP {status})", text, remedy)
        if _unpaid(text) or status == 402:
            return self._error("wants to be paid first", text, "check the account's credit")
        if status == 404:
            names = self._models()
            close = nearest(self.address.model, names)
            remedy = (
                short(f"it has: {', '.join(names[:10])}") if names else f"check the address: {FORM}, often with /v1"
            )
            return self._error(f"does not know this address or the model '{self.address.model}'", text, remedy, close)
        if 300 <= status < 400:
            to = self._clean(headers.get("location", ""))
            return self._error("sends elsewhere", to, "if you trust that address, write it instead")
        return self._error(f"refused the request (HTTP {status})", text, "check that this model answers chat messages")

    def _models(self) -> list[str]:
        """Names that the endpoint lists; none where it does not."""
        try:
            listed = self._client.get(f"{self.address.url}/models").json()["data"]
            return sorted(short(self._clean(str(model["id"]))) for model in listed)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return []

    def _error(
        self, what: str, received: str | None = None, remedy: str | None = None, more: str = ""
    ) -> EndpointError:
        shown = None if received is None else short(self._clean(received))
        return EndpointError(f"{self.address.host} {what}.{more}", received=shown, remedy=remedy)

    def _given_up(self, error: EndpointError) -> EndpointError:
        times = f" It was asked {self.settings.attempts} times." if self.settings.attempts > 1 else ""
        return EndpointError(error.what + times, received=error.received, remedy=error.remedy or "try again later")

    def _clean(self, text: str) -> str:
        """`text` without the key, however JSON may have written it."""
        return self._hidden.sub("[the key]", text) if self._hidden else text

    def _told(self, value: object) -> str | None:
        """A text out of parsed JSON: what was escaped is written out by now, the key and halves of characters too."""
        return self._clean(value.encode("utf-8", "replace").decode()) if isinstance(value, str) else None


def short(text: str) -> str:
    """The start of what came back, on one line, without what a terminal would obey."""
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return (line if len(line) <= SHOWN else f"{line[:SHOWN]}…") or "nothing"


def spellings(key: str) -> re.Pattern[str]:
    """Finds a key as it is, and with any of its characters as JSON may write them: '/' is also '\\/' or '\\u002f'."""
    escape = rf"\\{{1,{ESCAPED}}}"
    return re.compile("".join(rf"(?:(?:{escape})?{re.escape(c)}|{escape}u(?i:{ord(c):04x}))" for c in key))


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait, from seconds or a date. now: seconds since 1970. None where it cannot be read."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _fault(text: str) -> dict[str, Any]:
    """The error object of a response, in OpenAI's shape or as bare text."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return {"message": text}
    fault = answer.get("error", answer) if isinstance(answer, dict) else answer
    return dict(fault) if isinstance(fault, dict) and "message" in fault else {"message": json.dumps(fault)}


def _unpaid(text: str) -> bool:
    return _fault(text).get("code") == "insufficient_quota"
