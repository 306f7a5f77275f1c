"""A ledger of the version before has rows in every state, written as that version wrote them; it is upgraded."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, MetaData, Table, inspect, select, text

from dlcs_assets.domain.request_states import ENDED, MessageState, RequestState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.domain.stages import Lane, Outcome, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger import schema_version as version
from dlcs_assets.ledger import tables as schema
from dlcs_assets.ledger.details import Details, Holding, PackedDetails
from dlcs_assets.ledger.engine import UnusableLedgerError, make_engine
from dlcs_assets.ledger.image_counts import kept_counts
from dlcs_assets.ledger.reports import Selection
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk

BEFORE = "0003"
ADDED = {"is_current", "renews", "backfill", "is_reported"}  # to requests, by later versions
WITHOUT_SAY = {"replaced", "restored", "deletion", "lost", "withdrawn-later"}  # about the state of their image
MADE = datetime(2026, 5, 1, 12, 0)  # noqa: DTZ001 (as the tables have it)
IMAGE: dict[str, Any] = {"customer": 2, "space": 1}
REGISTRATION = {"origin": "https://example.org/1.jpg", "media_type": None, "channels": None, "max_unauthorised": None}
FACTS = {"origin": "https://example.org/ä.jpg", "width": 3}
AUDITED: dict[str, dict[str, Any]] = {
    "jp2": {"audited_at": MADE, "damage": "missing"},
    "thumbnail": {"audited_at": MADE},
}
TRIGGERS = {
    "sqlite": {"triggers": "SELECT sql FROM sqlite_master WHERE type = 'trigger'"},
    "postgresql": {
        "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "functions": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    },
}


@pytest.fixture
def url(empty_url: str) -> str:
    return empty_url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = make_engine(url)
    with made.begin() as connection:
        version.upgrade(connection, BEFORE)
    yield made
    made.dispose()


def request(request_id: str, state: str, **others: Any) -> dict[str, Any]:
    """Return a row of requests as version 0003 wrote it."""
    ended = {"finished_at": MADE} if state in ENDED and state != "superseded" else {}
    common = {"lane": "ingest", "stages": "original,jp2,thumbnails", "created_at": MADE, "due_at": MADE, "attempts": 1}
    row = {"id": request_id, "image_id": f"2/1/{request_id}", **IMAGE, **common, "state": state, **ended, **others}
    names = [column.name for column in schema.requests.columns if column.name not in ADDED]
    return {name: row.get(name) for name in names}


def old_rows() -> dict[str, list[dict[str, Any]]]:
    """Return rows of each table: a request in every state, and what version 0004 does not allow any more."""
    error = {"error_code": "busy", "error_stage": "jp2", "error_cause": "503", "error_remedy": "Wait"}
    rows = [
        request("waiting", "waiting"),
        request("pending", "pending", **error, batch=5),
        request("reserved", "reserved", chunk_id="open"),
        request("running", "running", chunk_id="open"),
        request("done", "done", batch=5),
        request("failed", "failed", **error),
        request("rejected", "rejected", **error),
        request("deleted", "deleted", lane="delete", stages=""),
        request("replaced", "superseded", image_id="2/1/pending", superseded_by="pending"),
        # A deletion that the image's registration ended, and one that another took the place of.
        request("restored", "superseded", lane="delete", stages=""),
        request("deletion", "superseded", lane="delete", stages="", chunk_id="open", superseded_by="deleted"),
        request("unclaimed", "failed", chunk_id="open", **error),
        request("without-batch", "done", batch=99),
        request("lost", "superseded", image_id="2/1/done", superseded_by="gone"),
        request("with-error", "done", **error),
        # Cancelled, of a new image, and of one that was done.
        request("withdrawn", "failed", **error | {"error_code": "cancelled"}),
        request("withdrawn-later", "failed", image_id="2/1/with-error", **error | {"error_code": "cancelled"}),
    ]
    attempt = {"number": 1, "run_id": "r", "ended_at": MADE}
    outcome: dict[str, Any] = {
        "run_id": "r",
        "data_version": "1",
        "facts": FACTS,
        "recipe": None,
        "committed_at": MADE,
        "reported": True,
    }
    chunk = {"lane": "ingest", **IMAGE, "stages": "jp2", "first_key": "a", "last_key": "b", "created_at": MADE}
    claim = {"token": "t", "run_id": "r", "heartbeat_at": MADE, "customer": 2, "reserved_bytes": 0}
    message = {"queue": "q", "lane": "ingest", "received_at": MADE, "image_id": "2/1/done", "request_id": "gone"}
    stored = {"bucket": "b", "image_id": "2/1/0", **IMAGE, "bytes": 1, "sha256": "a", "content_type": "image/jp2"}
    return {
        "images": [
            {"id": row["image_id"], **IMAGE, "registration": {**REGISTRATION, "roles": []}, "registered_at": MADE}
            for row in rows
            if (row["state"] not in {"waiting", "superseded"} or row["id"] == "restored")
            and row["id"] != "withdrawn-later"
        ],
        "batches": [{"id": 5, "customer": 2, "count": None, "submitted_at": MADE}],
        "chunks": [{"id": "open", **chunk, "run_id": "r"}],
        "chunk_images": [{"chunk_id": "open", "position": 0, "image_id": "2/1/running", "request_id": "running"}],
        "requests": rows,
        "attempts": [
            {"request_id": name, "result": result, **attempt}
            for name, result in (("pending", "pending"), ("done", "done"), ("failed", "failed"), ("deleted", "deleted"))
        ],
        "claims": [
            {"image_id": "2/1/running", "request_id": "running", **claim},
            {"image_id": "2/1/nothing", "request_id": "nothing", **claim},
        ],
        "outcomes": [
            {"image_id": f"2/1/{n}", "stage": stage, "request_id": "gone", "outcome": how, **outcome}
            for n, how in enumerate(Outcome)
            for stage in Stage
        ],
        "messages": [
            {"id": f"m-{state}", "lane": lane, "state": state, **message}
            for state in MessageState
            for lane in ["ingest"]
        ],
        "objects": [
            {"key": kind, "kind": kind, **stored, **AUDITED.get(kind, {})}
            for kind in ("original", "transient", "jp2", "thumbnail", "sizes")
        ],
    }


def packed_outcome(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is to become of a row of outcomes."""
    kinds = {"original": ["original"], "jp2": ["jp2"], "thumbnails": ["sizes", "thumbnail"]}[row["stage"]]
    audited = {kind: AUDITED.get(kind, {}) for kind in kinds}
    stored = [
        Holding(
            ObjectRecord("b", kind, ObjectKind(kind), 1, "a", "image/jp2"),
            MADE.replace(tzinfo=UTC) if audited[kind] else None,
            audited[kind].get("damage"),
        )
        for kind in kinds
        if row["image_id"] == "2/1/0"
    ]
    details = Details(row["data_version"], row["facts"], row["recipe"], tuple(stored))
    kept = {name: row[name] for name in row.keys() - {"data_version", "facts", "recipe"}}
    return {
        **kept,
        **IMAGE,
        "details": details,
        "bytes": 1 if stored else None,
        "audited_at": MADE if stored and row["stage"] == "jp2" else None,
        "damaged": bool(stored) and row["stage"] == "jp2",
    }


