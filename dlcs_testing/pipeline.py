"""Images on their whole way without Dagster: messages are taken in, and chunks of images claimed and ingested, here.

Buckets, ledger, image server, Appetiser and origins are real. What sensors and runs add is tested by
`dlcs_testing.harness`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from dlcs_assets.clients.sqs import QueueMessage, Queues
from dlcs_assets.defs.resources import make_services, service_resources
from dlcs_assets.defs.sensors.dispatch import plan_chunks
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ingest.chunk import ChunkOptions, ImageEnded, StageDone, ingest_chunk
from dlcs_assets.ingest.context import Services
from dlcs_assets.ingest.deletion import DeletionEnded, delete_images
from dlcs_assets.ingest.policy import ingest_policy, retry_schedule
from dlcs_assets.intake.asset_notifications import read_notification
from dlcs_assets.intake.messages import deliver, read_message
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import Chunk, new_id
from dlcs_assets.ledger.results import Claim
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import impatient
from dlcs_testing.installation import Installation, as_body, full_message, installed, only_the_stacks_environment

MAX_ROUNDS = 20


@dataclass
class Pipeline(Installation):
    """An installation in which the test does what sensors and runs do.

    `ended` and `done` are all images and stages that ended, `chunks` what was worked on, each in that order.
    """

    ended: list[ImageEnded] = field(default_factory=list)
    done: list[StageDone] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def use(self, **settings: Any) -> None:
        """Continue with other settings, as after a new deployment."""
        self.settings = self.settings.model_copy(update=settings)
        self.close()

    def send(self, *messages: dict[str, Any] | str, queue: str = "ingest") -> None:
        """Take messages in as those of a queue: ingest, priority, uploads, update or delete."""
        lane = Lane.PRIORITY if queue == "priority" else Lane.INGEST
        received = [QueueMessage(f"m{next(self.numbers)}", as_body(each), "receipt", None) for each in messages]
        entries = [
            entry
            for each in received
            for entry in (
                read_notification(each, queue, self.settings)
                if queue in {"update", "delete"}
                else read_message(each, queue, lane, self.settings)
            )
        ]
        deliver(entries, self.queues, self.ledger, self.settings)

    def settle(self) -> list[ImageEnded]:
        """Ingest and delete what is due, chunk by chunk, until nothing is; return how each attempt to ingest ended."""
        before = len(self.ended)
        for _ in range(MAX_ROUNDS):
            if not self.work():
                return self.ended[before:]
        raise AssertionError(f"Not settled after {MAX_ROUNDS} rounds: {self.ledger.reports.counts()}")

    def work(self) -> list[Chunk]:
        """Ingest and delete what is due now; return the chunks."""
        chunks = self.due()
        for chunk in chunks:
            if chunk.lane is Lane.DELETE:
                self.delete(chunk)
            else:
                self.run(self.claim(chunk))
        self.chunks += chunks
        return chunks

    def due(self) -> list[Chunk]:
        """Return the chunks of what is due now."""
        now = datetime.now(UTC)
        if not self.ledger.dispatch.due(list(Lane), limit=1, now=now):
            return []
        due = {lane: self.ledger.dispatch.due([lane], limit=1000, now=now) for lane in Lane}
        return [chunk for lane in Lane for chunk in plan_chunks(due[lane], lane, self.settings.chunk_size)]

    def ingest_once(self, image: str, origin: str, channels: str) -> None:
        """Send a full message and let only the first run happen, which ends with its clients."""
        self.send(full_message(image, origin, channels))
        self.work()
        self.close()

    def delete(self, chunk: Chunk) -> list[DeletionEnded]:
        """Delete the images of a chunk, as a run does; return how that ended."""
        self.ledger.dispatch.reserve([chunk], datetime.now(UTC))
        claim = self.ledger.deletions.claim(chunk.id, new_id(), now=datetime.now(UTC))
        assert claim is not None
        schedule = retry_schedule(self.settings)
        tells_cdn = self.settings.invalidation_topic_arn is not None
        beat = self.settings.heartbeat
        deleting = delete_images(
            claim, self.ledger, self.services.storage, schedule, tells_cdn=tells_cdn, heartbeat=beat
        )
        ended = list(deleting)
        self.ledger.claims.release_run(claim.run_id, schedule=schedule, now=datetime.now(UTC))
        return ended

    def claim(self, chunk: Chunk) -> Claim:
        """Reserve and claim the images of a chunk for a new run."""
        self.ledger.dispatch.reserve([chunk], datetime.now(UTC))
        claim = self.ledger.claims.claim_chunk(chunk.id, new_id(), now=datetime.now(UTC))
        assert claim is not None
        return claim

    def claim_images(self, *images: str, stages: Sequence[Stage] = STAGES) -> Claim:
        """Claim images for some stages, as a run that is launched by hand does."""
        ids = [AssetId.parse(image) for image in images]
        return self.ledger.claims.claim_images(ids, frozenset(stages), new_id(), now=datetime.now(UTC))

    def run(self, claim: Claim) -> list[ImageEnded]:
        """Ingest what is claimed; return how each image ended."""
        before = len(self.ended)
        for event in ingest_chunk(claim, self.ledger, self.services, ingest_policy(self.settings), self.options):
            if isinstance(event, ImageEnded):
                self.ended.append(event)
            else:
                self.done.append(event)
        return self.ended[before:]

    def run_by_hand(self, *images: str, stages: Sequence[Stage] = STAGES) -> list[ImageEnded]:
        """Make some stages of images again, as a person launches it; return how each image ended."""
        return self.run(self.claim_images(*images, stages=stages))

    def request_of(self, image: str, stage: Stage) -> str:
        """Return the request by which the stage was done last."""
        done = [each for each in self.done if str(each.item.asset_id) == image and each.result.stage is stage]
        return done[-1].item.request_id

    def close(self) -> None:
        """Close what is open; it is opened again where it is needed."""
        parts = self.__dict__
        if opened := parts.pop("services", None):
            for each in (opened.origins, opened.storage, opened.appetiser, opened.image_server):
                each.close()
        for name in ("opened_ledger", "queues"):
            if part := parts.pop(name, None):
                part.close()

    @property
    def ledger(self) -> Ledger:
        return self.opened_ledger

    @cached_property
    def opened_ledger(self) -> Ledger:
        return Ledger(self.settings.ledger_url)

    @cached_property
    def queues(self) -> Queues:
        return Queues()

    @cached_property
    def services(self) -> Services:
        return make_services(self.settings, impatient(service_resources(self.settings)))

    @property
    def options(self) -> ChunkOptions:
        settings = self.settings
        return ChunkOptions(
            settings.scratch,
            settings.images_in_flight,
            settings.image_server_in_flight,
            settings.heartbeat,
            retry_schedule(settings),
            dlcs_database=settings.database_url,
        )


@contextmanager
def running_pipeline(stack: RunningStack, folder: Path, **settings: Any) -> Iterator[Pipeline]:
    """Make a pipeline next to the services that are up; `settings` take the place of those it would choose."""
    with ExitStack() as opened:
        opened.enter_context(only_the_stacks_environment(stack))
        pipeline = opened.enter_context(installed(Pipeline, stack, folder, settings))
        opened.callback(pipeline.close)
        yield pipeline
