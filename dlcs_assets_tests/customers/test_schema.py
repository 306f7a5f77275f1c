"""The JSON Schema for editors accepts what the reader of the customers file accepts, and has the same fields."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # it has no types
import pytest
import yaml  # type: ignore[import-untyped] # it has no types

from dlcs_assets.customers.config import parse_customers
from dlcs_assets.customers.fields import InvalidConfigError
from dlcs_assets.domain.delivery import Channel
from dlcs_assets.domain.origin import OriginStrategy

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "dlcs.schema.json").read_text())
RULE = "{id: a, regex: a, strategy: default, order: 1, unknown: 1}"
CHANNEL = "{media_type: image/*, channel: thumbs, policy: default, unknown: 1}"


def as_json(text: str) -> Any:
    """Return what an editor validates: in JSON the names of fields are text."""
    return json.loads(json.dumps(yaml.safe_load(text)))


def accepts(text: str) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(as_json(text)))


def test_the_schema_is_one_and_accepts_the_example() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert accepts((ROOT / "dlcs.example.yaml").read_text())


@pytest.mark.parametrize(
    ("part", "customer"),
    [
        ("customer", "{unknown: 1}"),
        ("bucket", "{buckets: {a-b: {unknown: 1}}}"),
        ("origin", f"{{origins: [{RULE}]}}"),
        ("default_channel", f"{{default_channels: [{CHANNEL}]}}"),
        ("space", "{spaces: {5: {default_channels: [], unknown: 1}}}"),
        ("quota", "{quota: {images: 1, unknown: 1}}"),
    ],
)
def test_the_schema_has_the_fields_that_the_reader_knows(part: str, customer: str) -> None:
    """A field that only one of them knows is either refused by the editor or never offered."""
    text = f"customers: {{2: {customer}}}"
    with pytest.raises(InvalidConfigError) as refused:
        parse_customers(text.encode())
    (problem,) = [problem for problem in refused.value.problems if problem.field.endswith("unknown")]
    known = set(re.findall(r"'(\w+)'", problem.what))
    assert set(SCHEMA["$defs"][part]["properties"]) == known
    assert not accepts(text)


@pytest.mark.parametrize(
    "customer",
    [
        "{}",
        "{quota: {bytes: 4TiB}, runs_in_flight: 3}",
        "{origins: [{id: a, regex: a, strategy: s3-ambient, order: 0, optimised: true}]}",
        "{policies: {thumbs: {wide: ['1600,']}}, private_networks: ['fd00::/8']}",
    ],
)
def test_the_schema_accepts_what_the_reader_accepts(customer: str) -> None:
    text = f"customers: {{2: {customer}}}"
    assert parse_customers(text.encode()).find(2)
    assert accepts(text)


@pytest.mark.parametrize(
    "customer",
    ["[]", "{quota: {}}", "{quota: {bytes: 500 GB}}", "{runs_in_flight: 0}", "{buckets: {A_b: {}}}", "{origins: [{}]}"],
)
def test_the_schema_refuses_what_the_reader_refuses(customer: str) -> None:
    text = f"customers: {{2: {customer}}}"
    with pytest.raises(InvalidConfigError):
        parse_customers(text.encode())
    assert not accepts(text)


def test_the_schema_names_all_strategies_and_channels() -> None:
    fields = SCHEMA["$defs"]["origin"]["properties"]
    assert fields["strategy"]["enum"] == list(OriginStrategy)
    channels = SCHEMA["$defs"]["default_channel"]["properties"]["channel"]["enum"]
    assert set(channels) == set(Channel) - {Channel.NONE}
