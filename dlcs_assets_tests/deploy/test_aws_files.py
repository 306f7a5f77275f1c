"""Files for S3 and SQS, given to an S3 and an SQS: they take them, and do what is promised."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import unquote_plus

import pytest

from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX
from dlcs_assets_tests.cli.conftest import Aws, aws, aws_endpoint
from dlcs_assets_tests.deploy.files import PARAMETERS, load_named
from dlcs_stack import aws as embedded

__all__ = ["aws", "aws_endpoint"]  # fixtures


def ingest_policy(aws: Aws, bucket: str) -> list[Any]:
    found: list[Any] = aws.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return found


def test_only_transient_objects_expire_by_the_lifecycle_rules(aws: Aws) -> None:
    """S3 accepts the file, and no rule deletes anything else."""
    configuration = load_named("s3/lifecycle.json")
    aws.s3.put_bucket_lifecycle_configuration(Bucket=aws.bucket, LifecycleConfiguration=configuration)
    expiring = [rule for rule in ingest_policy(aws, aws.bucket) if "Expiration" in rule]
    assert [rule["Filter"] for rule in expiring] == [{"Prefix": TRANSIENT_PREFIX}]


@pytest.mark.usefixtures("aws")
def test_the_embedded_stack_has_the_same_lifecycle_rule(
    aws: Aws, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", embedded.REGION)
    embedded._create_buckets(aws_endpoint)
    wanted = [rule for rule in load_named("s3/lifecycle.json")["Rules"] if "Expiration" in rule]
    assert ingest_policy(aws, embedded.STORAGE_BUCKET) == wanted


def test_an_upload_is_notified_to_the_queue_of_the_file(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 and SQS accept both files, and the event of an object arrives."""
    monkeypatch.setitem(PARAMETERS, "REGION", os.environ["AWS_DEFAULT_REGION"])
    url = aws.sqs.create_queue(QueueName=PARAMETERS["UPLOADS_QUEUE"])["QueueUrl"]
    policy = json.dumps(load_named("sqs/queue-policy.json"))
    aws.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    configuration = load_named("s3/notification-sqs.json")
    aws.s3.put_bucket_notification_configuration(Bucket=aws.bucket, NotificationConfiguration=configuration)
    aws.s3.put_object(Bucket=aws.bucket, Key="2/1/page", Body=b"bytes")
    events = [json.loads(body) for body in aws.bodies(url)]
    records = [record for event in events for record in event.get("Records", ())]
    assert [unquote_plus(record["s3"]["object"]["key"]) for record in records] == ["2/1/page"]


def test_only_our_upload_bucket_may_send_events_to_the_queue() -> None:
    """The policy names the bucket, and the account, because bucket names can be taken over."""
    (statement,) = load_named("sqs/queue-policy.json")["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{PARAMETERS['ORIGIN_BUCKET']}"},
        "StringEquals": {"aws:SourceAccount": PARAMETERS["ACCOUNT"]},
    }
