"""The whole system on free ports, with what the cases do over and over."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.upload import sent_key
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.reports import ImageStatus, Selection
from dlcs_assets.settings import Settings
from dlcs_stack.stack import ALL, INSTANCE, Component, RunningStack, Stack
from dlcs_testing.dagster_api import LOCATION, REPOSITORY, DagsterApi

# To look is work that is not the system's: seldom, compared with the tens of seconds that are measured.
POLL_SECONDS = 0.2
SETTLE_SECONDS = 2.0  # until Dagster's daemon has seen which sensors are off or on
REPOSITORY_SELECTOR = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
SENSORS = """query Sensors($of: RepositorySelector!) { sensorsOrError(repositorySelector: $of) {
  ... on Sensors { results { id name } } } }"""
TICKS = """query Ticks($of: SensorSelector!, $limit: Int!) { sensorOrError(sensorSelector: $of) {
  ... on Sensor { sensorState { ticks(limit: $limit) { timestamp endTimestamp } } } } }"""
STOP = "mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }"
START = "mutation Start($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"


@dataclass(frozen=True)
class RunningSystem:
    stack: RunningStack
    settings: Settings
    ledger: Ledger
    s3: Any
    sqs: Any

    def upload(self, path: Path, image: str, *, bucket: str | None = None) -> str:
        """Put an original into the upload bucket, or another; return its address."""
        bucket = bucket or self.settings.origin_bucket
        key = sent_key(AssetId.parse(image))
        self.s3.upload_file(str(path), bucket, key)
        return f"s3://{bucket}/{key}"

    def send(self, images: Sequence[tuple[str, str]]) -> None:
        """Send full messages for (id, origin)."""
        self.send_messages([{"asset": {"id": image, "origin": origin}} for image, origin in images])

    def send_messages(self, messages: Sequence[Mapping[str, Any]], queue_url: str | None = None) -> None:
        """Put messages on the ingest queue, or another."""
        url = queue_url or self.settings.ingest_queue_url
        for start in range(0, len(messages), 10):
            bodies = [json.dumps(message) for message in messages[start : start + 10]]
            entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
            self.sqs.send_message_batch(QueueUrl=url, Entries=entries)

    def wait(
        self, customer: int, count: int, *, timeout: float = 1800, poll_seconds: float = POLL_SECONDS
    ) -> list[ImageStatus]:
        """Wait until that many images of the customer have ended; all must be done."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            counts = self.ledger.reports.counts(Selection(customer=customer))
            if counts["failed"] or counts["rejected"]:
                images = self.ledger.reports.images(Selection(customer=customer))
                reasons = {image.reason for image in images if image.state in {"failed", "rejected"}}
                raise RuntimeError(f"images failed: {counts}, {reasons}")
            if counts["done"] == count:
                return self.ledger.reports.images(Selection(customer=customer))
            time.sleep(poll_seconds)
        raise TimeoutError(f"after {timeout} s: {counts}")

    @contextmanager
    def without_ticks(self) -> Iterator[None]:
        """Switch the sensors off for a while, as in the UI: what else is measured then has the machine to itself."""
        dagster = self._dagster()
        sensors = dagster.query(SENSORS, of=REPOSITORY_SELECTOR)["results"]
        for sensor in sensors:
            dagster.query(STOP, id=sensor["id"])
        time.sleep(SETTLE_SECONDS)
        try:
            yield
        finally:
            since = time.time()
            for sensor in sensors:
                dagster.query(START, sensor={**REPOSITORY_SELECTOR, "sensorName": sensor["name"]})
            # Else the first to be measured would wait for the daemon to see that it is on.
            while not self._ticks("sqs_ingest", since, limit=1):
                time.sleep(POLL_SECONDS)

    def tick_seconds(self, sensor: str, since: float) -> list[float]:
        """Return how long each of a sensor's ticks took that began since a moment and have ended."""
        ticks = self._ticks(sensor, since, limit=1000)
        return [tick["endTimestamp"] - tick["timestamp"] for tick in ticks if tick["endTimestamp"] is not None]

    def _ticks(self, sensor: str, since: float, limit: int) -> list[dict[str, Any]]:
        """List what of a sensor's last ticks has begun since a moment."""
        of = {**REPOSITORY_SELECTOR, "sensorName": sensor}
        ticks = self._dagster().query(TICKS, of=of, limit=limit)["sensorState"]["ticks"]
        return [tick for tick in ticks if tick["timestamp"] > since]

    def _dagster(self) -> DagsterApi:
        return DagsterApi(self.stack.environment["DLCS_UI_URL"])


@contextmanager
def running(
    settings: dict[str, str], components: frozenset[Component] = ALL, *, instance: Path = INSTANCE
) -> Iterator[RunningSystem]:
    import boto3

    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder) / "stack", components=components, settings=settings, instance=instance).running() as stack,
        patch.dict(os.environ, stack.environment),
    ):
        read = Settings()
        yield RunningSystem(stack, read, Ledger(read.ledger_url), boto3.client("s3"), boto3.client("sqs"))
