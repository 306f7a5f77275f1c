"""A customer as real ones are: four ways to its originals, three policies, messages and uploads; and one next to it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlcs_assets.domain.stages import STAGES
from dlcs_assets_tests.system.s3_events import record, send_records
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.sshd import MISSING, PASSWORD, USER, Sshd, make_key, running_sshd

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}")

BASIC = "Basic bGlicmFyaWFuOmh1bnRlcjI="
CREDENTIALS = {"user": "librarian", "password": "hunter" + "2"}
SIZES = ("!40,40",)
CUSTOMERS = """
customers:
  2:
    buckets:
      {scans}: {{}}
      {partner}: {{endpoint: "{endpoint}", region: eu-west-1}}
    origins:
      - {{id: locked, regex: '/locked/', strategy: basic-http-authentication, credentials: env:LOCKED, order: 1}}
      - {{id: scans, regex: '^s3://{scans}/', strategy: s3-ambient, optimised: true, order: 2}}
      - {{id: partner, regex: '^s3://{partner}/', strategy: s3-ambient, optimised: true, order: 3}}
      - id: digitisation
        regex: '^sftp://'
        strategy: sftp
        credentials: env:DIGITISATION
        known_hosts: {known_hosts}
        order: 4
    policies:
      thumbs:
        small: ['!60,60']
        wide: ['80,']
        tall: [',70']
    default_channels:
      - {{media_type: image/*, channel: iiif-img, policy: default}}
      - {{media_type: image/*, channel: thumbs, policy: small}}
    spaces:
      5:
        default_channels:
          - {{media_type: image/*, channel: iiif-img, policy: use-original}}
          - {{media_type: image/*, channel: thumbs, policy: wide}}
      6:
        default_channels:
          - {{media_type: image/*, channel: thumbs, policy: tall}}
  22: {{}}
"""


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    folder = Path(tempfile.mkdtemp(prefix="dlcs-sshd-"))
    folder.chmod(0o755)
    try:
        with running_sshd(folder, authorized=[make_key(folder / "key")[1]]) as server:
            server.put("page.tif", encoded(drawing(120, 90), "TIFF"))
            yield server
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def system(make_system: Callable[..., System], sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    file = tmp_path / "customers.yaml"
    file.write_text("customers: {}")
    system = make_system(customers_file=file, default_thumbnail_sizes=SIZES)
    scans, partner = (f"{name}-{system.settings.origin_bucket}" for name in ("scans", "partner"))
    for bucket in (scans, partner):
        system.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    file.write_text(
        CUSTOMERS.format(
            scans=scans,
            partner=partner,
            endpoint=system.stack.environment["AWS_ENDPOINT_URL"],
            known_hosts=json.dumps(sshd.known_hosts),
        )
    )
    monkeypatch.setenv("LOCKED", json.dumps(CREDENTIALS))
    monkeypatch.setenv("DIGITISATION", json.dumps({"user": USER, "password": PASSWORD}))
    system.use()  # a new deployment, which reads the file
    return system


def edges(system: System, image: str) -> list[int]:
    """Return the longest edges of an image's open thumbnails, as s.json has them."""
    found = json.loads(system.thumbs(f"{image}/s.json")[f"{image}/s.json"].data)
    assert found["a"] == []
    return [max(size) for size in found["o"]]


def test_a_customer_with_everything_shares_nothing_with_another(system: System, sshd: Sshd) -> None:
    """Its policies, credentials, buckets and origins are refused to a customer that has none of them."""
    page = jpeg(120, 90)
    origin_bucket = str(system.settings.origin_bucket)
    scans, partner = (f"{name}-{origin_bucket}" for name in ("scans", "partner"))
    system.put(scans, "a/scan one.jpg", page)
    system.put(partner, "theirs.jpg", page)
    system.put(origin_bucket, "2/5/upload", page)
    system.put(origin_bucket, "22/1/upload", page)
    plain, locked = system.serve("page.jpg", page), system.serve("locked/page.jpg", page)
    system.origin.locked["/locked/page.jpg"] = BASIC
    origins = {
        "plain": plain,
        "locked": locked,
        "scan": f"s3://{scans}/a/scan one.jpg",
        "partner": f"s3://{partner}/theirs.jpg",
        "sftp": sshd.url(),
    }
    for space in (1, 5, 6):
        system.send(*(full_message(f"2/{space}/{name}", origin) for name, origin in origins.items()))
    system.send(*(full_message(f"22/1/{name}", origin) for name, origin in origins.items()))
    send_records(system, record(origin_bucket, "2/5/upload"), record(origin_bucket, "22/1/upload"))
    system.settle()

    mine = {f"2/{space}/{name}" for space in (1, 5, 6) for name in origins} | {"2/5/upload"}
    assert system.states(customer=2) == dict.fromkeys(mine, "done")
    assert all(set(system.partitions(stage).values()) <= {"materialized", "failed"} for stage in STAGES)
    # JP2s in spaces 1 and 6; in 5 the originals themselves, but those that the image server reads where they are.
    at_origin = {"2/5/scan", "2/5/upload"}
    assert set(system.storage("2/")) == {f"2/{space}/{name}" for space in (1, 6) for name in origins} | {
        f"{image}/original" for image in mine - at_origin if image.startswith("2/5/")
    }
    longest = {"2/1": [60, 40], "2/5": [80, 40], "2/6": [93, 40]}
    assert {image: edges(system, image) for image in mine} == {image: longest[image[:3]] for image in mine}
    assert system.storage("transient/") == {}

    states = system.states(customer=22)
    assert {image.removeprefix("22/1/"): state for image, state in states.items()} == {
        "plain": "done",
        "locked": "failed",
        "scan": "rejected",
        "partner": "rejected",
        "sftp": "rejected",
        "upload": "done",
    }
    reasons = {name: system.status(f"22/1/{name}").error_code for name in origins}
    assert reasons == {
        "plain": None,
        "locked": "origin_refused",
        "scan": "origin_not_allowed",
        "partner": "origin_not_allowed",
        "sftp": "origin_strategy_missing",
    }
    theirs = {*system.storage("22/"), *system.thumbs("22/")}
    assert {key.split("/")[2] for key in theirs} == {"plain", "upload"}
    assert edges(system, "22/1/plain") == [120, 100, 40]  # those of the seeded policy
    assert {run.tags["dlcs/customer"] for run in system.runs} == {"2", "22"}
    everything = {*system.storage(), *system.thumbs()}
    assert {key.split("/")[0] for key in everything} == {"2", "22"}
