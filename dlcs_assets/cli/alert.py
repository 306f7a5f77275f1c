"""`dlcs alert`: sends an alert to its receivers, to see whether it arrives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from dlcs_assets.cli.connection import load_settings
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.output import echo
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.domain.alerts import Alert, AlertState
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.ingest.alert_receivers import alert_receivers, link_for_people
from dlcs_assets.ledger.outbox import ALERT_TOPIC, ALERT_WEBHOOK


def alert(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What it says.")] = "This is a test of alerts.",
) -> None:
    """Send an alert to its receivers, to try them."""
    settings = load_settings()
    now = datetime.now(UTC)
    trial = Alert("test", AlertState.HAPPENED, text, now, now.isoformat())
    body = trial.body(link_for_people(settings))
    names = {ALERT_TOPIC: f"the topic {settings.alert_topic_arn}", ALERT_WEBHOOK: "the webhook"}
    with Notifications() as notifications:
        receivers = alert_receivers(settings, notifications)
        if not receivers:
            raise CommandError("There is no receiver of alerts: set DLCS_ALERT_TOPIC_ARN or DLCS_ALERT_WEBHOOK_URL.")
        failed = []
        for receiver, send in receivers.items():
            name = names[receiver]
            try:
                send(body, trial.attributes)
            except IngestError as error:
                failed.append(f"{name[:1].upper()}{name[1:]} did not take it: {error}")
            else:
                echo(f"Sent to {name}.")
    if failed:
        raise CommandError(" ".join(failed))
