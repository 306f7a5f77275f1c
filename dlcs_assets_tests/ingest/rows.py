"""The rows of the ingest plan as images to ingest: what each is sent with, and what must come of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlcs_assets.domain.stages import Outcome
from dlcs_testing.installation import Installation, full_message
from dlcs_testing.looking import decoded, shows
from dlcs_testing.pictures import drawing, encoded

if TYPE_CHECKING:
    from PIL.Image import Image

    from dlcs_testing.pipeline import Pipeline

JPEG, JP2, PNG, PDF = "image/jpeg", "image/jp2", "image/png", "application/pdf"
DEFAULT, USE_ORIGINAL = "iiif-img:default,thumbs:default", "iiif-img:use-original,thumbs:default"
WIDTH, HEIGHT = 480, 360
SIZES = [[480, 360], [400, 300], [200, 150], [100, 75]]
LISTED_BUCKET = "a-librarys-own-bucket"
PDF_BYTES = b"%PDF-1.7\n" + b"1 0 obj\n" * 20
FETCHED, AT_ORIGIN, KEPT = Outcome.FETCHED, Outcome.AT_ORIGIN, Outcome.KEPT
CONVERTED, COPIED, MADE, NOT_REQUIRED = Outcome.CONVERTED, Outcome.COPIED, Outcome.MADE, Outcome.NOT_REQUIRED


@dataclass(frozen=True)
class Row:
    """`stored`: content types in the storage bucket by what follows the id in the key. `read`: by the image server."""

    plan: str
    channels: str
    at: str  # http, portal (optimised) or listed (s3-ambient, not optimised)
    format: str
    outcomes: tuple[Outcome, Outcome, Outcome]
    fetches: int
    converts: int
    stored: dict[str, str]
    read: str  # jp2, original, transient, origin or nothing
    media_type: str | None = None

    @property
    def image(self) -> str:
        return f"2/1/row-{ROWS.index(self)}"

    @property
    def picture(self) -> Image:
        return drawing(WIDTH, HEIGHT, seed=ROWS.index(self) + 1)

    @property
    def bytes(self) -> bytes:
        match self.format:
            case "application/pdf":
                return PDF_BYTES
            case "text/csv":
                return b"shelfmark;folio\nMS 12;3r\n"
            case _:
                names = {JPEG: "JPEG", JP2: "JPEG2000", PNG: "PNG"}
                return encoded(self.picture, names[self.format])

    def __str__(self) -> str:
        return f"{self.plan}-{self.channels}-{self.at}-{self.format.rpartition('/')[2]}"


ROWS = [
    Row("1", DEFAULT, "http", JPEG, (FETCHED, CONVERTED, MADE), 1, 1, {"": JP2}, "jp2"),
    Row("2", DEFAULT, "http", JP2, (FETCHED, COPIED, MADE), 1, 1, {"": JP2}, "jp2"),
    Row("3", DEFAULT, "portal", PNG, (AT_ORIGIN, CONVERTED, MADE), 1, 1, {"": JP2}, "jp2"),
    Row("4", DEFAULT, "portal", JP2, (AT_ORIGIN, COPIED, MADE), 1, 0, {"": JP2}, "jp2"),
    Row("5", USE_ORIGINAL, "http", PNG, (KEPT, NOT_REQUIRED, MADE), 1, 0, {"/original": PNG}, "original"),
    Row("6", USE_ORIGINAL, "portal", JPEG, (AT_ORIGIN, NOT_REQUIRED, MADE), 1, 0, {}, "origin"),
    Row("7", "thumbs:default", "http", JPEG, (Outcome.KEPT_FOR_THUMBNAILS, NOT_REQUIRED, MADE), 1, 0, {}, "transient"),
    Row("8", "thumbs:default", "portal", JPEG, (AT_ORIGIN, NOT_REQUIRED, MADE), 0, 0, {}, "origin"),
    Row("9", "file,thumbs:default", "http", PNG, (KEPT, NOT_REQUIRED, MADE), 1, 0, {"/original": PNG}, "original"),
    Row("10", "file,thumbs:default", "portal", PNG, (AT_ORIGIN, NOT_REQUIRED, MADE), 0, 0, {}, "origin"),
    # And those that the table of ten leaves out
    Row("1", DEFAULT, "listed", JPEG, (FETCHED, CONVERTED, MADE), 1, 1, {"": JP2}, "jp2"),
    Row("1", "iiif-img:default", "http", JPEG, (FETCHED, CONVERTED, MADE), 1, 1, {"": JP2}, "jp2"),
    Row("1+file", f"file,{DEFAULT}", "http", JPEG, (KEPT, CONVERTED, MADE), 1, 1, {"": JP2, "/original": JPEG}, "jp2"),
    Row(
        "1+file",
        "file,iiif-img:default",
        "http",
        PNG,
        (KEPT, CONVERTED, MADE),
        1,
        1,
        {"": JP2, "/original": PNG},
        "jp2",
    ),
    Row("3+file", f"file,{DEFAULT}", "portal", JPEG, (AT_ORIGIN, CONVERTED, MADE), 1, 1, {"": JP2}, "jp2"),
    Row(
        "5+file",
        f"file,{USE_ORIGINAL}",
        "http",
        JPEG,
        (KEPT, NOT_REQUIRED, MADE),
        1,
        0,
        {"/original": JPEG},
        "original",
    ),
    Row("file", "file", "http", PDF, (KEPT, NOT_REQUIRED, NOT_REQUIRED), 1, 0, {"/original": PDF}, "nothing"),
    Row(
        "file",
        "file",
        "http",
        "text/csv",
        (KEPT, NOT_REQUIRED, NOT_REQUIRED),
        1,
        0,
        {"/original": "text/csv"},
        "nothing",
        "text/csv",
    ),
    Row("file", "file", "portal", PDF, (AT_ORIGIN, NOT_REQUIRED, NOT_REQUIRED), 0, 0, {}, "nothing"),
    Row("none", "none", "http", JPEG, (NOT_REQUIRED, NOT_REQUIRED, NOT_REQUIRED), 0, 0, {}, "nothing"),
]  # fmt: skip (a table is read by its columns)
MAKING_THUMBNAILS = [row for row in ROWS if row.read != "nothing"]


def origin_of(row: Row, installation: Installation) -> str:
    match row.at:
        case "http":
            return installation.serve(row.image, row.bytes)
        case "portal":
            return installation.upload(row.image, row.bytes)
        case _:
            installation.put(LISTED_BUCKET, row.image, row.bytes)
            return f"s3://{LISTED_BUCKET}/{row.image}"


def ingest_rows(pipeline: Pipeline, rows: Iterable[Row]) -> None:
    """Ingest the image of each row."""
    for row in rows:
        pipeline.send(full_message(row.image, origin_of(row, pipeline), row.channels, mediaType=row.media_type))
    pipeline.settle()


def check_done(pipeline: Pipeline, row: Row) -> None:
    """Check that the image of a row is done and has the thumbnails of its picture, in all sizes."""
    assert pipeline.status(row.image).state == "done"
    found = pipeline.thumbs(f"{row.image}/")
    sizes = found.pop(f"{row.image}/s.json")
    assert sizes.data == json.dumps({"o": SIZES, "a": []}, separators=(",", ":")).encode()
    assert set(found) == {f"{row.image}/open/{width}.jpg" for width, _ in SIZES}
    for width, height in SIZES:
        thumbnail = found[f"{row.image}/open/{width}.jpg"]
        assert thumbnail.content_type == "image/jpeg"
        assert (decoded(thumbnail.data).format, decoded(thumbnail.data).size) == ("JPEG", (width, height))
        assert shows(thumbnail.data, row.picture)


def is_of(row: Row, key: str) -> bool:
    """Return whether a key, or a path that ends in one, is that of the row's image or below it."""
    return f"/{row.image}/" in f"/{key}/"
