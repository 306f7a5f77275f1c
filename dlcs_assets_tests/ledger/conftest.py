from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, MessageRejectedError
from dlcs_assets.domain.ingest_request import AssetFields, BatchReference, IngestMessage, Registration
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import Chunk, InboxMessage, IntakeCount, RetrySchedule, new_id
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.ledger.results import Claim
from dlcs_testing import postgresql
from dlcs_testing.ledger_files import new_ledger_at
from dlcs_testing.one_write import commit_stage, end_image

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SCHEDULE = RetrySchedule(attempts=3, delay=timedelta(seconds=60))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger, of either kind."""
    if request.param == "sqlite":
        return new_ledger_at(tmp_path / "ledger.db")
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    return server.new_ledger()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    return server.new_database()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger(url)
    yield opened
    opened.close()


class Desk:
    """What the tests do over and over: sending, dispatching, claiming, finishing."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sent = 0

    def send(
        self,
        image: str,
        origin: str | None = "https://example.org/page.jpg",
        *,
        message_id: str | None = None,
        lane: Lane = Lane.INGEST,
        batch: int | None = None,
        roles: tuple[str, ...] | None = None,
        created: datetime | None = None,
        now: datetime = NOW,
    ) -> IntakeCount:
        self.sent += 1
        fields = AssetFields(origin, None, None, None, roles) if origin else None
        message = IngestMessage(AssetId.parse(image), created, BatchReference(batch, None) if batch else None, fields)
        received = InboxMessage(message_id or f"m{self.sent}", "q", lane, f"body {self.sent}", message)
        return self.take_in([received], now=now)

    def take_in(self, received: list[InboxMessage], now: datetime = NOW) -> IntakeCount:
        return self.ledger.inbox.take_in(received, policy=IntakePolicy(refuse_ftp, timedelta(minutes=10)), now=now)

    def reserve(self, lane: Lane = Lane.INGEST, now: datetime = NOW) -> Chunk | None:
        due = self.ledger.dispatch.due([lane], limit=100, now=now)
        if not due:
            return None
        planned = Chunk(new_id(), lane, 2, 1, frozenset(STAGES), "/first", "/last", tuple(due))
        reserved = self.ledger.dispatch.reserve([planned], now)
        return reserved[0] if reserved else None

    def claim(
        self, run_id: str = "run-1", lane: Lane = Lane.INGEST, now: datetime = NOW, *, begin: int | None = None
    ) -> Claim:
        """Claim what is due in a lane for a run, which begins so many of the images; None: all of them."""
        chunk = self.reserve(lane, now)
        assert chunk is not None
        claim = self.ledger.claims.claim_chunk(chunk.id, run_id, now=now)
        assert claim is not None
        begun = [item.request_id for item in claim.items[:begin]]
        assert self.ledger.claims.begin(claim.token, begun, now=now) == set(begun)
        return claim

    def store(self, image: str, sha256: str = "a" * 64, *, end: bool = True) -> None:
        """Ingest an image of one object of 10 bytes, to its end or up to it."""
        self.send(image)
        claim = self.claim()
        record = ObjectRecord("storage", image, ObjectKind.JP2, 10, sha256, "image/jp2")
        result = StageResult(Stage.JP2, Outcome.CONVERTED, sha256, {}, (record,))
        commit_stage(self.ledger.results, claim, claim.items[0], result, now=NOW)
        if end:
            end_image(self.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
            self.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=NOW)

    def run(self, at: datetime, ends: Sequence[tuple[str, IngestError | None, float]]) -> None:
        """Have a run end at a moment whose images end so, after so many seconds in one stage."""
        for image, _, _ in ends:
            self.send(image)
        claim = self.claim(f"run-{at:%H%M%S}")
        of = {image: (error, seconds) for image, error, seconds in ends}
        for item in claim.items:
            error, seconds = of[str(item.asset_id)]
            if error is None:
                result = StageResult(Stage.JP2, Outcome.CONVERTED, "v1", {"milliseconds": int(seconds * 1000)})
                commit_stage(self.ledger.results, claim, item, result, now=at)
            end_image(self.ledger.results, claim, item, error, schedule=SCHEDULE, now=at)
        self.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=at)

    def state(self, image: str) -> str:
        (status,) = [found for found in self.ledger.reports.images(SELECT_ALL) if found.asset_id == image]
        return status.state


SELECT_ALL = Selection()


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    return Desk(ledger)


def refuse_ftp(asset_id: AssetId, registration: Registration) -> None:
    if registration.origin.startswith("ftp:"):
        raise MessageRejectedError("origin_scheme_not_supported", f"{asset_id}: ftp", remedy="Use https")


def numbered_message(number: int) -> InboxMessage:
    """Return a full message about an image of batch 7; the number is part of its id and of the image's."""
    image = IngestMessage(
        AssetId(2, 1, f"image-{number:03}"),
        None,
        BatchReference(7, None),
        AssetFields("https://example.org/page.jpg", None, None, None, None),
    )
    return InboxMessage(f"m{number}", "q", Lane.INGEST, "body", image)


def result(stage: Stage, version: str = "v1", *, key: str | None = None, size: int = 10) -> StageResult:
    kind = {Stage.ORIGINAL: ObjectKind.ORIGINAL, Stage.JP2: ObjectKind.JP2, Stage.THUMBNAILS: ObjectKind.THUMBNAIL}
    stored = (ObjectRecord("bucket", key, kind[stage], size, "a" * 64, "image/jp2"),) if key else ()
    return StageResult(stage, Outcome.CONVERTED, version, {"width": 3, "height": 4}, stored)


def end_chunk(ledger: Ledger, chunk: Chunk) -> None:
    """Let the chunk's run, of the same id, end without getting to its images."""
    ledger.dispatch.mark_launched(chunk.id, chunk.id)
    ledger.claims.release_run(chunk.id, schedule=SCHEDULE, now=NOW)
