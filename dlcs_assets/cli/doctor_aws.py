"""Checks of `dlcs doctor` on S3 and SQS: buckets, their lifecycle rule, queues, and our clock against theirs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from dlcs_assets.cli.doctor_finding import Check, Finding, fail, failed, ok, warn
from dlcs_assets.clients.aws import S3ClientFactory, aws_errors, client_config, make_client
from dlcs_assets.clients.http import Peer
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX
from dlcs_assets.settings import Settings

PROBE_PREFIX: Final = "dlcs-doctor/"
MIN_VISIBILITY: Final = timedelta(seconds=60)  # as long as Dagster gives a tick
# AWS refuses requests whose clock is off by a quarter of an hour; claims and retries compare the clocks of machines.
SKEW_NOTED: Final = timedelta(seconds=30)
SKEW_REFUSED: Final = timedelta(minutes=5)
_LIFECYCLE_REMEDY: Final = (
    "Put the rules of deploy/s3/lifecycle.json on the bucket: they delete what an ingest that ended badly leaves there."
)
_S3: Final = Peer(
    "S3",
    "storage",
    is_internal=True,
    remedy="Check that S3 answers, and that the credentials are valid and may do this.",
)
_SQS: Final = Peer(
    "SQS",
    "queue",
    is_internal=True,
    remedy="Check that SQS answers, that the queue exists, and that the credentials are valid.",
)
_QUEUES: Final = {
    "ingest queue": "ingest_queue_url",
    "priority queue": "priority_queue_url",
    "uploads queue": "uploads_queue_url",
    "forward queue": "forward_queue_url",
}
_OTHERS: Final = frozenset({"forward queue"})  # we only send there


def check_queues(settings: Settings) -> Iterator[Finding]:
    """Ask each queue that is configured about itself. Nothing is received."""
    if settings.ingest_queue_url is None:
        yield warn("ingest queue", "none is configured", "Set DLCS_INGEST_QUEUE_URL, if messages are to come.")
    config = client_config(attempts=1, connections=2, connect_timeout_seconds=5, read_timeout_seconds=15)
    urls: dict[str, str | None] = {name: getattr(settings, setting) for name, setting in _QUEUES.items()}
    with aws_errors(_SQS, "Asking for queues"), closing(make_client("sqs", config=config)) as client:
        for name, url in urls.items():
            if url is not None:
                yield _check_queue(client, name, url)


def check_storage_bucket(settings: Settings) -> Iterator[Finding]:
    """Put, read, list and delete an object in the storage bucket, and check the rule on transient objects."""
    yield _try_bucket("storage bucket", settings.storage_bucket, settings)
    yield _check_lifecycle(settings)


def check_thumbs_bucket(settings: Settings) -> Iterator[Finding]:
    """Put, read, list and delete an object in the bucket of thumbnails."""
    yield _try_bucket("thumbs bucket", settings.thumbs_bucket, settings)


def check_origin_bucket(settings: Settings) -> Iterator[Finding]:
    """List the upload bucket. Nothing is put there: it would be taken for an upload."""
    bucket = settings.origin_bucket
    if bucket is None:
        return
    with closing(impatient_storage(settings)) as storage:
        try:
            storage.list_keys(bucket, PROBE_PREFIX)
        except IngestError as error:
            yield failed("origin bucket", error)
        else:
            yield ok("origin bucket", f"{bucket} can be listed")


def check_clock(settings: Settings) -> Iterator[Finding]:
    """Compare our clock with the one of S3."""
    try:
        with aws_errors(_S3, f"Asking S3 for the time, at {settings.storage_bucket}"), closing(_s3(settings)) as client:
            answer = client.head_bucket(Bucket=settings.storage_bucket)["ResponseMetadata"]
    except IngestError as error:
        yield warn("clock", error.cause, "It is compared once S3 answers.")
        return
    theirs = answer["HTTPHeaders"].get("date")
    if theirs is None:
        yield warn("clock", "S3 does not say what time it is", "Check what is between here and S3.")
    else:
        yield judge_clock(parsedate_to_datetime(theirs), datetime.now(UTC))


def judge_clock(theirs: datetime, ours: datetime) -> Finding:
    """Return how far apart the clocks are; S3's has whole seconds."""
    apart = abs(ours - theirs)
    found = f"{apart.total_seconds():.0f} s {'ahead of' if ours > theirs else 'behind'} S3"
    remedy = "Set the clock of this machine (chrony, or AWS's time service)."
    if apart > SKEW_REFUSED:
        return fail("clock", found, remedy)
    if apart > SKEW_NOTED:
        return warn("clock", found, remedy)
    return ok("clock", found)


