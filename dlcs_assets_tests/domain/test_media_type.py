from __future__ import annotations

import pytest

from dlcs_assets.domain.media_type import declared_type, extension_for, is_image_type, media_type_for_extension, sniff

SIGNATURE_BOX = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


def jpeg_2000(brand: bytes, *compatible: bytes) -> bytes:
    box = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return SIGNATURE_BOX + (len(box) + 4).to_bytes(4, "big") + box + b"\x00\x00\x00\x2djp2h" + b"jp2 "


@pytest.mark.parametrize(
    ("head", "media_type", "is_jp2"),
    [
        (jpeg_2000(b"jp2 ", b"jp2 "), "image/jp2", True),
        (jpeg_2000(b"jp2 "), "image/jp2", True),
        (jpeg_2000(b"jpx ", b"jpx ", b"jp2 ", b"jpxb"), "image/jp2", True),
        (jpeg_2000(b"jpx ", b"jpx ", b"jpxb"), "image/jpx", False),
        (jpeg_2000(b"jph ", b"jph "), "image/jph", False),
        (SIGNATURE_BOX, "image/jpx", False),
        (b"\xff\x4f\xff\x51\x00\x2f", "image/x-jp2-codestream", False),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg", False),
        (b"II*\x00\x08\x00\x00\x00", "image/tiff", False),
        (b"MM\x00*\x00\x00\x00\x08", "image/tiff", False),
        (b"II+\x00\x08\x00\x00\x00", "image/tiff", False),
        (b"MM\x00+\x00\x08\x00\x00", "image/tiff", False),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png", False),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00mif1", "image/avif", False),
        (b"GIF87a\x01\x00", "image/gif", False),
        (b"GIF89a\x01\x00", "image/gif", False),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp", False),
        (b"BM\x9a\x00\x00\x00\x00\x00\x00\x00\x8a\x00\x00\x00\x7c\x00\x00\x00", "image/bmp", False),
        (b"P4\n# made by hand\n12 12\n", "image/x-portable-anymap", False),
        (b"P6 12 12 255\n", "image/x-portable-anymap", False),
    ],
)
def test_an_image_is_recognised_by_its_bytes(head: bytes, media_type: str, is_jp2: bool) -> None:
    found = sniff(head)
    assert found is not None
    assert (found.media_type, found.is_image, found.is_jp2) == (media_type, True, is_jp2)


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\n\njunk before\n%PDF-1.4\n", "application/pdf"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><html>", "text/html"),
        (b"<html><head><title>404</title>", "text/html"),
        (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">', "text/html"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg">', "image/svg+xml"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "application/xml"),
        (b"BMW is a maker of cars, and this is a text", "text/plain"),
        (b"P1rates", "text/plain"),
        ("ein Text, der mitten im Zeichen endet: ä".encode()[:-1], "text/plain"),
        (b'{"error": "not found"}', "text/plain"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video/mp4"),
        (b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1", "image/heic"),
        (jpeg_2000(b"mjp2"), "video/mj2"),
        (b"8BPS\x00\x01", "image/vnd.adobe.photoshop"),
        (b"PK\x03\x04", "application/zip"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
    ],
)
def test_a_file_that_is_not_an_image_is_named_by_its_type(head: bytes, media_type: str) -> None:
    found = sniff(head)
    assert found is not None
    assert (found.media_type, found.is_image, found.is_jp2) == (media_type, False, False)


@pytest.mark.parametrize("head", [b"", b"  \n", b"\x00\x01\x02\x03", b"\xfe\xfd\xfc", b"\x89PN", b"text\x00with a nul"])
def test_what_cannot_be_recognised_is_not_guessed(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("media_type", "extension"),
    [
        ("image/svg+xml", "svg"),
        ("application/octet-stream", "bin"),
        ("image/png", "png"),
        ("IMAGE/JPEG", "jpg"),
        ("image/jpeg; charset=binary", "jpg"),
        ("image/jpg", "jpg"),  # not in the DLCS's table, which then says "file"
        ("image/tiff", "tif"),
        ("application/pdf", "pdf"),
        ("application/json", "json"),
        ("image/jp2", "jp2"),
        ("image/jpx", "jpf"),
        ("foo/bar", None),
        (None, None),
    ],
)
def test_a_media_type_has_an_extension(media_type: str | None, extension: str | None) -> None:
    assert extension_for(media_type) == extension


@pytest.mark.parametrize(
    ("extension", "media_type"),
    [
        *(("mp3", "audio/mp3"), (".mp3", "audio/mp3"), ("jp2", "image/jp2"), ("JPG", "image/jpeg")),
        *(("tif", "image/tiff"), ("png", "image/png"), ("mp4", "video/mp4"), ("foo/bar", None), (None, None)),
    ],
)
def test_an_extension_has_a_media_type(extension: str | None, media_type: str | None) -> None:
    assert media_type_for_extension(extension) == media_type


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [("image/tiff", True), ("Image/TIFF", True), ("x-image/jpeg", False), ("video/mp4", False), (None, False)],
)
def test_media_types_of_images_begin_with_image(media_type: str | None, expected: bool) -> None:
    assert is_image_type(media_type) is expected


@pytest.mark.parametrize(
    ("media_type", "declared"),
    [
        (None, None),
        ("", None),
        ("application/octet-stream", None),
        ("Binary/Octet-Stream; x=y", None),
        ("image/tiff", "image/tiff"),
        ("application/pdf", "application/pdf"),
    ],
)
def test_a_type_that_only_means_bytes_declares_nothing(media_type: str | None, declared: str | None) -> None:
    assert declared_type(media_type) == declared
