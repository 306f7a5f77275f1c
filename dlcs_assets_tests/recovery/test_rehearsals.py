"""What docs/howto/restore.md tells an operator to do after each loss, done with real images, services and commands.

How long each took is in the output of `pytest -rP`.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from dlcs_testing import postgresql
from dlcs_testing.command_line import dlcs
from dlcs_testing.dlcs_database import Dlcs
from dlcs_testing.installation import Stored, full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

CHANNELS = {
    "2/1/page": "iiif-img:default,thumbs:default",
    "2/1/page-1": "iiif-img:use-original,thumbs:default",
    "2/1/page-2": "file,iiif-img:default,thumbs:default",
    "2/2/only jp2": "iiif-img:default",
    "3/1/é": "iiif-img:default,thumbs:default",
}
RESTRICTED = "2/1/page-2"


class Site:
    """An installation with a few images, whose operator has the command line and the page."""

    def __init__(self, pipeline: Pipeline, new_ledger: Callable[[], str]) -> None:
        self.pipeline = pipeline
        self.new_ledger = new_ledger

    def ingest(self, *images: str, colour: int = 0) -> None:
        for image in images:
            name = f"{uuid.uuid4().hex}.jpg"
            origin = self.pipeline.serve(name, jpeg(300 + colour, 200))
            fields: dict[str, Any] = {"roles": ["staff"]} if image == RESTRICTED else {}
            self.pipeline.send(full_message(image, origin, CHANNELS.get(image, CHANNELS["2/1/page"]), **fields))
        self.pipeline.settle()

    def stored(self) -> dict[str, Stored]:
        return {**self.pipeline.storage(), **{f"t/{key}": each for key, each in self.pipeline.thumbs().items()}}

    def kinds(self) -> dict[str, str | bytes]:
        """Return what is stored as far as it is the same each time: thumbnails are not, byte by byte."""
        return {
            key: each.content_type if each.content_type == "image/jpeg" and key.startswith("t/") else each.data
            for key, each in self.stored().items()
        }

    def lose_ledger(self) -> None:
        """Begin with an empty ledger, as a process that finds none makes it."""
        self.pipeline.use(ledger_url=self.new_ledger())
        assert self.pipeline.states() == {}

    def lose_buckets(self) -> None:
        settings = self.pipeline.settings
        for bucket in (settings.storage_bucket, settings.thumbs_bucket):
            for key in self.pipeline.objects(bucket):
                self.pipeline.s3.delete_object(Bucket=bucket, Key=key)

    def dlcs(self, *arguments: str, status: int | None = 0) -> Result:
        """Run a command with the settings of this installation."""
        settings = self.pipeline.settings
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DLCS_LEDGER_URL", settings.ledger_url)
            patch.setenv("DLCS_STORAGE_BUCKET", settings.storage_bucket)
            patch.setenv("DLCS_THUMBS_BUCKET", settings.thumbs_bucket)
            patch.setenv("DLCS_PRIVATE_NETWORKS", "127.0.0.0/8")
            done = dlcs(*arguments)
        assert status in {None, done.exit_code}, done.output
        return done


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    sys.stdout.write(f"{what}: {took:.1f} s\n")
    assert took < 120


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, make_pipeline: Callable[..., Pipeline], tmp_path: Path) -> Site:
    """An installation whose ledger is of either kind."""

    def new_ledger() -> str:
        if request.param == "sqlite":
            return f"sqlite:///{tmp_path / uuid.uuid4().hex}.db"
        server: postgresql.Server = request.getfixturevalue("postgresql_server")
        return server.new_database()

    site = Site(make_pipeline(ledger_url=new_ledger()), new_ledger)
    site.ingest(*CHANNELS)
    assert set(site.pipeline.states().values()) == {"done"}
    return site


def back_up(url: str, to: Path) -> None:
    """Back up a ledger as the page says, while it is in use."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source, closing(sqlite3.connect(to)) as copy:
            source.backup(copy)
    else:
        _postgresql("pg_dump", "--format=custom", f"--file={to}", url)


def restore(backup: Path, url: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(url[len("sqlite:///") :])) as copy:
            source.backup(copy)
    else:
        _postgresql("pg_restore", f"--dbname={url}", str(backup))


def _postgresql(program: str, *arguments: str) -> None:
    binaries = postgresql.find_binaries()
    assert binaries is not None
    subprocess.run([binaries / program, *arguments], check=True, env={"PATH": os.environ["PATH"]})


