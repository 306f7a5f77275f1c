"""An installation of a test's own: buckets, an origin, services behind proxies, settings, and a ledger."""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dlcs_assets.clients.aws import make_client
from dlcs_assets.domain.image_servers import ImageServerKind
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.reports import ImageStatus, Selection
from dlcs_assets.settings import Settings
from dlcs_stack.stack import Component, RunningStack
from dlcs_testing.ledger_files import new_ledger_at
from dlcs_testing.proxy import Proxy, proxy_to
from dlcs_testing.scripted_server import Answer, ScriptedServer, scripted_server


@dataclass(frozen=True)
class Stored:
    data: bytes
    content_type: str


@dataclass
class Installation:
    """What tests with Dagster (`dlcs_testing.harness`) and without it (`dlcs_testing.pipeline`) have in common.

    `settings` are as a deployment would have them. Each of the two has its own `send` and `settle`.
    """

    stack: RunningStack
    settings: Settings
    origin: ScriptedServer
    s3_proxy: Proxy
    appetiser: Proxy
    image_server: Proxy

    def use(self, **settings: Any) -> None:
        """Continue with other settings, as after a new deployment."""
        raise NotImplementedError

    # What goes in

    def serve(self, name: str, data: bytes, **more: Any) -> str:
        """Put an original on the origin's server; return its URL."""
        self.origin.by_path[f"/{name}"] = Answer(body=data, **more)
        return f"{self.origin.url}/{name}"

    def upload(self, key: str, data: bytes) -> str:
        """Put an original into the portal's bucket; return its address."""
        assert self.settings.origin_bucket is not None
        self.put(self.settings.origin_bucket, key, data)
        return f"s3://{self.settings.origin_bucket}/{key}"

    def make_bucket(self, bucket: str) -> None:
        """Ensure that there is a bucket whose name several tests know."""
        with suppress(self.s3.exceptions.BucketAlreadyOwnedByYou):
            self.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def put(self, bucket: str, key: str, data: bytes = b"x", content_type: str = "image/jpeg") -> None:
        self.s3.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)

    def send(self, *messages: dict[str, Any] | str) -> None:
        """Send messages of the ingest queue."""
        raise NotImplementedError

    # What happens

    def settle(self) -> Sequence[object]:
        """Work until there is nothing more to do; return the runs that it took."""
        raise NotImplementedError

    def ingest(self, image: str, origin: str, channels: str, **fields: Any) -> ImageStatus:
        """Send a full message, let everything happen, and return what became of it."""
        self.send(full_message(image, origin, channels, **fields))
        self.settle()
        return self.status(image)

    def retry(self, image: str) -> None:
        """Request an image again that failed, as `dlcs retry` does, and let everything happen."""
        self.ledger.reports.retry(Selection(ids=(image,)), now=datetime.now(UTC))
        self.settle()

    def execute(self, statement: str, *values: str) -> None:
        """Bring the ledger into a state that nothing leads to."""
        with sqlite3.connect(self.settings.ledger_url.removeprefix("sqlite:///")) as connection:
            connection.execute(statement, values)
        connection.close()

    # What there is afterwards

    def status(self, image: str) -> ImageStatus:
        (status,) = self.ledger.reports.images(Selection(ids=(image,)))
        return status

    def states(self, *, customer: int | None = None) -> dict[str, str]:
        found = self.ledger.reports.images(Selection(customer=customer))
        return {status.asset_id: status.state for status in found}

    def facts(self, image: str, stage: Stage) -> Mapping[str, Any]:
        """Return the facts of an image's newest result of a stage."""
        return self.status(image).stages[stage].facts

    def objects(self, bucket: str, prefix: str = "") -> dict[str, Stored]:
        found = {}
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                answer = self.s3.get_object(Bucket=bucket, Key=item["Key"])
                found[item["Key"]] = Stored(answer["Body"].read(), answer["ContentType"])
        return found

    def storage(self, prefix: str = "") -> dict[str, Stored]:
        return self.objects(self.settings.storage_bucket, prefix)

    def thumbs(self, prefix: str = "") -> dict[str, Stored]:
        return self.objects(self.settings.thumbs_bucket, prefix)

    def left_in_scratch(self) -> list[str]:
        """Return what runs left; the copy of the customers file, which stays there, is none of it."""
        scratch = self.settings.scratch
        return [str(path) for path in scratch.rglob("*") if not path.name.startswith("customers-")]

    # Its parts

    @property
    def ledger(self) -> Ledger:
        raise NotImplementedError

    @cached_property
    def s3(self) -> Any:
        return make_client("s3")

    @cached_property
    def sqs(self) -> Any:
        return make_client("sqs")


