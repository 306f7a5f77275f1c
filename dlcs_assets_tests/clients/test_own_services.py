"""Services of the installation are never an origin: not by any of their names and addresses, not over a redirect."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.origins.own_services import OwnService, OwnServices, own_service, own_services
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.networks import may_be_read_from, parse_network
from dlcs_assets.domain.origin import Origin, OriginStrategy
from dlcs_assets.settings import Settings
from dlcs_testing.http_serving import Answer, serving

EVERYTHING = ["0.0.0.0/0", "::/0"]


class Named(Origins):
    """A client to which some names lead where the test says."""

    def resolve(self, host: str, port: int) -> Sequence[str]:
        if host in NAMES:
            return NAMES[host]
        return super().resolve(host, port)


NAMES: dict[str, list[str]] = {}


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """Run a service of ours; yield its address and the paths that are asked of it."""
    paths: list[str] = []

    def answer(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        paths.append(path)
        return Answer(200, b"\xff\xd8\xff secret")

    with serving(answer) as url:
        yield url, paths


def outcome(url: str, own: Sequence[OwnService], folder: Path, **options: Any) -> str:
    origins = Named(
        s3=S3ClientFactory(), private_networks=EVERYTHING, own_services=list(map(str, own)), attempts=1, **options
    )
    origin = Origin(url, OriginStrategy.DEFAULT, None, optimised=False, note=None)
    try:
        origins.fetch(origin, folder / "original")
    except IngestError as error:
        return error.code
    finally:
        origins.close()
    return "fetched"


def local_addresses() -> list[str]:
    found = [each for some in psutil.net_if_addrs().values() for each in some if each.family == socket.AF_INET]
    return [each.address for each in found]


def test_a_service_of_ours_is_refused_by_every_address(asked: tuple[str, list[str]], tmp_path: Path) -> None:
    """Whatever networks are allowed, however the address is written, and by any name that leads there."""
    url, paths = asked
    port = int(url.rpartition(":")[2])
    NAMES["evil.example"] = ["127.0.0.1"]
    NAMES["mixed.example"] = ["93.184.215.14", "::ffff:127.0.0.1"]
    hosts = ["127.0.0.1", "localhost", "127.9.8.7", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "2130706433"]
    hosts += ["0x7f.1", "127.1", "evil.example", "mixed.example", "LOCALHOST", *local_addresses()]
    own = own_service("image server", f"http://localhost:{port}/iiif")
    assert own is not None
    for host in hosts:
        assert outcome(f"http://{host}:{port}/info.json", [own], tmp_path) == "origin_is_own_service", host
    assert paths == []
    assert outcome(f"{url}/info.json", [], tmp_path) == "fetched"


def test_a_redirect_to_a_service_of_ours_is_not_followed(asked: tuple[str, list[str]], tmp_path: Path) -> None:
    url, paths = asked
    own = own_service("S3", url)
    assert own is not None

    def lead(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        return Answer(302, headers={"Location": url if path == "/2" else "/2"})

    with serving(lead) as elsewhere:
        assert outcome(f"{elsewhere}/1", [own], tmp_path) == "origin_is_own_service"
        assert outcome(f"{elsewhere}/1", [], tmp_path) == "fetched"
    assert len(paths) == 1


def test_an_error_says_whose_place_the_origin_leads_to(tmp_path: Path) -> None:
    origins = Named(s3=S3ClientFactory(), ledger_url="postgresql://u:p@db.example/x")
    NAMES["db.example"] = NAMES["x.example"] = ["10.1.2.3"]
    origin = Origin("http://x.example:5432/", OriginStrategy.DEFAULT, None, optimised=False, note=None)
    with pytest.raises(IngestError, match=r"leads to 'x.example' at 10.1.2.3, where the ledger of this") as caught:
        origins.fetch(origin, tmp_path / "original")
    assert "another port" in caught.value.remedy
    origins.close()


@pytest.mark.parametrize(
    ("host", "address", "port", "refused"),
    [
        ("x.example", "10.0.0.1", 8182, True),
        ("x.example", "::ffff:10.0.0.1", 8182, True),
        ("x.example", "64:ff9b::a00:1", 8182, True),
        ("x.example", "10.0.0.2", 8182, False),
        ("x.example", "10.0.0.1", 80, False),
        ("x.example", "93.184.215.14", 443, False),
        ("ui.example", "93.184.215.14", 443, True),
        ("UI.example.", "198.51.100.1", 443, True),
        ("x.example", "fd00::7", 5432, True),
    ],
)
def test_public_addresses_may_be_shared_and_others_not(host: str, address: str, port: int, refused: bool) -> None:
    """Two names at one address of a CDN are two servers; a private address and its port are one."""
    places = {"images": ["10.0.0.1"], "ui.example": ["93.184.215.14"], "db": ["fd00::7"]}
    own = [
        OwnService("image server", "images", 8182),
        OwnService("ui", "ui.example", 443),
        OwnService("db", "db", 5432),
    ]
    assert (OwnServices(own, lambda name, _: places[name]).find(host, address, port) is not None) == refused


def test_a_service_whose_name_is_unknown_stops_no_origin() -> None:
    def nowhere(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror

    services = OwnServices([OwnService("image server", "images", 80)], nowhere)
    assert services.find("x.example", "10.0.0.1", 80) is None
    assert services.find("images", "10.0.0.1", 80) is not None


def test_every_service_that_is_configured_is_ours() -> None:
    settings = Settings(
        image_server_url="http://images:8182",
        appetiser_url="http://appetiser:8000/",
        s3_endpoint_url="http://s3.internal:9000",
        ingest_queue_url="http://sqs.internal:9324/1/ingest",
        priority_queue_url="https://sqs.eu-west-1.amazonaws.com/1/priority",
        ui_url="https://ui.example.org",
        database_url="postgresql://reader:password@dlcs.internal/dlcs",
    )
    environment = {
        "AWS_ENDPOINT_URL": "http://aws:5000",
        "AWS_ENDPOINT_URL_S3": "https://s3.eu-west-1.amazonaws.com",
        "DAGSTER_POSTGRES_HOST": "history",
        "DAGSTER_CODE_SERVER_HOST": "code-server",
    }
    assert {each.place for each in own_services(settings, environment)} == {
        *("images:8182", "appetiser:8000", "s3.internal:9000", "sqs.internal:9324", "ui.example.org:443"),
        *("aws:5000", "history:5432", "code-server:4000", "dlcs.internal:5432"),
    }
    ledger = own_service("ledger", "postgresql://dlcs:password@[fd00::1]/ledger")
    assert ledger is not None
    assert str(ledger) == "[fd00::1]:5432 ledger"
    assert OwnService.read(str(ledger)) == ledger
    assert own_service("ledger", "sqlite:///.dlcs/ledger.db") is None


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "::ffff:169.254.169.254", "100.100.100.200"]
)
def test_metadata_is_refused_whatever_networks_are_allowed(address: str) -> None:
    assert not may_be_read_from(ip_address(address), [parse_network(each) for each in EVERYTHING])
