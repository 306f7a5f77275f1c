from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from dlcs_assets.definitions import defs
from dlcs_assets.defs.resources import build_resources
from dlcs_assets.domain.image_servers import ImageServerKind, SourceAccess
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.settings import Settings, unknown_variables
from dlcs_assets_tests.environment import OF_EVERY_KIND


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OF_EVERY_KIND.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.registration_wait == timedelta(minutes=5)
    assert settings.storage_bucket == "library"
    assert settings.s3_origin_buckets == ("scans", "more-scans")
    assert settings.customers == (2, 5)
    assert settings.private_networks == ("10.1.0.0/16", "fd00::/8")
    assert settings.default_thumbnail_sizes == ("!200,200", "!100,100")
    assert settings.chunk_size == 7
    assert settings.attempt_delay == timedelta(seconds=0.5)
    assert settings.scratch == Path("/work/scratch")
    assert settings.image_server_kind is ImageServerKind.IIIF_PROCESSOR


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DLCS_CHUNK_SIZE", "0"),
        ("DLCS_CHUNK_SIZE", "many"),
        ("DLCS_CUSTOMERS", "two"),
        ("DLCS_PRIVATE_NETWORKS", "10.1.0.0/16,intranet"),
        ("DLCS_PRIVATE_NETWORKS", "10.1.2.3/16"),
        ("DLCS_ORIGIN_MIN_RATE", "-1"),
        ("DLCS_APPETISER_OPTIMISATION", "kdu_best"),
        ("DLCS_DEFAULT_THUMBNAIL_SIZES", "!200,200;pct:50"),
        ("DLCS_DEFAULT_THUMBNAIL_SIZES", ""),
        ("DLCS_THUMBS_BUCKET", "dlcs-storage"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert name.removeprefix("DLCS_").lower() in str(raised.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DLCS_LEDGER_ULR", "DLCS_LEDGER_URL"),
        ("DLCS_LEDGERURL", "DLCS_LEDGER_URL"),
        ("DLCS_IMAGE_SERVER_INFLIGHT", "DLCS_IMAGE_SERVER_IN_FLIGHT"),
        ("DLCS_SCRATCH_FOLDER", None),
        ("dlcs_chunksize", "DLCS_CHUNK_SIZE"),
        ("DLCS_TENANT", None),
    ],
)
def test_a_misspelt_setting_is_named(name: str, meant: str | None) -> None:
    (found,) = unknown_variables([name, "PATH", "DLCS_CHUNK_SIZE", "dlcs_scratch", "DLCS_FUZZ"])
    assert (found.name, found.meant) == (name, meant)
    assert name in str(found)
    assert (f"Did you mean {meant}?" in str(found)) is (meant is not None)


def test_the_code_location_names_a_misspelt_setting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In its log, when it is loaded: everything works, as if the variable were not there."""
    monkeypatch.setenv("DLCS_CHUNKS_SIZE", "7")
    assert defs()
    assert "DLCS_CHUNKS_SIZE is set, and there is no such setting" in caplog.text
    assert "Did you mean DLCS_CHUNK_SIZE?" in caplog.text


def test_appetiser_sees_the_same_scratch_folder_by_default() -> None:
    """A path of its own is used only where Appetiser mounts the folder elsewhere."""
    assert Settings(scratch=Path("/scratch")).appetiser_root == Path("/scratch")
    assert Settings(scratch=Path("/scratch"), appetiser_scratch_root=Path("/mnt")).appetiser_root == Path("/mnt")


@pytest.mark.parametrize(
    "public",
    [
        "http://images.example.org",
        "http://images.example.org:80/",
        "HTTP://Images.Example.ORG.",
        "http://images.example.org/iiif/3",
        "http://images.example.org:80/iiif/3/",
    ],
)
def test_the_public_image_server_is_refused_for_ingest(public: str) -> None:
    """However its URL is written: thumbnails of a large ingest must not slow down the public's images."""
    with pytest.raises(ValidationError, match="image_server_url and public_image_server_url are the same server"):
        Settings(image_server_url="http://images.example.org/", public_image_server_url=public)


