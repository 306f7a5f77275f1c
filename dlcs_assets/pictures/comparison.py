"""Whether a thumbnail shows the very picture that it was made from, and if not, what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Final

from dlcs_assets.pictures.fingerprint import Fingerprint, resized, turned

if TYPE_CHECKING:
    from dlcs_assets.pictures.fingerprint import Array

# All levels are of 256. What areas of a picture differ by when it was compressed and scaled by someone else.
_NOISE: Final = 3.0
# A picture varies by at least that between its areas, or there is nothing to see in it.
_FLAT_BELOW: Final = 1.5
_PATTERN_BELOW: Final = 2.0
# Evenly ruled pages of one text correlate by at most 0.82, illuminated ones by 0.32, each with its own thumbnail
# (100 px, another codec, another gamma) by at least 0.95.
_SAME_ABOVE: Final = 0.87
_SURELY_ABOVE: Final = 0.97
_PERHAPS_ABOVE: Final = 0.75
# How much brighter or darker another rendering of the same picture may be, on average.
_TONE: Final = 40.0
# Profiles that one renderer applies and another ignores change colours less than that.
_COLOURS: Final = 24.0
# By how much a turned version must be closer: less is noise.
_MUCH_BETTER: Final = 0.75
_PATTERN_EDGE: Final = 6
_PIXELS_OF_AN_AREA: Final = 4
_CONTRAST: Final = (0.45, 2.2)

_TURNS: Final = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored upside down",
    5: "mirrored and turned by 90 degrees",
    6: "turned by 90 degrees",
    7: "mirrored and turned by 90 degrees",
    8: "turned by 90 degrees",
}


class Difference(Enum):
    """What is wrong with a rendering of a picture."""

    BLANK = "blank"
    TURNED = "turned"
    MIRRORED = "mirrored"
    NEGATIVE = "negative"
    COLOURS = "colours"
    TRANSPARENCY = "transparency"
    ANOTHER_PICTURE = "another picture"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen: words that follow "it is", for people."""

    difference: Difference
    words: str


def compare(source: Fingerprint, rendering: Fingerprint) -> Seen | None:
    """Return what is wrong with a rendering of `source`; None if it shows this very picture.

    Allowed are other codecs, sizes, resampling, tone curves, and profiles that one of them ignores. Turning,
    mirroring, exchanged or inverted colours, a blank one and another picture are not. Where a picture looks the same
    turned, it is the same.
    """
    columns = _comparable(source.width, rendering.width, min(source.columns, rendering.columns))
    rows = _comparable(source.height, rendering.height, min(source.rows, rendering.rows))
    one, other = _levels(source), _levels(rendering)
    as_it_is = _Pair(resized(one, columns, rows), resized(other, columns, rows))
    if as_it_is.mean_difference <= _NOISE and not as_it_is.varies:
        return None
    if as_it_is.source_spread >= 2 * _FLAT_BELOW and as_it_is.rendering_spread < min(
        _FLAT_BELOW, as_it_is.source_spread / 4
    ):
        return _transparency(source) or Seen(Difference.BLANK, "blank, and its source is not")
    if found := _turned(one, other, columns, rows, as_it_is):
        return found
    if as_it_is.same_pattern:
        return as_it_is.colours()
    if as_it_is.negative:
        return Seen(Difference.NEGATIVE, "a negative of its source")
    return _transparency(source) or Seen(Difference.ANOTHER_PICTURE, "another picture than its source")


def _levels(fingerprint: Fingerprint) -> Array:
    import numpy as np

    shape = (fingerprint.rows, fingerprint.columns, 3)
    return np.frombuffer(fingerprint.levels, np.uint8).reshape(shape).astype(np.float64)


