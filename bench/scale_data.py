"""A ledger with a history and a Dagster with a working set, written in bulk: rows as the system itself leaves them."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import Table, event, insert, text, update

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.materializations import Upstream, materialization
from dlcs_assets.defs.partitions import KEYS_PER_STATEMENT
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import asset_id_of, partition_key
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, joint_version
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.ledger import tables as schema
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.ledger.records import new_id, stages_text
from dlcs_assets.ledger.writes import outcome_row

CUSTOMERS, SPACES = 10, 10
FAILED_EVERY = 100
THUMBNAILS = (1024, 400, 200, 100)
SERIES = 1000  # images, ten in each space of each customer
COPY_EVENTS = """INSERT INTO event_logs
  (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
  SELECT e.run_id, replace(e.event, :last, p.partition), e.dagster_event_type, e.timestamp, e.step_key, e.asset_key,
    p.partition
  FROM event_logs e, dynamic_partitions p WHERE e.partition = :last AND p.partition <> :last"""
CATALOG = Catalog()
COPY_TAGS = """INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
  SELECT copy.id, t.asset_key, t.key, t.value, t.event_timestamp
  FROM event_logs copy, event_logs e, asset_event_tags t
  WHERE e.partition = :last AND copy.asset_key = e.asset_key AND copy.partition <> :last AND t.event_id = e.id"""
BEGAN = datetime.now(UTC) - timedelta(days=5)
OUTCOMES = {Stage.ORIGINAL: Outcome.FETCHED, Stage.JP2: Outcome.CONVERTED, Stage.THUMBNAILS: Outcome.MADE}


@dataclass(frozen=True)
class _Copied:
    """SQL of a database: the name that series `n` has in its ids, and its digits."""

    name: str
    digits: str


_COPIED = {
    "sqlite": _Copied("printf('image-%03d', n)", "printf('%04x', n)"),
    "postgresql": _Copied("'image-' || lpad(n::text, 3, '0')", "lpad(to_hex(n), 4, '0')"),
}


def image_ids(count: int) -> list[str]:
    """Return the ids of that many images (a multiple of 1,000), those of one series after those of another."""
    return [image for series in range(count // SERIES) for image in _series(series)]


def fill_ledger(url: str, images: Sequence[str]) -> None:
    """Write images that are done, one in a hundred failed; each has one message, one request and one attempt.

    One series is written, and the others are copies of it within the database.
    """
    engine = make_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _hurry)
    rows_of: dict[Table, Callable[[str, str, int], Iterator[dict[str, Any]]]] = {
        schema.images: _image_rows,
        schema.requests: _request_rows,
        schema.attempts: _attempt_rows,
        schema.outcomes: _outcome_rows,
        schema.messages: _message_rows,
    }
    numbered = [(image, new_id(), number) for number, image in enumerate(_series(0))]
    with engine.begin() as connection:
        finished = {"count": None, "submitted_at": BEGAN, "finished_at": BEGAN}
        batches = itertools.product(range(1, len(images) // SERIES + 1), range(1, CUSTOMERS + 1))
        connection.execute(
            insert(schema.batches), [{"id": batch, "customer": customer, **finished} for batch, customer in batches]
        )
        for table, rows in rows_of.items():
            connection.execute(insert(table), list(itertools.chain.from_iterable(itertools.starmap(rows, numbered))))
            copying = _copying(table, _COPIED[engine.dialect.name])
            connection.execute(text(copying), {"series": len(images) // SERIES})
    engine.dispose()


def _hurry(connection: sqlite3.Connection, _: object) -> None:
    """Filling is not what is measured."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -500000")


def fill_dagster(instance: dg.DagsterInstance, keys: Sequence[str]) -> None:
    """Add the keys, all materialised: one is reported, and its events are copied for the others within SQLite."""
    for start in range(0, len(keys), KEYS_PER_STATEMENT):
        instance.add_dynamic_partitions(CATALOG.partitions_name, keys[start : start + KEYS_PER_STATEMENT])
    last = keys[-1]
    asset_id = asset_id_of(last)
    for copied in (True, False):  # reported again at the end, so that Dagster notes it as the newest of the asset
        for stage in STAGES:
            made_from = Upstream(instance, CATALOG).tags(stage, [last]).get(last)
            result = _result(str(asset_id), stage)
            event = materialization(asset_id, new_id(), result, catalog=CATALOG, made_from=made_from)
            instance.report_runless_asset_event(event)
        if copied:
            with sqlite3.connect(Path(instance.root_directory) / "history" / "runs" / "index.db") as connection:
                connection.execute(COPY_EVENTS, {"last": last})
                connection.execute(COPY_TAGS, {"last": last})
            connection.close()


def ask_again(url: str, images: Sequence[str], lane: Lane) -> None:
    """Write pending requests for these images, as a command does."""
    engine = make_engine(url)
    with engine.begin() as connection:
        rows = [
            {
                **next(_request_rows(image, new_id(), 0)),
                "state": RequestState.PENDING,
                "lane": lane,
                "finished_at": None,
                "batch": None,
                "error_code": None,
                "error_cause": None,
                "error_remedy": None,
                "error_stage": None,
            }
            for image in images
        ]
        of_these = schema.requests.c.image_id.in_(images)
        connection.execute(update(schema.requests).where(of_these).values(is_current=False))
        connection.execute(insert(schema.requests), rows)
    engine.dispose()


