"""One moto server for all tests of a process; buckets and queues are each test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dlcs_assets.clients.aws import S3ClientFactory


@dataclass(frozen=True)
class Aws:
    endpoint: str

    def s3(self, **options: Any) -> S3ClientFactory:
        return S3ClientFactory(
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            **options,
        )


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield Aws(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def bucket(aws: Aws) -> Iterator[str]:
    name = f"bucket-{uuid.uuid4().hex}"
    client = aws.s3().get_client()
    client.create_bucket(Bucket=name)
    yield name
    client.close()
