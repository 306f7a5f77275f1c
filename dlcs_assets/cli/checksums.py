"""`dlcs checksums`: what is stored, with its checksums, for programs that compare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import FAILED
from dlcs_assets.cli.options import CustomerOption, IdsArgument, SpaceOption, parse_ids, parse_space
from dlcs_assets.cli.output import echo, echo_data
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.reports import ImageStatus, Selection

PAGE = 500  # images at a time


def checksums(
    ids: IdsArgument = None,
    customer: CustomerOption = None,
    space: SpaceOption = None,
    *,
    keys: Annotated[
        bool, typer.Option("--keys", help="Keys in place of addresses, as sha256sum --check reads them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each stored object and line.")] = False,
) -> None:
    """List stored objects with their SHA-256. As they were when they were stored; the order is that of the images."""
    chosen = parse_ids(ids)
    unknown = set(chosen)
    with open_ledger(load_settings()) as ledger:
        for image in _images(ledger, chosen, *parse_space(customer, space)):
            unknown.discard(image.asset_id)
            for line in _lines(image, keys=keys, as_json=as_json):
                echo_data(line)
    if unknown:
        echo(f"Not known here: {', '.join(sorted(unknown))}.", err=True)
        raise typer.Exit(FAILED)


def _images(ledger: Ledger, chosen: tuple[str, ...], customer: int | None, space: int | None) -> Iterator[ImageStatus]:
    """Yield images with their objects, page by page: a customer may have millions."""
    if chosen:
        yield from ledger.reports.images(Selection(chosen, customer, space))
        return
    page: list[str] = []
    for entry in ledger.registrations.entries(customer=customer, space=space):
        page.append(str(entry.asset_id))
        if len(page) == PAGE:
            yield from ledger.reports.images(Selection(tuple(page)))
            page = []
    if page:
        yield from ledger.reports.images(Selection(tuple(page)))


def _lines(image: ImageStatus, *, keys: bool, as_json: bool) -> Iterator[str]:
    for stored in image.objects:
        if stored.kind is ObjectKind.TRANSIENT:  # it is about to be deleted
            continue
        location = S3Location(stored.bucket, stored.key)
        if as_json:
            yield json.dumps(
                {
                    "image": image.asset_id,
                    "kind": stored.kind.value,
                    "bucket": stored.bucket,
                    "key": stored.key,
                    "bytes": stored.bytes,
                    "content_type": stored.content_type,
                    "sha256": stored.sha256,
                }
            )
        else:
            yield f"{stored.sha256}  {stored.key if keys else location.uri()}"
