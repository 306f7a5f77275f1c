from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from dlcs_assets.clients.sns import Notifications
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets_tests.clients.conftest import Aws
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server

REFUSED = b"<ErrorResponse><Error><Code>AuthorizationError</Code><Message>No</Message></Error></ErrorResponse>"
TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"


@pytest.fixture
def notifications(aws: Aws) -> Iterator[Notifications]:
    resource = Notifications(endpoint_url=aws.endpoint, region_name="us-east-1")
    yield resource
    resource.close()


def client(service: Any, aws: Aws) -> Any:
    import boto3

    return closing(boto3.client(service, endpoint_url=aws.endpoint, region_name="us-east-1"))


def at(url: str, **options: Any) -> Notifications:
    return Notifications(endpoint_url=url, region_name="us-east-1", **options)


def test_a_notification_reaches_subscribers_with_its_attributes(aws: Aws, notifications: Notifications) -> None:
    """Subscribers filter by the customer's number, which is an attribute and not part of the body."""
    name = f"topic-{uuid.uuid4().hex}"
    with client("sns", aws) as sns, client("sqs", aws) as sqs:
        topic = sns.create_topic(Name=name)["TopicArn"]
        queue = sqs.create_queue(QueueName=name)["QueueUrl"]
        endpoint = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint)
        notifications.publish(topic, '{"id":12}', {"CustomerId": "2"})
        (message,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1)["Messages"]
    envelope = json.loads(message["Body"])
    assert envelope["Message"] == '{"id":12}'
    assert envelope["MessageAttributes"] == {"CustomerId": {"Type": "String", "Value": "2"}}


def test_a_topic_that_is_not_there_is_permanent_and_is_named(notifications: Notifications) -> None:
    with pytest.raises(PermanentError) as caught:
        notifications.publish(TOPIC, "{}", {})
    assert caught.value.code == "topic_not_found"
    assert TOPIC in caught.value.cause


@pytest.mark.usefixtures("aws")
def test_when_nothing_answers_the_service_is_down() -> None:
    with pytest.raises(ServiceDownError) as caught:
        at(refused_url()).publish(TOPIC, "{}", {})
    assert caught.value.code == "topic_unavailable"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (Answer(503), TransientError, "topic_unavailable"),
        (Answer(403, REFUSED), PermanentError, "topic_refused"),
        (Answer(200, b"Welcome to the guest network"), TransientError, "topic_unavailable"),
    ],
)
def test_each_error_has_its_code_and_nothing_is_sent_twice(answer: Answer, kind: type[IngestError], code: str) -> None:
    with scripted_server(answer) as server:
        topic = at(server.url)
        with pytest.raises(kind) as caught:
            topic.publish(TOPIC, "{}", {})
        topic.close()
        assert len(server.asked) == 1
    assert caught.value.code == code
