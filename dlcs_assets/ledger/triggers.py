"""What keeps `image_counts` and `batches.images` right: the database, whichever code changes a request.

It does so in the transaction of the change. SQLite's triggers are of each row. PostgreSQL's are of each statement, and
a session has rows of `image_counts` of its own, so that transactions at the same time neither wait for each other nor
lock in a circle. A migration that has SQLite copy `requests` loses the triggers, and must make them again.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import DDL, MetaData, event

_COUNTED_IN: Final = """INSERT INTO image_counts (customer, space, state, session, images)
SELECT NEW.customer, NEW.space, NEW.state, 0, 1 WHERE NEW.is_current
ON CONFLICT (customer, space, state, session) DO UPDATE SET images = images + 1;"""
_COUNTED_OUT: Final = """UPDATE image_counts SET images = images - 1
WHERE OLD.is_current AND customer = OLD.customer AND space = OLD.space AND state = OLD.state AND session = 0;"""

SQLITE: Final = (
    f"CREATE TRIGGER requests_inserted AFTER INSERT ON requests BEGIN {_COUNTED_IN} END",
    f"CREATE TRIGGER requests_updated AFTER UPDATE ON requests BEGIN {_COUNTED_OUT} {_COUNTED_IN} END",
    f"CREATE TRIGGER requests_deleted AFTER DELETE ON requests BEGIN {_COUNTED_OUT} END",
    """CREATE TRIGGER requests_entered_batch AFTER INSERT ON requests WHEN NEW.batch IS NOT NULL BEGIN
UPDATE batches SET images = images + 1 WHERE id = NEW.batch AND customer = NEW.customer AND NOT EXISTS (
SELECT 1 FROM requests WHERE image_id = NEW.image_id AND batch + 0 = NEW.batch AND id <> NEW.id); END""",
    """CREATE TRIGGER requests_left_batch AFTER DELETE ON requests WHEN OLD.batch IS NOT NULL BEGIN
UPDATE batches SET images = images - 1 WHERE id = OLD.batch AND customer = OLD.customer AND NOT EXISTS (
SELECT 1 FROM requests WHERE image_id = OLD.image_id AND batch + 0 = OLD.batch); END""",
)
# `TG_ARGV[0]` is what a row counts: 1 or -1.
POSTGRESQL: Final = (
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
    # Of an image that is new in its batch all requests are among those inserted; of one that is gone none is left.
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


def make_with(metadata: MetaData) -> None:
    """Have the triggers made whenever the tables are."""
    for dialect, statements in (("sqlite", SQLITE), ("postgresql", POSTGRESQL)):
        for statement in statements:
            ddl = DDL(statement).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]
            event.listen(metadata, "after_create", ddl)