InstallationT = TypeVar("InstallationT", bound=Installation)


@contextmanager
def only_the_stacks_environment(stack: RunningStack) -> Iterator[None]:
    """Have no settings in the environment but the stack's for AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in [variable for variable in os.environ if variable.startswith(("DLCS_", "AWS_"))]:
            patch.delenv(variable)
        for variable, value in stack.environment.items():
            if variable.startswith("AWS_"):
                patch.setenv(variable, value)
        yield


@contextmanager
def installed(
    kind: type[InstallationT], stack: RunningStack, folder: Path, settings: Mapping[str, Any], **more: Any
) -> Iterator[InstallationT]:
    """Make an installation next to the services that are up.

    `settings` take the place of those it would choose, `more` are further fields of `kind`.
    """
    name = uuid.uuid4().hex[:12]
    endpoint = stack.environment["AWS_ENDPOINT_URL"]
    buckets = {kind_: f"{kind_}-{name}" for kind_ in ("storage", "thumbs", "origin")}
    with ExitStack() as opened:
        origin = opened.enter_context(scripted_server(Answer(404, b"There is no such page.")))
        s3_proxy = opened.enter_context(proxy_to(endpoint))
        appetiser = opened.enter_context(proxy_to(str(stack.url(Component.APPETISER))))
        image_server = opened.enter_context(proxy_to(str(stack.url(Component.IMAGE_SERVER))))
        chosen: dict[str, Any] = {
            "storage_bucket": buckets["storage"],
            "thumbs_bucket": buckets["thumbs"],
            "origin_bucket": buckets["origin"],
            "appetiser_url": appetiser.url,
            "image_server_url": image_server.url,
            "image_server_kind": ImageServerKind.EMBEDDED,
            "slots": folder / "slots",
            "scratch": stack.data / "scratch" / name,
            "ledger_url": new_ledger_at(folder / "ledger.db"),
            "private_networks": ("127.0.0.0/8",),
            "receive_wait": timedelta(0),
            "intake_budget": timedelta(minutes=1),  # a tick takes all in, however busy the machine is
            "attempt_delay": timedelta(0),
            "attempts": 2,
        }
        made = kind(
            stack=stack,
            settings=Settings(**{**chosen, **settings}),
            origin=origin,
            s3_proxy=s3_proxy,
            appetiser=appetiser,
            image_server=image_server,
            **more,
        )
        opened.callback(made.s3.close)
        opened.callback(made.sqs.close)
        for bucket in buckets.values():
            made.make_bucket(bucket)
        yield made


def full_message(
    image: str, origin: str, channels: str = "", *, created: str | None = None, batch: int | None = None, **fields: Any
) -> dict[str, Any]:
    """Return a message that carries and registers an image. `channels` as in `iiif-img:default,file`."""
    asset = {"id": image, "origin": origin, **fields}
    if channels:
        named = (part.partition(":") for part in channels.split(","))
        asset["deliveryChannels"] = [{"channel": name, "policy": policy or None} for name, _, policy in named]
    return {"created": created, "batchId": batch, "asset": asset}


def as_body(message: dict[str, Any] | str) -> str:
    """Return the body of a message as it is on a queue."""
    return message if isinstance(message, str) else json.dumps(message)
