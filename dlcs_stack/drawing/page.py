"""Composes one page: ground, ruling, two columns of script or music, initials, ornament, folio number."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final

from dlcs_stack.drawing.ornament import BLUE, INK, RED, Colour, Illuminator
from dlcs_stack.drawing.parchment import add_grain, fading, parchment
from dlcs_stack.drawing.pen import LETTER_GAP, Pen, invented_word, width_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

LARGEST_DRAWN: Final = 2600  # pixels of height; larger pages are enlarged from it and get their grain afterwards
LINES: Final = 34
WORD_GAP: Final = 0.62  # x-heights
RULING: Final[Colour] = (168, 132, 110)


class Layout(StrEnum):
    """What a page shows in addition to its script."""

    TEXT = "text"
    BORDER = "border"
    MINIATURE = "miniature"
    MUSIC = "music"


@dataclass(frozen=True)
class _Column:
    left: float
    right: float
    top: float
    line: float  # pixels from one baseline to the next

    def baseline(self, line: int) -> float:
        return self.top + (line + 0.72) * self.line


def draw_page(width: int, height: int, *, folio: int, recto: bool, layout: Layout, seed: int) -> Image:
    """Return a page as an RGB image of `width` x `height` pixels; the same arguments give the same pixels."""
    from PIL import Image, ImageChops, ImageDraw, ImageFilter

    random = Random(seed)  # noqa: S311 (pictures, not secrets)
    down = min(height, LARGEST_DRAWN)
    across = max(1, round(width * down / height))
    page = parchment(across, down, recto=recto, random=random)
    paint = ImageDraw.Draw(page)
    writing = Image.new("L", (across, down), 0)
    rubric = Image.new("L", (across, down), 0)
    scribe = _Scribe(
        black=ImageDraw.Draw(writing),
        red=ImageDraw.Draw(rubric),
        illuminator=Illuminator(paint, down / 1000, random),
        random=random,
    )
    scribe.lay_out(paint, across, down, recto=recto, layout=layout, folio=folio)

    # What was written on the other side shines through, mirrored.
    shadow = writing.transpose(Image.Transpose.FLIP_LEFT_RIGHT).filter(ImageFilter.BoxBlur(max(1, down // 900)))
    page.paste((150, 118, 84), mask=shadow.point(lambda value: value * 0.16))
    ink = ImageChops.multiply(writing, fading(across, down, random))
    page.paste(random.choice((INK, (64, 42, 26), (44, 36, 32))), mask=ink.point(lambda value: value * 0.93))
    page.paste(RED, mask=rubric.point(lambda value: value * 0.9))
    if (across, down) != (width, height):
        page = page.resize((width, height), Image.Resampling.BICUBIC)
    return add_grain(page, random)


@dataclass(frozen=True)
class _Scribe:
    black: ImageDraw
    red: ImageDraw
    illuminator: Illuminator
    random: Random

    def lay_out(self, paint: ImageDraw, width: int, height: int, *, recto: bool, layout: Layout, folio: int) -> None:
        inner, outer = 0.13 * width, 0.17 * width
        left, right = (inner, width - outer) if recto else (outer, width - inner)
        top, bottom, between = 0.1 * height, 0.86 * height, 0.05 * width
        middle = (left + right) / 2
        line = (bottom - top) / LINES
        columns = [
            _Column(left, middle - between / 2, top, line),
            _Column(middle + between / 2, right, top, line),
        ]
        for column in columns:
            self._rule(paint, column, width, height)
        pen = Pen(self.black, line * 0.36)
        first_lines = [0, 0]
        if layout is Layout.MINIATURE:
            rows = 14
            box = (columns[0].left, top, columns[1].right, top + (rows - 0.6) * line)
            self.illuminator.miniature(box, scene=folio)
            first_lines = [rows, rows]
        for column, first in zip(columns, first_lines, strict=True):
            if layout is Layout.MUSIC:
                self._music(pen, column)
            else:
                self._text(pen, column, first, grand=layout is not Layout.TEXT and column is columns[0])
        if layout in (Layout.BORDER, Layout.MINIATURE):
            unit = height / 1000
            outer_edge = (right + 14 * unit, right + 64 * unit) if recto else (left - 64 * unit, left - 14 * unit)
            self.illuminator.border((outer_edge[0], top - 20 * unit, outer_edge[1], bottom + 60 * unit))
            self.illuminator.border((left, bottom + 18 * unit, right, bottom + 62 * unit))
        if recto:
            self._folio(folio, right, 0.06 * height, line)
        self._heading(columns, 0.075 * height, line)

    def _rule(self, paint: ImageDraw, column: _Column, width: int, height: int) -> None:
        thin = max(1, height // 2000)
        for x in (column.left, column.right):
            paint.line([(x, 0.03 * height), (x, 0.97 * height)], fill=RULING, width=thin)
        for number in range(LINES):
            y = column.baseline(number)
            paint.line([(column.left, y), (column.right, y)], fill=RULING, width=thin)
        for y in (column.baseline(0), column.baseline(LINES - 1)):
            paint.line([(0.04 * width, y), (0.96 * width, y)], fill=RULING, width=thin)

    def _text(self, pen: Pen, column: _Column, first: int, *, grand: bool) -> None:
        """Fill a column with paragraphs, each with an initial."""
        line, colour = first, self.random.choice((RED, BLUE))
        while line < LINES:
            paragraph = min(self.random.randint(6, 13), LINES - line)
            tall = min(paragraph, 6 if grand else self.random.choice((2, 2, 3)))
            size = tall * column.line
            box_top = column.baseline(line) - 0.66 * column.line
            box = (column.left, box_top, column.left + size * 0.92, box_top + size - 0.24 * column.line)
            self.illuminator.initial(box, colour=colour, grand=grand)
            for row in range(paragraph):
                start = box[2] + 0.5 * pen.x_height if row < tall else column.left
                last = row == paragraph - 1
                end = (
                    column.left + (column.right - column.left) * self.random.uniform(0.35, 0.9)
                    if last
                    else column.right
                )
                self._line(pen, start, max(end, start + 6 * pen.x_height), column.baseline(line + row), full=not last)
                if last:
                    self._line(
                        Pen(self.red, pen.x_height),
                        max(end, start + 6 * pen.x_height) + pen.x_height,
                        column.right,
                        column.baseline(line + row),
                        full=False,
                    )
            line += paragraph
            colour, grand = (BLUE if colour == RED else RED), False

    def _line(self, pen: Pen, left: float, right: float, baseline: float, *, full: bool) -> None:
        """Write words from `left` to `right`; a full line is justified."""
        words: list[str] = []
        room = (right - left) / pen.x_height
        used = 0.0
        while True:
            word = invented_word(self.random)
            wanted = width_of(word) + (WORD_GAP if words else 0)
            if used + wanted > room:
                break
            words.append(word)
            used += wanted
        gap = WORD_GAP * pen.x_height
        if full and len(words) > 1:
            gap += (room - used) * pen.x_height / (len(words) - 1)
        x = left
        for word in words:
            if self.random.random() < 0.06:  # noqa: PLR2004 (capitals are touched with red now and then)
                self.red.line(
                    [(x, baseline), (x, baseline - 1.2 * pen.x_height)], fill=200, width=max(1, int(pen.x_height / 5))
                )
            x = pen.word(word, x, baseline, self.random) + gap

    def _music(self, pen: Pen, column: _Column) -> None:
        """Four-line staves with square notes, and a line of text under each."""
        staff_rows = 4
        thin = max(1, int(column.line / 22))
        for top_row in range(0, LINES - 3, staff_rows):
            top = column.baseline(top_row) - 0.3 * column.line
            step = column.line * 0.52
            for number in range(4):
                y = top + number * step
                self.red.line([(column.left, y), (column.right, y)], fill=220, width=thin)
            x, place = column.left + step * 1.6, self.random.randint(0, 6)
            while x < column.right - step:
                place = max(0, min(6, place + self.random.choice((-2, -1, -1, 0, 1, 1, 2))))
                y, half = top + place * step / 2, step * 0.3
                self.black.rectangle((x - half, y - half, x + half, y + half), fill=255)
                if self.random.random() < 0.3:  # noqa: PLR2004 (some notes have a tail)
                    self.black.line([(x + half, y), (x + half, y + step * 1.3)], fill=255, width=thin)
                x += step * self.random.choice((0.75, 1.1, 1.5, 2.2))
            baseline = column.baseline(top_row + 2)
            self._line(pen, column.left, column.right, baseline + 0.3 * column.line, full=True)
        size = 2.6 * column.line
        y = column.baseline(0) - 0.55 * column.line
        self.illuminator.initial(
            (column.left - size * 0.5, y, column.left + size * 0.4, y + size), colour=RED, grand=False
        )

    def _heading(self, columns: list[_Column], baseline: float, line: float) -> None:
        pen = Pen(self.red, line * 0.36)
        for column in columns:
            words = [invented_word(self.random) for _ in range(2)]
            wide = (sum(map(width_of, words)) + WORD_GAP) * pen.x_height
            x = (column.left + column.right - wide) / 2
            for word in words:
                x = pen.word(word, x, baseline, self.random) + WORD_GAP * pen.x_height

    def _folio(self, folio: int, right: float, baseline: float, line: float) -> None:
        """Write the number of the leaf, in a later hand."""
        pen = Pen(self.black, line * 0.3, colour=190)
        x = right + line
        for digit in str(folio):
            for stroke in _DIGITS[digit]:
                points = [(x + px * pen.x_height, baseline - py * pen.x_height) for px, py in stroke]
                pen.stroke(points, 0.1)
            x += (0.9 + LETTER_GAP) * pen.x_height


_DIGITS: Final = {
    "0": (((0.4, 1.6), (0.0, 1.2), (0.0, 0.4), (0.4, 0.0), (0.8, 0.4), (0.8, 1.2), (0.4, 1.6)),),
    "1": (((0.2, 1.3), (0.45, 1.6), (0.45, 0.0)),),
    "2": (((0.0, 1.3), (0.4, 1.6), (0.8, 1.2), (0.0, 0.0), (0.8, 0.0)),),
    "3": (((0.0, 1.5), (0.7, 1.5), (0.3, 0.9), (0.8, 0.5), (0.4, 0.0), (0.0, 0.2)),),
    "4": (((0.6, 0.0), (0.6, 1.6), (0.0, 0.5), (0.9, 0.5)),),
    "5": (((0.7, 1.6), (0.1, 1.6), (0.1, 0.9), (0.6, 0.9), (0.8, 0.4), (0.4, 0.0), (0.0, 0.1)),),
    "6": (((0.7, 1.5), (0.2, 1.1), (0.0, 0.4), (0.4, 0.0), (0.8, 0.4), (0.4, 0.8), (0.0, 0.5)),),
    "7": (((0.0, 1.6), (0.8, 1.6), (0.2, 0.0)),),
    "8": (((0.4, 0.85), (0.05, 1.2), (0.4, 1.6), (0.75, 1.2), (0.0, 0.4), (0.4, 0.0), (0.8, 0.4), (0.4, 0.85)),),
    "9": (((0.8, 1.1), (0.4, 0.8), (0.0, 1.2), (0.4, 1.6), (0.8, 1.2), (0.6, 0.0)),),
}