def write(connection: Connection, rows: dict[str, list[dict[str, Any]]]) -> None:
    there = MetaData()
    there.reflect(connection)
    for name, values in rows.items():
        for row in values:
            connection.execute(there.tables[name].insert().values(row))


def content(connection: Connection, table: Table) -> list[dict[str, Any]]:
    found = MetaData()
    found.reflect(connection, only=[table.name])
    read = found.tables[table.name]
    if "details" in read.columns:
        read.columns["details"].type = PackedDetails()
    return [dict(row) for row in connection.execute(select(read).order_by(*read.primary_key)).mappings()]


def test_a_ledger_with_data_of_the_version_before_is_upgraded(engine: Engine, url: str) -> None:
    """All rows stay as they are, but for what the upgrade puts right."""
    with engine.begin() as connection:
        write(connection, old_rows())
        there = [table for table in schema.metadata.sorted_tables if inspect(connection).has_table(table.name)]
        there.remove(schema.outcomes)
        before = {table.name: content(connection, table) for table in there}
    Ledger(url).close()
    with engine.connect() as connection:
        after = {table.name: content(connection, table) for table in schema.metadata.sorted_tables}
        kept = kept_counts(connection)
    changed: dict[str, dict[str, Any]] = {
        "replaced": {"finished_at": MADE},
        "restored": {"finished_at": MADE},
        "deletion": {"finished_at": MADE, "chunk_id": None},
        "unclaimed": {"chunk_id": None},
        "lost": {"finished_at": MADE, "superseded_by": "done"},
        "with-error": dict.fromkeys(("error_code", "error_stage", "error_cause", "error_remedy")),
        "withdrawn": {"state": "cancelled"},
        "withdrawn-later": {"state": "cancelled"},
    }
    before["requests"] = [
        {**row, **changed.get(row["id"], {}), "is_current": row["id"] not in WITHOUT_SAY}
        | {"renews": False, "backfill": None, "is_reported": True}
        for row in before["requests"]
    ]
    before["batches"].append(
        {"id": 99, "customer": 2, "count": None, "submitted_at": MADE, "closed_at": None, "finished_at": None}
    )
    in_batches = {row["image_id"]: row["batch"] for row in old_rows()["requests"] if row["batch"] is not None}
    numbers = Counter(in_batches.values())
    before["batches"] = [{**row, "images": numbers[row["id"]]} for row in before["batches"]]
    before["messages"] = [{**row, "attributes": None} for row in before["messages"]]
    # What is held at the upgrade counts as begun.
    held = [row for row in before["claims"] if row["request_id"] != "nothing"]
    before["claims"] = [{**row, "begun_at": row["heartbeat_at"]} for row in held]
    packed = after.pop("outcomes")
    assert packed == [
        packed_outcome(row) for row in sorted(old_rows()["outcomes"], key=itemgetter("image_id", "stage"))
    ]
    assert [row["key"] for row in after["transient_objects"]] == ["transient"]
    assert {row["state"] for row in after["requests"]} == set(RequestState) - {RequestState.NOT_RENEWED}
    assert kept == Counter((2, 1, row["state"]) for row in before["requests"] if row["is_current"])
    for name, rows in before.items():
        assert after[name] == rows, name


