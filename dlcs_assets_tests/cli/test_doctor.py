"""`dlcs doctor` on a deployment that is well, and with each thing that can be wrong with it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from dlcs_assets.cli.doctor_aws import judge_clock
from dlcs_assets.cli.doctor_disks import judge_room
from dlcs_assets.ingest.control_picture import COLOUR
from dlcs_assets.ledger import Ledger
from dlcs_assets_tests.cli.conftest import Aws
from dlcs_assets_tests.ledger.conftest import Desk
from dlcs_testing.command_line import dlcs
from dlcs_testing.pictures import encoded

SECRET = "s3cr3t-that-is-not-shown"
LIFECYCLE = Path(__file__).parents[2] / "deploy" / "s3" / "lifecycle.json"
TRANSIENT = {"ID": "t", "Status": "Enabled", "Filter": {"Prefix": "transient/"}, "Expiration": {"Days": 7}}


def thumbnail(colour: tuple[int, int, int]) -> bytes:
    """Return what an image server makes of a control picture of one colour."""
    from PIL import Image

    return encoded(Image.new("RGB", (48, 32), colour))


class Answering(BaseHTTPRequestHandler):
    """Stands for Appetiser, which converts all to one picture, and for an image server with one picture."""

    status = 200
    date: datetime | None = None
    colour = COLOUR
    refuses: tuple[str, int, str] = ("nothing", 0, "")  # a part of the path, and the answer

    def do_GET(self) -> None:
        body, status = b"", self.status
        if "/iiif/3/" in self.path:
            body, status = (b"no such size", 400) if "no-size" in self.path else (thumbnail(self.colour), 200)
        if self.refuses[0] in self.path:
            _, status, text = self.refuses
            body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body, status = json.dumps({"width": 96, "height": 64}), self.status
        if self.refuses[0] in self.path:
            _, status, body = self.refuses
        else:
            Path(asked["destination"]).write_bytes(b"a JP2")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.date, usegmt=True) if self.date else super().date_time_string(timestamp)

    def log_message(self, *_: Any) -> None:
        pass


def serving(handler: type[Answering]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def service() -> Iterator[str]:
    yield from serving(Answering)


@pytest.fixture
def deployment(aws: Aws, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """All that a deployment needs, with nothing wrong."""
    storage, thumbs = (f"{kind}-{aws.bucket}" for kind in ("storage", "thumbs"))
    for bucket in (storage, thumbs):
        aws.s3.create_bucket(Bucket=bucket)
    set_lifecycle(aws, storage, json.loads(LIFECYCLE.read_text())["Rules"])
    for queue in (aws.ingest, aws.priority):
        aws.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "120"})
    environment = {
        "DLCS_STORAGE_BUCKET": storage,
        "DLCS_THUMBS_BUCKET": thumbs,
        "DLCS_APPETISER_URL": service,
        "DLCS_IMAGE_SERVER_URL": service,
        "DLCS_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "DLCS_SCRATCH": str(tmp_path / "scratch"),
        "DLCS_SLOTS": str(tmp_path / "slots"),
        "DLCS_IMAGES_IN_FLIGHT": "1",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    Ledger(environment["DLCS_LEDGER_URL"]).close()
    return aws


def set_lifecycle(aws: Aws, bucket: str, rules: list[Any]) -> None:
    aws.s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


def findings(status: int) -> dict[str, dict[str, str]]:
    done = dlcs("doctor", "--json")
    assert done.exit_code == status, done.output
    assert SECRET not in done.output
    return {each["check"]: each for each in json.loads(done.stdout)}


def only_finding(check: str, result: str) -> dict[str, str]:
    """Return the finding of this check, and ensure that it is the only one."""
    found = findings(1 if result == "fail" else 0)
    assert {name: each["result"] for name, each in found.items() if each["result"] != "ok"} == {check: result}
    assert found[check]["remedy"]
    return found[check]


@pytest.mark.usefixtures("deployment")
def test_where_nothing_is_wrong_every_check_is_ok() -> None:
    """The exit code is 0, and no check is missing from the list."""
    found = findings(0)
    assert {each["result"] for each in found.values()} == {"ok"}
    assert set(found) == {
        *(
            "settings",
            "customers",
            "ledger",
            "owner",
            "launches",
            "alerts",
            "stalled images",
            "fixity",
            "drift",
            "appetiser",
            "image server",
            "ingest queue",
            "priority queue",
        ),
        *("storage bucket", "lifecycle", "thumbs bucket", "origin bucket", "clock", "scratch", "slots"),
    }


@pytest.mark.usefixtures("deployment")
def test_the_table_has_a_line_for_each_check_and_a_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLCS_INGEST_QUEUE_URL")
    lines = dlcs("doctor").stdout.splitlines()
    assert lines[-1] == "19 ok, 1 warn"
    (line,) = [line for line in lines if line.startswith("ingest queue")]
    assert line.split("  ")[-1] == "none is configured. Set DLCS_INGEST_QUEUE_URL, if messages are to come."
    assert len(lines) == 20 + 2


def test_no_object_is_left_that_was_put_to_check_the_buckets(deployment: Aws) -> None:
    findings(0)
    for name in ("DLCS_STORAGE_BUCKET", "DLCS_THUMBS_BUCKET"):
        assert "Contents" not in deployment.s3.list_objects_v2(Bucket=os.environ[name])


@pytest.mark.usefixtures("deployment")
def test_settings_that_cannot_be_used_are_the_only_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_CHUNK_SIZE", "many")
    found = findings(1)
    assert list(found) == ["settings"]
    assert "DLCS_CHUNK_SIZE" in found["settings"]["found"]


@pytest.mark.usefixtures("deployment")
def test_the_publics_image_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_PUBLIC_IMAGE_SERVER_URL", os.environ["DLCS_IMAGE_SERVER_URL"])
    assert "same server" in findings(1)["settings"]["found"]


@pytest.mark.usefixtures("deployment")
def test_a_customers_file_that_is_wrong_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.yaml").write_text("customers:\n  two: {}\n")
    monkeypatch.setenv("DLCS_CUSTOMERS_FILE", "mine.yaml")
    assert "line 2" in only_finding("customers", "fail")["found"]


@pytest.mark.usefixtures("deployment")
def test_the_customers_of_the_file_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("two.yaml").write_text("customers:\n  2: {}\n  3: {}\n")
    monkeypatch.setenv("DLCS_CUSTOMERS_FILE", "two.yaml")
    assert findings(0)["customers"]["found"].startswith("2 customers")


@pytest.mark.usefixtures("deployment")
def test_an_unreachable_ledger_is_reported_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What doctor prints is copied into tickets."""
    monkeypatch.setenv("DLCS_LEDGER_URL", f"postgresql://dlcs:{SECRET}@127.0.0.1:1/ledger")
    assert "127.0.0.1:1/ledger" in only_finding("ledger", "fail")["found"]


