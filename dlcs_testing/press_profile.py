"""A profile of printing inks, and what it means, worked out from its table by ourselves: no colour library is asked."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

PERCEPTUAL = b"A2B0"
TABLE = b"mft2"
_WHITE = (0.9642, 1.0, 0.8249)  # D50


def press_profile() -> bytes:
    """Return a profile of a printing press with four inks, which libvips brings along."""
    import pyvips

    return bytes(pyvips.Image.profile_load("cmyk"))


def printed(profile: bytes, inks: Any) -> Array:
    """Return the sRGB levels of (..., 4) levels of ink, 0 to 255, when the press's black is shown as black.

    Black point compensation, as the perceptual intent has it: what ink leaves of the light is stretched to none.
    """
    import numpy as np

    blackest = _lab(profile, np.full(4, 255.0))
    return _shown(_lab(profile, inks), _light(np.array([blackest[0], 0.0, 0.0])))


def _lab(profile: bytes, inks: Any) -> Array:
    import numpy as np

    table = _tag(profile, PERCEPTUAL)
    assert table[:4] == TABLE
    inputs, outputs, edge = table[8], table[9], table[10]
    entries_in, entries_out = struct.unpack_from(">HH", table, 48)
    numbers = np.frombuffer(table, ">u2", offset=52).astype(np.float64) / 65535
    curves_in = numbers[: inputs * entries_in].reshape(inputs, entries_in)
    at = inputs * entries_in
    grid = numbers[at : at + edge**inputs * outputs].reshape(*[edge] * inputs, outputs)
    at += edge**inputs * outputs
    curves_out = numbers[at : at + outputs * entries_out].reshape(outputs, entries_out)

    levels = np.asarray(inks, np.float64) / 255
    shares = np.stack([_on_curve(levels[..., each], curves_in[each]) for each in range(inputs)], axis=-1) * (edge - 1)
    values = _between(shares, grid)
    values = np.stack([_on_curve(values[..., each], curves_out[each]) for each in range(outputs)], axis=-1)
    # 16 bits of the second version of the standard: 100 is 65,280, and a* and b* are 0 at 32,768.
    scales, zeros = (65535 / 652.8, 65535 / 256, 65535 / 256), (0.0, 128.0, 128.0)
    return np.asarray(values * scales - zeros)


def _tag(profile: bytes, wanted: bytes) -> bytes:
    (count,) = struct.unpack_from(">I", profile, 128)
    for each in range(count):
        name, offset, length = struct.unpack_from(">4sII", profile, 132 + 12 * each)
        if name == wanted:
            return profile[offset : offset + length]
    raise LookupError(wanted)


def _on_curve(values: Array, curve: Array) -> Array:
    import numpy as np

    return np.interp(values, np.linspace(0, 1, len(curve)), curve)


def _between(shares: Array, grid: Array) -> Array:
    """Interpolate along all axes of a grid."""
    import numpy as np

    axes = shares.shape[-1]
    low = np.clip(np.floor(shares).astype(int), 0, grid.shape[0] - 2)
    part = shares - low
    total = np.zeros((*shares.shape[:-1], grid.shape[-1]))
    for corner in itertools.product((0, 1), repeat=axes):
        weight = np.prod([part[..., at] if up else 1 - part[..., at] for at, up in enumerate(corner)], axis=0)
        total += weight[..., None] * grid[tuple(low[..., at] + up for at, up in enumerate(corner))]
    return total


def _light(lab: Array) -> Array:
    """Return XYZ of L*a*b*."""
    import numpy as np

    middle = (lab[..., 0] + 16) / 116
    axes = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], axis=-1)
    return np.asarray(np.where(axes > 6 / 29, axes**3, 3 * (6 / 29) ** 2 * (axes - 4 / 29)) * _WHITE)


def _shown(lab: Array, black: Array) -> Array:
    import numpy as np

    white = np.array(_WHITE)
    linear = (_light(lab) - black) * white / (white - black)
    # The primaries of sRGB as its profile has them, adapted to D50.
    primaries = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    light = np.clip(linear @ np.linalg.inv(primaries).T, 0, 1)
    return np.asarray(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))
