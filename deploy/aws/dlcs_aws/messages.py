"""Queues and topics: what comes in, what is notified, and what people are alarmed by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from dlcs_aws.storage import Buckets
from dlcs_aws.template import Template, arn, bucket_arn, under

# Queue, and the type of the DLCS's notifications that it receives.
_QUEUES: Final = {"Ingest": None, "Priority": None, "Uploads": None, "Update": "Update", "Delete": "Delete"}
_KEPT_SECONDS: Final = 14 * 24 * 3600
# Longer than a tick: a message that is being taken in must not come a second time.
_VISIBILITY_SECONDS: Final = 120


@dataclass(frozen=True)
class Queue:
    """A queue by its names."""

    url: str
    arn: str
    name: str


@dataclass(frozen=True)
class Messages:
    """Queues by their settings, and ARNs of topics."""

    queues: dict[str, Queue]
    batch_completed: str
    alarms: str
    forward_url: str
    forward_arn: str
    invalidation_topic: str


def add_messages(template: Template, buckets: Buckets) -> Messages:
    """Add the queues, without a redrive policy: the ledger keeps what cannot be used."""
    stack = template.stack
    modified = template.optional(
        "The DLCS", "AssetModifiedTopicArn", "The DLCS's topic of modified assets; blank: none is subscribed to."
    )
    queues = {}
    for name, kind in _QUEUES.items():
        queue = sqs.CfnQueue(
            stack,
            f"{name}Queue",
            queue_name=cdk.Fn.sub(f"${{AWS::StackName}}-{name.lower()}"),
            visibility_timeout=_VISIBILITY_SECONDS,
            message_retention_period=_KEPT_SECONDS,
            receive_message_wait_time_seconds=4,
            sqs_managed_sse_enabled=True,
        )
        queues[f"{name.lower()}_queue_url"] = Queue(queue.ref, queue.attr_arn, queue.attr_queue_name)
        template.show(f"{name}QueueUrl", queue.ref, f"Queue: {name.lower()}")
        if kind is not None:
            _subscribe(stack, name, queue, modified, kind)
    _let_uploads_in(stack, buckets.uploads, queues["uploads_queue_url"])
    completed = sns.CfnTopic(stack, "BatchCompletedTopic", topic_name=cdk.Fn.sub("${AWS::StackName}-batch-completed"))
    template.show("BatchCompletedTopicArn", completed.ref, "Topic of finished batches")
    forward = template.optional(
        "The DLCS", "ForwardQueueName", "Queue of another engine, for messages that are not ours; blank: none."
    )
    url = ["https://sqs.", cdk.Aws.REGION, ".amazonaws.com/", cdk.Aws.ACCOUNT_ID, "/", forward]
    invalidation = template.optional(
        "The DLCS", "InvalidationTopicName", "Topic for the paths that a CDN is to invalidate; blank: none."
    )
    return Messages(
        queues=queues,
        batch_completed=completed.ref,
        alarms=_add_alarm_topic(template),
        forward_url=cdk.Fn.join("", url),
        forward_arn=cdk.Fn.join("", [arn("sqs", ""), forward]),
        invalidation_topic=cdk.Fn.join("", [arn("sns", ""), invalidation]),
    )


def _subscribe(stack: Any, name: str, queue: Any, topic: str, kind: str) -> None:
    statement = {
        "Sid": "NotificationsOfTheDlcs",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": ["sqs:SendMessage"],
        "Resource": [queue.attr_arn],
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = sqs.CfnQueuePolicy(stack, f"{name}QueuePolicy", queues=[queue.ref], policy_document=_document(statement))
    under(policy, "HasAssetModifiedTopicArn")
    subscription = sns.CfnSubscription(
        stack,
        f"{name}Subscription",
        topic_arn=topic,
        protocol="sqs",
        endpoint=queue.attr_arn,
        filter_policy={"messageType": [kind]},
    )
    under(subscription, "HasAssetModifiedTopicArn")


def _let_uploads_in(stack: Any, bucket: str, queue: Queue) -> None:
    """Let events of our upload bucket in: of our account, too, because names of buckets can be taken over."""
    statement = {
        "Sid": "EventsOfTheUploadBucket",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": ["sqs:SendMessage"],
        "Resource": [queue.arn],
        "Condition": {
            "ArnEquals": {"aws:SourceArn": bucket_arn(bucket)},
            "StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID},
        },
    }
    sqs.CfnQueuePolicy(stack, "UploadsQueuePolicy", queues=[queue.url], policy_document=_document(statement))


def _document(statement: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [statement]}


def _add_alarm_topic(template: Template) -> str:
    email = template.ask(
        "People", "AlarmEmail", "Address that alarms and the budget write to.", allowed_pattern=".+@.+"
    )
    topic = sns.CfnTopic(
        template.stack,
        "AlarmTopic",
        topic_name=cdk.Fn.sub("${AWS::StackName}-alarms"),
        subscription=[{"protocol": "email", "endpoint": email}],
    )
    statements = [
        {
            "Sid": "AlarmsAndEvents",
            "Effect": "Allow",
            "Principal": {"Service": ["cloudwatch.amazonaws.com", "events.amazonaws.com"]},
            "Action": ["sns:Publish"],
            "Resource": [topic.ref],
            "Condition": {"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
        }
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    sns.CfnTopicPolicy(template.stack, "AlarmTopicPolicy", topics=[topic.ref], policy_document=document)
    return str(topic.ref)
