"""`dlcs alert`: sends an alert to its receivers, to see whether it arrives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer
from pydantic import SecretStr

from dlcs_assets.cli.connection import load_settings
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.output import echo
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.webhook import Webhook
from dlcs_assets.domain.alerts import Alert, AlertState
from dlcs_assets.domain.errors import IngestError


def alert(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What it says.")] = "This is a test of alerts.",
) -> None:
    """Send an alert to its receivers, to try them."""
    settings = load_settings()
    now = datetime.now(UTC)
    trial = Alert("test", AlertState.HAPPENED, text, now, now.isoformat())
    body, sends = trial.body(settings.view_url or settings.ui_url), dict[str, Callable[[], None]]()
    topic, address = settings.alert_topic_arn, settings.alert_webhook_url
    with Notifications() as notifications:
        if topic:
            sends[f"the topic {topic}"] = lambda: notifications.publish(topic, body, trial.attributes)
        if address:
            sends["the webhook"] = lambda: _post(address, body)
        if not sends:
            raise CommandError("There is no receiver of alerts: set DLCS_ALERT_TOPIC_ARN or DLCS_ALERT_WEBHOOK_URL.")
        failed = []
        for receiver, send in sends.items():
            try:
                send()
            except IngestError as error:
                failed.append(f"{receiver[:1].upper()}{receiver[1:]} did not take it: {error}")
            else:
                echo(f"Sent to {receiver}.")
    if failed:
        raise CommandError(" ".join(failed))


def _post(address: SecretStr, body: str) -> None:
    with Webhook(url=address) as webhook:
        webhook.post(body)
