"""What the illuminator added: initials with pen flourishes, borders, miniatures. Drawn straight onto the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Colour = tuple[int, int, int]

RED: Final[Colour] = (176, 44, 32)
BLUE: Final[Colour] = (38, 66, 134)
GOLD: Final[Colour] = (206, 158, 52)
PALE_GOLD: Final[Colour] = (232, 198, 104)
GREEN: Final[Colour] = (72, 110, 62)
ROSE: Final[Colour] = (196, 112, 104)
WHITE: Final[Colour] = (240, 232, 214)
INK: Final[Colour] = (52, 36, 26)


@dataclass(frozen=True)
class Illuminator:
    """Paints on one page. `unit` is a thousandth of the page's height, in pixels."""

    draw: ImageDraw
    unit: float
    random: Random

    def initial(self, box: Box, *, colour: Colour, grand: bool) -> None:
        """Paint an initial that fills the box; a grand one stands in gold on a painted ground."""
        left, top, right, bottom = box
        if grand:
            self.draw.rectangle(box, fill=GOLD, outline=INK, width=self._line(1))
            inset = 2.2 * self.unit
            ground = (left + inset, top + inset, right - inset, bottom - inset)
            self.draw.rectangle(ground, fill=BLUE if colour == RED else RED)
            self._vine((ground[0], ground[1], ground[2], ground[3]))
            margin = 0.14 * (right - left)
            self._letter((left + margin, top + margin, right - margin, bottom - margin), PALE_GOLD)
        else:
            self._letter(box, colour)
            self._flourish(box, BLUE if colour == RED else RED)

    def border(self, box: Box) -> None:
        """Paint a vine with leaves and gold along the longer side of the box."""
        left, top, right, bottom = box
        upright = bottom - top > right - left
        length, depth = (bottom - top, right - left) if upright else (right - left, bottom - top)
        steps = max(8, int(length / (3 * self.unit)))
        waves = max(2, round(length / (depth * 2.2)))
        phase = self.random.uniform(0, math.tau)

        def at(along: float, across: float) -> tuple[float, float]:
            middle = depth / 2 + across
            return (left + middle, top + along) if upright else (left + along, top + middle)

        def stem(along: float) -> float:
            return math.sin(along / length * waves * math.tau + phase) * depth * 0.3

        points = [at(length * i / steps, stem(length * i / steps)) for i in range(steps + 1)]
        self.draw.line(points, fill=GREEN, width=self._line(2.2), joint="curve")
        for i in range(1, steps, 3):
            along = length * i / steps
            side = self.random.choice((1, -1))
            across = stem(along) + side * depth * self.random.uniform(0.16, 0.3)
            tip = at(along + self.random.uniform(-2, 2) * self.unit, max(-depth / 2, min(depth / 2, across)))
            self.draw.line([at(along, stem(along)), tip], fill=INK, width=self._line(0.6))
            self._leaf(tip, self.random.choice((RED, BLUE, GREEN, ROSE, GOLD, GOLD)))

    def miniature(self, box: Box, scene: int) -> None:
        """Paint a framed scene: a chequered gold sky, hills, and a town, a ship or an orchard, by number."""
        left, top, right, bottom = box
        for inset, colour in ((0.0, INK), (1.2, GOLD), (4.5, RED), (7.0, BLUE), (9.0, GOLD), (10.0, INK)):
            d = inset * self.unit
            self.draw.rectangle((left + d, top + d, right - d, bottom - d), fill=colour)
        d = 11 * self.unit
        view = (left + d, top + d, right - d, bottom - d)
        self._chequers(view)
        self._hill(view, 0.62, (104, 138, 110))
        (self._town, self._ship, self._orchard)[scene % 3](view)

    def _letter(self, box: Box, colour: Colour) -> None:
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        stem = 0.2 * width
        shape = self.random.choice("DOPECI")
        if shape == "I":
            middle = (left + right) / 2
            self.draw.rectangle((middle - stem * 0.7, top, middle + stem * 0.7, bottom), fill=colour)
            self.draw.ellipse(
                (middle - stem * 1.2, top + 0.4 * height, middle + stem * 1.2, top + 0.6 * height), fill=colour
            )
            return
        foot = top + 0.6 * height if shape == "P" else bottom
        bow = (left + (0 if shape in "OEC" else 0.1 * width), top, right, foot)
        start, end = (45, 315) if shape in "EC" else (0, 360)
        for i in range(max(2, int(stem))):  # a bow that swells in the middle: rings, each a little narrower
            swell = i * 0.9
            self.draw.arc(
                (bow[0] + swell, bow[1] + i * 0.28, bow[2] - swell, bow[3] - i * 0.28), start, end, fill=colour, width=3
            )
        if shape in "DP":
            self.draw.rectangle((left, top, left + stem, bottom), fill=colour)
        if shape == "E":
            self.draw.rectangle((left + stem, top + 0.46 * height, right - stem, top + 0.53 * height), fill=colour)

    def _flourish(self, box: Box, colour: Colour) -> None:
        left, top, _, bottom = box
        thin = self._line(0.7)
        for strand in range(4):
            x = left - (3 + 2.2 * strand) * self.unit
            start, end = top - strand * 5 * self.unit, bottom + (20 + 22 * strand) * self.unit
            points = []
            for i in range(41):
                y = start + (end - start) * i / 40
                points.append((x + math.sin(i / 5 + strand) * 1.6 * self.unit, y))
            self.draw.line(points, fill=colour, width=thin, joint="curve")
            radius = 2.2 * self.unit
            self.draw.arc((x - 2 * radius, end - radius, x, end + radius), 0, 300, fill=colour, width=thin)
        for bead in range(5):
            y, radius = top + (bottom - top) * (bead + 0.5) / 5, 1.8 * self.unit
            x = left - 4 * self.unit
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=thin)

    def _vine(self, box: Box) -> None:
        left, top, right, bottom = box
        for _ in range(7):
            x, y = self.random.uniform(left, right), self.random.uniform(top, bottom)
            r = self.random.uniform(0.08, 0.2) * (right - left)
            x, y = max(left + r, min(right - r, x)), max(top + r, min(bottom - r, y))
            for turn in (1.0, 0.6, 0.25):
                spiral = (x - r * turn, y - r * turn, x + r * turn, y + r * turn)
                self.draw.arc(spiral, 0, 290, fill=WHITE, width=self._line(0.8))

    def _leaf(self, tip: tuple[float, float], colour: Colour) -> None:
        x, y = tip
        r = self.random.uniform(1.8, 3.4) * self.unit
        lobes: Sequence[tuple[float, float]] = ((0.0, 0.0),) if colour == GOLD else ((0, -0.7), (-0.7, 0.4), (0.7, 0.4))
        for dx, dy in lobes:
            cx, cy = x + dx * r, y + dy * r
            self.draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=colour, outline=INK, width=self._line(0.4))

    def _chequers(self, box: Box) -> None:
        left, top, right, bottom = box
        self.draw.rectangle(box, fill=GOLD)
        step = 9 * self.unit
        for row in range(int((bottom - top) / step) + 1):
            for column in range(int((right - left) / step) + 1):
                x, y = left + column * step, top + row * step
                x1, y1 = min(x + step, right), min(y + step, bottom)
                if (row + column) % 2 and x1 > x and y1 > y:
                    self.draw.rectangle((x, y, x1, y1), fill=BLUE if row % 2 else ROSE)
        for row in range(1, int((bottom - top) / step)):
            for column in range(1, int((right - left) / step)):
                x, y, r = left + column * step, top + row * step, 1.1 * self.unit
                self.draw.ellipse((x - r, y - r, x + r, y + r), fill=PALE_GOLD)

    def _hill(self, box: Box, height: float, colour: Colour) -> None:
        left, top, right, bottom = box
        phase = self.random.uniform(0, 6)
        crest = [
            (left + (right - left) * i / 30, top + (bottom - top) * (height + 0.05 * math.sin(i / 4 + phase)))
            for i in range(31)
        ]
        self.draw.polygon([*crest, (right, bottom), (left, bottom)], fill=colour, outline=INK)

    def _town(self, box: Box) -> None:
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        for tower in range(6):
            x = left + width * (0.14 + 0.125 * tower)
            y = top + height * self.random.uniform(0.22, 0.5)
            w, foot = width * 0.1, top + height * 0.74
            wall, roof = self.random.choice((WHITE, ROSE, (206, 190, 160))), self.random.choice((BLUE, RED))
            self.draw.rectangle((x, y, x + w, foot), fill=wall, outline=INK, width=self._line(0.7))
            peak = [(x - w * 0.15, y), (x + w / 2, y - w * 1.1), (x + w * 1.15, y)]
            self.draw.polygon(peak, fill=roof, outline=INK)
            for floor in range(3):
                wy = y + (foot - y) * (0.18 + 0.25 * floor)
                self.draw.rectangle((x + w * 0.4, wy, x + w * 0.6, wy + w * 0.3), fill=INK)
        self._hill(box, 0.74, GREEN)

    def _ship(self, box: Box) -> None:
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        self._hill(box, 0.68, (58, 98, 140))
        x, y, w = left + width * 0.28, top + height * 0.68, width * 0.46
        hull = [
            (x - w * 0.06, y - w * 0.16),
            (x + w * 0.14, y + w * 0.12),
            (x + w * 0.86, y + w * 0.12),
            (x + w * 1.06, y - w * 0.16),
        ]
        mast = x + w / 2
        self.draw.line([(mast, y), (mast, top + height * 0.14)], fill=INK, width=self._line(2))
        sail = [(mast, top + height * 0.18), (mast + w * 0.42, y - w * 0.22), (mast - w * 0.36, y - w * 0.2)]
        self.draw.polygon(sail, fill=WHITE, outline=INK)
        self.draw.line([sail[0], ((sail[1][0] + sail[2][0]) / 2, sail[1][1])], fill=RED, width=self._line(3))
        self.draw.polygon([*hull], fill=(122, 78, 44), outline=INK)
        self._hill(box, 0.84, (44, 80, 124))

    def _orchard(self, box: Box) -> None:
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        self._hill(box, 0.7, GREEN)
        for tree in range(4):
            x, foot = left + width * (0.16 + 0.23 * tree), top + height * self.random.uniform(0.74, 0.86)
            crown, r = foot - height * 0.36, width * 0.1
            self.draw.line([(x, foot), (x, crown)], fill=(98, 62, 36), width=self._line(4))
            self.draw.ellipse((x - r, crown - r, x + r, crown + r), fill=(54, 92, 50), outline=INK)
            for _ in range(12):
                angle, far = self.random.uniform(0, math.tau), r * self.random.uniform(0.1, 0.8)
                fx, fy, fr = x + math.cos(angle) * far, crown + math.sin(angle) * far, 2 * self.unit
                self.draw.ellipse((fx - fr, fy - fr, fx + fr, fy + fr), fill=self.random.choice((RED, PALE_GOLD)))

    def _line(self, units: float) -> int:
        return max(1, round(units * self.unit))
