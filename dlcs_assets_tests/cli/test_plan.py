from __future__ import annotations

from pathlib import Path

import pytest

from dlcs_assets.domain.ingest_request import AssetFields
from dlcs_assets_tests.cli.conftest import Desk
from dlcs_testing.command_line import dlcs

CUSTOMERS = "customers: {2: {policies: {thumbs: {tiny: ['!50,50']}}}}"
OPTIMISED = "s3://dlcs-origin/2/1/x"


def lines(text: str) -> dict[str, str]:
    """Read `name  text` lines; continued lines are joined."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines()[1:]:
        name = line[2:16].strip() or name
        found[name] = f"{found[name]} | {line[16:]}" if name in found else line[16:]
    return found


@pytest.fixture(autouse=True)
def _buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_ORIGIN_BUCKET", "dlcs-origin")


def plan(*arguments: str) -> dict[str, str]:
    done = dlcs("plan", "2/1/x", *arguments)
    assert done.exit_code == 0, done.stderr
    return lines(done.stdout)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("origin", "options", "row", "appetiser", "reads"),
    [
        ("https://h/x.jpg", [], "1 or 2", "called", "reads s3://dlcs-storage/2/1/x"),
        (OPTIMISED, [], "3 or 4", "called", "reads s3://dlcs-storage/2/1/x"),
        ("https://h/x", ["--policy", "use-original"], "5", "not called", "reads s3://dlcs-storage/2/1/x/original"),
        (OPTIMISED, ["--policy", "use-original"], "6", "not called", f"reads {OPTIMISED}"),
        (
            "https://h/x",
            ["--channels", "thumbs"],
            "7",
            "not called",
            "reads s3://dlcs-storage/transient/2/1/x/{request}",
        ),
        (OPTIMISED, ["--channels", "thumbs"], "8", "not called", f"reads {OPTIMISED}"),
        ("https://h/x", ["--channels", "file,thumbs"], "9", "not called", "reads s3://dlcs-storage/2/1/x/original"),
        ("https://h/x.pdf", [], "file", "not called", "reads nothing"),
        ("https://h/x", ["--channels", "none"], "none", "not called", "reads nothing"),
    ],
)
def test_the_plan_of_an_image_that_is_not_registered(
    origin: str, options: list[str], row: str, appetiser: str, reads: str
) -> None:
    shown = plan("--origin", origin, *options)
    assert (shown["row"], shown["image server"]) == (row, reads)
    assert shown["Appetiser"].startswith(appetiser)


@pytest.mark.usefixtures("ledger")
def test_originals_that_the_image_server_misreads_are_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the original, until its bytes are known; not where the image server gets a JP2 of it."""
    refused = plan("--origin", "https://h/x.png", "--policy", "use-original")["refused if"]
    assert "a PNG that is to be turned: the image server ignores that" in refused
    assert "BigTIFF" not in refused
    assert "refused if" not in plan("--origin", "https://h/x.png")
    monkeypatch.setenv("DLCS_IMAGE_SERVER_KIND", "embedded")
    assert "refused if" not in plan("--origin", "https://h/x.png", "--policy", "use-original")


def test_the_plan_of_a_known_image_lists_thumbnails_in_pixels(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With key and access of each, and the reason why a size is left out."""
    monkeypatch.setenv("DLCS_DEFAULT_THUMBNAIL_SIZES", "!1024,1024;5000,;200,")
    desk.send("2/1/x", fields=AssetFields(origin=OPTIMISED, max_unauthorised=400))
    desk.done("2/1/x")
    shown = plan()
    assert shown["row"] == "3"
    assert shown["stages"] == "original: at its origin; jp2: converted; thumbnails: made"
    thumbnails = shown["thumbnails"].split(" | ")
    assert thumbnails[0].startswith("of an image of 3000x2000; open to everyone up to 400 pixels")
    assert [line.split() for line in thumbnails[1:]] == [
        ["1024x683", "!1024,1024", "s3://dlcs-thumbs/2/1/x/auth/1024.jpg"],
        ["400x267", "!400,400", "s3://dlcs-thumbs/2/1/x/open/400.jpg"],
        ["200x133", "200,", "s3://dlcs-thumbs/2/1/x/open/200.jpg"],
        ["100x67", "!100,100", "s3://dlcs-thumbs/2/1/x/open/100.jpg"],
    ]
    assert shown["left out"].startswith("5000,: would enlarge the image (3000x2000)")


def test_roles_without_a_limit_restrict_all(desk: Desk) -> None:
    desk.send("2/1/x", fields=AssetFields(origin=OPTIMISED, roles=("r",)))
    assert "all restricted" in plan()["thumbnails"]


def test_secrets_of_the_origin_are_not_shown(desk: Desk) -> None:
    desk.send("2/1/x")
    shown = plan()
    assert shown["origin"].startswith("https://example.org/2/1/x.jpg?…")
    assert "secret" not in str(shown)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["2/1/x"], 1, "2/1/x is not registered"),
        (["x"], 2, "asset_id_malformed"),
        (["2/1/x", "--origin", "s3://dlcs-storage/2/1/y"], 1, "origin_not_allowed"),
        (["2/1/x", "--origin", "https://h/x.mp4"], 1, "iiif_av_not_supported"),
        (["2/1/x", "--origin", "https://h/x.txt"], 2, "no_default_channels"),
    ],
)
def test_an_image_without_a_plan_has_the_reason(arguments: list[str], status: int, said: str) -> None:
    done = dlcs("plan", *arguments)
    assert (done.exit_code, done.stdout) == (status, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("ledger")
def test_a_customers_own_policies_and_origins_are_in_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dlcs.yaml").write_text(CUSTOMERS)
    monkeypatch.setenv("DLCS_CUSTOMERS_FILE", str(tmp_path / "dlcs.yaml"))
    monkeypatch.setenv("DLCS_SCRATCH", str(tmp_path / "scratch"))
    shown = plan("--origin", "https://h/x.jpg", "--policy", "thumbs=tiny")
    assert shown["channels"].startswith("iiif-img/default, thumbs/tiny")
    assert shown["thumbnails"].startswith("!1024,1024  !400,400  !200,200  !100,100  !50,50")
    elsewhere = dlcs("plan", "3/1/x", "--origin", "https://h/x.jpg")
    assert (elsewhere.exit_code, "customer_not_configured" in elsewhere.stderr) == (1, True)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("origin", "options", "appetiser", "fetch"),
    [
        ("https://h/x.jpg", [], "called, and again for the thumbnails", "the original is fetched"),
        ("https://h/x", ["--channels", "thumbs"], "called for the thumbnails", "the original is fetched"),
        (OPTIMISED, ["--channels", "thumbs"], "called for the thumbnails", "to the disk that Appetiser shares"),
        ("https://h/x.pdf", [], "not called", "the original is fetched"),
    ],
)
def test_the_plan_says_where_appetiser_makes_the_thumbnails(
    monkeypatch: pytest.MonkeyPatch, origin: str, options: list[str], appetiser: str, fetch: str
) -> None:
    monkeypatch.setenv("DLCS_THUMBNAILS_BY", "appetiser")
    shown = plan("--origin", origin, *options)
    assert shown["Appetiser"].startswith(appetiser)
    assert fetch in shown["fetch"]
    assert shown["image server"] == "not asked"
    assert "transient" not in shown["stored"]
