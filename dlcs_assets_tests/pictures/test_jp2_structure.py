from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.pictures import jp2_boxes, jp2_structure
from dlcs_assets.pictures.jp2_structure import Jp2Structure, read_jp2_structure
from dlcs_testing.pictures import drawing, encoded


def jp2(width: int = 300, height: int = 200, *, mode: str = "RGB", **options: Any) -> bytes:
    return encoded(drawing(width, height, mode=mode), "JPEG2000", **options)


TILED = jp2(
    tile_size=(128, 128), num_resolutions=4, irreversible=True, quality_layers=[20], progression="RPCL", plt=True
)


def read(data: bytes, folder: Path) -> Jp2Structure:
    path = folder / "image.jp2"
    path.write_bytes(data)
    return read_jp2_structure(path)


def test_a_tiled_jp2_is_described(tmp_path: Path) -> None:
    structure = read(TILED, tmp_path)
    assert (structure.width, structure.height, structure.components, structure.bit_depth) == (300, 200, 3, 8)
    assert (structure.tile_width, structure.tile_height, structure.tiles) == (128, 128, 6)
    assert (structure.levels, structure.layers, structure.progression) == (3, 1, "RPCL")
    assert structure.irreversible
    assert structure.has_plt
    assert structure.precincts == ()
    assert structure.tile_parts == 6
    assert structure.is_tile_ready


def test_precincts_and_layers_are_described(tmp_path: Path) -> None:
    options: dict[str, Any] = {"precinct_size": (64, 64), "num_resolutions": 3, "quality_layers": [40, 20, 10]}
    structure = read(jp2(mode="L", **options), tmp_path)
    assert structure.precincts[-1] == (64, 64)
    assert len(structure.precincts) == 3
    assert (structure.components, structure.layers, structure.tiles) == (1, 3, 1)
    assert not structure.has_plt
    assert not structure.irreversible


@pytest.mark.parametrize(
    ("size", "options", "ready"),
    [
        ((2000, 1500), {"tile_size": (1024, 1024), "num_resolutions": 6}, True),
        ((2000, 1500), {"precinct_size": (256, 256), "num_resolutions": 6}, True),
        ((2000, 1500), {"num_resolutions": 6}, False),
        ((2000, 1500), {"tile_size": (1024, 1024), "num_resolutions": 1}, False),
        # No larger than a tile, no larger than a thumbnail: nothing to cut, nothing to scale.
        ((900, 1000), {"num_resolutions": 4}, True),
        ((900, 1000), {"num_resolutions": 1}, False),
        ((1, 1), {"num_resolutions": 1}, True),
    ],
)
def test_tile_ready_is_what_can_be_read_in_parts(
    size: tuple[int, int], options: dict[str, Any], ready: bool, tmp_path: Path
) -> None:
    assert (
        read(jp2(*size, mode="L", irreversible=True, quality_layers=[100], **options), tmp_path).is_tile_ready is ready
    )


def test_sixteen_bits_are_described(tmp_path: Path) -> None:
    from PIL import Image

    assert read(encoded(Image.new("I;16", (20, 10), 40000), "JPEG2000"), tmp_path).bit_depth == 16


def test_a_jp2_cut_anywhere_is_broken(tmp_path: Path) -> None:
    dice = random.Random(7)
    for length in [*range(0, 250, 3), *(dice.randrange(len(TILED)) for _ in range(60)), len(TILED) - 1]:
        with pytest.raises(PermanentError) as caught:
            read(TILED[:length], tmp_path)
        assert caught.value.code == "jp2_broken", length


def test_garbage_never_raises_anything_else(tmp_path: Path) -> None:
    """Whatever an origin serves, the image fails with a reason."""
    dice = random.Random(3)
    read_whole = 0
    for _ in range(300):
        data = bytearray(TILED)
        for _ in range(3):
            data[dice.randrange(250)] = dice.randrange(256)
        with suppress(PermanentError):
            read(bytes(data), tmp_path)
            read_whole += 1
    assert read_whole < 200


def without_last_tile(data: bytes) -> bytes:
    at = data.rindex(b"\xff\x90\x00\x0a")
    codestream = data.index(b"jp2c")
    whole = data[:at] + b"\xff\xd9"
    return whole[: codestream - 4] + struct.pack(">I", len(whole) - codestream + 4) + whole[codestream:]


