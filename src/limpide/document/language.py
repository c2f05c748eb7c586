"""How a language writes numbers, dates and the fixed sentences of the documents.

The sentences are data: `words/en.json` and `words/fr.json`, plain text with `{placeholders}`, the same keys in both.
Nothing here knows HTML or Markdown: what comes out is plain text, escaped once where it is printed.
"""

import datetime as dt
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from limpide.core.errors import LimpideError, nearest
from limpide.core.measure import Measure
from limpide.document.evidence import Text

WORDS = Path(__file__).parent / "words"
NARROW = "\u202f"  # narrow no-break space: French thousands, and before % ; ! ?
NO_BREAK = "\u00a0"
MINUS = "\u2212"
BARE = ("rank", "count", "ratio", "perplexity", "score", "squared probability")  # units that a reader needs no word for
PER_TOKEN = ("nats per token", "nats per answer token", "nats/token", "nats/answer token")


@dataclass(frozen=True)
class Language:
    """One language of the documents. words: key → sentence."""

    code: str
    words: dict[str, str]

    def say(self, key: str, count: float | None = None, /, **values: object) -> str:
        """The sentence `key` with its placeholders filled. With `count`, its `.one` or `.many` form, `{count}` filled.

        Integers are written as this language writes them; other numbers come as text from the methods below.
        """
        if count is not None:
            single = abs(count) < 2 if self.code == "fr" else abs(count) == 1
            key = f"{key}.{'one' if single else 'many'}"
            values["count"] = self.whole(count)
        if key not in self.words:
            raise LimpideError(f"The documents have no sentence '{key}'.{nearest(key, list(self.words))}")
        ready = {name: self.whole(v) if isinstance(v, int) else v for name, v in values.items()}
        return self.words[key].format(**ready)

    def has(self, key: str) -> bool:
        return key in self.words

    def text(self, written: Text | None) -> str | None:
        """What somebody wrote, in this language where they gave it, else in the first language they gave."""
        if written is None or isinstance(written, str):
            return written or None
        return written.get(self.code) or next(iter(written.values()), None)

    def lang(self, written: Text | None) -> str | None:
        """Code of the language `text` returns when it is known to differ from this one."""
        if not isinstance(written, dict) or self.code in written:
            return None
        return next(iter(written), None)

    def number(self, value: float, decimals: int, *, sign: bool = False) -> str:
        """A decimal number: 1,234.5 in English, 1 234,5 in French; a true minus sign; never −0."""
        if not math.isfinite(value):
            return self.say("number.nan" if math.isnan(value) else "number.infinite")
        rounded = round(value, decimals)
        text = f"{abs(rounded):,.{decimals}f}"
        if self.code == "fr":
            text = text.replace(",", NARROW).replace(".", ",")
        if rounded < 0:
            return MINUS + text
        return "+" + text if sign and rounded > 0 else text

    def whole(self, value: float) -> str:
        """An integer; text is returned as it is."""
        return self.number(value, 0)

    def plain(self, value: object) -> str:
        """A fact of unknown kind: numbers as this language writes them, the rest as text."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)
        if isinstance(value, int):
            return self.whole(value)
        return self.significant(value)

    def significant(self, value: float, digits: int = 3) -> str:
        """`digits` significant digits; powers of ten outside 0.0001 … 999 999."""
        if value == 0 or not math.isfinite(value):
            return self.number(value, 0)
        power = math.floor(math.log10(abs(value)))
        if round(abs(value) / 10**power, digits - 1) >= 10:
            power += 1  # 9.99 to two digits is 1.0 × 10
        if -4 <= power < 6:
            return self._trim(self.number(value, max(0, digits - 1 - power)))
        return f"{self._trim(self.number(value / 10**power, digits - 1))}{NO_BREAK}×{NO_BREAK}10{_raised(power)}"

    def percent(self, share: float, decimals: int = 1) -> str:
        """12.5% or 12,5 %. A share strictly between 0 and 1 is never written 0% or 100%."""
        gap = NARROW if self.code == "fr" else ""
        step = 10.0**-decimals
        if 0 < share < 1 and math.isfinite(share):
            if round(100 * share, decimals) <= 0:
                return f"<{NARROW}{self.number(step, decimals)}{gap}%"
            if round(100 * share, decimals) >= 100:
                return f">{NARROW}{self.number(100 - step, decimals)}{gap}%"
        whole = math.isfinite(share) and abs(100 * share - round(100 * share)) < 1e-9
        return f"{self.number(100 * share, 0 if whole else decimals)}{gap}%"

    def relative(self, change: float) -> str:
        """A signed relative change: +0.9% or +0,9 %."""
        return self.number(100 * change, 1, sign=True) + (NARROW if self.code == "fr" else "") + "%"

    def value(self, value: float | None, unit: str, *, with_unit: bool = True, beside: Iterable[float] = ()) -> str:
        """A measured value in its unit, as a person reads it. beside: values shown with it, so that decimals agree."""
        if value is None:
            return self.say("not_measured")
        if unit == "share":
            return self.percent(value)
        number = self.number(value, decimals(unit, [value, *beside]))
        return f"{number}{NO_BREAK}{self.unit(unit)}" if with_unit and unit not in BARE else number

    def difference(
        self, value: float | None, unit: str, *, with_unit: bool = True, beside: Iterable[float] = ()
    ) -> str:
        """A signed difference; of shares, in percentage points."""
        if value is None:
            return self.say("not_measured")
        if unit == "share":
            return f"{self.number(100 * value, 1, sign=True)}" + (
                f"{NO_BREAK}{self.say('unit.points')}" if with_unit else ""
            )
        number = self.number(value, decimals(unit, [value, *beside]), sign=True)
        return f"{number}{NO_BREAK}{self.unit(unit)}" if with_unit and unit not in BARE else number

    def unit(self, unit: str) -> str:
        if unit in PER_TOKEN:
            return self.say("unit.per_token")
        return self.words.get(f"unit.{unit}", unit)

    def interval(self, low: float | None, high: float | None, unit: str, level: float = 0.95) -> str | None:
        """'95% interval 78.2% to 97.1%', or None when there is none."""
        if low is None or high is None:
            return None
        ends = [self.value(end, unit, with_unit=False, beside=(low, high)) for end in (low, high)]
        return self.say("interval", level=self.percent(level), low=ends[0], high=ends[1])

    def range(self, measure: Measure) -> str:
        """The two ends of the interval for a table cell, or a dash."""
        if measure.low is None or measure.high is None or measure.value is None:
            return "–"
        beside = (measure.value, measure.low, measure.high)
        ends = [self.value(e, measure.unit, with_unit=False, beside=beside) for e in (measure.low, measure.high)]
        return self.say("range", low=ends[0], high=ends[1])

    def measured(self, measure: Measure, *, with_unit: bool = True) -> str:
        """The value of a measure, with as many decimals as its interval."""
        beside = [end for end in (measure.low, measure.high) if end is not None]
        return self.value(measure.value, measure.unit, with_unit=with_unit, beside=beside)

    def about(self, count: int) -> str:
        """A large count in words: '135 million'; a small one as it is."""
        for power, name in ((9, "billion"), (6, "million")):
            if count >= 10**power:
                return self.say(f"number.{name}", count / 10**power, value=self.significant(count / 10**power))
        return self.whole(count)

    def bytes(self, size: int) -> str:
        """Size in decimal units: 98.1 MB, 98,1 Mo."""
        for power, name in ((9, "giga"), (6, "mega"), (3, "kilo")):
            if size >= 10**power:
                return f"{self.number(size / 10**power, 1)}{NO_BREAK}{self.say(f'unit.{name}')}"
        return f"{self.whole(size)}{NO_BREAK}{self.say('unit.byte')}"

    def duration(self, seconds: float) -> str:
        """Hours and minutes, minutes and seconds, or seconds."""
        total = round(seconds)
        if total < 60:
            return f"{self.number(seconds, 1)}{NO_BREAK}s"
        minutes, rest = divmod(total, 60)
        if minutes < 60:
            return f"{minutes}{NO_BREAK}min" + (f"{NO_BREAK}{rest}{NO_BREAK}s" if rest else "")
        return f"{self.whole(minutes // 60)}{NO_BREAK}h{NO_BREAK}{minutes % 60:02d}{NO_BREAK}min"

    def date(self, written: str | None) -> str | None:
        """'22 November 2026' from an ISO date; any other text as it is."""
        if written is None:
            return None
        try:
            day = dt.date.fromisoformat(written[:10])
        except ValueError:
            return written
        number = "1er" if self.code == "fr" and day.day == 1 else str(day.day)
        return f"{number}{NO_BREAK}{self.say(f'month.{day.month}')} {day.year}"

    def join(self, items: Iterable[str]) -> str:
        """'a, b and c'."""
        parts = list(items)
        if len(parts) < 2:
            return "".join(parts)
        return self.say("join", before=", ".join(parts[:-1]), last=parts[-1])

    def list(self, items: Iterable[str]) -> str:
        """'a; b; c', spaced as this language wants."""
        return (NARROW + "; " if self.code == "fr" else "; ").join(items)

    def name(self, prefix: str, key: str) -> str:
        """The person's word for `key` when there is one (`axis.gender`), else `key` as it is."""
        return self.words.get(f"{prefix}.{key}", key)

    def slice_name(self, value: str) -> str:
        """A value of a slice in words, whatever the slice is of: 'gender', 'French', 'new wordings'."""
        found = (self.words.get(f"{prefix}.{value}") for prefix in ("axis", "language", "slice", "stereotyped"))
        return next((said for said in found if said), value)

    def limit(self, written: str) -> str:
        """A limit of a rule as written in a recipe ('2%', '0.5'), with this language's decimal mark."""
        number = written.removesuffix("%").strip()
        if self.code == "fr":
            number = number.replace(".", ",").replace("-", MINUS)
        return number + (NARROW if self.code == "fr" else "") + "%" if written.endswith("%") else number

    def _trim(self, number: str) -> str:
        mark = "," if self.code == "fr" else "."
        return number.rstrip("0").rstrip(mark) if mark in number else number


@cache
def language(code: str) -> Language:
    """The language of code 'en' or 'fr'."""
    path = WORDS / f"{code}.json"
    if not path.is_file():
        known = sorted(p.stem for p in WORDS.glob("*.json"))
        raise LimpideError(f"The documents cannot be written in '{code}'.", received=code, expected=", ".join(known))
    words: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return Language(code, {key: spaced(text) if code == "fr" else text for key, text in words.items()})


def decimals(unit: str, values: Iterable[float]) -> int:
    """Decimals for numbers that are read together: three when all of them are below 0.1, so that small ones show."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    if unit in ("rank", "count"):
        return 0
    if unit in ("bits", "perplexity"):
        return 1
    return 3 if 0 < largest < 0.0995 else 2


def spaced(text: str) -> str:
    """French spacing: no line may break before : ; ! ? % » or after «."""
    text = re.sub(r" ([;!?%])", NARROW + r"\1", text)
    text = re.sub(r" ([:»])", NO_BREAK + r"\1", text)
    return text.replace("« ", "«" + NO_BREAK)


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
