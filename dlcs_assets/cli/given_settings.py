"""What the user's environment says of settings that the embedded stack makes itself: respected, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.markup import escape

from dlcs_assets.cli.failure import CommandError
from dlcs_assets.domain.image_servers import ImageServerKind, SourceAccess
from dlcs_assets.domain.redaction import shown_url
from dlcs_stack.aws import CREDENTIALS
from dlcs_stack.stack import Component

# The services that may be the user's own, and what says so.
GIVEN_SERVICES: Final[Mapping[Component, str]] = {
    Component.APPETISER: "DLCS_APPETISER_URL",
    Component.IMAGE_SERVER: "DLCS_IMAGE_SERVER_URL",
}
LEDGER: Final = "DLCS_LEDGER_URL"
_KIND: Final = "DLCS_IMAGE_SERVER_KIND"
_SOURCES: Final = "DLCS_IMAGE_SERVER_SOURCES"
_SCRATCH: Final = "DLCS_SCRATCH"
_NETWORKS: Final = "DLCS_PRIVATE_NETWORKS"
_LINKS: Final = ("DLCS_UI_URL", "DLCS_VIEW_URL")
_LOOPBACK: Final = "127.0.0.0/8"  # where the originals of the embedded stack's users are, and its own S3
# Taken as they are.
RESPECTED: Final = frozenset({LEDGER, _SCRATCH, _NETWORKS, *_LINKS, _KIND, _SOURCES, *GIVEN_SERVICES.values()})
# Of the embedded AWS, which is emptied at each start: what leads to another one must not be changed by accident.
REFUSED: Final = frozenset(
    {
        "DLCS_INGEST_QUEUE_URL",
        "DLCS_PRIORITY_QUEUE_URL",
        "DLCS_UPLOADS_QUEUE_URL",
        "DLCS_UPDATE_QUEUE_URL",
        "DLCS_DELETE_QUEUE_URL",
        "DLCS_BATCH_COMPLETED_TOPIC_ARN",
        "DLCS_STORAGE_BUCKET",
        "DLCS_THUMBS_BUCKET",
        "DLCS_ORIGIN_BUCKET",
    }
)
# Not meant for this project alone: many shells have them. That they are not used is said.
REPLACED: Final = frozenset({"DAGSTER_HOME"})


@dataclass(frozen=True)
class Given:
    """What is respected: settings, services of the user's own by their URLs, and what is to be said about all of it."""

    settings: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[Component, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def given_settings(
    environment: Mapping[str, str], ports: Mapping[Component, int], *, shared_disk: bool = False
) -> Given:
    """Return what the environment says of the settings that the stack makes itself.

    What `dlcs env` printed is not taken for that. Raises CommandError for what can't be respected.
    """
    sources = {_SOURCES: SourceAccess.DISK.value} if shared_disk else {}
    found = {name: environment[name] for name in sorted(RESPECTED | REFUSED) if environment.get(name, "").strip()}
    if found and all(environment.get(name) == value for name, value in CREDENTIALS.items()):
        remark = (
            f"[yellow]not used[/]  {', '.join(found)}: this shell has what `dlcs env` exported. Unset "
            f"{next(iter(CREDENTIALS))} if settings of your own are meant."
        )
        return Given(sources, remarks=(remark,))
    if refused := sorted(REFUSED.intersection(found)):
        raise CommandError(
            f"The embedded stack has queues, topics and buckets of its own, so {', '.join(refused)} cannot be used: "
            "unset it. For an AWS of your own start Dagster by itself, see docs/deploy.md."
        )
    services = {component: found[name] for component, name in GIVEN_SERVICES.items() if name in found}
    for component, url in services.items():
        if component in ports:
            raise CommandError(
                f"{GIVEN_SERVICES[component]} leads to {shown_url(url)}, so no embedded {component} is started: leave "
                f"--{component}-port out, or unset {GIVEN_SERVICES[component]}."
            )
    if shared_disk and found.get(_SOURCES, SourceAccess.DISK) != SourceAccess.DISK:
        raise CommandError(f"{_SOURCES} is {found[_SOURCES]}: leave --shared-disk out, or unset it.")
    settings = {**found, **sources, **_image_server(found, services)}
    if _SCRATCH in found:
        settings[_SCRATCH] = str(Path(found[_SCRATCH]).absolute())
    if _NETWORKS in found:
        settings[_NETWORKS] = ",".join(dict.fromkeys([*found[_NETWORKS].split(","), _LOOPBACK]))
    return Given(settings, services, tuple(_remarks(settings, services, environment)))


def _image_server(found: Mapping[str, str], services: Mapping[Component, str]) -> dict[str, str]:
    if Component.IMAGE_SERVER in services:
        return {_KIND: found.get(_KIND, ImageServerKind.CANTALOUPE)}
    if found.get(_KIND, ImageServerKind.EMBEDDED) != ImageServerKind.EMBEDDED:
        raise CommandError(
            f"{_KIND} is {found[_KIND]}, and the embedded image server is started: set DLCS_IMAGE_SERVER_URL to one of "
            f"that kind, or unset {_KIND}."
        )
    return {}


def _remarks(
    settings: Mapping[str, str], services: Mapping[Component, str], environment: Mapping[str, str]
) -> list[str]:
    lines = [f"[green]yours[/]  {component:<14}{escape(shown_url(url))}" for component, url in services.items()]
    if LEDGER in settings:
        lines.append(f"[green]yours[/]  {'ledger':<14}{escape(shown_url(settings[LEDGER]))}, which is not emptied")
    shown = [name for name in (_SCRATCH, _NETWORKS, *_LINKS) if name in settings]
    lines += [f"[green]yours[/]  {name} = {escape(settings[name])}" for name in shown]
    others = sorted(
        name for name in environment if name in REPLACED or (name.startswith("AWS_") and name not in CREDENTIALS)
    )
    if others:
        lines.append(f"[yellow]not used[/]  {', '.join(others)}: the embedded stack has its own.")
    return lines
