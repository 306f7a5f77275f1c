"""A whole system for crash histories: the embedded stack, S3 and SQS behind a proxy that fails, originals over HTTP."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml  # type: ignore[import-untyped]  # it has no types

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.upload import sent_key
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets_tests.crash.faulty_aws import FaultyAws
from dlcs_assets_tests.crash.lives import PICTURES, Case
from dlcs_stack import aws
from dlcs_stack.stack import Component, RunningStack, Stack
from dlcs_stack.supervisor import ServiceFailedError, free_port
from dlcs_testing import postgresql
from dlcs_testing.code_locations import impatient_instance
from dlcs_testing.http_serving import Answer, serving
from dlcs_testing.pictures import drawing, encoded
from dlcs_testing.whole_system import System

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeFilterType as QueueAttributeNameType

# Short, so that what takes minutes in production is over in seconds here; faults last longer than all of them.
CLAIM_SECONDS: Final = 8
GRPC_SECONDS: Final = 15
VISIBILITY_SECONDS: Final = 15
START_SECONDS: Final = 20
SETTINGS: Final = {
    "DLCS_REGISTRATION_WAIT": "60",
    "DLCS_ATTEMPT_DELAY": "1",
    "DLCS_ATTEMPTS": "30",  # of a good image no history may exhaust them
    "DLCS_CLAIM_TTL": str(CLAIM_SECONDS),
    "DLCS_HEARTBEAT": "1",
    "DLCS_CHUNK_SIZE": "25",
    "DLCS_RECEIVE_WAIT": "1",
    # What is kept for weeks in production is let go of here after minutes: a soak shows whether that makes room.
    "DLCS_MAINTENANCE_CRON": "*/10 * * * *",
    "DLCS_RUN_RETENTION": "PT15M",
    "DLCS_PARTITION_WINDOW": "PT15M",
    "DLCS_DEFAULT_THUMBNAIL_SIZES": "!200,200;!100,100",
    "DAGSTER_GRPC_TIMEOUT_SECONDS": str(GRPC_SECONDS),
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": str(GRPC_SECONDS),
    "PYTHONFAULTHANDLER": "1",  # a process that is aborted says where its threads are
}
SCRATCH_MEGABYTES: Final = 64
# Of a customer with limits: so many images, and bytes for half of them. All of them are of this case.
IMAGES_ALLOWED: Final = 4
LIMITED_CASE: Final = Case(0, 0, over_http=False)
REFERENCE_CUSTOMER: Final = 9_999
NARROW: Final = "!150,150"  # the policy `wide` at first
WIDE: Final = "!250,250"  # and in the end
BUCKETS: Final = (aws.STORAGE_BUCKET, aws.THUMBS_BUCKET, aws.ORIGIN_BUCKET)


@dataclass(frozen=True)
class World:
    """A system that is up, with handles to what may be done to it."""

    stack: RunningStack
    aws: FaultyAws
    origins: str  # base URL of the pictures
    pictures: tuple[bytes, ...]
    scratch_fills: bool  # whether scratch is a disk of its own, which can be filled
    customers_file: Path
    evidence: Path  # what is kept of histories that stood still
    customers: dict[int, Any] = field(default_factory=dict)  # as they are to be in the file
    # Of several faults, each in a thread, two may restart the same service.
    restarting: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def system(self) -> System:
        return System(self.stack.environment)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.stack.environment["DLCS_LEDGER_URL"])

    @cached_property
    def s3(self) -> S3Client:
        """Return a client that does not go through the proxy."""
        client: S3Client = _client("s3", self.aws.target)
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        client: SQSClient = _client("sqs", self.aws.target)
        return client

    @property
    def scratch(self) -> Path:
        return Path(self.stack.environment["DLCS_SCRATCH"])

    @property
    def has_sqlite(self) -> bool:
        """Whether the ledger is a file, or in PostgreSQL."""
        return self.stack.environment["DLCS_LEDGER_URL"].startswith("sqlite:")

    def restart(self, component: Component) -> None:
        """Do what a supervisor of services does (ECS, systemd): restart what has ended."""
        with self.restarting:
            self.stack.stop(component)
            self.stack.start(component)

    def heal(self) -> None:
        """Restart every service that has ended."""
        while True:
            try:
                self.stack.check()
            except ServiceFailedError as failed:
                self.restart(Component(failed.service.name))
            else:
                return

    def queued(self) -> int:
        """Count the messages in the queues, those that were received and not deleted included."""
        wanted: list[QueueAttributeNameType] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        ]
        found = [
            self.sqs.get_queue_attributes(QueueUrl=aws.queue_url(self.aws.target, queue), AttributeNames=wanted)
            for queue in (aws.INGEST_QUEUE, aws.DELETE_QUEUE)
        ]
        return sum(int(count) for each in found for count in each["Attributes"].values())

    def begin(self, customer: int, limited: int, limited_bytes: int) -> None:
        """Upload the pictures for two customers, and make them those of the customers file."""
        thumbs = {"wide": [NARROW]}
        quota = {"images": IMAGES_ALLOWED, "bytes": limited_bytes}
        self.customers.clear()
        self.customers.update({customer: {"policies": {"thumbs": thumbs}}, limited: {"quota": quota}})
        self.write_customers()
        for each in (customer, limited):
            self.bring(each)

    def raise_limits(self) -> None:
        """Change the policy and give the limited customer all the bytes that it needs."""
        for settings in self.customers.values():
            if "quota" in settings:
                settings["quota"] = {"images": IMAGES_ALLOWED}
            else:
                settings["policies"] = {"thumbs": {"wide": [WIDE]}}
        self.write_customers()

    def write_customers(self) -> None:
        """Save the customers file as an editor does."""
        reference = {REFERENCE_CUSTOMER: {"policies": {"thumbs": {"wide": [WIDE]}}}}
        draft = self.customers_file.with_suffix(".draft")
        draft.write_text(yaml.safe_dump({"customers": reference | self.customers}))
        draft.replace(self.customers_file)

    def forget(self, *prefixes: str) -> None:
        """Delete the objects below these prefixes, which the stand-in for S3 keeps in memory."""
        for bucket in BUCKETS:
            for prefix in prefixes:
                while keys := self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents"):
                    self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key["Key"]} for key in keys]})

    def bring(self, customer: int) -> None:
        """Upload the pictures for a customer."""
        for number, picture in enumerate(self.pictures):
            self.s3.put_object(Bucket=aws.ORIGIN_BUCKET, Key=_picture_key(customer, number), Body=picture)

    def uri(self, customer: int, picture: int, *, over_http: bool) -> str:
        """Return where the customer's picture is served; of one that is not there, where it would be."""
        if over_http:
            return f"{self.origins}/{picture}.jpg"
        return f"s3://{aws.ORIGIN_BUCKET}/{_picture_key(customer, picture)}"