@pytest.mark.usefixtures("deployment")
def test_a_ledger_that_is_not_there_yet_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_LEDGER_URL", f"sqlite:///{tmp_path / 'new' / 'ledger.db'}")
    only_finding("ledger", "warn")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("deployment")
def test_stalled_images_are_reported_with_reason_and_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(Ledger(os.environ["DLCS_LEDGER_URL"]))
    desk.send("2/1/one", now=datetime.now(UTC) - timedelta(hours=3))
    desk.ledger.close()
    found = only_finding("stalled images", "warn")["found"]
    assert found == "1 of customer 2 wait for a run, for up to 3.0 h, such as 2/1/one"
    monkeypatch.setenv("DLCS_STALLED_AFTER", "14400")
    assert findings(0)["stalled images"]["result"] == "ok"


@pytest.mark.usefixtures("deployment")
def test_damage_found_by_the_audit_fails_with_the_command_to_fix() -> None:
    """The remedy is the command that reprocesses the damaged images."""
    desk = Desk(Ledger(os.environ["DLCS_LEDGER_URL"]))
    desk.store("2/1/one")
    (deposit,) = desk.ledger.fixity.next(1)
    desk.ledger.fixity.record(deposit, "missing", now=datetime.now(UTC))
    desk.ledger.close()
    finding = only_finding("fixity", "fail")
    assert finding["found"].endswith("the first one s3://storage/2/1/one: missing")
    assert finding["remedy"].endswith("dlcs retry 2/1/one")


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(("version", "result"), [("0001", "warn"), ("9999", "fail")])
def test_a_ledger_of_another_version_is_reported_and_not_changed(version: str, result: str) -> None:
    engine = create_engine(os.environ["DLCS_LEDGER_URL"])
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ledger_version SET version_num = ?", (version,))
    assert f"of version {version}" in only_finding("ledger", result)["found"]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM ledger_version").scalar() == version
    engine.dispose()


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(
    ("variable", "check"), [("DLCS_APPETISER_URL", "appetiser"), ("DLCS_IMAGE_SERVER_URL", "image server")]
)
def test_a_service_that_is_down_is_named_with_its_address(
    variable: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"http://user:{SECRET}@127.0.0.1:1")
    found = only_finding(check, "fail")
    assert "http://127.0.0.1:1" in found["found"]
    assert variable in found["remedy"]


class NoEncoder(Answering):
    refuses = ("/convert", 500, '{"detail": "Command \'kdu_compress\' returned non-zero exit status 127."}')


