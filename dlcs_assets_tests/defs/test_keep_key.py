from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.partitions import DISPATCH_LEASE
from dlcs_assets.defs.sensors.reconcile import keep_key
from dlcs_assets.ledger import Ledger

KEY = "@2/1/page"
CATALOG = Catalog()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


def test_a_key_that_is_missing_is_added(ledger: Ledger) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert keep_key(instance, CATALOG, ledger, KEY)
        assert instance.get_dynamic_partitions(CATALOG.partitions_name) == [KEY]


def test_no_key_is_added_while_dispatch_may_be_moving_it(ledger: Ledger) -> None:
    """Added between its deletion and its return, it stood outside of its chunk's range, and the run failed."""
    with dg.DagsterInstance.ephemeral() as instance, ledger.dispatch.lease(DISPATCH_LEASE):
        assert not keep_key(instance, CATALOG, ledger, KEY, wait=timedelta(0))
        assert instance.get_dynamic_partitions(CATALOG.partitions_name) == []


def test_a_key_that_exists_needs_no_lease(ledger: Ledger) -> None:
    with dg.DagsterInstance.ephemeral() as instance, ledger.dispatch.lease(DISPATCH_LEASE):
        instance.add_dynamic_partitions(CATALOG.partitions_name, [KEY])
        assert keep_key(instance, CATALOG, ledger, KEY, wait=timedelta(0))
