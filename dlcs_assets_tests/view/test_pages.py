"""The pages over HTTP, from a ledger on either database and a real S3."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography.fernet import Fernet

from dlcs_assets.domain.errors import PermanentError, ServiceDownError
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.records import Rejection
from dlcs_assets.settings import Settings
from dlcs_assets.view import pages
from dlcs_assets.view.app import create_app
from dlcs_assets.view.templating import shown_bytes
from dlcs_assets_tests.ledger.conftest import Desk
from dlcs_assets_tests.view.conftest import SCHEDULE, Library, library_at
from dlcs_stack.stack import RunningStack
from dlcs_testing.asgi_service import served

GONE = PermanentError("origin_not_found", "It answered 404", remedy="Put it there", stage=Stage.ORIGINAL)
FOREIGN = ("evil.example", "localhost.evil.example", "10.0.0.1", "")
PAGES = (
    "/",
    "/images",
    "/find?name=nothing",
    "/image?id=2/1/a",
    "/batches",
    "/backfills",
    "/failures",
    "/customers",
    "/numbers",
    "/health",
    "/static/style.css",
)


def names(page: str) -> list[str]:
    """Return the images of a wall, in their order."""
    return [unescape(found) for found in re.findall(r'<span class="name">([^<]*)</span>', page)]


def link(page: str, name: str) -> str | None:
    found = re.search(rf'<a href="([^"]*)">{name}</a>', page)
    return unescape(found[1]) if found else None


@pytest.fixture
def mixed(library: Library) -> Library:
    """Fill the library with images of two customers in several states."""
    library.done("2/1/a", store=True)
    library.done("2/1/b")
    library.failed("2/1/c")
    library.failed("2/2/d", GONE)
    library.send("2/2/e")
    library.done("12/1/f")
    return library


@pytest.fixture(scope="module")
def quick(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Make one for all tests of what no database decides."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with library_at(f"sqlite:///{path}", services) as library:
        library.done("2/1/a", store=True)
        yield library


def test_a_wall_shows_the_images_that_are_asked_for(mixed: Library) -> None:
    for query, expected in (
        ("", ["2/1/a", "2/1/b", "2/1/c", "2/2/d", "2/2/e", "12/1/f"]),
        ("?customer=2", ["2/1/a", "2/1/b", "2/1/c", "2/2/d", "2/2/e"]),
        ("?customer=2&space=2", ["2/2/d", "2/2/e"]),
        ("?state=failed", ["2/1/c", "2/2/d"]),
        ("?state=pending&customer=2&space=&reason=", ["2/2/e"]),
        ("?reason=origin_not_found", ["2/2/d"]),
        ("?reason=origin_not_found&customer=12", []),
        ("?state=done&customer=12&space=1", ["12/1/f"]),
    ):
        assert names(mixed.text(f"/images{query}")) == expected, query


def test_every_image_is_on_one_page_of_a_wall(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forth and back, over the borders of states, spaces and customers."""
    monkeypatch.setattr(pages, "ON_A_WALL", 4)
    images = [f"{customer}/{space}/{name}" for customer in (2, 12) for space in (1, 3) for name in "abcde"]
    for number, image in enumerate(images):
        library.failed(image) if number % 3 else library.done(image)
    for query, expected in (("", images), ("?customer=12", images[10:]), ("?customer=2&space=3", images[5:10])):
        forth, page = [], library.text(f"/images{query}")
        while True:
            forth.append(names(page))
            if (following := link(page, "next page")) is None:
                break
            page = library.text(following)
        assert [each for part in forth for each in part] == expected
        back = [forth[-1]]
        while (before := link(page, "back")) is not None:
            page = library.text(before)
            back.insert(0, names(page))
        assert [each for part in back for each in part] == expected


def test_what_came_in_last_is_first(mixed: Library) -> None:
    page = mixed.text("/")
    assert names(page) == ["12/1/f", "2/2/e", "2/2/d", "2/1/c", "2/1/b", "2/1/a"]
    assert "conversion_failed" in page
    assert re.search(r'state=done"><span class="state done">done</span> <strong>3</strong>', page)


