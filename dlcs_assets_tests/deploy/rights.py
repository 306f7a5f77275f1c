"""Which rights each part of an installation needs on AWS: for each call of the code, and for each setting."""

from __future__ import annotations

import re

SERVICES = ("s3", "sqs", "sns", "secretsmanager")
RUNS, CODE_SERVER, OPERATOR = "iam/runs.json", "iam/code-server.json", "iam/operator.json"
RESTORE = "iam/restore.json"  # of an operator, for the time of restoring

# What each module asks of AWS: the action that allows it, and the parts that do it.
ALLOWED: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("clients/s3_puts.py", "put_object"): ("s3:PutObject", (RUNS, OPERATOR)),
    ("clients/storage.py", "upload_fileobj"): ("s3:AbortMultipartUpload", (RUNS, OPERATOR)),
    ("clients/storage.py", "head_object"): ("s3:GetObject", (RUNS, OPERATOR)),
    ("clients/storage.py", "get_object"): ("s3:GetObject", (RUNS, OPERATOR)),
    ("clients/storage.py", "get_paginator"): ("s3:ListBucket", (RUNS, OPERATOR)),
    ("clients/storage.py", "delete_objects"): ("s3:DeleteObject", (RUNS, CODE_SERVER, OPERATOR)),
    ("clients/storage.py", "list_objects_v2"): ("s3:ListBucket", (OPERATOR,)),
    ("clients/versions.py", "list_object_versions"): ("s3:ListBucketVersions", (RESTORE,)),
    ("clients/versions.py", "head_object"): ("s3:GetObjectVersion", (RESTORE,)),
    ("clients/versions.py", "copy_object"): ("s3:PutObject", (RESTORE,)),
    ("clients/s3_objects.py", "get_object"): ("s3:GetObject", (RUNS,)),
    ("clients/origins/s3_ambient.py", "head_object"): ("s3:GetObject", (RUNS,)),
    ("clients/origins/s3_ambient.py", "get_object"): ("s3:GetObject", (RUNS,)),
    ("clients/listings.py", "list_objects_v2"): ("s3:ListBucket", (CODE_SERVER,)),
    ("clients/credentials.py", "get_object"): ("s3:GetObject", (RUNS,)),
    ("clients/credentials.py", "get_secret_value"): ("secretsmanager:GetSecretValue", (RUNS,)),
    ("clients/sqs.py", "receive_message"): ("sqs:ReceiveMessage", (CODE_SERVER,)),
    ("clients/sqs.py", "delete_message_batch"): ("sqs:DeleteMessage", (CODE_SERVER,)),
    ("clients/sqs.py", "send_message_batch"): ("sqs:SendMessage", (CODE_SERVER, OPERATOR)),
    ("clients/sqs.py", "get_queue_attributes"): ("sqs:GetQueueAttributes", (CODE_SERVER, OPERATOR)),
    ("clients/sns.py", "publish"): ("sns:Publish", (CODE_SERVER, OPERATOR)),
    ("cli/doctor_aws.py", "get_queue_attributes"): ("sqs:GetQueueAttributes", (OPERATOR,)),
    ("cli/doctor_aws.py", "head_bucket"): ("s3:ListBucket", (OPERATOR,)),
    ("cli/doctor_aws.py", "get_bucket_lifecycle_configuration"): ("s3:GetLifecycleConfiguration", (OPERATOR,)),
}
QUEUE, TOPIC = "arn:aws:sqs:{REGION}:{ACCOUNT}:", "arn:aws:sns:{REGION}:{ACCOUNT}:"
READ = frozenset({"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"})
SEND = frozenset({"sqs:SendMessage", "sqs:GetQueueAttributes"})
LIST, GET = frozenset({"s3:ListBucket"}), frozenset({"s3:GetObject"})
STORE = frozenset({"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"})
UPLOAD = frozenset({"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"})
TAKEN_IN = {CODE_SERVER: READ, OPERATOR: SEND}  # a rejected message is sent again by an operator
# What each setting that names a resource of AWS has the parts do with it.
USES: dict[str, dict[str, dict[str, frozenset[str]]]] = {
    "ingest_queue_url": {QUEUE + "{INGEST_QUEUE}": TAKEN_IN},
    "priority_queue_url": {QUEUE + "{PRIORITY_QUEUE}": TAKEN_IN},
    "uploads_queue_url": {QUEUE + "{UPLOADS_QUEUE}": TAKEN_IN},
    "update_queue_url": {QUEUE + "{UPDATE_QUEUE}": TAKEN_IN},
    "delete_queue_url": {QUEUE + "{DELETE_QUEUE}": TAKEN_IN},
    "forward_queue_url": {QUEUE + "{FORWARD_QUEUE}": {CODE_SERVER: SEND, OPERATOR: SEND}},
    "batch_completed_topic_arn": {TOPIC + "{BATCH_COMPLETED_TOPIC}": {CODE_SERVER: frozenset({"sns:Publish"})}},
    "invalidation_topic_arn": {TOPIC + "{INVALIDATION_TOPIC}": {CODE_SERVER: frozenset({"sns:Publish"})}},
    "alert_topic_arn": {
        TOPIC + "{ALARM_TOPIC}": {CODE_SERVER: frozenset({"sns:Publish"}), OPERATOR: frozenset({"sns:Publish"})}
    },
    "storage_bucket": {
        "arn:aws:s3:::{STORAGE_BUCKET}": {RUNS: LIST, OPERATOR: LIST},
        "arn:aws:s3:::{STORAGE_BUCKET}/*": {RUNS: STORE, OPERATOR: GET},
    },
    "thumbs_bucket": {
        "arn:aws:s3:::{THUMBS_BUCKET}": {RUNS: LIST, OPERATOR: LIST},
        "arn:aws:s3:::{THUMBS_BUCKET}/*": {RUNS: STORE, OPERATOR: GET},
    },
    "origin_bucket": {
        "arn:aws:s3:::{ORIGIN_BUCKET}": {RUNS: LIST, OPERATOR: LIST},
        "arn:aws:s3:::{ORIGIN_BUCKET}/*": {RUNS: GET, OPERATOR: UPLOAD},
    },
    "s3_origin_buckets": {"arn:aws:s3:::{SCANS_BUCKET}": {RUNS: LIST}, "arn:aws:s3:::{SCANS_BUCKET}/*": {RUNS: GET}},
    "swept_buckets": {
        "arn:aws:s3:::{ORIGIN_BUCKET}": {CODE_SERVER: LIST},
        "arn:aws:s3:::{SCANS_BUCKET}": {CODE_SERVER: LIST},
    },
}
# AWS offers no resources for these: https://docs.aws.amazon.com/service-authorization/. They are held to our region.
WITHOUT_RESOURCES = frozenset(
    {"ecs:DescribeTaskDefinition", "ec2:DescribeNetworkInterfaces", "ecr:GetAuthorizationToken"}
)


def is_named(arn: str) -> bool:
    """Return whether a resource says which one it is, before any wildcard: a bucket, or a kind and a name."""
    head = arn.partition("*")[0]
    _, partition, service, _, _, rest = head.split(":", 5)
    names = [part for part in re.split("[:/]", rest) if part]
    return partition == "aws" and len(names) >= (1 if service in {"s3", "sqs", "sns"} else 2)