def _picture_key(customer: int, number: int) -> str:
    return sent_key(AssetId(customer, 1, f"picture-{number}"))


@contextmanager
def world(
    folder: Path, *, in_postgresql: bool = False, attempts: int | None = None, evidence: Path | None = None
) -> Iterator[World]:
    """Start everything, with the ledger in a file or in PostgreSQL; stop it at the end.

    `attempts`: how many an image has, if not so many that none uses them up. `evidence`: where something is kept of a
    history that stands still; default: in the folder.
    """
    with ExitStack() as parts:
        customers_file = folder / "dlcs.yaml"
        settings = SETTINGS | {"DLCS_CUSTOMERS_FILE": str(customers_file)}
        if attempts:
            settings |= {"DLCS_ATTEMPTS": str(attempts)}
        if in_postgresql:
            binaries = postgresql.find_binaries()
            assert binaries, postgresql.MISSING
            settings |= {"DLCS_LEDGER_URL": parts.enter_context(postgresql.running(binaries)).new_database()}
        port = free_port()
        faulty = FaultyAws(f"http://127.0.0.1:{port}", free_port())
        parts.enter_context(faulty.serving())
        pictures = tuple(encoded(drawing(480, 360, seed=number), quality=90) for number in range(PICTURES))
        origins = parts.enter_context(serving(lambda _method, path, _headers, _body: _answer(pictures, path)))
        stack = Stack(
            folder / "stack",
            ports={Component.AWS: port},
            settings=settings | _behind(faulty),
            instance=impatient_instance(folder, START_SECONDS),
        )
        customers_file.write_text("customers: {}")
        running = parts.enter_context(stack.running())
        fills = parts.enter_context(_disk_of_its_own(Path(running.environment["DLCS_SCRATCH"])))
        made = World(running, faulty, origins, pictures, fills, customers_file, evidence or folder / "evidence")
        made.write_customers()
        for queue in (aws.INGEST_QUEUE, aws.DELETE_QUEUE):
            made.sqs.set_queue_attributes(
                QueueUrl=aws.queue_url(faulty.target, queue),
                Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)},
            )
        yield made


def _behind(faulty: FaultyAws) -> dict[str, str]:
    queues = {
        "INGEST": aws.INGEST_QUEUE,
        "PRIORITY": aws.PRIORITY_QUEUE,
        "UPLOADS": aws.UPLOADS_QUEUE,
        "UPDATE": aws.UPDATE_QUEUE,
        "DELETE": aws.DELETE_QUEUE,
    }
    urls = {f"DLCS_{name}_QUEUE_URL": aws.queue_url(faulty.url, queue) for name, queue in queues.items()}
    return {"AWS_ENDPOINT_URL": faulty.url, **urls}


@contextmanager
def _disk_of_its_own(folder: Path) -> Iterator[bool]:
    """Make the folder a small disk, where we may, so that it can be full; yields whether it is one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SCRATCH_MEGABYTES}m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _answer(pictures: tuple[bytes, ...], path: str) -> Answer:
    name = path.removeprefix("/").removesuffix(".jpg")
    if not name.isdecimal() or int(name) >= len(pictures):
        return Answer(404)
    return Answer(200, pictures[int(name)], {"Content-Type": "image/jpeg"})


def _client(service: Any, endpoint: str) -> Any:
    import boto3

    return boto3.client(
        service,
        endpoint_url=endpoint,
        aws_access_key_id=aws.CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=aws.REGION,
    )


def dice_of(seed: int) -> random.Random:
    """Return what decides about everything in the history of this seed."""
    return random.Random(f"history {seed}")
