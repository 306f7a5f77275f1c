"""What a page costs the database: the same on the first page and on the last one, in every ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.request_states import RequestState, ShownState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.gallery import Place, Shown, Wall
from dlcs_assets.ledger.records import new_id, stages_text
from dlcs_assets.ledger.tables import images, outcomes, requests
from dlcs_assets.ledger.writes import outcome_row
from dlcs_testing.listening import statements

IMAGES = 10_000
PAGE = 100
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
FAILED_EVERY = 10
FEW = ("image_id", "request_id")  # what is asked about some of them may be sorted


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Fill a ledger with images of two spaces, of which one in ten failed."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    else:
        url = request.getfixturevalue("postgresql_server").new_database()
    with closing(Ledger(url)) as ledger:
        with ledger._database.write() as connection:
            rows = [_rows(number) for number in range(IMAGES)]
            for table, of_table in zip((images, requests, outcomes), zip(*rows, strict=True), strict=True):
                connection.execute(insert(table), list(of_table))
        yield ledger


def _rows(number: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    place = {"customer": 2, "space": 1 + number % 2}
    image = f"2/{place['space']}/page-{number:05}"
    failed = number % FAILED_EVERY == 0
    made = NOW + timedelta(seconds=number)
    registration: dict[str, Any] = {
        "origin": "x",
        "media_type": None,
        "channels": None,
        "max_unauthorised": -1,
        "roles": [],
    }
    stored = ObjectRecord("thumbs", f"{image}/open/200.jpg", ObjectKind.THUMBNAIL, 5000, "a" * 64, "image/jpeg")
    result = StageResult(Stage.THUMBNAILS, Outcome.MADE, "1", {}, (stored,))
    return (
        {"id": image, **place, "registration": registration, "registered_at": made},
        {
            "id": new_id(made),
            "image_id": image,
            **place,
            "lane": Lane.INGEST,
            "stages": stages_text(STAGES),
            "state": RequestState.FAILED if failed else RequestState.DONE,
            "is_current": True,
            "created_at": made,
            "due_at": made,
            "finished_at": made,
            "attempts": 1,
            "error_code": ("torn" if number % 20 else "gone") if failed else None,
        },
        outcome_row(AssetId.parse(image), result, "r", made, run_id="r"),
    )


def all_pages(ledger: Ledger, shown: Shown) -> list[tuple[Wall, int]]:
    """Return the pages of a wall, and how many statements each took."""
    found: list[tuple[Wall, int]] = []
    after: Place | None = None
    while True:
        with statements() as seen:
            wall = ledger.gallery.wall(shown, after=after, limit=PAGE)
        found.append((wall, len(seen)))
        if not wall.after:
            return found
        after = wall.tiles[-1].place


@pytest.mark.parametrize(
    ("shown", "number"),
    [
        (Shown(), IMAGES),
        (Shown(customer=2, space=2), IMAGES // 2),
        (Shown(customer=2, state=ShownState.FAILED), IMAGES // FAILED_EVERY),
        (Shown(code="gone"), IMAGES // FAILED_EVERY // 2),
    ],
)
def test_every_page_of_ten_thousand_images_takes_as_much(large: Ledger, shown: Shown, number: int) -> None:
    found = all_pages(large, shown)
    assert len({tile.place for wall, _ in found for tile in wall.tiles}) == number
    assert len({count for _, count in found}) == 1
    assert found[0][1] <= 2 + len(RequestState)  # the beginning, a query for each state, and their thumbnails


def test_no_page_reads_more_than_it_shows(large: Ledger) -> None:
    """Each query goes by an index that has its order: nothing is sorted, and no table is read through."""
    if large._database._engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL reads small tables through, whatever indexes they have")
    middle = Place(2, 1, "2/1/page-05000")
    walls = [
        Shown(),
        Shown(customer=2),
        Shown(customer=2, space=1),
        Shown(customer=2, space=1, state=ShownState.DONE),
        Shown(code="gone"),
        Shown(customer=2, code="torn"),
    ]
    with statements() as seen:
        for shown in walls:
            for after, before in ((None, None), (middle, None), (None, middle)):
                large.gallery.wall(shown, after=after, before=before)
        large.gallery.newest(Shown(), limit=PAGE)
        large.gallery.newest(Shown(customer=2), older_than=new_id(NOW), limit=PAGE)
        large.gallery.find("7777", limit=PAGE)
        large.gallery.find("page", after="2/1/page-05000", limit=PAGE)
        large.gallery.arrived(NOW)
        large.gallery.past("2/1/page-00000")
        large.gallery.committed("2/1/page-00000")
        large.gallery.reasons(customer=2)
        large.gallery.reasons()
    for statement, parameters in seen:
        if not statement.startswith("SELECT"):
            continue
        with large._database.read() as connection:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        wrong = [
            step for step in plan if step.startswith(("SCAN requests", "SCAN images", "SCAN objects", "SCAN messages"))
        ]
        # From the newest on, by the primary key, as far as a limit lets it.
        wrong = [step for step in wrong if "sqlite_autoindex_requests_1" not in step]
        assert not wrong, (statement, plan)
        of_few_images = any(f"{column} = ?" in statement or f"{column} IN" in statement for column in FEW)
        sorts = [step for step in plan if "TEMP B-TREE FOR ORDER BY" in step]
        assert not sorts or of_few_images, (statement, plan)


def test_the_number_of_failures_is_not_counted_to_the_end(large: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcs_assets.ledger.gallery.MOST_COUNTED", 300)
    assert {each.code: each.count for each in large.gallery.reasons()} == {"torn": 300, "gone": 300}
