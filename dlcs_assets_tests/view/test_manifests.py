"""Manifests of what is in a ledger: by their address, by the command, and for pages of other origins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dlcs_assets.cli import make_app
from dlcs_assets_tests.view.conftest import Library, library_at
from dlcs_stack.stack import RunningStack

VIEWER = "https://viewer.example.org"


@pytest.fixture
def shelf(tmp_path: Path, services: RunningStack) -> Iterator[Library]:
    """Fill a library with images that are done, failed, restricted, and of another customer."""
    with library_at(f"sqlite:///{tmp_path / 'ledger.db'}", services, viewers=[VIEWER]) as library:
        for name in ("a", "b c"):
            library.send(f"2/1/{name}", batch=7)
            library.done(f"2/1/{name}")
        library.done("2/2/d")
        library.failed("2/1/torn")
        library.send("2/1/closed", roles=("https://roles/staff",))
        library.done("2/1/closed", is_open=False)
        library.done("12/1/e")
        yield library


def labels(manifest: dict[str, Any]) -> list[str]:
    return [canvas["label"]["none"][0] for canvas in manifest["items"]]


def test_a_manifest_has_what_is_done_and_may_be_seen(shelf: Library) -> None:
    for query, expected in (
        ("customer=2", ["2/1/a", "2/1/b c", "2/2/d"]),
        ("customer=2&space=1", ["2/1/a", "2/1/b c"]),
        ("customer=2&batch=7", ["2/1/a", "2/1/b c"]),
        ("customer=2&after=2/1/a", ["2/1/b c", "2/2/d"]),
        ("state=done", ["2/1/a", "2/1/b c", "2/2/d", "12/1/e"]),
    ):
        answer = shelf.get(f"/manifest?{query}")
        assert answer.headers["content-type"].startswith("application/ld+json")
        assert labels(answer.json()) == expected, query
    assert shelf.get("/manifest?customer=2&state=failed").status_code == 404
    assert shelf.get("/manifest?customer=99").status_code == 404
    assert shelf.get("/manifest?customer=2&space=1").json()["summary"] == {
        "none": ["2 images are left out: not done, not to be seen by everyone, or with neither JP2 nor original in S3."]
    }


def test_what_does_not_fit_is_said_and_follows(shelf: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcs_assets.view.manifests.MOST", 1)
    first = shelf.get("/manifest?state=done").json()
    assert (labels(first), first["summary"]) == (["2/1/a"], {"none": ["There are more images after 2/1/a."]})
    assert labels(shelf.get("/manifest?state=done&after=2/1/a").json()) == ["2/1/b c"]


def test_a_canvas_leads_to_its_image(shelf: Library) -> None:
    """Its service is the image server's, of the stored JP2."""
    _, canvas = shelf.get("/manifest?customer=2&space=1").json()["items"]
    assert shelf.get(canvas["homepage"][0]["id"].removeprefix(shelf.url)).status_code == 200
    (service,) = canvas["thumbnail"][0]["service"]
    server, bucket = shelf.settings.image_server_url, shelf.settings.storage_bucket
    assert service["id"] == f"{server}/iiif/3/s3%3A%2F%2F{bucket}%2F2%2F1%2Fb%20c"


def test_public_services_are_named_where_there_are_any(tmp_path: Path, services: RunningStack) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    public = {"public_iiif_url": "https://iiif.example.org/", "view_url": "https://u:secret@view.example.org/"}
    with library_at(url, services, **public) as library:
        library.done("2/1/b c")
        manifest = library.get("/manifest").json()
        (service,) = manifest["items"][0]["thumbnail"][0]["service"]
        assert service["id"] == "https://iiif.example.org/2/1/b%20c"
        assert manifest["id"] == "https://view.example.org/manifest"


def test_only_viewers_that_are_named_read_manifests(shelf: Library) -> None:
    """And nothing else of the pages."""
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    answer = shelf.get("/manifest?customer=2", headers={"Origin": VIEWER, **cross})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, VIEWER)
    for path, origin in (("/manifest?customer=2", "https://evil.example"), ("/images", VIEWER), ("/thumbnail", VIEWER)):
        refused = shelf.get(path, headers={"Origin": origin, **cross})
        assert (refused.status_code, refused.headers.get("access-control-allow-origin")) == (403, None), path
    evil = {"Origin": VIEWER, "Host": "evil.example", **cross}
    assert shelf.get("/manifest?customer=2", headers=evil).status_code == 421


def test_the_command_prints_the_same(shelf: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ledger_url", "storage_bucket", "thumbs_bucket", "image_server_url", "image_server_kind"):
        monkeypatch.setenv(f"DLCS_{name.upper()}", str(getattr(shelf.settings, name)))
    monkeypatch.setenv("DLCS_VIEW_URL", shelf.url)
    done = CliRunner().invoke(make_app(), ["manifest", "--space", "2/1"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == shelf.get("/manifest?customer=2&space=1").json()
    assert CliRunner().invoke(make_app(), ["manifest"]).exit_code == 2
    assert CliRunner().invoke(make_app(), ["manifest", "--customer", "99"]).exit_code == 1
