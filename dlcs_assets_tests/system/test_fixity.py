"""The audit of what is stored: what it finds, and what it says about it."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from dlcs_testing.harness import System
from dlcs_testing.pictures import jpeg

PAGE, OTHER = "2/1/page", "2/1/other"


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    """Return a system that has ingested two pages."""
    system = make_system()
    for image in (PAGE, OTHER):
        system.ingest(image, system.serve("page.jpg", jpeg(320, 240)), "iiif-img,thumbs")
    return system


def audit(system: System, **config: int) -> dg.DagsterRun:
    return system.execute_job("fixity_audit", "verify_fixity", config)


def a_key(system: System) -> str:
    return min(system.storage(PAGE))


def failure_report(system: System, run: dg.DagsterRun) -> tuple[str, str]:
    """Return the description of a failed run, and its table."""
    return system.failure_of(run, "objects")


def test_all_is_as_it_was_stored(system: System) -> None:
    run = audit(system)
    assert run.is_success, system.log_of(run)
    stored = len(system.storage("2/1/")) + len(system.thumbs("2/1/"))
    assert f"{stored} objects are as they were stored" in system.log_of(run)


def test_other_bytes_under_a_key_are_reported_with_a_remedy(system: System) -> None:
    """One flipped bit is enough; the report names the object and the command that repairs it."""
    key = a_key(system)
    data = bytearray(system.storage()[key].data)
    data[len(data) // 2] ^= 1
    system.put(system.settings.storage_bucket, key, bytes(data), "image/jp2")

    description, table = failure_report(system, audit(system))

    assert "1 stored objects are not what was stored" in description
    assert f"s3://{system.settings.storage_bucket}/{key} (other bytes: SHA-256 " in description
    assert f"dlcs retry {PAGE}" in description
    assert key in table


def test_what_is_cut_short_or_gone_is_found(system: System) -> None:
    key = a_key(system)
    system.put(system.settings.storage_bucket, key, b"short", "image/jp2")
    gone = min(system.thumbs(OTHER))
    system.s3.delete_object(Bucket=system.settings.thumbs_bucket, Key=gone)

    description, table = failure_report(system, audit(system))

    assert "2 stored objects are not what was stored" in description
    assert "5 bytes instead of" in table
    assert "missing" in table
    assert {each.key for each in system.ledger.fixity.damaged()} == {key, gone}


def test_an_image_retried_as_advised_is_undamaged_again(system: System) -> None:
    system.s3.delete_object(Bucket=system.settings.storage_bucket, Key=a_key(system))
    audit(system)
    system.retry(PAGE)
    system.settle()
    assert system.ledger.fixity.damaged() == []
    assert audit(system).is_success


def test_an_audit_reads_a_given_number_and_the_next_continues(system: System) -> None:
    """After the last object it starts with the first again."""
    stored = len(system.storage("2/1/")) + len(system.thumbs("2/1/"))
    for _ in range(stored):
        assert "1 objects are as they were stored" in system.log_of(audit(system, objects=1))
    assert system.ledger.fixity.next(1) == system.ledger.fixity.next(stored)[:1]


def test_what_is_archived_is_no_damage_and_no_failure(system: System) -> None:
    """S3 has it, and returns it only once it is restored. The next audit continues with others."""
    archived = max(system.storage(PAGE))
    bucket = system.settings.storage_bucket
    source = {"Bucket": bucket, "Key": archived}
    system.s3.copy_object(Bucket=bucket, Key=archived, CopySource=source, StorageClass="DEEP_ARCHIVE")
    run = audit(system)
    assert run.is_success, system.log_of(run)
    assert "; 1 are archived" in system.log_of(run)
    assert system.ledger.fixity.damaged() == []
    order = [each.key for each in system.ledger.fixity.next(100)]
    assert audit(system, objects=1 + order.index(archived)).is_success
    assert system.ledger.fixity.next(100)[-1].key == archived


def test_what_cannot_be_read_is_no_damage_and_is_read_next_time(system: System) -> None:
    key = a_key(system)
    system.use(s3_endpoint_url=system.s3_proxy.url)
    system.s3_proxy.refusing[f"/{system.settings.storage_bucket}/{key}"] = (
        403,
        "<Error><Code>AccessDenied</Code></Error>",
    )

    description, table = failure_report(system, audit(system))

    assert "1 objects could not be read" in description
    assert "The next audit begins with them" in description
    assert key in table
    assert system.ledger.fixity.damaged() == []
    assert [deposit.key for deposit in system.ledger.fixity.next(1)] == [key]


def test_it_reads_some_every_night_from_the_start(system: System) -> None:
    schedules = {each.job_name: each for each in system.definitions.get_repository_def().schedule_defs}
    assert schedules["fixity_audit"].cron_schedule == "0 4 * * *"
    assert schedules["fixity_audit"].default_status is dg.DefaultScheduleStatus.RUNNING
