"""The DLCS's database, of either layout, in a real PostgreSQL."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import make_url

from dlcs_assets.clients import dlcs_database
from dlcs_assets.clients.dlcs_database import DlcsDatabase, DlcsStorage
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_testing import postgresql
from dlcs_testing.dlcs_database import SCHEMA, Dlcs


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
    with (
        pytest.raises(PermanentError, match="ReadOnlySqlTransaction"),
        database.reading(dlcs_database.OF_IMAGES) as (connection, _),
    ):
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
        pytest.raises(PermanentError, match=r"is not that of a DLCS, .*: no Images, ImageDeliveryChannels"),
    ):
        list(database.all_assets())


def test_the_layout_is_found_in_the_database(dlcs: Dlcs, database: DlcsDatabase) -> None:
    layout = database.configuration().layout
    assert (layout.has_open_full_max, layout.null_is_all, layout.is_newer) == (*[dlcs.layout == "2026"] * 2, False)
    dlcs.execute("INSERT INTO \"__EFMigrationsHistory\" VALUES ('20270101000000_More', '10')")
    layout = database.configuration().layout
    assert layout.is_newer
    assert "'20270101000000_More'" in str(layout)


def test_a_dlcs_that_is_migrated_meanwhile_is_read_as_it_is_then(postgresql_server: postgresql.Server) -> None:
    """What was the total of a customer is the row without a space from then on."""
    dlcs = Dlcs.new(postgresql_server, "2025")
    dlcs.customer(2, stored=500)
    with closing(DlcsDatabase(dlcs.url)) as database:
        before = database.configuration()
        dlcs.execute((SCHEMA / "dlcs-schema-2026.sql").read_text())
        after = database.configuration()
    assert (before.layout.null_is_all, after.layout.null_is_all) == (False, True)
    assert [each.stored_bytes for each in before.storage] == [each.stored_bytes for each in after.storage] == [500]


def test_the_total_is_not_that_of_a_space(dlcs: Dlcs, database: DlcsDatabase) -> None:
    """Since 2026 there is a space 0 as well."""
    dlcs.limit("default", 10, 1000)
    dlcs.customer(2, stored=500)
    if dlcs.layout == "2026":
        dlcs.execute(
            'INSERT INTO "CustomerStorage" ("Customer", "Space", "NumberOfStoredImages", "TotalSizeOfStoredImages", '
            '"TotalSizeOfThumbnails") VALUES (2, 0, 1, 99, 0)'
        )
    assert database.configuration().storage == (DlcsStorage(2, "default", 10, 1000, 500),)


def test_a_missing_column_is_named(dlcs: Dlcs, database: DlcsDatabase) -> None:
    dlcs.execute(
        'ALTER TABLE "Images" DROP "Roles", DROP "Height"; ALTER TABLE "StoragePolicies" RENAME "Id" TO "Name"'
    )
    with pytest.raises(PermanentError, match=r"lacks the column Images\.Roles, Images\.Height"):
        database.assets(["2/1/a"])
    with pytest.raises(PermanentError, match=r"lacks the column StoragePolicies\.Id"):
        database.configuration()


def test_each_missing_right_is_named(dlcs: Dlcs) -> None:
    """A right to some columns of a table is no right to the others."""
    reader = dlcs.reader("Images", "Customers", "DeliveryChannelPolicies", "StoragePolicies")
    user = make_url(reader.url).username
    dlcs.execute(f'GRANT SELECT ("Id", "ImageId", "Channel") ON "ImageDeliveryChannels" TO {user}')
    with closing(DlcsDatabase(reader.url)) as database:
        with pytest.raises(PermanentError) as images:
            database.check_images()
        with pytest.raises(PermanentError) as customers:
            database.configuration()
    assert images.value.cause.endswith("does not let its user read ImageDeliveryChannels.DeliveryChannelPolicyId")
    assert customers.value.cause.endswith(
        "read CustomerOriginStrategies, DefaultDeliveryChannels, CustomerStorage, __EFMigrationsHistory"
    )


def test_a_wrong_password_or_name_is_not_an_outage(dlcs: Dlcs) -> None:
    """An outage ends by itself. Whether a password is asked for depends on the server."""
    wrong = make_url(dlcs.url).set(database="no_such_database").render_as_string(hide_password=False)
    with closing(DlcsDatabase(wrong)) as database, pytest.raises(PermanentError, match="refused the login"):
        database.configuration()
