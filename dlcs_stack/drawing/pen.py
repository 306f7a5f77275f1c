"""A broad-nibbed pen and the letters of a formal book hand written with it.

Letters are poly-lines on a grid whose unit is the height of an x: the baseline is y = 0, y grows upwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Point = tuple[float, float]
Strokes = tuple[tuple[Point, ...], ...]

NIB_ANGLE: Final = math.radians(38)
NIB_WIDTH: Final = 0.2  # of the x-height
LETTER_GAP: Final = 0.17


@dataclass(frozen=True)
class Letter:
    """One letter: its strokes, and how wide it is without the gap that follows."""

    strokes: Strokes
    width: float


@dataclass(frozen=True)
class Pen:
    """Writes on a drawing with a nib held at a fixed angle, which makes the strokes thick and thin."""

    draw: ImageDraw
    x_height: float  # pixels
    colour: int = 255

    def stroke(self, points: Sequence[Point], nib: float = NIB_WIDTH) -> None:
        """Pull the nib (its width in x-heights) along the points (pixels, y downwards)."""
        reach = nib * self.x_height / 2
        dx, dy = math.cos(NIB_ANGLE) * reach, -math.sin(NIB_ANGLE) * reach
        for (x0, y0), (x1, y1) in pairwise(points):
            corners = [(x0 - dx, y0 - dy), (x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy)]
            self.draw.polygon(corners, fill=self.colour, outline=self.colour)

    def letter(self, letter: Letter, x: float, baseline: float, nib: float = NIB_WIDTH) -> float:
        """Write a letter; return where the next one starts (pixels)."""
        for stroke in letter.strokes:
            self.stroke([(x + px * self.x_height, baseline - py * self.x_height) for px, py in stroke], nib)
        return x + (letter.width + LETTER_GAP) * self.x_height

    def word(self, text: str, x: float, baseline: float, random: Random) -> float:
        """Write a word with the small unevenness of a hand; return where it ends (pixels)."""
        start = x
        for character in text:
            wobble = random.gauss(0, 0.015) * self.x_height
            x = self.letter(LETTERS[character], x, baseline + wobble) + random.gauss(0, 0.02) * self.x_height
        if len(text) > 4 and random.random() < 0.15:  # noqa: PLR2004 (longer words are abbreviated now and then)
            middle, above = (start + x) / 2, baseline - 1.45 * self.x_height
            half = 0.35 * self.x_height
            self.stroke([(middle - half, above), (middle + half, above)], NIB_WIDTH * 0.7)
        return x - LETTER_GAP * self.x_height


def width_of(text: Iterable[str]) -> float:
    """Return the width of a word, in x-heights."""
    return sum(LETTERS[character].width + LETTER_GAP for character in text) - LETTER_GAP


def invented_word(random: Random) -> str:
    """Return a word that sounds like Latin and means nothing."""
    if random.random() < 0.22:  # noqa: PLR2004 (about as often as small words come in prose)
        return random.choice(_SMALL_WORDS)
    syllables = random.choices((1, 2, 3), weights=(3, 5, 2))[0]
    stem = "".join(random.choice(_ONSETS) + random.choice("aeiou") for _ in range(syllables))
    return stem + random.choice(_ENDINGS)


_ONSETS: Final = ("c", "d", "f", "g", "l", "m", "n", "p", "q", "r", "s", "t", "b", "h", "tr", "pr", "st", "")
_ENDINGS: Final = ("s", "m", "t", "nt", "r", "us", "um", "is", "em", "e", "o", "rum")
_SMALL_WORDS: Final = ("et", "in", "ad", "non", "cum", "de", "est", "ut", "a", "per", "qui", "sed")


def _minim(x: float) -> tuple[Point, ...]:
    return ((x - 0.1, 0.84), (x, 0.96), (x, 0.12), (x + 0.13, 0.02))


_BOWL: Final = ((0.0, 0.85), (0.16, 1.0), (0.32, 0.8), (0.32, 0.2), (0.15, 0.0), (0.0, 0.12))
_ROUND: Final = ((0.3, 0.86), (0.14, 1.0), (0.0, 0.8), (0.0, 0.18), (0.14, 0.0), (0.32, 0.12))
_LONG_S: Final = ((0.0, 0.0), (0.0, 1.3), (0.12, 1.5), (0.3, 1.42))

LETTERS: Final[dict[str, Letter]] = {
    "a": Letter((((0.0, 0.82), (0.12, 0.98), (0.3, 0.86), (0.3, 0.1), (0.42, 0.02)),
                 ((0.3, 0.56), (0.02, 0.42), (0.02, 0.14), (0.12, 0.0), (0.3, 0.14))), 0.38),
    "b": Letter((((0.0, 1.6), (0.0, 0.06)), _BOWL), 0.36),
    "c": Letter((_ROUND,), 0.3),
    "d": Letter((((0.32, 0.8), (0.32, 0.2), (0.15, 0.0), (0.0, 0.16), (0.0, 0.8), (0.14, 0.98),
                  (0.32, 0.8), (0.0, 1.4)),),
                0.36),
    "e": Letter((_ROUND, ((0.02, 0.46), (0.3, 0.7), (0.28, 0.9))), 0.32),
    "f": Letter((_LONG_S, ((-0.08, 0.94), (0.26, 0.94))), 0.28),
    "g": Letter((((0.3, 0.88), (0.12, 1.0), (0.0, 0.8), (0.0, 0.34), (0.14, 0.2), (0.3, 0.34)),
                 ((0.32, 0.98), (0.32, -0.2), (0.16, -0.42), (-0.06, -0.32), (0.06, -0.14), (0.32, -0.16))), 0.36),
    "h": Letter((((0.0, 1.6), (0.0, 0.0)),
                 ((0.0, 0.82), (0.16, 1.0), (0.32, 0.82), (0.32, 0.08), (0.16, -0.25))), 0.36),
    "i": Letter((_minim(0.0),), 0.12),
    "l": Letter((((0.0, 1.6), (0.0, 0.14), (0.14, 0.02)),), 0.14),
    "m": Letter((_minim(0.0), _minim(0.33), _minim(0.66)), 0.78),
    "n": Letter((_minim(0.0), _minim(0.33)), 0.45),
    "o": Letter((((0.0, 0.82), (0.0, 0.18), (0.15, 0.0), (0.32, 0.18), (0.32, 0.82), (0.16, 1.0), (0.0, 0.82)),), 0.34),
    "p": Letter((((-0.08, 0.86), (0.0, 0.96), (0.0, -0.6)), _BOWL), 0.36),
    "q": Letter((((0.32, 0.86), (0.16, 1.0), (0.0, 0.8), (0.0, 0.18), (0.14, 0.0), (0.32, 0.14)),
                 ((0.32, 0.98), (0.32, -0.6))), 0.36),
    "r": Letter((_minim(0.0), ((0.04, 0.84), (0.18, 0.98), (0.28, 0.86))), 0.27),
    "s": Letter((((0.3, 0.88), (0.12, 1.0), (0.0, 0.78), (0.28, 0.36), (0.2, 0.02), (0.0, 0.1)),), 0.3),
    "t": Letter((((0.04, 1.18), (0.04, 0.14), (0.16, 0.0), (0.28, 0.06)), ((-0.06, 0.94), (0.26, 0.94))), 0.26),
    "u": Letter((_minim(0.0), _minim(0.33)), 0.45),
}  # fmt: skip
