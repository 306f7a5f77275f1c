"""Every setting, read from the environment (`DLCS_*`), validated once, documented in docs/settings.md."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dlcs_assets.domain.iiif_size import validate_policy_size
from dlcs_assets.domain.image_servers import ImageServerKind, SourceAccess
from dlcs_assets.domain.networks import parse_network
from dlcs_assets.domain.thumbnails import ThumbnailMaker

SHORTEST_HISTORY = timedelta(days=15)
PREFIX = "DLCS_"
NO_SETTINGS = frozenset({"DLCS_FUZZ"})  # of the tests
DEFAULT_THUMBNAIL_SIZES = ("!1024,1024", "!400,400", "!200,200", "!100,100")


# Where nothing is a value of its own: no parameter, no prefix, no customers; and no sizes, which is refused.
_MAY_BE_BLANK = frozenset({"image_server_cache", "image_server_scratch_root", "customers", "default_thumbnail_sizes"})


def _seconds(value: object) -> object:
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except (ValueError, OverflowError):
        return value  # ISO 8601 perhaps, which pydantic reads


Duration = Annotated[timedelta, BeforeValidator(_seconds)]


class Settings(BaseSettings):
    """The settings of code server, runs and command line. Each field is the variable `DLCS_` + its name."""

    # Its errors would quote the value of the variable, or of all of them: the ledger's URL and key are among those.
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    # Storage
    storage_bucket: str = Field("dlcs-storage", description="Bucket of JP2s and kept originals.")
    thumbs_bucket: str = Field("dlcs-thumbs", description="Bucket of thumbnails and s.json.")
    origin_bucket: str | None = Field(
        None,
        description="The upload bucket, optimised: each customer's origins under its own number.",
    )
    s3_origin_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Without a customers file: further buckets that may be read as s3-ambient origins, "
        "comma-separated. Not optimised.",
    )
    s3_endpoint_url: str | None = Field(
        None, description="Endpoint of S3; default: AWS_ENDPOINT_URL, otherwise AWS itself."
    )
    s3_uri_region: str | None = Field(
        None, description="Region to write into image locations (s3://region/bucket/key, the DLCS's own form)."
    )

    # Dagster
    asset_key_prefix: str = Field(
        "dlcs",
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,49}$",
        description="First part of the asset keys in Dagster; one for each installation of a Dagster instance.",
    )

    # Queues
    ingest_queue_url: str | None = Field(None, description="SQS queue of ingest messages.")
    priority_queue_url: str | None = Field(None, description="SQS queue of priority ingest messages.")
    uploads_queue_url: str | None = Field(
        None, description="SQS queue of S3's events: objects put at customer/space/asset are ingested."
    )
    update_queue_url: str | None = Field(
        None, description="SQS queue of the DLCS's notifications of changed assets (asset-modified, Update)."
    )
    delete_queue_url: str | None = Field(
        None, description="SQS queue of the DLCS's notifications of deleted assets (asset-modified, Delete)."
    )
    invalidation_topic_arn: str | None = Field(
        None, description="SNS topic for the paths that a CDN is to invalidate; default: none are published."
    )
    forward_queue_url: str | None = Field(
        None, description="Queue of another engine: receives messages that are not ours."
    )
    ingest_type: str = Field(
        "IngestAsset",
        pattern=r"^[A-Za-z0-9_.-]{1,100}$",
        description="What the attribute `IngestType` of messages about assets says: those with another one are not "
        "ours. Messages from here carry it.",
    )
    batch_completed_topic_arn: str | None = Field(
        None,
        description="SNS topic for finished batches. Without it notifications are kept, and sent once it is set.",
    )

    # Alerts
    alert_topic_arn: str | None = Field(
        None, description="SNS topic for alerts: what is wrong with the installation, and when that is over."
    )
    alert_webhook_url: SecretStr | None = Field(
        None, description="Address that alerts are posted to as JSON, such as the incoming webhook of a chat."
    )

    # Uploads without events
    swept_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Buckets that are listed for uploads without an event, comma-separated: the origin bucket, "
        "or those of customers.",
    )
    sweep_interval: Duration = Field(
        timedelta(minutes=15), description="Wait between the end of one round of listings and the next."
    )
    sweep_budget: Duration = Field(timedelta(seconds=5), description="How long a tick lists buckets.")

    # Appetiser
    appetiser_url: str = Field("http://127.0.0.1:8000", description="Base URL of Appetiser.")
    appetiser_optimisation: Literal["kdu_low", "kdu_med", "kdu_med_layers", "kdu_high", "kdu_max"] = Field(
        "kdu_max", description="Profile that Appetiser is asked for."
    )
    appetiser_scratch_root: Path | None = Field(
        None, description="The scratch folder as Appetiser sees it; default: the same path."
    )
    appetiser_in_flight: int = Field(4, ge=1, description="Conversions in flight at most, over all runs of a machine.")
    appetiser_timeout: Duration = Field(timedelta(seconds=300), description="Time limit of one conversion.")

    # Image server
    thumbnails_by: ThumbnailMaker = Field(
        ThumbnailMaker.IMAGE_SERVER,
        description="Who makes thumbnails: `image-server`, or `appetiser`, from files in the scratch folder; no image "
        "server is asked then.",
    )
    image_server_url: str = Field("http://127.0.0.1:8182", description="Base URL of the image server.")
    image_server_path: str = Field("iiif/3/", description="Path of the Image API under the base URL.")
    public_image_server_url: str | None = Field(
        None, description="Base URL of the image server that serves the public, which ingest must not press on."
    )
    image_server_kind: ImageServerKind = Field(
        ImageServerKind.CANTALOUPE,
        description="Which image server it is: `cantaloupe`, `iiif-processor` or `embedded`.",
    )
    image_server_reads_jp2: bool = Field(
        False, description="That an iiif-processor reads JP2, which its prebuilt libvips does not. Cantaloupe does."
    )
    image_server_sources: SourceAccess = Field(
        SourceAccess.S3,
        description="How it sees sources: `s3` (identifiers are S3 URIs) or `disk` (paths in the scratch folder, which "
        "it shares).",
    )
    image_server_scratch_root: str | None = Field(
        None,
        description="With `disk`: the scratch folder in identifiers, as it sees it; default: the same path. Empty "
        "where its own prefix is that folder already.",
    )
    image_server_late_files: Duration = Field(
        timedelta(seconds=10), description="With `disk`: how long a new file may take to appear to it."
    )
    image_server_cache: Literal["recache", "nocache", ""] = Field(
        "recache", description="Value of ?cache= in each request, so that a re-ingested image is read again."
    )
    image_server_in_flight: int = Field(
        16, ge=1, description="Thumbnail requests in flight at most, over all runs of a machine."
    )
    image_server_timeout: Duration = Field(timedelta(seconds=60), description="Time limit of one thumbnail.")

    # Origins
    origin_in_flight: int = Field(8, ge=1, description="Downloads in flight per run.")
    origin_timeout: Duration = Field(timedelta(seconds=600), description="Time limit of one download.")
    origin_max_bytes: int = Field(10 * 2**30, ge=1, description="Largest original that is fetched.")
    origin_min_rate: int = Field(
        1000,
        ge=0,
        description="Lowest rate of a download over HTTP, in bytes a second, as the mean over 30 seconds; 0: none.",
    )
    private_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks from which originals of all customers may be read though they are not public, "
        "comma-separated, such as 10.1.0.0/16; those of one customer are `private_networks` in the customers file.",
    )

    # Images
    max_pixels: int = Field(500_000_000, ge=1, description="Largest image, in pixels (width x height).")
    max_frames: int = Field(10_000, ge=1, description="Pages or frames of an image at most, of which one is read.")
    max_parts: int = Field(1_000_000, ge=1, description="Strips or tiles of an image, or packets of a JP2, at most.")
    max_components: int = Field(64, ge=1, description="Components of a pixel at most.")
    decoder_memory: int | None = Field(
        None,
        ge=2**26,
        description="Memory for the decoding of large originals, in bytes, over all runs of a machine together; an "
        "image that takes more is refused. Default: an eighth of what the machine or the container has.",
    )
    default_thumbnail_sizes: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_THUMBNAIL_SIZES,
        description="Sizes that every image gets, semicolon-separated, as IIIF size parameters.",
    )
    engine_open_thumbnails: bool = Field(
        False, description="Leave thumbnails of images with roles and no maxUnauthorised open, as the engine does."
    )

    # Customers
    customers_file: Path = Field(
        Path("dlcs.yaml"),
        description="Customers with their policies, default channels and origins. It may be missing unless it is named "
        "here; while there is one, DLCS_CUSTOMERS and DLCS_S3_ORIGIN_BUCKETS are not used.",
    )
    customers: Annotated[tuple[int, ...], NoDecode] | None = Field(
        None,
        description="Without a customers file, or with the DLCS's database: customers configured here, "
        "comma-separated; default: all.",
    )

    # Work
    scratch: Path = Field(Path(".dlcs/scratch"), description="Folder for files in progress, shared with Appetiser.")
    slots: Path = Field(
        Path(".dlcs/slots"),
        description="Folder of the locks by which the runs of a machine share the limits of requests in flight.",
    )
    ledger_url: str = Field(
        "sqlite:///.dlcs/ledger.db",
        repr=False,
        description="The ledger's database: sqlite:///path or postgresql://user:password@host:port/name.",
    )
    ledger_key: SecretStr | None = Field(
        None,
        description="Key with which the ledger encrypts addresses of origins and bodies of messages; several, with "
        "commas between them: the first encrypts, all decrypt. Default: they are not encrypted.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="The DLCS's own database, postgresql://user:password@host:port/name: customers, their origin "
        "strategies, policies and quotas are read there, and what it has registered of images. How images "
        "ended is written there.",
    )
    chunk_size: int = Field(
        200,
        ge=1,
        le=1000,
        description="Images per run at most. Runs have fewer while fewer are due: these are divided among the runs "
        "that may begin, one for each 25 images.",
    )
    images_in_flight: int = Field(8, ge=1, description="Images in progress at a time in one run.")
    chunks_in_flight: int = Field(
        4,
        ge=1,
        description="Runs dispatched and not yet ended, per lane. A customer that has none there gets its first one "
        "even so, up to twice the number.",
    )
    backfill_runs: int = Field(2, ge=1, description="The same for the lane of backfills, of all customers together.")
    customer_runs: int | None = Field(
        None,
        ge=1,
        description="Runs of one customer dispatched and not yet ended, in all lanes but priority and delete, unless "
        "its `runs_in_flight` in the customers file says otherwise; default: no limit of its own.",
    )
    receive_wait: Duration = Field(timedelta(seconds=4), description="How long a tick waits for messages.")
    intake_budget: Duration = Field(
        timedelta(seconds=4), description="How long a tick takes messages in, without its wait for the first."
    )
    registration_wait: Duration = Field(
        timedelta(minutes=10), description="How long a short message waits for its image's registration."
    )
    attempts: int = Field(5, ge=1, description="Attempts at an image before a transient failure is final.")
    attempt_delay: Duration = Field(
        timedelta(seconds=60), description="Wait before the second attempt; doubled for each further one."
    )
    heartbeat: Duration = Field(timedelta(seconds=10), description="How often a run renews its claims.")
    claim_ttl: Duration = Field(
        timedelta(seconds=120), description="A claim without heartbeat for this long is up for reconcile."
    )
    stalled_after: Duration = Field(
        timedelta(hours=1), description="How long after it was asked for an image that has not ended counts as stalled."
    )
    abandoned_after: Duration = Field(
        timedelta(hours=12),
        description="How long after it was asked for what has no end in the DLCS counts as left there: longer than any "
        "message waits in its queue.",
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description="How runs and sensors write their log: `text`, or `json` with image, request and run in fields of "
        "their own.",
    )
    metrics_namespace: str | None = Field(
        None,
        description="Namespace under which CloudWatch makes metrics of what the sensor `watch` logs every minute; "
        "default: it logs none.",
    )

    # Maintenance
    maintenance_cron: str = Field("0 3 * * *", description="When the maintenance job runs, as a cron line, in UTC.")
    partition_window: Duration = Field(
        timedelta(days=7), description="How long a quiet image stays among Dagster's partitions."
    )
    partition_keys: int = Field(
        20_000, ge=1, description="Partitions beyond which the images longest quiet leave earlier."
    )
    run_retention: Duration = Field(
        timedelta(days=30),
        description="How long Dagster's runs are kept, with their events and logs; those that a partition's state is "
        "from stay longer.",
    )
    history_retention: Duration = Field(
        timedelta(days=90),
        description="How long the ledger keeps attempts, superseded requests, chunks and the ids of messages; at least "
        "15 days.",
    )
    rejected_retention: Duration = Field(
        timedelta(days=30), description="How long the bodies of rejected messages are kept; their reasons stay."
    )
    fixity_cron: str = Field(
        "0 4 * * *", description="When the fixity audit reads stored objects again, as a cron line, in UTC."
    )
    fixity_objects: int = Field(1000, ge=1, description="Objects that an audit reads.")

    # Links
    ui_url: str | None = Field(None, description="Base URL of the Dagster UI, for links.")
    view_url: str | None = Field(None, description="Base URL of the pages of `dlcs view`, for links.")
    view_restricted: bool = Field(
        False,
        description="Show, on the pages of `dlcs view`, also pictures that only those with a role may see, to everyone "
        "who reaches the pages.",
    )
    public_iiif_url: str | None = Field(
        None, description="Base URL of the public image services; metadata links there, otherwise to the image server."
    )

    @model_validator(mode="before")
    @classmethod
    def _forget_blank(cls, values: Any) -> Any:
        """Take a blank variable for one that is not set: compose files and task definitions can't leave it out."""
        return {
            name: value
            for name, value in values.items()
            if name in _MAY_BE_BLANK or not isinstance(value, str) or value.strip()
        }

    @field_validator("s3_origin_buckets", "swept_buckets", "private_networks", "customers", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("default_thumbnail_sizes", mode="before")
    @classmethod
    def _split_semicolons(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(";") if part.strip()) if isinstance(value, str) else value

    @field_validator("default_thumbnail_sizes")
    @classmethod
    def _check_sizes(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        if not sizes:
            raise ValueError("at least one size is needed, such as !400,400")
        for size in sizes:
            validate_policy_size(size)
        return sizes

    @field_validator("private_networks")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(parse_network(network)) for network in networks)

    @field_validator("history_retention")
    @classmethod
    def _check_history(cls, retention: timedelta) -> timedelta:
        if retention < SHORTEST_HISTORY:
            raise ValueError(
                f"it must be at least {SHORTEST_HISTORY.days} days: SQS delivers a message again for up to 14 days, "
                "and the ids in the ledger are how it is known"
            )
        return retention

    @model_validator(mode="after")
    def _check_buckets(self) -> Self:
        if self.thumbs_bucket == self.storage_bucket:
            raise ValueError("thumbs_bucket and storage_bucket must differ: their keys would overwrite one another")
        if own := {self.thumbs_bucket, self.storage_bucket}.intersection(self.swept_buckets):
            raise ValueError(f"swept_buckets has {', '.join(sorted(own))}: what we store ourselves is no upload")
        return self

    @model_validator(mode="after")
    def _check_image_servers(self) -> Self:
        if self.public_image_server_url is not None and self.thumbnails_by is ThumbnailMaker.IMAGE_SERVER:
            api = f"{self.image_server_url.rstrip('/')}/{self.image_server_path}"
            if _server(self.public_image_server_url) in {_server(self.image_server_url), _server(api)}:
                raise ValueError(
                    "image_server_url and public_image_server_url are the same server: ingest needs an instance of its "
                    "own, or the public waits for thumbnails to be made"
                )
        return self

    @property
    def thumbnails_of_jp2(self) -> bool:
        """Whether who makes thumbnails reads JP2s."""
        by_appetiser = self.thumbnails_by is ThumbnailMaker.APPETISER
        return by_appetiser or self.image_server_kind.dialect.reads_jp2 or self.image_server_reads_jp2

    @property
    def thumbnail_sources(self) -> SourceAccess:
        """How who makes thumbnails sees what they are made from."""
        return SourceAccess.DISK if self.thumbnails_by is ThumbnailMaker.APPETISER else self.image_server_sources

    @cached_property
    def appetiser_root(self) -> Path:
        """The scratch folder as Appetiser sees it."""
        return self.appetiser_scratch_root or self.scratch.absolute()


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A variable that looks like a setting and is none. `meant` is the setting that it may be meant for."""

    name: str
    meant: str | None

    def __str__(self) -> str:
        hint = f" Did you mean {self.meant}?" if self.meant else " docs/settings.md has them all."
        return f"{self.name} is set, and there is no such setting: it has no effect.{hint}"


def unknown_variables(names: Iterable[str]) -> list[UnknownVariable]:
    """Return those of the environment's variables that are no settings, though they begin as all settings do."""
    settings = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    found = []
    for name in sorted(names):
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in settings and upper not in NO_SETTINGS:
            near = difflib.get_close_matches(upper, settings, n=1, cutoff=0.8)
            found.append(UnknownVariable(name, near[0] if near else None))
    return found


def _server(url: str) -> tuple[str, str | None, int | None, str]:
    """Return what distinguishes servers, however their URLs are written: scheme, host, port and path."""
    parts = urlsplit(url.strip())
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname and parts.hostname.rstrip("."), port, parts.path.strip("/")
