"""SNS topics: publishing what others are to be told. What is to be told, and whether it was, is the ledger's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import dagster as dg
from pydantic import Field, PrivateAttr

from dlcs_assets.clients.aws import aws_errors, client_config, make_client
from dlcs_assets.clients.http import Peer
from dlcs_assets.clients.lazy import Lazy

_PEER: Final = Peer(
    "SNS", "topic", ours=True, remedy="See that SNS answers, that the topic exists, and that the credentials are valid."
)


class Notifications(dg.ConfigurableResource):  # type: ignore[type-arg]  # its parameter is what a legacy resource would return
    """SNS, whichever topic. Raises the errors of the error tree, codes `topic_*`.

    Its patience is short: what could not be sent is kept, and a tick that waits is of use to nobody.
    """

    region_name: str | None = Field(default=None, description="Region of the topics; default: the environment's.")
    endpoint_url: str | None = Field(
        default=None, description="Endpoint of SNS; default: AWS_ENDPOINT_URL, else AWS itself."
    )
    connect_timeout_seconds: float = Field(default=3.0, gt=0, description="Time limit of making a connection.")
    timeout_seconds: float = Field(default=5.0, gt=0, description="Time limit of one answer.")
    attempts: int = Field(default=1, ge=1, description="Attempts at each request at most.")

    # The stubs of boto3 that we have know no SNS.
    _client: Lazy[Any] = PrivateAttr(default_factory=Lazy)

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        client = self._client.take()
        if client is not None:
            client.close()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        """Close the connections at the end of the tick."""
        self.close()

    def publish(self, topic_arn: str, body: str, attributes: Mapping[str, str]) -> None:
        """Publish a message with attributes of the type String."""
        typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        with aws_errors(_PEER, f"Publishing to {topic_arn}"):
            self._client.get(self._make_client).publish(TopicArn=topic_arn, Message=body, MessageAttributes=typed)

    def _make_client(self) -> Any:
        config = client_config(
            attempts=self.attempts,
            connections=1,
            connect_timeout_seconds=self.connect_timeout_seconds,
            read_timeout_seconds=self.timeout_seconds,
        )
        return make_client("sns", region_name=self.region_name, endpoint_url=self.endpoint_url, config=config)
