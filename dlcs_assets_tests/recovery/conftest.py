"""A library of images, small ones, that are in S3 and in a ledger as runs leave them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_request import AssetFields, IngestMessage
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, joint_version
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.domain.storage_keys import jp2_key, original_key, sizes_key, thumbnail_key
from dlcs_assets.domain.thumbnails import ThumbnailSet
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import InboxMessage, RetrySchedule, new_id
from dlcs_assets.ledger.reports import ImageStatus, Selection
from dlcs_assets.recovery.compare import Comparer, ImageCompared, Kind
from dlcs_assets.recovery.inventory import Inventory, Scope
from dlcs_assets.recovery.rebuild import Rebuild, Rebuilt
from dlcs_assets.recovery.repair import Repair
from dlcs_testing import postgresql
from dlcs_testing.one_write import commit_stage, end_image

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SCHEDULE = RetrySchedule(attempts=3, delay=timedelta(seconds=60))
OPEN = ThumbnailSet(open=(Size(400, 267), Size(100, 67)))


@dataclass
class Library:
    """Images in two buckets, and the ledger that knows them; `lose` leaves an empty one."""

    storage: Storage
    new_ledger: Callable[[], Ledger]
    ledger: Ledger = field(init=False)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lose()

    def lose(self) -> None:
        """Lose the ledger, and begin with an empty one."""
        self.ledger = self.new_ledger()

    def register(self, image: str, **fields: Any) -> None:
        asset = AssetFields(**{"origin": f"https://example.org/{image}.tif", **fields})
        received = InboxMessage(new_id(), "q", Lane.INGEST, "body", IngestMessage(AssetId.parse(image), asset=asset))
        policy = IntakePolicy(lambda *_: None, timedelta(minutes=10))
        self.ledger.inbox.take_in([received], policy=policy, now=datetime.now(UTC))

    def ingest(
        self,
        image: str,
        thumbnails: ThumbnailSet | None = OPEN,
        *,
        keep: bool = False,
        **fields: Any,
    ) -> None:
        """Register an image, store what a run stores of it, and record that."""
        self.register(image, **fields)
        asset_id = AssetId.parse(image)
        claim = self.ledger.claims.claim_images([asset_id], STAGES, new_id(), now=datetime.now(UTC))
        (item,) = claim.items
        self.requests.append(item.request_id)
        for result in self._stored(asset_id, thumbnails, keep=keep):
            commit_stage(self.ledger.results, claim, item, result, now=datetime.now(UTC))
        end_image(self.ledger.results, claim, item, None, schedule=SCHEDULE, now=datetime.now(UTC))

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "image/jpeg") -> None:
        """Store an object as runs do, with its checksum."""
        self.storage.put_bytes(data, bucket, key, content_type)

    def put_without_checksum(self, bucket: str, key: str, data: bytes, content_type: str = "image/jpeg") -> None:
        """Store an object as other systems do."""
        with closing(self.storage.s3.get_client()) as client:
            client.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)

    def _stored(self, asset_id: AssetId, thumbnails: ThumbnailSet | None, *, keep: bool) -> Iterator[StageResult]:
        def put(kind: ObjectKind, bucket: str, key: str, data: bytes, content_type: str) -> ObjectRecord:
            self.storage.put_bytes(data, bucket, key, content_type)
            return ObjectRecord(bucket, key, kind, len(data), hashlib.sha256(data).hexdigest(), content_type)

        name, bucket, thumbs = f"{asset_id}".encode(), self.storage.storage_bucket, self.storage.thumbs_bucket
        kept: tuple[ObjectRecord, ...] = ()
        if keep:
            kept = (put(ObjectKind.ORIGINAL, bucket, original_key(asset_id), b"original of " + name, "image/tiff"),)
        outcome = Outcome.KEPT if keep else Outcome.FETCHED
        yield StageResult(Stage.ORIGINAL, outcome, "v1", {"media_type": "image/tiff"}, kept, {"code": "1"})
        stored = put(ObjectKind.JP2, bucket, jp2_key(asset_id), f"a JP2 of {asset_id}".encode(), "image/jp2")
        yield StageResult(Stage.JP2, Outcome.CONVERTED, stored.sha256, {}, (stored,), {"code": "1"})
        if thumbnails is None:
            yield StageResult(Stage.THUMBNAILS, Outcome.NOT_REQUIRED, "not required", {}, (), {"code": "1"})
            return
        records = [
            put(
                ObjectKind.THUMBNAIL,
                thumbs,
                thumbnail_key(asset_id, size.longest, thumbnails.is_open(size)),
                f"{size} of {asset_id}".encode(),
                "image/jpeg",
            )
            for size in (*thumbnails.open, *thumbnails.auth)
        ]
        text = thumbnails.sizes_json().encode()
        records.append(put(ObjectKind.SIZES, thumbs, sizes_key(asset_id), text, "application/json"))
        facts = {
            "sizes": [[size.width, size.height] for size in (*thumbnails.open, *thumbnails.auth)],
            "open": len(thumbnails.open),
        }
        yield StageResult(Stage.THUMBNAILS, Outcome.MADE, joint_version(records), facts, tuple(records), {"code": "1"})

    # What is asked

    def status(self, image: str) -> ImageStatus:
        (status,) = self.ledger.reports.images(Selection(ids=(image,)))
        return status

    def objects(self) -> list[tuple[str, str, str, int, str, str]]:
        """Return what the ledger has of all objects."""
        return sorted(
            (each.bucket, each.key, each.kind.value, each.bytes, each.sha256, each.content_type)
            for status in self.ledger.reports.images(Selection())
            for each in status.objects
        )

    def rebuild(self, scope: Scope = Scope(), **options: Any) -> dict[str, Rebuilt]:  # noqa: B008 (it is frozen)
        run = Rebuild(self.ledger, self.storage, **{"dry_run": False, **options})
        with self.inventory(scope) as inventory:
            return {str(each.asset_id): each for each in run.run(inventory, scope)}

    def compare(self, scope: Scope = Scope(), **options: Any) -> list[ImageCompared]:  # noqa: B008 (as above)
        with self.inventory(scope) as inventory:
            return list(Comparer(self.ledger, self.storage, **options).run(inventory, scope))

    def findings(self, scope: Scope = Scope(), **options: Any) -> list[tuple[Kind, str]]:  # noqa: B008 (as above)
        return sorted((each.kind, each.key) for image in self.compare(scope, **options) for each in image.findings)

    def repair(self, *kinds: Kind, **options: Any) -> Repair:
        repair = Repair(self.ledger, self.storage, kinds, **{"dry_run": False, **options})
        for image in self.compare():
            repair.image(image)
        return repair

    def inventory(self, scope: Scope) -> Inventory:
        inventory = Inventory(self.storage.storage_bucket, self.storage.thumbs_bucket)
        inventory.fill(self.storage, scope)
        return inventory


@pytest.fixture(scope="session")
def s3() -> Iterator[S3ClientFactory]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3ClientFactory(
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    server.stop()


@pytest.fixture
def storage(s3: S3ClientFactory) -> Iterator[Storage]:
    name = uuid.uuid4().hex
    storage = Storage(s3=s3, storage_bucket=f"storage-{name}", thumbs_bucket=f"thumbs-{name}", in_flight=4)
    with closing(s3.get_client()) as client:
        for bucket in (storage.storage_bucket, storage.thumbs_bucket):
            client.create_bucket(Bucket=bucket)
    yield storage
    storage.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, storage: Storage, tmp_path: Path) -> Iterator[Library]:
    """A library whose ledgers are of either kind."""
    with ExitStack() as opened:

        def new_ledger() -> Ledger:
            if request.param == "sqlite":
                url = f"sqlite:///{tmp_path / uuid.uuid4().hex}.db"
            else:
                server: postgresql.Server = request.getfixturevalue("postgresql_server")
                url = server.new_ledger()
            return opened.enter_context(closing(Ledger(url)))

        yield Library(storage, new_ledger)
