from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.ledger import Ledger
from dlcs_assets_tests.cli.conftest import NOW, Desk
from dlcs_testing.command_line import dlcs
from dlcs_testing.one_write import reserve_quota

CUSTOMERS = "customers: {2: {quota: {images: 100, bytes: 5KB}}, 3: {}, 7: {quota: {bytes: 2TiB}}}"


@pytest.fixture(autouse=True)
def _customers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dlcs.yaml").write_text(CUSTOMERS)
    monkeypatch.setenv("DLCS_CUSTOMERS_FILE", str(tmp_path / "dlcs.yaml"))
    monkeypatch.setenv("DLCS_SCRATCH", str(tmp_path / "scratch"))


@pytest.fixture
def three(desk: Desk) -> Desk:
    """Fill the ledger: two spaces of one customer, one of another, and an image in progress."""
    desk.done("2/1/a")
    desk.done("2/1/b")
    desk.done("2/10/c")
    desk.done("3/1/d")
    claim = desk.ledger.claims.claim_images([AssetId(2, 10, "c")], STAGES, "run", now=NOW)
    reserve_quota(desk.ledger.results, claim, claim.items[0], limit=5000, new=1300, replaces=[ObjectKind.JP2])
    return desk


def table(*options: str) -> list[list[str]]:
    done = dlcs("usage", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    return [[cell.strip() for cell in line.split("  ") if cell] for line in done.stdout.splitlines()]


@pytest.mark.usefixtures("three")
def test_each_space_has_a_line_and_each_customer_a_total() -> None:
    """The total is shown with the quota, also for a customer that has stored nothing yet."""
    assert table() == [
        ["customer", "space", "images", "JP2s and originals", "thumbnails", "reserved"],
        ["2", "1", "2", "2.5 KB", "112 B", "0 B"],
        ["2", "10", "1", "1.2 KB", "56 B", "66 B"],
        ["2", "all", "3 of 100", "3.7 KB of 5.0 KB (74 %)", "168 B", "66 B"],
        ["3", "1", "1", "1.2 KB", "56 B", "0 B"],
        ["3", "all", "1", "1.2 KB", "56 B", "0 B"],
        ["7", "all", "0", "0 B of 2.2 TB (0 %)", "0 B", "0 B"],
    ]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--customer", "3"], [["3", "1"], ["3", "all"]]),
        (["--space", "1"], [["2", "1"], ["3", "1"]]),
        (["--space", "2/1"], [["2", "1"]]),
        (["--customer", "2", "--space", "10"], [["2", "10"]]),
        (["--customer", "99"], [["99", "all"]]),
    ],
)
def test_a_selection_gives_these_lines_and_no_others(options: list[str], expected: list[list[str]]) -> None:
    assert [row[:2] for row in table(*options)[1:]] == expected


@pytest.mark.usefixtures("three")
def test_json_has_all_numbers_in_bytes() -> None:
    shown = json.loads(dlcs("usage", "--json", "--customer", "2").stdout)
    spaces = [
        {"space": 1, "images": 2, "source": 2468, "thumbnails": 112, "reserved": 0},
        {"space": 10, "images": 1, "source": 1234, "thumbnails": 56, "reserved": 66},
    ]
    whole = {"customer": 2, "images": 3, "source": 3702, "thumbnails": 168, "reserved": 66}
    assert shown == [{**whole, "quota": {"images": 100, "bytes": 5000}, "spaces": spaces}]


@pytest.mark.usefixtures("ledger")
def test_an_empty_result_is_reported_as_such() -> None:
    assert dlcs("usage", "--space", "2/1").stdout == "Nothing is registered or stored there.\n"
    assert json.loads(dlcs("usage", "--space", "2/1", "--json").stdout) == []


@pytest.mark.usefixtures("ledger")
def test_an_invalid_customers_file_is_an_error_in_one_line(tmp_path: Path) -> None:
    """Without a last good file there are no quotas: the numbers must not be shown without them."""
    (tmp_path / "dlcs.yaml").write_text("customers: {2: {quota: {bytes: many}}}")
    done = dlcs("usage")
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "customers.2.quota.bytes: is 'many'; expected whole bytes" in done.stderr


def test_the_plan_says_when_the_quota_would_refuse_the_image(desk: Desk, ledger: Ledger) -> None:
    for name in "abcd":
        desk.done(f"2/1/{name}")  # 4936 of 5000 bytes
    desk.send("2/1/new")
    shown = dlcs("plan", "2/1/new").stdout
    assert "quota         refused before the original is fetched: StoragePolicy size limit exceeded" in shown
    assert "customer 2 may have 5,000 bytes stored and has 4,936; this image needs 100" in shown
    assert ledger.accounting.totals(2).reserved == 0
    assert "quota  " not in dlcs("plan", "2/1/a").stdout  # it takes the place of what it has
    assert "quota  " not in dlcs("plan", "2/1/new", "--channels", "thumbs").stdout
    desk.send("3/1/new")
    assert "quota  " not in dlcs("plan", "3/1/new").stdout
