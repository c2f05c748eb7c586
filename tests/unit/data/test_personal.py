"""Personal data: what is found, what is not, and the three policies."""

import pytest

from limpide.data.personal import (
    find_personal,
    iban_is_valid,
    luhn_is_valid,
    mask_personal,
    nir_is_valid,
    shortened,
)

# Documented examples: the SWIFT IBAN registry, INSEE's key example, the test numbers of card networks.
FOUND = [
    ("email", "jean.dupont@exemple.fr"),
    ("email", "j.d+x@mail.example.co.uk"),
    ("phone", "01 23 45 67 89"),
    ("phone", "06.12.34.56.78"),
    ("phone", "0612345678"),
    ("phone", "06\u00a012\u202f34\u00a056\u00a078"),
    ("phone", "+33 6 12 34 56 78"),
    ("phone", "+33 (0)6 12 34 56 78"),
    ("phone", "0033 6 12 34 56 78"),
    ("phone", "+44 20 7946 0958"),
    ("phone", "(555) 123-4567"),
    ("iban", "FR14 2004 1010 0505 0001 3M02 606"),
    ("iban", "FR1420041010050500013M02606"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB29-NWBK-6016-1331-9268-19"),
    ("nir", "2 55 08 14 168 025 38"),
    ("nir", "255081416802538"),
    ("nir", "1 85 05 2A 006 084 35"),
    ("card", "4111 1111 1111 1111"),
    ("card", "4111-1111-1111-1111"),
    ("card", "5555555555554444"),
    ("card", "3782 822463 10005"),
]
NOT_FOUND = [
    "What does E-104 mean?",
    "ref 0123456789",
    "numéro de pièce 0123456789",
    "part 0412-5567-89 or 555-123-4567",
    "2024-05-17 10:15:33, 17/05/2024, 17.05.2024",
    "serial 4111111111111112",
    "IP 192.168.10.20, version 1.2.3.4",
    "VG 46 oil to the 62-litre mark, 0.25 mm, 1 234 567 890",
    "numbers 10 20 30 40 50, +5 °C to +12 °C",
    "EAN 4006381333931, ISBN 978-3-16-148410-0, SIRET 732 829 320 00074",
    "123e4567-e89b-12d3-a456-426614174000",
    "@operator wrote a@b",
    "FR14 2004 1010 0505 0001 3M02 607",
    "2 55 08 14 168 025 39",
]


@pytest.mark.parametrize(("kind", "value"), FOUND)
@pytest.mark.parametrize("around", ["{}", "Call Ann: {}, thanks.", "({})", "to 12 pay\n{}\n3 times"])
def test_found(kind: str, value: str, around: str) -> None:
    text = around.format(value)
    (found,) = find_personal(text)
    assert (found.kind, found.text, text[found.start : found.end]) == (kind, value, value)
    assert mask_personal(text) == (around.format(f"[{kind.upper()}]"), {kind: 1})
    assert value not in shortened(found)


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(text: str) -> None:
    assert find_personal(text) == []


def test_ten_digits_count_where_the_text_says_telephone() -> None:
    assert [f.kind for f in find_personal("tél : 0123456789")] == ["phone"]
    assert [f.kind for f in find_personal("phone 555-123-4567")] == ["phone"]


def test_several_in_order_without_overlap() -> None:
    found = find_personal("a@ex.org, 0612345678 and FR14 2004 1010 0505 0001 3M02 606")
    assert [f.kind for f in found] == ["email", "phone", "iban"]


def test_check_digits() -> None:
    assert iban_is_valid("fr1420041010050500013m02606")
    assert not iban_is_valid("ZZ1420041010050500013M02606")
    assert nir_is_valid("2550814168025", "38")
    # INSEE's own wording for Corsica: the letter counts as 0, then 1,000,000 (A) or 2,000,000 (B) is taken off.
    for letter, less in (("A", 1_000_000), ("B", 2_000_000)):
        key = 97 - (1_850_520_006_084 - less) % 97
        assert nir_is_valid(f"185052{letter}006084", f"{key:02}")
        assert not nir_is_valid(f"185052{letter}006084", f"{key - 1:02}")
    assert luhn_is_valid("79927398713")  # the example of ISO/IEC 7812-1 tutorials
    assert not luhn_is_valid("79927398710")


def test_long_texts_take_linear_time() -> None:
    for text in ("a" * 200_000, "1 " * 100_000, "ab12" * 50_000, "a.b@" * 50_000, "+1 " * 60_000):
        assert find_personal(text) == []
