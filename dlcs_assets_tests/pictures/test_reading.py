from __future__ import annotations

import random
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.picture_limits import PictureLimits
from dlcs_assets.pictures.comparison import Difference, compare
from dlcs_assets.pictures.demands import Gate
from dlcs_assets.pictures.fingerprint import Fingerprint
from dlcs_assets.pictures.header import PictureHeader
from dlcs_assets.pictures.reading import fingerprint, read_header
from dlcs_testing.pictures import drawing, encoded, jpeg

if TYPE_CHECKING:
    from PIL.Image import Image


def read(data: bytes, folder: Path, max_pixels: int = 10**9) -> PictureHeader:
    path = folder / "image.with-a-lying-name.txt"
    path.write_bytes(data)
    return read_header(path, Gate(PictureLimits(pixels=max_pixels)))


def same_picture(one: Fingerprint, other: Fingerprint) -> bool:
    return compare(one, other) is None


def thumbnail(image: Image, edge: int = 100, **options: Any) -> bytes:
    small = image.convert("RGB")
    small.thumbnail((edge, edge))
    return encoded(small, "JPEG", **options)


@pytest.mark.parametrize(
    ("image_format", "mode", "media_type"),
    [
        ("JPEG", "RGB", "image/jpeg"),
        ("JPEG", "CMYK", "image/jpeg"),
        ("TIFF", "RGB", "image/tiff"),
        ("TIFF", "1", "image/tiff"),
        ("PNG", "P", "image/png"),
        ("GIF", "P", "image/gif"),
        ("WEBP", "RGB", "image/webp"),
        ("BMP", "RGB", "image/bmp"),
        ("PPM", "RGB", "image/x-portable-anymap"),
        ("JPEG2000", "RGB", "image/jp2"),
    ],
)
def test_accepted_formats_are_recognised_by_their_bytes(
    image_format: str, mode: str, media_type: str, tmp_path: Path
) -> None:
    picture = read(encoded(drawing(120, 80, mode=mode), image_format), tmp_path)
    assert picture.format.media_type == media_type
    assert (picture.width, picture.height, picture.orientation, picture.pages) == (120, 80, 1, 1)
    assert not picture.has_orientation


def with_exif(orientation: int) -> Any:
    from PIL.Image import Exif

    exif = Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_is_that_of_the_picture_turned_upright(image_format: str, orientation: int, tmp_path: Path) -> None:
    picture = read(encoded(drawing(120, 80), image_format, exif=with_exif(orientation)), tmp_path)
    assert (picture.orientation, picture.has_orientation) == (orientation, True)
    assert (picture.width, picture.height) == ((80, 120) if orientation >= 5 else (120, 80))


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_invalid_orientation_turns_nothing(orientation: int, tmp_path: Path) -> None:
    picture = read(encoded(drawing(120, 80), "JPEG", exif=with_exif(orientation)), tmp_path)
    assert (picture.width, picture.height, picture.has_orientation) == (120, 80, False)


def test_broken_exif_turns_nothing(tmp_path: Path) -> None:
    picture = read(encoded(drawing(120, 80), "JPEG", exif=b"Exif\0\0nonsense"), tmp_path)
    assert (picture.width, picture.height, picture.has_orientation) == (120, 80, False)


XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def in_uuid_box(data: bytes, uuid: bytes, content: bytes) -> bytes:
    at = data.index(b"jp2c") - 4
    return data[:at] + struct.pack(">I4s", 24 + len(content), b"uuid") + uuid + content + data[at:]


