"""TIFFs as libraries, scanners and cameras write them: right to the pixel, or refused by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253 (made of pictures)
import pytest
import tifffile  # noqa: TID253 (writes what is read)
from PIL import Image  # noqa: TID253 (writes what is read)

from dlcs_stack.pictures.errors import DamagedError, UnreadableError, UnsupportedError
from dlcs_stack.pictures.reading import Description, decode, decode_flat, describe
from dlcs_testing.raw_tiff import BYTE, SHORT, RawPage, raw_tiff

Array = np.ndarray[Any, np.dtype[Any]]

HEIGHT, WIDTH = 48, 70
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH]
# Nothing in it is the same from any other side, and no two channels are alike.
COLOURS: Array = np.stack([_X * 3 + 20, _Y * 5, 255 - _X - _Y * 2], axis=-1).clip(0, 255).astype(np.uint8)
GREY: Array = COLOURS[..., 0]
ALPHA: Array = (255 - _Y * 5).clip(0, 255).astype(np.uint8)

DEEP = {np.uint8: 1, np.uint16: 257, np.uint32: 16843009}


def read(path: Path) -> tuple[Description, Array]:
    description = describe(path)
    flat = decode_flat(path, description)
    assert flat.image.size == (description.width, description.height)
    return description, np.asarray(flat.image)


def written(path: Path, samples: Array, **options: Any) -> Path:
    tifffile.imwrite(path, samples, metadata=None, **options)
    return path


def scaled(samples: Array, kind: Any) -> Array:
    return samples.astype(kind) * kind(DEEP[kind]) if kind in DEEP else (samples / 255).astype(kind)


def on_white(colours: Array, alpha: Array) -> Array:
    opacity = alpha.astype(float)[..., None] / 255
    shown: Array = colours * opacity + 255 * (1 - opacity)
    return shown


def off(found: Array, wanted: Array) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found.astype(float) - wanted).max())


@pytest.mark.parametrize("layout", ["<classic", ">classic", "<big", ">big"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.float32])
@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits"])
def test_colours_are_the_same_however_they_are_stored(
    tmp_path: Path, layout: str, kind: Any, planar: bool, compression: str | None
) -> None:
    samples = scaled(COLOURS, kind)
    options: dict[str, Any] = {"predictor": True} if compression in ("lzw", "deflate") else {}
    path = written(
        tmp_path / "a.tif",
        np.ascontiguousarray(np.moveaxis(samples, -1, 0)) if planar else samples,
        photometric="rgb",
        planarconfig="separate" if planar else "contig",
        byteorder=layout[0],
        bigtiff=layout.endswith("big"),
        compression=compression,
        **options,
    )
    assert off(read(path)[1], COLOURS) <= 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.float32])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("rows", [None, 1, 7])
def test_greys_are_the_same_however_they_are_stored(
    tmp_path: Path, kind: Any, tile: tuple[int, int] | None, rows: int | None
) -> None:
    path = written(
        tmp_path / "a.tif",
        scaled(GREY, kind),
        photometric="minisblack",
        tile=tile,
        rowsperstrip=rows,
        compression="lzw",
    )
    assert off(read(path)[1], GREY) <= 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("samples", [1, 2])
def test_white_at_zero_is_white(tmp_path: Path, kind: Any, samples: int) -> None:
    stored, extra, wanted = 255 - GREY, None, GREY
    if samples == 2:
        stored, extra, wanted = np.stack([stored, ALPHA], -1), ["unassalpha"], on_white(GREY[..., None], ALPHA)[..., 0]
    path = written(tmp_path / "a.tif", scaled(stored, kind), photometric="miniswhite", extrasamples=extra)
    assert off(read(path)[1], wanted) <= 2


@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        (kind, extra)
        for kind in (np.uint8, np.uint16, np.uint32, np.float32)
        for extra in ("unassalpha", "assocalpha", "unspecified")
        if (kind, extra) != (np.uint32, "assocalpha")  # refused
    ],
)
def test_opacity_is_what_the_tags_say(tmp_path: Path, kind: Any, planar: bool, extra: str) -> None:
    """Colours multiplied with it are divided; a sample of unknown meaning is not shown."""
    colours = COLOURS if extra != "assocalpha" else (COLOURS * (ALPHA[..., None] / 255)).round().astype(np.uint8)
    samples = scaled(np.concatenate([colours, ALPHA[..., None]], -1), kind)
    path = written(
        tmp_path / "a.tif",
        np.ascontiguousarray(np.moveaxis(samples, -1, 0)) if planar else samples,
        photometric="rgb",
        planarconfig="separate" if planar else "contig",
        extrasamples=[extra],
    )
    wanted = COLOURS if extra == "unspecified" else on_white(COLOURS, ALPHA)
    assert off(read(path)[1], wanted) <= 3


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_with_opacity_stays_grey(tmp_path: Path, kind: Any) -> None:
    samples = scaled(np.stack([GREY, ALPHA], -1), kind)
    path = written(tmp_path / "a.tif", samples, photometric="minisblack", extrasamples=["unassalpha"])
    assert off(read(path)[1], on_white(GREY[..., None], ALPHA)[..., 0]) <= 2


def test_opacity_is_found_behind_other_samples(tmp_path: Path) -> None:
    samples = np.concatenate([COLOURS, GREY[..., None], ALPHA[..., None]], -1)
    path = written(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["unspecified", "unassalpha"])
    assert off(read(path)[1], on_white(COLOURS, ALPHA)) <= 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("opaque", [False, True], ids=["with-opacity", "inks-alone"])
def test_inks_each_take_their_share_of_the_light(tmp_path: Path, kind: Any, planar: bool, opaque: bool) -> None:
    inks = np.concatenate([COLOURS, (GREY // 2)[..., None]], -1)
    shown = (255 - COLOURS.astype(float)) * (255 - (GREY // 2).astype(float)[..., None]) / 255
    samples = inks if opaque else np.concatenate([inks, ALPHA[..., None]], -1)
    stored = scaled(samples, kind)
    path = written(
        tmp_path / "a.tif",
        np.ascontiguousarray(np.moveaxis(stored, -1, 0)) if planar else stored,
        photometric="separated",
        planarconfig="separate" if planar else "contig",
        extrasamples=None if opaque else ["unassalpha"],
    )
    assert off(read(path)[1], shown if opaque else on_white(shown, ALPHA)) <= 2


# L*a*b* of D50 for red, green, a pale blue, white and a middle grey in sRGB.
_LAB = ((54.3, 80.8, 69.9), (87.8, -79.3, 81.0), (78.6, -9.8, -19.3), (100, 0, 0), (53.6, 0, 0))
_SHOWN = ((255, 0, 0), (0, 255, 0), (153, 204, 230), (255, 255, 255), (128, 128, 128))


@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
@pytest.mark.parametrize("bits", [8, 16])
def test_lab_is_converted_to_rgb(tmp_path: Path, photometric: str, bits: int) -> None:
    lab = np.repeat(np.array([_LAB], dtype=float), 4, axis=0)
    lightness, a, b = (lab[..., at] for at in range(3))
    top = 255 if bits == 8 else (65535 if photometric == "cielab" else 65280)
    shift, unit = (128 if photometric == "icclab" else 0), 1 if bits == 8 else 256
    stored = np.stack([lightness * top / 100, (a + shift) * unit, (b + shift) * unit], -1).round().astype(np.int64)
    samples = (stored & (255 if bits == 8 else 65535)).astype(np.uint8 if bits == 8 else np.uint16)
    found = read(written(tmp_path / "a.tif", samples, photometric=photometric))[1]
    assert off(found, np.repeat(np.array([_SHOWN]), 4, axis=0)) <= 14


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("map_bits", [8, 16])
def test_a_palette_is_looked_up(tmp_path: Path, bits: int, map_bits: int) -> None:
    """Some programs write the colours of a palette in 8 bits, though TIFF has 16."""
    count = 2**bits
    indices = [(x * 7 + y) % count for y in range(HEIGHT) for x in range(64)]
    packed = int("".join(f"{index:0{bits}b}" for index in indices), 2).to_bytes(len(indices) * bits // 8, "big")
    colours = [[(at * 97 + 255 * band) % 256 for at in range(count)] for band in range(3)]
    colours[1][0] = 255
    entries = [value * (257 if map_bits == 16 else 1) for band in colours for value in band]
    page = RawPage(64, HEIGHT, [bits], 3, [packed], {320: (SHORT, entries)})
    (tmp_path / "a.tif").write_bytes(raw_tiff(page))
    wanted = np.array([[band[index] for band in colours] for index in indices]).reshape(HEIGHT, 64, 3)
    assert off(read(tmp_path / "a.tif")[1], wanted) <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1])
def test_few_bits_become_eight(tmp_path: Path, bits: int, photometric: int) -> None:
    top = 2**bits - 1
    values = [(x * 5 + y) % (top + 1) for y in range(HEIGHT) for x in range(64)]
    packed = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(len(values) * bits // 8, "big")
    (tmp_path / "a.tif").write_bytes(raw_tiff(RawPage(64, HEIGHT, [bits], photometric, [packed])))
    wanted = np.array(values).reshape(HEIGHT, 64) * 255 / top
    assert off(read(tmp_path / "a.tif")[1], wanted if photometric else 255 - wanted) <= 1


@pytest.mark.parametrize("compression", ["jpeg", "webp"])
def test_lossy_compressions_are_decoded(tmp_path: Path, compression: str) -> None:
    path = written(
        tmp_path / "a.tif", COLOURS, photometric="rgb", compression=compression, compressionargs={"level": 95}
    )
    assert np.abs(read(path)[1].astype(float) - COLOURS).mean() < 3


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits"])
def test_a_fax_is_the_right_way_round(tmp_path: Path, compression: str) -> None:
    bitonal = Image.fromarray(GREY).convert("1")
    bitonal.save(tmp_path / "a.tif", compression=compression)
    assert off(read(tmp_path / "a.tif")[1], np.asarray(bitonal.convert("L"))) == 0


def test_inks_in_jpeg_are_not_inverted(tmp_path: Path) -> None:
    inks = Image.fromarray(COLOURS).convert("CMYK")
    inks.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    assert np.abs(read(tmp_path / "a.tif")[1].astype(float) - COLOURS).mean() < 3


def _stored(picture: Array, orientation: int) -> Array:
    """Return what a file must hold so that its orientation, applied, gives the picture (TIFF 6.0, tag 274)."""
    turns = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(picture, -1),
    }
    return np.ascontiguousarray(turns[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("model", ["grey", "rgb", "rgba", "cmyk"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_every_orientation_is_turned_upright(
    tmp_path: Path, orientation: int, kind: Any, model: str, compression: str | None
) -> None:
    opaque = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    samples, photometric, wanted = {
        "grey": (GREY, "minisblack", GREY),
        "rgb": (COLOURS, "rgb", COLOURS),
        "rgba": (np.concatenate([COLOURS, opaque], -1), "rgb", COLOURS),
        "cmyk": (np.concatenate([255 - COLOURS, opaque * 0], -1), "separated", COLOURS),
    }[model]
    path = written(
        tmp_path / "a.tif",
        scaled(_stored(samples, orientation), kind),
        photometric=photometric,
        extrasamples=["unassalpha"] if model == "rgba" else None,
        compression=compression,
        extratags=[(274, 3, 1, orientation, True)],
    )
    description, found = read(path)
    assert (description.width, description.height) == (WIDTH, HEIGHT)
    assert off(found, wanted) <= 1
    stored = decode(path, description, upright=False).image
    assert stored.size == description.stored_size == _stored(GREY, orientation).shape[::-1]


def test_large_turned_pictures_are_put_together(tmp_path: Path) -> None:
    """They come in many strips, each of which is turned by itself."""
    picture = np.random.default_rng(1).integers(0, 255, (1500, 2100), dtype=np.uint8)
    for orientation in range(1, 9):
        path = written(
            tmp_path / "a.tif",
            _stored(picture, orientation),
            photometric="minisblack",
            rowsperstrip=10,
            extratags=[(274, 3, 1, orientation, True)],
        )
        assert off(read(path)[1], picture) == 0


def test_an_orientation_that_is_a_byte_is_followed(tmp_path: Path) -> None:
    stored = _stored(GREY, 6)
    page = RawPage(HEIGHT, WIDTH, [8], 1, [stored.tobytes()], {274: (BYTE, [6])})
    (tmp_path / "a.tif").write_bytes(raw_tiff(page))
    assert off(read(tmp_path / "a.tif")[1], GREY) == 0


def _page(shade: int, width: int = 20, tags: dict[int, int] | None = None) -> RawPage:
    values = {tag: (SHORT, [value]) for tag, value in (tags or {}).items()}
    return RawPage(width, 10, [8], 1, [bytes([shade]) * width * 10], values)


@pytest.mark.parametrize(
    ("pages", "shade", "note"),
    [
        ([_page(10), _page(20)], 10, "page 1 of 2"),
        ([_page(10, tags={254: 1}), _page(20, 40)], 20, "page 2 of 2"),
        ([_page(10, tags={255: 2}), _page(20, 40)], 20, "page 2 of 2"),
        ([_page(10, tags={254: 4}), _page(20, tags={254: 2}), _page(30)], 20, "page 2 of 3"),
        ([_page(10, tags={254: 1}), _page(20, 40, tags={254: 1}), _page(30, 30, tags={254: 1})], 20, "page 2 of 3"),
        ([_page(10)], 10, ""),
    ],
    ids=["first", "after-a-preview", "after-an-old-preview", "after-a-mask", "largest-preview", "alone"],
)
def test_the_first_page_that_is_a_picture_is_read(tmp_path: Path, pages: list[RawPage], shade: int, note: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(raw_tiff(*pages))
    flat = decode_flat(path, describe(path))
    assert flat.image.getextrema() == (shade, shade)
    assert note in " ".join(flat.notes)


def test_a_loop_of_pages_ends(tmp_path: Path) -> None:
    data = bytearray(raw_tiff(_page(10), _page(20)))
    first = int.from_bytes(data[4:8], "little")
    data[-4:] = first.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(data)
    assert describe(tmp_path / "a.tif").pages == 2


def _samples(bits: int, count: int = 1) -> bytes:
    return bytes(range(16 * count * bits // 8)) * 10


def _sixteen(bits: int, photometric: int, count: int = 1, **tags: tuple[int, list[int]]) -> bytes:
    more = {int(tag[1:]): value for tag, value in tags.items()}
    return raw_tiff(RawPage(16, 10, [bits] * count, photometric, [_samples(bits, count)], more))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_sixteen(10, 1), "10-bit samples"),
        (_sixteen(12, 2, 3), "12-bit samples"),
        (_sixteen(14, 1), "14-bit samples"),
        (_sixteen(64, 1), "64-bit samples"),
        (_sixteen(16, 3, t320=(SHORT, [0] * 3)), "16-bit samples"),
        (_sixteen(4, 2, 3), "4-bit samples"),
        (_sixteen(16, 1, t339=(SHORT, [2])), "signed"),
        (_sixteen(64, 1, t339=(SHORT, [3])), "64-bit floating-point"),
        (_sixteen(16, 32844, t259=(SHORT, [34676])), "LogL"),
        (_sixteen(16, 32845, 3, t259=(SHORT, [34676])), "LogLuv"),
        (_sixteen(8, 10, 3), "ITU L*a*b*"),
        (_sixteen(8, 32803), "raw data of a camera"),
        (_sixteen(1, 4), "transparency mask"),
        (_sixteen(8, 6, 3), "subsampled colours"),
        (_sixteen(8, 5, 4, t332=(SHORT, [2])), "inks other than"),
        (_sixteen(8, 2, 3, t259=(SHORT, [33003])), "JPEG 2000"),
        (_sixteen(8, 2, 3, t259=(SHORT, [50000])), "Zstandard"),
        (_sixteen(8, 2, 3, t259=(SHORT, [34925])), "LZMA"),
        (_sixteen(32, 2, 4, t338=(SHORT, [1])), "multiplied with opacity"),
        (_sixteen(8, 2, 3, t259=(SHORT, [6])), "JPEG of the old style"),
        (_sixteen(8, 2, 3, t259=(SHORT, [65000])), "number 65000"),
        (_sixteen(8, 2, 2), "where 3 are needed"),
        (raw_tiff(RawPage(16, 10, [8, 8], 1, [_samples(8)] * 2, {338: (SHORT, [2])})), "separate planes"),
        (raw_tiff(RawPage(16, 10, [5, 6, 5], 2, [_samples(16)])), "different kinds"),
    ],
)
def test_what_is_not_read_right_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match=words.replace("*", r"\*")):
        describe(path)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("value", [-0.5, 1.5, 255.0])
def test_floating_point_outside_of_0_to_1_is_refused(tmp_path: Path, kind: Any, value: float) -> None:
    path = written(tmp_path / "a.tif", np.full((20, 20), value, kind), photometric="minisblack")
    with pytest.raises(UnsupportedError, match="0 to 1"):
        decode(path, describe(path))


def test_uncompressed_ycbcr_is_converted(tmp_path: Path) -> None:
    red = bytes([76, 85, 255])
    path = tmp_path / "a.tif"
    path.write_bytes(raw_tiff(RawPage(16, 10, [8] * 3, 6, [red * 160], {530: (SHORT, [1, 1])})))
    assert off(read(path)[1], np.full((10, 16, 3), (254, 0, 0))) <= 3


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "jpeg"])
def test_a_truncated_tiff_is_damaged(tmp_path: Path, share: float, compression: str | None) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    data = io.BytesIO()
    tifffile.imwrite(data, noise, photometric="rgb", compression=compression, rowsperstrip=16, metadata=None)
    path = tmp_path / "a.tif"
    path.write_bytes(data.getvalue()[: int(len(data.getvalue()) * share)])
    with pytest.raises(DamagedError, match="truncated or damaged"):
        decode(path, describe(path))


@pytest.mark.parametrize("at", range(4, 120, 3))
def test_damaged_tags_are_refused_in_words(tmp_path: Path, at: int) -> None:
    data = bytearray(raw_tiff(RawPage(16, 10, [8], 1, [_samples(8)])))
    data[-at % len(data)] ^= 0xFF
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    try:
        decode(path, describe(path))
    except UnreadableError as error:
        assert len(str(error)) > 20  # noqa: PT017 (it may be read as well)
