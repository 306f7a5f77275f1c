from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dlcs_assets.customers import CustomerSource, NoCustomersError, customer_source, file
from dlcs_assets.customers.file import CustomersFile
from dlcs_assets.customers.source import customers_without_file
from dlcs_assets.domain.errors import ServiceDownError
from dlcs_assets.settings import Settings

GOOD = "customers: {2: {}}\n"
BETTER = "customers: {2: {}, 3: {}}\n"
BAD = "customers: {2: {quota: 1}}\nclients: {}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dlcs.yaml"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let a second go by."""
    now = [0.0]
    # The module's own name for it: event loops of other tests' servers live by the real clock.
    monkeypatch.setattr(file, "monotonic", lambda: now[0])

    def later() -> None:
        now[0] += file.CHECK_INTERVAL_SECONDS

    return later


def opened(path: Path, *, required: bool = True) -> CustomersFile:
    """Open it as another process would, which has nothing but the copy of the last good one."""
    without = None if required else customers_without_file(None, ("shared-scans",))
    return CustomersFile(path, path.with_name("last-good.yaml"), without)


def numbers(customers: CustomerSource) -> set[int]:
    return set(customers.customers().by_number)


def test_an_edit_is_in_force_within_a_second(path: Path, later: Callable[[], None]) -> None:
    path.write_text(GOOD)
    customers = opened(path)
    assert (numbers(customers), customers.problem()) == ({2}, None)
    path.write_text(BETTER)
    assert numbers(customers) == {2}
    later()
    assert numbers(customers) == {2, 3}


def test_an_edit_of_the_same_length_at_the_same_time_is_seen(path: Path, later: Callable[[], None]) -> None:
    path.write_text(GOOD)
    customers = opened(path)
    assert numbers(customers) == {2}
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(GOOD.replace("2", "7"))
    os.utime(path, ns=times)
    later()
    assert numbers(customers) == {7}


def test_after_a_bad_edit_the_last_good_file_stays_in_force(path: Path, later: Callable[[], None]) -> None:
    """The problem lists all mistakes, and is gone once the file is good again."""
    path.write_text(BETTER)
    customers = opened(path)
    assert numbers(customers) == {2, 3}
    path.write_text(BAD)
    later()
    assert numbers(customers) == {2, 3}
    problem = customers.problem()
    assert problem is not None
    assert f"{path}, line 1: customers.2.quota: is a whole number; expected fields" in problem
    assert f"{path}, line 2: clients: is no field here" in problem
    assert problem.endswith("The last good one stays in force.")
    path.write_text(GOOD)
    later()
    assert (numbers(customers), customers.problem()) == ({2}, None)


def test_a_copy_that_cannot_be_written_leaves_no_file(path: Path, tmp_path: Path) -> None:
    """On a full disk the copy's place is a file that cannot be replaced, and what was begun is taken away."""
    (tmp_path / "last-good.yaml").mkdir()
    path.write_text(GOOD)
    assert numbers(opened(path)) == {2}
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "last-good.yaml"}


def test_a_process_started_after_a_bad_edit_has_the_last_good(path: Path) -> None:
    """Runs are new processes: they must not fail, nor use other customers than the sensors do."""
    path.write_text(BETTER)
    assert numbers(opened(path)) == {2, 3}
    path.write_text(BAD)
    another = opened(path)
    assert numbers(another) == {2, 3}
    assert "The last good one stays in force" in str(another.problem())


@pytest.mark.parametrize("required", [True, False])
def test_a_bad_file_without_a_good_one_before_it_makes_all_wait(path: Path, required: bool) -> None:
    """Images wait as for a service that is down; they must not be rejected for a mistake of the operator."""
    path.write_text(BAD)
    customers = opened(path, required=required)
    with pytest.raises(NoCustomersError) as raised:
        customers.customers()
    assert isinstance(raised.value, ServiceDownError)
    assert raised.value.code == "customers_file_invalid"
    assert "clients" in raised.value.cause
    assert str(path) in raised.value.remedy