@pytest.mark.parametrize(
    ("uuid", "content"),
    [
        (XMP_UUID, XMP),
        (b"JpgTiffExif->JP2", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
    ],
)
def test_a_jp2_may_state_its_orientation_in_a_box(uuid: bytes, content: bytes, tmp_path: Path) -> None:
    picture = read(in_uuid_box(encoded(drawing(120, 80), "JPEG2000"), uuid, content), tmp_path)
    assert (picture.width, picture.height, picture.orientation) == (80, 120, 6)


@pytest.mark.parametrize(("image_format", "options"), [("JPEG", {"xmp": XMP}), ("TIFF", {"tiffinfo": {700: XMP}})])
def test_an_orientation_in_xmp_counts_where_exif_has_none(
    image_format: str, options: dict[str, Any], tmp_path: Path
) -> None:
    picture = read(encoded(drawing(120, 80), image_format, **options), tmp_path)
    assert (picture.width, picture.height, picture.orientation) == (80, 120, 6)


def test_frames_are_counted_and_the_first_is_measured(tmp_path: Path) -> None:
    frames = [drawing(60, 40, seed=seed) for seed in (2, 3)]
    for image_format in ("GIF", "TIFF"):
        data = encoded(drawing(60, 40), image_format, save_all=True, append_images=frames)
        picture = read(data, tmp_path)
        assert (picture.width, picture.height, picture.pages) == (60, 40, 3)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"just text, named .jpg", "is text/plain"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "is text/html"),
        (b"%PDF-1.7\n", "is application/pdf"),
        (b"\x00\x01\x02\x03" * 20, "is of no known format"),
    ],
)
def test_what_is_not_an_image_is_named(data: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=what) as caught:
        read(data, tmp_path)
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1", "photoshop"),
        (b"BM" + struct.pack("<IIIIiiHHII20x", 58, 0, 54, 40, 2, 2, 1, 24, 4, 0), "BMP compression"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_a_picture_of_a_format_not_read_here_is_named(data: bytes, what: str, tmp_path: Path) -> None:
    """It is neither damaged nor called something other than an image."""
    with pytest.raises(PermanentError, match=what) as caught:
        read(data, tmp_path)
    assert caught.value.code == "image_unsupported"


@pytest.mark.parametrize(
    "data",
    [
        jpeg(120, 80)[:20],
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0",
        b"II*\0\xff\xff\xff\x7f",
        b"GIF89a",
    ],
)
def test_a_header_that_breaks_off_is_unreadable(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        read(data, tmp_path)
    assert caught.value.code == "image_unreadable"


def test_a_damaged_header_is_called_that_in_plain_words(tmp_path: Path) -> None:
    """Where the library says nothing but that it could not be called."""
    path = tmp_path / "page.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 13, b"IHDR") + bytes(40))
    with pytest.raises(PermanentError, match=r"can't be read: its header is damaged"):
        fingerprint(path)


def test_a_bomb_of_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    png = bytearray(encoded(drawing(10, 10), "PNG"))
    png[16:24] = struct.pack(">II", 60000, 60000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(PermanentError, match="60000 x 60000") as caught:
        read(bytes(png), tmp_path, max_pixels=500_000_000)
    assert caught.value.code == "too_many_pixels"


def test_the_limit_is_ours_and_not_pillows(tmp_path: Path) -> None:
    """Pillow warns above 89 megapixels and refuses 179; the setting allows 500 by default."""
    from PIL import Image

    data = encoded(Image.new("1", (15_000, 15_000)), "TIFF", compression="group4")
    assert read(data, tmp_path, max_pixels=225_000_000).width == 15_000
    with pytest.raises(PermanentError) as caught:
        read(data, tmp_path, max_pixels=224_999_999)
    assert caught.value.code == "too_many_pixels"


PAGES = [drawing(900, 1301, seed=seed) for seed in range(4)]


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {"quality": 90}),
        ("JPEG2000", {"tile_size": (512, 512), "irreversible": True, "quality_layers": [30], "num_resolutions": 5}),
        ("JPEG2000", {"num_resolutions": 1}),
        ("TIFF", {}),
        ("PNG", {}),
    ],
)
def test_a_thumbnail_shows_its_own_page_and_no_other(
    image_format: str, options: dict[str, Any], tmp_path: Path
) -> None:
    thumbnails = [fingerprint(thumbnail(page, quality=60)) for page in PAGES]
    for number, page in enumerate(PAGES):
        path = tmp_path / "page"
        path.write_bytes(encoded(page, image_format, **options))
        mine = fingerprint(path)
        assert [same_picture(mine, other) for other in thumbnails] == [other == number for other in range(len(PAGES))]


