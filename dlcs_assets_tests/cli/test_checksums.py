from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from dlcs_assets.cli import checksums
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import STAGES, Outcome, Stage
from dlcs_assets_tests.cli.conftest import NOW, Desk
from dlcs_testing.command_line import dlcs
from dlcs_testing.one_write import add_transient, commit_stage

JP2, THUMBNAIL = "a" * 64, "b" * 64  # of every image that the desk makes


def lines(*options: str) -> list[str]:
    done = dlcs("checksums", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.splitlines()


def of(image: str) -> list[str]:
    return [f"{JP2}  s3://dlcs-storage/{image}", f"{THUMBNAIL}  s3://dlcs-thumbs/{image}/open/100.jpg"]


@pytest.fixture
def three(desk: Desk) -> Desk:
    for image in ("3/1/c", "2/1/a", "2/10/b"):
        desk.done(image)
    return desk


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("page", [1, 2, 500])
@pytest.mark.parametrize(
    ("options", "images"),
    [
        ([], ["2/1/a", "2/10/b", "3/1/c"]),
        (["--customer", "2"], ["2/1/a", "2/10/b"]),
        (["--space", "2/10"], ["2/10/b"]),
        (["3/1/c", "2/1/a"], ["2/1/a", "3/1/c"]),
    ],
)
def test_each_object_of_the_chosen_images_has_a_line(
    monkeypatch: pytest.MonkeyPatch, page: int, options: list[str], images: list[str]
) -> None:
    """Whatever the number of images that are read at a time."""
    monkeypatch.setattr(checksums, "PAGE", page)
    assert lines(*options) == [line for image in images for line in of(image)]


@pytest.mark.usefixtures("three")
def test_json_has_one_object_a_line_with_all_that_is_known() -> None:
    jp2, thumbnail = (json.loads(line) for line in lines("--json", "2/1/a"))
    assert jp2 == {
        "image": "2/1/a",
        "kind": "jp2",
        "bucket": "dlcs-storage",
        "key": "2/1/a",
        "bytes": 1234,
        "content_type": "image/jp2",
        "sha256": JP2,
    }
    assert (thumbnail["kind"], thumbnail["key"]) == ("thumbnail", "2/1/a/open/100.jpg")


def test_sha256sum_checks_a_copy_with_the_keys(desk: Desk, tmp_path: Path) -> None:
    """Also where a key has blanks and backslashes; a byte that differs is found."""
    image, data = AssetId(2, 1, "a b\\c"), b"a JP2"
    desk.send(str(image))
    claim = desk.ledger.claims.claim_images([image], STAGES, "run", now=NOW)
    stored = ObjectRecord(
        "dlcs-storage", str(image), ObjectKind.JP2, len(data), hashlib.sha256(data).hexdigest(), "image/jp2"
    )
    result = StageResult(Stage.JP2, Outcome.CONVERTED, "v1", {}, (stored,))
    commit_stage(desk.ledger.results, claim, claim.items[0], result, now=NOW)
    copy = tmp_path / "copy" / str(image)
    copy.parent.mkdir(parents=True)
    listed = "".join(f"{line}\n" for line in lines("--keys"))

    def check(content: bytes) -> int:
        copy.write_bytes(content)
        command = ["sha256sum", "--check", "--strict"]
        return subprocess.run(
            command, input=listed, text=True, cwd=tmp_path / "copy", check=False, capture_output=True
        ).returncode

    assert check(data) == 0
    assert check(b"a JPX") == 1


def test_a_transient_object_is_not_listed(desk: Desk) -> None:
    """It is about to be deleted: no copy has it."""
    desk.done("2/1/a")
    claim = desk.ledger.claims.claim_images([AssetId(2, 1, "a")], STAGES, "run", now=NOW)
    transient = ObjectRecord("dlcs-storage", "transient/2/1/a/r", ObjectKind.TRANSIENT, 9, "c" * 64, "image/jpeg")
    add_transient(desk.ledger.results, claim, claim.items[0], transient)
    assert lines() == of("2/1/a")


def test_an_unknown_image_is_named_and_the_status_is_1(desk: Desk) -> None:
    desk.done("2/1/a")
    done = dlcs("checksums", "2/1/a", "2/1/missing")
    assert (done.exit_code, done.stderr) == (1, "Not known here: 2/1/missing.\n")
    assert done.stdout.splitlines() == of("2/1/a")
