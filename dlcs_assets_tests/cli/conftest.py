"""A ledger of its own for each test, one S3 and SQS for all, and the command line in this process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.ingest_request import AssetFields, BatchReference, IngestMessage
from dlcs_assets.domain.message_attributes import MessageAttribute
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import Chunk, InboxMessage, Rejection, RetrySchedule, new_id
from dlcs_testing.ledger_files import new_ledger_at
from dlcs_testing.one_write import commit_stage, end_image

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SCHEDULE = RetrySchedule(attempts=3, delay=timedelta(seconds=60))


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    url = new_ledger_at(tmp_path / "ledger.db")
    monkeypatch.setenv("DLCS_LEDGER_URL", url)
    with closing(Ledger(url)) as opened:
        yield opened


class Desk:
    """Brings images into the state that a test is about, by the ledger's own ways."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def send(self, image: str, *, batch: int | None = None, fields: AssetFields | None = None) -> None:
        message = IngestMessage(
            AssetId.parse(image),
            batch=BatchReference(batch) if batch else None,
            asset=fields or AssetFields(origin=f"https://u:secret@example.org/{image}.jpg?sig=secret"),
        )
        self._take_in(InboxMessage(new_id(), "images", Lane.INGEST, "body", message))

    def reject(
        self,
        body: str,
        *,
        message_id: str | None = None,
        queue: str = "images",
        image: str | None = None,
        batch: int | None = None,
        attributes: Mapping[str, MessageAttribute] | None = None,
    ) -> str:
        rejection = Rejection("not_json", "the message is not JSON", "Send JSON")
        reference = BatchReference(batch) if batch else None
        message = IngestMessage(AssetId.parse(image), batch=reference) if image else None
        entry = InboxMessage(
            message_id or new_id(), queue, Lane.INGEST, body, message, rejection, attributes=attributes or {}
        )
        self._take_in(entry)
        return entry.id

    def done(self, image: str, **facts: Any) -> None:
        stored = ObjectRecord("dlcs-storage", image, ObjectKind.JP2, 1234, "a" * 64, "image/jp2")
        thumbnail = ObjectRecord(
            "dlcs-thumbs", f"{image}/open/100.jpg", ObjectKind.THUMBNAIL, 56, "b" * 64, "image/jpeg"
        )
        seen = {"width": 3000, "height": 2000, "milliseconds": 10, **facts}
        self._run(
            image,
            StageResult(Stage.ORIGINAL, Outcome.FETCHED, "v1", {**seen, "media_type": "image/jpeg"}),
            StageResult(Stage.JP2, Outcome.CONVERTED, "v1", seen, (stored,)),
            StageResult(Stage.THUMBNAILS, Outcome.MADE, "v1", {**seen, "sizes": [[100, 67]]}, (thumbnail,)),
        )

    def failed(self, image: str, error: IngestError) -> None:
        self._run(image, error=error)

    def delete(self, image: str) -> None:
        """Delete an image, as the run of a chunk of deletions does."""
        self.ledger.deletions.request([AssetDeleted(AssetId.parse(image), None, None, frozenset(), ())], now=NOW)
        chunk = self._reserve(image, Lane.DELETE)
        claim = self.ledger.deletions.claim(chunk.id, new_id(), now=NOW)
        assert claim is not None
        self.ledger.deletions.finish(claim, claim.deletions[0], None, schedule=SCHEDULE, now=NOW)

    def end(self, image: str, error: IngestError | None = None) -> None:
        """End the request that is pending for an image, as the run of a chunk does."""
        claim = self.ledger.claims.claim_chunk(self._reserve(image, Lane.INGEST).id, new_id(), now=NOW)
        assert claim is not None
        end_image(self.ledger.results, claim, claim.items[0], error, schedule=SCHEDULE, now=NOW)

    def _reserve(self, image: str, lane: Lane) -> Chunk:
        (due,) = [
            each
            for each in self.ledger.dispatch.due(list(Lane), limit=100, now=datetime.now(UTC))
            if str(each.asset_id) == image
        ]
        chunk = Chunk(new_id(), lane, due.asset_id.customer, due.asset_id.space, due.stages, image, image, (due,))
        self.ledger.dispatch.reserve([chunk], NOW)
        return chunk

    def _run(self, image: str, *results: StageResult, error: IngestError | None = None) -> None:
        if not self.ledger.reports.registration(AssetId.parse(image)):
            self.send(image)
        run_id = new_id()
        claim = self.ledger.claims.claim_images([AssetId.parse(image)], STAGES, run_id, now=NOW)
        for result in results:
            commit_stage(self.ledger.results, claim, claim.items[0], result, now=NOW)
        end_image(self.ledger.results, claim, claim.items[0], error, schedule=SCHEDULE, now=NOW)

    def _take_in(self, entry: InboxMessage) -> None:
        self.ledger.inbox.take_in(
            [entry], policy=IntakePolicy(lambda *_: None, timedelta(minutes=10)), now=datetime.now(UTC)
        )


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    return Desk(ledger)


@dataclass(frozen=True)
class Aws:
    """The queues and the bucket of one test, as the environment names them."""

    s3: Any
    sqs: Any
    bucket: str
    ingest: str
    priority: str

    def bodies(self, url: str) -> list[str]:
        return [
            message["Body"]
            for message in self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ())
        ]


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    import boto3

    environment = {
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    unique = uuid.uuid4().hex
    with closing(boto3.client("s3")) as s3, closing(boto3.client("sqs")) as sqs:
        s3.create_bucket(Bucket=f"origin-{unique}")
        queues = [sqs.create_queue(QueueName=f"{lane}-{unique}")["QueueUrl"] for lane in ("ingest", "priority")]
        monkeypatch.setenv("DLCS_ORIGIN_BUCKET", f"origin-{unique}")
        monkeypatch.setenv("DLCS_INGEST_QUEUE_URL", queues[0])
        monkeypatch.setenv("DLCS_PRIORITY_QUEUE_URL", queues[1])
        yield Aws(s3, sqs, f"origin-{unique}", *queues)
