"""`dlcs ledger`: whose the ledger is, and giving it to another Dagster instance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from dlcs_assets.defs.ledgers import identity
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.ledger import Ledger
from dlcs_assets_tests.cli.conftest import Desk
from dlcs_testing.command_line import dlcs

OURS = "11111111-1111-4111-8111-111111111111"
OTHERS = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def owned(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger whose owner was there 20 minutes ago."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    ledger.ownership.require(OURS, "one:/dagster", now=datetime.now(UTC) - timedelta(minutes=20))
    return ledger


def owner_of(ledger: Ledger) -> str:
    found = ledger.ownership.current()
    assert found is not None
    return found.instance_id


def test_the_owner_of_a_ledger_is_shown(ledger: Ledger) -> None:
    assert "No Dagster instance has used it yet" in dlcs("ledger", "owner").stdout
    ledger.ownership.require(OURS, "one:/dagster", now=datetime.now(UTC))
    shown = dlcs("ledger", "owner").stdout
    assert f"It works for Dagster instance {OURS} (one:/dagster)" in shown
    assert "In progress: 0 runs, 0 images." in shown


def test_a_take_over_says_what_it_means_and_asks(owned: Ledger, desk: Desk) -> None:
    desk.send("2/1/a")
    owned.claims.claim_images([AssetId(2, 1, "a")], STAGES, "run", now=datetime.now(UTC))
    asked = dlcs("ledger", "take-over", OTHERS)
    assert asked.exit_code == 1
    assert "In progress: 1 runs, 1 images. Their images are due again at once" in asked.stdout
    assert owner_of(owned) == OURS
    done = dlcs("ledger", "take-over", OTHERS, "--yes")
    assert done.exit_code == 0
    assert done.stdout.endswith(f"works for Dagster instance {OTHERS} now. Due again: 1 runs, 1 images.\n")
    assert owner_of(owned) == OTHERS
    assert "Nothing is changed" in dlcs("ledger", "take-over", OTHERS).stdout


def test_an_owner_that_is_up_is_pointed_out(owned: Ledger) -> None:
    assert "seems to be up" not in dlcs("ledger", "take-over", OTHERS).stdout
    owned.ownership.require(OURS, "one:/dagster", now=datetime.now(UTC))
    assert "The owner seems to be up: stop it before" in dlcs("ledger", "take-over", OTHERS).stdout


def test_the_new_owner_is_the_instance_of_dagster_home(
    owned: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        expected, _ = identity(instance)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert dlcs("ledger", "take-over", "--yes").exit_code == 0
    assert owner_of(owned) == expected


@pytest.mark.parametrize(("arguments", "status"), [(["mine"], 2), ([], 1)])
def test_without_a_new_owner_nothing_changes(owned: Ledger, arguments: list[str], status: int) -> None:
    assert dlcs("ledger", "take-over", "--yes", *arguments).exit_code == status
    assert owner_of(owned) == OURS


def test_doctor_says_whose_the_ledger_is(owned: Ledger, tmp_path: Path) -> None:
    """One that is another instance's fails; an owner that has not been there for long is a warning."""
    found = dlcs("doctor", "--json").stdout
    assert f"the ledger works for Dagster instance {OURS}" in found
    assert "check Dagster's daemon and code server" in found
    with dg.instance_for_test(temp_dir=str(tmp_path)):
        refused = dlcs("doctor", "--json").stdout  # DAGSTER_HOME is that instance's meanwhile
    assert f"This ledger belongs to Dagster instance {OURS}" in refused
    owned.ownership.require(OURS, "one:/dagster", now=datetime.now(UTC))
    assert '"check": "owner",\n    "result": "ok"' in dlcs("doctor", "--json").stdout