@pytest.mark.parametrize("size", [(1609, 2398), (455, 567), (1001, 1500), (640, 641)])
def test_a_jp2_of_any_size_is_decoded_reduced(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow's own reduction fails for most sizes, and a full decode would go unnoticed but for the time."""
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

    reductions = []
    load = Jpeg2KImageFile.load

    def watched(image: Jpeg2KImageFile) -> Any:
        reductions.append(image._reduce)
        return load(image)

    monkeypatch.setattr(Jpeg2KImageFile, "load", watched)
    page = drawing(*size)
    path = tmp_path / "page.jp2"
    path.write_bytes(encoded(page, "JPEG2000", num_resolutions=6, irreversible=True, quality_layers=[30]))
    assert same_picture(fingerprint(path), fingerprint(thumbnail(page)))
    assert reductions
    assert min(reductions) >= 2


def changed(page: Image, how: str) -> Image:
    from PIL import Image as PillowImage

    match how:
        case "brighter":
            return page.point([min(255, round(255 * (level / 255) ** 0.6)) for level in range(256)] * 3)
        case "duller":
            return page.point([64 + level // 2 for level in range(256)] * 3)
        case _:
            return page.resize((80, 116), PillowImage.Resampling.NEAREST)


@pytest.mark.parametrize("how", ["brighter", "duller", "coarse"])
def test_colour_management_and_resampling_keep_the_fingerprint(how: str) -> None:
    for page in PAGES:
        assert same_picture(fingerprint(encoded(page)), fingerprint(thumbnail(changed(page, how), quality=30)))


def text_page(seed: int) -> Image:
    """Draw a page as even as print: the same margins and lines on all, only the words differ."""
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    dice = random.Random(seed)
    page = PillowImage.new("RGB", (700, 1000), (240, 235, 225))
    draw = ImageDraw.Draw(page)
    for top in range(120, 860, 22):
        x = 90
        while x < 600:
            width = dice.randrange(15, 80)
            draw.rectangle((x, top, min(x + width, 610), top + 11), fill=(40, 30, 30))
            x += width + dice.randrange(6, 30)
    return page


def test_even_pages_of_text_have_different_fingerprints() -> None:
    pages = [text_page(seed) for seed in range(6)]
    thumbnails = [fingerprint(thumbnail(page)) for page in pages]
    for number, page in enumerate(pages):
        mine = fingerprint(encoded(page))
        assert [same_picture(mine, other) for other in thumbnails] == [other == number for other in range(len(pages))]


def test_a_page_that_is_upside_down_is_turned() -> None:
    for page in PAGES:
        seen = compare(fingerprint(encoded(page)), fingerprint(thumbnail(page.rotate(180))))
        assert seen
        assert seen.difference is Difference.TURNED


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_fingerprint_is_taken_upright(orientation: int, image_format: str) -> None:
    from PIL import Image, ImageOps

    data = encoded(PAGES[0], image_format, exif=with_exif(orientation))
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert same_picture(fingerprint(data), fingerprint(thumbnail(upright)))
    assert same_picture(fingerprint(data), fingerprint(thumbnail(PAGES[0]))) is (orientation == 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16"])
def test_pictures_of_every_mode_match_their_thumbnails(mode: str) -> None:
    page = PAGES[1].convert("L") if mode in {"L", "I;16"} else PAGES[1].convert(mode)
    if mode == "I;16":
        page = page.convert("I").point(lambda level: level * 257).convert(mode)
    look = fingerprint(encoded(page, "TIFF"))
    own, other = (each.convert("L") if mode in {"1", "L", "I;16"} else each for each in PAGES[1:3])
    assert same_picture(look, fingerprint(thumbnail(own)))
    assert not same_picture(look, fingerprint(thumbnail(other)))


@pytest.mark.parametrize(
    "data",
    [
        jpeg(400, 600)[:-3000],
        encoded(PAGES[0], "PNG")[:-3000],
        encoded(PAGES[0], "BMP")[:-3000],
    ],
)
def test_a_picture_that_does_not_decode_has_no_fingerprint(data: bytes) -> None:
    with pytest.raises(PermanentError) as caught:
        fingerprint(data)
    assert caught.value.code == "image_unreadable"


def test_a_broken_jp2_has_no_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "page.jp2"
    path.write_bytes(encoded(PAGES[0], "JPEG2000")[:-3000])
    with pytest.raises(PermanentError) as caught:
        fingerprint(path)
    assert caught.value.code == "jp2_broken"
