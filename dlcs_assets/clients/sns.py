"""SNS topics: publishing notifications. What is to be published, and whether it was, is in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dlcs_assets.clients.aws import aws_errors, client_config, make_client
from dlcs_assets.clients.http import Peer
from dlcs_assets.clients.lazy import LazyClient

_PEER: Final = Peer(
    "SNS",
    "topic",
    is_internal=True,
    remedy="Check that SNS answers, that the topic exists, and that the credentials are valid.",
)


# The stubs of boto3 that we have know no SNS.
@dataclass(kw_only=True, eq=False)
class Notifications(LazyClient[Any]):
    """SNS, whichever topic. Raises the errors of the error tree, codes `topic_*`.

    Its timeouts are short: what could not be sent is kept, and a tick that waits is of no use.
    """

    region_name: str | None = None
    endpoint_url: str | None = None
    connect_timeout_seconds: float = 3.0
    timeout_seconds: float = 5.0
    attempts: int = 1

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
