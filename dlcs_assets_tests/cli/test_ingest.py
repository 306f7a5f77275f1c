from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from dlcs_assets.cli.sources import valid_name
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_request import IngestMessage, parse_message
from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.cli.conftest import Aws, Desk
from dlcs_testing.command_line import dlcs
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.processes import eventually
from dlcs_testing.proxy import proxy_to


def messages(aws: Aws, url: str | None = None) -> list[IngestMessage]:
    parsed = [parse_message(body) for body in aws.bodies(url or aws.ingest)]
    assert all(isinstance(message, IngestMessage) for message in parsed)
    return [message for message in parsed if isinstance(message, IngestMessage)]


def test_a_file_is_uploaded_and_sent_as_a_full_message(aws: Aws, tmp_path: Path) -> None:
    """It goes under sent/, where its upload is not an ingest by itself: it would be ingested twice."""
    data = jpeg(30, 40)
    (tmp_path / "page 1.jpg").write_bytes(data)
    done = dlcs("ingest", str(tmp_path / "page 1.jpg"), "--customer", "5", "--space", "6")
    assert done.stdout == "5/6/page-1\n"
    stored = aws.s3.get_object(Bucket=aws.bucket, Key="5/sent/6/page-1")
    assert (stored["Body"].read(), stored["ContentType"]) == (data, "image/jpeg")
    (message,) = messages(aws)
    assert message.asset is not None
    assert (str(message.asset_id), message.asset.origin) == ("5/6/page-1", f"s3://{aws.bucket}/5/sent/6/page-1")
    assert (message.asset.channels, message.asset.roles, message.asset.max_unauthorised) == (None, None, None)
    assert message.created is not None


