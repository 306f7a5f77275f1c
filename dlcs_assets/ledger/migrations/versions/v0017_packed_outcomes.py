"""What a stage left behind is packed, with its objects; transient ones have a table, and what ended no index to be due.

Objects of an image that has no outcome of their stage are not taken along: no version wrote one without the other.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_AT_ONCE = 2000
_WORDS = (
    b'"made_by":"Appetiser, from what is stored","size_from":"brought_to_disk":true,"seen_late":1,"left_out":["'
    b'Found in S3 when the ledger was rebuilt","nothing",{}"orientation":6,"page":"1 of ","origin_version":"'
    b'"note":"About this JP2: it has no tiles or precincts to read it by: delivery of large images will be slow'
    b'image/jpeg"image/png"image/jp2"image/tiff"https://s3://"sizes":["!1024,1024","!400,400","!200,200","!100,100"]'
    b'"file":"the original","source":"origin","source":"original","made":false,"kept":true,"restricted":true'
    b',"tile_ready":true,"levels":6,"source_sha256":"","profile":"","plan":"","why":"","media_type":"image/tiff'
    b'["{"origin":"https://","bytes":,"sha256":"","media_type":"image/jpeg","width":,"height":'
    b',"sizes":[[,1024],[,400],[,200],[,100]],"open":4,"restricted":0,"bytes":,"source":"s3://'
    b'","location":"s3://","sha256":"","milliseconds":},{"code":"1","made":true,"origin":"'
    b'","source":"jp2","sizes":["!1024,1024","!400,400","!200,200","!100,100"],"limit":-1,"restricted":false},'
    b'[["","/auth/1024.jpg","thumbnail",,"","image/jpeg"],["","/s.json","sizes",,"","application/json"]]]'
    b'"original",,"","image/tiff"]]]"jp2",,"","image/jp2"]]]'
    b'/open/1024.jpg","thumbnail",,"","image/jpeg"],["/open/400.jpg/open/200.jpg/open/100.jpg"'
)
_STAGES = {"original": "original", "jp2": "jp2", "thumbnail": "thumbnails", "sizes": "thumbnails"}
_OUTCOMES = sa.table(
    "outcomes",
    sa.column("image_id", sa.String),
    sa.column("stage", sa.String),
    sa.column("request_id", sa.String),
    sa.column("run_id", sa.String),
    sa.column("outcome", sa.String),
    sa.column("data_version", sa.Text),
    sa.column("facts", sa.JSON),
    sa.column("recipe", sa.JSON),
    sa.column("committed_at", sa.DateTime),
    sa.column("reported", sa.Boolean),
)
_OBJECTS = sa.table(
    "objects",
    sa.column("bucket", sa.String),
    sa.column("key", sa.String),
    sa.column("image_id", sa.String),
    sa.column("kind", sa.String),
    sa.column("bytes", sa.BigInteger),
    sa.column("sha256", sa.String),
    sa.column("content_type", sa.Text),
    sa.column("audited_at", sa.DateTime),
    sa.column("damage", sa.String),
)


def upgrade() -> None:
    """Copy the outcomes, each with its objects, into a table that takes the place of both."""
    bind = op.get_bind()
    packed = op.create_table(
        "packed_outcomes",
        sa.Column("image_id", sa.String(220), nullable=False),
        sa.Column("stage", sa.String(20), nullable=False),
        sa.Column("customer", sa.Integer, nullable=False),
        sa.Column("space", sa.Integer, nullable=False),
        sa.Column("request_id", sa.String(32), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(40), nullable=False),
        sa.Column(
            "details", sa.LargeBinary, nullable=False, comment="data version, facts, recipe and stored objects, packed"
        ),
        sa.Column(
            "bytes", sa.BigInteger, comment="of its objects but s.json, as totals count them; none: it has no objects"
        ),
        sa.Column("committed_at", sa.DateTime, nullable=False),
        sa.Column("reported", sa.Boolean, nullable=False, comment="whether Dagster has it"),
        sa.Column(
            "audited_at", sa.DateTime, comment="of its objects, which the longest ago; none: one of them never was"
        ),
        sa.Column(
            "damaged",
            sa.Boolean,
            nullable=False,
            server_default=sa.false(),
            comment="the audit found one of its objects so",
        ),
        sa.PrimaryKeyConstraint("image_id", "stage"),
        sa.CheckConstraint("stage IN ('original', 'jp2', 'thumbnails')", name="outcomes_stage"),
        sa.CheckConstraint(
            "outcome IN ('fetched, not kept', 'at its origin', 'kept', 'kept for the thumbnails only', 'converted', "
            "'copied', 'made', 'not required')",
            name="outcomes_outcome",
        ),
        sa.CheckConstraint("bytes >= 0", name="outcomes_bytes"),
    )
    for rows in _pages(bind):
        bind.execute(sa.insert(packed), rows)
    op.drop_table("outcomes")
    op.rename_table("packed_outcomes", "outcomes")
    if bind.dialect.name == "postgresql":
        op.execute("ALTER INDEX packed_outcomes_pkey RENAME TO outcomes_pkey")
    _create_index("outcomes_unreported", "committed_at", sqlite="reported IS 0", postgresql="reported IS false")
    _create_index("outcomes_damaged", "image_id", sqlite="damaged = 1", postgresql="damaged")
    has_objects = {"sqlite": "bytes IS NOT NULL", "postgresql": "bytes IS NOT NULL"}
    _create_index("outcomes_by_audit", "audited_at", **has_objects)
    _create_index("outcomes_by_customer", "customer", "stage", "space", "bytes", **has_objects)
    op.create_table(
        "transient_objects",
        sa.Column("bucket", sa.String(100), nullable=False),
        sa.Column("key", sa.String(500), nullable=False),
        sa.Column("image_id", sa.String(220), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("bucket", "key"),
        sa.CheckConstraint("bytes >= 0", name="transient_objects_bytes"),
    )
    op.execute(
        "INSERT INTO transient_objects (bucket, key, image_id, bytes, sha256, content_type) "
        "SELECT bucket, key, image_id, bytes, sha256, content_type FROM objects WHERE kind = 'transient'"
    )
    op.create_index("transient_objects_by_image", "transient_objects", ["image_id"])
    op.drop_table("objects")
    op.drop_index("requests_due", "requests")
    is_unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "requests_due",
        "requests",
        ["state", "lane", "customer", "due_at", "id"],
        sqlite_where=is_unfinished,
        postgresql_where=is_unfinished,
    )


def _create_index(name: str, *columns: str, sqlite: str, postgresql: str) -> None:
    op.create_index(name, "outcomes", list(columns), sqlite_where=sa.text(sqlite), postgresql_where=sa.text(postgresql))


def _pages(bind: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    key = (_OUTCOMES.c.image_id, _OUTCOMES.c.stage)
    query = sa.select(_OUTCOMES).order_by(*key).limit(_AT_ONCE)
    after: list[Any] = []
    while rows := bind.execute(query.where(sa.tuple_(*key) > tuple(after)) if after else query).mappings().all():
        of_page = sorted({row["image_id"] for row in rows})
        stored: dict[tuple[str, str], list[sa.RowMapping]] = {}
        objects = sa.select(_OBJECTS).where(_OBJECTS.c.image_id.in_(of_page), _OBJECTS.c.kind.in_(_STAGES))
        for each in bind.execute(objects.order_by(_OBJECTS.c.key)).mappings():
            stored.setdefault((each["image_id"], _STAGES[each["kind"]]), []).append(each)
        yield [_packed(dict(row), stored.get((row["image_id"], row["stage"]), [])) for row in rows]
        after = [rows[-1]["image_id"], rows[-1]["stage"]]


def _packed(row: dict[str, Any], stored: Sequence[sa.RowMapping]) -> dict[str, Any]:
    customer, space, _ = row["image_id"].split("/", 2)
    details = [row.pop("data_version"), row.pop("facts"), row.pop("recipe"), [_entry(each) for each in stored]]
    packing = zlib.compressobj(6, zlib.DEFLATED, -12, 5, zlib.Z_DEFAULT_STRATEGY, _WORDS)
    text = json.dumps(details, separators=(",", ":")).encode()
    audited = [each["audited_at"] for each in stored if each["audited_at"] is not None]
    return {
        **row,
        "customer": int(customer),
        "space": int(space),
        "details": b"\x01" + packing.compress(text) + packing.flush(),
        "bytes": sum(each["bytes"] for each in stored if each["kind"] != "sizes") if stored else None,
        "audited_at": min(audited) if audited and len(audited) == len(stored) else None,
        "damaged": any(each["damage"] is not None for each in stored),
    }


def _entry(stored: sa.RowMapping) -> list[Any]:
    entry = [stored[name] for name in ("bucket", "key", "kind", "bytes", "sha256", "content_type")]
    audited_at: datetime | None = stored["audited_at"]
    if audited_at is not None:
        entry.append(int(audited_at.replace(tzinfo=UTC).timestamp()))
        if stored["damage"] is not None:
            entry.append(stored["damage"])
    return entry
