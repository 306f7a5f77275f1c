from __future__ import annotations

import os
import stat
import traceback
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import AssetFields, IngestMessage, Registration
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import Lane, Outcome, Stage
from dlcs_assets.ledger import Ledger, database
from dlcs_assets.ledger.engine import UNAVAILABLE, UnusableLedgerError
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets_tests.ledger.conftest import NOW, SELECT_ALL, Desk, numbered_message
from dlcs_testing import postgresql
from dlcs_testing.one_write import commit_stage


def refusal(url: str) -> str:
    """Return the error about a URL; ensure that not even the traceback shows its password."""
    with pytest.raises(UnusableLedgerError) as caught:
        Ledger(url)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("postgresql://dlcs:secret@127.0.0.1:1/ledger", "The ledger at postgresql://127.0.0.1:1/ledger (DLCS_L"),
        ("postgresql://dlcs:secret@127.0.0.1:secret/ledger", "is a character to be %-encoded?"),
        ("host=db password=secret", "it is no URL such as postgresql://"),
        ("postgresql://dlcs:sec@secret@db/ledger", "write the one in the password as %40"),
        ("mysql://dlcs:secret@db/ledger", "mysql://db/ledger (DLCS_LEDGER_URL) cannot be used: only sqlite:///"),
        ("postgresql+asyncpg://dlcs:secret@db/ledger", "only sqlite:///… and postgresql://… are supported"),
    ],
)  # fmt: skip
def test_an_unusable_url_is_refused_without_its_password(url: str, cause: str) -> None:
    """Whatever is wrong with the URL, its password must not get into logs and Dagster's UI."""
    assert cause in refusal(url)


def test_a_database_that_does_not_exist_is_named(postgresql_server: postgresql.Server) -> None:
    assert 'database "nowhere" does not exist' in refusal(postgresql_server.url("nowhere"))


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("These are my notes. " * 100)
    assert "file is not a database" in refusal(f"sqlite:///{tmp_path}/ledger.db")
    assert "its folder cannot be made" in refusal(f"sqlite:///{tmp_path}/ledger.db/ledger.db")


def test_a_writer_that_freezes_loses_its_transaction(
    postgresql_server: postgresql.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped, or whose network went, must not hold up all others indefinitely."""
    url = postgresql_server.new_database()
    Ledger(url).close()
    monkeypatch.setattr(database, "IDLE_TIMEOUT_SECONDS", 1)
    frozen, other = Ledger(url), Ledger(url)
    received = [numbered_message(number) for number in range(3)]

    def check(_: AssetId, __: Registration) -> None:
        monkeypatch.undo()  # no other writer is to lose its transaction, however busy the machine is
        assert Desk(other).take_in(received).accepted == 3  # waits for the lock, until the server takes it away

    with pytest.raises(UNAVAILABLE):
        frozen.inbox.take_in(received, policy=IntakePolicy(check, timedelta(minutes=10)), now=NOW)
    assert Desk(frozen).take_in(received).duplicates == 3
    frozen.close()
    other.close()


def test_a_server_that_closed_all_connections_is_reconnected(postgresql_server: postgresql.Server) -> None:
    """After a restart of the database the next call must work, not fail once for each pooled connection."""
    ledger = Ledger(postgresql_server.new_database())
    desk = Desk(ledger)
    desk.send("2/1/a")
    postgresql_server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dlcs-assets'"
    )
    assert desk.send("2/1/b").accepted == 1
    ledger.close()


def test_text_of_others_is_stored_whatever_its_characters(desk: Desk) -> None:
    """PostgreSQL refuses NUL, and text longer than its column, which SQLite does not notice."""
    rejection = Rejection("not_json", "It says \x00 and \ud800", "Send JSON")
    bad = InboxMessage("m" * 300, "https://sqs.example.org/" + "q" * 300, Lane.INGEST, "\x00{", rejection=rejection)
    assert desk.take_in([bad]).rejected == 1
    (rejected,) = desk.ledger.inbox.rejected()
    assert (rejected["body"], rejected["cause"]) == ("�{", "It says � and �")

    asset_id = AssetId(2**31 - 1, 2**31 - 1, "\N{HEADPHONE}" * 99)
    image = IngestMessage(asset_id, asset=AssetFields("https://example.org/" + "é" * 5000, roles=("r" * 5000,)))
    desk.take_in([InboxMessage("m1", "q", Lane.INGEST, "body", image)])
    claim = desk.claim("r" * 36)
    etag, media_type = "e" * 1000, "image/" + "x" * 1000
    stored = ObjectRecord("b" * 63, f"{asset_id}/open/12345.jpg", ObjectKind.JP2, 2**40, "a" * 64, media_type)
    done = StageResult(Stage.JP2, Outcome.CONVERTED, etag, {"profile": "\x00"}, (stored,))
    commit_stage(desk.ledger.results, claim, claim.items[0], done, now=NOW)
    found = {status.asset_id: status for status in desk.ledger.reports.images(SELECT_ALL)}[str(asset_id)]
    assert found.objects == (stored,)
    assert found.stages[Stage.JP2].data_version == etag
    assert found.stages[Stage.JP2].facts == {"profile": "\x00"}


def test_a_new_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    """With what SQLite makes next to it, whatever the umask is."""
    before = os.umask(0)
    try:
        with closing(Ledger(f"sqlite:///{tmp_path / 'new' / 'ledger.db'}")) as ledger:
            Desk(ledger).take_in([numbered_message(1)])
            folder = tmp_path / "new"
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    finally:
        os.umask(before)
    assert modes == {"new": 0o700, "ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
