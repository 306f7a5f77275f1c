"""The rows of the plan with an image server that sees a shared disk only: it reads files of the runs, nothing of S3."""

from __future__ import annotations

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
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets_tests.ingest.rows import DEFAULT, LISTED_BUCKET, MAKING_THUMBNAILS, Row, check_done, ingest_rows, is_of
from dlcs_stack.stack import RunningStack
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.pipeline import Pipeline, running_pipeline
from dlcs_testing.scripted_server import Answer, scripted_server

DISK: dict[str, Any] = {"image_server_sources": SourceAccess.DISK}
TO_BE_BROUGHT = {"8": "the original, from its origin", "10": "the original, from its origin"}
of_every_row = pytest.mark.parametrize("row", MAKING_THUMBNAILS, ids=str)


@pytest.fixture(scope="module")
def pipeline(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Ingest one image per row."""
    folder = tmp_path_factory.mktemp("disk")
    with running_pipeline(services, folder, s3_origin_buckets=(LISTED_BUCKET,), **DISK) as pipeline:
        pipeline.make_bucket(LISTED_BUCKET)
        ingest_rows(pipeline, MAKING_THUMBNAILS)
        yield pipeline


@of_every_row
def test_every_row_with_thumbnails_is_done_with_files_alone(pipeline: Pipeline, row: Row) -> None:
    check_done(pipeline, row)


@of_every_row
def test_what_is_stored_is_what_the_row_says(pipeline: Pipeline, row: Row) -> None:
    stored = {key: each.content_type for key, each in pipeline.storage(row.image).items() if is_of(row, key)}
    assert stored == {f"{row.image}{suffix}": content_type for suffix, content_type in row.stored.items()}
    assert tuple(pipeline.status(row.image).stages[stage].outcome for stage in Stage) == row.outcomes


@of_every_row
def test_the_metadata_name_the_file_and_what_had_to_be_brought(pipeline: Pipeline, row: Row) -> None:
    metadata = pipeline.facts(row.image, Stage.THUMBNAILS)
    name = "image.jp2" if row.read == "jp2" and row.plan != "4" else "original"
    assert Path(metadata["file"]).is_relative_to(pipeline.settings.scratch)
    assert Path(metadata["file"]).name == name
    assert metadata.get("brought_to_disk") == TO_BE_BROUGHT.get(row.plan)
    assert "source" not in metadata  # so Dagster shows no link to it at the image server


def test_no_identifier_leads_to_s3_and_nothing_is_left(pipeline: Pipeline) -> None:
    asked = {each.path for each in pipeline.image_server.asked}
    assert not [path for path in asked if "s3:" in path]
    assert len(asked) > len(MAKING_THUMBNAILS)
    assert pipeline.storage("transient/") == {}
    assert pipeline.left_in_scratch() == []


@pytest.mark.parametrize("plan", ["1", "5", "7", "8", "9"])
def test_thumbnails_remade_alone_have_their_source_on_the_disk(pipeline: Pipeline, plan: str) -> None:
    row = next(row for row in MAKING_THUMBNAILS if row.plan == plan)
    request = pipeline.request_of(row.image, Stage.THUMBNAILS)
    (ended,) = pipeline.run_by_hand(row.image, stages=[Stage.THUMBNAILS])
    assert ended.state is RequestState.DONE
    assert pipeline.request_of(row.image, Stage.THUMBNAILS) != request
    from_storage = {"1": row.image, "5": f"{row.image}/original", "9": f"{row.image}/original"}
    where = f"{from_storage[plan]}, from the storage bucket" if plan in from_storage else TO_BE_BROUGHT["8"]
    assert pipeline.facts(row.image, Stage.THUMBNAILS)["brought_to_disk"] == where


def test_thumbnails_alone_say_what_is_missing(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(**DISK)
    pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), DEFAULT)
    pipeline.s3.delete_object(Bucket=pipeline.settings.storage_bucket, Key="2/1/page")
    (ended,) = pipeline.run_by_hand("2/1/page", stages=[Stage.THUMBNAILS])
    assert "There is no 2/1/page in the storage bucket" in str(ended.error)
    assert pipeline.status("2/1/page").error_code == "source_missing"


def test_the_scratch_folder_may_have_another_name_for_the_server(
    make_pipeline: Callable[..., Pipeline], services: RunningStack
) -> None:
    """The server's own prefix is the stack's scratch folder, and it knows the pipeline's by another name there."""
    pipeline = make_pipeline(**DISK)
    name = f"known-as-{pipeline.settings.scratch.name}"
    (services.data / "scratch" / name).symlink_to(pipeline.settings.scratch)
    pipeline.use(image_server_scratch_root=name)
    assert pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), DEFAULT).state == "done"
    assert pipeline.facts("2/1/page", Stage.THUMBNAILS)["file"].startswith(f"{name}/")


def test_a_disk_that_is_not_shared_is_called_so(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(**DISK, image_server_scratch_root="/not-mounted", image_server_late_files=timedelta(0))
    status = pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), DEFAULT)
    assert (status.state, status.error_code) == ("failed", "image_server_disk_not_shared")
    assert "on the shared disk for the run, and not for the image server" in str(status.reason)
    assert status.stages.keys() == set(STAGES[:2])


def test_files_are_readable_for_a_server_that_is_another_user(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(**DISK)
    modes: list[int] = []

    def look(path: str) -> None:
        file = Path(path.removeprefix("/iiif/3/").partition("/full/")[0])
        modes.extend(stat.S_IMODE(each.stat().st_mode) & 0o055 for each in (file, file.parent))

    url = pipeline.serve("page.png", encoded(drawing(480, 360), "PNG"))
    umask = os.umask(0o077)
    try:
        with scripted_server(Answer(200, jpeg(480, 360))) as server:
            server.work = lambda asked: look(unquote(asked.path))
            pipeline.use(image_server_url=server.url, default_thumbnail_sizes=("!1024,1024",))
            assert pipeline.ingest("2/1/page", url, "iiif-img:use-original").state == "done"
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
    make_pipeline: Callable[..., Pipeline], services: RunningStack
) -> None:
    pipeline = make_pipeline(**DISK, image_server_late_files=timedelta(seconds=60))
    late = services.data / "scratch" / f"late-{pipeline.settings.scratch.name}"
    pipeline.use(image_server_scratch_root=str(late))
    url = pipeline.serve("page.png", encoded(drawing(480, 360), "PNG"))

    def asked_again() -> bool:  # so the first answer was that there is no such file
        asked = Counter(each.path for each in pipeline.image_server.asked)
        return any(count > 1 for count in asked.values())

    with copied_late(pipeline.settings.scratch, late, once=asked_again):
        status = pipeline.ingest("2/1/page", url, "iiif-img:use-original,thumbs:default")
    assert status.state == "done"
    assert status.attempts == 1
    assert pipeline.facts("2/1/page", Stage.THUMBNAILS)["seen_late"] >= 1
