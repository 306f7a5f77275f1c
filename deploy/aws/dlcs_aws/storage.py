"""Buckets, and the shared scratch folder where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_efs as efs
from aws_cdk import aws_s3 as s3

from dlcs_aws.choices import Origin
from dlcs_aws.network import Network
from dlcs_aws.template import Template, after, bucket_arn

_BUCKETS: Final = ("storage", "thumbs", "uploads")
_OLDER_VERSIONS_DAYS: Final = 90
# What docs/operate.md promises: transient objects end after 7 days, parts of aborted uploads after 2.
_TRANSIENT: Final = {
    "id": "transient-objects",
    "status": "Enabled",
    "prefix": "transient/",
    "expirationInDays": 7,
    "noncurrentVersionExpiration": {"noncurrentDays": 1},
}
_UNFINISHED: Final = {
    "id": "unfinished-uploads",
    "status": "Enabled",
    "abortIncompleteMultipartUpload": {"daysAfterInitiation": 2},
}
_OLDER: Final = {
    "id": "older-versions",
    "status": "Enabled",
    "noncurrentVersionExpiration": {"noncurrentDays": _OLDER_VERSIONS_DAYS},
}
_USER: Final = "1000"  # of the image of deploy/Dockerfile


@dataclass(frozen=True)
class Buckets:
    """The names of the buckets."""

    storage: str
    thumbs: str
    uploads: str


@dataclass(frozen=True)
class Scratch:
    """The shared scratch folder: the file system, and its ways in."""

    file_system: str
    writer: str
    reader: str

    def volume(self, access_point: str) -> dict[str, Any]:
        """Return the volume of a task."""
        return {
            "name": "scratch",
            "efsVolumeConfiguration": {
                "filesystemId": self.file_system,
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"accessPointId": access_point, "iam": "ENABLED"},
            },
        }


def bucket_names(template: Template) -> Buckets:
    """Return the names of the buckets, or ask for them."""
    if template.choices.buckets is Origin.EXISTING:
        asked = (template.ask("Buckets", f"{name.capitalize()}Bucket", f"The bucket: {name}.") for name in _BUCKETS)
    else:
        # By name, and not by reference: the queue's policy names the bucket, which waits for the policy.
        asked = (cdk.Fn.sub(f"${{AWS::StackName}}-${{AWS::AccountId}}-{name}") for name in _BUCKETS)
    return Buckets(*asked)


def add_buckets(template: Template, names: Buckets, uploads_queue: str) -> None:
    """Add the buckets, unless they exist. They outlive the stack."""
    if template.choices.buckets is Origin.EXISTING:
        return
    rules = {"storage": [_TRANSIENT, _UNFINISHED, _OLDER]}
    for kind in _BUCKETS:
        name: str = getattr(names, kind)
        logical = f"{kind.capitalize()}Bucket"
        bucket = s3.CfnBucket(
            template.stack,
            logical,
            bucket_name=name,
            bucket_encryption={
                "serverSideEncryptionConfiguration": [{"serverSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]
            },
            lifecycle_configuration={"rules": rules.get(kind, [_UNFINISHED, _OLDER])},
            notification_configuration=_notifications(uploads_queue) if kind == "uploads" else None,
            ownership_controls={"rules": [{"objectOwnership": "BucketOwnerEnforced"}]},
            public_access_block_configuration={
                "blockPublicAcls": True,
                "blockPublicPolicy": True,
                "ignorePublicAcls": True,
                "restrictPublicBuckets": True,
            },
            versioning_configuration={"status": "Enabled"},
        )
        bucket.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        if kind == "uploads":
            after(bucket, "UploadsQueuePolicy")
        _require_tls(template.stack, logical, name)


def _notifications(queue: str) -> dict[str, Any]:
    return {"queueConfigurations": [{"event": "s3:ObjectCreated:*", "queue": queue}]}


def _require_tls(stack: Any, logical: str, name: str) -> None:
    refused = {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:*"],
        "Resource": [bucket_arn(name), bucket_arn(name, "*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    document = {"Version": "2012-10-17", "Statement": [refused]}
    policy = s3.CfnBucketPolicy(stack, f"{logical}Policy", bucket=name, policy_document=document)
    after(policy, logical)


def add_scratch(template: Template, network: Network, groups: dict[str, str]) -> Scratch | None:
    """Add a file system for the scratch folder, where tasks share it."""
    if not template.choices.on_efs:
        return None
    stack = template.stack
    system = efs.CfnFileSystem(
        stack,
        "ScratchFileSystem",
        encrypted=True,
        throughput_mode="elastic",
        backup_policy={"status": "DISABLED"},  # files in progress
    )
    for zone, subnet in enumerate(network.private, start=1):
        efs.CfnMountTarget(
            stack,
            f"ScratchMount{zone}",
            file_system_id=system.ref,
            subnet_id=subnet,
            security_groups=[groups["Scratch"]],
        )
    return Scratch(system.ref, *(_access_point(stack, name, system) for name in ("ScratchWriter", "ScratchReader")))


def _access_point(stack: Any, name: str, system: Any) -> str:
    point = efs.CfnAccessPoint(
        stack,
        name,
        file_system_id=system.ref,
        posix_user={"uid": _USER, "gid": _USER},
        root_directory={
            "path": "/scratch",
            "creationInfo": {"ownerUid": _USER, "ownerGid": _USER, "permissions": "0755"},
        },
    )
    return str(point.ref)
