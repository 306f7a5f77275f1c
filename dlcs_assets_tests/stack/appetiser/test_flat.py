"""Pictures without detail, which rate control gets wrong: their colours must come out as they went in."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image  # noqa: TID253 (made of pictures)

from dlcs_stack.appetiser.encoder import encode
from dlcs_stack.appetiser.models import Optimisation

SIZES = [
    *((edge, edge) for edge in (1, 2, 3, 5, 8, 16, 31, 48, 64, 100, 255, 300, 512)),
    *((1, 64), (65, 1), (256, 1), (3000, 1), (2049, 2), (1100, 30), (400, 300), (700, 500)),
    *((1025, 1025), (1087, 600), (1088, 600), (1500, 1030)),
]
COLOURS = [(255, 0, 0), (0, 0, 255), (255, 255, 255), (128, 10, 200)]
GREYS = [255, 7, 128]


def most_off(path: Path, colour: tuple[int, ...], left: int = 0) -> int:
    """Return by how many levels a picture, from column `left` on, is at most off a colour."""
    with Image.open(path) as image:
        bands = image.crop((left, 0, *image.size)).split()
    found = [value for band in bands for value, count in enumerate(band.histogram()) if count]
    wanted = [colour[at] for at, band in enumerate(bands) for count in band.histogram() if count]
    return max(abs(one - other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("optimisation", list(Optimisation))
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
def test_a_flat_picture_keeps_its_colour(tmp_path: Path, optimisation: Optimisation, size: tuple[int, int]) -> None:
    target = tmp_path / "o.jp2"
    for colour in COLOURS:
        encode(Image.new("RGB", size, colour), target, optimisation, None)
        assert most_off(target, colour) <= 3
    for grey in GREYS:
        encode(Image.new("L", size, grey), target, optimisation, None)
        assert most_off(target, (grey,)) <= 3


@pytest.mark.parametrize("optimisation", [Optimisation.LOW, Optimisation.MAX])
def test_flat_tiles_next_to_detailed_ones_keep_theirs(tmp_path: Path, optimisation: Optimisation) -> None:
    picture = Image.new("RGB", (2100, 1100), (255, 0, 0))
    picture.paste(Image.effect_noise((700, 500), 90).convert("RGB"), (100, 100))
    target = tmp_path / "o.jp2"
    encode(picture, target, optimisation, None)
    assert most_off(target, (255, 0, 0), left=1100) <= 3


def test_a_sliver_is_no_tile_of_its_own(tmp_path: Path) -> None:
    encode(Image.effect_noise((1030, 2050), 60), tmp_path / "o.jp2", Optimisation.MEDIUM, None)
    size = (tmp_path / "o.jp2").read_bytes().split(b"\xff\x51", 1)[1]
    assert [int.from_bytes(size[at : at + 4], "big") for at in (20, 24)] == [1030, 1025]
