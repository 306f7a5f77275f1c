"""A customers file in force: whose policies, channels and credentials an image gets, and what a slip in it does."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from dlcs_assets.customers import NoCustomersError
from dlcs_assets.defs.checks import CONFIGURATION_IS_VALID
from dlcs_assets.defs.sensors.sensors import InvalidConfigurationError
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import drawing, encoded, jpeg

CUSTOMERS = """
customers:
  2:
    origins:
      - {id: library, regex: '/locked/', strategy: basic-http-authentication, credentials: env:LIBRARY, order: 1}
    policies:
      thumbs:
        small: ['!50,50']
    default_channels:
      - {media_type: image/*, channel: iiif-img, policy: default}
      - {media_type: image/*, channel: thumbs, policy: small}
    spaces:
      5:
        default_channels:
          - {media_type: image/*, channel: iiif-img, policy: use-original}
  22: {}
"""
PASSWORD = "hunter" + "2"
BASIC = "Basic bGlicmFyaWFuOmh1bnRlcjI="


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "customers.yaml"
    path.write_text(CUSTOMERS)
    monkeypatch.setenv("LIBRARY", json.dumps({"user": "librarian", "password": PASSWORD}))
    return path


@pytest.fixture
def system(make_system: Callable[..., System], file: Path) -> System:
    return make_system(customers_file=file)


def ask(system: System, image: str, origin: str, channels: str) -> None:
    system.send(full_message(image, origin, channels))


def test_policies_and_default_channels_are_by_customer_and_space(system: System) -> None:
    """What a space does not set, it has from its customer."""
    url = system.serve("page.jpg", jpeg(300, 200))
    for image in ("2/1/page", "2/5/page", "22/1/page"):
        ask(system, image, url, "")
    system.settle()
    assert set(system.states().values()) == {"done"}
    assert set(system.storage()) == {"2/1/page", "2/5/page/original", "22/1/page"}
    small = {image for image in ("2/1/page", "2/5/page", "22/1/page") if f"{image}/open/50.jpg" in system.thumbs()}
    assert small == {"2/1/page", "2/5/page"}


def test_credentials_open_an_origin_for_their_customer_only(
    system: System, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """They appear in no log, no output, and no file of Dagster, the ledger or scratch."""
    url = system.serve("locked/page.tif", encoded(drawing(300, 200), "TIFF"))
    system.origin.locked["/locked/page.tif"] = BASIC
    with caplog.at_level(logging.DEBUG):
        ask(system, "2/1/page", url, "iiif-img:default")
        ask(system, "22/1/page", url, "iiif-img:default")
        system.settle()
    assert system.states() == {"2/1/page": "done", "22/1/page": "failed"}
    folders = (tmp_path, system.settings.scratch)  # Dagster's storage and the ledger; files in progress
    written = [path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()]
    shown = caplog.text + "".join(capfd.readouterr())
    assert len(written) > 1
    assert [text for text in (PASSWORD, BASIC) if text in shown or any(text.encode() in data for data in written)] == []


def test_refused_credentials_fail_the_image_naming_the_strategy(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator must find out which credentials are to be corrected."""
    monkeypatch.setenv("LIBRARY", json.dumps({"user": "librarian", "password": "wrong"}))
    url = system.serve("locked/page.jpg", jpeg(300, 200))
    system.origin.locked["/locked/page.jpg"] = BASIC
    failed = system.ingest("2/1/page", url, "iiif-img:default")
    assert (failed.state, failed.error_code) == ("failed", "origin_login_refused")
    assert "'library' (basic-http-authentication)" in str(failed.reason)


def test_messages_of_customers_outside_the_file_are_rejected(system: System) -> None:
    ask(system, "3/1/page", "https://example.org/page.jpg", "file")
    system.settle()
    assert system.states() == {"3/1/page": "rejected"}
    (rejected,) = system.ledger.inbox.rejected()
    assert rejected["code"] == "customer_not_configured"


def test_a_bad_edit_is_reported_and_the_last_good_file_applies(
    system: System, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tick names the file, the line and the field."""
    monkeypatch.setattr("dlcs_assets.customers.file.CHECK_INTERVAL_SECONDS", 0.0)
    assert "dlcs.yaml" not in str(system.tick("sqs_ingest").skipped)
    file.write_text(CUSTOMERS.replace("small: [", "tiny: ["))
    shown = str(system.tick("sqs_ingest").skipped)
    assert f"{file}, line 11: customers.2.default_channels[1].policy: is 'small'; expected a policy of thumbs" in shown
    assert "The last good one stays in force." in shown
    assert system.ingest("2/1/page", system.serve("page.jpg", jpeg(300, 200)), "").state == "done"
    assert "2/1/page/open/50.jpg" in system.thumbs()


def test_what_the_newest_file_may_know_waits_for_it(
    system: System, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edited twice, and wrong when it was read: who sends messages of a new customer or policy need not know that."""
    monkeypatch.setattr("dlcs_assets.customers.file.CHECK_INTERVAL_SECONDS", 0.0)
    at_once = system.make_queue("again", VisibilityTimeout="0")  # what is left is received by the next tick
    system.use(ingest_queue_url=at_once, intake_budget=timedelta(0))
    url = system.serve("page.jpg", jpeg(300, 200))
    system.tick("sqs_ingest")
    file.write_text("customers: [1, 2")
    for image, policy in (("3/1/page", "new"), ("2/1/new", "new"), ("2/1/page", "small")):
        ask(system, image, url, f"thumbs:{policy}")
    system.settle()
    assert "2 stay in the queue for now" in system.skip_reason("sqs_ingest")
    assert system.states() == {"2/1/page": "done"}
    new = "  3:\n    policies: {thumbs: {new: ['!60,60']}}\n"
    file.write_text(CUSTOMERS.replace("small: [", "new: ['!50,50']\n        small: [") + new)
    system.settle()
    assert system.states() == dict.fromkeys(("2/1/page", "2/1/new", "3/1/page"), "done")


def test_what_waits_for_the_file_for_too_long_is_rejected(
    system: System, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS would delete it some day; what is rejected is kept."""
    monkeypatch.setattr("dlcs_assets.customers.file.CHECK_INTERVAL_SECONDS", 0.0)
    system.tick("sqs_ingest")
    file.write_text("customers: [1, 2")
    monkeypatch.setattr("dlcs_assets.intake.admission.LONGEST_WAIT", timedelta(0))
    ask(system, "3/1/page", "https://example.org/page.jpg", "file")
    system.settle()
    (rejected,) = system.ledger.inbox.rejected()
    assert rejected["code"] == "customer_not_configured"


def test_without_a_good_file_messages_stay_in_their_queue(make_system: Callable[..., System], file: Path) -> None:
    """Each tick that needs the file fails; the others continue."""
    file.write_text("customers: [2]\n")
    system = make_system(customers_file=file, swept_buckets=("scans",))
    ask(system, "2/1/page", "https://example.org/page.jpg", "file")
    for sensor, kind in (
        ("sqs_ingest", NoCustomersError),
        ("s3_sweep", InvalidConfigurationError),
        ("configuration", InvalidConfigurationError),
    ):
        with pytest.raises(kind, match="line 1: customers: is a list; expected fields"):
            system.tick(sensor)
    assert "Pending: none" in system.skip_reason("due_images")
    assert (system.waiting_messages(), system.states()) == (1, {})


def test_a_mistake_is_a_failed_tick_and_a_failed_check(
    system: System, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force continues; both are well again once the file is."""
    monkeypatch.setattr("dlcs_assets.customers.file.CHECK_INTERVAL_SECONDS", 0.0)
    assert "no mistake" in system.skip_reason("configuration")
    assert configuration_check(system) == (True, "The customers file has no mistake, or there is none")
    file.write_text(CUSTOMERS.replace("small: [", "tiny: ["))
    with pytest.raises(InvalidConfigurationError, match=r"line 11: customers\.2\.default_channels"):
        system.tick("configuration")
    passed, why = configuration_check(system)
    assert not passed
    assert "line 11: customers.2.default_channels[1].policy: is 'small'" in why
    assert "The last good one stays in force." in why
    assert system.ingest("2/1/page", system.serve("page.jpg", jpeg(300, 200)), "").state == "done"
    file.write_text(CUSTOMERS)
    assert "no mistake" in system.skip_reason("configuration")
    assert configuration_check(system)[0]


def test_a_first_file_with_a_mistake_stops_no_image(
    make_system: Callable[..., System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcs_assets.customers.file.CHECK_INTERVAL_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    system = make_system()
    url = system.serve("page.jpg", jpeg(300, 200))
    assert system.ingest("2/1/before", url, "").state == "done"
    (tmp_path / "dlcs.yaml").write_text("customers: [2]\n")
    with pytest.raises(InvalidConfigurationError, match="All is as it was without a file"):
        system.tick("configuration")
    assert system.ingest("2/1/after", url, "").state == "done"


def configuration_check(system: System) -> tuple[bool, str]:
    """Return whether the check passed when it was last evaluated, after a tick, and what it says."""
    system.tick("watch")
    key = dg.AssetCheckKey(system.catalog.ledger, CONFIGURATION_IS_VALID)
    newest = system.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0].event
    assert newest is not None
    assert newest.dagster_event is not None
    found = newest.dagster_event.asset_check_evaluation_data
    return found.passed, str(found.description)
