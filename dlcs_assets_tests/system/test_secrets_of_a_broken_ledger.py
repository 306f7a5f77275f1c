"""The ledger is read-only, away, full or locked while messages with secrets come in: nothing that is seen shows one."""

from __future__ import annotations

import json
import shutil
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url

from dlcs_assets.ledger import database, engine
from dlcs_testing import postgresql
from dlcs_testing.command_line import dlcs
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg

SECRET = "pl4nted-s3cret"
COMMANDS = ("status", "status --json", "rejected --json", "usage", "retry --all", "status 2/1/known", "doctor --json")
SENSORS = ("sqs_ingest", "due_images", "reconcile", "batches", "watch", "asset_modified")


@contextmanager
def sqlite_pragma(system: System, pragma: str) -> Iterator[None]:
    """Have each connection of the process begin with it."""
    made = engine_of(system)

    def configure(connection: Any, _record: Any) -> None:
        connection.execute(pragma)

    event.listen(made, "connect", configure)
    made.dispose()
    yield


@contextmanager
def sqlite_away(system: System) -> Iterator[None]:
    """A folder is where the file was, as when a disk is not mounted."""
    path = Path(str(engine_of(system).url.database))
    engine_of(system).dispose()
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    path.mkdir()
    yield
    shutil.rmtree(path)


@contextmanager
def sqlite_locked(system: System) -> Iterator[None]:
    with closing(sqlite3.connect(str(engine_of(system).url.database), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def postgresql_after(system: System, server: postgresql.Server, *statements: str) -> Iterator[None]:
    """Run statements as administrator, and have the ledger connect again."""
    name = make_url(system.settings.ledger_url).database
    for statement in statements:
        server.execute(statement.format(name=name))
    engine_of(system).dispose()
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    yield


@contextmanager
def postgresql_full(system: System, server: postgresql.Server) -> Iterator[None]:
    """Whatever is written fails as on a full disk, and PostgreSQL says which row it was."""
    say = "RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'could not extend file', DETAIL = NEW::text"
    with engine_of(system).begin() as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {say}; END $$"
        )
        for table in ("messages", "images", "requests", "outcomes", "claims", "attempts"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )
    assert server
    yield


@contextmanager
def postgresql_locked(system: System) -> Iterator[None]:
    with engine_of(system).connect() as other:
        other.exec_driver_sql(f"SELECT pg_advisory_lock({database.WRITE_LOCK})")
        yield


READ_ONLY = "ALTER DATABASE {name} SET default_transaction_read_only = on"
NO_CONNECTIONS = "ALTER DATABASE {name} ALLOW_CONNECTIONS false"
FAULTS: dict[str, tuple[Callable[[System, Any], Any], str]] = {
    "sqlite read-only": (lambda system, _: sqlite_pragma(system, "PRAGMA query_only = ON"), "readonly database"),
    "sqlite away": (lambda system, _: sqlite_away(system), "unable to open database file"),
    "sqlite full": (lambda system, _: sqlite_pragma(system, "PRAGMA max_page_count = 1"), "full"),
    "sqlite locked": (lambda system, _: sqlite_locked(system), "database is locked"),
    "postgresql read-only": (lambda system, server: postgresql_after(system, server, READ_ONLY), "read-only transac"),
    "postgresql away": (lambda system, server: postgresql_after(system, server, NO_CONNECTIONS), "not currently acc"),
    "postgresql full": (postgresql_full, "could not extend file"),
    "postgresql locked": (lambda system, _: postgresql_locked(system), "lock timeout"),
}


def engine_of(system: System) -> Engine:
    return system.ledger.outbox._database._engine


def origin_of(system: System, name: str) -> str:
    url = system.serve(f"{name}.jpg", jpeg(120, 90)).replace("://", f"://user:{SECRET}@")
    return f"{url}?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}"


@dataclass(frozen=True)
class Broken:
    """A system, how its ledger is broken, and what is then said of it."""

    system: System
    break_it: Callable[[], AbstractContextManager[None]]
    said: str


@pytest.fixture(params=FAULTS)
def broken(
    request: pytest.FixtureRequest,
    make_system: Callable[..., System],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Broken:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 1)
    url, server = f"sqlite:///{tmp_path / 'ledger' / 'ledger.db'}", None
    if request.param.startswith("postgresql"):
        server = request.getfixturevalue("postgresql_server")
        url = server.new_database()
    system = make_system(ledger_url=url)
    break_it, said = FAULTS[request.param]
    return Broken(system, lambda: break_it(system, server), said)


def test_a_broken_ledger_shows_no_secret(
    broken: Broken, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Statements with messages, addresses and results in them fail: in ticks, in a run, at the command line."""
    system = broken.system
    system.send(full_message("2/1/known", origin_of(system, "known"), "iiif-img:default,thumbs:default"))
    requested = system.evaluate("sqs_ingest")
    assert isinstance(requested, dg.SensorResult)
    (run_request,) = requested.run_requests or ()
    seen: list[str] = []
    with broken.break_it():
        system.send(full_message("2/1/new", origin_of(system, "new"), "file"))
        system.send(json.dumps({"id": "2/1/new", "password": SECRET * 20_000})[:-5], f'{{"asset": "//u:{SECRET}@h/"}}')
        for sensor in SENSORS:
            try:
                seen.append(str(system.evaluate(sensor)))
            except Exception as error:  # noqa: BLE001 (whatever it is, Dagster shows it)
                seen += all_forms(error)
        run = system._run(run_request)
        seen += [repr(entry) for entry in system.instance.all_logs(run.run_id)]
        with monkeypatch.context() as patch:
            patch.setenv("DLCS_LEDGER_URL", system.settings.ledger_url)
            patch.setenv("DLCS_INGEST_QUEUE_URL", str(system.settings.ingest_queue_url))
            for command in COMMANDS:
                done = dlcs(*command.split())
                seen += [done.output, *(all_forms(done.exception) if done.exception else ())]
    captured = capfd.readouterr()
    everything = "\n".join([*seen, caplog.text, captured.out, captured.err])
    assert broken.said in everything
    assert [line[:500] for line in everything.splitlines() if SECRET in line] == []


def all_forms(error: BaseException) -> list[str]:
    """Return an exception as Python and as Dagster's history show it."""
    assert error.__traceback__ is not None
    dagsters = serializable_error_info_from_exc_info((type(error), error, error.__traceback__))
    return ["".join(traceback.format_exception(error)), repr(dagsters)]
