"""Dagster on services that answer at once, with either database: what is left to measure is what is ours."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import server
from bench.system import RunningSystem, running
from dlcs_stack import aws
from dlcs_stack.stack import DAGSTER, INSTANCE
from dlcs_testing import postgresql
from dlcs_testing.instances import pooled_storage
from dlcs_testing.pictures import drawing, encoded

_QUEUES = {
    "INGEST": aws.INGEST_QUEUE,
    "PRIORITY": aws.PRIORITY_QUEUE,
    "UPLOADS": aws.UPLOADS_QUEUE,
    "UPDATE": aws.UPDATE_QUEUE,
    "DELETE": aws.DELETE_QUEUE,
}


@dataclass(frozen=True)
class Databases:
    """Where ledger and Dagster's history are; `server`: of PostgreSQL; without it both are SQLite.

    `of_dagster`: the server of Dagster's history; default: the same.
    """

    kind: str
    server: postgresql.Server | None = None
    of_dagster: postgresql.Server | None = None

    def settings(self) -> dict[str, str]:
        """Return the variables that differ from the stack's own: for PostgreSQL as in the container image."""
        if self.server is None:
            return {}
        return {"DLCS_LEDGER_URL": self.server.new_database(), "DAGSTER_EVENT_BATCH_SIZE": "300"}

    def history(self) -> str:
        """Return the configuration of Dagster's instance."""
        server = self.of_dagster or self.server
        return f"\nstorage: {json.dumps(pooled_storage(server.new_database()))}\n" if server else ""


@contextmanager
def instant_system(
    databases: Databases, customers: str, settings: Mapping[str, str], *, runs: int
) -> Iterator[tuple[RunningSystem, Path]]:
    """Start the system with a customers file, settings, and a number of runs at once; yields an original, too."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        instance = folder / "dagster.yaml"
        text = INSTANCE.read_text()
        instance.write_text(text.replace("limit: 3", f"limit: {runs}") + databases.history())
        file = folder / "dlcs.yaml"
        file.write_text(customers)
        page, jp2 = _pictures(folder)
        with server("bench.instant", "--jp2", str(jp2)) as announced:
            url = announced["url"]
            all_settings = {
                "AWS_ENDPOINT_URL": url,
                "DLCS_APPETISER_URL": url,
                "DLCS_IMAGE_SERVER_URL": url,
                "DLCS_CUSTOMERS_FILE": str(file),
                **{f"DLCS_{name}_QUEUE_URL": aws.queue_url(url, queue) for name, queue in _QUEUES.items()},
                **databases.settings(),
                **settings,
            }
            with running(all_settings, DAGSTER, instance=instance) as system:
                yield system, page


def _pictures(folder: Path) -> tuple[Path, Path]:
    """Make an original, and its JP2."""
    from PIL import Image

    page, jp2 = folder / "page.jpg", folder / "page.jp2"
    page.write_bytes(encoded(drawing(1200, 1600), quality=85))
    with Image.open(page) as picture:
        picture.save(jp2, "JPEG2000", quality_mode="rates", quality_layers=[24], irreversible=True, mct=1)
    return page, jp2
