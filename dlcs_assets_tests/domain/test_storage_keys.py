from __future__ import annotations

from dlcs_assets.domain import storage_keys
from dlcs_assets.domain.asset_id import AssetId

FOO = AssetId(10, 20, "foo-bar")


def test_every_object_has_the_key_that_the_dlcs_gives_it() -> None:
    assert storage_keys.jp2_key(FOO) == "10/20/foo-bar"
    assert storage_keys.original_key(FOO) == "10/20/foo-bar/original"
    assert storage_keys.info_prefix(FOO) == "10/20/foo-bar/info/"
    assert storage_keys.thumbnail_prefix(FOO) == "10/20/foo-bar/"
    assert storage_keys.thumbnail_key(FOO, 200, open_=True) == "10/20/foo-bar/open/200.jpg"
    assert storage_keys.thumbnail_key(FOO, 200, open_=False) == "10/20/foo-bar/auth/200.jpg"
    assert storage_keys.sizes_key(FOO) == "10/20/foo-bar/s.json"
    assert storage_keys.portal_key(FOO) == "10/20/foo-bar"


def test_a_transient_object_belongs_to_one_request() -> None:
    """The DLCS's key ends with the id, so that two ingests of an image would read each other's original."""
    assert storage_keys.transient_key(FOO, "r1") == "transient/10/20/foo-bar/r1"


def test_keys_are_not_encoded() -> None:
    assert storage_keys.original_key(AssetId(1, 2, "a b%(é).tif")) == "1/2/a b%(é).tif/original"
