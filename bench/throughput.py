"""Pages through the whole system, against a bare loop that makes the same calls without Dagster and ledger."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import bare_loop
from bench.memory import large_page
from bench.result import Result, of_many
from bench.system import RunningSystem, running
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.local import aws
from dlcs_assets.local.appetiser.encoder import encode
from dlcs_assets.local.appetiser.models import Optimisation

GOAL = 1.1
LARGE_GOAL = 1.03
SHELF = "bench-shelf"  # a bucket that the image server may read itself
CUSTOMERS = range(100, 200)
THUMBS = {"channel": "thumbs", "policy": "default"}
JP2_AND_THUMBS = ({"channel": "iiif-img", "policy": "default"}, THUMBS)
CUSTOMER = f"""
    buckets: {{{SHELF}: {{}}}}
    origins: [{{id: shelf, regex: '^s3://{SHELF}/', strategy: s3-ambient, optimised: true, order: 1}}]
"""


@dataclass(frozen=True)
class Row:
    """A row of the ingest plan: what is asked for, of which pages, from where."""

    name: str
    channels: Sequence[Mapping[str, str]]
    bucket: str = aws.ORIGIN_BUCKET
    kind: str = "pages"


@dataclass(frozen=True)
class Comparison:
    """So many images of a row, so often, in chunks of a size."""

    row: Row
    chunk: int
    count: int
    rounds: int
    goal: float | None = None


ROW_1 = Row("row_1", JP2_AND_THUMBS)
ROW_1_LARGE = Row("24_megapixels", JP2_AND_THUMBS, kind="large")
ROW_4 = Row("row_4", JP2_AND_THUMBS, SHELF, "jp2")
ROW_5 = Row("row_5", ({"channel": "iiif-img", "policy": "use-original"}, THUMBS))
ROW_8 = Row("row_8", (THUMBS,), SHELF)

COMPARISONS = (
    Comparison(ROW_1, 50, 50, 5, GOAL),
    Comparison(ROW_4, 50, 50, 5, GOAL),
    Comparison(ROW_5, 50, 50, 5, GOAL),
    Comparison(ROW_8, 50, 50, 5, GOAL),
    Comparison(ROW_1_LARGE, 50, 12, 3, LARGE_GOAL),
    Comparison(ROW_1, 1, 8, 3),
    Comparison(ROW_1, 10, 20, 3),
    Comparison(ROW_5, 200, 200, 3),
)
QUICK = (Comparison(ROW_1, 50, 8, 1, GOAL), Comparison(ROW_4, 50, 8, 1, GOAL), Comparison(ROW_8, 50, 8, 1, GOAL))


def measure(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Let system and bare loop take turns, in systems of its own: what else the machine does meets both."""
    comparisons = QUICK if quick else COMPARISONS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {"pages": pages}
        if any(each.row.kind == "large" for each in comparisons):
            files["large"] = [large_page(folder)]
        files["jp2"] = [_as_jp2(page, folder / f"{number}.jp2") for number, page in enumerate(pages)]
        customers = folder / "dlcs.yaml"
        customers.write_text("customers:\n" + "".join(f"  {number}:{CUSTOMER}" for number in CUSTOMERS))
        for chunk in dict.fromkeys(each.chunk for each in comparisons):
            settings = {"DLCS_CHUNK_SIZE": str(chunk), "DLCS_CUSTOMERS_FILE": str(customers)}
            with running(settings) as system:
                _make_bucket(system)
                numbers = iter(CUSTOMERS)
                for each in comparisons:
                    if each.chunk == chunk:
                        yield from _compared(system, each, files[each.row.kind], numbers)


def _compared(
    system: RunningSystem, comparison: Comparison, files: Sequence[Path], customers: Iterator[int]
) -> Iterator[Result]:
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(comparison.rounds):
        customer = next(customers)
        messages = _uploaded(system, comparison, files, customer)
        began = time.monotonic()
        system.send_messages(messages)
        system.wait(customer, comparison.count)
        ours.append(time.monotonic() - began)
        customer = next(customers)
        messages = _uploaded(system, comparison, files, customer)
        began = time.monotonic()
        bare_loop.ingest(system, messages, f"bare-{customer}")
        bare.append(time.monotonic() - began)
    what = f"{comparison.row.name}_{comparison.count}_images_chunk_{comparison.chunk}"
    yield of_many("throughput", f"seconds_{what}", ours, "s")
    yield of_many("throughput", f"seconds_bare_loop_{what}", bare, "s")
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    yield of_many("throughput", f"ratio_to_bare_loop_{what}", ratios, "x", comparison.goal)


def _uploaded(
    system: RunningSystem, comparison: Comparison, files: Sequence[Path], customer: int
) -> list[dict[str, Any]]:
    row = comparison.row
    messages = []
    for number, path in zip(range(comparison.count), itertools.cycle(files), strict=False):
        image = AssetId(customer, 1, str(number))
        origin = system.upload(path, str(image), bucket=row.bucket)
        messages.append({"asset": {"id": str(image), "origin": origin, "deliveryChannels": list(row.channels)}})
    return messages


def _make_bucket(system: RunningSystem) -> None:
    system.s3.create_bucket(Bucket=SHELF, CreateBucketConfiguration={"LocationConstraint": aws.REGION})


def _as_jp2(page: Path, path: Path) -> Path:
    from PIL import Image

    with Image.open(page) as picture:
        encode(picture.convert("RGB"), path, Optimisation.MAX, None)
    return path
