"""The clients and the ledger as Dagster resources: their configuration for the UI, and their closing after use.

Assets, ops and sensors get the plain objects, as `dg.ResourceParam[Storage]` for example.
"""

import json
import os
from abc import abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, Self, TypeVar, get_args

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field, SecretStr

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.http import HttpService
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.lazy import LazyClient
from dlcs_assets.clients.listings import Listings
from dlcs_assets.clients.managed_service import ManagedService
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.origins.own_services import own_services
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.clients.storage import Storage
from dlcs_assets.defs.ledgers import LedgerResource
from dlcs_assets.domain.image_servers import ImageServerKind, SourceAccess
from dlcs_assets.domain.redaction import without_login
from dlcs_assets.ingest.context import Services
from dlcs_assets.pictures.processes import PictureReader
from dlcs_assets.settings import Settings

SECRET_SETTINGS: Final = {"ledger_url"} | {
    name
    for name, field in Settings.model_fields.items()
    if SecretStr in (field.annotation, *get_args(field.annotation))
}

C = TypeVar("C", bound=LazyClient[Any])


class SettingsResource(dg.ConfigurableResource[Settings]):
    """The settings that are set; docs/settings.md has the defaults of the others."""

    values: dict[str, Any] = Field(description="By name; those that hold secrets are read from the environment.")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Show these settings, without secrets."""
        # Dagster's maps hold no None. It is the default of every setting that may be None, so it need not be said.
        hidden = SECRET_SETTINGS | {name for name, value in settings if _is_hidden(name, value)}
        values = settings.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude=hidden)
        return cls(values=values)

    def create_resource(self, context: dg.InitResourceContext) -> Settings:  # noqa: ARG002 (Dagster's signature)
        """Return the settings."""
        variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("DLCS_"))
        return _settings(json.dumps(self.values, sort_keys=True), tuple(variables))


def _variable(name: str) -> str:
    return f"DLCS_{name.upper()}"


def _is_hidden(name: str, value: object) -> bool:
    """Return whether a setting is an address with user or password, which can be read from the environment instead."""
    has_login = isinstance(value, str) and without_login(value) != value
    return has_login and os.environ.get(_variable(name)) == value


def _address(settings: Settings, name: str) -> Any:
    """Return an address for a resource's configuration, which the UI shows: by its variable if it has a password."""
    value = getattr(settings, name)
    return dg.EnvVar(_variable(name)) if _is_hidden(name, value) else value


def _values(resource: dg.ConfigurableResource[Any]) -> dict[str, Any]:
    """Return a resource's configuration with variables read, as Dagster does where it makes the resource."""
    return {name: each.get_value() if isinstance(each, dg.EnvVar) else each for name, each in resource}


@lru_cache(maxsize=8)
def _settings(values: str, _variables: tuple[tuple[str, str], ...]) -> Settings:
    return Settings(**json.loads(values))


class PooledS3Resource(S3Resource):
    """dagster-aws's S3 resource with time limits and as many connections as there are threads at work.

    Its own client has ten connections and waits a minute for each answer.
    """

    connections: int = Field(default=S3ClientFactory.connections, ge=1, description="Connections kept at most.")
    connect_timeout_seconds: float = Field(
        default=S3ClientFactory.connect_timeout_seconds, gt=0, description="Time limit of making a connection."
    )
    read_timeout_seconds: float = Field(
        default=S3ClientFactory.read_timeout_seconds, gt=0, description="Time limit between two packets of an answer."
    )

    def factory(self) -> S3ClientFactory:
        """Return what makes clients by this configuration."""
        return S3ClientFactory(**_values(self))

    def get_client(self) -> Any:
        """Make a client; the caller keeps it, with its connections."""
        return self.factory().get_client()


class ClientResource(dg.ConfigurableResource[C]):
    """A client that is made for a run or a tick, and closed at its end."""

    @abstractmethod
    def client(self) -> C:
        """Make the client. It connects when it is first used."""

    def create_resource(self, context: dg.InitResourceContext) -> C:  # noqa: ARG002 (Dagster's signature)
        """Make the client."""
        return self.client()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[C, None, None]:
        """Make the client, and close it at the end of the run or tick."""
        with self.create_resource(context) as client:
            yield client


