"""The pages of many images: what came in, walls, batches, failures. Each reads the address and the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from dlcs_assets.domain.batch import time_left
from dlcs_assets.domain.presentation import MEDIA_TYPE
from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.ledger.gallery import MOST_COUNTED, Shown
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.view.manifests import base_of, manifest_of, parameters_of, title_of
from dlcs_assets.view.pictures import TILE_EDGE
from dlcs_assets.view.queries import is_whole, name_of, number_of, place_of, request_of, shown_of
from dlcs_assets.view.site import ON_A_LIST, RATE_WINDOW, Site
from dlcs_assets.view.templating import address, shown_duration

ON_A_WALL: Final = 120  # images of a page
ON_THE_FIRST_PAGE: Final = 24
ARRIVED_WINDOW: Final = timedelta(hours=1)
# Each tick of a sensor is a sign of life, and is written down once a minute.
UNSEEN_FOR: Final = timedelta(minutes=3)


class Pages:
    """The pages of many images. The functions run in threads, several at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def newest(self, request: Request) -> Response:
        """Show what was asked for last, how many images are where, and what is wrong."""
        query, now = request.query_params, datetime.now(UTC)
        older_than = request_of(query, "older")
        found = self._site.ledger.gallery.newest(Shown(), older_than=older_than, limit=ON_THE_FIRST_PAGE)
        arrived = self._site.ledger.gallery.arrived(now - ARRIVED_WINDOW)
        waiting = self._site.ledger.health.waiting()
        return self._site.page(
            "newest.html",
            "What came in",
            tiles=[self._tile(each) for each in found.tiles],
            older=address("/", older=found.older) if found.older else None,
            is_first=older_than is None,
            counts=self._site.ledger.reports.counts(),
            reasons=self._site.ledger.gallery.reasons()[:5],
            batches=self._site.ledger.gallery.batches(limit=5),
            backfills=self._site.ledger.backfills.newest(unended=True, limit=5),
            arrived={
                customer: [(state, count) for state, count in numbers.items() if count]
                for customer, numbers in arrived.items()
            },
            arrived_count=sum(sum(numbers.values()) for numbers in arrived.values()),
            most=MOST_COUNTED,
            waiting=waiting,
            stopped=self._stopped(now) if waiting else None,
        )

    def find(self, request: Request) -> Response:
        """Show the images with a text in their names. A whole id, and a name that one image has, lead to its page."""
        query = request.query_params
        text, after = name_of(query), place_of(query, "after")
        if is_whole(text) and self._site.ledger.reports.images(Selection(ids=(text,)), limit=1):
            return RedirectResponse(address("/image", id=text), 303)
        found = self._site.ledger.gallery.find(text, after=after.image_id if after else "", limit=ON_A_WALL)
        if len(found.tiles) == 1 and after is None and found.more is None:
            return RedirectResponse(address("/image", id=found.tiles[0].place.image_id), 303)
        return self._site.page(
            "find.html",
            f"Images named {text}",
            tiles=[self._tile(each) for each in found.tiles],
            after=address("/find", name=text, after=found.more) if found.more else None,
        )

    def wall(self, request: Request) -> Response:
        """Show thumbnails of the images that are asked for, page by page."""
        query = request.query_params
        shown = shown_of(query)
        wall = self._site.ledger.gallery.wall(
            shown, after=place_of(query, "after"), before=place_of(query, "before"), limit=ON_A_WALL
        )
        tiles = [self._tile(each) for each in wall.tiles]
        chosen = parameters_of(shown)
        return self._site.page(
            "wall.html",
            title_of(shown),
            tiles=tiles,
            shown=shown,
            states=list(ShownState),
            manifest=address("/manifest", **chosen, after=query.get("after") or None) if tiles else None,
            first=address("/images", **chosen) if wall.before else None,
            before=address("/images", **chosen, before=tiles[0]["id"]) if wall.before and tiles else None,
            after=address("/images", **chosen, after=tiles[-1]["id"]) if wall.after and tiles else None,
            counts=None if shown.batch or shown.code else self._site.ledger.reports.counts(_selection(shown)),
        )

    def manifest(self, request: Request) -> Response:
        """Return images as a IIIF manifest: those of a wall, and as many of the next ones as a manifest may have."""
        query = request.query_params
        shown, base = shown_of(query), base_of(self._site.settings) or f"{request.url.scheme}://{request.url.netloc}"
        found = manifest_of(
            self._site.ledger,
            self._site.pictures,
            shown,
            base=base,
            title=title_of(shown),
            after=place_of(query, "after"),
        )
        if found is None:
            raise HTTPException(404)
        return JSONResponse(found, media_type=MEDIA_TYPE)

    def batches(self, request: Request) -> Response:
        """List the batches that were submitted last."""
        query = request.query_params
        customer, is_open = number_of(query, "customer"), query.get("open") == "1"
        return self._site.page(
            "batches.html",
            "Batches",
            customer=customer,
            is_open=is_open,
            batches=self._site.ledger.batches.newest(customer=customer, unfinished=is_open, limit=ON_A_LIST),
        )

    def batch(self, request: Request) -> Response:
        """Show how far a batch is, what it lacks, and its images."""
        query = request.query_params
        customer, number = number_of(query, "customer"), number_of(query, "batch")
        found = self._site.ledger.batches.find(number, customer=customer) if number is not None else []
        if len(found) != 1:
            raise HTTPException(404)
        (batch,) = found
        shown = Shown(batch.customer, batch=batch.id)
        since = datetime.now(UTC) - RATE_WINDOW
        ended = self._site.ledger.batches.ended_since(batch.id, batch.customer, since)
        left = time_left(batch, ended, RATE_WINDOW)
        failures = self._site.ledger.batches.images(batch.id, batch.customer, failures_only=True)
        wall = self._site.ledger.gallery.wall(shown, after=place_of(query, "after"), limit=ON_A_WALL)
        tiles = [self._tile(each) for each in wall.tiles]
        more = address("/batch", customer=batch.customer, batch=batch.id, after=tiles[-1]["id"]) if tiles else None
        return self._site.page(
            "batch.html",
            batch.name,
            batch=batch,
            left=shown_duration(left) if left else None,
            failures=failures[:200],
            failed=len(failures),
            retry=f"dlcs retry --customer {batch.customer} --batch {batch.id}",
            tiles=tiles,
            after=more if wall.after else None,
        )

    def failures(self, request: Request) -> Response:
        """Show why images failed, and what tries them again."""
        customer = number_of(request.query_params, "customer")
        chosen = f" --customer {customer}" if customer is not None else ""
        return self._site.page(
            "failures.html",
            "Failures",
            customer=customer,
            most=MOST_COUNTED,
            reasons=[
                {
                    "reason": each,
                    "retry": f"dlcs retry{chosen} --reason {each.code}" if each.state == ShownState.FAILED else None,
                    "more": "dlcs rejected" if each.is_message else None,
                    "images": None
                    if each.is_message
                    else address("/images", customer=customer, state=each.state.value, reason=each.code),
                    "example": address("/image", id=each.example) if "/" in each.example else None,
                }
                for each in self._site.ledger.gallery.reasons(customer=customer)
            ],
        )

    def _tile(self, tile: Any) -> dict[str, Any]:
        thumbnail = self._site.pictures.thumbnail(tile.thumbnails, TILE_EDGE)
        picture = None
        if thumbnail is not None:
            picture = address("/thumbnail", id=tile.place.image_id, edge=thumbnail.longest, v=thumbnail.version)
        return {
            "id": tile.place.image_id,
            "name": tile.place.image_id.split("/", 2)[2],
            "state": tile.state,
            "code": tile.error_code,
            "address": address("/image", id=tile.place.image_id),
            "picture": picture,
            "hidden": bool(tile.thumbnails) and thumbnail is None,
        }

    def _stopped(self, now: datetime) -> str | None:
        """Say why nothing at all moves; None if it does, as far as the ledger knows."""
        held_up = self._site.ledger.launches.held_up()
        if held_up is not None:
            return held_up.describe()
        owner = self._site.ledger.ownership.current()
        if owner is None:
            return "No Dagster instance has worked with this ledger yet: start the daemon."
        if now - owner.seen_at > UNSEEN_FOR:
            return (
                f"No sensor of Dagster has ticked since {owner.seen_at:%Y-%m-%d %H:%M:%S} UTC: start the daemon, and "
                "the sensors on its page Automation."
            )
        return None


def _selection(shown: Shown) -> Selection:
    return Selection(customer=shown.customer, space=shown.space)
