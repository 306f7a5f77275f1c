"""The rows of the plan with an image server that sees a shared disk only: it reads files of the runs, nothing of S3."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dlcs_assets.domain.image_servers import SourceAccess
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets_tests.system.running import running_system
from dlcs_assets_tests.system.test_plan import LISTED_BUCKET, ROWS, SIZES, Row, is_of, origin_of
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import System, full_message
from dlcs_testing.looking import decoded, shows
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.scripted_server import Answer, scripted_server

DISK: dict[str, Any] = {"image_server_sources": SourceAccess.DISK}
MAKING_THUMBNAILS = [row for row in ROWS if row.read != "nothing"]
TO_BE_BROUGHT = {"8": "the original, from its origin", "10": "the original, from its origin"}
DEFAULT = "iiif-img:default,thumbs:default"
of_every_row = pytest.mark.parametrize("row", MAKING_THUMBNAILS, ids=str)


@pytest.fixture(scope="module")
def system(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Ingest one image per row."""
    folder = tmp_path_factory.mktemp("disk")
    with running_system(services, folder, s3_origin_buckets=(LISTED_BUCKET,), **DISK) as system:
        system.make_bucket(LISTED_BUCKET)
        for row in MAKING_THUMBNAILS:
            system.send(full_message(row.image, origin_of(row, system), row.channels, mediaType=row.media_type))
        system.settle()
        yield system


@of_every_row
def test_every_row_that_makes_thumbnails_is_done_with_files_alone(system: System, row: Row) -> None:
    assert system.status(row.image).state == "done"
    found = system.thumbs(f"{row.image}/")
    assert json.loads(found[f"{row.image}/s.json"].data) == {"o": SIZES, "a": []}
    for width, height in SIZES:
        picture = found[f"{row.image}/open/{width}.jpg"].data
        assert decoded(picture).size == (width, height)
        assert shows(picture, row.picture)


@of_every_row
def test_what_is_stored_is_what_the_row_says(system: System, row: Row) -> None:
    stored = {key: each.content_type for key, each in system.storage(row.image).items() if is_of(row, key)}
    assert stored == {f"{row.image}{suffix}": content_type for suffix, content_type in row.stored.items()}
    assert tuple(system.status(row.image).stages[stage].outcome for stage in Stage) == row.outcomes


@of_every_row
def test_the_metadata_name_the_file_and_what_had_to_be_brought(system: System, row: Row) -> None:
    metadata = system.metadata(row.image, Stage.THUMBNAILS)
    name = "image.jp2" if row.read == "jp2" and row.plan != "4" else "original"
    assert Path(metadata["file"]).is_relative_to(system.settings.scratch)
    assert Path(metadata["file"]).name == name
    assert metadata.get("brought_to_disk") == TO_BE_BROUGHT.get(row.plan)
    assert "link" not in metadata


def test_no_identifier_leads_to_s3_and_nothing_is_left(system: System) -> None:
    asked = {each.path for each in system.image_server.asked}
    assert not [path for path in asked if "s3:" in path]
    assert len(asked) > len(MAKING_THUMBNAILS)
    assert system.storage("transient/") == {}
    assert system.left_in_scratch() == []


@pytest.mark.parametrize("plan", ["1", "5", "7", "8", "9"])
def test_thumbnails_made_again_alone_have_their_source_brought_to_the_disk(system: System, plan: str) -> None:
    row = next(row for row in MAKING_THUMBNAILS if row.plan == plan)
    request = system.metadata(row.image, Stage.THUMBNAILS)["request"]
    assert system.materialize([row.image], [Stage.THUMBNAILS]).is_success
    metadata = system.metadata(row.image, Stage.THUMBNAILS)
    assert metadata["request"] != request
    from_storage = {"1": row.image, "5": f"{row.image}/original", "9": f"{row.image}/original"}
    where = f"{from_storage[plan]}, from the storage bucket" if plan in from_storage else TO_BE_BROUGHT["8"]
    assert metadata["brought_to_disk"] == where