def _series(number: int) -> list[str]:
    return [
        f"{customer}/{space}/image-{number:03}-{each}"
        for each in range(SERIES // CUSTOMERS // SPACES)
        for customer in range(1, CUSTOMERS + 1)
        for space in range(1, SPACES + 1)
    ]


def _copying(table: Table, copied: _Copied) -> str:
    """Return the SQL that copies the rows of the first series for the others, under ids of their own."""
    values = {
        "images.id": f"replace(id, 'image-000', {copied.name})",
        "image_id": f"replace(image_id, 'image-000', {copied.name})",
        "key": f"replace(key, 'image-000', {copied.name})",
        "requests.id": f"{copied.digits} || substr(id, 5)",  # the first digits are those of the early seventies
        "request_id": f"{copied.digits} || substr(request_id, 5)",
        "messages.id": f"{copied.digits} || substr(id, 5)",
        "batch": "n + 1",
    }
    chosen = [values.get(f"{table}.{column.name}", values.get(column.name, column.name)) for column in table.columns]
    names = ", ".join(column.name for column in table.columns)
    return (
        "WITH RECURSIVE wanted (series) AS (SELECT CAST(:series AS INTEGER)), "
        "copies (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies, wanted WHERE n < series - 1) "
        f"INSERT INTO {table} ({names}) SELECT {', '.join(chosen)} FROM {table}, copies, wanted WHERE series > 1"
    )


def _ids(image: str) -> dict[str, Any]:
    asset_id = AssetId.parse(image)
    return {"customer": asset_id.customer, "space": asset_id.space}


def _image_rows(image: str, _request: str, _number: int) -> Iterator[dict[str, Any]]:
    registration = {
        "origin": f"https://images.example.org/digitised/{image}.tif",
        "media_type": "image/tiff",
        "channels": [{"channel": "iiif-img", "policy": "default"}, {"channel": "thumbs", "policy": "default"}],
        "max_unauthorised": -1,
        "roles": [],
    }
    yield {
        "id": image,
        **_ids(image),
        "registration": registration,
        "asserted_at": BEGAN,
        "registered_at": BEGAN,
        "origin_bucket": None,
        "origin_key": None,
    }


def _request_rows(image: str, request: str, number: int) -> Iterator[dict[str, Any]]:
    failed = number % FAILED_EVERY == FAILED_EVERY - 1
    yield {
        "id": request,
        "image_id": image,
        "is_current": True,
        **_ids(image),
        "lane": Lane.INGEST,
        "stages": stages_text(STAGES),
        "batch": 1,
        "state": RequestState.FAILED if failed else RequestState.DONE,
        "created_at": BEGAN,
        "due_at": BEGAN,
        "finished_at": BEGAN,
        "attempts": 1,
        "error_code": "origin_not_found" if failed else None,
        "error_stage": Stage.ORIGINAL if failed else None,
        "error_cause": "The origin answered 404" if failed else None,
        "error_remedy": "Put the original there, or correct the origin; then ingest again." if failed else None,
    }


def _attempt_rows(_image: str, request: str, _number: int) -> Iterator[dict[str, Any]]:
    yield {"request_id": request, "number": 1, "run_id": new_id(), "ended_at": BEGAN, "result": RequestState.DONE}


def _outcome_rows(image: str, request: str, number: int) -> Iterator[dict[str, Any]]:
    if number % FAILED_EVERY == FAILED_EVERY - 1:
        return
    for stage in STAGES:
        result = _result(image, stage)
        yield outcome_row(AssetId.parse(image), result, request, BEGAN, run_id="0" * 36, reported=True)


def _message_rows(image: str, request: str, _number: int) -> Iterator[dict[str, Any]]:
    yield {
        "id": new_id() + "-mes",
        "queue": "dlcs-ingest",
        "lane": Lane.INGEST,
        "received_at": BEGAN,
        "state": "accepted",
        "image_id": image,
        "customer": _ids(image)["customer"],
        "batch": 1,
        "request_id": request,
    }


def _result(image: str, stage: Stage) -> StageResult:
    stored = _stored(image, stage)
    version = _digest(image) if stage is Stage.ORIGINAL else joint_version(stored)
    facts: dict[str, Any] = {
        "width": 4724,
        "height": 6211,
        "bytes": 12_345_678,
        "milliseconds": 2345,
        "sha256": stored[0].sha256 if stored else version,
        "origin": f"https://images.example.org/digitised/{image}.tif",
        "source": f"s3://dlcs-storage/{image}",
        "location": f"s3://dlcs-storage/{image}",
    }
    if stage is Stage.THUMBNAILS:
        facts["sizes"] = [[size * 3 // 4, size] for size in THUMBNAILS]
    recipe = {"policy": "default", "sizes": [f"!{size},{size}" for size in THUMBNAILS], "code": "1"}
    return StageResult(stage, OUTCOMES[stage], version, facts, stored, recipe)


def _stored(image: str, stage: Stage) -> tuple[ObjectRecord, ...]:
    of_jp2 = [("dlcs-storage", image, ObjectKind.JP2, "image/jp2")]
    of_thumbnails = [
        ("dlcs-thumbs", f"{image}/open/{size}.jpg", ObjectKind.THUMBNAIL, "image/jpeg") for size in THUMBNAILS
    ]
    of_thumbnails.append(("dlcs-thumbs", f"{image}/s.json", ObjectKind.SIZES, "application/json"))
    chosen = {Stage.ORIGINAL: [], Stage.JP2: of_jp2, Stage.THUMBNAILS: of_thumbnails}[stage]
    return tuple(ObjectRecord(bucket, key, kind, 123_456, _digest(key), what) for bucket, key, kind, what in chosen)


def _digest(of: str) -> str:
    return sha256(of.encode()).hexdigest()


def keys_of(images: Sequence[str]) -> list[str]:
    """Return the partition keys of images."""
    return [partition_key(AssetId.parse(image)) for image in images]
