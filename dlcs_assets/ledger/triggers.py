"""What keeps `image_counts` right: the database, in the transaction that changes a request, whichever code changes it.

SQLite's triggers are of each row. PostgreSQL's are of each statement, and a session has rows of its own, so that
transactions at the same time neither wait for each other nor lock in a circle. A migration that has SQLite copy
`requests` loses the triggers, and must make them again.
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
)


def make_with(metadata: MetaData) -> None:
    """Have the triggers made whenever the tables are."""
    for dialect, statements in (("sqlite", SQLITE), ("postgresql", POSTGRESQL)):
        for statement in statements:
            ddl = DDL(statement).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]
            event.listen(metadata, "after_create", ddl)