def test_a_first_file_with_a_mistake_stops_nothing(path: Path, later: Callable[[], None]) -> None:
    """What worked without a file works on, in this process and in those that start later, until the file is correct."""
    customers = opened(path, required=False)
    assert customers.customers().get(7)
    path.write_text(BAD)
    later()
    for each in (customers, opened(path, required=False)):
        assert set(each.customers().get(7).buckets) == {"shared-scans"}
        problem = str(each.problem())
        assert "line 2: clients: is no field here" in problem
        assert problem.endswith("All is as it was without a file.")
    path.write_text(GOOD)
    later()
    assert (numbers(customers), customers.problem()) == ({2}, None)
    path.write_text(BAD)
    for each in (opened(path, required=False), opened(path)):
        assert numbers(each) == {2}
        assert str(each.problem()).endswith("The last good one stays in force.")


def test_a_first_file_with_a_mistake_that_was_named_stops_all(path: Path) -> None:
    """The settings say that it has to be there: nothing worked before."""
    opened(path, required=False).customers()
    path.write_text(BAD)
    with pytest.raises(NoCustomersError, match="No good one was there before"):
        opened(path).customers()


def test_a_file_that_was_named_has_to_be_there(path: Path) -> None:
    with pytest.raises(NoCustomersError, match="can't be read: No such file"):
        opened(path).customers()


def test_without_a_file_all_customers_have_what_the_settings_say(path: Path, later: Callable[[], None]) -> None:
    customers = opened(path, required=False)
    assert set(customers.customers().get(7).buckets) == {"shared-scans"}
    path.write_text(GOOD)
    later()
    assert customers.customers().find(7) is None
    assert customers.customers().get(2).buckets == {}


def test_a_file_that_was_deleted_stays_in_force(path: Path, later: Callable[[], None]) -> None:
    """To go back to settings alone takes more than a file that a deployment forgot to mount."""
    path.write_text(GOOD)
    customers = opened(path, required=False)
    assert numbers(customers) == {2}
    path.unlink()
    later()
    for each in (customers, opened(path, required=False)):
        assert numbers(each) == {2}
        assert "No such file" in str(each.problem())


def test_what_is_not_a_file_or_far_too_long_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(NoCustomersError, match="Is a directory"):
        opened(path).customers()
    path.rmdir()
    path.write_bytes(b"#" * (10 * 2**20 + 1))
    with pytest.raises(NoCustomersError, match="expected a customers file"):
        opened(path).customers()


def test_a_long_list_of_problems_is_cut_for_the_tick(path: Path) -> None:
    path.write_text("customers:\n" + "".join(f"  {number}: {{quota: 1}}\n" for number in range(1, 100)))
    with pytest.raises(NoCustomersError, match="and 79 more"):
        opened(path).customers()


def test_a_folder_that_cannot_hold_the_copy_is_not_an_error(path: Path) -> None:
    path.write_text(GOOD)
    (path.parent / "taken").write_text("")
    assert numbers(CustomersFile(path, path.parent / "taken" / "last-good.yaml", None)) == {2}


def test_the_settings_lead_to_one_file_for_the_process(path: Path) -> None:
    path.write_text(GOOD)
    settings = Settings(customers_file=path, scratch=path.parent / "scratch", customers=(5,))
    assert customer_source(settings) is customer_source(settings.model_copy())
    assert numbers(customer_source(settings)) == {2}
    assert [each.suffix for each in (path.parent / "scratch").iterdir()] == [".yaml"]


def test_the_settings_alone_name_customers_and_buckets(path: Path) -> None:
    settings = Settings(scratch=path.parent, customers=(5, 6), s3_origin_buckets=("scans-a",))
    assert not settings.customers_file.exists()
    customers = customer_source(settings).customers()
    assert set(customers.by_number) == {5, 6}
    assert (customers.get(5).number, set(customers.get(5).buckets)) == (5, {"scans-a"})
    assert customers.find(7) is None
