"""The pages as they are served: a real server on a socket, a ledger of either kind, and the stack's S3 (moto)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from dlcs_assets.clients.aws import S3ClientFactory, make_client
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.ingest_request import AssetFields, BatchReference, IngestMessage
from dlcs_assets.domain.recipe import Recipe
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.domain.storage_keys import thumbnail_key
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import InboxMessage, Rejection, RetrySchedule, new_id
from dlcs_assets.settings import Settings
from dlcs_assets.view.app import create_app
from dlcs_assets.view.pictures import Pictures, make_image_server
from dlcs_stack.stack import RunningStack
from dlcs_testing import postgresql
from dlcs_testing.asgi_service import served
from dlcs_testing.installation import only_the_stacks_environment
from dlcs_testing.ledger_files import new_ledger_at
from dlcs_testing.one_write import commit_stage, end_image
from dlcs_testing.pictures import jpeg

SCHEDULE = RetrySchedule(attempts=3, delay=timedelta(seconds=60))
EDGES = (100, 200, 400)
BROKEN = PermanentError("conversion_failed", "It is torn", remedy="Send a whole one", stage=Stage.JP2)


@dataclass
class Library:
    """A ledger with images in all states, and S3 with their thumbnails."""

    ledger: Ledger
    settings: Settings
    s3: Any
    url: str = ""
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    def get(self, path: str, **more: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=60, **more)

    def text(self, path: str) -> str:
        """Return a page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def send(self, image: str, *, batch: int | None = None, count: int | None = None, **fields: Any) -> None:
        """Take in a full message."""
        asset = AssetFields(**{"origin": f"https://u:secret@example.org/{image}.jpg?sig=secret", **fields})
        reference = BatchReference(batch, count) if batch else None
        self._take_in(IngestMessage(AssetId.parse(image), batch=reference, asset=asset), None, "body")

    def reprocess(self, image: str, **words: str | int) -> int:
        """Begin a backfill of one image; return its number."""
        now = datetime.now(UTC)
        number = self.ledger.backfills.begin({"customer": 2, **words}, asked_by="a test", now=now)
        self.ledger.backfills.request(number, [(AssetId.parse(image), frozenset(STAGES))], now=now)
        self.ledger.backfills.all_requested(number, now=now)
        return number

    def reject(self, rejection: Rejection, *, image: str | None = None, body: str = "{}") -> None:
        message = IngestMessage(AssetId.parse(image)) if image else None
        self._take_in(message, rejection, body)

    def _take_in(self, message: IngestMessage | None, rejection: Rejection | None, body: str) -> None:
        entry = InboxMessage(new_id(), "images", Lane.INGEST, body, message, rejection)
        policy = IntakePolicy(lambda *_: None, timedelta(minutes=10))
        self.ledger.inbox.take_in([entry], policy=policy, now=datetime.now(UTC))

    def done(
        self,
        image: str,
        *,
        is_open: bool = True,
        store: bool = False,
        recipes: Mapping[Stage, Recipe] | None = None,
        **facts: Any,
    ) -> None:
        """End an image that was sent, or that is sent now, well; with `store` its thumbnails are in S3."""
        recipes = recipes or {Stage.JP2: {"policy": "default"}}
        asset_id = AssetId.parse(image)
        thumbnails = []
        for edge in EDGES:
            data, key = jpeg(edge, edge // 2), thumbnail_key(asset_id, edge, is_open)
            if store:
                self.s3.put_object(Bucket=self.settings.thumbs_bucket, Key=key, Body=data, ContentType="text/html")
            thumbnails.append(self._stored(key, ObjectKind.THUMBNAIL, len(data), f"{edge:064}"))
        jp2 = ObjectRecord(self.settings.storage_bucket, image, ObjectKind.JP2, 1234, "a" * 64, "image/jp2")
        seen = {"width": 3000, "height": 2000, "milliseconds": 10, **facts}
        made = (
            (Stage.ORIGINAL, Outcome.FETCHED, {**seen, "media_type": "image/jpeg"}, ()),
            (Stage.JP2, Outcome.CONVERTED, seen, (jp2,)),
            (Stage.THUMBNAILS, Outcome.MADE, {**seen, "sizes": [[100, 50]]}, tuple(thumbnails)),
        )
        self._run(
            image,
            *(
                StageResult(stage, outcome, "v1", found, stored, recipes.get(stage, {}))
                for stage, outcome, found, stored in made
            ),
        )

    @property
    def thumbnail_bytes(self) -> int:
        """How many bytes the thumbnails of an image have that is done."""
        return sum(len(jpeg(edge, edge // 2)) for edge in EDGES)

    def failed(self, image: str, error: IngestError = BROKEN) -> None:
        self._run(image, error=error)

    def cancelled(self, image: str) -> None:
        """Have a person terminate the run of an image that was sent."""
        claim = self.ledger.claims.claim_images([AssetId.parse(image)], STAGES, new_id(), now=datetime.now(UTC))
        self.ledger.claims.release(claim.token, claim.run_id, schedule=SCHEDULE, now=datetime.now(UTC), terminated=True)

    def _stored(self, key: str, kind: ObjectKind, size: int, sha256: str) -> ObjectRecord:
        return ObjectRecord(self.settings.thumbs_bucket, key, kind, size, sha256, "image/jpeg")

    def _run(self, image: str, *results: StageResult, error: IngestError | None = None) -> None:
        if not self.ledger.reports.registration(AssetId.parse(image)):
            self.send(image)
        now = datetime.now(UTC)
        claim = self.ledger.claims.claim_images([AssetId.parse(image)], STAGES, new_id(), now=now)
        for result in results:
            commit_stage(self.ledger.results, claim, claim.items[0], result, now=now)
        end_image(self.ledger.results, claim, claim.items[0], error, schedule=SCHEDULE, now=now)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger, of either kind."""
    if request.param == "sqlite":
        return new_ledger_at(tmp_path / "ledger.db")
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    return server.new_ledger()


@contextmanager
def library_at(
    ledger_url: str, services: RunningStack, *, viewers: Sequence[str] = (), **settings: Any
) -> Iterator[Library]:
    """Serve the pages of a ledger and of buckets of its own."""
    name = uuid.uuid4().hex[:12]
    environment = services.environment
    with ExitStack() as opened:
        opened.enter_context(only_the_stacks_environment(services))
        s3 = opened.enter_context(closing(make_client("s3")))
        chosen = Settings(
            **{
                "ledger_url": ledger_url,
                "storage_bucket": f"storage-{name}",
                "thumbs_bucket": f"thumbs-{name}",
                "ui_url": "http://127.0.0.1:3000",
                "image_server_url": environment["DLCS_IMAGE_SERVER_URL"],
                "image_server_kind": "embedded",
                **settings,
            }
        )
        for bucket in (chosen.storage_bucket, chosen.thumbs_bucket):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        ledger = opened.enter_context(closing(Ledger(ledger_url)))
        storage = Storage(
            s3=S3ClientFactory(), storage_bucket=chosen.storage_bucket, thumbs_bucket=chosen.thumbs_bucket
        )
        pictures = Pictures(storage, make_image_server(chosen), chosen)
        app = create_app(lambda: Ledger(ledger_url), pictures, chosen, hosts=["view.example.org"], viewers=viewers)
        url = opened.enter_context(served(app))
        yield Library(ledger, chosen, s3, url)


@pytest.fixture
def library(ledger_url: str, services: RunningStack) -> Iterator[Library]:
    with library_at(ledger_url, services) as made:
        yield made