def with_endless_packet_length(data: bytes) -> bytes:
    """Let the last number of the first table of packet lengths go on where there is nothing more."""
    at = data.index(b"\xff\x58")
    (length,) = struct.unpack(">H", data[at + 2 : at + 4])
    last = at + 1 + length
    return data[:last] + bytes([data[last] | 0x80]) + data[last + 1 :]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "signature"),
        (b"\xff\xd8\xff" + bytes(100), "impossible length|breaks off|signature"),
        (TILED.replace(b"jp2c", b"jp2x"), "there is no codestream"),
        (TILED.replace(b"jp2h", b"jp2y"), "there is no header"),
        (TILED.replace(b"ihdr", b"ihdx"), "size of the picture"),
        (TILED.replace(struct.pack(">II", 200, 300), struct.pack(">II", 201, 300), 1), "differ about the size"),
        (TILED[:-100], "breaks off in box 'jp2c', 100 bytes before its end"),
        (without_last_tile(TILED), "5 of 6 tiles"),
        (with_endless_packet_length(TILED), "table of packet lengths at byte 226 breaks off"),
    ],
)
def test_what_is_wrong_is_reported(data: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=what) as caught:
        read(data, tmp_path)
    assert caught.value.code == "jp2_broken"


def test_lengths_that_are_left_open_are_read_to_the_end(tmp_path: Path) -> None:
    """The last box and the last tile-part may say 0 for "as far as there is"."""
    box = TILED.index(b"jp2c") - 4
    data = bytearray(TILED)
    data[box : box + 4] = bytes(4)
    last = data.rindex(b"\xff\x90\x00\x0a")
    data[last + 6 : last + 10] = bytes(4)
    assert read(bytes(data), tmp_path) == read(TILED, tmp_path)
    with pytest.raises(PermanentError):
        read(bytes(data[:-1]), tmp_path)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (TILED[:-2] + b"\0\0", "no end marker"),
        (TILED + b"\r\n", "what follows the codestream is no box"),
    ],
)
def test_what_decoders_read_all_the_same_is_noted(data: bytes, note: str, tmp_path: Path) -> None:
    structure = read(data, tmp_path)
    assert structure == read(TILED, tmp_path)
    assert note in "; ".join(structure.notes)


def test_parts_beyond_the_stated_number_are_noted(tmp_path: Path) -> None:
    """As every JP2 of Adobe's encoder has them."""
    first = TILED.index(b"\xff\x90\x00\x0a")
    second = TILED.index(b"\xff\x90\x00\x0a", first + 1)
    part = bytearray(TILED[first:second])
    end = part.index(b"\xff\x93") + 2
    again = bytearray(part[:12]) + b"\xff\x93"
    again[6:10] = struct.pack(">I", len(again))
    part[11] = again[11] = 1
    again[10] = 1
    assert end > 12
    box = TILED.index(b"jp2c") - 4
    (length,) = struct.unpack(">I", TILED[box : box + 4])
    data = bytearray(TILED[:first] + part + again + TILED[second:])
    data[box : box + 4] = struct.pack(">I", length + len(again))
    assert read(bytes(data), tmp_path).notes == ("tiles have more parts than they state",)


def test_padding_behind_a_part_without_a_length_is_noted(tmp_path: Path) -> None:
    box = TILED.index(b"jp2c") - 4
    data = bytearray(TILED)
    data[box : box + 4] = bytes(4)
    last = data.rindex(b"\xff\x90\x00\x0a")
    data[last + 6 : last + 10] = bytes(4)
    assert read(bytes(data) + bytes(500), tmp_path).notes == ("500 bytes follow the end of its codestream",)


def test_long_boxes_are_read(tmp_path: Path) -> None:
    box = TILED.index(b"jp2c") - 4
    (length,) = struct.unpack(">I", TILED[box : box + 4])
    data = TILED[:box] + struct.pack(">I4sQ", 1, b"jp2c", length + 8) + TILED[box + 8 :]
    assert read(data, tmp_path) == read(TILED, tmp_path)


def test_image_data_is_skipped_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = 0

    def counting(file: Any, at: int, length: int) -> bytes:
        nonlocal read_bytes
        read_bytes += length
        return jp2_boxes.read_at(file, at, length)

    monkeypatch.setattr(jp2_structure, "read_at", counting)
    big = jp2(2000, 2000, tile_size=(512, 512), num_resolutions=5)
    read(big, tmp_path)
    assert read_bytes < len(big) / 50
