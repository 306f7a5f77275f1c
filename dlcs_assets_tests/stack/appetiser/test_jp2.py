from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat  # noqa: TID253 (made of pictures)

from dlcs_assets_tests.stack.appetiser.markers import IRREVERSIBLE, RPCL, profile_of
from dlcs_testing.appetiser_pictures import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    colour_of,
    corners,
    near,
    page,
    quarters,
    red_is_green_profile,
)
from dlcs_testing.appetiser_service import Appetiser


def _jp2(image: Image.Image, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG2000", **options)
    return data.getvalue()


def _in_brand(data: bytes, brand: bytes, compatible: bytes) -> bytes:
    """The same file under other brands: those of ISO 15444-2 are `jpx `."""
    return data[:20] + struct.pack(">4sI4s", brand, 0, compatible) + data[32:]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_written_jp2_is_ready_for_tiles(appetiser: Appetiser, tmp_path: Path, mode: str) -> None:
    page(1400, 1100).convert(mode).save(tmp_path / "a.png")
    assert appetiser.convert(tmp_path / "a.png", tmp_path / "o.jp2").size == (1400, 1100)
    profile = profile_of(tmp_path / "o.jp2")
    assert profile.tile == (1024, 1024)
    assert profile.levels == 7
    assert profile.progression == RPCL
    assert profile.wavelet == IRREVERSIBLE
    assert profile.layers == 1
    assert profile.has_plt
    assert not profile.own_precincts
    assert (profile.components, profile.colour_transform, profile.colour_space) == (
        (3, 1, 16) if mode == "RGB" else (1, 0, 17)
    )


@pytest.mark.parametrize(
    ("size", "levels"), [((1, 1), 0), ((64, 56), 5), ((127, 500), 6), ((128, 128), 7), ((900, 1), 0), ((1025, 1030), 7)]
)
def test_a_small_image_has_as_many_levels_as_it_allows(
    appetiser: Appetiser, tmp_path: Path, size: tuple[int, int], levels: int
) -> None:
    page(*size).save(tmp_path / "a.png")
    assert appetiser.convert(tmp_path / "a.png", tmp_path / "o.jp2").size == size
    assert profile_of(tmp_path / "o.jp2").levels == levels
    with Image.open(tmp_path / "o.jp2") as image:
        image.load()
        assert image.size == size


def test_each_optimisation_spends_the_bits_of_its_name(appetiser: Appetiser, tmp_path: Path) -> None:
    page(800, 800).save(tmp_path / "a.png")
    bits: dict[str | None, float] = {}
    for name in ("kdu_low", "kdu_med", "kdu_med_layers", "kdu_high", None):
        appetiser.convert(tmp_path / "a.png", tmp_path / "o.jp2", optimisation=name)
        bits[name] = (tmp_path / "o.jp2").stat().st_size * 8 / 800 / 800
        assert profile_of(tmp_path / "o.jp2").layers == (6 if name == "kdu_med_layers" else 1)
    wanted = {"kdu_low": 0.5, "kdu_med": 2, "kdu_med_layers": 2, "kdu_high": 4, None: 2}
    assert bits == {name: pytest.approx(rate, rel=0.06) for name, rate in wanted.items()}


def test_the_best_optimisation_is_visually_lossless(appetiser: Appetiser, tmp_path: Path) -> None:
    original = page(800, 800)
    original.save(tmp_path / "a.png")
    appetiser.convert(tmp_path / "a.png", tmp_path / "o.jp2", optimisation="kdu_max")
    with Image.open(tmp_path / "o.jp2") as image:
        error = ImageStat.Stat(ImageChops.difference(image, original)).rms
    assert max(error) < 1.5  # 45 dB


@pytest.mark.parametrize("name", ["a.jp2", "a.JP2", "a.tif"])
def test_a_jp2_is_copied_byte_for_byte(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path, name: str) -> None:
    # Appetiser goes by the extension, and gives `.JP2` to an encoder that cannot read it.
    data = _jp2(quarters(301, 203), num_resolutions=4)
    (tmp_path / name).write_bytes(data)
    answer = appetiser.convert(
        tmp_path / name, tmp_path / "o.jp2", thumb_dir, operation="ingest", sizes=["!150,150", "!40,40", "^400,"]
    )
    assert (tmp_path / "o.jp2").read_bytes() == data
    assert answer.size == (301, 203)
    assert answer.thumbs == [(400, 270), (150, 101), (40, 27)]
    for width, height in answer.thumbs:
        found = corners(thumb_dir / f"o_{width}_{height}.jpg")
        assert all(near(one, other, 14) for one, other in zip(found, (RED, GREEN, BLUE, YELLOW), strict=True))


def test_thumbnails_of_a_jp2_follow_its_profile(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    data = _jp2(Image.new("RGB", (64, 64), (200, 0, 0)))
    start = data.index(b"jp2h") - 4
    colour = data.index(b"colr") - 4
    old = struct.unpack(">I", data[colour : colour + 4])[0]
    profile = red_is_green_profile()
    box = struct.pack(">I4s3B", 11 + len(profile), b"colr", 2, 0, 0) + profile
    header = struct.unpack(">I", data[start : start + 4])[0] - old + len(box)
    source = data[:start] + struct.pack(">I", header) + data[start + 4 : colour] + box + data[colour + old :]
    (tmp_path / "a.jp2").write_bytes(source)
    appetiser.convert(tmp_path / "a.jp2", tmp_path / "o.jp2", thumb_dir, operation="ingest", sizes=["32,"])
    assert near(colour_of(thumb_dir / "o_32_32.jpg"), (0, 200, 0), 40)


def test_a_jpx_that_readers_of_jp2_understand_is_copied(appetiser: Appetiser, tmp_path: Path) -> None:
    data = _in_brand(_jp2(quarters()), b"jpx ", b"jp2 ")
    (tmp_path / "a.jpf").write_bytes(data)
    assert appetiser.convert(tmp_path / "a.jpf", tmp_path / "o.jp2").size == (96, 64)
    assert (tmp_path / "o.jp2").read_bytes() == data


@pytest.mark.parametrize(
    "data",
    [_in_brand(_jp2(quarters()), b"jpx ", b"jpx "), _jp2(quarters(), no_jp2=True)],
    ids=["jpx", "codestream"],
)
def test_other_jpeg_2000_is_converted(appetiser: Appetiser, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jp2").write_bytes(data)
    assert appetiser.convert(tmp_path / "a.jp2", tmp_path / "o.jp2").size == (96, 64)
    assert profile_of(tmp_path / "o.jp2").progression == RPCL
    assert near(corners(tmp_path / "o.jp2")[1], GREEN)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_a_truncated_jp2_is_not_copied(
    appetiser: Appetiser, tmp_path: Path, share: float, tile: tuple[int, int] | None
) -> None:
    data = _jp2(page(200, 200), tile_size=tile)
    (tmp_path / "a.jp2").write_bytes(data[: int(len(data) * share)])
    answer = appetiser.convert(tmp_path / "a.jp2", tmp_path / "o.jp2")
    assert answer.status == 500
    assert "truncated" in answer.body["detail"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jp2"]


@pytest.mark.parametrize("marker", [b"jp2c", b"jp2h", b"\xff\x52\x00"])
def test_a_damaged_jp2_is_not_copied(appetiser: Appetiser, tmp_path: Path, marker: bytes) -> None:
    data = _jp2(page(200, 200))
    (tmp_path / "a.jp2").write_bytes(data.replace(marker, b"\0" * len(marker), 1))
    answer = appetiser.convert(tmp_path / "a.jp2", tmp_path / "o.jp2")
    assert answer.status == 500
    assert not (tmp_path / "o.jp2").exists()


def test_a_jp2_of_too_many_pixels_is_refused(appetiser: Appetiser, tmp_path: Path) -> None:
    (tmp_path / "a.jp2").write_bytes(_jp2(Image.new("L", (2001, 2000))))
    answer = appetiser.convert(tmp_path / "a.jp2", tmp_path / "o.jp2")
    assert answer.status == 500
    assert "more than the limit of 4000000" in answer.body["detail"]


@pytest.mark.parametrize("size", [(1021, 767), (1025, 513), (999, 1001)])
def test_thumbnails_come_from_a_reduced_resolution_of_any_size(
    appetiser: Appetiser, tmp_path: Path, thumb_dir: Path, size: tuple[int, int]
) -> None:
    # Pillow rounds the reduced size down where OpenJPEG rounds it up, and calls the stream broken.
    (tmp_path / "a.jp2").write_bytes(_jp2(quarters(*size)))
    answer = appetiser.convert(tmp_path / "a.jp2", None, thumb_dir, operation="derivatives-only", sizes=["60,", "100,"])
    assert answer.size == size
    for width, height in answer.thumbs:
        found = corners(thumb_dir / f"a_{width}_{height}.jpg")
        assert all(near(one, other, 14) for one, other in zip(found, (RED, GREEN, BLUE, YELLOW), strict=True))