def _comparable(source: int, rendering: int, at_most: int) -> int:
    """Return of how many areas along an edge both say the same: of few pixels, scaling decides too much."""
    return at_most if rendering == source else max(1, min(at_most, rendering // _PIXELS_OF_AN_AREA))


def _transparency(source: Fingerprint) -> Seen | None:
    if not source.is_transparent:
        return None
    return Seen(Difference.TRANSPARENCY, "without the white behind the transparent parts of its source")


def _turned(one: Array, other: Array, columns: int, rows: int, as_it_is: _Pair) -> Seen | None:
    """Return which turned version of the source is much more like the rendering than the source as it is."""
    before = best = as_it_is.turning_difference
    if best < _MUCH_BETTER:
        return None
    orientation, rendering = 1, resized(other, columns, rows)
    for each in _TURNS:
        candidate = turned(one, each)
        if candidate.shape[0] < rows or candidate.shape[1] < columns:
            continue
        difference = _turning_difference(resized(candidate, columns, rows), rendering)
        if difference < best:
            best, orientation = difference, each
    if orientation == 1 or before - best < _MUCH_BETTER or best > 0.5 * before:
        return None
    return Seen(Difference.MIRRORED if orientation in {2, 4, 5, 7} else Difference.TURNED, _TURNS[orientation])


def _turning_difference(source: Array, rendering: Array) -> float:
    """By how much they differ when both are as bright and as rich in contrast, colour by colour."""
    import numpy as np

    one = source - source.mean(axis=(0, 1))
    other = rendering - rendering.mean(axis=(0, 1))
    power = (other * other).sum()
    scale = float((one * other).sum() / power) if power > 0 else 1.0
    scale = min(max(scale, _CONTRAST[0]), _CONTRAST[1])
    return float(np.abs(one - scale * other).mean())


class _Pair:
    """Levels of a source and of a rendering, (rows, columns, 3), of the same shape."""

    def __init__(self, source: Array, rendering: Array) -> None:
        import numpy as np

        self._source, self._rendering = source, rendering
        weights = np.array([0.299, 0.587, 0.114])
        self._luma, self._other_luma = source @ weights, rendering @ weights
        self.mean_difference = float(np.abs(source - rendering).mean())
        self.source_spread = float(source.std(axis=(0, 1)).max())
        self.rendering_spread = float(rendering.std(axis=(0, 1)).max())

    @property
    def varies(self) -> bool:
        """Whether there is something to see in either."""
        return max(self.source_spread, self.rendering_spread) >= _FLAT_BELOW

    @cached_property
    def turning_difference(self) -> float:
        """By how much they differ if one of them may have been turned."""
        return _turning_difference(self._source, self._rendering)

    @property
    def same_pattern(self) -> bool:
        """Whether bright and dark areas are where they are in the source."""
        if not self.varies:
            return self.mean_difference <= _TONE
        if min(self.source_spread, self.rendering_spread) < _FLAT_BELOW:
            return self.mean_difference <= _NOISE
        alike = self._correlation(self._luma, self._other_luma) if self._luma_varies else 1.0
        if alike < _PERHAPS_ABOVE:
            return False
        if min(self._luma.shape) < _PATTERN_EDGE:
            return alike >= _SAME_ABOVE
        return self._same_on_the_page(alike)

    def _same_on_the_page(self, alike: float) -> bool:
        # Without the mean of each row and column: margins and lines are alike on all pages.
        one, other = _own_pattern(self._luma), _own_pattern(self._other_luma)
        if min(one.std(), other.std()) < _PATTERN_BELOW:
            if max(one.std(), other.std()) < _PATTERN_BELOW and alike >= _SURELY_ABOVE:
                return True  # of stripes, which a small rendering blurs
            return alike >= _SAME_ABOVE and self.turning_difference <= 2 * _NOISE
        # The lines of a page that is nearly empty come out fainter or stronger; what stands on it does not.
        return self._correlation(one, other) >= (_SAME_ABOVE if alike >= _SAME_ABOVE else _SURELY_ABOVE)

    @property
    def _luma_varies(self) -> bool:
        return min(float(self._luma.std()), float(self._other_luma.std())) >= _FLAT_BELOW

    @property
    def negative(self) -> bool:
        """Whether bright areas are dark and dark ones bright."""
        return self._luma_varies and self._correlation(self._luma, self._other_luma) <= -_SAME_ABOVE

    @staticmethod
    def _correlation(one: Array, other: Array) -> float:
        one, other = one - one.mean(), other - other.mean()
        spreads = float(one.std() * other.std())
        return float((one * other).mean() / spreads) if spreads > 0 else 1.0

    def colours(self) -> Seen | None:
        """Return what is wrong with the colours of a rendering that shows the same shapes."""
        import numpy as np

        tone = float(np.abs(self._luma.mean() - self._other_luma.mean()))
        chroma = float(np.abs(_chroma(self._source) - _chroma(self._rendering)).mean())
        if tone <= _TONE and chroma <= _COLOURS and chroma <= self._closest_exchanged():
            return None
        if self._closest_exchanged() < chroma / 2:
            return Seen(Difference.COLOURS, "in exchanged colours")
        if tone > _TONE:
            brighter = self._other_luma.mean() > self._luma.mean()
            return Seen(Difference.COLOURS, f"much {'brighter' if brighter else 'darker'} than its source")
        if chroma > _COLOURS:
            return Seen(Difference.COLOURS, "in other colours than its source")
        return None

    def _closest_exchanged(self) -> float:
        """How much the colours would differ with two channels exchanged; infinite if that changes little."""
        import numpy as np

        own, other = _chroma(self._source), _chroma(self._rendering)
        closest = float("inf")
        for order in ((2, 1, 0), (1, 0, 2), (0, 2, 1), (1, 2, 0), (2, 0, 1)):
            exchanged = own[..., order]
            if float(np.abs(exchanged - own).mean()) > 2 * _NOISE:
                closest = min(closest, float(np.abs(exchanged - other).mean()))
        return closest


def _chroma(levels: Array) -> Array:
    """Return what remains of colours without their brightness."""
    import numpy as np

    return np.asarray(levels - levels.mean(axis=-1, keepdims=True))


def _own_pattern(luma: Array) -> Array:
    import numpy as np

    rows, columns = luma.mean(axis=1, keepdims=True), luma.mean(axis=0, keepdims=True)
    return np.asarray(luma - rows - columns + luma.mean())
