from __future__ import annotations

import json
import logging
import traceback
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dlcs_assets.clients.aws import make_client
from dlcs_assets.clients.credentials import SECONDS_REMEMBERED, Credentials, CredentialStore, check_reference
from dlcs_assets.domain.errors import PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.origin import OriginStrategy, OriginStrategyRule
from dlcs_assets_tests.clients.conftest import Aws
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server

PASSWORD = "hunter2-pässwörd"
JSON = json.dumps({"user": "reader", "password": PASSWORD})


def rule(reference: str | None) -> OriginStrategyRule:
    return OriginStrategyRule("partner", OriginStrategy.BASIC_HTTP, lambda _: True, credentials=reference)


@pytest.fixture
def secrets(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    client = make_client("secretsmanager")
    yield client
    client.close()


@pytest.fixture
def references(aws: Aws, bucket: str, secrets: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Store the credentials in all three places."""
    client = aws.s3().get_client()
    key = "2/origin-strategy/partner/credentials.json"
    client.put_object(Bucket=bucket, Key=key, Body=JSON.encode(), ContentType="application/json")
    client.close()
    name = f"dlcs/2/{uuid.uuid4().hex}"
    secrets.create_secret(Name=name, SecretString=JSON)
    monkeypatch.setenv("PARTNER_CREDENTIALS", JSON)
    return {"s3": f"s3://{bucket}/{key}", "secretsmanager": f"secretsmanager:{name}", "env": "env:PARTNER_CREDENTIALS"}


def store(aws: Aws, clock: Callable[[], float] = lambda: 0.0) -> CredentialStore:
    return CredentialStore(aws.s3().get_client, clock=clock)


@pytest.mark.parametrize("kind", ["s3", "secretsmanager", "env"])
def test_credentials_are_read_where_they_are_kept(aws: Aws, references: dict[str, str], kind: str) -> None:
    assert store(aws).get(rule(references[kind])) == Credentials("reader", PASSWORD)


def test_credentials_are_cached_for_a_minute_unless_refused(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """New credentials apply within a minute, and at once if the old ones were refused."""
    now = [0.0]
    kept = store(aws, lambda: now[0])
    partner = rule("env:PARTNER_CREDENTIALS")

    def users(name: str) -> str:
        monkeypatch.setenv("PARTNER_CREDENTIALS", json.dumps({"user": name, "password": "x"}))
        return kept.get(partner).user

    assert users("first") == "first"
    now[0] = SECONDS_REMEMBERED
    assert users("second") == "first"
    now[0] += 0.1
    assert users("third") == "third"
    kept.forget(partner)
    assert users("fourth") == "fourth"


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("env:NOT_SET_ANYWHERE", "origin_credentials_not_found"),
        ("s3://{bucket}/missing.json", "origin_credentials_not_found"),
        ("s3://no-such-bucket-anywhere/x.json", "origin_credentials_not_found"),
        ("secretsmanager:dlcs/none", "origin_credentials_not_found"),
        (None, "origin_credentials_not_found"),
    ],
)
def test_missing_credentials_name_strategy_and_location(
    aws: Aws, bucket: str, secrets: Any, reference: str | None, code: str
) -> None:
    """The operator sees which strategy lacks them and where they were expected."""
    del secrets
    reference = reference and reference.format(bucket=bucket)
    with pytest.raises(PermanentError) as missing:
        store(aws).get(rule(reference))
    assert missing.value.code == code
    assert "origin strategy 'partner' (basic-http-authentication)" in missing.value.cause
    assert (reference or "origin strategy in the DLCS") in missing.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        f"reader:{PASSWORD}",
        "",
        json.dumps([PASSWORD]),
        json.dumps({"user": "", "password": PASSWORD}),
        json.dumps({"user": "reader", "pasword": PASSWORD}),
        json.dumps({"user": "reader", "password": [PASSWORD]}),
        json.dumps({"password": PASSWORD}),
        JSON[:-1],
    ],
)
def test_malformed_credentials_are_refused_and_not_shown(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PARTNER_CREDENTIALS", text)
    with caplog.at_level(logging.DEBUG), pytest.raises(PermanentError) as refused:
        store(aws).get(rule("env:PARTNER_CREDENTIALS"))
    assert refused.value.code == "origin_credentials_malformed"
    shown = "".join(traceback.format_exception(refused.value)) + caplog.text
    assert "hunter2" not in shown


@pytest.mark.parametrize("kind", ["s3", "secretsmanager", "env"])
def test_no_log_shows_credentials_even_when_all_is_logged(
    aws: Aws, references: dict[str, str], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        found = store(aws).get(rule(references[kind]))
    assert caplog.records or kind == "env"
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(found)


def test_a_store_that_is_down_is_worth_waiting_for(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", refused_url())
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(TransientError) as down:
        store(aws).get(rule("secretsmanager:dlcs/x"))
    assert isinstance(down.value, ServiceDownError)
    assert down.value.code == "origin_credentials_unavailable"


ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:dlcs-AbCdEf"


@pytest.mark.parametrize("text", ["s3://b/k.json", "secretsmanager:a/b", "env:A_1", f"secretsmanager:{ARN}"])
def test_a_reference_says_where_credentials_are(text: str) -> None:
    assert check_reference(text) == text


@pytest.mark.parametrize("text", ["hunter2", "env:", "env:A B", "s3://b", "s3://b/", "secretsmanager:", "https://x/y"])
def test_an_invalid_reference_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is no such reference; expected where they are kept") as refused:
        check_reference(text)
    assert "hunter2" not in str(refused.value)


def test_a_denied_access_has_a_code_of_its_own() -> None:
    denied = Answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
    with scripted_server(denied) as server, pytest.raises(PermanentError) as refused:
        store(Aws(server.url)).get(rule("s3://b/k"))
    assert refused.value.code == "origin_credentials_refused"
    assert "'partner'" in refused.value.cause
