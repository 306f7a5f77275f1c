"""Where one looks in a picture: which part is shown, how large, and which parts are next to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.view.pictures import Region

WINDOW: Final = Size(1200, 800)  # pixels on the screen


@dataclass(frozen=True, slots=True)
class View:
    """A window on a picture. At level n a pixel on the screen is 2**n pixels of the picture; x and y are its middle."""

    size: Size
    level: int
    x: int
    y: int

    @classmethod
    def of(cls, size: Size, level: int | None, x: int | None, y: int | None) -> View:
        """Return the view that is asked for, as far as there is one; without a level all of the picture."""
        whole = lowest(size)
        chosen = whole if level is None else min(level, whole)
        middle = (size.width // 2 if x is None else x, size.height // 2 if y is None else y)
        return cls(size, chosen, *middle).inside()

    @property
    def seen(self) -> Size:
        """How much of the picture is seen, in its own pixels."""
        return Size(
            min(WINDOW.width << self.level, self.size.width), min(WINDOW.height << self.level, self.size.height)
        )

    @property
    def region(self) -> Region:
        """The part that is seen, and how large it is shown."""
        seen = self.seen
        left, top = self.x - seen.width // 2, self.y - seen.height // 2
        shown = Size(max(seen.width >> self.level, 1), max(seen.height >> self.level, 1))
        return Region.within(self.size, (left, top), seen, shown)

    def inside(self) -> View:
        """Return the view moved so that no more than the picture is seen."""
        seen = self.seen

        def moved(middle: int, whole: int, part: int) -> int:
            return min(max(middle, part // 2), whole - part + part // 2)

        return replace(
            self, x=moved(self.x, self.size.width, seen.width), y=moved(self.y, self.size.height, seen.height)
        )

    def steps(self) -> dict[str, View | None]:
        """Return the views next to this one by name; None where the picture ends."""
        seen = self.seen
        whole = lowest(self.size)
        moved = {
            "left": replace(self, x=self.x - seen.width // 2),
            "right": replace(self, x=self.x + seen.width // 2),
            "up": replace(self, y=self.y - seen.height // 2),
            "down": replace(self, y=self.y + seen.height // 2),
            "closer": replace(self, level=max(self.level - 1, 0)),
            "farther": replace(self, level=min(self.level + 1, whole)),
            "whole": View.of(self.size, whole, None, None),
        }
        inside = {name: view.inside() for name, view in moved.items()}
        return {name: None if view == self else view for name, view in inside.items()}


def lowest(size: Size) -> int:
    """Return the first level at which all of a picture is in the window."""
    level = 0
    while size.width > WINDOW.width << level or size.height > WINDOW.height << level:
        level += 1
    return level
