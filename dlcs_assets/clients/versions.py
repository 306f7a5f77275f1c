"""Older versions of objects, in buckets that keep them: found by checksum, and copied back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcs_assets.domain.s3_uri import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


def restore_version(client: S3Client, location: S3Location, *, sha256: str) -> bool:
    """Make the newest version that was put with this checksum the current one again; return whether there is one.

    It is copied: no version and no delete marker is deleted. Raises botocore's errors.
    """
    bucket, key = location.bucket, location.key
    after: dict[str, str] = {}
    while True:
        answer = client.list_object_versions(Bucket=bucket, Prefix=key, **after)  # type: ignore[arg-type]  # of two names
        for version in answer.get("Versions", ()):
            if version["Key"] != key:
                return False  # those of an object stand together, before those of longer keys
            found = client.head_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
            if found["Metadata"].get("sha256") == sha256:
                client.copy_object(
                    Bucket=bucket,
                    Key=key,
                    CopySource={"Bucket": bucket, "Key": key, "VersionId": version["VersionId"]},
                )
                return True
        if not answer["IsTruncated"]:
            return False
        after = {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer["NextVersionIdMarker"]}
