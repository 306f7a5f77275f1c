"""The pages of one image, and the pictures that pages show."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.domain.thumbnails import UNRESTRICTED
from dlcs_assets.ledger.reports import ImageStatus
from dlcs_assets.view.pictures import JPEG, OVERVIEW, TILE_EDGE, Of, Region, is_restricted, size_of
from dlcs_assets.view.queries import Query, image_of, number_of
from dlcs_assets.view.site import Site
from dlcs_assets.view.templating import address, shown_fact
from dlcs_assets.view.zooming import View

_A_YEAR: Final = "private, max-age=31536000, immutable"  # of addresses that change with what they lead to
_A_MOMENT: Final = "private, max-age=60"
_RETRIED: Final = (ShownState.FAILED, ShownState.CANCELLED, ShownState.DONE)
_LEFT_OUT_FACTS: Final = frozenset({"plan"})  # said by `why` in words


class ImagePages:
    """The pages of one image. The functions run in threads, several at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def image(self, request: Request) -> Response:
        """Show all that is known of one image."""
        asset_id, image = self._site.known(request.query_params)
        gallery = self._site.ledger.gallery
        committed = gallery.committed(str(asset_id))
        return self._site.page(
            "image.html",
            str(asset_id),
            image=image,
            asset_id=asset_id,
            size=size_of(image),
            restricted=is_restricted(image) and image.registration is not None,
            hidden=not self._site.settings.view_restricted,
            retry=f"dlcs retry {shlex.quote(image.asset_id)}" if image.state in _RETRIED else None,
            cancelled=self._site.ledger.reports.last_cancelled(str(asset_id)),
            pictures=[self._rendering(image, of) for of in Of if self._site.pictures.renderable(image, of)],
            thumbnails=[
                {
                    "longest": each.longest,
                    "is_open": each.is_open,
                    "bytes": each.stored.bytes,
                    "address": address("/thumbnail", id=image.asset_id, edge=each.longest, v=each.version),
                }
                for each in reversed(self._site.pictures.visible(image.objects))
            ],
            registered=self._registered(image),
            stages=[self._stage(image, asset_id, stage, committed.get(stage)) for stage in STAGES],
            past=gallery.past(str(asset_id)),
            run_link=self._site.links.run,
        )

    def zoom(self, request: Request) -> Response:
        """Show a part of a picture, with links to its neighbours, and to what is larger and smaller."""
        query = request.query_params
        _, image = self._site.known(query)
        of = Of.ORIGINAL if query.get("of") == Of.ORIGINAL else Of.JP2
        stored, size = self._site.pictures.renderable(image, of), size_of(image)
        if stored is None or size is None:
            raise HTTPException(404)
        view = View.of(size, number_of(query, "level"), number_of(query, "x"), number_of(query, "y"))
        common = {"id": image.asset_id, "of": of.value}

        def link(other: View | None) -> str | None:
            return address("/zoom", **common, level=other.level, x=other.x, y=other.y) if other else None

        part = view.region
        return self._site.page(
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

    def thumbnail(self, request: Request) -> Response:
        """Pass on a thumbnail of an image as it is stored."""
        query = request.query_params
        asset_id, edge = image_of(query), number_of(query, "edge") or TILE_EDGE
        found = self._site.pictures.thumbnail(self._site.ledger.gallery.stored(str(asset_id)), edge)
        if found is None:
            raise HTTPException(404)
        headers = {"ETag": f'"{found.version}"', "Cache-Control": _kept(query, found.version)}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return StreamingResponse(self._site.pictures.read_thumbnail(found), media_type=JPEG, headers=headers)

    def rendering(self, request: Request) -> Response:
        """Pass on what the image server makes of a stored picture, or of a part of it."""
        query = request.query_params
        _, image = self._site.known(query)
        of = Of.ORIGINAL if query.get("of") == Of.ORIGINAL else Of.JP2
        stored, size = self._site.pictures.renderable(image, of), size_of(image)
        if stored is None:
            raise HTTPException(404)
        region = _region(query, size)
        headers = {"Cache-Control": _kept(query, stored.sha256[:16])}
        return Response(self._site.pictures.render(stored, region), media_type=JPEG, headers=headers)

    def _rendering(self, image: ImageStatus, of: Of) -> dict[str, Any]:
        stored = self._site.pictures.renderable(image, of)
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
            "again": _again(asset_id, stage) if image.registration else None,
            "partition": self._site.links.partition(stage, asset_id),
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


def _again(asset_id: AssetId, stage: Stage) -> str:
    """Return the command that makes the result of a stage of one image again, and of those after it."""
    name = shlex.quote(glob.escape(asset_id.asset))
    return f"dlcs reprocess --space {asset_id.customer}/{asset_id.space} --match {name} --stage {stage.value}"


def _fact(name: str, value: object) -> str:
    return shown_url(value) if name == "origin" and isinstance(value, str) else shown_fact(value)


def _kept(query: Query, version: str) -> str:
    return _A_YEAR if query.get("v") == version else _A_MOMENT


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
    """Return the part that is asked for, cut off at the picture's edges, or all of it.

    None is all of a picture whose size is not known.
    """
    if size is None:
        return None
    left, top = number_of(query, "left"), number_of(query, "top")
    width, height, across, down = (number_of(query, name) for name in ("width", "height", "across", "down"))
    if left is None or top is None or not (width and height and across and down):
        return Region.within(size, (0, 0), size, Size(OVERVIEW, OVERVIEW))
    return Region.within(size, (left, top), Size(width, height), Size(across, down))
