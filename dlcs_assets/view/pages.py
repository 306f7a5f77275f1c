"""A function for each page: it reads the address and the ledger, and renders a template."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from dlcs_assets.clients.sqs import Queues
from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.batch import time_left
from dlcs_assets.domain.customers import Customers, Quota
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.presentation import MEDIA_TYPE
from dlcs_assets.domain.redaction import shown_url, without_login
from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.domain.thumbnails import UNRESTRICTED
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.accounting import Usage, total
from dlcs_assets.ledger.gallery import MOST_COUNTED, Shown
from dlcs_assets.ledger.rates import SAMPLE
from dlcs_assets.ledger.reports import ImageStatus, Selection
from dlcs_assets.settings import Settings
from dlcs_assets.view.manifests import base_of, manifest_of, parameters_of, title_of
from dlcs_assets.view.numbers import Bar, Numbers, Period
from dlcs_assets.view.pictures import JPEG, Of, Pictures, Region, is_restricted, size_of
from dlcs_assets.view.plots import COLOURS, lines, stacked
from dlcs_assets.view.queries import Query, image_of, number_of, period_of, place_of, request_of, shown_of
from dlcs_assets.view.templating import address, make_environment, shown_duration, shown_fact
from dlcs_assets.view.totals import Totals
from dlcs_assets.view.zooming import View

ON_A_WALL: Final = 120  # images of a page
ON_THE_FIRST_PAGE: Final = 24
ON_A_LIST: Final = 20  # batches, each of which is counted
TILE_EDGE: Final = 200  # pixels
RATE_WINDOW: Final = timedelta(minutes=10)
_A_YEAR: Final = "private, max-age=31536000, immutable"  # of addresses that change with what they lead to
_A_MOMENT: Final = "private, max-age=60"
OTHERS: Final = "others"
RED: Final = 1  # of the colours in the style sheet: reasons begin with it
PLOTTED: Final = [state.value for state in (ShownState.DONE, ShownState.FAILED, ShownState.DELETED, ShownState.PENDING)]
_LEFT_OUT_FACTS: Final = frozenset({"plan"})  # said by `why` in words


@dataclass(frozen=True)
class _Links:
    """Addresses of Dagster's UI; None where the settings do not say where it is."""

    ui_url: str | None
    prefix: str

    def run(self, run_id: str) -> str | None:
        return f"{self.ui_url}/runs/{quote(run_id, safe='')}" if self.ui_url else None

    def partition(self, stage: Stage, image: AssetId) -> str | None:
        if self.ui_url is None:
            return None
        query = urlencode({"view": "partitions", "partition": partition_key(image)}, quote_via=quote)
        return f"{self.ui_url}/assets/{self.prefix}/{stage.value}?{query}"


