"""What the rules say, in the database too: CHECK constraints and foreign keys.

Rows that an earlier version left in a form that is not allowed any more are put right first, without losing what they
say; anything else that breaks a constraint refuses the upgrade, by the constraint's name.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ENDED = "('done', 'failed', 'rejected', 'deleted', 'superseded')"
_LANES = "lane IN ('ingest', 'priority', 'retry', 'backfill', 'manual', 'delete')"
_STAGES = "('original', 'jp2', 'thumbnails')"

_CHECKS = {
    "requests": {
        "requests_state": "state IN ('waiting', 'pending', 'reserved', 'running', 'done', 'failed', 'rejected', "
        "'deleted', 'superseded')",
        "requests_lane": _LANES,
        "requests_error_stage": f"error_stage IN {_STAGES}",
        "requests_finished": f"(finished_at IS NOT NULL) = (state IN {_ENDED})",
        "requests_in_chunk": "chunk_id IS NULL OR state IN ('reserved', 'running')",
        "requests_replaced": "superseded_by IS NULL OR state = 'superseded'",
        "requests_error": "error_code IS NULL OR state NOT IN ('done', 'deleted')",
    },
    "attempts": {
        "attempts_result": "result IN ('pending', 'done', 'failed', 'deleted')",
        "attempts_error_stage": f"error_stage IN {_STAGES}",
    },
    "messages": {
        "messages_state": "state IN ('accepted', 'waiting', 'rejected', 'forwarded', 'ignored', 'requeued')",
        "messages_lane": _LANES,
    },
    "chunks": {"chunks_lane": _LANES},
    "claims": {"claims_reserved_bytes": "reserved_bytes >= 0"},
    "outcomes": {
        "outcomes_stage": f"stage IN {_STAGES}",
        "outcomes_outcome": "outcome IN ('fetched, not kept', 'at its origin', 'kept', 'kept for the thumbnails only', "
        "'converted', 'copied', 'made', 'not required')",
    },
    "objects": {
        "objects_kind": "kind IN ('original', 'transient', 'jp2', 'thumbnail', 'sizes')",
        "objects_bytes": "bytes >= 0",
    },
}
# A superseded request had no time of its end, and retention took that of its creation. A request that ended before its
# run claimed it kept its chunk; chunk_images says which. Reasons of earlier attempts are in `attempts`. A batch without
# a row gets one, as its first message should have written it. What superseded a request may be gone: then it is
# superseded by what the image has now. A claim without a request holds nothing.
_REPAIRS = f"""
UPDATE requests SET finished_at = created_at WHERE finished_at IS NULL AND state IN {_ENDED};

UPDATE requests SET finished_at = NULL WHERE finished_at IS NOT NULL AND state NOT IN {_ENDED};

UPDATE requests SET chunk_id = NULL WHERE chunk_id IS NOT NULL AND state NOT IN ('reserved', 'running');

UPDATE requests SET error_code = NULL, error_stage = NULL, error_cause = NULL, error_remedy = NULL
WHERE state IN ('done', 'deleted') AND error_code IS NOT NULL;

INSERT INTO batches (id, customer, submitted_at)
SELECT batch, customer, min(created_at) FROM requests
WHERE batch IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.id = requests.batch AND b.customer = requests.customer)
GROUP BY batch, customer;

UPDATE requests SET superseded_by =
(SELECT max(newer.id) FROM requests newer WHERE newer.image_id = requests.image_id AND newer.state <> 'superseded')
WHERE superseded_by IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM requests other WHERE other.id = requests.superseded_by);

DELETE FROM claims WHERE NOT EXISTS (SELECT 1 FROM requests WHERE requests.id = claims.request_id);
"""  # noqa: S608 (words of our own)

# By table: name, columns, the other table, its columns, and what happens when a row of that is deleted.
_FOREIGN_KEYS: dict[str, list[tuple[str, list[str], str, list[str], str | None]]] = {
    "requests": [
        ("requests_of_batch", ["batch", "customer"], "batches", ["id", "customer"], None),
        ("requests_of_chunk", ["chunk_id"], "chunks", ["id"], None),
        ("requests_superseded_by", ["superseded_by"], "requests", ["id"], None),
    ],
    "attempts": [("attempts_of_request", ["request_id"], "requests", ["id"], "CASCADE")],
    "claims": [("claims_of_request", ["request_id"], "requests", ["id"], None)],
    "chunk_images": [("chunk_images_of_chunk", ["chunk_id"], "chunks", ["id"], "CASCADE")],
}


def upgrade() -> None:
    """Repair, then constrain. SQLite copies each table for that; its foreign keys must be off meanwhile."""
    for statement in filter(str.strip, _REPAIRS.split(";")):
        op.execute(statement)
    for table in sorted(_CHECKS.keys() | _FOREIGN_KEYS.keys()):
        with op.batch_alter_table(table) as altered:
            for name, condition in _CHECKS.get(table, {}).items():
                altered.create_check_constraint(name, sa.text(condition))
            for name, columns, other, other_columns, on_delete in _FOREIGN_KEYS.get(table, []):
                altered.create_foreign_key(name, other, columns, other_columns, ondelete=on_delete)
    op.create_index("claims_by_request", "claims", ["request_id"], unique=True)
    replaced = sa.text("superseded_by IS NOT NULL")
    op.create_index(
        "requests_replaced", "requests", ["superseded_by"], sqlite_where=replaced, postgresql_where=replaced
    )
