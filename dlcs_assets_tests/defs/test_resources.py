from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import dagster as dg
import pytest

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.defs.assets import page_link, picture_links
from dlcs_assets.defs.resources import (
    AppetiserResource,
    ClientResource,
    PooledS3Resource,
    SettingsResource,
    build_resources,
)
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.ingest.image import StageDone
from dlcs_assets.ledger import Ledger
from dlcs_assets.settings import Settings
from dlcs_assets_tests.environment import OF_EVERY_KIND, SECRET
from dlcs_testing.scripted_server import Answer, scripted_server

if TYPE_CHECKING:
    from dlcs_assets.domain.results import WorkItem

RESOURCES = {name: each for name, each in build_resources(Settings()).items() if isinstance(each, ClientResource)}


def test_a_client_is_made_for_a_run_and_closed_at_its_end() -> None:
    clients = []

    @dg.op
    def ask(appetiser: dg.ResourceParam[Appetiser]) -> None:
        assert appetiser.ping()
        clients.append(appetiser.client)

    @dg.job
    def job() -> None:
        ask()

    with scripted_server(Answer(200, b'{"status": "working"}')) as server:
        resource = AppetiserResource(url=server.url)
        assert job.execute_in_process(resources={"appetiser": resource}).success
    assert [client.is_closed for client in clients] == [True]


@pytest.mark.parametrize("name", RESOURCES)
def test_a_resource_configures_all_that_its_client_takes(name: str) -> None:
    """And by the same defaults, so that a client made without Dagster is the same."""
    resource = RESOURCES[name]
    client = resource.client()
    taken = {field.name for field in fields(client) if field.init}
    assert set(type(resource).model_fields) == taken
    usual = {name: field.default for name, field in type(resource).model_fields.items() if name != "s3"}
    assert {field.name: _plain(field.default) for field in fields(client) if field.name in usual} == usual


@pytest.mark.parametrize("name", RESOURCES)
def test_every_field_of_a_resource_is_described(name: str) -> None:
    described = {field: found.description for field, found in type(RESOURCES[name]).model_fields.items()}
    assert [field for field, text in described.items() if not text] == (["s3"] if "s3" in described else [])


def test_clients_of_s3_are_made_as_dagsters_resource_says() -> None:
    resource = PooledS3Resource(endpoint_url="http://s3", region_name="eu-west-1", max_attempts=2, connections=3)
    factory = resource.factory()
    assert factory == S3ClientFactory(endpoint_url="http://s3", region_name="eu-west-1", max_attempts=2, connections=3)
    client = resource.get_client()
    assert (client.meta.endpoint_url, client.meta.config.max_pool_connections) == ("http://s3", 3)
    client.close()


def test_all_runs_and_ticks_of_a_process_share_one_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    seen: list[Ledger] = []

    @dg.op
    def look(ledger: dg.ResourceParam[Ledger]) -> None:
        seen.append(ledger)

    @dg.job
    def job() -> None:
        look()

    for _ in range(2):
        assert job.execute_in_process(resources={"ledger": build_resources(Settings())["ledger"]}).success
    assert seen[0] is seen[1]


def test_a_ledgers_url_and_key_are_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRET.items():
        monkeypatch.setenv(name, value)
    ledger = build_resources(Settings())["ledger"]
    assert (ledger.url, ledger.key) == (dg.EnvVar("DLCS_LEDGER_URL"), dg.EnvVar("DLCS_LEDGER_KEY"))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_settings_reach_runs_and_ticks_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set is set, and nothing else; durations, tuples and paths survive the way through Dagster's config."""
    for name, value in OF_EVERY_KIND.items():
        monkeypatch.setenv(name, value)
    settings = Settings().model_copy(update={"stalled_after": timedelta(days=400)})
    passed_on = SettingsResource.of(settings).process_config_and_initialize()
    assert passed_on == settings
    assert passed_on.model_fields_set == settings.model_fields_set


def test_a_setting_that_is_set_to_nothing_is_left_out() -> None:
    """Dagster's maps hold no None; where a setting may be None, that is its default."""
    settings = Settings(ingest_queue_url=None)
    assert SettingsResource.of(settings).process_config_and_initialize() == settings
    nullable = [each for each in Settings.model_fields.values() if type(None) in get_args(each.annotation)]
    assert {each.default for each in nullable} == {None}


def test_settings_are_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {f"DLCS_{name.upper()}" for name, each in Settings.model_fields.items() if "SecretStr" in str(each)}
    assert secret <= SECRET.keys()
    for name, value in (SECRET | {"DLCS_CHUNK_SIZE": "7"}).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    resource = SettingsResource.of(settings)
    assert resource.values == {"chunk_size": 7}
    assert resource.process_config_and_initialize() == settings


ADDRESSES = ("S3_ENDPOINT_URL", "APPETISER_URL", "IMAGE_SERVER_URL", "INGEST_QUEUE_URL", "PUBLIC_IIIF_URL", "UI_URL")


def test_addresses_with_a_password_are_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The UI shows the configuration of all resources; runs get the addresses as they are."""
    for name in ADDRESSES:
        monkeypatch.setenv(f"DLCS_{name}", f"https://user:s3cret@{name.lower()}.example.org")
    settings = Settings()
    resources = build_resources(settings)
    shown = {
        name: [str(each) if not isinstance(each, dg.EnvVar) else repr(each) for _, each in resource]
        for name, resource in resources.items()
        if isinstance(resource, ClientResource | SettingsResource | PooledS3Resource)
    }
    s3 = resources["storage"].s3
    assert isinstance(s3.endpoint_url, dg.EnvVar)
    assert "s3cret" not in repr(shown["settings"]) + repr(shown["appetiser"]) + repr(shown["image_server"])
    assert resources["settings"].process_config_and_initialize() == settings
    assert resources["appetiser"].client().url == settings.appetiser_url
    assert resources["image_server"].client().url == settings.image_server_url
    assert s3.factory().endpoint_url == settings.s3_endpoint_url


def test_links_to_pictures_have_no_password() -> None:
    settings = Settings(image_server_url="https://user:s3cret@images.example.org/")
    result = StageResult(Stage.JP2, Outcome.CONVERTED, "v1", {"source": "s3://r/b/2/1/x"})
    links = picture_links(settings, StageDone(cast("WorkItem", None), result))
    assert {link.partition("/iiif/")[0] for link in links.values()} == {"https://images.example.org"}


def test_the_link_to_an_image_leads_to_its_page() -> None:
    """Whatever its name is made of, and without a password; none where no page is."""
    image = AssetId(2, 1, "a?b&c#d %")
    assert page_link(Settings(), image) == {}
    settings = Settings(view_url="https://user:s3cret@images.example.org/")
    assert page_link(settings, image) == {"page": "https://images.example.org/image?id=2%2F1%2Fa%3Fb%26c%23d%20%25"}
