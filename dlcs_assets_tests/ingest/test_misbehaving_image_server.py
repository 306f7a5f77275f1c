"""A chunk of images with a real ledger, real buckets, and a real image server whose answers are spoiled or missing."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.aws import make_client
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.defs.resources import make_services
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.ingest_request import AssetFields, IngestMessage
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import STAGES, Lane
from dlcs_assets.ingest.chunk import ChunkOptions, ImageEnded, ingest_chunk
from dlcs_assets.ingest.context import Services
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import Chunk, InboxMessage, RetrySchedule, new_id
from dlcs_assets.settings import Settings
from dlcs_stack.image_server.config import Config
from dlcs_testing.image_server_service import listening
from dlcs_testing.misbehaving import Misbehaving, misbehaving
from dlcs_testing.pictures import drawing, encoded

IMAGES = 20
PAGE = (400, 600)
EXPECTED = {"o": [[400, 600], [267, 400], [133, 200], [67, 100]], "a": []}  # of !1024,1024 and the other defaults
LANES = (Lane.INGEST, Lane.RETRY)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        patch.setenv("AWS_ENDPOINT_URL", url)
        yield url
    server.stop()


@pytest.fixture(scope="module")
def image_server(endpoint: str) -> Iterator[str]:
    with listening(Config(s3_endpoint=endpoint, workers=1)) as url:
        yield url


@dataclass
class Ingest:
    """Twenty images, registered and due, and what a run needs to work on them."""

    settings: Settings
    ledger: Ledger
    services: Services
    server: Misbehaving
    s3: Any

    @property
    def client(self) -> ImageServer:
        return self.services.image_server

    def run(self, delay: timedelta) -> list[ImageEnded]:
        """Work on what is due now, as one chunk."""
        now = datetime.now(UTC)
        due = self.ledger.dispatch.due(LANES, limit=1000, now=now)
        if not due:
            return []
        chunk = Chunk(new_id(), Lane.INGEST, 2, 1, frozenset(STAGES), "/first", "/last", tuple(due))
        self.ledger.dispatch.reserve([chunk], now)
        claim = self.ledger.claims.claim_chunk(chunk.id, new_id(), now=now)
        assert claim is not None
        options = ChunkOptions(self.settings.scratch, 8, 16, timedelta(seconds=10), RetrySchedule(5, delay))
        events = ingest_chunk(claim, self.ledger, self.services, ingest_policy(self.settings), options)
        return [event for event in events if isinstance(event, ImageEnded)]

    def published(self) -> list[Any]:
        """Return the s.json of each image that has one."""
        found = []
        for number in range(IMAGES):
            try:
                answer = self.s3.get_object(Bucket=self.settings.thumbs_bucket, Key=f"2/1/{number}/s.json")
            except self.s3.exceptions.NoSuchKey:
                continue
            found.append(json.loads(answer["Body"].read()))
        return found


@pytest.fixture
def ingest(endpoint: str, image_server: str, tmp_path: Path) -> Iterator[Ingest]:
    name = uuid.uuid4().hex
    with ExitStack() as opened:
        server = opened.enter_context(misbehaving(image_server))
        settings = Settings(
            storage_bucket=f"storage-{name}",
            thumbs_bucket=f"thumbs-{name}",
            origin_bucket=f"origin-{name}",
            s3_endpoint_url=endpoint,
            image_server_url=server.url,
            scratch=tmp_path / "scratch",
            slots=tmp_path / "slots",
        )
        s3 = make_client("s3")
        opened.callback(s3.close)
        ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
        opened.callback(ledger.close)
        made = make_services(settings)
        client = ImageServer(
            url=server.url,
            slots_folder=str(settings.slots),
            in_flight=8,
            timeout_seconds=0.7,
            first_delay_seconds=0.01,
            longest_delay_seconds=0.05,
        )
        services = Services(made.origins, made.storage, made.appetiser, client, made.pictures)
        for service in (made.origins, made.storage, client):
            opened.callback(service.close)
        prepare(settings, s3, ledger)
        yield Ingest(settings, ledger, services, server, s3)


def prepare(settings: Settings, s3: Any, ledger: Ledger) -> None:
    """Upload the originals, where the image server reads them itself, and take the messages in."""
    for bucket in (settings.storage_bucket, settings.thumbs_bucket, settings.origin_bucket):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    channels = (RequestedChannel(Channel.THUMBS),)
    messages = []
    for number in range(IMAGES):
        body = encoded(drawing(*PAGE, seed=number))
        s3.put_object(Bucket=settings.origin_bucket, Key=f"2/{number}.jpg", Body=body)
        fields = AssetFields(f"s3://{settings.origin_bucket}/2/{number}.jpg", "image/jpeg", channels)
        message = IngestMessage(AssetId.parse(f"2/1/{number}"), None, None, fields)
        messages.append(InboxMessage(f"m{number}", "q", Lane.INGEST, "{}", message))
    ledger.inbox.take_in(messages, policy=IntakePolicy(lambda *_: None, timedelta(minutes=10)), now=datetime.now(UTC))


def test_a_fifth_of_bad_answers_does_not_spoil_any_image(ingest: Ingest) -> None:
    """Every image is published with every size, and no size takes more than two requests on average."""
    ingest.server.share = 0.2
    ended: Counter[RequestState | None] = Counter()
    while events := ingest.run(delay=timedelta(0)):
        ended.update(event.state for event in events)
    assert ended[RequestState.FAILED] == 0
    assert ended[RequestState.DONE] == IMAGES
    assert ingest.published() == [EXPECTED] * IMAGES
    assert ingest.server.met.total() > 0
    thumbnails, others = Counter[str](), 0
    for what, times in ingest.server.asked.items():
        if "/full/" in what:
            thumbnails[what] = times
        else:
            others += times
    assert len(thumbnails) == IMAGES * len(EXPECTED["o"])
    assert thumbnails.total() <= 2 * len(thumbnails)


def test_images_wait_when_the_image_server_is_down(ingest: Ingest) -> None:
    """The chunk ends soon and no attempt is used up: an outage of a night must not fail its images."""
    ingest.server.stop()
    delay = timedelta(seconds=60)
    ended = ingest.run(delay)
    assert [event.state for event in ended] == [RequestState.PENDING] * IMAGES
    assert {event.error and event.error.code for event in ended} == {"image_server_down"}
    assert {event.error and event.error.stage for event in ended} == {"thumbnails"}
    assert ingest.client.circuit.is_open
    # Not before the delay, and then all of them, at their first attempt.
    now = datetime.now(UTC)
    assert not ingest.ledger.dispatch.due(LANES, limit=1000, now=now + delay / 2)
    assert len(ingest.ledger.dispatch.due(LANES, limit=1000, now=now + delay)) == IMAGES
