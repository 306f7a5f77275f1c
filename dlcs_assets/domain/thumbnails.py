"""Which thumbnails an image gets, who may see them, and `s.json`, which lists them for readers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dlcs_assets.domain.iiif_size import Size, parse_size, resolve, size_to_ask

UNRESTRICTED: Final = -1


class ThumbnailMaker(StrEnum):
    """Who makes thumbnails. Appetiser makes them from files in the scratch folder, which it shares."""

    IMAGE_SERVER = "image-server"
    APPETISER = "appetiser"


@dataclass(frozen=True, slots=True)
class ThumbnailAsk:
    """A thumbnail to make: the size parameter, what to ask an image server for, and the pixels to expect."""

    parameter: str
    ask: str
    expected: Size


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A size that an image does not get, and why."""

    parameter: str
    why: str


@dataclass(frozen=True, slots=True)
class ThumbnailPlan:
    """The thumbnails of an image, largest first, and the sizes left out."""

    asks: tuple[ThumbnailAsk, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class ThumbnailSet:
    """The thumbnails that an image has, largest first: those for everyone, and those for who may see them."""

    open: tuple[Size, ...] = ()
    auth: tuple[Size, ...] = ()

    @property
    def sizes(self) -> tuple[Size, ...]:
        """All of them, largest first."""
        return _largest_first((*self.open, *self.auth))

    def is_open(self, size: Size) -> bool:
        """Return whether everyone may see the thumbnail of that size."""
        return size in self.open

    def sizes_json(self) -> str:
        """Return the text of `s.json`: `{"o":[[w,h],...],"a":[[w,h],...]}`."""
        lists = {"o": self.open, "a": self.auth}
        pairs = {name: [(size.width, size.height) for size in sizes] for name, sizes in lists.items()}
        return json.dumps(pairs, separators=(",", ":"))


EMPTY: Final = ThumbnailSet()


def plan_thumbnails(sizes: Sequence[str], image: Size) -> ThumbnailPlan:
    """Choose the thumbnails of an image from its sizes (IIIF size parameters).

    Sizes that give the same pixels are one thumbnail. Of those with the same longest edge but other pixels, which
    would share a key, the one of the larger area is made.
    """
    candidates: list[ThumbnailAsk] = []
    left_out: list[LeftOut] = []
    for parameter in (parse_size(text) for text in sizes):
        expected = resolve(parameter, image)
        if expected is None:
            left_out.append(LeftOut(parameter.text, f"would enlarge the image ({image}), which needs a ^"))
        else:
            candidates.append(ThumbnailAsk(parameter.text, size_to_ask(parameter, image), expected))
    chosen: dict[int, ThumbnailAsk] = {}
    for ask in sorted(candidates, key=lambda ask: (ask.expected.longest, ask.expected.area), reverse=True):
        winner = chosen.setdefault(ask.expected.longest, ask)
        if winner.expected != ask.expected:
            left_out.append(LeftOut(ask.parameter, _shares_its_key(ask, winner)))
    return ThumbnailPlan(tuple(chosen.values()), tuple(left_out))


def thumbnail_set(
    made: Sequence[Size], *, max_unauthorised: int | None, roles: Sequence[str], engine_open_thumbnails: bool
) -> ThumbnailSet:
    """Split the thumbnails that were made (their measured sizes) by who may see them.

    Everyone may see those whose longest edge is at most `max_unauthorised`; where that sets no limit (None or -1),
    all of them, but none if the image has roles. (The DLCS engine ignores roles and leaves those open, too:
    `engine_open_thumbnails` does the same.)
    """
    by_key: dict[int, Size] = {}
    for size in sorted(made, key=lambda size: size.area, reverse=True):
        by_key.setdefault(size.longest, size)
    sizes = _largest_first(by_key.values())
    if max_unauthorised is None or max_unauthorised == UNRESTRICTED:
        return ThumbnailSet(open=sizes) if engine_open_thumbnails or not roles else ThumbnailSet(auth=sizes)
    return ThumbnailSet(
        open=tuple(size for size in sizes if size.longest <= max_unauthorised),
        auth=tuple(size for size in sizes if size.longest > max_unauthorised),
    )


def read_sizes_json(text: str) -> ThumbnailSet:
    """Read `s.json`. Raises `ValueError` if it is none."""
    document = json.loads(text)
    try:
        lists = [tuple(Size(int(width), int(height)) for width, height in document.get(name, ())) for name in "oa"]
    except (AttributeError, TypeError) as error:
        raise ValueError(f"Not a list of thumbnail sizes: {text[:100]}") from error
    return ThumbnailSet(*lists)


def _shares_its_key(ask: ThumbnailAsk, winner: ThumbnailAsk) -> str:
    return (
        f"{ask.expected} would be stored under the same name as {winner.expected} ({winner.parameter}), "
        "which has more pixels"
    )


def _largest_first(sizes: Iterable[Size]) -> tuple[Size, ...]:
    return tuple(sorted(sizes, key=lambda size: size.longest, reverse=True))
