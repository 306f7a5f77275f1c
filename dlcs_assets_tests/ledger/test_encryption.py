from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.encryption import PREFIX, WrongKeyError
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets_tests.ledger.conftest import NOW, Desk

SECRET = "a-secret-of-the-origin"
ORIGIN = f"https://example.org/p.tif?key={SECRET}"
KEY, OTHER = (Fernet.generate_key().decode() for _ in range(2))


@contextmanager
def opened(url: str, keys: str | None) -> Iterator[Desk]:
    ledger = Ledger(url, keys)
    try:
        yield Desk(ledger)
    finally:
        ledger.close()


def fill(desk: Desk) -> None:
    """Register an image, and keep a message that cannot be used."""
    desk.send("2/1/page", ORIGIN)
    rejection = Rejection("not_json", "It is no JSON", "Send JSON")
    desk.take_in([InboxMessage("m-bad", "q", Lane.INGEST, f"{{{ORIGIN}", None, rejection=rejection)])


def origin_and_body(desk: Desk) -> tuple[str, str]:
    (entry,) = desk.ledger.registrations.entries()
    (kept,) = desk.ledger.inbox.rejected()
    return entry.registration.origin, kept["body"]


def stored(url: str) -> str:
    """Return all that the database has in the columns that may hold secrets."""
    engine = make_engine(url)
    with engine.connect() as connection:
        rows = [
            *connection.execute(text("SELECT registration FROM images")).all(),
            *connection.execute(text("SELECT body, cause FROM messages")).all(),
        ]
    engine.dispose()
    return str(rows)


def test_with_a_key_secrets_are_stored_encrypted_and_read_back(url: str) -> None:
    """The secret of an origin must not be found in the bytes of the database."""
    with opened(url, KEY) as desk:
        fill(desk)
        assert origin_and_body(desk) == (ORIGIN, f"{{{ORIGIN}")
    assert SECRET not in stored(url)


def test_without_a_key_nothing_is_encrypted(url: str) -> None:
    with opened(url, None) as desk:
        fill(desk)
    assert SECRET in stored(url)


def test_what_was_written_without_a_key_is_read_with_one(url: str) -> None:
    """Setting a key later must not make the ledger unreadable."""
    with opened(url, None) as desk:
        fill(desk)
    with opened(url, KEY) as desk:
        assert origin_and_body(desk) == (ORIGIN, f"{{{ORIGIN}")


def test_a_key_listed_second_still_reads_what_it_wrote(url: str) -> None:
    """Keys can be changed without writing all rows again: the earlier key stays behind the new one."""
    with opened(url, KEY) as desk:
        fill(desk)
    with opened(url, f"{OTHER}, {KEY}") as desk:
        assert origin_and_body(desk) == (ORIGIN, f"{{{ORIGIN}")


@pytest.mark.parametrize("keys", [OTHER, None], ids=["another key", "no key"])
def test_without_the_right_key_reading_names_the_setting(url: str, keys: str | None) -> None:
    """Ciphertext must never be taken for an origin or a body."""
    with opened(url, KEY) as desk:
        fill(desk)
    with opened(url, keys) as desk, pytest.raises(WrongKeyError, match="DLCS_LEDGER_KEY"):
        desk.ledger.inbox.rejected()
    with opened(url, keys) as desk, pytest.raises(WrongKeyError, match="DLCS_LEDGER_KEY"):
        list(desk.ledger.registrations.entries())


def test_an_invalid_key_is_refused_without_being_shown() -> None:
    with pytest.raises(WrongKeyError) as caught:
        Ledger("sqlite://", "my-password")
    assert "my-password" not in str(caught.value)
    assert "Fernet.generate_key" in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_message_that_looks_encrypted_is_shown_as_it_came(desk: Desk) -> None:
    body = PREFIX.lstrip("\x01") + "AAAA"
    rejection = Rejection("not_json", "It is no JSON", "Send JSON")
    desk.take_in([InboxMessage("m1", "q", Lane.INGEST, body, None, rejection=rejection)], now=NOW)
    assert desk.ledger.inbox.rejected()[0]["body"] == body
