"""Requests may be cancelled, and may leave an image as it is; until now both were failures.

What was cancelled before gets the state, and the image that which it had before. Of what was asked for by whom nothing
is known: what is in progress at the upgrade may fail as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_ENDED = "('done', 'not_renewed', 'failed', 'rejected', 'deleted', 'superseded', 'cancelled')"
_CHANGED = {
    "requests_state": "state IN ('waiting', 'pending', 'reserved', 'running', 'done', 'not_renewed', 'failed', "
    "'rejected', 'deleted', 'superseded', 'cancelled')",
    "requests_finished": f"(finished_at IS NOT NULL) = (state IN {_ENDED})",
}
_UNCHANGED = {
    "requests_lane": "lane IN ('ingest', 'priority', 'retry', 'backfill', 'manual', 'delete')",
    "requests_error_stage": "error_stage IN ('original', 'jp2', 'thumbnails')",
    "requests_in_chunk": "chunk_id IS NULL OR state IN ('reserved', 'running')",
    "requests_replaced": "superseded_by IS NULL OR state = 'superseded'",
    "requests_error": "error_code IS NULL OR state NOT IN ('done', 'deleted')",
}
_RESULT = "result IN ('pending', 'done', 'not_renewed', 'failed', 'deleted')"
_ERROR_STAGE = "error_stage IN ('original', 'jp2', 'thumbnails')"

_COUNTED_IN = """INSERT INTO image_counts (customer, space, state, session, images)
SELECT NEW.customer, NEW.space, NEW.state, 0, 1 WHERE NEW.is_current
ON CONFLICT (customer, space, state, session) DO UPDATE SET images = images + 1;"""
_COUNTED_OUT = """UPDATE image_counts SET images = images - 1
WHERE OLD.is_current AND customer = OLD.customer AND space = OLD.space AND state = OLD.state AND session = 0;"""
_TRIGGERS = (
    f"CREATE TRIGGER requests_inserted AFTER INSERT ON requests BEGIN {_COUNTED_IN} END",
    f"CREATE TRIGGER requests_updated AFTER UPDATE ON requests BEGIN {_COUNTED_OUT} {_COUNTED_IN} END",
    f"CREATE TRIGGER requests_deleted AFTER DELETE ON requests BEGIN {_COUNTED_OUT} END",
)

# Two statements that the triggers count: first the state, then which request decides about the image's.
_CANCELLED = """UPDATE requests SET state = 'cancelled'
WHERE state = 'failed' AND error_code = 'cancelled' AND lane <> 'delete'"""
_CURRENT = """UPDATE requests SET is_current = NOT is_current
WHERE image_id IN (SELECT image_id FROM requests WHERE state = 'cancelled') AND is_current <> coalesce(id = (
SELECT coalesce(
max(CASE WHEN state IN ('waiting', 'pending', 'reserved', 'running') THEN id END),
CASE WHEN max(CASE WHEN state NOT IN ('superseded', 'cancelled') THEN id END)
< max(CASE WHEN lane = 'delete' THEN id END) THEN NULL
ELSE max(CASE WHEN state NOT IN ('superseded', 'cancelled') THEN id END) END,
max(CASE WHEN state <> 'superseded' THEN id END))
FROM requests other WHERE other.image_id = requests.image_id), false)"""


def upgrade() -> None:
    """Change the constraints. SQLite copies the tables for that, and loses constraints and triggers of `requests`."""
    renews = sa.Column(
        "renews",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="asked for by a person, of what is registered: if its origin cannot be read, what is there stays",
    )
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("requests", renews)
        for name, condition in _CHANGED.items():
            op.drop_constraint(name, "requests", type_="check")
            op.create_check_constraint(name, "requests", sa.text(condition))
        op.drop_constraint("attempts_result", "attempts", type_="check")
        op.create_check_constraint("attempts_result", "attempts", sa.text(_RESULT))
    else:
        with op.batch_alter_table("requests", recreate="always") as altered:
            altered.add_column(renews)
            for name, condition in {**_CHANGED, **_UNCHANGED}.items():
                altered.create_check_constraint(name, sa.text(condition))
        with op.batch_alter_table("attempts", recreate="always") as altered:
            altered.create_check_constraint("attempts_result", sa.text(_RESULT))
            altered.create_check_constraint("attempts_error_stage", sa.text(_ERROR_STAGE))
        for statement in _TRIGGERS:
            op.execute(statement)
    op.execute(_CANCELLED)
    op.execute(_CURRENT)
