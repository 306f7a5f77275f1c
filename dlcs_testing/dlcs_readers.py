"""What the services of a DLCS ask of an image that is done, each for itself: rows, objects, and whether they agree.

Each returns what it would complain about. They are ours: small, and without the product's code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlcs_testing.dlcs_database import Dlcs
from dlcs_testing.pipeline import Pipeline

_LOCATION = re.compile(r"s3://(?:(?P<region>\w{2}-\w+-\d)/)?(?P<bucket>[^/]+)/(?P<key>.+)")


@dataclass(frozen=True)
class Readers:
    """The services of a DLCS that read what is stored of an image."""

    engine: Pipeline
    dlcs: Dlcs
    image: str

    def complaints(self) -> dict[str, list[str]]:
        """Return what each service complains about; nothing if all is served."""
        services: Mapping[str, Callable[[], list[str]]] = {
            "Orchestrator": self.orchestrator,
            "Thumbs": self.thumbs,
            "API": self.api,
            "portal": self.portal,
            "CleanupHandler": self.cleanup_handler,
        }
        found = {name: service() for name, service in services.items()}
        return {name: said for name, said in found.items() if said}

    def orchestrator(self) -> list[str]:
        """Serves the image from its location, in the size on record; an info.json in S3 is served as it is."""
        bucket, row = self.engine.settings.storage_bucket, self._row("Images", "Id")
        left = self.engine.storage(f"{self.image}/info/")
        said = [f"{key} is served though it is older" for key in left]
        if "iiif-img" not in self._channels():
            return said
        location = self._row("ImageLocation", "Id")
        found = _LOCATION.fullmatch(location["S3"]) if location else None
        if found is None:
            return [*said, "404: there is no location"]
        if found["key"] not in self.engine.objects(found["bucket"], found["key"]):
            said.append(f"404: {location['S3']} is not there")
        if found["bucket"] == bucket and found["key"] not in {self.image, f"{self.image}/original"}:
            said.append(f"{location['S3']} is no place of this image")
        if row["NotForDelivery"]:
            said.append("404: not for delivery")
        if not (row["Width"] > 0 and row["Height"] > 0):
            return [*said, "the size is not known"]
        sizes = self._listed()
        if sizes is not None and any(_scaled(row, width) != [width, height] for width, height in _all(sizes)):
            said.append(f"sizes of info.json are not of {row['Width']}x{row['Height']}: {sizes}")
        return said

    def thumbs(self) -> list[str]:
        """Answers from s.json and the thumbnails that it lists; to an empty list with an error of its own."""
        there = {key for key in self.engine.thumbs(f"{self.image}/") if key.endswith(".jpg")}
        sizes = self._listed()
        if sizes is None:
            return [f"404 though there is {key}" for key in there]
        said = [] if _all(sizes) else ["500: s.json lists nothing"]
        listed = {
            f"{self.image}/{folder}/{max(size)}.jpg"
            for name, folder in (("o", "open"), ("a", "auth"))
            for size in sizes[name]
        }
        return said + [f"{key} is listed or there, and not both" for key in listed ^ there]

    def api(self) -> list[str]:
        """Shows the image as ended; takes what is stored of it off the totals when it is deleted."""
        row, said = self._row("Images", "Id"), []
        if row["Ingesting"] or row["Error"] or row["Finished"] is None:
            said.append(f"it has not ended well: {row['Ingesting']}, {row['Error']!r}, {row['Finished']}")
        stored, total = self._row("ImageStorage", "Id"), self.dlcs.rows(self.image)["CustomerStorage"]
        bytes_there = (
            sum(len(found.data) for found in self._stored().values()),
            sum(len(found.data) for key, found in self.engine.thumbs(f"{self.image}/").items() if key.endswith(".jpg")),
        )
        sizes = (stored["Size"], stored["ThumbnailSize"]) if stored else (0, 0)
        if sizes != bytes_there:
            said.append(f"{sizes} bytes are on record, {bytes_there} are there")
        if total != sizes:  # of the customer's only image
            said.append(f"the total would be {total} less {sizes} when it is deleted")
        return said

    def portal(self) -> list[str]:
        """Shows what of the customer's batches and queues is in progress: nothing is."""
        rows = self.dlcs.rows(self.image)
        said = [
            f"batch {batch} has status {status}: {error}" for batch, status, error in rows["BatchAssets"] if status != 3
        ]
        for completed, errors, count, is_finished in rows["Batches"]:
            if not is_finished or completed + errors != count:
                said.append(f"a batch is active with {completed} and {errors} of {count}")
        return said + [f"the queue {name} holds {size}" for name, size in rows["Queues"] if size]

    def cleanup_handler(self) -> list[str]:
        """Deletes what the settings need no more, by what is on record: so that has to be what is there."""
        row, recorded, sizes = self._row("Images", "Id"), self.dlcs.rows(self.image)["ThumbSizes"], self._listed()
        said = ["it waits: the image is ingesting"] if row["Ingesting"] else []
        if sizes is not None and (recorded is None or recorded[0] != sizes):
            said.append(f"{recorded} is on record, and s.json has {sizes}")
        allowed = {
            "iiif-img": {self.image, f"{self.image}/original"},
            "file": {f"{self.image}/original"},
        }
        known = set().union(*(allowed.get(channel, set()) for channel in self._channels()))
        return said + [f"{key} is of no channel" for key in self._stored().keys() - known]

    def _row(self, table: str, key: str) -> dict[str, Any]:
        rows = self.dlcs.execute(f'SELECT * FROM "{table}" WHERE "{key}" = :image', {"image": self.image})
        return dict(rows[0]._mapping) if rows else {}

    def _channels(self) -> set[str]:
        query = 'SELECT "Channel" FROM "ImageDeliveryChannels" WHERE "ImageId" = :image'
        return {row[0] for row in self.dlcs.execute(query, {"image": self.image})}

    def _stored(self) -> dict[str, Any]:
        found = self.engine.storage(self.image)
        return {key: each for key, each in found.items() if key == self.image or key.startswith(f"{self.image}/")}

    def _listed(self) -> dict[str, list[list[int]]] | None:
        found = self.engine.thumbs(f"{self.image}/s.json")
        return json.loads(found[f"{self.image}/s.json"].data) if found else None


def _all(sizes: Mapping[str, list[list[int]]]) -> list[list[int]]:
    return [*sizes["o"], *sizes["a"]]


def _scaled(row: Mapping[str, Any], width: int) -> list[int]:
    return [width, round(row["Height"] * width / row["Width"])]
