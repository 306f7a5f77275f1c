"""Who gets alerts: an SNS topic, a webhook, or both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pydantic import SecretStr

from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.webhook import Webhook
from dlcs_assets.domain.redaction import without_login
from dlcs_assets.ingest.publishing import Send
from dlcs_assets.ledger.outbox import ALERT_TOPIC, ALERT_WEBHOOK
from dlcs_assets.settings import Settings


def alert_receivers(settings: Settings, notifications: Notifications) -> dict[str, Send]:
    """Return what sends to each receiver that is set, by the outbox's name of it."""
    found: dict[str, Send] = {}
    if settings.alert_topic_arn:
        found[ALERT_TOPIC] = partial(notifications.publish, settings.alert_topic_arn)
    if settings.alert_webhook_url:
        found[ALERT_WEBHOOK] = partial(_post, settings.alert_webhook_url)
    return found


def link_for_people(settings: Settings) -> str | None:
    """Return where to look, without a login that the address may have: the pages, or else Dagster's UI."""
    url = settings.view_url or settings.ui_url
    return without_login(url).rstrip("/") if url else None


def _post(address: SecretStr, body: str, _attributes: Mapping[str, str]) -> None:
    with Webhook(url=address) as webhook:
        webhook.post(body)
