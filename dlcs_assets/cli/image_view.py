"""Everything about one image, for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console

from dlcs_assets.cli.output import print_lines, shown_bytes
from dlcs_assets.cli.planning import Known, Lines, explain
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, MessageRejectedError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.thumbnails import UNRESTRICTED
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.records import Attempt
from dlcs_assets.ledger.reports import ImageStatus
from dlcs_assets.settings import Settings

# Shown elsewhere in the view, or the same for every image of its kind.
LEFT_OUT_FACTS = frozenset({"origin", "plan", "why"})


def show_image(console: Console, image: ImageStatus, ledger: Ledger, settings: Settings) -> None:
    """Print state, reason, registration, plan, stages with their facts, objects and attempts."""
    lines: Lines = [("state", image.state), *_reason(image), *_cancelled(ledger, image), *_times(image)]
    if image.registration:
        lines += _registration(image.registration) + _plan(image, image.registration, settings)
    for stage, result in image.stages.items():
        lines.append((stage, result.outcome))
        lines += [("", f"{name}: {_fact(value)}") for name, value in _facts(result.facts).items()]
    stored = [
        f"s3://{each.bucket}/{each.key}  {shown_bytes(each.bytes)}  {each.content_type}" for each in image.objects
    ]
    lines += _under("objects", stored)
    if image.request_id:
        lines += _under("attempts", [_attempt(each, settings) for each in ledger.reports.attempts(image.request_id)])
    console.print(image.asset_id, style="bold")
    print_lines(console, lines)


def known_of(image: ImageStatus | None) -> Known:
    """Return what the last work on an image found out about its original."""
    if image is None:
        return Known()
    original = image.stages.get(Stage.ORIGINAL)
    media_type = original.facts.get("media_type") if original else None
    for stage in (Stage.THUMBNAILS, Stage.JP2, Stage.ORIGINAL):
        facts = image.stages[stage].facts if stage in image.stages else {}
        if facts.get("width"):
            return Known(media_type, Size(facts["width"], facts["height"]))
    return Known(media_type)


def _reason(image: ImageStatus) -> Lines:
    if image.error_cause is None:
        return []
    where = f" at the stage {image.error_stage}" if image.error_stage else ""
    name = "not renewed" if image.state == ShownState.DONE else "reason"
    lines = [(name, f"{image.error_cause} ({image.error_code}{where})"), ("what to do", image.error_remedy or "")]
    if image.state in {ShownState.FAILED, ShownState.DONE}:
        lines.append(("", f"then: dlcs retry {image.asset_id}"))
    return lines


def _cancelled(ledger: Ledger, image: ImageStatus) -> Lines:
    """Return what was cancelled since the image got into its state."""
    last = ledger.reports.last_cancelled(image.asset_id) if image.state != ShownState.CANCELLED else None
    return [] if last is None else [("cancelled", f"{_moment(last.at)}: {last.cause}"), ("", last.remedy)]


def _times(image: ImageStatus) -> Lines:
    due = image.due_at if image.state == ShownState.PENDING else None
    moments = (("requested", image.created_at), ("due", due), ("ended", image.finished_at))
    lines = [(name, _moment(moment)) for name, moment in moments if moment]
    return [*lines, ("batch", str(image.batch))] if image.batch is not None else lines


def _registration(registration: Registration) -> Lines:
    channels = registration.channels and ", ".join(
        f"{each.channel}/{each.policy}" if each.policy else str(each.channel) for each in registration.channels
    )
    lines = [
        ("registered", shown_url(registration.origin) if registration.origin else "origin not known"),
        ("", f"channels: {channels or 'those of the media type'}"),
    ]
    if registration.media_type:
        lines.append(("", f"media type: {registration.media_type}"))
    if registration.max_unauthorised != UNRESTRICTED:
        lines.append(("", f"open up to {registration.max_unauthorised} pixels (maxUnauthorised)"))
    if registration.roles:
        lines.append(("", f"roles: {', '.join(registration.roles)}"))
    return lines


def _plan(image: ImageStatus, registration: Registration, settings: Settings) -> Lines:
    try:
        asset_id = AssetId.parse(image.asset_id)
        explained = dict(explain(asset_id, registration, ingest_policy(settings), settings, known_of(image)))
    except (IngestError, MessageRejectedError) as error:
        return [("plan", f"none: {error}")]
    return [("plan", f"row {explained['row']}: {explained['why']}")]


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in LEFT_OUT_FACTS}


def _fact(value: object) -> str:
    if isinstance(value, list):
        pairs = all(isinstance(each, list) for each in value)
        return ", ".join("x".join(map(str, each)) for each in value) if pairs else "; ".join(map(str, value))
    return str(value)


def _attempt(attempt: Attempt, settings: Settings) -> str:
    cause = f": {attempt.error_cause} ({attempt.error_code})" if attempt.error_cause else ""
    run = f"{settings.ui_url}/runs/{attempt.run_id}" if settings.ui_url else f"run {attempt.run_id}"
    return f"{attempt.number}. {_moment(attempt.ended_at)} {attempt.result}{cause}, {run}"


def _under(name: str, texts: list[str]) -> Lines:
    return [("" if number else name, text) for number, text in enumerate(texts)]


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
