"""A real S3 (moto's server), and the image server on a free port, for as long as a test needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

from dlcs_stack.image_server.config import Config
from dlcs_testing.image_server_service import listening

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "pictures"
VALIDATOR = "http://iiif.io/"  # whose pages the IIIF validator claims to be


@dataclass(frozen=True)
class Server:
    """A running image server, and the bucket that it reads."""

    url: str
    client: httpx.Client
    s3: S3Client

    def put(self, key: str, body: bytes) -> str:
        """Store `body` and return its identifier, percent-encoded."""
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return identifier(key)

    def get(self, encoded: str, asked: str, *, version: int = 3, **options: dict[str, str]) -> httpx.Response:
        return self.client.get(f"/iiif/{version}/{encoded}/{asked}", **options)  # type: ignore[arg-type]  # headers only

    def counts(self) -> dict[str, int]:
        health: dict[str, int] = self.client.get("/health").json()
        return health


def identifier(key: str) -> str:
    return quote(f"s3://{BUCKET}/{key}", safe="")


@contextmanager
def serving(config: Config, s3: S3Client) -> Iterator[Server]:
    with listening(config) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield Server(url, client, s3)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "test")
    patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    moto = ThreadedMotoServer(port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()
    patch.undo()


@pytest.fixture(scope="session")
def s3(s3_endpoint: str) -> Iterator[S3Client]:
    import boto3

    client = boto3.client("s3", endpoint_url=s3_endpoint)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield client
    client.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder whose files the servers may serve."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def config(s3_endpoint: str, pages: Path) -> Config:
    return Config(s3_endpoint=s3_endpoint, path_roots=(pages,), workers=1, viewers=(VALIDATOR,))


@pytest.fixture(scope="session")
def server(config: Config, s3: S3Client) -> Iterator[Server]:
    """One server with the default limits, for all tests that leave it as it is."""
    with serving(config, s3) as running:
        yield running


@pytest.fixture
def serve(config: Config, s3: S3Client) -> Iterator[Callable[..., Server]]:
    """Start servers with settings of the test's own."""
    with ExitStack() as stack:

        def start(**settings: object) -> Server:
            return stack.enter_context(serving(replace(config, **settings), s3))  # type: ignore[arg-type]  # names and types are the test's

        yield start
