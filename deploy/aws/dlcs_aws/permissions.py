"""What each part may do on AWS, and nothing else. docs/security.md explains it part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

from dlcs_aws.messages import Messages
from dlcs_aws.storage import Buckets, Scratch
from dlcs_aws.template import Template, arn, bucket_arn, bucket_arns, only_if

LOG_GROUP = "/dlcs/${AWS::StackName}/ingest"


def statement(sid: str, actions: Sequence[str], resources: Any, condition: Any = None) -> dict[str, Any]:
    """Return a statement that allows something."""
    found = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resources}
    return found if condition is None else {**found, "Condition": condition}


def _document(statements: Sequence[Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def add_role(stack: Any, name: str, statements: Sequence[Any]) -> str:
    """Add a role for tasks of this account, and return its ARN."""
    trust = {
        "Sid": "TasksOfThisAccount",
        "Effect": "Allow",
        "Principal": {"Service": "ecs-tasks.amazonaws.com"},
        "Action": ["sts:AssumeRole"],
        "Condition": {
            "StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": arn("ecs", "*")},
        },
    }
    policies = [{"policyName": "own", "policyDocument": _document(statements)}] if statements else None
    role = iam.CfnRole(stack, name, assume_role_policy_document=_document([trust]), policies=policies)
    return str(role.attr_arn)


def add_execution_role(stack: Any, name: str, secrets: Sequence[str], optional: Sequence[str] = ()) -> str:
    """Add the role by which ECS itself starts tasks: it fetches images, writes logs, and reads these secrets.

    Optional are parameters that may hold the ARN of a further secret.
    """
    region = {"StringEquals": {"aws:RequestedRegion": cdk.Aws.REGION}}
    fetch = ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")
    read = ("secretsmanager:GetSecretValue",)
    statements = [
        statement("LogInToTheRegistry", ["ecr:GetAuthorizationToken"], ["*"], region),
        statement("FetchImages", fetch, [arn("ecr", "repository/dlcs/*")]),
        statement(
            "WriteLogs",
            ("logs:CreateLogStream", "logs:PutLogEvents"),
            [arn("logs", f"log-group:{LOG_GROUP}:log-stream:*")],
        ),
    ]
    if secrets:
        statements.append(statement("ReadDatabasePasswords", read, list(secrets)))
    statements += [only_if(f"Has{each}", statement(f"Read{each}", read, [cdk.Fn.ref(each)])) for each in optional]
    return add_role(stack, name, statements)


class Permissions:
    """The statements of each part, for these buckets, queues and topics."""

    def __init__(self, template: Template, buckets: Buckets, messages: Messages) -> None:
        self._buckets, self._messages = buckets, messages
        group = "Origins"
        self._origins = template.optional(
            group,
            "S3OriginBuckets",
            "Buckets of customers' originals, which runs may read, comma-separated; blank: none.",
        )
        self._credentials = template.optional(
            group, "CredentialsBucket", "Bucket where the DLCS keeps credentials of origins; blank: none is read."
        )
        self._kakadu = (
            template.ask("Images", "KakaduBucket", "Bucket of the archive with Kakadu's binaries, for Appetiser."),
            template.ask("Images", "KakaduKey", "Key of that archive.", default="kakadu-8.2.1.tar"),
        )

    @property
    def kakadu(self) -> str:
        """Return where Appetiser finds its binaries."""
        return cdk.Fn.join("", ["s3://", self._kakadu[0], "/", self._kakadu[1]])

    @property
    def origin_buckets(self) -> str:
        """Return the parameter that lists buckets of originals."""
        return self._origins

    def appetiser(self) -> list[Any]:
        """Appetiser reads one object, its binaries."""
        return [statement("FetchKakadu", ["s3:GetObject"], [bucket_arn(*self._kakadu)])]

    def code_server(self) -> list[Any]:
        """Sensors take messages in, notify, list uploads, and delete what runs left."""
        queues = [queue.arn for queue in self._messages.queues.values()]
        return [
            statement("TakeMessagesIn", ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"), queues),
            only_if(
                "HasForwardQueueName",
                statement(
                    "HandOnWhatIsNotOurs",
                    ("sqs:SendMessage", "sqs:GetQueueAttributes"),
                    [self._messages.forward_arn],
                ),
            ),
            statement("Notify", ["sns:Publish"], [self._messages.batch_completed, self._messages.alarms]),
            only_if(
                "HasInvalidationTopicName",
                statement("InvalidatePaths", ["sns:Publish"], [self._messages.invalidation_topic]),
            ),
            statement("DeleteWhatRunsLeft", ["s3:DeleteObject"], [bucket_arn(self._buckets.storage, "transient/*")]),
            statement("SweepUploads", ["s3:ListBucket"], [bucket_arn(self._buckets.uploads)]),
            self._of_origins("SweepOrigins", ["s3:ListBucket"]),
        ]

    def runs(self) -> list[Any]:
        """Runs read originals, and store images."""
        ours = (self._buckets.storage, self._buckets.thumbs)
        store = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
        credentials = [bucket_arn(self._credentials, "*/origin-strategy/*")]
        return [
            statement(
                "KnowWhatIsMissing", ["s3:ListBucket"], [bucket_arn(each) for each in (*ours, self._buckets.uploads)]
            ),
            statement("StoreImages", store, [bucket_arn(each, "*") for each in ours]),
            statement("ReadOriginals", ["s3:GetObject"], [bucket_arn(self._buckets.uploads, "*")]),
            self._of_origins("KnowWhatOriginsMiss", ["s3:ListBucket"]),
            self._of_origins("ReadOriginalsOfCustomers", ["s3:GetObject"], "*"),
            only_if("HasCredentialsBucket", statement("ReadCredentialsOfOriginsInS3", ["s3:GetObject"], credentials)),
            statement(
                "ReadCredentialsOfOrigins", ["secretsmanager:GetSecretValue"], [arn("secretsmanager", "secret:dlcs/*")]
            ),
        ]

    def small_runs(self) -> list[Any]:
        """Maintenance, fixity audit and deletion read and delete what is stored, and write nothing."""
        ours = (self._buckets.storage, self._buckets.thumbs)
        return [
            statement("KnowWhatIsMissing", ["s3:ListBucket"], [bucket_arn(each) for each in ours]),
            statement(
                "CompareAndDeleteImages", ("s3:GetObject", "s3:DeleteObject"), [bucket_arn(each, "*") for each in ours]
            ),
        ]

    def view(self) -> list[Any]:
        """Pages of images show what is stored."""
        ours = (self._buckets.storage, self._buckets.thumbs)
        return [
            statement("KnowWhatIsMissing", ["s3:ListBucket"], [bucket_arn(each) for each in ours]),
            statement("ShowImages", ["s3:GetObject"], [bucket_arn(each, "*") for each in ours]),
        ]

    def image_server(self) -> list[Any]:
        """The image server reads sources."""
        ours = (self._buckets.storage, self._buckets.uploads)
        return [
            statement("KnowWhatIsMissing", ["s3:ListBucket"], [bucket_arn(each) for each in ours]),
            statement("ReadSources", ["s3:GetObject"], [bucket_arn(each, "*") for each in ours]),
            self._of_origins("KnowWhatOriginsMiss", ["s3:ListBucket"]),
            self._of_origins("ReadSourcesOfCustomers", ["s3:GetObject"], "*"),
        ]

    def operator(self) -> list[Any]:
        """People who run `dlcs` send messages, upload originals, and check buckets."""
        storage, thumbs, uploads = self._buckets.storage, self._buckets.thumbs, self._buckets.uploads
        queues = [queue.arn for queue in self._messages.queues.values()]
        send = ("sqs:SendMessage", "sqs:GetQueueAttributes")
        return [
            statement("SendMessagesAndSeeQueues", send, queues),
            only_if("HasForwardQueueName", statement("SeeTheOtherQueue", send, [self._messages.forward_arn])),
            statement("SeeBuckets", ["s3:ListBucket"], [bucket_arn(each) for each in (storage, thumbs, uploads)]),
            statement("SeeTheLifecycle", ["s3:GetLifecycleConfiguration"], [bucket_arn(storage)]),
            statement(
                "UploadOriginals",
                ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"),
                [bucket_arn(uploads, "*")],
            ),
            statement(
                "TryBuckets",
                ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
                [bucket_arn(each, "dlcs-doctor/*") for each in (storage, thumbs)],
            ),
            statement(
                "SeeWhatCameOutOfACanary", ["s3:GetObject"], [bucket_arn(each, "*") for each in (storage, thumbs)]
            ),
            statement("TryAlerts", ["sns:Publish"], [self._messages.alarms]),
        ]

    def restore(self) -> list[Any]:
        """An operator who restores objects copies older versions back, for that time."""
        ours = (self._buckets.storage, self._buckets.thumbs)
        return [
            statement("SeeOlderVersions", ["s3:ListBucketVersions"], [bucket_arn(each) for each in ours]),
            statement(
                "CopyOlderVersionsBack",
                ("s3:GetObjectVersion", "s3:PutObject"),
                [bucket_arn(each, "*") for each in ours],
            ),
        ]

    def _of_origins(self, sid: str, actions: Sequence[str], keys: str = "") -> Any:
        return only_if("HasS3OriginBuckets", statement(sid, actions, bucket_arns(self._origins, keys)))


def webserver(cluster: str) -> list[Any]:
    """The UI shows runs, stops them, and says why one failed."""
    region = {"StringEquals": {"aws:RequestedRegion": cdk.Aws.REGION}}
    of_cluster = {"ArnEquals": {"ecs:cluster": arn("ecs", f"cluster/{cluster}")}}
    return [
        statement("ReadTaskDefinitions", ["ecs:DescribeTaskDefinition"], ["*"], region),
        statement(
            "WatchAndStopRuns", ("ecs:DescribeTasks", "ecs:StopTask"), [arn("ecs", f"task/{cluster}/*")], of_cluster
        ),
        statement(
            "ReadTheLogOfAFailedRun",
            ["logs:GetLogEvents"],
            [arn("logs", f"log-group:{LOG_GROUP}:log-stream:run/*")],
        ),
    ]


def daemon(cluster: str, families: Sequence[str], roles: Sequence[str]) -> list[Any]:
    """The daemon starts runs as well, of these families, and gives them these roles."""
    region = {"StringEquals": {"aws:RequestedRegion": cdk.Aws.REGION}}
    of_cluster = {"ArnEquals": {"ecs:cluster": arn("ecs", f"cluster/{cluster}")}}
    return [
        statement(
            "StartRuns", ["ecs:RunTask"], [arn("ecs", f"task-definition/{family}:*") for family in families], of_cluster
        ),
        statement(
            "MarkThemWithTheirRun",
            ["ecs:TagResource"],
            [arn("ecs", f"task/{cluster}/*")],
            {"StringEquals": {"ecs:CreateAction": "RunTask"}},
        ),
        statement(
            "GiveThemTheirRoles",
            ["iam:PassRole"],
            list(roles),
            {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        ),
        statement("FindOwnSubnets", ["ec2:DescribeNetworkInterfaces"], ["*"], region),
        *webserver(cluster),
    ]


def scratch(shared: Scratch, access_point: str, *, writes: bool) -> list[Any]:
    """The shared scratch folder is mounted by one access point."""
    point = {"elasticfilesystem:AccessPointArn": arn_of_access_point(access_point)}
    actions = ["elasticfilesystem:ClientMount", *(["elasticfilesystem:ClientWrite"] if writes else [])]
    system = cdk.Fn.join("", [arn("elasticfilesystem", "file-system/"), shared.file_system])
    return [
        statement(
            "UseTheSharedScratch" if writes else "ReadTheSharedScratch", actions, [system], {"StringEquals": point}
        )
    ]


def arn_of_access_point(access_point: str) -> str:
    """Return the ARN of an access point."""
    return cdk.Fn.join("", [arn("elasticfilesystem", "access-point/"), access_point])