class AnotherDisk(Answering):
    refuses = ("/convert", 422, '{"detail": [{"type": "path_not_file", "loc": ["body", "source"]}]}')


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(
    ("handler", "result", "said"),
    [
        (NoEncoder, "fail", "Appetiser can't start its encoder"),
        (AnotherDisk, "warn", "does not see a file in the scratch folder of this machine"),
    ],
)
def test_an_appetiser_that_converts_nothing_is_found(
    handler: type[Answering], result: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its /ping is answered all the same."""
    for url in serving(handler):
        monkeypatch.setenv("DLCS_APPETISER_URL", url)
        assert said in only_finding("appetiser", result)["found"]


class NoDecoder(Answering):
    refuses = (".jp2", 501, "no reader for JP2")


class AnotherBucket(Answering):
    refuses = ("control", 404, "not there")


class AllFails(Answering):
    refuses = ("control", 500, "oh")


class WebServer(Answering):
    refuses = ("no-size", 200, "<html>")


class WrongColours(Answering):
    colour = (44, 84, 178)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (NoDecoder, "makes thumbnails of a JPEG"),
        (AnotherBucket, "does not find the image"),
        (AllFails, "answered 500"),
        (WebServer, "is no image server"),
        (WrongColours, "shows another picture"),
    ],
)
def test_an_image_server_that_makes_no_right_thumbnail_fails(
    deployment: Aws, monkeypatch: pytest.MonkeyPatch, server: type[Answering], said: str
) -> None:
    """A server without a decoder of JP2 is distinguished from one that is absent, or reads another bucket."""
    for url in serving(server):
        monkeypatch.setenv("DLCS_IMAGE_SERVER_URL", url)
        found = only_finding("image server", "fail")
        assert said in found["found"]
        assert ("decoder of JP2" in found["remedy"]) is (server is NoDecoder)
    left = deployment.s3.list_objects_v2(Bucket=os.environ["DLCS_STORAGE_BUCKET"])
    assert left["KeyCount"] == 0


@pytest.mark.usefixtures("deployment")
def test_no_image_server_is_needed_if_appetiser_makes_thumbnails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without an image server must pass all checks."""
    monkeypatch.setenv("DLCS_IMAGE_SERVER_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("DLCS_THUMBNAILS_BY", "appetiser")
    assert findings(0)["image server"]["found"] == "not needed: Appetiser makes the thumbnails (DLCS_THUMBNAILS_BY)"


@pytest.mark.usefixtures("deployment")
def test_another_server_at_the_address_of_appetiser_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web server that answers 404 to everything is not an Appetiser."""

    class NotFound(Answering):
        status = 404

    for url in serving(NotFound):
        monkeypatch.setenv("DLCS_APPETISER_URL", url)
        assert url in only_finding("appetiser", "fail")["found"]


@pytest.mark.usefixtures("deployment")
def test_an_image_server_whose_health_is_forbidden_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cantaloupe 5.0.6 answers so unless its API is enabled, which ours is not."""

    class Forbidden(Answering):
        status = 403

    for url in serving(Forbidden):
        monkeypatch.setenv("DLCS_IMAGE_SERVER_URL", url)
        assert findings(0)["image server"]["result"] == "ok"


@pytest.mark.usefixtures("deployment")
def test_a_queue_that_does_not_exist_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_PRIORITY_QUEUE_URL", os.environ["DLCS_INGEST_QUEUE_URL"] + "-gone")
    assert "-gone" in only_finding("priority queue", "fail")["found"]


def test_messages_are_counted_and_stay_where_they_are(deployment: Aws) -> None:
    deployment.sqs.send_message(QueueUrl=deployment.ingest, MessageBody="{}")
    assert "about 1 messages waiting" in findings(0)["ingest queue"]["found"]
    assert deployment.bodies(deployment.ingest) == ["{}"]


def test_a_visibility_timeout_shorter_than_a_tick_is_warned_of(deployment: Aws) -> None:
    deployment.sqs.set_queue_attributes(QueueUrl=deployment.ingest, Attributes={"VisibilityTimeout": "30"})
    assert "after 30 s" in only_finding("ingest queue", "warn")["found"]


def test_a_dead_letter_queue_is_warned_of(deployment: Aws) -> None:
    arn = deployment.sqs.get_queue_attributes(QueueUrl=deployment.priority, AttributeNames=["QueueArn"])
    policy = json.dumps({"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 3})
    deployment.sqs.set_queue_attributes(QueueUrl=deployment.ingest, Attributes={"RedrivePolicy": policy})
    assert "dead-letter" in only_finding("ingest queue", "warn")["found"]


@pytest.mark.usefixtures("deployment")
def test_a_storage_bucket_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_STORAGE_BUCKET", "no-such-bucket")
    found = findings(1)
    assert found["storage bucket"]["result"] == "fail"
    assert "no-such-bucket" in found["storage bucket"]["found"]
    assert found["lifecycle"]["result"] == "warn"


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(
    ("variable", "check"), [("DLCS_THUMBS_BUCKET", "thumbs bucket"), ("DLCS_ORIGIN_BUCKET", "origin bucket")]
)
def test_another_bucket_that_does_not_exist_is_named(
    variable: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "no-such-bucket")
    assert "no-such-bucket" in only_finding(check, "fail")["found"]


def test_a_bucket_that_may_not_be_written_fails(deployment: Aws) -> None:
    bucket = os.environ["DLCS_STORAGE_BUCKET"]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    deployment.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    found = findings(1)
    wrong = {name: each["result"] for name, each in found.items() if each["result"] != "ok"}
    assert wrong == {"storage bucket": "fail", "image server": "warn"}  # whose picture can't be put there
    assert "Forbidden" in found["storage bucket"]["found"]


def test_a_bucket_without_the_transient_rule_is_a_warning(deployment: Aws) -> None:
    """Without it, originals that a killed run left behind are paid for indefinitely."""
    deployment.s3.delete_bucket_lifecycle(Bucket=os.environ["DLCS_STORAGE_BUCKET"])
    assert "deploy/s3/lifecycle.json" in only_finding("lifecycle", "warn")["remedy"]


def test_a_disabled_lifecycle_rule_does_not_count(deployment: Aws) -> None:
    """It exists, but S3 deletes nothing by it."""
    set_lifecycle(deployment, os.environ["DLCS_STORAGE_BUCKET"], [{**TRANSIENT, "Status": "Disabled"}])
    assert "deploy/s3/lifecycle.json" in only_finding("lifecycle", "warn")["remedy"]


@pytest.mark.parametrize("prefix", ["", "2/"])
def test_a_rule_that_deletes_permanent_objects_fails(deployment: Aws, prefix: str) -> None:
    rule = {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 30}}
    set_lifecycle(deployment, os.environ["DLCS_STORAGE_BUCKET"], [TRANSIENT, rule])
    assert "JP2s" in only_finding("lifecycle", "fail")["found"]


@pytest.mark.usefixtures("deployment")
def test_without_s3_its_checks_fail_and_all_others_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    found = findings(1)
    wrong = {name: each["result"] for name, each in found.items() if each["result"] != "ok"}
    assert wrong == {
        **dict.fromkeys(("storage bucket", "thumbs bucket", "origin bucket"), "fail"),
        **dict.fromkeys(("lifecycle", "clock", "image server"), "warn"),
    }


@pytest.mark.usefixtures("deployment")
def test_the_clock_is_compared_with_what_s3_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Answering):
        date = datetime.now(UTC) - timedelta(hours=1)

    for url in serving(Late):
        monkeypatch.setenv("DLCS_S3_ENDPOINT_URL", url)
        found = findings(1)["clock"]
        assert found["result"] == "fail"
        assert "ahead of S3" in found["found"]


@pytest.mark.parametrize(
    ("seconds", "result"), [(0, "ok"), (30, "ok"), (31, "warn"), (-31, "warn"), (300, "warn"), (301, "fail")]
)
def test_how_far_clocks_may_be_apart(seconds: int, result: str) -> None:
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    assert judge_clock(now, now + timedelta(seconds=seconds)).verdict == result


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(("variable", "check"), [("DLCS_SCRATCH", "scratch"), ("DLCS_SLOTS", "slots")])
def test_a_folder_that_cannot_be_written_fails(
    variable: str, check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path / "file" / "folder"))
    found = only_finding(check, "fail")
    assert str(tmp_path / "file" / "folder") in found["found"]
    assert variable in found["remedy"]


@pytest.mark.usefixtures("deployment")
def test_the_folders_are_as_empty_afterwards_as_before() -> None:
    findings(0)
    assert [path.name for path in Path("slots").iterdir()] == []
    assert [path.name for path in Path("scratch").iterdir() if path.name.startswith("doctor-")] == []


@pytest.mark.parametrize(("free", "result"), [(2**30 - 1, "fail"), (2**30, "warn"), (8 * 2**30, "ok")])
def test_eight_images_in_progress_need_this_much_room(free: int, result: str) -> None:
    assert judge_room(Path("/scratch"), free, 8).verdict == result


@pytest.mark.usefixtures("deployment")
def test_what_is_not_s3_fails_its_checks_and_not_the_command(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_S3_ENDPOINT_URL", service)
    found = findings(1)
    assert found["storage bucket"]["result"] == "fail"
    assert found["ledger"]["result"] == "ok"
