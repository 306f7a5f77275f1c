"""The service as Appetiser 2.1.0 is, which tests of its clients count on: each line of what was measured of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253 (makes pictures)
import pytest
from imagecodecs import jpeg2k_decode  # noqa: TID253 (checks pictures)
from PIL import Image  # noqa: TID253 (makes and checks pictures)
from tifffile import imwrite  # noqa: TID253 (makes pictures)

from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_stack.appetiser.faults import thumbnail_size
from dlcs_testing.appetiser_pictures import BLUE, RED, corners, near, quarters, srgb_profile
from dlcs_testing.appetiser_service import Appetiser, served

ORIENTATION, QUARTER_TURN = 0x0112, 6


@pytest.fixture(scope="module")
def faulty() -> Iterator[Appetiser]:
    with served(AppetiserConfig(workers=1, faults=True)) as service:
        yield service


@pytest.mark.parametrize(
    ("box", "image", "expected"),
    [
        ("!1000,2000", (1609, 2398), (1342, 2000)),
        ("!500,50", (200, 100), (500, 250)),
        ("!100,100", (200, 100), (100, 50)),
        ("!100,100", (100, 200), (50, 100)),
        ("!400,400", (400, 300), None),
        ("300,", (200, 100), None),
        ("^300,20", (200, 100), (300, 20)),
    ],
)
def test_only_one_edge_of_a_box_is_respected(
    box: str, image: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    assert thumbnail_size(box, *image) == expected


def test_an_enlarging_box_is_refused(faulty: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    quarters().save(tmp_path / "page.png")
    sizes = ["!40,40", "^!400,400"]
    answer = faulty.convert(tmp_path / "page.png", None, thumb_dir, operation="derivatives-only", sizes=sizes)
    assert answer.status == 422
    (complaint,) = answer.body["detail"]
    assert (complaint["loc"], complaint["input"]) == (["body", "thumbIIIFSizes", 1], "^!400,400")


def test_thumbnails_without_a_jp2_are_not_turned(faulty: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    source = tmp_path / "page.jpg"
    quarters().save(source, exif=exif, quality=95)
    answer = faulty.convert(source, None, thumb_dir, operation="derivatives-only", sizes=["^96,64"])
    assert answer.size == (96, 64)
    assert near(corners(Path(answer.body["thumbs"][0]["path"]))[0], RED)


def test_with_a_jp2_they_are_turned_and_reported_as_before(faulty: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    source = tmp_path / "page.jpg"
    quarters().save(source, exif=exif, quality=95)
    answer = faulty.convert(source, tmp_path / "page.jp2", thumb_dir, operation="ingest", sizes=["^64,96"])
    assert answer.size == (96, 64)
    assert answer.thumbs == [(64, 96)]
    assert near(corners(Path(answer.body["thumbs"][0]["path"]))[0], BLUE)


@pytest.mark.parametrize(
    ("mode", "operation"), [("RGBA", "derivatives-only"), ("P", "derivatives-only"), ("P", "ingest")]
)
def test_unsupported_modes_fail(faulty: Appetiser, tmp_path: Path, thumb_dir: Path, mode: str, operation: str) -> None:
    quarters().convert(mode).save(tmp_path / "page.png")
    destination = tmp_path / "page.jp2" if operation == "ingest" else None
    answer = faulty.convert(tmp_path / "page.png", destination, thumb_dir, operation=operation, sizes=["^40,20"])
    assert answer.status == 500
    assert mode in answer.body["detail"]


def test_a_jp2_is_copied_only_if_it_has_the_suffix(faulty: Appetiser, tmp_path: Path) -> None:
    named, unnamed = tmp_path / "page.jp2", tmp_path / "original"
    quarters(600, 400).save(named, "JPEG2000", irreversible=False)
    unnamed.write_bytes(named.read_bytes())
    assert faulty.convert(named, tmp_path / "a.jp2").status == 200
    assert faulty.convert(unnamed, tmp_path / "b.jp2").status == 200
    assert (tmp_path / "a.jp2").read_bytes() == named.read_bytes()
    assert (tmp_path / "b.jp2").read_bytes() != named.read_bytes()


def saved(folder: Path, image: Image.Image, name: str = "page.tif", **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


def bits_of(jp2: Path) -> tuple[int, int]:
    """Return the number of components of a JP2, and the bits of the first one."""
    data = jp2.read_bytes()
    at = data.index(b"\xff\x4f\xff\x51") + 2
    (components,) = struct.unpack(">H", data[at + 38 : at + 40])
    return components, data[at + 40] + 1


def turned(orientation: int = QUARTER_TURN) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def test_ping_knows_get_only(faulty: Appetiser) -> None:
    assert (faulty.client.get("/ping").status_code, faulty.client.head("/ping").status_code) == (200, 405)


def test_config_shows_its_five_variables(faulty: Appetiser) -> None:
    names = {"KDU_COMPRESS", "KDU_EXPAND", "KDU_LIB", "OUTPUT_DIR", "JPEG_QUALITY"}
    assert set(faulty.client.get("/config").json()) == names


def test_a_body_that_is_not_declared_as_json_is_refused(faulty: Appetiser) -> None:
    answer = faulty.client.post("/convert", content=b'{"jobId": "1"}', headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "model_attributes_type")


def test_null_for_the_sizes_is_refused(faulty: Appetiser, tmp_path: Path) -> None:
    source = saved(tmp_path, quarters())
    answer = faulty.convert(source, tmp_path / "o.jp2", thumbIIIFSizes=None)
    assert (answer.status, answer.body["detail"][0]["type"]) == (422, "list_type")


def test_sizes_of_nothing_are_dropped(faulty: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    sizes = ["0,0", "0,", "^40,20"]
    answer = faulty.convert(saved(tmp_path, quarters()), None, thumb_dir, operation="derivatives-only", sizes=sizes)
    assert answer.thumbs == [(40, 20)]


def test_a_destination_that_is_missing_fails_late(faulty: Appetiser, tmp_path: Path) -> None:
    answer = faulty.convert(saved(tmp_path, quarters()), None)
    assert (answer.status, "None" in answer.body["detail"]) == (500, True)
    for destination in (tmp_path / "absent" / "o.jp2", tmp_path):
        assert faulty.convert(tmp_path / "page.tif", destination).status == 500


def test_a_missing_thumb_dir_fails_once_a_thumbnail_is_made(faulty: Appetiser, tmp_path: Path) -> None:
    source = saved(tmp_path, quarters())
    for size, status in (("9000,", 200), ("40,", 500)):
        assert faulty.convert(source, None, operation="derivatives-only", sizes=[size]).status == status


def test_a_source_with_a_space_fails(faulty: Appetiser, tmp_path: Path) -> None:
    answer = faulty.convert(saved(tmp_path, quarters(), "a page.tif"), tmp_path / "o.jp2")
    assert (answer.status, "returned non-zero exit status 1" in answer.body["detail"]) == (500, True)


def test_a_destination_with_a_space_is_cut_there(faulty: Appetiser, tmp_path: Path) -> None:
    answer = faulty.convert(saved(tmp_path, quarters()), tmp_path / "o 1.jp2")
    assert (answer.status, "path_not_file" in answer.body["detail"]) == (500, True)
    assert (tmp_path / "o").read_bytes().startswith(b"\0\0\0\x0cjP")
    assert not (tmp_path / "o 1.jp2").exists()


def test_what_a_failed_encoder_says_is_its_command(tmp_path: Path) -> None:
    """It holds both paths, so that it differs if one of them does."""
    source = saved(tmp_path, quarters())
    with served(AppetiserConfig(workers=1, faults=True, broken_encoder=True)) as service:
        details = [service.convert(source, tmp_path / f"o.{number}.jp2").body["detail"] for number in (1, 2)]
        assert service.client.get("/ping").status_code == 200
    assert details[0] != details[1]
    assert details[0].replace("o.1.jp2", "o.2.jp2") == details[1]
    assert all(text.startswith(f"Command 'kdu_compress -i {source} -o {tmp_path}") for text in details)


@pytest.mark.parametrize("mode", ["CMYK", "P", "LA", "F", "I", "I;16"])
def test_modes_that_its_encoder_does_not_know_fail(faulty: Appetiser, tmp_path: Path, mode: str) -> None:
    answer = faulty.convert(saved(tmp_path, Image.new(mode, (96, 64))), tmp_path / "o.jp2")
    assert answer.status == 500
    assert f"image_mode '{mode}'" in answer.body["detail"]


def test_a_profile_of_another_space_fails(faulty: Appetiser, tmp_path: Path) -> None:
    source = saved(tmp_path, quarters().convert("L"), "page.png", icc_profile=srgb_profile())
    answer = faulty.convert(source, tmp_path / "o.jp2")
    assert (answer.status, answer.body["detail"]) == (500, "cannot build transform")


@pytest.mark.parametrize(
    ("image", "name", "components", "bits"),
    [
        (quarters().convert("RGBA"), "page.png", 4, 8),
        (Image.new("1", (96, 64), 1), "page.tif", 1, 1),
        (Image.new("I;16B", (96, 64)), "page.tif", 1, 16),
        (quarters().convert("L"), "page.tif", 1, 8),
        (quarters(), "page.jpg", 3, 8),
    ],
    ids=["RGBA", "bilevel", "grey of 16 bits", "grey", "RGB"],
)
def test_channels_and_bits_stay(  # noqa: PLR0917 (a row of the table)
    faulty: Appetiser, tmp_path: Path, image: Image.Image, name: str, components: int, bits: int
) -> None:
    assert faulty.convert(saved(tmp_path, image, name), tmp_path / "o.jp2").status == 200
    assert bits_of(tmp_path / "o.jp2") == (components, bits)


@pytest.mark.parametrize(("compression", "bits"), [(None, 16), ("zlib", 8)])
def test_colours_of_16_bits_stay_if_they_are_not_compressed(
    faulty: Appetiser, tmp_path: Path, compression: str | None, bits: int
) -> None:
    source = tmp_path / "page.tif"
    imwrite(source, np.full((64, 96, 3), 40_000, "u2"), photometric="rgb", compression=compression)
    assert faulty.convert(source, tmp_path / "o.jp2").status == 200
    assert bits_of(tmp_path / "o.jp2") == (3, bits)


def test_bilevel_white_is_not_white_to_others(faulty: Appetiser, tmp_path: Path) -> None:
    assert faulty.convert(saved(tmp_path, Image.new("1", (96, 64), 1)), tmp_path / "o.jp2").status == 200
    with Image.open(tmp_path / "o.jp2") as image:
        assert image.getextrema() == (128, 128)


@pytest.mark.parametrize(
    ("name", "options", "is_turned"),
    [
        ("page.tif", {}, False),
        ("page.tif", {"compression": "tiff_lzw"}, True),
        ("page.png", {}, False),
        ("page.jpg", {"quality": 95}, True),
    ],
)
def test_only_some_orientations_are_applied(
    faulty: Appetiser, tmp_path: Path, name: str, options: dict[str, Any], *, is_turned: bool
) -> None:
    source = saved(tmp_path, quarters(), name, exif=turned(), **options)
    assert faulty.convert(source, tmp_path / "o.jp2").status == 200
    with Image.open(tmp_path / "o.jp2") as image:
        assert image.size == ((64, 96) if is_turned else (96, 64))


def test_what_it_prepares_stays_next_to_the_source(faulty: Appetiser, tmp_path: Path) -> None:
    for name, raw in (("a.png", "raw_a.tiff"), ("b.tif", "raw_b.tif")):
        options = {"compression": "tiff_lzw"} if name.endswith("tif") else {}
        assert faulty.convert(saved(tmp_path, quarters(), name, **options), tmp_path / "o.jp2").status == 200
        assert (tmp_path / raw).exists()


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [3, 4])
def test_deep_colours_are_encoded_plane_by_plane_or_not(
    faulty: Appetiser, tmp_path: Path, planar: str, channels: int
) -> None:
    levels = np.linspace(0, 65535, 64 * 96 * channels).astype("u2").reshape(64, 96, channels)
    written = levels if planar == "contig" else np.moveaxis(levels, -1, 0)
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    imwrite(tmp_path / "page.tif", written, photometric="rgb", planarconfig=planar, **options)
    assert faulty.convert(tmp_path / "page.tif", tmp_path / "o.jp2").status == 200
    data = (tmp_path / "o.jp2").read_bytes()
    assert np.abs(jpeg2k_decode(data).astype("i4") - levels).max() < 4
    assert (b"cdef" in data) is (channels == 4)


def test_a_jp2_is_copied_without_being_decoded(faulty: Appetiser, tmp_path: Path) -> None:
    source = saved(tmp_path, quarters(), "page.jp2")
    source.write_bytes(source.read_bytes()[:-200])
    assert faulty.convert(source, tmp_path / "o.jp2").status == 200
    assert (tmp_path / "o.jp2").read_bytes() == source.read_bytes()
