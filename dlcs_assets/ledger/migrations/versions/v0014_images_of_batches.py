"""The database keeps how many images a batch has, and indexes have what of it is not done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_IMAGES = """UPDATE batches SET images = (SELECT count(DISTINCT image_id) FROM requests
WHERE requests.batch = batches.id AND requests.customer = batches.customer)"""

_SQLITE = (
    """CREATE TRIGGER requests_entered_batch AFTER INSERT ON requests WHEN NEW.batch IS NOT NULL BEGIN
UPDATE batches SET images = images + 1 WHERE id = NEW.batch AND customer = NEW.customer AND NOT EXISTS (
SELECT 1 FROM requests WHERE image_id = NEW.image_id AND batch + 0 = NEW.batch AND id <> NEW.id); END""",
    """CREATE TRIGGER requests_left_batch AFTER DELETE ON requests WHEN OLD.batch IS NOT NULL BEGIN
UPDATE batches SET images = images - 1 WHERE id = OLD.batch AND customer = OLD.customer AND NOT EXISTS (
SELECT 1 FROM requests WHERE image_id = OLD.image_id AND batch + 0 = OLD.batch); END""",
)
_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION count_images_of_batches() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
UPDATE batches SET images = images + CAST(TG_ARGV[0] AS integer) * of_batch.number FROM (
SELECT batch, customer, count(*) AS number FROM (
SELECT batch, customer, image_id FROM changed WHERE batch IS NOT NULL GROUP BY batch, customer, image_id
HAVING (SELECT count(*) FROM requests WHERE requests.image_id = changed.image_id
AND requests.batch + 0 = changed.batch AND requests.customer = changed.customer)
= CASE TG_ARGV[0] WHEN '1' THEN count(*) ELSE 0 END
) AS of_image GROUP BY batch, customer) AS of_batch
WHERE batches.id = of_batch.batch AND batches.customer = of_batch.customer;
RETURN NULL; END $$""",
    *(
        f"CREATE TRIGGER requests_{name} AFTER {change} ON requests REFERENCING {rows} TABLE AS changed "
        f"FOR EACH STATEMENT EXECUTE FUNCTION count_images_of_batches('{counts}')"
        for name, change, rows, counts in (("entered_batch", "INSERT", "NEW", 1), ("left_batch", "DELETE", "OLD", -1))
    ),
)


def upgrade() -> None:
    """Count once; from then on the triggers do."""
    comment = "that requests in it are for, each once"
    op.add_column("batches", sa.Column("images", sa.Integer, nullable=False, server_default="0", comment=comment))
    op.execute(_IMAGES)
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
    op.drop_index("requests_by_batch", "requests")
    op.create_index("requests_by_batch", "requests", ["batch", "finished_at", "customer"])
    otherwise = sa.text("state NOT IN ('waiting', 'pending', 'reserved', 'running', 'done')")
    op.create_index(
        "requests_ended_otherwise",
        "requests",
        ["batch", "customer"],
        sqlite_where=otherwise,
        postgresql_where=otherwise,
    )
    op.drop_index("messages_by_batch", "messages")
    refused = sa.text("state = 'rejected'")
    op.create_index(
        "messages_refused", "messages", ["batch", "customer"], sqlite_where=refused, postgresql_where=refused
    )