def test_work_continues_in_an_upgraded_ledger(engine: Engine, url: str) -> None:
    with engine.begin() as connection:
        write(connection, old_rows())
    ledger = Ledger(url)
    desk = Desk(ledger)
    assert ledger.claims.release_run("r", schedule=SCHEDULE, now=NOW) == 1
    due = ledger.dispatch.due([*Lane], limit=100, now=NOW + timedelta(hours=1))
    assert {image.request_id for image in due} == {"pending", "reserved", "running"}
    assert desk.send("2/1/waiting").accepted == 1
    assert ledger.reports.retry(Selection(ids=("2/1/failed",)), now=NOW) == ["2/1/failed"]
    assert ledger.reports.counts(Selection(batch=5))["done"] == 1
    later = NOW + timedelta(days=900)
    assert ledger.retention.enforce(history=later, bodies=later)["attempts"] == 3
    ledger.close()


def test_an_upgrade_that_would_lose_rows_is_refused_by_name(engine: Engine, url: str) -> None:
    """Nothing is changed then: the next start finds the tables as they were."""
    stranger = request("odd", "done") | {"state": "odd"}
    with engine.begin() as connection:
        write(connection, {"requests": [stranger]})
    with pytest.raises(UnusableLedgerError, match="requests_"):
        Ledger(url)
    with engine.begin() as connection:
        assert version.found_version(connection) == BEFORE
        connection.execute(text("DELETE FROM requests"))
        attempt = {"request_id": "gone", "number": 1, "run_id": "r", "ended_at": MADE, "result": "done"}
        write(connection, {"attempts": [attempt]})
    with pytest.raises(UnusableLedgerError, match="attempts"):
        Ledger(url)
    with engine.connect() as connection:
        assert version.found_version(connection) == BEFORE
        assert len(content(connection, schema.attempts)) == 1


def test_an_upgraded_ledger_has_the_tables_of_a_new_one(engine: Engine, url: str) -> None:
    """A new one is made from the tables as they are in the code, without the migrations."""
    Ledger(url).close()
    with engine.begin() as connection:
        migrated = described(connection)
        for table in reversed(schema.metadata.sorted_tables):
            table.drop(connection)
        connection.execute(text(f"DROP TABLE {version.VERSION_TABLE}"))
    Ledger(url).close()
    with engine.connect() as connection:
        assert described(connection) == migrated
    assert len(migrated["checks of requests"]) == 7


def described(connection: Connection) -> dict[str, Any]:
    """Return columns, keys, constraints, indexes and triggers, as the database has them."""
    found = inspect(connection)
    described: dict[str, Any] = {}
    for kind, query in TRIGGERS[connection.dialect.name].items():
        described[kind] = sorted(connection.scalars(text(query)))
        assert described[kind]
    for name in schema.metadata.tables:
        checks = {check["name"]: " ".join(check["sqltext"].split()) for check in found.get_check_constraints(name)}
        described[f"checks of {name}"] = checks
        columns = [(each["name"], str(each["type"]), each["nullable"]) for each in found.get_columns(name)]
        described[f"columns of {name}"] = sorted(columns)
        described[f"primary key of {name}"] = found.get_pk_constraint(name)["constrained_columns"]
        described[f"foreign keys of {name}"] = sorted(map(str, found.get_foreign_keys(name)))
        indexes = [
            (
                each["name"],
                each["column_names"],
                each["unique"],
                [str(where) for option, where in each.get("dialect_options", {}).items() if option.endswith("where")],
            )
            for each in found.get_indexes(name)
        ]
        described[f"indexes of {name}"] = sorted(map(str, indexes))
    return described


def test_migrations_import_nothing_of_todays_code() -> None:
    """What an older ledger becomes must not change with the code."""
    for path in (version.MIGRATIONS / "versions").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
                assert node.level == 0
            assert [name for name in names if name.startswith("dlcs")] == []