class StorageResource(ClientResource[Storage]):
    """The buckets of the installation."""

    s3: dg.ResourceDependency[PooledS3Resource]
    storage_bucket: str = Field(default=Storage.storage_bucket, description="Bucket of JP2s and kept originals.")
    thumbs_bucket: str = Field(default=Storage.thumbs_bucket, description="Bucket of thumbnails and s.json.")
    in_flight: int = Field(default=Storage.in_flight, ge=1, description="Requests in flight at most.")
    download_timeout_seconds: float = Field(
        default=Storage.download_timeout_seconds, gt=0, description="Time limit of one download."
    )
    attempts: int = Field(default=Storage.attempts, ge=1, description="Attempts at a download that breaks off.")
    first_delay_seconds: float = Field(
        default=Storage.first_delay_seconds,
        ge=0,
        description="Longest pause before the second attempt; then doubled.",
    )

    def client(self) -> Storage:
        """Make the client."""
        return Storage(**{**dict(self), "s3": self.s3.factory()})


class ListingsResource(ClientResource[Listings]):
    """The buckets of uploads."""

    s3: dg.ResourceDependency[PooledS3Resource]
    page_size: int = Field(default=Listings.page_size, ge=1, le=1000, description="Objects of one page.")

    def client(self) -> Listings:
        """Make the client."""
        return Listings(**{**dict(self), "s3": self.s3.factory()})


class QueuesResource(ClientResource[Queues]):
    """SQS, whichever queue."""

    region_name: str | None = Field(default=None, description="Region of the queues; default: the environment's.")
    endpoint_url: str | None = Field(
        default=None, description="Endpoint of SQS; default: AWS_ENDPOINT_URL, otherwise AWS itself."
    )
    connect_timeout_seconds: float = Field(
        default=Queues.connect_timeout_seconds, gt=0, description="Time limit of making a connection."
    )
    timeout_seconds: float = Field(
        default=Queues.timeout_seconds, gt=0, description="Time limit of one answer, on top of the time it may wait."
    )
    attempts: int = Field(default=Queues.attempts, ge=1, description="Attempts at each request at most.")
    first_delay_seconds: float = Field(
        default=Queues.first_delay_seconds, ge=0, description="Longest pause before the second attempt; then doubled."
    )

    def client(self) -> Queues:
        """Make the client."""
        return Queues(**dict(self))


class NotificationsResource(ClientResource[Notifications]):
    """SNS, whichever topic."""

    region_name: str | None = Field(default=None, description="Region of the topics; default: the environment's.")
    endpoint_url: str | None = Field(
        default=None, description="Endpoint of SNS; default: AWS_ENDPOINT_URL, otherwise AWS itself."
    )
    connect_timeout_seconds: float = Field(
        default=Notifications.connect_timeout_seconds, gt=0, description="Time limit of making a connection."
    )
    timeout_seconds: float = Field(default=Notifications.timeout_seconds, gt=0, description="Time limit of one answer.")
    attempts: int = Field(default=Notifications.attempts, ge=1, description="Attempts at each request at most.")

    def client(self) -> Notifications:
        """Make the client."""
        return Notifications(**dict(self))


class HttpServiceResource(ClientResource[C]):
    """What the resources of HTTP services have in common."""

    in_flight: int = Field(default=HttpService.in_flight, ge=1, description="Requests in flight at most.")
    connect_timeout_seconds: float = Field(
        default=HttpService.connect_timeout_seconds, gt=0, description="Time limit of making a connection."
    )
    timeout_seconds: float = Field(default=HttpService.timeout_seconds, gt=0, description="Time limit of one request.")
    attempts: int = Field(default=HttpService.attempts, ge=1, description="Attempts at one request at most.")
    retry_budget_seconds: float = Field(
        default=HttpService.retry_budget_seconds, ge=0, description="No further attempt is begun after this time."
    )
    first_delay_seconds: float = Field(
        default=HttpService.first_delay_seconds,
        ge=0,
        description="Longest pause before the second attempt; then doubled.",
    )
    longest_delay_seconds: float = Field(
        default=HttpService.longest_delay_seconds, ge=0, description="Longest pause between attempts."
    )


