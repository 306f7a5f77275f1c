"""Messages that are taken in together come to what they come to one by one, however many are of the same new images."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import AssetFields, BatchReference, IngestMessage
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.records import InboxMessage
from dlcs_assets.ledger.tables import images, messages, requests
from dlcs_assets_tests.ledger.conftest import NOW, Desk

IMAGES = ("a", "b", "c")
ORIGINS = ("https://example.org/1.jpg", "https://example.org/2.jpg", "ftp://example.org/refused.jpg", None)


def drawn(seed: int, space: int) -> list[InboxMessage]:
    """Draw messages about few images: full, short, refused, late, of both lanes, in batches, and deletions."""
    dice = random.Random(seed)
    received = []
    for number in range(dice.randrange(2, 12)):
        asset_id = AssetId(2, space, dice.choice(IMAGES))
        lane = dice.choice([Lane.INGEST, Lane.PRIORITY])
        name = f"{space}-{number}"
        if dice.random() < 0.1:
            deletion = AssetDeleted(asset_id, NOW, None, frozenset(), ())
            received.append(InboxMessage(name, "q", Lane.DELETE, f"body {number}", deletion=deletion, sent_at=NOW))
            continue
        origin = dice.choice(ORIGINS)
        created = dice.choice([None, NOW, NOW - timedelta(hours=1)])
        batch = dice.choice([None, BatchReference(1, None)])
        fields = AssetFields(origin, None, None, None, None) if origin else None
        message = IngestMessage(asset_id, created, batch, fields)
        received.append(InboxMessage(name, "q", lane, f"body {number}", message, only_stale=dice.random() < 0.1))
    return received


def rows(desk: Desk, space: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the ledger has of a space, without the names that differ from one taking in to another."""
    with desk.ledger._database.read() as connection:
        found = {
            "images": select(images.c.id, images.c.registration, images.c.asserted_at).order_by(images.c.id),
            "requests": select(
                requests.c.image_id, requests.c.state, requests.c.lane, requests.c.stages, requests.c.batch
            ).order_by(requests.c.id),
            "messages": select(
                messages.c.id, messages.c.state, messages.c.code, messages.c.body, messages.c.customer
            ).order_by(messages.c.id),
        }
        rows = {name: connection.execute(query).all() for name, query in found.items()}
    of_space = {
        "images": [row for row in rows["images"] if row.id.startswith(f"2/{space}/")],
        "requests": [row for row in rows["requests"] if row.image_id.startswith(f"2/{space}/")],
        "messages": [row for row in rows["messages"] if row.id.startswith(f"{space}-")],
    }
    return {
        name: [(str(row[0]).replace(f"2/{space}/", "").removeprefix(f"{space}-"), *row[1:]) for row in kept]
        for name, kept in of_space.items()
    }


@pytest.mark.parametrize("seed", range(60))
def test_new_images_taken_in_together_end_as_one_by_one(desk: Desk, seed: int) -> None:
    for message in drawn(seed, space=1):
        desk.take_in([message])
    desk.take_in(drawn(seed, space=2))
    assert rows(desk, 1) == rows(desk, 2)


def test_ten_new_images_take_as_many_statements_as_one(desk: Desk) -> None:
    asked: list[str] = []

    @event.listens_for(desk.ledger._database._engine, "before_cursor_execute")
    def _count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    def message(number: int) -> InboxMessage:
        fields = AssetFields(ORIGINS[0], None, None, None, None)
        return InboxMessage(
            f"m{number}", "q", Lane.INGEST, "", IngestMessage(AssetId(2, 1, f"{number}"), None, None, fields)
        )

    desk.take_in([message(0)])
    for_one = len(asked)
    asked.clear()
    assert desk.take_in([message(number) for number in range(1, 11)]).accepted == 10
    assert len(asked) == for_one
