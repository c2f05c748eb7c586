"""Personal data in text: e-mail, telephone, IBAN, French social security number (NIR), payment card.

Where a format carries check digits they are verified, so that part numbers and fault codes do not match.
Not found: names, addresses, and numbers written in an unusual way. An empty list is not a proof of anonymity.
Sources: ISO 13616 and ISO 7064 (IBAN), ISO/IEC 7812-1 (cards, Luhn), INSEE (NIR), ITU-T E.164 and ARCEP (telephone).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from limpide.core.operation import Settings

Kind = Literal["email", "phone", "iban", "nir", "card"]
KINDS: dict[Kind, str] = {
    "email": "e-mail address",
    "phone": "telephone number",
    "iban": "bank account number (IBAN)",
    "nir": "French social security number",
    "card": "payment card number",
}

# Lengths from the SWIFT IBAN registry; a country that is not here is not recognised.
COUNTRIES_BY_LENGTH = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "PT",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ CY DO GT HU LB PL",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
}
IBAN_LENGTHS = {country: length for length, names in COUNTRIES_BY_LENGTH.items() for country in names.split()}
# Same length, so that places in the result are places in the text.
PLAIN = str.maketrans(
    {"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2007": " ", "\u2010": "-", "\u2011": "-", "\u2013": "-"}
)

NEEDED = re.compile("[@0-9]")  # every form below holds one of these: most texts are done with at once
EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}))")
NIR = re.compile(
    r"(?<![\w])(?<![0-9][ .-])([1-478]) ?([0-9]{2}) ?(0[1-9]|1[0-2]|[2-3][0-9]|4[0-2]|[5-9][0-9]) ?"
    r"([0-9]{2}|2[ABab]) ?([0-9]{3}) ?([0-9]{3}) ?/?([0-9]{2})(?!\w)(?![ .-][0-9])"
)
CARD = re.compile(r"(?<!\w)(?<![0-9][ .,-])[0-9](?:[ -]?[0-9]){12,18}(?!\w)(?![ .,-][0-9])")
FRENCH_PHONE = re.compile(
    r"(?<![\w/+])(?<![0-9][ .,-])0[1-9](?:([ .-]?)[0-9]{2})(?:\1[0-9]{2}){3}(?!\w)(?![ .,/-][0-9])"
)
COUNTRY = (
    "(?:1|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|2[1-69][0-9]|3[578][0-9]|42[013]|50[0-9]|59[0-9]"
    "|6[789][0-9]|85[02356]|88[06]|96[0-8]|97[0-7]|99[2-68])"
)
WORLD_PHONE = re.compile(
    rf"(?<![\w+])(?:\+|00 ?(?=3[0-9]|4[0-9])){COUNTRY}[ .-]?(?:\([0-9]{{1,4}}\)[ .-]?)?"
    r"[0-9](?:[ .-]?[0-9]){5,11}(?!\w)(?![ .,-][0-9])"
)
LOCAL_PHONE = re.compile(
    r"(?<![\w+])(?<![0-9][ .,-])(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}(?!\w)(?![ .,-][0-9])"
)
PHONE_WORD = re.compile(
    r"\b(?:t[ée]l(?:[ée]phone)?|portable|mobile|phone|call|fax|appel(?:ez|er)?|joindre)\b", re.IGNORECASE
)
PHONE_WORD_WITHIN = 20  # characters before the number


@dataclass(frozen=True)
class Found:
    """One piece of personal data: text[start:end] of the text searched."""

    kind: Kind
    start: int
    end: int
    text: str


class Allow(Settings):
    """Personal data, or secrets, are kept in the examples, for a reason that the documents quote."""

    allow: str = Field(min_length=10, description="why they may be learnt by the model, in a sentence")


Policy = Literal["refuse", "mask"] | Allow


def find_personal(text: str) -> list[Found]:
    """Personal data in `text`, by place, without overlap; of two readings of one place, the one with check digits."""
    if NEEDED.search(text) is None:
        return []
    plain = text.translate(PLAIN)
    found: list[Found] = []
    searches: list[tuple[Kind, Iterator[tuple[int, int]]]] = [
        ("iban", _ibans(plain)),
        ("nir", _nirs(plain)),
        ("card", _cards(plain)),
        ("email", ((m.start(), m.end()) for m in EMAIL.finditer(plain))),
        ("phone", _phones(plain)),
    ]
    for kind, places in searches:
        for start, end in places:
            if all(end <= other.start or start >= other.end for other in found):
                found.append(Found(kind, start, end, text[start:end]))
    return sorted(found, key=lambda f: f.start)


def mask_personal(text: str) -> tuple[str, Counter[Kind]]:
    """The text with each piece replaced by its kind, as in `[EMAIL]`, and how many of each.

    Masking twice changes nothing: `find_personal` finds nothing in the result.
    """
    counts: Counter[Kind] = Counter()
    while found := find_personal(text):
        counts.update(f.kind for f in found)
        for f in reversed(found):
            text = f"{text[: f.start]}[{f.kind.upper()}]{text[f.end :]}"
    return text, counts


def mask_values(value: Any) -> Any:
    """The value with every text in it masked, however deep in lists and mappings; numbers and keys stay."""
    if isinstance(value, str):
        return mask_personal(value)[0]
    if isinstance(value, Mapping):
        return {key: mask_values(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask_values(inside) for inside in value]
    return value


def shortened(found: Found) -> str:
    """Enough of the value to recognise it where it stands, never the value: 'j…@…fr', '06…78'."""
    if found.kind == "email":
        return f"{found.text[0]}…@…{found.text.rsplit('.', 1)[-1]}"
    return f"{found.text[:2]}…{found.text[-2:]}"


def iban_is_valid(compact: str) -> bool:
    """Country, length and check digits (ISO 7064 mod 97-10) of an IBAN without spaces."""
    compact = compact.upper()
    if not compact.isascii() or not compact.isalnum() or IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def nir_is_valid(number: str, key: str) -> bool:
    """Whether key = 97 − number mod 97. number: 13 characters; Corsica counts as 2A → 19, 2B → 18 (INSEE)."""
    digits = number.upper().replace("2A", "19").replace("2B", "18")
    return digits.isdecimal() and int(key) == 97 - int(digits) % 97


def luhn_is_valid(digits: str) -> bool:
    """Luhn check of a string of digits, the last being the check digit (ISO/IEC 7812-1, annex B)."""
    doubled = (int(c) * (1 + i % 2) for i, c in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in IBAN.finditer(text):
        start, end = match.span(1)
        length = IBAN_LENGTHS.get(text[start : start + 2].upper())
        places = [i for i in range(start, end) if text[i] not in " -"]
        if length is None or len(places) < length:
            continue
        end = places[length - 1] + 1
        if not text[end : end + 1].isalnum() and iban_is_valid("".join(text[i] for i in places[:length])):
            yield start, end


def _nirs(text: str) -> Iterator[tuple[int, int]]:
    for match in NIR.finditer(text):
        if nir_is_valid("".join(match.groups()[:6]), match.group(7)):
            yield match.start(), match.end()


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in CARD.finditer(text):
        groups = re.split("[ -]", match.group())
        grouped = len(groups) == 1 or (len(groups[0]) == 4 and all(3 <= len(g) <= 6 for g in groups))
        digits = "".join(groups)
        if grouped and _is_card_range(digits) and luhn_is_valid(digits):
            yield match.start(), match.end()


def _is_card_range(digits: str) -> bool:
    """Issuer prefix and length of Visa, Mastercard, American Express, Discover, UnionPay, Diners Club and JCB."""
    n, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return n in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return n == 16
    if two in (34, 37):
        return n == 15
    if 300 <= three <= 305 or two in (36, 38, 39):
        return n == 14
    return 16 <= n <= 19 and (four == 6011 or 644 <= three <= 649 or two in (62, 65) or 3528 <= four <= 3589)


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for match in FRENCH_PHONE.finditer(text):
        # Ten digits in a row are a telephone number when they are a mobile's or when the text says so.
        if match.group(1) or match.group()[:2] in ("06", "07") or _is_said_a_phone(text, match.start()):
            yield match.start(), match.end()
    for match in WORLD_PHONE.finditer(text):
        if 9 <= sum(c.isdigit() for c in match.group()) <= 17:
            yield match.start(), match.end()
    for match in LOCAL_PHONE.finditer(text):
        if match.group().startswith("(") or _is_said_a_phone(text, match.start()):
            yield match.start(), match.end()


def _is_said_a_phone(text: str, start: int) -> bool:
    return PHONE_WORD.search(text, max(0, start - PHONE_WORD_WITHIN), start) is not None
