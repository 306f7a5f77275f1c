from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dlcs_stack import aws
from dlcs_stack.supervisor import Service, Supervisor, free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("aws")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "dlcs_stack.aws", "--port", str(port)]
    with Supervisor() as supervisor:
        supervisor.start(Service("aws", command, folder / "log", aws.health(url)))
        yield url


def client(name: Any, endpoint: str) -> Any:
    import boto3

    return boto3.client(
        name,
        endpoint_url=endpoint,
        region_name=aws.REGION,
        aws_access_key_id=aws.CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.fixture(scope="module")
def s3(endpoint: str) -> S3Client:
    made: S3Client = client("s3", endpoint)
    return made


@pytest.fixture(scope="module")
def sqs(endpoint: str) -> SQSClient:
    made: SQSClient = client("sqs", endpoint)
    return made


@pytest.mark.parametrize("bucket", ["dlcs-storage", "dlcs-thumbs", "dlcs-origin"])
def test_an_object_put_in_each_bucket_is_read_back(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="2/1/page 1", Body=b"bytes")
    assert s3.get_object(Bucket=bucket, Key="2/1/page 1")["Body"].read() == b"bytes"


def test_a_key_and_a_key_below_it_can_both_be_stored(s3: S3Client) -> None:
    """The DLCS's keys are of this form, and not every S3 look-alike can hold both."""
    s3.put_object(Bucket="dlcs-storage", Key="2/1/both", Body=b"jp2")
    s3.put_object(Bucket="dlcs-storage", Key="2/1/both/original", Body=b"tiff")
    listed = s3.list_objects_v2(Bucket="dlcs-storage", Prefix="2/1/both")["Contents"]
    assert [each.get("Key") for each in listed] == ["2/1/both", "2/1/both/original"]


def test_transient_objects_and_no_others_expire_after_a_week(s3: S3Client) -> None:
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket="dlcs-storage")["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule.get("Filter") == {"Prefix": "transient/"}
    assert rule.get("Expiration") == {"Days": 7}


def test_only_the_origin_bucket_notifies_the_uploads_queue(s3: S3Client, sqs: SQSClient, endpoint: str) -> None:
    """A JP2 that is put into the storage bucket must not be ingested as an upload."""
    url = aws.queue_url(endpoint, "dlcs-uploads")
    sqs.purge_queue(QueueUrl=url)  # what the other tests put there
    for bucket in ("dlcs-storage", "dlcs-origin"):
        s3.put_object(Bucket=bucket, Key="2/1/page 1", Body=b"bytes")
    (message,) = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    (record,) = json.loads(message["Body"])["Records"]
    assert (record["s3"]["bucket"]["name"], record["s3"]["object"]["key"]) == ("dlcs-origin", "2%2F1%2Fpage+1")


@pytest.mark.parametrize("queue", ["dlcs-image", "dlcs-priority-image"])
def test_a_message_is_received_at_the_announced_queue_url(sqs: SQSClient, endpoint: str, queue: str) -> None:
    """The URL in the environment is the one under which the queue exists."""
    url = aws.queue_url(endpoint, queue)
    assert sqs.get_queue_url(QueueName=queue)["QueueUrl"] == url
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert message.get("Body") == "{}"


def test_a_received_message_stays_hidden_longer_than_a_tick(sqs: SQSClient, endpoint: str) -> None:
    url = aws.queue_url(endpoint, "dlcs-image")
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    assert int(attributes["VisibilityTimeout"]) > 60


def test_batch_notifications_arrive_in_a_queue_unwrapped(sqs: SQSClient, endpoint: str) -> None:
    """The subscription is raw, with attributes, as the DLCS's subscribers have it."""
    attributes = {"CustomerId": {"DataType": "String", "StringValue": "2"}}
    client("sns", endpoint).publish(
        TopicArn=aws.topic_arn("dlcs-batch-completed"), Message='{"id":12}', MessageAttributes=attributes
    )
    url = aws.queue_url(endpoint, "dlcs-batch-completed")
    (message,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert message.get("Body") == '{"id":12}'
    assert message.get("MessageAttributes", {})["CustomerId"].get("StringValue") == "2"