@pytest.mark.parametrize(
    "public", ["https://images.example.org", "http://images.example.org:8182", "http://images.example.org/public"]
)
def test_another_image_server_may_serve_the_public(public: str) -> None:
    settings = Settings(image_server_url="http://images.example.org/", public_image_server_url=public)
    assert settings.public_image_server_url == public


def test_only_an_iiif_processor_reads_no_jp2_by_default() -> None:
    """The setting that says that it can is respected."""
    processor = ImageServerKind.IIIF_PROCESSOR
    assert Settings().thumbnails_of_jp2
    assert not Settings(image_server_kind=processor).thumbnails_of_jp2
    assert Settings(image_server_kind=processor, image_server_reads_jp2=True).thumbnails_of_jp2


def test_the_image_server_has_the_disk_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind, root, cache and the wait for late files reach the client; with s3 no disk is shared."""
    monkeypatch.setenv("DLCS_IMAGE_SERVER_KIND", "iiif-processor")
    monkeypatch.setenv("DLCS_IMAGE_SERVER_SOURCES", "disk")
    monkeypatch.setenv("DLCS_IMAGE_SERVER_SCRATCH_ROOT", "")
    monkeypatch.setenv("DLCS_IMAGE_SERVER_LATE_FILES", "30")
    monkeypatch.setenv("DLCS_SCRATCH", "/work/scratch")
    server = build_resources(Settings())["image_server"].client()
    assert (server.kind, server.reads_jp2, server.cache) == (ImageServerKind.IIIF_PROCESSOR, False, "")
    assert server.identifier_of(Path("/work/scratch/request/original")) == "request/original"
    assert server.late_files_seconds == 30
    monkeypatch.setenv("DLCS_IMAGE_SERVER_SOURCES", "s3")
    assert not build_resources(Settings())["image_server"].client().shares_disk


def test_thumbnails_by_appetiser_are_made_of_files() -> None:
    """JP2s among them, whatever the image server reads; that may then be the server of the public, too."""
    by_appetiser = Settings(
        thumbnails_by=ThumbnailMaker.APPETISER,
        image_server_kind=ImageServerKind.IIIF_PROCESSOR,
        image_server_url="https://iiif.example.org",
        public_image_server_url="https://iiif.example.org",
    )
    assert by_appetiser.thumbnail_sources is SourceAccess.DISK
    assert by_appetiser.thumbnails_of_jp2
    assert Settings().thumbnail_sources is SourceAccess.S3


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_variable_counts_as_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    """Compose files and task definitions can't leave one out; a blank DLCS_SCRATCH would be the current folder."""
    expected = Settings()
    meant = {"image_server_cache", "image_server_scratch_root", "customers", "default_thumbnail_sizes"}
    for name in Settings.model_fields.keys() - meant:
        monkeypatch.setenv(f"DLCS_{name.upper()}", blank)
    assert Settings() == expected
    assert str(build_resources(Settings())["ledger"].url) == expected.ledger_url


def test_where_nothing_is_a_value_blank_is_that_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IMAGE_SERVER_CACHE", "IMAGE_SERVER_SCRATCH_ROOT", "CUSTOMERS"):
        monkeypatch.setenv(f"DLCS_{name}", "")
    settings = Settings()
    assert (settings.image_server_cache, settings.image_server_scratch_root, settings.customers) == ("", "", ())


def test_blank_variables_of_aws_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is an error to botocore, or an endpoint without a host."""
    for name in ("PROFILE", "ENDPOINT_URL", "ENDPOINT_URL_SQS", "CA_BUNDLE", "SESSION_TOKEN", "DEFAULT_REGION"):
        monkeypatch.setenv(f"AWS_{name}", "")
    script = (
        "from dlcs_assets.clients.aws import make_client;"
        "print(make_client('sqs', region_name='eu-west-1').meta.endpoint_url)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "https://sqs.eu-west-1.amazonaws.com\n", done.stderr