def test_an_image_is_found_by_a_part_of_its_name(library: Library) -> None:
    for image in ("2/1/f073r", "2/1/F173R", "2/73/f001r", "12/2/f07_r", "12/2/f0!3%"):
        library.done(image)
    for text, expected in (
        ("3r", ["2/1/F173R", "2/1/f073r"]),
        ("2/1/f", ["2/1/F173R", "2/1/f073r"]),
        ("nothing", []),
    ):
        assert sorted(names(library.text(f"/find?name={quote(text)}"))) == sorted(expected), text
    one: tuple[tuple[str, str | None], ...] = (
        ("73r", None),
        ("073R", "2/1/f073r"),
        ("7_R", "12/2/f07_r"),
        ("!3%", "12/2/f0!3%"),
        ("73/", "2/73/f001r"),
        (" @2/1/f073r ", "2/1/f073r"),
    )
    for text, only in one:
        answer = library.get(f"/find?name={quote(text)}")
        assert answer.headers.get("location") == (f"/image?id={quote(only, safe='')}" if only else None), text


def test_a_search_of_many_images_is_continued(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks through a part of them at a time, and shows a page at a time."""
    monkeypatch.setattr("dlcs_assets.ledger.gallery.NAMES_LOOKED_THROUGH", 5)
    monkeypatch.setattr(pages, "ON_A_WALL", 2)
    for number in range(12):
        library.send(f"2/1/{'leaf' if number in {3, 5, 6, 7, 11} else 'page'}-{number:02}")
    seen, address = [], "/find?name=leaf"
    while address:
        page = library.text(address)
        seen.append(names(page))
        address = link(page, "search further") or ""
    assert [image for part in seen for image in part] == [f"2/1/leaf-{number:02}" for number in (3, 5, 6, 7, 11)]
    assert len(seen) > 2


def test_what_came_in_the_last_hour_is_counted(mixed: Library) -> None:
    page = re.sub(r"<[^>]*>", "", mixed.text("/"))
    assert "In the last hour: 6 images." in page
    assert re.search(r"Customer 2: 1 pending, 2 done, 2 failed\.\s+Customer 12: 1 done\.", page)


def test_what_waits_is_named_with_its_reason(library: Library) -> None:
    library.send("2/1/new")
    library.failed("2/1/again", ServiceDownError("image_server_down", "It is down", remedy="Start it"))
    page = re.sub(r"<[^>]*>", "", library.text("/"))
    assert re.search(r"1 wait for a run, such as 2/1/new; the first one has been due since 20", page)
    assert re.search(r"1 are tried again after image_server_down, such as 2/1/again; the first one is due 20", page)


def test_the_first_page_says_that_nothing_moves(library: Library) -> None:
    """Only where something waits, and with the reason as far as there is one."""
    assert "Nothing moves" not in library.text("/")
    library.send("2/1/new")
    assert "No Dagster instance has worked with this ledger yet" in library.text("/")
    now = datetime.now(UTC)
    library.ledger.ownership.require("an-instance", "here", now=now - timedelta(minutes=5))
    assert "No sensor of Dagster has ticked since" in library.text("/")
    library.ledger.ownership.require("an-instance", "here", now=now)
    assert "Nothing moves" not in library.text("/")
    library.ledger.launches.record_waiting("run-1", "no capacity", now=now)
    assert "no capacity" in library.text("/").partition("Nothing moves")[2]


def test_commands_are_shown_that_make_images_again(library: Library) -> None:
    library.done("2/1/leaf [1]")
    assert "dlcs reprocess --space 2/1 --match 'leaf [[]1]' --stage thumbnails" in unescape(
        library.text("/image?id=2/1/leaf [1]")
    )
    assert "dlcs reprocess --customer 2" in library.text("/customers")


def test_older_images_follow_the_newest(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where so many requests are superseded that none of the next ones is an image's current one."""
    monkeypatch.setattr("dlcs_assets.ledger.gallery.LOOKED_THROUGH", 3)
    monkeypatch.setattr(pages, "ON_THE_FIRST_PAGE", 2)
    library.done("2/1/old")
    for _ in range(8):
        library.send("2/1/again", roles=())
    seen, page = [], library.text("/")
    for _ in range(10):
        seen += names(page)
        if (older := link(page, "older ones")) is None:
            break
        page = library.text(older)
    assert seen == ["2/1/again", "2/1/old"]


def test_the_page_of_an_image_has_what_is_known(mixed: Library) -> None:
    page = mixed.text("/image?id=2/1/a")
    for part in (
        "3\u202f000 \u00d7 2\u202f000 pixels",
        "https://example.org/2/1/a.jpg?…",
        f"s3://{mixed.settings.storage_bucket}/2/1/a",
        "a" * 64,
        "converted",
        "media_type",
        "<dt>policy</dt><dd>default</dd>",
        'href="http://127.0.0.1:3000/assets/dlcs/jp2?view=partitions&amp;partition=%402%2F1%2Fa"',
        "attempt 1 ended: done",
    ):
        assert part in page, part
    assert "secret" not in page
    assert len(re.findall(r"http://127\.0\.0\.1:3000/runs/[0-9a-f]{32}", page)) == 4  # of the stages and the attempt


def test_the_page_of_a_failed_image_says_what_to_do(mixed: Library) -> None:
    page = mixed.text("/image?id=2/1/c")
    for part in ("It is torn", "conversion_failed", "Send a whole one", "dlcs retry 2/1/c"):
        assert part in page, part


def test_an_image_of_a_rejected_message_has_a_page(library: Library) -> None:
    library.reject(Rejection("origin_missing", "It has no origin", "Send one"), image="2/1/never")
    page = library.text("/image?id=2/1/never")
    assert "It has no origin" in page
    assert "It was never asked for" in page


def test_a_batch_has_its_balance_and_what_it_lacks(library: Library) -> None:
    for name in "abc":
        library.send(f"2/1/{name}", batch=7, count=5)
    library.done("2/1/a")
    library.failed("2/1/b")
    page = library.text("/batch?customer=2&batch=7")
    balance = dict(re.findall(r'<th scope="row">([^<]*)</th><td class="figure">([^<]*)</td>', page))
    assert balance == {
        "declared": "5",
        "not received yet": "2",
        "received": "3",
        "= done": "1",
        "+ failed": "1",
        "+ rejected": "0",
        "+ pending": "1",
        "+ running": "0",
        "time left, at the rate of the last ten minutes": balance["time left, at the rate of the last ten minutes"],
    }
    assert "dlcs retry --customer 2 --batch 7" in page
    assert "2/1/b</a>: It is torn" in page
    assert names(page) == ["2/1/a", "2/1/b", "2/1/c"]
    assert names(library.text("/images?customer=2&batch=7&state=failed")) == ["2/1/b"]
    assert 'batch=7">7<' in library.text("/batches?open=1")
    assert 'batch=7">Batch 7 of customer 2</a>, submitted' in library.text("/")


def test_backfills_are_shown_with_what_stops_them(library: Library) -> None:
    for name in "ab":
        library.done(f"2/1/{name}")
    assert library.reprocess("2/1/a", stage="jp2") == 1
    library.failed("2/1/a")  # by a run that did what the backfill asks for
    library.ledger.backfills.settle(now=datetime.now(UTC))
    library.reprocess("2/1/b")
    page = library.text("/backfills")
    rows = re.findall(r'<th scope="row">(\d)</th>\s*<td><code>([^<]*)</code>', page)
    assert rows == [("2", "--customer 2"), ("1", "--customer 2 --stage jp2")]
    assert re.findall(r'value="(\d+)"', page) == ["0", "100"]
    assert re.findall(r"dlcs backfills \w+ \d", page) == ["dlcs backfills cancel 2", "dlcs backfills resume 1"]
    assert 'href="http://127.0.0.1:3000/runs"' in page
    assert "Backfill 2</a> of <code>--customer 2</code>: 0 % of 1 images" in library.text("/")


def test_failures_are_grouped_with_what_retries_them(mixed: Library) -> None:
    mixed.failed("2/1/c2")
    mixed.reject(Rejection("not_json", "It is no JSON", "Send JSON"))
    page = mixed.text("/failures")
    assert re.findall(r'<h2><code>(\w+)</code> <span class="figure">(\d+)</span>', page) == [
        ("conversion_failed", "2"),
        ("not_json", "1"),
        ("origin_not_found", "1"),
    ]
    assert "dlcs retry --reason conversion_failed" in page
    assert "dlcs rejected" in page
    assert "dlcs retry --customer 2 --reason origin_not_found" in mixed.text("/failures?customer=2")
    assert "No image has failed" in mixed.text("/failures?customer=12")


def test_no_more_failures_are_counted_than_is_said(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gallery", "pages"):
        room = "ledger" if name == "gallery" else "view"
        monkeypatch.setattr(f"dlcs_assets.{room}.{name}.MOST_COUNTED", 2)
    for name in "abc":
        library.failed(f"2/1/{name}")
    assert "2 or more" in library.text("/failures")


def test_customers_have_the_numbers_of_their_spaces(mixed: Library) -> None:
    page = mixed.text("/customers")
    whole = re.findall(r'<tr class="whole">.*?</tr>', page, re.DOTALL)
    assert [re.findall(r'class="figure">([^<]*)<', row) for row in whole] == [
        # pending, running, done, cancelled, failed, rejected, deleted; bytes of JP2s, and of thumbnails
        ["1", "0", "2", "0", "2", "0", "0", "2.5 KB", shown_bytes(2 * mixed.thumbnail_bytes)],
        ["0", "0", "1", "0", "0", "0", "0", "1.2 KB", shown_bytes(mixed.thumbnail_bytes)],
    ]


def test_numbers_are_plotted_and_are_there_as_a_table(library: Library) -> None:
    """Of runs that ended in the time that is asked for."""
    ends = [("2/1/a", None, 2), ("2/1/b", GONE, 1)]
    Desk(library.ledger).run(datetime.now(UTC) - timedelta(minutes=3), ends)
    for over, rate in (("hour", "1"), ("day", "0.0667"), ("month", "0.00278")):
        page = library.text(f"/numbers?over={over}")
        assert page.count("<svg") == 3
        assert "Images that ended, a minute; at most" in page
        table = page.partition("as a table")[2]
        assert re.search(rf'<td class="figure">{rate}</td><td class="figure">{rate}</td>', table), over
        assert ">origin_not_found</li>" in page
    assert "seconds an image; at most 0 original, 2 jp2, 0 thumbnails" in page


def test_what_was_cancelled_is_shown_as_nothing_else(library: Library) -> None:
    """On its page, on walls and in lists of batches it is not called failed, and it has bars of its own."""
    for name in ("a", "b"):
        library.send(f"2/1/{name}", batch=7, count=2)
    library.done("2/1/a")
    library.cancelled("2/1/b")
    page = library.text("/image?id=2/1/b")
    assert '<div class="notice cancelled">\n<p><strong>Cancelled:</strong>' in page
    assert "dlcs retry 2/1/b" in page
    assert '<span class="code cancelled">cancelled</span>' in library.text("/images?state=cancelled")
    row = re.findall(r'class="figure">([^<]*)</td>', library.text("/batches"))
    assert row == ["2", "1", "0", "0", "1", "0"]  # images, done, failed, rejected, cancelled, to come
    desk = Desk(library.ledger)
    desk.send("2/1/c")
    claim = desk.claim("run-1")
    now = datetime.now(UTC) - timedelta(minutes=3)
    library.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=now, terminated=True)
    numbers = library.text("/numbers")
    assert "Images that ended, a minute; at most 0 done, 0 failed, 0 deleted, 0 pending, 1 cancelled" in numbers
    assert '<li class="c4">cancelled</li>' in numbers
    assert re.search(r"Failures by reason, images</h2>\s*<p>Nothing in this time", numbers)


def test_a_thumbnail_is_passed_on_as_a_jpeg_whatever_s3_says(mixed: Library) -> None:
    """In these tests S3 calls them text/html."""
    address = unescape(re.findall(r'<img src="([^"]*)"', mixed.text("/images?customer=2&space=1"))[0])
    answer = mixed.get(address)
    stored = mixed.s3.get_object(Bucket=mixed.settings.thumbs_bucket, Key="2/1/a/open/200.jpg")["Body"].read()
    assert (answer.content, answer.headers["content-type"]) == (stored, "image/jpeg")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in answer.headers["cache-control"]
    again = mixed.get(address, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_thumbnail_is_shown_that_is_not_as_it_was_stored(tmp_path: Path, services: RunningStack) -> None:
    """Seen to be wrong it must be: an answer of another length than was announced is none."""
    with library_at(f"sqlite:///{tmp_path / 'ledger.db'}", services) as library:
        library.send("2/1/a")
        library.done("2/1/a", store=True)
        library.s3.put_object(Bucket=library.settings.thumbs_bucket, Key="2/1/a/open/200.jpg", Body=b"short")
        assert library.get("/thumbnail?id=2/1/a&edge=200").content == b"short"


def test_a_thumbnail_that_s3_does_not_have_is_said_to_be_missing(mixed: Library) -> None:
    answer = mixed.get("/thumbnail?id=2/1/b&edge=200")
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/plain")


def test_no_object_is_read_that_the_ledger_does_not_have(mixed: Library) -> None:
    mixed.s3.put_object(Bucket=mixed.settings.thumbs_bucket, Key="2/1/other/open/200.jpg", Body=b"x")
    for image in ("2/1/other", "2/1/c", "2/1/a/open", "2/1/..", "2/1/a/../other"):
        answer = mixed.get(f"/thumbnail?id={quote(image, safe='')}&edge=200")
        assert answer.status_code in {400, 404}, image


@pytest.mark.parametrize("shown", [False, True])
def test_pictures_for_those_with_a_role_are_hidden(tmp_path: Path, services: RunningStack, shown: bool) -> None:
    """Unless the settings say otherwise: who reaches the pages is not asked who it is."""
    with library_at(f"sqlite:///{tmp_path / 'ledger.db'}", services, view_restricted=shown) as library:
        library.send("2/1/closed", roles=("https://roles/staff",))
        library.done("2/1/closed", is_open=False, store=True)
        wall, page = library.text("/images"), library.text("/image?id=2/1/closed")
        assert ("<img" in wall, "for those with a role" in wall) == (shown, not shown)
        assert ("/thumbnail?" in page, "/rendering?" in page) == (shown, shown)
        assert library.get("/thumbnail?id=2/1/closed&edge=200").status_code == (200 if shown else 404)
        hidden = [f"/{path}?id=2/1/closed&of={of}" for path in ("rendering", "zoom") for of in ("jp2", "original")]
        assert shown or {library.get(path).status_code for path in hidden} == {404}


@pytest.mark.parametrize(
    ("status", "paths"),
    [
        (400, ("/images?customer=two", "/images?customer=99999999999", "/images?space=1", "/images?state=odd")),
        (
            400,
            (
                "/images?reason=%3Cscript%3E",
                "/images?after=nothing",
                "/?older=1",
                "/find",
                "/find?name=%20",
                "/find?name=a%00",
                f"/find?name={'a' * 221}",
                "/find?name=a&after=nothing",
                "/numbers?over=year",
                "/image?id=2/1",
                "/image",
            ),
        ),
        (404, ("/image?id=2/1/none", "/batch?customer=2&batch=99", "/batch", "/thumbnail?id=2/1/none")),
        (404, ("/rendering?id=2/1/none", "/zoom?id=2/1/none", "/nothing", "/static/../app.py")),
        (404, ("/static/%2e%2e/app.py",)),
    ],
)
def test_an_address_that_means_nothing_is_refused(quick: Library, status: int, paths: Sequence[str]) -> None:
    assert {path: quick.get(path).status_code for path in paths} == dict.fromkeys(paths, status)


def test_each_answer_has_the_headers_that_bind_browsers(quick: Library) -> None:
    for path in (*PAGES, "/nothing", "/images?customer=two", "/thumbnail?id=2/1/a"):
        headers = quick.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self'; ")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_no_foreign_page_reads_a_page(quick: Library) -> None:
    for path in PAGES:
        for host in FOREIGN:
            assert quick.get(path, headers={"Host": host}).status_code == 421, (path, host)
        for origin in ("null", "https://evil.example", "http://localhost:1"):
            assert quick.get(path, headers={"Origin": origin}).status_code == 403, (path, origin)
        assert quick.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403, path
        for host in ("localhost", "view.example.org"):
            assert quick.get(path, headers={"Host": host}).status_code == 200, (path, host)


def test_the_pages_only_read(quick: Library) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert {httpx.request(method, f"{quick.url}{path}").status_code for path in PAGES} == {405}, method


def test_a_ledger_that_does_not_answer_is_said_so() -> None:
    def cannot_be_opened() -> Ledger:
        return Ledger("postgresql://nobody:secret@127.0.0.1:9/nothing")

    app = create_app(cannot_be_opened, None, Settings())  # type: ignore[arg-type] # it gets no further
    with served(app) as url:
        answer = httpx.get(url)
    assert answer.status_code == 503
    assert "The ledger does not answer" in answer.text
    assert "secret" not in answer.text


def test_a_ledger_without_its_key_is_said_so(tmp_path: Path) -> None:
    """Pages that need nothing encrypted are there."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(Ledger(url, Fernet.generate_key().decode())) as ledger:
        Desk(ledger).send("2/1/page", "https://example.org/p.tif?key=secret")
    with served(create_app(lambda: Ledger(url), None, Settings())) as address:  # type: ignore[arg-type] # as above
        answer = httpx.get(f"{address}/image?id=2/1/page")
        assert httpx.get(f"{address}/failures").status_code == 200
    assert answer.status_code == 503
    assert "DLCS_LEDGER_KEY" in answer.text
    assert "secret" not in answer.text
