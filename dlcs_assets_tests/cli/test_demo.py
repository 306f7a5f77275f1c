from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dlcs_assets.cli.demo import report_outcomes
from dlcs_assets.cli.demo_images import DEMO_VARIANTS, demo_images
from dlcs_assets.cli.progress import Follower, follow
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.cli.conftest import Desk
from dlcs_stack.samples import DEFAULT_PLAN, Sample
from dlcs_stack.stack import REQUEST_LOG

PROGRAM = """
import sys
from pathlib import Path
from dlcs_assets.cli.demo import Demo, run
from dlcs_stack.drawing.page import Layout
from dlcs_stack.samples import PagePlan

def page(name, extension="jpg", **more):
    return PagePlan(name, extension, 500, 750, Layout.TEXT, **more)

if __name__ == "__main__":
    pages = (page("f001r"), page("f006r", "jp2"), page("f007r", "tif"), page("f011v"), page("f014v", broken=True))
    folder = Path(sys.argv[1])
    sys.exit(run(Demo(folder / "stack", shared_disk=True, pages=pages, samples_folder=folder / "samples")))
"""


@pytest.mark.e2e
def test_the_demo_ends_well_if_every_image_ends_as_expected(tmp_path: Path) -> None:
    """Here with a shared disk; with its defaults it is tried as a whole elsewhere."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    table = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("2/")}
    assert {image: line.split()[1] for image, line in table.items()} == {
        "2/1/f001r": "done",
        "2/2/f006r": "done",
        "2/2/f007r": "done",
        "2/3/f011v": "done",
        "2/3/f014v": "failed",
    }
    assert "copied" in table["2/2/f006r"]
    assert "kept for the thumbnails only" in table["2/3/f011v"]
    assert "truncated" in table["2/3/f014v"]
    for part in (
        "Samples drawn 5/5",
        "Uploaded 5/5",
        "Images 5/5 (4 done, 1 failed",
        "Images:     http://127.0.0.1:",
        "Dagster:    http://127.0.0.1:",
    ):
        assert part in done.stdout
    assert "/iiif/3/s3%3A%2F%2Fdlcs-storage%2F2%2F1%2Ff001r/full/!400,400/0/default.jpg" in done.stdout
    assert not {"\x1b", "\r"} & set(done.stdout)
    asked = [json.loads(line) for line in (tmp_path / "stack/logs" / REQUEST_LOG).read_text().splitlines()]
    assert asked
    assert all(each["identifier"].startswith("/") for each in asked)


def sample(name: str, *, broken: bool = False) -> Sample:
    return Sample(name, Path(name), "image/jpeg", 1, 1, broken)


def outcome_of(follower: Follower) -> tuple[int, str]:
    """Judge the images f001r and f014v (which has to fail) as they are now."""
    console = Console(file=StringIO(), width=1000)
    found = follow(console, follower, limit=timedelta(0))
    status = report_outcomes(console, demo_images([sample("f001r"), sample("f014v", broken=True)]), found)
    assert isinstance(console.file, StringIO)
    return status, console.file.getvalue()


def test_what_does_not_end_in_time_is_named_with_the_reason(desk: Desk) -> None:
    follower = Follower(desk.ledger, ["2/1/f001r", "2/3/f014v"])
    desk.failed("2/1/f001r", TransientError("appetiser_unavailable", "503", remedy="See its log", stage=Stage.JP2))
    status, shown = outcome_of(follower)
    assert status == 1
    assert "2 of 2 images have not ended in time:" in shown
    assert "2/1/f001r: pending: jp2: 503 (appetiser_unavailable). See its log" in shown
    assert "2/3/f014v: its message is still in the queue" in shown


def test_images_that_end_unexpectedly_are_named_with_the_reason(desk: Desk) -> None:
    """An image that is done although it should have failed counts as much as the opposite."""
    follower = Follower(desk.ledger, ["2/1/f001r", "2/3/f014v"])
    desk.failed("2/1/f001r", PermanentError("odd", "It is so", remedy="None", stage=Stage.THUMBNAILS))
    desk.done("2/3/f014v")
    status, shown = outcome_of(follower)
    assert status == 1
    assert "2 of 2 images did not end as expected:" in shown
    assert "2/1/f001r: failed, expected done. thumbnails: It is so (odd). None" in shown
    assert "2/3/f014v: done, expected failed." in shown


def test_a_rejected_message_ends_the_wait_for_a_known_image(desk: Desk) -> None:
    """Otherwise dlcs demo would wait until its timeout for a request that does not exist."""
    desk.done("2/1/x")
    follower = Follower(desk.ledger, ["2/1/x"])
    assert follower.look() == {"2/1/x": None}
    desk.reject("{}", image="2/1/x")
    status = follower.look()["2/1/x"]
    assert status is not None
    assert (status.state, status.error_code) == ("rejected", "not_json")


def test_demo_variants_are_of_existing_samples_with_fixed_ids() -> None:
    """A second demo must ingest the same images again, and a variant without a sample would never be seen."""
    images = demo_images([sample(page.name, broken=page.broken) for page in DEFAULT_PLAN])
    assert set(DEMO_VARIANTS) <= {image.sample.name for image in images}
    assert [str(image.asset_id) for image in images][::10] == ["2/1/f001r", "2/2/f006r", "2/3/f011r"]
    assert [image.sample.name for image in images if image.expected == "failed"] == ["f014v"]
    assert {image.asset_id.space for image in images} == {1, 2, 3}
