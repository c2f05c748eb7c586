"""The colours of the studio, and the labels that no line may cut in two."""

import re
from pathlib import Path

import pytest

import limpide.studio

LOOK = (Path(limpide.studio.__file__).parent / "look.css").read_text(encoding="utf-8")


def colour(name: str, theme: int) -> str:
    found = re.search(rf"--{name}: light-dark\((#\w{{6}}), (#\w{{6}})\)", LOOK)
    assert found is not None, name
    return found[1 + theme]


def luminance(colour: str) -> float:
    """Relative luminance. Source: WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["positive", "negative", "warning", "info"])
def test_a_message_can_be_read_in_both_themes(kind: str, theme: int) -> None:
    """Quasar writes it in --q-dark on the colour of its kind."""
    behind, text = (re.search(rf"--q-{name}: var\(--(\w+)\) !important", LOOK) for name in (kind, "dark"))
    assert behind is not None, "Quasar's own colour is left"
    assert text is not None
    light, dark = sorted((luminance(colour(one[1], theme)) for one in (behind, text)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