class OriginsResource(HttpServiceResource[Origins]):
    """The origins of all customers."""

    s3: dg.ResourceDependency[PooledS3Resource]
    max_bytes: int = Field(default=Origins.max_bytes, ge=1, description="Largest original that is fetched.")
    connect_timeout_seconds: float = Field(
        default=Origins.connect_timeout_seconds, gt=0, description="Time limit of making a connection."
    )
    timeout_seconds: float = Field(default=Origins.timeout_seconds, gt=0, description="Time limit of one download.")
    read_timeout_seconds: float = Field(
        default=Origins.read_timeout_seconds, gt=0, description="Time limit between two packets of an answer."
    )
    min_rate: int = Field(
        default=Origins.min_rate, ge=0, description="Lowest rate of a download, in bytes a second; 0: none."
    )
    rate_window_seconds: float = Field(
        default=Origins.rate_window_seconds, gt=0, description="The rate is the mean over this time."
    )
    private_networks: list[str] = Field(
        default=[], description="Networks that are not public and from which originals of all customers may be read."
    )
    own_services: list[str] = Field(
        default=[], description="Services of this installation, each by host, port and name: never an origin."
    )
    ledger_url: str | None = Field(default=None, description="The ledger's database, which is never one either.")
    attempts: int = Field(default=Origins.attempts, ge=1, description="Attempts at one download at most.")
    retry_budget_seconds: float = Field(
        default=Origins.retry_budget_seconds, ge=0, description="No further attempt is begun after this time."
    )

    def client(self) -> Origins:
        """Make the client."""
        return Origins(**{**_values(self), "s3": self.s3.factory()})


class ManagedServiceResource(HttpServiceResource[C]):
    """What the resources of services of ours have in common."""

    slots_folder: str | None = Field(
        default=None, description="Folder of the locks by which processes share the requests in flight."
    )
    slowdown: float = Field(
        default=ManagedService.slowdown,
        gt=1,
        description="An answer that takes this many times as long as the quickest one is too slow.",
    )
    circuit_failures: int = Field(
        default=ManagedService.circuit_failures,
        ge=1,
        description="Calls in a row that find the service down before calls to it are paused.",
    )
    circuit_pause_seconds: float = Field(
        default=ManagedService.circuit_pause_seconds,
        ge=0,
        description="How long calls to a service that is down are paused before one tries it again.",
    )


class AppetiserResource(ManagedServiceResource[Appetiser]):
    """Appetiser, which makes JP2s."""

    url: str = Field(default=Appetiser.url, description="Base URL of Appetiser.")
    optimisation: str = Field(default=Appetiser.optimisation, description="Profile that Appetiser is asked for.")
    scratch_root: str | None = Field(default=None, description="The scratch folder as we see it.")
    appetiser_scratch_root: str | None = Field(
        default=None, description="The same folder as Appetiser sees it; default: the same path."
    )
    in_flight: int = Field(default=Appetiser.in_flight, ge=1, description="Conversions in flight at most.")
    timeout_seconds: float = Field(default=Appetiser.timeout_seconds, gt=0, description="Time limit of one conversion.")
    attempts: int = Field(default=Appetiser.attempts, ge=1, description="Attempts at one conversion at most.")
    retry_budget_seconds: float = Field(
        default=Appetiser.retry_budget_seconds, ge=0, description="No further attempt is begun after this time."
    )

    def client(self) -> Appetiser:
        """Make the client."""
        return Appetiser(**_values(self))


class ImageServerResource(ManagedServiceResource[ImageServer]):
    """The image server, which makes thumbnails."""

    url: str = Field(default=ImageServer.url, description="Base URL of the image server.")
    path: str = Field(default=ImageServer.path, description="Path of the Image API under the base URL.")
    cache: str = Field(default=ImageServer.cache, description="Value of ?cache= in each request; none if empty.")
    cookie_names: list[str] = Field(
        default=list(ImageServer.cookie_names), description="The load balancer's cookies, sent back within one image."
    )
    kind: ImageServerKind = Field(default=ImageServer.kind, description="Which image server it is.")
    reads_jp2: bool = Field(default=ImageServer.reads_jp2, description="Whether it reads JP2.")
    scratch_root: str | None = Field(default=None, description="The scratch folder as we see it, where it is shared.")
    server_scratch_root: str | None = Field(
        default=None, description="The scratch folder in identifiers, as the server sees it; default: the same path."
    )
    late_files_seconds: float = Field(
        default=ImageServer.late_files_seconds,
        ge=0,
        description="How long a new file may take to appear on the shared disk.",
    )

    def client(self) -> ImageServer:
        """Make the client."""
        return ImageServer(**_values(self))


