"""Checks of `dlcs doctor` on the system's own parts: customers file, ledger, Appetiser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from dlcs_assets.cli.connection import ledger_keys
from dlcs_assets.cli.dagster_instance import instance_at
from dlcs_assets.cli.doctor_finding import Check, Finding, fail, failed, ok, warn
from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.dlcs_database import NEWEST_KNOWN, DlcsDatabase
from dlcs_assets.clients.dlcs_ends import check_writing
from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.ingest.appetiser_trial import convert_control_picture
from dlcs_assets.ledger.engine import UnusableLedgerError, make_engine, unusable
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.outbox import ALERT_TARGETS
from dlcs_assets.ledger.ownership import refusal
from dlcs_assets.ledger.schema_version import found_version
from dlcs_assets.ledger.tables import SCHEMA_VERSION
from dlcs_assets.settings import Settings

_SQLITE: Final = "sqlite"
_NAMED: Final = 5
_SEEN_WITHIN: Final = timedelta(minutes=10)


def check_customers(settings: Settings) -> Iterator[Finding]:
    """Report which customers are in force."""
    file = customer_source(settings)
    try:
        known = file.customers()
    except NoCustomersError as error:
        yield failed("customers", error)
        return
    if problem := file.problem():
        what = settings.customers_file if settings.database_url is None else "the DLCS or the customers file"
        yield warn("customers", problem, f"Correct {what}: it is read again automatically.")
    elif settings.database_url is not None:
        yield ok("customers", f"{len(known.by_number)} customers of the DLCS")
    elif settings.customers_file.exists():
        yield ok("customers", f"{len(known.by_number)} customers in {settings.customers_file}")
    else:
        yield ok("customers", f"no file {settings.customers_file}: all customers have the default policies")


def check_dlcs_database(settings: Settings) -> Iterator[Finding]:
    """Check that the DLCS's database is one, and that its user may read and write what is needed."""
    if settings.database_url is None:
        return
    with closing(DlcsDatabase(settings.database_url.get_secret_value())) as database:
        database.check_images()
        check_writing(database)
        layout = database.configuration().layout
    if layout.is_newer:
        yield warn(
            "dlcs database",
            f"{database}: {layout}, newer than this software knows ({NEWEST_KNOWN})",
            "All tables and columns that are needed are there. See whether there is a newer version of dlcs-assets.",
        )
    else:
        yield ok("dlcs database", f"{database}: {layout}")


def check_ledger(settings: Settings) -> Iterator[Finding]:
    """Check the ledger without changing it: the processes that use it bring its tables up to date."""
    where = shown_url(settings.ledger_url)
    if _is_missing_file(settings.ledger_url):
        yield warn("ledger", f"there is nothing yet at {where}", "The first process that needs it makes it.")
        return
    try:
        found = _version_at(settings.ledger_url)
    except UnusableLedgerError as error:
        yield fail("ledger", str(error), "Check that the database is up, and that DLCS_LEDGER_URL leads there.")
        return
    if found == SCHEMA_VERSION:
        yield ok("ledger", f"version {found} at {where}")
    elif found is None:
        yield warn("ledger", f"{where} is empty", "The first process that needs it makes the tables.")
    elif found < SCHEMA_VERSION:
        yield warn(
            "ledger",
            f"{where} is of version {found}, this software of {SCHEMA_VERSION}",
            "The next process that opens it upgrades it: stop everything and make a backup before.",
        )
    else:
        yield fail(
            "ledger",
            f"{where} is of version {found}, newer than this software ({SCHEMA_VERSION})",
            "Upgrade dlcs-assets.",
        )


def check_appetiser(settings: Settings) -> Iterator[Finding]:
    """Have Appetiser convert a small picture: it answers GET /ping also if it cannot convert anything."""
    appetiser = Appetiser(
        url=settings.appetiser_url,
        optimisation=settings.appetiser_optimisation,
        scratch_root=str(settings.scratch.absolute()),
        appetiser_scratch_root=str(settings.appetiser_root),
        connect_timeout_seconds=5,
        timeout_seconds=60,
        attempts=2,
    )
    where = shown_url(settings.appetiser_url)
    try:
        if appetiser.ping():
            yield _conversion(appetiser, settings, where)
        else:
            yield fail(
                "appetiser",
                f"does not answer GET /ping at {where} as Appetiser does",
                "Start it, or correct DLCS_APPETISER_URL. A sidecar can be reached from its own task only.",
            )
    finally:
        appetiser.close()


def _conversion(appetiser: Appetiser, settings: Settings, where: str) -> Finding:
    try:
        settings.scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=settings.scratch, prefix="doctor-") as folder:
            Path(folder).chmod(0o777)  # Appetiser may be another user
            convert_control_picture(appetiser, Path(folder))
    except IngestError as error:
        if error.code == "appetiser_cannot_see_source":
            said = "answers, but does not see a file in the scratch folder of this machine"
            return warn("appetiser", f"{said}, at {where}", f"Run this where runs run. If it is there: {error.remedy}")
        return failed("appetiser", error)
    except OSError as error:  # which is what the check of the scratch folder reports
        return ok("appetiser", f"answers at {where}; it could be given no picture to convert: {error}")
    return ok("appetiser", f"converts at {where}")


