"""`dlcs delete`: what it asks of the ledger, also for images that could not be ingested today."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.ingest_request import AssetFields
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.deletions import DeletionClaim
from dlcs_assets.ledger.records import Chunk, new_id
from dlcs_assets_tests.cli.conftest import Desk
from dlcs_testing.command_line import dlcs

WIDE = AssetFields(
    "https://example.org/a.jpg", channels=(RequestedChannel(Channel.THUMBS, "wide"), RequestedChannel(Channel.FILE))
)
DEFAULTS = AssetFields("https://example.org/a.jpg")


def claimed(desk: Desk) -> DeletionClaim:
    due = desk.ledger.dispatch.due([Lane.DELETE], limit=10, now=datetime.now(UTC))
    chunk = Chunk(new_id(), Lane.DELETE, 2, 1, frozenset(), "/a", "/z", tuple(due))
    desk.ledger.dispatch.reserve([chunk], datetime.now(UTC))
    claim = desk.ledger.deletions.claim(chunk.id, "run", now=datetime.now(UTC))
    assert claim is not None
    return claim


@pytest.fixture(params=["customers: {2: {}}", "customers: {3: {}}", "customers: ["], ids=["policy", "customer", "file"])
def _without_rules(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its policy or its customer is not in the customers file any more, or no one can read the file."""
    file = tmp_path / "customers.yaml"
    file.write_text(request.param)
    monkeypatch.setenv("DLCS_CUSTOMERS_FILE", str(file))


@pytest.mark.usefixtures("_without_rules")
@pytest.mark.parametrize(("fields", "channels"), [(WIDE, {"thumbs", "file"}), (DEFAULTS, set(Channel))])
def test_an_image_is_deleted_whose_rules_are_gone(desk: Desk, fields: AssetFields, channels: set[str]) -> None:
    """If it cannot be known by which channels a CDN has it, all of them are invalidated."""
    desk.send("2/1/a", fields=fields)
    done = dlcs("delete", "--yes", "--cdn", "2/1/a")
    assert (done.exit_code, done.exception) == (0, None)
    (deletion,) = claimed(desk).deletions
    assert set(deletion.detail["channels"]) == channels
