"""Rows of the ingest plan as cases use them: what is asked for, of which files, from where."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.system import RunningSystem
from dlcs_assets.domain.asset_id import AssetId
from dlcs_stack import aws
from dlcs_stack.appetiser.encoder import encode
from dlcs_stack.appetiser.models import Optimisation
from dlcs_testing.http_serving import Answer, serving

SHELF: Final = "bench-shelf"  # a bucket that the image server may read itself
CUSTOMER: Final = f"""
    buckets: {{{SHELF}: {{}}}}
    origins: [{{id: shelf, regex: '^s3://{SHELF}/', strategy: s3-ambient, optimised: true, order: 1}}]
"""
THUMBS: Final = {"channel": "thumbs", "policy": "default"}
JP2_AND_THUMBS: Final = ({"channel": "iiif-img", "policy": "default"}, THUMBS)
ORIGINAL_AND_THUMBS: Final = ({"channel": "iiif-img", "policy": "use-original"}, THUMBS)


@dataclass(frozen=True)
class Row:
    """A row of the plan. Originals are read over HTTP, or from the shelf."""

    name: str
    channels: Sequence[Mapping[str, str]]
    on_shelf: bool = False
    kind: str = "pages"  # of files


ROW_1: Final = Row("row_1", JP2_AND_THUMBS)
ROW_4: Final = Row("row_4", JP2_AND_THUMBS, on_shelf=True, kind="jp2")
ROW_5: Final = Row("row_5", ORIGINAL_AND_THUMBS)
ROW_8: Final = Row("row_8", (THUMBS,), on_shelf=True)


@dataclass(frozen=True)
class Library:
    """Files by kind, and where they are available over HTTP."""

    files: Mapping[str, Sequence[Path]]
    url: str

    def messages(self, system: RunningSystem, row: Row, count: int, customer: int) -> list[dict[str, Any]]:
        """Return full messages for images of a row, after their originals were put where they belong."""
        messages = []
        numbered = itertools.cycle(enumerate(self.files[row.kind]))
        for number, (file, path) in zip(range(count), numbered, strict=False):
            image = AssetId(customer, 1, str(number))
            origin = f"{self.url}/{row.kind}/{file}{path.suffix}"
            if row.on_shelf:
                origin = system.upload(path, str(image), bucket=SHELF)
            messages.append({"asset": {"id": str(image), "origin": origin, "deliveryChannels": list(row.channels)}})
        return messages


@contextmanager
def library(files: Mapping[str, Sequence[Path]]) -> Iterator[Library]:
    """Serve files over HTTP."""

    def answer(_method: str, target: str, _headers: dict[str, str], _body: bytes) -> Answer:
        _, kind, name = target.split("/")
        path = files[kind][int(name.partition(".")[0])]
        return Answer(200, path.read_bytes(), {"Content-Type": "image/jp2" if path.suffix == ".jp2" else "image/jpeg"})

    with serving(answer) as url:
        yield Library(files, url)


def write_customers(path: Path, numbers: Sequence[int]) -> None:
    """Write a customers file in which all these have the shelf."""
    path.write_text("customers:\n" + "".join(f"  {number}:{CUSTOMER}" for number in numbers))


def make_shelf(system: RunningSystem) -> None:
    """Create the bucket."""
    system.s3.create_bucket(Bucket=SHELF, CreateBucketConfiguration={"LocationConstraint": aws.REGION})


def as_jp2(page: Path, path: Path) -> Path:
    """Write a page as a JP2."""
    from PIL import Image

    with Image.open(page) as picture:
        encode(picture.convert("RGB"), path, Optimisation.MAX, None)
    return path