def check_images(settings: Settings) -> Iterator[Finding]:
    """Report what is stalled, and what the fixity audit found damaged."""
    if not is_usable(settings.ledger_url):
        return  # `check_ledger` reports it
    ledger, now = Ledger(settings.ledger_url, ledger_keys(settings)), datetime.now(UTC)
    try:
        unwritten, why = ledger.write_backs.unwritten()
        stalled, damaged = ledger.health.stalled(now - settings.stalled_after), ledger.fixity.damaged()
    finally:
        ledger.close()
    if unwritten:
        yield warn(
            "dlcs database",
            f"{unwritten} ends of images are not written there: {why or 'not tried yet'}",
            "The sensor `reconcile` writes them when that is possible; until then the images are pending.",
        )
    if stalled:
        found = "; ".join(each.describe(now) for each in stalled[:_NAMED])
        yield warn(
            "stalled images",
            found if len(stalled) <= _NAMED else f"{found}; and {len(stalled) - _NAMED} more kinds",
            "`dlcs status ID` shows each; the answers of services are in the runs' logs.",
        )
    else:
        yield ok("stalled images", f"none for longer than {settings.stalled_after}")
    if damaged:
        images = sorted({each.image_id for each in damaged})
        named = " ".join(images[:_NAMED])
        yield fail(
            "fixity",
            f"{len(damaged)} stored objects of {len(images)} images are damaged, the first one "
            f"{damaged[0].uri}: {damaged[0].damage}",
            f"Check who writes to the bucket besides this system, then ingest the images again: dlcs retry {named}",
        )
    else:
        yield ok("fixity", "no stored object is known to be damaged")


def check_owner(settings: Settings) -> Iterator[Finding]:
    """Report which Dagster instance the ledger works for, and whether it is the one of DAGSTER_HOME."""
    if not is_usable(settings.ledger_url):
        return  # `check_ledger` reports it
    ledger, now = Ledger(settings.ledger_url, ledger_keys(settings)), datetime.now(UTC)
    try:
        owner = ledger.ownership.current()
    finally:
        ledger.close()
    home = os.environ.get("DAGSTER_HOME")
    if owner is None:
        yield ok("owner", "no Dagster instance has used the ledger yet: the first one that does owns it")
    elif home and (Path(home) / "dagster.yaml").exists() and (here := instance_at(home))[0] != owner.instance_id:
        yield fail("owner", *refusal(owner, *here, now))
    elif now - owner.seen_at > _SEEN_WITHIN:
        yield warn(
            "owner",
            f"the ledger works for {owner.describe(now)}",
            "Nothing is taken in or launched meanwhile: check Dagster's daemon and code server. If another Dagster "
            "instance is to work with it: dlcs ledger take-over",
        )
    else:
        yield ok("owner", f"the ledger works for {owner.describe(now)}")


def check_launches(settings: Settings) -> Iterator[Finding]:
    """Report whether runs can be started, as far as the ledger knows."""
    if not is_usable(settings.ledger_url):
        return  # `check_ledger` reports it
    ledger = Ledger(settings.ledger_url, ledger_keys(settings))
    try:
        held_up = ledger.launches.held_up()
    finally:
        ledger.close()
    if held_up is None:
        yield ok("launches", "no run waits for capacity, and none failed before it began")
    else:
        yield warn(
            "launches",
            held_up.describe(),
            "Images wait, and lose no attempt. If capacity is missing: give the cluster or the machine more, "
            "or lower max_concurrent_runs in dagster.yaml. The log of the run in Dagster has the whole answer.",
        )


def check_alerts(settings: Settings) -> Iterator[Finding]:
    """Report whether alerts have a receiver, and whether it takes them."""
    if not is_usable(settings.ledger_url):
        return  # `check_ledger` reports it
    if not (settings.alert_topic_arn or settings.alert_webhook_url):
        yield ok("alerts", "they have no receiver: neither DLCS_ALERT_TOPIC_ARN nor DLCS_ALERT_WEBHOOK_URL is set")
        return
    ledger = Ledger(settings.ledger_url, ledger_keys(settings))
    try:
        unsent = {target: ledger.outbox.unsent(target) for target in ALERT_TARGETS}
    finally:
        ledger.close()
    problems = [problem for count, problem in unsent.values() if count and problem]
    if problems:
        count = sum(count for count, _ in unsent.values())
        yield warn("alerts", f"{count} are unsent: {problems[0]}", "They are sent once it takes them; try dlcs alert.")
    else:
        yield ok("alerts", "all were sent")


CHECKS: Final[tuple[Check, ...]] = (
    check_customers,
    check_dlcs_database,
    check_ledger,
    check_owner,
    check_launches,
    check_alerts,
    check_images,
    check_appetiser,
)


def _is_missing_file(url: str) -> bool:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return False
    return parsed.get_backend_name() == _SQLITE and bool(parsed.database) and not Path(parsed.database or "").exists()


def is_usable(url: str) -> bool:
    """Return whether there is a ledger of this version, which opening it would not change."""
    try:
        return not _is_missing_file(url) and _version_at(url) == SCHEMA_VERSION
    except UnusableLedgerError:
        return False


def _version_at(url: str) -> str | None:
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return found_version(connection)
    except DBAPIError as error:
        raise unusable(engine, error) from error
    finally:
        engine.dispose()
