"""The style sheet can be read: contrast of every pair of colours, in both schemes (WCAG 2.1)."""

import re
from itertools import product

import pytest

from dicomnode.web.rendering import FOLDER

SHEET = (FOLDER / "static" / "node.css").read_text(encoding="utf-8")
LIGHT, DARK = re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)[:2]
INKS = ("text", "muted", "accent", "good", "warn", "bad")
GROUNDS = ("page", "panel")
LEAST = 4.5
"""Success criterion 1.4.3."""


def colours(scheme: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink: str, ground: str) -> float:
    dark, light = sorted((luminance(ink), luminance(ground)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_definition() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_ink_is_read_on_every_ground(scheme: str) -> None:
    known = colours(scheme)
    pairs = [*product(INKS, GROUNDS), ("on-accent", "accent")]
    found = {(ink, ground): contrast(known[ink], known[ground]) for ink, ground in pairs}
    assert {pair: ratio for pair, ratio in found.items() if ratio < LEAST} == {}


def test_text_grows_as_a_whole() -> None:
    """Sizes of text are relative, so that 200 % is 200 %."""
    assert not re.search(r"font(-size)?:[^;]*\dpx", SHEET)


def test_the_keyboard_s_place_is_seen() -> None:
    assert ":focus-visible { outline: 3px" in SHEET
    assert not re.search(r"(?<!main):focus[^{]*\{[^}]*outline: none", SHEET)


def test_hints_in_fields_are_read_too() -> None:
    """Browsers have a grey of their own for them, too dark on a dark page."""
    assert "::placeholder { color: var(--muted); opacity: 1; }" in SHEET