def test_a_lost_ledger_is_made_again_from_s3(site: Site) -> None:
    """Nothing in S3 changes, and a full message makes an image again as ever."""
    before, objects = site.stored(), site.dlcs("checksums").stdout
    assert objects
    site.lose_ledger()
    assert "5 images would be added" in site.dlcs("ledger", "rebuild").stdout
    with timed("ledger lost, from S3 alone, 5 images"):
        site.dlcs("ledger", "rebuild", "--yes")
        site.dlcs("ledger", "compare", "--checksums")
    assert site.dlcs("checksums").stdout == objects
    assert site.stored() == before
    assert set(site.pipeline.states().values()) == {"done"}
    site.ingest("2/1/page")
    assert site.pipeline.status("2/1/page").attempts == 1
    site.dlcs("ledger", "compare", "--checksums")
    site.dlcs("delete", "3/1/é", "--yes")
    site.pipeline.settle()
    assert site.pipeline.storage("3/") == {}


def test_a_lost_ledger_is_made_again_from_s3_and_the_dlcs(
    site: Site, postgresql_server: postgresql.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images can be made again then, and those that were not yet done are."""
    dlcs = Dlcs.new(postgresql_server, "2026")
    for customer in (2, 3):
        dlcs.customer(customer)
    for image, channels in CHANNELS.items():
        origin = site.pipeline.serve(f"{uuid.uuid4().hex}.jpg", jpeg(300, 200))
        parts = [each.partition(":") for each in channels.split(",")]
        named = [(channel, policy or "none") for channel, _, policy in parts]
        roles = "staff" if image == RESTRICTED else ""
        dlcs.image(image, *named, Origin=origin, MediaType="image/jpeg", Roles=roles, Width=300, Height=200)
    waiting = site.pipeline.serve("waiting.jpg", jpeg(310, 200))
    dlcs.image("2/1/waiting", Origin=waiting, MediaType="image/jpeg", Ingesting=True, Finished=None)
    monkeypatch.setenv("DLCS_DATABASE_URL", dlcs.url)
    before = site.kinds()
    site.lose_ledger()
    with timed("ledger lost, from S3 and the DLCS's database, 6 images"):
        site.dlcs("ledger", "rebuild", "--yes")
        site.dlcs("retry", "--reason", "found_incomplete")
        site.pipeline.settle()
    assert set(site.pipeline.states().values()) == {"done"}
    assert len(site.pipeline.states()) == 6
    site.dlcs("ledger", "compare", "--checksums")
    site.dlcs("reprocess", "--stale")
    site.pipeline.settle()
    assert {key: each for key, each in site.kinds().items() if "waiting" not in key} == before
    assert site.dlcs("stale").stdout == "No image is stale.\n"


def test_a_ledger_from_a_backup_catches_up_with_s3(site: Site, tmp_path: Path) -> None:
    """Since the backup one image was made again, one came, and one was deleted."""
    backup = tmp_path / "backup"
    back_up(site.pipeline.settings.ledger_url, backup)
    site.ingest("2/1/page", colour=10)
    site.ingest("2/3/new")
    site.dlcs("delete", "3/1/é", "--yes")
    site.pipeline.settle()
    before, objects = site.stored(), site.dlcs("checksums").stdout
    url = site.new_ledger()
    with timed("ledger older than S3, restored and caught up, 6 images"):
        restore(backup, url)
        site.pipeline.use(ledger_url=url)
        assert "gone" in site.dlcs("ledger", "compare", status=1).stdout
        site.dlcs("ledger", "compare", *_kinds("changed", "unrecorded", "unknown-image"), "--yes", status=1)
        site.dlcs("delete", "3/1/é", "--yes")
        site.pipeline.settle()
        site.dlcs("ledger", "compare", "--checksums")
    assert (site.stored(), site.dlcs("checksums").stdout) == (before, objects)


def test_lost_buckets_are_filled_from_the_origins(site: Site) -> None:
    before = site.kinds()
    site.lose_buckets()
    with timed("buckets lost, made again from the origins, 5 images"):
        site.dlcs("ledger", "compare", *_kinds("gone"), "--yes")
        site.pipeline.settle()
        site.dlcs("ledger", "compare", "--checksums")
    assert site.kinds() == before


def test_lost_buckets_are_filled_from_older_versions(make_pipeline: Callable[..., Pipeline]) -> None:
    """Nothing is fetched from the origins for it, and nothing is made again."""
    pipeline = make_pipeline()
    site = Site(pipeline, lambda: "")
    for bucket in (pipeline.settings.storage_bucket, pipeline.settings.thumbs_bucket):
        pipeline.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    site.ingest(*CHANNELS)
    before, fetched = site.stored(), len(pipeline.origin.asked)
    site.lose_buckets()
    with timed("buckets lost, restored from older versions, 5 images"):
        site.dlcs("ledger", "compare", *_kinds("gone"), "--from-versions", "--yes")
        site.dlcs("ledger", "compare", "--checksums")
    assert (site.stored(), len(pipeline.origin.asked)) == (before, fetched)
    assert pipeline.due() == []


def _kinds(*kinds: str) -> list[str]:
    return [word for kind in kinds for word in ("--repair", kind)]