def test_a_message_says_that_it_is_about_an_asset(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of a DLCS since 2026 leave a message that does not."""
    dlcs("ingest", "https://example.org/a.jpg", "--customer", "5", "--space", "6")
    monkeypatch.setenv("DLCS_INGEST_TYPE", "Asset")
    dlcs("ingest", "https://example.org/b.jpg", "--customer", "5", "--space", "6")
    with Queues() as queues:
        received = queues.receive(aws.ingest)
    assert sorted(message.attributes["IngestType"].value for message in received) == ["Asset", "IngestAsset"]


def test_every_option_arrives_in_the_message(aws: Aws) -> None:
    done = dlcs(
        *("ingest", "https://example.org/a/page.tif?x=1", "--id", "2/7/mine", "--batch", "12", "--priority"),
        *("--channels", "iiif-img,thumbs,file", "--policy", "use-original", "--policy", "thumbs=default"),
        *("--max-unauthorised", "400", "--roles", "https://a/r1, https://a/r2"),
    )
    assert done.stdout == "2/7/mine\n"
    assert messages(aws) == []
    (message,) = messages(aws, aws.priority)
    assert message.asset is not None
    assert message.batch is not None
    assert (str(message.asset_id), message.batch.id) == ("2/7/mine", 12)
    assert message.asset.origin == "https://example.org/a/page.tif?x=1"
    assert [(str(each.channel), each.policy) for each in message.asset.channels or ()] == [
        ("iiif-img", "use-original"),
        ("thumbs", "default"),
        ("file", None),
    ]
    assert (message.asset.max_unauthorised, message.asset.roles) == (400, ("https://a/r1", "https://a/r2"))


def test_a_folder_is_its_images_and_other_files_are_counted(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(jpeg(3, 4))
    (tmp_path / "a").write_bytes(encoded(drawing(3, 4), "PNG"))
    (tmp_path / "notes.jpg").write_text("not a picture")
    (tmp_path / ".hidden.jpg").write_bytes(jpeg(3, 4))
    (tmp_path / "further").mkdir()
    done = dlcs("ingest", str(tmp_path))
    assert done.stdout == "2/1/a\n2/1/b\n"
    assert "Skipped in folders: 1 file that is not an image." in done.stderr
    assert len(messages(aws)) == 2


def test_files_that_differ_in_their_extension_only_keep_it(aws: Aws, tmp_path: Path) -> None:
    for name in ("p1.jpg", "p1.jpeg", "p2.jpg"):
        (tmp_path / name).write_bytes(jpeg(3, 4))
    assert dlcs("ingest", str(tmp_path)).stdout == "2/1/p1.jpeg\n2/1/p1.jpg\n2/1/p2\n"
    assert len(messages(aws)) == 3


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("page 1", "page-1"),
        ("a?b#c%20", "a-b-c-20"),
        ("é", "é"),
        ("a\x01b", "a-b"),
        ("..", ""),
        ("  x ", "x"),
        ("a/b", "a-b"),
    ],
)
def test_names_are_made_valid(text: str, name: str) -> None:
    assert valid_name(text) == name


@pytest.fixture
def _an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_an_empty_folder")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nothing.jpg"], 1, "nothing.jpg: No such file or directory."),
        (["."], 1, "there are no images in this folder"),
        (["s3://foreign/x.jpg"], 2, "origin_not_allowed"),
        (["ftp://example.org/x.jpg"], 2, "origin_scheme_not_supported"),
        (["https://example.org/"], 2, "Use --id"),
        (["https://example.org/x", "https://example.org/y", "--id", "z"], 2, "--id is for one image"),
        (["https://example.org/x", "https://example.net/x"], 2, "would be called x"),
        (["https://example.org/x", "--id", "2/1/"], 2, "asset_id_malformed"),
        (["https://example.org/x", "--id", "x" * 300], 2, "asset_id_too_long"),
        (["https://example.org/x", "--customer", "-1"], 2, "asset_id_malformed"),
        (["https://example.org/x", "--channels", "img"], 2, "unknown_channel"),
        (["https://example.org/x", "--channels", "none,file"], 2, "channel_must_be_alone"),
        (["https://example.org/x", "--channels", "iiif-av"], 2, "iiif_av_not_supported"),
        (["https://example.org/x", "--policy", "nope"], 2, "none of the channels iiif-img, thumbs"),
        (["https://example.org/x", "--policy", "file=none"], 2, "file is not among the channels"),
        (["https://example.org/x", "--policy", "thumbs=nope"], 2, "unknown_policy"),
    ],
)
def test_what_cannot_work_is_one_line_and_nothing_is_sent(
    aws: Aws, arguments: list[str], status: int, said: str
) -> None:
    """Each mistake is found before the first message, and wrong usage has an exit code of its own."""
    done = dlcs("ingest", *arguments)
    assert done.exit_code == status
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert messages(aws) == []


def test_a_customer_that_is_not_configured_is_refused_at_once(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_CUSTOMERS", "5,6")
    done = dlcs("ingest", "https://example.org/x")
    assert (done.exit_code, "customer_not_configured" in done.stderr) == (1, True)
    assert messages(aws) == []


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7 ", "application/pdf"),
        (b"<!DOCTYPE html><html>", "text/html"),
        (b"\0\1\2\3", "of no known format"),
        (b"", "empty"),
    ],
)
@pytest.mark.parametrize("channels", [[], ["--channels", "thumbs,file"]])
def test_a_file_that_is_no_image_is_refused_at_once(
    aws: Aws, tmp_path: Path, data: bytes, what: str, channels: list[str]
) -> None:
    """With the images that were named with it: a part of them would be hard to tell from all."""
    (tmp_path / "page.jpg").write_bytes(jpeg(3, 4))
    (tmp_path / "page.tif").write_bytes(data)
    done = dlcs("ingest", str(tmp_path / "page.jpg"), str(tmp_path / "page.tif"), *channels)
    assert done.exit_code == 1
    assert f"page.tif is {what}" in done.stderr
    assert "page.jpg" not in done.stderr
    assert messages(aws) == []


def test_a_file_that_is_no_image_may_be_stored_as_a_file(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "book.pdf").write_bytes(b"%PDF-1.7 ")
    assert dlcs("ingest", str(tmp_path / "book.pdf"), "--channels", "file").exit_code == 0
    assert len(messages(aws)) == 1


def test_a_file_that_cannot_be_uploaded_holds_up_no_other(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 refuses one of three: the others are sent, it is named at the end, and the status says so."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(3, 4))
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    with proxy_to(endpoint) as s3:
        s3.refusing["/sent/1/b"] = (403, "no")
        monkeypatch.setenv("DLCS_S3_ENDPOINT_URL", s3.url)
        done = dlcs("ingest", str(tmp_path))
    assert done.exit_code == 1
    assert done.stdout == "2/1/a\n2/1/c\n"
    assert "2/1/b was not sent: " in done.stderr
    assert [str(message.asset_id) for message in messages(aws)] == ["2/1/a", "2/1/c"]


def test_a_message_that_is_refused_holds_up_no_other(aws: Aws) -> None:
    aws.sqs.set_queue_attributes(QueueUrl=aws.ingest, Attributes={"MaximumMessageSize": "1024"})
    addresses = [f"https://example.org/{name}" for name in ("a", "b", "c")]
    addresses[1] += f"?{'x' * 1500}"
    done = dlcs("ingest", *addresses, "--space", "3")
    assert done.exit_code == 1
    assert done.stdout == "2/3/a\n2/3/c\n"
    assert "was not sent: A message of" in done.stderr
    assert len(messages(aws)) == 2


@pytest.mark.parametrize("variable", ["DLCS_PRIORITY_QUEUE_URL", "DLCS_ORIGIN_BUCKET"])
def test_what_is_not_configured_is_named(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg(3, 4))
    monkeypatch.delenv(variable)
    done = dlcs("ingest", str(tmp_path / "x.jpg"), "--priority")
    assert (done.exit_code, variable in done.stderr) == (1, True)
    assert messages(aws, aws.priority) == []


def ingest_behind_the_queue(desk: Desk, aws: Aws, *, fail: str | None = None) -> threading.Thread:
    """Stand in for the sensors and the runs: take each message in, and end its image."""

    def work() -> None:
        bodies: list[str] = []

        def arrived() -> bool:
            bodies.extend(aws.bodies(aws.ingest))
            return bool(bodies)

        assert eventually(arrived)
        for body in bodies:
            message = parse_message(body)
            assert isinstance(message, IngestMessage)
            if fail == str(message.asset_id):
                desk.failed(fail, PermanentError("odd", "It is so", remedy="None", stage=Stage.JP2))
            else:
                desk.done(str(message.asset_id))

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize(("fail", "status"), [(None, 0), ("2/1/y", 1)])
def test_wait_ends_with_the_new_requests_and_reports_them(desk: Desk, aws: Aws, fail: str | None, status: int) -> None:
    desk.done("2/1/x")  # an earlier success is not the one that is waited for
    thread = ingest_behind_the_queue(desk, aws, fail=fail)
    done = dlcs("ingest", "https://example.org/x", "https://example.org/y", "--wait")
    thread.join()
    assert done.exit_code == status
    lines = done.stdout.splitlines()
    assert lines[:2] == ["2/1/x", "2/1/y"]
    # What is seen before the end depends on who is faster.
    assert f"Images 2/2 ({'1 done, 1 failed' if fail else '2 done'})" in lines
    assert ("jp2: It is so (odd). None" in lines[-1]) == bool(fail)
    assert json.loads(dlcs("status", "--json", "2/1/x").stdout)[0]["attempts"] == 1
