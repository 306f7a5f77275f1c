"""JPEG 2000 with the boxes that scanners, Kakadu and Adobe write around it: interpreted here, not by the decoder."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253 (made of pictures)
import pytest

from dlcs_stack.pictures.errors import DamagedError, UnsupportedError
from dlcs_stack.pictures.jp2 import read_jp2
from dlcs_stack.pictures.reading import decode_flat, describe
from dlcs_testing.appetiser_pictures import red_is_green_profile
from dlcs_testing.raw_jp2 import CMYK, GREY, SRGB, SYCC, box, codestream, jp2, subsampled_codestream

Array = np.ndarray[Any, np.dtype[Any]]

_Y, _X = np.mgrid[0:64, 0:96]
COLOURS: Array = np.stack([_X * 2 + 20, _Y * 4 - (_Y > 63), 255 - _X - _Y], axis=-1).clip(0, 255).astype(np.uint8)
GREYS: Array = COLOURS[..., 0]
ALPHA: Array = (255 - _Y * 4).clip(0, 255).astype(np.uint8)
RGB = [(0, 0, 1), (1, 0, 2), (2, 0, 3)]
BGR = [(0, 0, 3), (1, 0, 2), (2, 0, 1)]
OPACITY, PREMULTIPLIED = 1, 2


def on_white(colours: Array, alpha: Array) -> Array:
    opacity = alpha.astype(float)[..., None] / 255
    shown: Array = colours * opacity + 255 * (1 - opacity)
    return shown


def shown(path: Path, content: bytes) -> Array:
    path.write_bytes(content)
    return np.asarray(decode_flat(path, describe(path)).image).astype(float)


def off(found: Array, wanted: Array) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max())


def ycc(colours: Array) -> Array:
    """Convert as JFIF does."""
    red, green, blue = (colours[..., at].astype(float) for at in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    rows = [luma, (blue - luma) / 1.772 + 128, (red - luma) / 1.402 + 128]
    return np.stack(rows, -1).round().clip(0, 255).astype(np.uint8)


def with_alpha(colours: Array) -> Array:
    return np.concatenate([colours, ALPHA[..., None]], -1)


@pytest.mark.parametrize(
    "channels", [[], RGB, BGR, list(reversed(BGR))], ids=["none", "rgb", "bgr", "bgr-listed-backwards"]
)
def test_the_channel_definition_decides_about_the_order(tmp_path: Path, channels: list[tuple[int, int, int]]) -> None:
    stored = COLOURS[..., ::-1] if (0, 0, 3) in channels else COLOURS
    content = jp2(codestream(np.ascontiguousarray(stored)), channels=channels)
    assert off(shown(tmp_path / "a.jp2", content), COLOURS) == 0


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 9, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("colour_space", [SRGB, GREY])
def test_every_depth_becomes_eight_bits(tmp_path: Path, bits: int, colour_space: int) -> None:
    top = 2**bits - 1
    levels = (COLOURS if colour_space == SRGB else GREYS).astype(np.uint32) * top // 255
    content = jp2(codestream(levels.astype(np.uint8 if bits < 9 else np.uint16), bits), colour_space)
    assert off(shown(tmp_path / "a.jp2", content), levels * 255 / top) <= 1


@pytest.mark.parametrize("deep", [False, True], ids=["8-bits", "16-bits"])
@pytest.mark.parametrize("first", [False, True], ids=["opacity-last", "opacity-first"])
@pytest.mark.parametrize("kind", [OPACITY, PREMULTIPLIED])
def test_opacity_is_laid_on_white(tmp_path: Path, deep: bool, first: bool, kind: int) -> None:
    colours = COLOURS if kind == OPACITY else (COLOURS * (ALPHA[..., None] / 255)).round().astype(np.uint8)
    samples, channels = with_alpha(colours), [*RGB, (3, kind, 0)]
    if first:
        samples = np.roll(samples, 1, -1)
        channels = [(0, kind, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3)]
    stored = samples.astype(np.uint16) * 257 if deep else samples
    content = jp2(codestream(np.ascontiguousarray(stored)), channels=channels)
    assert off(shown(tmp_path / "a.jp2", content), on_white(COLOURS, ALPHA)) <= 2


def test_grey_with_opacity_is_laid_on_white(tmp_path: Path) -> None:
    samples = np.stack([GREYS, ALPHA], -1)
    content = jp2(codestream(samples), GREY, channels=[(0, 0, 1), (1, OPACITY, 0)])
    assert off(shown(tmp_path / "a.jp2", content), on_white(GREYS[..., None], ALPHA)[..., 0]) <= 1


def test_a_channel_that_is_not_defined_is_not_shown(tmp_path: Path) -> None:
    content = jp2(codestream(with_alpha(COLOURS)), channels=[*RGB, (3, 65535, 65535)])
    assert off(shown(tmp_path / "a.jp2", content), COLOURS) == 0


@pytest.mark.parametrize("channels", [[], [(0, 0, 2), (1, 0, 3), (2, 0, 1)]], ids=["in-order", "reordered"])
def test_sycc_is_converted(tmp_path: Path, channels: list[tuple[int, int, int]]) -> None:
    stored = ycc(COLOURS)[..., [1, 2, 0]] if channels else ycc(COLOURS)
    content = jp2(codestream(np.ascontiguousarray(stored)), SYCC, channels=channels)
    assert off(shown(tmp_path / "a.jp2", content), COLOURS) <= 3


@pytest.mark.parametrize("colour_space", [SYCC, None])
@pytest.mark.parametrize("rows", [1, 2])
def test_subsampled_colours_are_converted(tmp_path: Path, colour_space: int | None, rows: int) -> None:
    luma, blue, red = (np.ascontiguousarray(ycc(COLOURS)[..., at]) for at in range(3))
    stream = subsampled_codestream([luma, blue[::rows, ::2].copy(), red[::rows, ::2].copy()])
    content = jp2(stream, colour_space) if colour_space else stream
    assert np.abs(shown(tmp_path / "a.jp2", content) - COLOURS).mean() < 4


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    palette = [(index, 255 - index, (index * 7) % 256) for index in range(256)]
    content = jp2(codestream(GREYS), palette=palette)
    assert off(shown(tmp_path / "a.jp2", content), np.array(palette)[GREYS].astype(float)) == 0


def test_inks_without_a_profile_take_their_share(tmp_path: Path) -> None:
    inks = np.concatenate([COLOURS, (GREYS // 2)[..., None]], -1)
    wanted = (255 - COLOURS.astype(float)) * (255 - (GREYS // 2).astype(float)[..., None]) / 255
    assert off(shown(tmp_path / "a.jp2", jp2(codestream(inks), CMYK)), wanted) <= 1


def test_a_profile_is_followed_at_sixteen_bits(tmp_path: Path) -> None:
    red = np.zeros((40, 40, 3), np.uint16)
    red[..., 0] = 200 * 257
    found = shown(tmp_path / "a.jp2", jp2(codestream(red), red_is_green_profile()))
    assert found[20, 20, 1] > 150 > found[20, 20, 0]


@pytest.mark.parametrize("after", [b"\r\n", b"\0" * 100, b"something else that is no box", box(b"uuid", b"x" * 40)])
def test_what_follows_the_codestream_is_left_alone(tmp_path: Path, after: bytes) -> None:
    content = jp2(codestream(COLOURS), after=after)
    assert off(shown(tmp_path / "a.jp2", content), COLOURS) == 0


def test_a_miscounted_tile_part_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """TNsot says one more than there are: other decoders show the whole picture."""
    stream = bytearray(codestream(COLOURS))
    start = stream.index(b"\xff\x90")
    stream[start + 11] = 2
    assert off(shown(tmp_path / "a.jp2", jp2(bytes(stream))), COLOURS) == 0


def test_a_tile_part_up_to_the_end_may_be_padded(tmp_path: Path) -> None:
    stream = bytearray(codestream(COLOURS))
    start = stream.index(b"\xff\x90")
    stream[start + 6 : start + 10] = bytes(4)
    assert off(shown(tmp_path / "a.jp2", jp2(bytes(stream) + bytes(64))), COLOURS) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (jp2(codestream(COLOURS), 14), "colour space number 14"),
        (jp2(codestream(with_alpha(COLOURS)), None), "what its 4 channels mean"),
        (jp2(codestream(GREYS), SRGB), "what its 1 channels mean"),
        (jp2(codestream(COLOURS), channels=[(0, 0, 1), (1, 0, 2), (7, 0, 3)]), "what its 3 channels mean"),
        (jp2(subsampled_codestream([GREYS, GREYS[::2].copy(), GREYS[::2].copy()])), "subsampling"),
    ],
    ids=["cielab", "four-channels", "one-of-three", "a-missing-channel", "other-subsampling"],
)
def test_what_boxes_leave_open_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.jp2"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match=words):
        decode_flat(path, describe(path))


@pytest.mark.parametrize("deep", [False, True], ids=["8-bits", "16-bits"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_codestream_is_damaged(tmp_path: Path, deep: bool, share: float) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    content = jp2(codestream(noise.astype(np.uint16) * 257 if deep else noise))
    path = tmp_path / "a.jp2"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DamagedError, match="truncated"):
        decode_flat(path, describe(path))


@pytest.mark.parametrize("at", range(0, 130, 3))
def test_damaged_boxes_are_refused_in_words(tmp_path: Path, at: int) -> None:
    content = bytearray(jp2(codestream(COLOURS), channels=BGR))
    content[at] ^= 0x55
    path = tmp_path / "a.jp2"
    path.write_bytes(content)
    try:
        read_jp2(path)
    except DamagedError as error:
        assert "JP2" in str(error)  # noqa: PT017 (it may be read as well)


def test_a_header_of_another_size_is_refused(tmp_path: Path) -> None:
    content = bytearray(jp2(codestream(COLOURS)))
    at = content.index(b"ihdr") + 4
    content[at : at + 8] = struct.pack(">II", 32, 48)
    path = tmp_path / "a.jp2"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="disagree"):
        describe(path)
