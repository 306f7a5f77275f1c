"""The DLCS's database, of either layout, in a real PostgreSQL."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy.exc import InternalError

from dlcs_assets.clients import dlcs_database
from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_testing import postgresql
from dlcs_testing.dlcs_database import Dlcs


def test_an_image_is_read_with_all_that_a_registration_has(dlcs: Dlcs, database: DlcsDatabase) -> None:
    dlcs.policy(2, "thumbs", "small")
    dlcs.image("2/1/é %b", ("iiif-img", "use-original"), ("thumbs", "small"), ("file", "none"), Roles="a, b", Width=30)
    dlcs.image("2/1/other")
    read = database.assets(["2/1/é %b", "2/1/absent"])
    assert list(read) == ["2/1/é %b"]
    asset = read["2/1/é %b"]
    assert asset.channels == (
        RequestedChannel(Channel.IIIF_IMG, "use-original"),
        RequestedChannel(Channel.THUMBS, "small"),
        RequestedChannel(Channel.FILE, "none"),
    )
    assert (asset.origin, asset.media_type, asset.roles) == (
        "https://example.org/2/1/é %b.tif",
        "image/tiff",
        ("a", "b"),
    )
    assert (asset.width, asset.height, asset.ingesting, asset.error) == (30, 2000, False, "")
    assert asset.finished is not None
    assert asset.finished.isoformat() == "2026-01-02T03:05:00+00:00"


@pytest.mark.parametrize(
    ("layout", "columns", "limit"),
    [
        ("2025", {"MaxUnauthorised": -1}, -1),
        ("2025", {"MaxUnauthorised": 0}, 0),
        ("2025", {"MaxUnauthorised": 400, "Roles": "x"}, 400),
        ("2026", {"MaxUnauthorised": 400}, -1),
        ("2026", {"MaxUnauthorised": -1, "Roles": "x"}, 0),
        ("2026", {"MaxUnauthorised": -1, "Roles": "x", "OpenFullMax": 200}, 200),
    ],
)
def test_who_may_see_an_image_is_read_from_either_layout(
    postgresql_server: postgresql.Server, layout: str, columns: dict[str, object], limit: int
) -> None:
    """2026 has `OpenFullMax` for images with roles; those without are open."""
    dlcs = Dlcs.new(postgresql_server, layout)
    dlcs.image("2/1/a", **columns)
    with closing(DlcsDatabase(dlcs.url)) as database:
        assert database.assets(["2/1/a"])["2/1/a"].max_unauthorised == limit


def test_all_images_are_read_page_by_page(dlcs: Dlcs, database: DlcsDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sound and film, and without ids that no image here can have."""
    monkeypatch.setattr(dlcs_database, "_PAGE", 2)
    for image in ("2/1/a", "2/1/b", "2/2/a", "20/1/a", "3/1/a"):
        dlcs.image(image)
    dlcs.image("2/1/film", ("iiif-av", "default-video"), Family="T")
    dlcs.image("2/1//c")
    dlcs.image(f"2/1/{'x' * 300}")
    assert [str(each.asset_id) for each in database.all_assets()] == ["2/1/a", "2/1/b", "2/2/a", "20/1/a", "3/1/a"]
    assert [str(each.asset_id) for each in database.all_assets(customer=2)] == ["2/1/a", "2/1/b", "2/2/a"]
    assert [str(each.asset_id) for each in database.all_assets(customer=2, space=2)] == ["2/2/a"]


def test_the_database_of_the_dlcs_cannot_be_written(dlcs: Dlcs, database: DlcsDatabase) -> None:
    dlcs.image("2/1/a")
    with database._engine().connect() as connection:
        database._begin(connection)
        with pytest.raises(InternalError, match="read-only transaction"):
            connection.exec_driver_sql('DELETE FROM "Images"')
    assert list(database.assets(["2/1/a"])) == ["2/1/a"]


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", TransientError, "does not answer"),
        ("mysql://u:secret@h/x", PermanentError, "not one of PostgreSQL"),
        ("u:secret@h", PermanentError, "is no URL"),
        ("postgresql://u:secret@h:port/x", PermanentError, "is no URL"),
    ],
)
def test_a_database_that_cannot_be_read_is_said_without_password(url: str, error: type[IngestError], said: str) -> None:
    with closing(DlcsDatabase(url)) as database, pytest.raises(error, match=said) as raised:
        database.assets(["2/1/a"])
    assert "secret" not in f"{raised.value} {raised.value.__cause__}"


def test_a_database_of_something_else_is_refused(postgresql_server: postgresql.Server) -> None:
    with (
        closing(DlcsDatabase(postgresql_server.new_database())) as database,
        pytest.raises(PermanentError, match="refused the query: UndefinedTable"),
    ):
        list(database.all_assets())