def build_resources(settings: Settings) -> dict[str, Any]:
    """Return the resources that assets and sensors use, by name."""
    # Ticks come again soon: they do not wait for S3 for long.
    s3_of_ticks = PooledS3Resource(
        endpoint_url=_address(settings, "s3_endpoint_url"),
        connect_timeout_seconds=3,
        read_timeout_seconds=15,
        max_attempts=1,
        connections=2,
    )
    return {
        "settings": SettingsResource.of(settings),
        "ledger": LedgerResource(
            url=_ledger_url(settings),
            key=dg.EnvVar("DLCS_LEDGER_KEY") if settings.ledger_key else None,
            heartbeat_seconds=settings.heartbeat.total_seconds(),
            claim_ttl_seconds=settings.claim_ttl.total_seconds(),
        ),
        "queues": QueuesResource(),
        "notifications": NotificationsResource(),
        "listings": ListingsResource(s3=s3_of_ticks),
        "storage_of_ticks": StorageResource(
            s3=s3_of_ticks, storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket
        ),
        **service_resources(settings),
    }


def service_resources(settings: Settings) -> dict[str, ClientResource[Any]]:
    """Return the resources of the services of a run, by name."""
    s3 = PooledS3Resource(endpoint_url=_address(settings, "s3_endpoint_url"))
    slots = str(settings.slots.absolute())
    shared = settings.image_server_sources is SourceAccess.DISK
    return {
        "storage": StorageResource(s3=s3, storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket),
        "origins": OriginsResource(
            s3=s3,
            in_flight=settings.origin_in_flight,
            timeout_seconds=settings.origin_timeout.total_seconds(),
            max_bytes=settings.origin_max_bytes,
            min_rate=settings.origin_min_rate,
            private_networks=list(settings.private_networks),
            own_services=list(map(str, own_services(settings, os.environ))),
            ledger_url=_ledger_url(settings),
        ),
        "appetiser": AppetiserResource(
            url=_address(settings, "appetiser_url"),
            optimisation=settings.appetiser_optimisation,
            scratch_root=str(settings.scratch.absolute()),
            appetiser_scratch_root=str(settings.appetiser_root),
            in_flight=settings.appetiser_in_flight,
            slots_folder=slots,
            timeout_seconds=settings.appetiser_timeout.total_seconds(),
        ),
        "image_server": ImageServerResource(
            url=_address(settings, "image_server_url"),
            path=settings.image_server_path,
            kind=settings.image_server_kind,
            cache=settings.image_server_cache if settings.image_server_kind.dialect.has_cache_parameter else "",
            reads_jp2=settings.thumbnails_of_jp2,
            scratch_root=str(settings.scratch.absolute()) if shared else None,
            server_scratch_root=settings.image_server_scratch_root,
            late_files_seconds=settings.image_server_late_files.total_seconds(),
            in_flight=settings.image_server_in_flight,
            slots_folder=slots,
            timeout_seconds=settings.image_server_timeout.total_seconds(),
        ),
    }


def _ledger_url(settings: Settings) -> Any:
    """Return the ledger's URL, named and not written out: the UI shows it, and it may hold a password."""
    is_set = os.environ.get("DLCS_LEDGER_URL", "").strip()
    return dg.EnvVar("DLCS_LEDGER_URL") if is_set else settings.ledger_url


def make_services(settings: Settings, resources: Mapping[str, ClientResource[Any]] | None = None) -> Services:
    """Return the services of a run for a caller outside Dagster, which closes them.

    `resources` are those of the services, if not as the settings say (`service_resources`).
    """
    made = resources or service_resources(settings)
    origins, storage, appetiser, image_server = (
        made[name].client() for name in ("origins", "storage", "appetiser", "image_server")
    )
    return Services(origins, storage, appetiser, image_server, PictureReader.of(settings))