class Pages:
    """The pages of an installation. The functions run in threads, several at a time."""

    def __init__(self, open_ledger: Callable[[], Ledger], pictures: Pictures, settings: Settings) -> None:
        self._open_ledger = open_ledger
        self._pictures = pictures
        self._settings = settings
        self._opening = threading.Lock()
        self._opened: Ledger | None = None
        ui_url = without_login(settings.ui_url).rstrip("/") if settings.ui_url else None
        self._links = _Links(ui_url, settings.asset_key_prefix)
        self._environment = make_environment()
        self._numbers = Numbers()
        self._totals = Totals()
        self._queues = Queues(attempts=1, timeout_seconds=5)

    @property
    def _ledger(self) -> Ledger:
        with self._opening:
            if self._opened is None:
                self._opened = self._open_ledger()
            return self._opened

    def close(self) -> None:
        """Close the ledger and the connections to the queues."""
        self._totals.close()
        with self._opening:
            if self._opened is not None:
                self._opened.close()
        self._queues.close()

    def sorry(self, status: int, title: str, text: str) -> Response:
        """Return a page that says why there is no other."""
        return self._page("sorry.html", title, status=status, text=text)

    def newest(self, request: Request) -> Response:
        """Show what was asked for last, how many images are where, and what is wrong."""
        query = request.query_params
        older_than = request_of(query, "older")
        found = self._ledger.gallery.newest(Shown(), older_than=older_than, limit=ON_THE_FIRST_PAGE)
        return self._page(
            "newest.html",
            "What came in",
            tiles=[self._tile(each) for each in found.tiles],
            older=address("/", older=found.older) if found.older else None,
            is_first=older_than is None,
            counts=self._ledger.reports.counts(),
            reasons=self._ledger.gallery.reasons()[:5],
            batches=self._ledger.gallery.batches(limit=5),
            held_up=self._held_up(),
        )

    def wall(self, request: Request) -> Response:
        """Show thumbnails of the images that are asked for, page by page."""
        query = request.query_params
        shown = shown_of(query)
        wall = self._ledger.gallery.wall(
            shown, after=place_of(query, "after"), before=place_of(query, "before"), limit=ON_A_WALL
        )
        tiles = [self._tile(each) for each in wall.tiles]
        chosen = parameters_of(shown)
        return self._page(
            "wall.html",
            title_of(shown),
            tiles=tiles,
            shown=shown,
            states=list(ShownState),
            manifest=address("/manifest", **chosen, after=query.get("after") or None) if tiles else None,
            first=address("/images", **chosen) if wall.before else None,
            before=address("/images", **chosen, before=tiles[0]["id"]) if wall.before and tiles else None,
            after=address("/images", **chosen, after=tiles[-1]["id"]) if wall.after and tiles else None,
            counts=None if shown.batch or shown.code else self._ledger.reports.counts(_selection(shown)),
        )

    def manifest(self, request: Request) -> Response:
        """Return images as a IIIF manifest: those of a wall, and as many of the next ones as a manifest may have."""
        query = request.query_params
        shown, base = shown_of(query), base_of(self._settings) or f"{request.url.scheme}://{request.url.netloc}"
        found = manifest_of(
            self._ledger, self._pictures, shown, base=base, title=title_of(shown), after=place_of(query, "after")
        )
        if found is None:
            raise HTTPException(404)
        return JSONResponse(found, media_type=MEDIA_TYPE)

    def image(self, request: Request) -> Response:
        """Show all that is known of one image."""
        asset_id, image = self._known(request.query_params)
        gallery = self._ledger.gallery
        committed = gallery.committed(str(asset_id))
        return self._page(
            "image.html",
            str(asset_id),
            image=image,
            asset_id=asset_id,
            size=size_of(image),
            restricted=is_restricted(image) and image.registration is not None,
            hidden=not self._settings.view_restricted,
            retry=f"dlcs retry {shlex.quote(image.asset_id)}" if image.state == ShownState.FAILED else None,
            pictures=[self._rendering(image, of) for of in Of if self._pictures.renderable(image, of)],
            thumbnails=[
                {
                    "longest": each.longest,
                    "is_open": each.is_open,
                    "bytes": each.stored.bytes,
                    "address": address("/thumbnail", id=image.asset_id, edge=each.longest, v=each.version),
                }
                for each in reversed(self._pictures.visible(image.objects))
            ],
            registered=self._registered(image),
            stages=[self._stage(image, asset_id, stage, committed.get(stage)) for stage in STAGES],
            past=gallery.past(str(asset_id)),
            run_link=self._links.run,
        )

    def zoom(self, request: Request) -> Response:
        """Show a part of a picture, with links to its neighbours, and to what is larger and smaller."""
        query = request.query_params
        _, image = self._known(query)
        of = Of.ORIGINAL if query.get("of") == Of.ORIGINAL else Of.JP2
        stored, size = self._pictures.renderable(image, of), size_of(image)
        if stored is None or size is None:
            raise HTTPException(404)
        view = View.of(size, number_of(query, "level"), number_of(query, "x"), number_of(query, "y"))
        common = {"id": image.asset_id, "of": of.value}

        def link(other: View | None) -> str | None:
            return address("/zoom", **common, level=other.level, x=other.x, y=other.y) if other else None

        part = view.region
        return self._page(
            "zoom.html",
            f"{of.value} of {image.asset_id}",
            image=image,
            of=of.value,
            size=size,
            view=view,
            service=address("/rendering", **common, v=stored.sha256[:16]),
            picture=address("/rendering", **common, **_part(part), v=stored.sha256[:16]),
            steps={name: link(step) for name, step in view.steps().items()},
        )

    def batches(self, request: Request) -> Response:
        """List the batches that were submitted last."""
        query = request.query_params
        customer, is_open = number_of(query, "customer"), query.get("open") == "1"
        return self._page(
            "batches.html",
            "Batches",
            customer=customer,
            is_open=is_open,
            batches=self._ledger.batches.newest(customer=customer, unfinished=is_open, limit=ON_A_LIST),
        )

    def batch(self, request: Request) -> Response:
        """Show how far a batch is, what it lacks, and its images."""
        query = request.query_params
        customer, number = number_of(query, "customer"), number_of(query, "batch")
        found = self._ledger.batches.find(number, customer=customer) if number is not None else []
        if len(found) != 1:
            raise HTTPException(404)
        (batch,) = found
        shown = Shown(batch.customer, batch=batch.id)
        since = datetime.now(UTC) - RATE_WINDOW
        ended = self._ledger.batches.ended_since(batch.id, batch.customer, since)
        left = time_left(batch, ended, RATE_WINDOW)
        failures = self._ledger.batches.images(batch.id, batch.customer, failures_only=True)
        wall = self._ledger.gallery.wall(shown, after=place_of(query, "after"), limit=ON_A_WALL)
        tiles = [self._tile(each) for each in wall.tiles]
        more = address("/batch", customer=batch.customer, batch=batch.id, after=tiles[-1]["id"]) if tiles else None
        return self._page(
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
        return self._page(
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
                for each in self._ledger.gallery.reasons(customer=customer)
            ],
        )

    def customers(self, _request: Request) -> Response:
        """Show how many images each customer has, where they are, what is stored of them, and what it may have."""
        configured = self._configured()
        summed = self._totals.get(self._ledger.accounting)
        stored = {(each.customer, each.space or 0): each for each in summed.spaces} if summed else {}
        counts_of = self._ledger.gallery.spaces()
        found = []
        for number in sorted({customer for customer, _ in counts_of} | {customer for customer, _ in stored}):
            places = sorted(place for place in counts_of.keys() | stored.keys() if place[0] == number)
            parts = [stored[place] for place in places if place in stored]
            known = configured.find(number) if configured else None
            found.append(
                {
                    "number": number,
                    "counts": {
                        state: sum(counts_of.get(place, {}).get(state, 0) for place in places) for state in ShownState
                    },
                    "stored": total(number, None, parts) if summed else None,
                    "quota": known.quota if known else Quota(),
                    "spaces": [
                        {
                            "space": place[1],
                            "counts": counts_of.get(place, dict.fromkeys(ShownState, 0)),
                            "stored": stored.get(place, Usage(*place)) if summed else None,
                        }
                        for place in places
                    ],
                }
            )
        return self._page(
            "customers.html", "Customers", customers=found, states=list(ShownState), at=summed.at if summed else None
        )

    def numbers(self, request: Request) -> Response:
        """Plot how many images ended when, why some failed, and how long stages took."""
        period = period_of(request.query_params)
        bars = self._numbers.bars(self._ledger.rates, period, datetime.now(UTC))
        series = [(bar.since, bar) for bar in bars if bar is not None]
        minutes = period.bar / timedelta(minutes=1)
        reasons: dict[str, int] = {}
        for _, bar in series:
            for code, count in bar.ended.by_reason.items():
                reasons[code] = reasons.get(code, 0) + count
        frequent = sorted(reasons, key=lambda code: (-reasons[code], code))[: COLOURS - 1]

        def by_reason(bar: Bar) -> dict[str, float]:
            named = {code: float(bar.ended.by_reason.get(code, 0)) for code in frequent}
            rest = sum(bar.ended.by_reason.values()) - sum(named.values())
            return {**named, OTHERS: rest} if rest else named

        names = [*frequent, OTHERS] if len(reasons) > len(frequent) else frequent
        states = [
            (since, {state.value: n / minutes for state, n in bar.ended.by_state.items()}) for since, bar in series
        ]
        failed = [(since, by_reason(bar)) for since, bar in series]
        seconds = [(since, {stage.value: n for stage, n in bar.seconds.items()} or None) for since, bar in series]
        return self._page(
            "numbers.html",
            "Numbers",
            period=period,
            periods=list(Period),
            counts=self._ledger.reports.counts(),
            queues=self._depths(),
            missing=len(bars) - len(series),
            sample=SAMPLE,
            plots=[
                stacked("Images that ended", "a minute", PLOTTED, states, period.bar),
                stacked("Failures by reason", "images", names, failed, period.bar, first_colour=RED),
                lines("Time of a stage", "seconds an image", [stage.value for stage in STAGES], seconds, period.bar),
            ],
        )

    def thumbnail(self, request: Request) -> Response:
        """Pass on a thumbnail of an image as it is stored."""
        query = request.query_params
        asset_id, edge = image_of(query), number_of(query, "edge") or TILE_EDGE
        found = self._pictures.thumbnail(self._ledger.gallery.stored(str(asset_id)), edge)
        if found is None:
            raise HTTPException(404)
        headers = {"ETag": f'"{found.version}"', "Cache-Control": _kept(query, found.version)}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        headers["Content-Length"] = str(found.stored.bytes)
        return StreamingResponse(self._pictures.read_thumbnail(found), media_type=JPEG, headers=headers)

    def rendering(self, request: Request) -> Response:
        """Pass on what the image server makes of a stored picture, or of a part of it."""
        query = request.query_params
        _, image = self._known(query)
        of = Of.ORIGINAL if query.get("of") == Of.ORIGINAL else Of.JP2
        stored, size = self._pictures.renderable(image, of), size_of(image)
        if stored is None:
            raise HTTPException(404)
        region = _region(query, size)
        headers = {"Cache-Control": _kept(query, stored.sha256[:16])}
        return Response(self._pictures.render(stored, region), media_type=JPEG, headers=headers)

    def _page(self, template: str, title: str, *, status: int = 200, **values: Any) -> Response:
        text = self._environment.get_template(template).render(
            title=title, ui_url=self._links.ui_url, now=datetime.now(UTC), **values
        )
        return HTMLResponse(text, status)

    def _known(self, query: Query) -> tuple[AssetId, ImageStatus]:
        asset_id = image_of(query)
        found = self._ledger.reports.images(Selection(ids=(str(asset_id),)), limit=1)
        if not found:
            raise HTTPException(404)
        return asset_id, found[0]

    def _tile(self, tile: Any) -> dict[str, Any]:
        thumbnail = self._pictures.thumbnail(tile.thumbnails, TILE_EDGE)
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

    def _rendering(self, image: ImageStatus, of: Of) -> dict[str, Any]:
        stored = self._pictures.renderable(image, of)
        assert stored is not None
        zoomable = size_of(image) is not None
        return {
            "of": of.value,
            "bytes": stored.bytes,
            "content_type": stored.content_type,
            "address": address("/rendering", id=image.asset_id, of=of.value, v=stored.sha256[:16]),
            "zoom": address("/zoom", id=image.asset_id, of=of.value) if zoomable else None,
        }

    def _stage(self, image: ImageStatus, asset_id: AssetId, stage: Stage, committed: Any) -> dict[str, Any]:
        result = image.stages.get(stage)
        return {
            "name": stage.value,
            "partition": self._links.partition(stage, asset_id),
            "outcome": result.outcome.value if result else None,
            "at": committed.committed_at if committed else None,
            "run": committed.run_id if committed else None,
            "facts": [(name, _fact(name, value)) for name, value in result.facts.items() if name not in _LEFT_OUT_FACTS]
            if result
            else [],
            "recipe": [(name, shown_fact(value)) for name, value in result.recipe.items()] if result else [],
        }

    def _registered(self, image: ImageStatus) -> list[tuple[str, str]]:
        registered = image.registration
        if registered is None:
            return []
        channels = registered.channels and ", ".join(
            f"{each.channel}/{each.policy}" if each.policy else str(each.channel) for each in registered.channels
        )
        found = [
            ("origin", shown_url(registered.origin) if registered.origin else "not known"),
            ("delivery channels", channels or "those of the media type"),
        ]
        if registered.media_type:
            found.append(("media type", registered.media_type))
        if registered.max_unauthorised != UNRESTRICTED:
            found.append(("open up to", f"{registered.max_unauthorised} pixels (maxUnauthorised)"))
        if registered.roles:
            found.append(("roles", ", ".join(registered.roles)))
        return found

    def _held_up(self) -> str | None:
        held_up = self._ledger.launches.held_up()
        return held_up.describe() if held_up else None

    def _depths(self) -> list[tuple[str, int]]:
        """Return about how many messages are on each queue; a queue that does not answer is left out."""
        settings = self._settings
        urls = {"ingest": settings.ingest_queue_url, "priority": settings.priority_queue_url}
        found = []
        for name, url in urls.items():
            if url is not None:
                with suppress(IngestError):
                    depth = self._queues.depth(url)
                    found.append((name, depth.waiting + depth.delayed + depth.in_flight))
        return found

    def _configured(self) -> Customers | None:
        try:
            return customer_source(self._settings).customers()
        except (NoCustomersError, IngestError):
            return None  # dlcs doctor says why


def _fact(name: str, value: object) -> str:
    return shown_url(value) if name == "origin" and isinstance(value, str) else shown_fact(value)


def _kept(query: Query, version: str) -> str:
    return _A_YEAR if query.get("v") == version else _A_MOMENT


def _selection(shown: Shown) -> Selection:
    return Selection(customer=shown.customer, space=shown.space)


def _part(region: Region) -> Mapping[str, int]:
    return {
        "left": region.left,
        "top": region.top,
        "width": region.width,
        "height": region.height,
        "across": region.shown.width,
        "down": region.shown.height,
    }


def _region(query: Query, size: Size | None) -> Region | None:
    """Return the part that is asked for, cut off at the picture's edges; None: all of it."""
    left, top = number_of(query, "left"), number_of(query, "top")
    width, height, across, down = (number_of(query, name) for name in ("width", "height", "across", "down"))
    if size is None or left is None or top is None or not (width and height and across and down):
        return None
    return Region.within(size, (left, top), Size(width, height), Size(across, down))