CHECKS: Final[tuple[Check, ...]] = (
    check_queues,
    check_storage_bucket,
    check_thumbs_bucket,
    check_origin_bucket,
    check_clock,
)


def _check_queue(client: Any, name: str, url: str) -> Finding:
    try:
        with aws_errors(_SQS, f"Asking {shown_url(url)} about itself"):
            known = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except IngestError as error:
        return failed(name, error)
    return _judge_queue(name, known)


def _judge_queue(name: str, known: Mapping[str, str]) -> Finding:
    waiting, received = known["ApproximateNumberOfMessages"], known["ApproximateNumberOfMessagesNotVisible"]
    hidden = timedelta(seconds=int(known["VisibilityTimeout"]))
    found = f"about {waiting} messages waiting, {received} received and not yet deleted"
    ours = name not in _OTHERS
    if ours and hidden < MIN_VISIBILITY:
        return warn(
            name,
            f"{found}; a message that is being taken in comes again after {hidden.total_seconds():.0f} s",
            "Set the queue's visibility timeout to 120 s.",
        )
    if ours and "RedrivePolicy" in known:
        return warn(
            name,
            f"{found}; messages may go to a dead-letter queue",
            "Remove the redrive policy: the ledger keeps what cannot be used (dlcs rejected), and a message that waits "
            "for the ledger would be moved away.",
        )
    return ok(name, found)


def _try_bucket(check: str, bucket: str, settings: Settings) -> Finding:
    key = f"{PROBE_PREFIX}{uuid.uuid4().hex}"
    data = b"Put by dlcs doctor, and deleted at once."
    with closing(impatient_storage(settings)) as storage:
        try:
            storage.put_bytes(data, bucket, key, "text/plain")
            try:
                same = storage.read_bytes(bucket, key) == data and key in storage.list_keys(bucket, PROBE_PREFIX)
            finally:
                storage.delete(bucket, [key])
        except IngestError as error:
            return failed(check, error)
    if not same:
        return fail(check, f"{bucket} does not return what was put there", "Check which S3 DLCS_S3_ENDPOINT_URL is.")
    return ok(check, f"an object was put into {bucket}, read, listed and deleted")


def _check_lifecycle(settings: Settings) -> Finding:
    bucket = settings.storage_bucket
    try:
        with aws_errors(_S3, f"Reading the lifecycle rules of {bucket}"), closing(_s3(settings)) as client:
            rules = _lifecycle_rules(client, bucket)
    except IngestError as error:
        return warn("lifecycle", error.cause, _LIFECYCLE_REMEDY)
    days = [rule["Expiration"].get("Days", 0) for rule in rules if _prefix_of(rule).startswith(TRANSIENT_PREFIX)]
    if len(days) < len(rules):
        return fail(
            "lifecycle",
            f"{bucket} has a rule that deletes more than {TRANSIENT_PREFIX}: JP2s and originals go with it",
            "Remove it, and check what it deleted.",
        )
    if not days:
        return warn("lifecycle", f"{bucket} has no rule that deletes {TRANSIENT_PREFIX} after days", _LIFECYCLE_REMEDY)
    return ok("lifecycle", f"{bucket} deletes {TRANSIENT_PREFIX} after {min(days)} days")


def _lifecycle_rules(client: Any, bucket: str) -> list[Any]:
    """Return the rules in force that delete objects."""
    from botocore.exceptions import ClientError

    try:
        rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration":
            return []
        raise
    return [rule for rule in rules if rule["Status"] == "Enabled" and "Expiration" in rule and _deletes(rule)]


def _deletes(rule: Any) -> bool:
    return bool({"Days", "Date"} & set(rule["Expiration"]))  # the rest tidies up markers of deletions


def _prefix_of(rule: Any) -> str:
    chosen = rule.get("Filter", {})
    return str(chosen.get("Prefix") or chosen.get("And", {}).get("Prefix") or rule.get("Prefix") or "")


def impatient_storage(settings: Settings) -> Storage:
    """Return a client of S3 that does not wait for long."""
    s3 = S3ClientFactory(
        endpoint_url=settings.s3_endpoint_url,
        connect_timeout_seconds=5,
        read_timeout_seconds=15,
        max_attempts=1,
        connections=2,
    )
    return Storage(s3=s3, storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket)


def _s3(settings: Settings) -> Any:
    return impatient_storage(settings).s3.get_client()
