"""Cantaloupe's configuration for ingest: what the documentation promises is set."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from dlcs_assets_tests.deploy.files import DEPLOY
from dlcs_stack.image_server.config import Config

FOLDER = DEPLOY / "cantaloupe"
PROPERTIES = dict(
    re.findall(r"^([\w.]+) =[ ]?(.*)$", (FOLDER / "cantaloupe.properties").read_text(), flags=re.MULTILINE)
)
DELEGATES = (FOLDER / "delegates.rb").read_text()
OPENING = re.compile(r"^\s*(?:class|def|if|unless|case|begin|while|until|module)\b|\bdo(?: \|.*\|)?$")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoint.iiif.3.enabled", "true"),
        ("endpoint.api.enabled", "false"),
        ("endpoint.admin.enabled", "false"),
        ("source.delegate", "true"),
        ("S3Source.lookup_strategy", "ScriptLookupStrategy"),
        ("FilesystemSource.lookup_strategy", "ScriptLookupStrategy"),
        ("delegate_script.enabled", "true"),
        ("delegate_script.pathname", "/config/delegates.rb"),
        ("meta_identifier.transformer", "DelegateMetaIdentifierTransformer"),
        ("slash_substitute", ""),
        ("max_scale", "0"),
        ("processor.stream_retrieval_strategy", "StreamStrategy"),
        ("processor.fallback_retrieval_strategy", "DownloadStrategy"),
        ("cache.server.derivative.enabled", "false"),
        ("cache.server.info.enabled", "false"),
        ("cache.server.source", ""),
        ("processor.selection_strategy", "ManualSelectionStrategy"),
        ("print_stack_trace_on_error_pages", "false"),
    ],
)
def test_what_ingest_relies_on_is_set(key: str, value: str) -> None:
    assert PROPERTIES[key] == value


@pytest.mark.parametrize(
    "key", ["endpoint.health.enabled", "endpoint.health.dependency_check", "http.accept_queue_limit"]
)
def test_no_key_is_set_that_does_nothing_in_5_0_6(key: str) -> None:
    """The first two came later; the third is no limit of requests."""
    assert key not in PROPERTIES


def test_the_embedded_image_server_has_the_same_pixel_limit() -> None:
    assert int(PROPERTIES["max_pixels"]) == Config.max_pixels


def start(folder: Path, **variables: str) -> str:
    """Start Cantaloupe with a `java` that prints its arguments and environment."""
    (folder / "java").write_text('#!/bin/sh\necho "$@"\nexec env\n')
    (folder / "java").chmod(0o755)
    jar = folder / "cantaloupe-5.0.6.jar"
    jar.touch()
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "CANTALOUPE_JAR": str(folder / "cantaloupe-*.jar")}
    script = FOLDER / "start.sh"
    return subprocess.run(
        ["/bin/sh", script], env={**environment, **variables}, capture_output=True, text=True, check=True
    ).stdout


def test_a_blank_variable_does_not_reach_cantaloupe(tmp_path: Path) -> None:
    """It would override the key: S3SOURCE_ENDPOINT= makes every request fail with 500."""
    started = start(tmp_path, S3SOURCE_ENDPOINT="", AWS_SESSION_TOKEN="", S3SOURCE_REGION="eu-west-1", X_URL="a=")
    assert f"-jar {tmp_path}/cantaloupe-5.0.6.jar" in started
    assert not re.search(r"^\w+=$", started, flags=re.MULTILINE)
    assert {"S3SOURCE_REGION=eu-west-1", "X_URL=a="} <= set(started.splitlines())


def test_the_image_is_the_public_one_with_its_paths() -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert "ARG BASE=ghcr.io/dlcs/cantaloupe:5.0.6\n" in dockerfile
    assert "ARG JAR=/cantaloupe/cantaloupe-*.jar\n" in dockerfile
    assert "command -v opj_decompress" in dockerfile
    copied = re.findall(r"deploy/cantaloupe/([\w.]+)", dockerfile.partition("COPY")[2])
    assert {*copied, "Dockerfile"} == {path.name for path in FOLDER.iterdir()}


def test_no_strategy_keeps_sources() -> None:
    assert "CacheStrategy" not in PROPERTIES.values()


def test_the_largest_default_thumbnail_is_within_the_pixel_limit() -> None:
    """Otherwise Cantaloupe would answer 403 to the thumbnails stage."""
    assert int(PROPERTIES["max_pixels"]) >= 4096 * 4096


def test_no_credentials_are_in_the_file() -> None:
    assert [key for key in PROPERTIES if re.search(r"secret|password|access_key", key)] == []


def test_no_key_is_set_twice() -> None:
    keys = re.findall(r"^([\w.]+) =", (FOLDER / "cantaloupe.properties").read_text(), flags=re.MULTILINE)
    assert sorted(keys) == sorted(PROPERTIES)


def test_the_delegate_has_what_the_configuration_calls() -> None:
    methods = set(re.findall(r"^  def (\w+)", DELEGATES, flags=re.MULTILINE))
    assert methods >= {
        *("source", "s3source_object_info", "filesystemsource_pathname"),
        *("deserialize_meta_identifier", "serialize_meta_identifier", "pre_authorize", "authorize"),
    }


def test_every_block_of_the_delegate_is_closed() -> None:
    lines = [line.partition(" #")[0] for line in DELEGATES.splitlines() if not line.lstrip().startswith("#")]
    closing = sum(line.strip() == "end" for line in lines)
    assert closing == sum(bool(OPENING.search(line)) for line in lines)


def ruby_pattern(name: str) -> re.Pattern[str]:
    """Return one of the delegate's patterns as Python's: those used here differ in a few signs only."""
    found = re.search(rf"^  {name} = %r\{{(.*)\}}m$", DELEGATES, flags=re.MULTILINE)
    assert found
    return re.compile(found[1].replace("(?<", "(?P<").replace(r"\z", r"\Z"), re.DOTALL)


@pytest.mark.parametrize(
    ("identifier", "bucket", "key"),
    [
        ("s3://dlcs-storage/2/1/page", "dlcs-storage", "2/1/page"),
        ("s3://eu-west-1/dlcs-storage/2/1/page", "dlcs-storage", "2/1/page"),
        ("s3://us-gov-west-1/dlcs-storage/2/1/page", "dlcs-storage", "2/1/page"),
        ("s3://dlcs-storage/2/1/page;2", "dlcs-storage", "2/1/page;2"),
        ("s3://dlcs-storage/2/1/100%25?#é\n", "dlcs-storage", "2/1/100%25?#é\n"),
        ("s3://dlcs-storage/transient/2/1/x/0123", "dlcs-storage", "transient/2/1/x/0123"),
    ],
)
def test_an_s3_uri_is_parsed_as_by_the_embedded_image_server(identifier: str, bucket: str, key: str) -> None:
    """With and without a region, and with characters that are special in URLs."""
    found = ruby_pattern("S3_URI").fullmatch(identifier)
    assert found
    assert (found["bucket"], found["key"]) == (bucket, key)


@pytest.mark.parametrize("identifier", ["s3://bucket", "s3://bucket/", "s3:///key", "https://example.org/x", "x/y"])
def test_nothing_else_is_taken_for_an_s3_uri(identifier: str) -> None:
    assert not ruby_pattern("S3_URI").fullmatch(identifier)


@pytest.mark.parametrize(
    "identifier", ["/scratch/work/a b;2", "file:///scratch/work/a b;2", "file:/scratch/work/a b;2"]
)
def test_a_path_is_found_in_each_of_its_forms(identifier: str) -> None:
    found = ruby_pattern("PATH").fullmatch(identifier)
    assert found
    assert found["path"] == "/scratch/work/a b;2"
