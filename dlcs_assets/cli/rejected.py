"""`dlcs rejected`: messages that could not become requests, and sending them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from dlcs_assets.cli.clients import make_queues
from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError, UsageError
from dlcs_assets.cli.output import echo, echo_data, make_console
from dlcs_assets.cli.send import queue_urls
from dlcs_assets.clients.sqs import NewMessage
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.redaction import shown_body
from dlcs_assets.domain.text import shown_text
from dlcs_assets.ledger import Ledger
from dlcs_assets.settings import Settings

SHOWN_FIELDS = ("id", "queue", "received_at", "image_id", "code", "cause", "remedy", "body")
MOST = 100_000


def rejected(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array of objects instead.")] = False,
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="With --json: bodies as they came, with what addresses in them hide.")
    ] = False,
    requeue: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Send this message to its queue again. May be given again."),
    ] = None,
    requeue_all: Annotated[bool, typer.Option("--requeue-all", help="Send all of them to their queues again.")] = False,
) -> None:
    """Show messages that could not become requests, and why. Or send them again, once the cause is gone."""
    if requeue and requeue_all:
        raise UsageError("Use --requeue ID or --requeue-all, not both.")
    settings = load_settings()
    with open_ledger(settings) as ledger:
        kept = ledger.inbox.rejected(MOST)
        if requeue or requeue_all:
            _requeue(ledger, _chosen(kept, requeue), settings)
        elif as_json:
            echo_data(json.dumps([_to_json(row, with_secrets=with_secrets) for row in kept], indent=2))
        else:
            _show(make_console(), kept)


def _chosen(kept: Sequence[dict[str, Any]], ids: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the messages to send."""
    whole = [row for row in kept if row["body"] is not None]
    if ids is None:
        return whole
    wanted = set(ids)
    if unknown := wanted - {row["id"] for row in kept}:
        raise CommandError(f"No rejected message has the id {', '.join(sorted(unknown))}: see dlcs rejected.")
    if bodiless := wanted - {row["id"] for row in whole}:
        raise CommandError(
            f"The body of {', '.join(sorted(bodiless))} is no longer kept (DLCS_REJECTED_RETENTION): "
            "its sender has to send it again."
        )
    return [row for row in whole if row["id"] in wanted]


def _requeue(ledger: Ledger, chosen: Sequence[dict[str, Any]], settings: Settings) -> None:
    others = (settings.uploads_queue_url, settings.update_queue_url, settings.delete_queue_url)
    urls = {url.rsplit("/", 1)[-1]: url for url in (*queue_urls(settings).values(), *others) if url}
    if foreign := {row["queue"] for row in chosen} - urls.keys():
        raise CommandError(
            f"The queue {', '.join(sorted(foreign))} is not configured: "
            "set DLCS_INGEST_QUEUE_URL, DLCS_PRIORITY_QUEUE_URL, DLCS_UPLOADS_QUEUE_URL, DLCS_UPDATE_QUEUE_URL or "
            "DLCS_DELETE_QUEUE_URL to it."
        )
    sent, failed = 0, dict[str, IngestError]()
    with make_queues() as queues:
        # One by one: each is marked as soon as it is sent, so that a failure half-way sends none twice.
        for row in chosen:
            (error,) = queues.send_each(urls[row["queue"]], [NewMessage(row["body"], row["attributes"])])
            if error is None:
                ledger.inbox.mark_requeued([row["id"]])
                sent += 1
                continue
            failed[row["id"]] = error
            if not isinstance(error, PermanentError):
                break  # SQS does not answer: the others would fare no better
    echo(f"{sent} message{'' if sent == 1 else 's'} sent again.")
    if failed:
        reasons = "\n".join(f"{message_id}: {error}" for message_id, error in failed.items())
        raise CommandError(f"{len(chosen) - sent} of {len(chosen)} stay rejected:\n{reasons}")


def _show(console: Console, kept: Sequence[dict[str, Any]]) -> None:
    if not kept:
        console.print("No message is rejected.")
    for row in kept:
        console.print(f"{row['id']}  {row['received_at']:%Y-%m-%d %H:%M:%S} UTC  queue {row['queue']}")
        if row["image_id"]:
            console.print(f"    image   {row['image_id']}")
        console.print(f"    reason  {row['cause']} ({row['code']}). {row['remedy']}")
        console.print(f"    body    {_shown_body(row['body'])}")


def _shown_body(body: str | None) -> str:
    if body is None:
        return "(no longer kept)"
    return shown_text(shown_body(body)) or "(empty)"


def _to_json(row: dict[str, Any], *, with_secrets: bool) -> dict[str, object]:
    body = row["body"]
    if body is not None and not with_secrets:
        row = {**row, "body": shown_body(body)}
    return {name: _plain(row[name]) for name in SHOWN_FIELDS}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
