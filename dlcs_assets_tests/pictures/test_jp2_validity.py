from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.pictures.jp2_structure import read_jp2_structure
from dlcs_assets.pictures.jp2_validity import validity_faults
from dlcs_testing.pictures import drawing, encoded

GOOD = [
    encoded(drawing(300, 200, mode=mode), "JPEG2000", **options)
    for mode, options in (
        ("RGB", {"tile_size": (128, 128), "num_resolutions": 4, "irreversible": True, "plt": True}),
        ("L", {"precinct_size": (64, 64), "num_resolutions": 3, "quality_layers": [40, 20, 10]}),
        ("RGB", {"num_resolutions": 1}),
    )
]


def write(data: bytes, folder: Path) -> Path:
    path = folder / "image.jp2"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("data", GOOD, ids=["tiles", "precincts", "plain"])
def test_what_encoders_write_is_valid(data: bytes, tmp_path: Path) -> None:
    assert validity_faults(write(data, tmp_path)) == []


@pytest.mark.parametrize(
    ("at", "value", "name"),
    [
        (b"ftypjp2 ", b"ftypjpx ", "brandIsValid"),
        (b"colr", b"colx", "containsColourSpecificationBox"),
        (b"\r\n\x87\n", b"\r\n\x87\r", "signatureIsValid"),
    ],
)
def test_what_is_wrong_is_named(at: bytes, value: bytes, name: str, tmp_path: Path) -> None:
    found = validity_faults(write(GOOD[0].replace(at, value, 1), tmp_path))
    assert name in found


def test_what_jpylyzer_cannot_read_is_not_a_jp2(tmp_path: Path) -> None:
    assert validity_faults(write(b"\x00\x00", tmp_path))


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_jp2_is_broken_to_jpylyzer_and_to_us(seed: int, tmp_path: Path) -> None:
    """Our own reading, which comes first and takes a fraction of the time, misses no such damage."""
    dice = random.Random(seed)
    data: Any = bytearray(dice.choice(GOOD))
    at = dice.randrange(len(data) - 1)
    if dice.random() < 0.5:
        del data[at:]
    else:
        del data[at : at + dice.randint(1, 9)]
    path = write(bytes(data), tmp_path)
    assert validity_faults(path)
    with pytest.raises(PermanentError, match="The JP2 is broken"):
        read_jp2_structure(path)
