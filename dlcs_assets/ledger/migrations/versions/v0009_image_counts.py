"""Requests say whether they decide about the state of their image, and the database keeps the numbers of images."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_CURRENT = """UPDATE requests SET is_current = true WHERE id IN (
SELECT coalesce(max(CASE WHEN state IN ('waiting', 'pending', 'reserved', 'running') THEN id END), max(id))
FROM requests WHERE state <> 'superseded' GROUP BY image_id)"""
_COUNTS = """INSERT INTO image_counts (customer, space, state, session, images)
SELECT customer, space, state, 0, count(*) FROM requests WHERE is_current GROUP BY customer, space, state"""

_COUNTED_IN = """INSERT INTO image_counts (customer, space, state, session, images)
SELECT NEW.customer, NEW.space, NEW.state, 0, 1 WHERE NEW.is_current
ON CONFLICT (customer, space, state, session) DO UPDATE SET images = images + 1;"""
_COUNTED_OUT = """UPDATE image_counts SET images = images - 1
WHERE OLD.is_current AND customer = OLD.customer AND space = OLD.space AND state = OLD.state AND session = 0;"""
_SQLITE = (
    f"CREATE TRIGGER requests_inserted AFTER INSERT ON requests BEGIN {_COUNTED_IN} END",
    f"CREATE TRIGGER requests_updated AFTER UPDATE ON requests BEGIN {_COUNTED_OUT} {_COUNTED_IN} END",
    f"CREATE TRIGGER requests_deleted AFTER DELETE ON requests BEGIN {_COUNTED_OUT} END",
)
_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION count_images() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
INSERT INTO image_counts (customer, space, state, session, images)
SELECT customer, space, state, pg_backend_pid(), CAST(TG_ARGV[0] AS integer) * count(*)
FROM changed WHERE is_current GROUP BY customer, space, state
ON CONFLICT (customer, space, state, session) DO UPDATE SET images = image_counts.images + excluded.images;
RETURN NULL; END $$""",
    *(
        f"CREATE TRIGGER requests_{name} AFTER {change} ON requests REFERENCING {rows} TABLE AS changed "
        f"FOR EACH STATEMENT EXECUTE FUNCTION count_images('{counts}')"
        for name, change, rows, counts in (
            ("inserted", "INSERT", "NEW", 1),
            ("updated_from", "UPDATE", "OLD", -1),
            ("updated_to", "UPDATE", "NEW", 1),
            ("deleted", "DELETE", "OLD", -1),
        )
    ),
)


def upgrade() -> None:
    """Mark requests and count images once; from then on the triggers do."""
    is_current = sa.Column(
        "is_current",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="its state is that of the image",
    )
    op.add_column("requests", is_current)
    op.execute(_CURRENT)
    op.create_index(
        "requests_current",
        "requests",
        ["state", "customer", "space", "image_id"],
        sqlite_where=sa.text("is_current = 1"),
        postgresql_where=sa.text("is_current"),
    )
    op.create_table(
        "image_counts",
        sa.Column("customer", sa.Integer, nullable=False),
        sa.Column("space", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False, comment="of the images' current requests"),
        sa.Column("session", sa.Integer, nullable=False, comment="of PostgreSQL that counted; 0: added up, or SQLite"),
        sa.Column(
            "images",
            sa.BigInteger,
            nullable=False,
            comment="all rows of a customer, space and state add up to the number",
        ),
        sa.PrimaryKeyConstraint("customer", "space", "state", "session"),
    )
    op.execute(_COUNTS)
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
