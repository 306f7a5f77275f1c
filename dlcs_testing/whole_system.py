"""A running system from outside: what any client may do with the addresses of `dlcs env`, and what the ledger holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.results import ObjectRecord
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.domain.upload import sent_key
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.reports import ImageStatus, Selection
from dlcs_testing.dagster_api import DagsterApi
from dlcs_testing.pictures import drawing, encoded
from dlcs_testing.waiting import eventually

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef
    from sqlalchemy import Engine

IMAGE_CHANNELS = ({"channel": "iiif-img", "policy": "default"}, {"channel": "thumbs", "policy": "default"})


@dataclass(frozen=True)
class System:
    """A system that is up, reached by nothing but its environment."""

    environment: Mapping[str, str]
    dagster: DagsterApi = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dagster", DagsterApi(self.environment["DLCS_UI_URL"]))

    @cached_property
    def s3(self) -> S3Client:
        client: S3Client = _client("s3", self.environment)
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        client: SQSClient = _client("sqs", self.environment)
        return client

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.environment["DLCS_LEDGER_URL"])

    @cached_property
    def _engine(self) -> Engine:
        return make_engine(self.environment["DLCS_LEDGER_URL"])

    def upload(self, asset_id: str, body: bytes) -> str:
        """Put an original into the origin bucket, for a message to name; return its URI."""
        bucket, key = self.environment["DLCS_ORIGIN_BUCKET"], sent_key(AssetId.parse(asset_id))
        self.s3.put_object(Bucket=bucket, Key=key, Body=body)
        return f"s3://{bucket}/{key}"

    def send(self, *messages: Mapping[str, Any]) -> None:
        """Put messages, ten at most, on the ingest queue in one call."""
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(number), "MessageBody": json.dumps(message)} for number, message in enumerate(messages)
        ]
        answer = self.sqs.send_message_batch(QueueUrl=self.environment["DLCS_INGEST_QUEUE_URL"], Entries=entries)
        assert not answer.get("Failed"), answer

    def send_pages(self, asset_ids: Sequence[str], *, width: int, height: int) -> None:
        """Upload a JPEG for each id, each another page, and ask for the ingest of all of them."""
        origins = [
            self.upload(asset_id, encoded(drawing(width, height, seed=seed), quality=90))
            for seed, asset_id in enumerate(asset_ids)
        ]
        self.send(*(full_message(*each) for each in zip(asset_ids, origins, strict=True)))

    def images(self, customer: int) -> dict[str, ImageStatus]:
        """Return all images of a customer, by id."""
        return {status.asset_id: status for status in self.ledger.reports.images(Selection(customer=customer))}

    def recorded_objects(self, customer: int) -> list[ObjectRecord]:
        """Return what is on record as stored of a customer; of what is registered also what is stored for a while."""
        comparison = self.ledger.comparison
        pages = comparison.image_ids(customer=customer)
        return [each for page in pages for image in comparison.recorded(page).values() for each in image.objects]

    def await_end(self, asset_ids: Sequence[str], *, state: str = "done", timeout: float = 90) -> None:
        """Wait until every one of the images has ended in this state; fail at once if one ends otherwise."""

        def states() -> dict[str, tuple[str, str | None]]:
            found = self.ledger.reports.images(Selection(ids=tuple(asset_ids)))
            return {status.asset_id: (status.state, status.reason) for status in found}

        def ended(seen: Mapping[str, tuple[str, str | None]]) -> bool:
            wrong = {key: value for key, value in seen.items() if value[0] not in {state, "pending", "running"}}
            assert not wrong, wrong
            return len(seen) == len(asset_ids) and all(value[0] == state for value in seen.values())

        eventually(states, ended, timeout=timeout)

    def await_materialized(self, prefix: str, count: int, *, timeout: float = 60) -> None:
        """Wait until Dagster shows exactly `count` partitions under the prefix, all materialised, for each stage."""
        for stage in STAGES:
            eventually(
                lambda stage=stage: self.dagster.partitions(stage, prefix),  # type: ignore[misc] # a default binds it
                lambda seen: len(seen) == count and set(seen.values()) == {"materialized"},
                timeout=timeout,
            )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what an SQL query finds in the ledger's database."""
        url = self.environment["DLCS_LEDGER_URL"]
        if not url.startswith("sqlite:"):
            with self._engine.connect() as connected:
                found = connected.exec_driver_sql(query.replace("?", "%s"), values)
                return [tuple(row) for row in found]
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()


def full_message(
    asset_id: str, origin: str, channels: Sequence[Mapping[str, str]] = IMAGE_CHANNELS, **more: Any
) -> dict[str, Any]:
    """Return a message that registers an image and asks for its ingest."""
    asset = {"id": asset_id, "origin": origin, "deliveryChannels": list(channels), **more}
    return {"created": "2026-11-22T10:00:00Z", "asset": asset}


def _client(service: Any, environment: Mapping[str, str]) -> Any:
    import boto3

    return boto3.client(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