def test_thumbnails_alone_say_what_is_missing(make_system: Callable[..., System]) -> None:
    system = make_system(**DISK)
    system.ingest("2/1/page", system.serve("page.jpg", jpeg(480, 360)), DEFAULT)
    system.s3.delete_object(Bucket=system.settings.storage_bucket, Key="2/1/page")
    run = system.materialize(["2/1/page"], [Stage.THUMBNAILS])
    assert "There is no 2/1/page in the storage bucket" in system.failure_of(run)[1]
    assert system.status("2/1/page").error_code == "source_missing"


def test_the_scratch_folder_may_have_another_name_for_the_server(
    make_system: Callable[..., System], services: RunningStack
) -> None:
    """The server's own prefix is the stack's scratch folder, and it knows the system's by another name there."""
    system = make_system(**DISK)
    name = f"known-as-{system.settings.scratch.name}"
    (services.data / "scratch" / name).symlink_to(system.settings.scratch)
    system.use(image_server_scratch_root=name)
    assert system.ingest("2/1/page", system.serve("page.jpg", jpeg(480, 360)), DEFAULT).state == "done"
    assert system.metadata("2/1/page", Stage.THUMBNAILS)["file"].startswith(f"{name}/")


def test_a_disk_that_is_not_shared_is_called_so(make_system: Callable[..., System]) -> None:
    system = make_system(**DISK, image_server_scratch_root="/not-mounted", image_server_late_files=timedelta(0))
    status = system.ingest("2/1/page", system.serve("page.jpg", jpeg(480, 360)), DEFAULT)
    assert (status.state, status.error_code) == ("failed", "image_server_disk_not_shared")
    assert "on the shared disk for us, and not for the image server" in str(status.reason)
    assert status.stages.keys() == set(STAGES[:2])


def test_files_are_readable_for_a_server_that_is_another_user(make_system: Callable[..., System]) -> None:
    system = make_system(**DISK)
    modes: list[int] = []

    def look(path: str) -> None:
        file = Path(path.removeprefix("/iiif/3/").partition("/full/")[0])
        modes.extend(stat.S_IMODE(each.stat().st_mode) & 0o055 for each in (file, file.parent))

    url = system.serve("page.png", encoded(drawing(480, 360), "PNG"))
    umask = os.umask(0o077)
    try:
        with scripted_server(Answer(200, jpeg(480, 360))) as server:
            server.work = lambda asked: look(unquote(asked.path))
            system.use(image_server_url=server.url, default_thumbnail_sizes=("!1024,1024",))
            assert system.ingest("2/1/page", url, "iiif-img:use-original").state == "done"
    finally:
        os.umask(umask)
    assert set(modes) == {0o044, 0o055}


@contextmanager
def copied_late(source: Path, target: Path, *, once: Callable[[], bool]) -> Iterator[None]:
    """Let the files of one folder appear in another, once something is so."""
    over = threading.Event()

    def copy() -> None:
        while not over.wait(0.02):
            if once():
                for file in source.glob("*/*"):
                    late = target / file.relative_to(source)
                    late.parent.mkdir(parents=True, exist_ok=True)
                    whole = late.with_name("coming")
                    shutil.copyfile(file, whole)
                    whole.rename(late)
                return

    thread = threading.Thread(target=copy)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_files_that_appear_late_are_waited_for_and_counted(
    make_system: Callable[..., System], services: RunningStack
) -> None:
    system = make_system(**DISK, image_server_late_files=timedelta(seconds=60))
    late = services.data / "scratch" / f"late-{system.settings.scratch.name}"
    system.use(image_server_scratch_root=str(late))
    url = system.serve("page.png", encoded(drawing(480, 360), "PNG"))

    def asked_again() -> bool:  # so the first answer was that there is no such file
        asked = Counter(each.path for each in system.image_server.asked)
        return any(count > 1 for count in asked.values())

    with copied_late(system.settings.scratch, late, once=asked_again):
        status = system.ingest("2/1/page", url, "iiif-img:use-original,thumbs:default")
    assert status.state == "done"
    assert status.attempts == 1
    assert system.metadata("2/1/page", Stage.THUMBNAILS)["seen_late"] >= 1
