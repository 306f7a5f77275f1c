"""What is shown of a body, in whatever form a secret is written in it: no secret, and all that is none."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcs_assets.domain.redaction import shown_body, shown_url

SECRET = "s3cret"
URL = f"https://user:{SECRET}@example.org/page.jpg?X-Amz-Date=1&X-Amz-Signature={SECRET}"
SHOWN = "https://example.org/page.jpg?…"


def escaped(text: str) -> str:
    """Write every character that is no letter or digit as JSON may: `\\u0026`."""
    return "".join(each if each.isalnum() else f"\\u{ord(each):04x}" for each in text)


def slashes(text: str) -> str:
    return text.replace("/", "\\/")


def twice(text: str) -> str:
    return quote(quote(text, safe=""), safe="")


ENCODINGS: list[Callable[[str], str]] = [
    str,
    slashes,
    escaped,
    lambda text: slashes(text).replace("&", "\\u0026"),
    lambda text: text.replace("@", "%40").replace(":", "%3A"),
    lambda text: quote(text, safe=""),
    twice,
    html.escape,
    lambda text: "".join(f"&#{ord(each)};" for each in text),
    lambda text: "".join(f"&#x{ord(each):x};" for each in text),
    lambda text: html.escape(quote(text, safe="")),
    lambda text: repr(text)[1:-1],
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
]
FRAMES: list[Callable[[str], str]] = [
    lambda text: f'{{"asset": {{"id": "2/1/page", "origin": "{text}"}}}}',
    lambda text: f'{{"asset": {{"id": "2/1/page", "origin": "see {text} there"}}}}',
    lambda text: f'{{"asset": {{"id": "2/1/page", "{text}": 1}}}}',
    lambda text: f'{{"id": "2/1/page", "origin": "{text}"',
    lambda text: f"{{'id': '2/1/page', 'origin': '{text}'}}",
    lambda text: f"id=2/1/page origin={text} more",
    lambda text: f"id 2/1/page <a href={text}>",
    lambda text: f"2/1/page https://proxy.example.org/fetch/{text}",
]


def nested(text: str) -> str:
    """Return JSON in JSON in JSON, as SNS hands S3's events to a queue."""
    inner = json.dumps(
        {"origin": json.loads(f'"{text}"') if "\\u" in text or "\\/" in text else text, "id": "2/1/page"}
    )
    return json.dumps({"Type": "Notification", "Message": json.dumps({"detail": inner})})


@pytest.mark.parametrize("encode", ENCODINGS)
@pytest.mark.parametrize("frame", [*FRAMES, nested])
def test_no_encoding_brings_a_secret_through(encode: Callable[[str], str], frame: Callable[[str], str]) -> None:
    shown = shown_body(frame(encode(URL)))
    for form in (SECRET, base64.b64encode(f"user:{SECRET}".encode()).decode()[:8], escaped(SECRET)):
        assert form not in shown
    assert "2/1/page" in shown


@pytest.mark.parametrize(
    "part",
    [
        f"https://user:pass word{SECRET}@example.org/x",
        f"https://user:p,a;s(s'{SECRET}@example.org/x?sig=a,{SECRET}",
        f"//user:{SECRET}@example.org/x",
        f"user:{SECRET}@example.org",
        f"https:/user:{SECRET}@example.org/x",
        f"https:\\\\user:{SECRET}@example.org/x",
        f"https://example.org/fetch/https:/user:{SECRET}@example.org/x",
        f"https://example.org/fetch/https%3A%2F%2Fexample.org%2Fx%3Fsig%3D{SECRET}",
        f"https://example.org/x%3Fsig%3D{SECRET}",
        f"s3://user:{SECRET}@bucket/key",
        f"Basic {base64.b64encode(f'user:{SECRET}'.encode()).decode()}",
        f"Authorization: Bearer {SECRET}",
        f"password={SECRET}",
    ],
)
def test_a_secret_is_not_shown_wherever_it_stands(part: str) -> None:
    for body in (json.dumps({"origin": part}), json.dumps({"text": f"see {part} there"}), f"{{'origin': {part}"):
        shown = shown_body(body)
        assert SECRET not in shown
        assert base64.b64encode(f"user:{SECRET}".encode()).decode() not in shown
    assert SECRET not in shown_url(part) or "://" not in part


@pytest.mark.parametrize("name", ["password", "accessToken", "Authorization", "sig", "aws_secret_access_key"])
def test_a_field_that_names_a_secret_is_not_shown(name: str) -> None:
    assert json.loads(shown_body(json.dumps({"id": "2/1/x", name: SECRET}))) == {"id": "2/1/x", name: "…"}


@pytest.mark.parametrize(
    "body",
    [
        '{"id": "2/1/page", "created": "2026-11-30T10:00:00Z", "batch": 7, "roles": ["clickthrough"]}',
        '{"asset": {"origin": "https://example.org/ark:/12148/btv1b8449691v/a%20b.tif", "tags": [null, true, 1.5]}}',
        '{"Records": [{"s3": {"object": {"key": "2/1/page+one.jpg", "eTag": "d41d8cd98f00b204e9800998ecf8427e"}}}]}',
        '{"asset": {"origin": "s3://bucket/a?b#c@d"}}',
        "not JSON at all: Bücher & Karten",
        "",
    ],
)
def test_what_is_no_secret_is_shown_as_it_came(body: str) -> None:
    assert shown_body(body) == body


def test_an_address_in_a_value_is_shown_without_its_secrets() -> None:
    assert json.loads(shown_body(json.dumps({"origin": URL}))) == {"origin": SHOWN}


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 5000, "9" * 10_000, '"\\ud800"', "\x00", "1", "null"])
def test_any_body_is_shown_somehow(body: str) -> None:
    assert isinstance(shown_body(body), str)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_any_value_can_be_shown(value: object) -> None:
    assert isinstance(shown_body(json.dumps(value)), str)


@given(st.text(), st.sampled_from(ENCODINGS), st.text())
def test_what_stands_around_a_secret_does_not_bring_it_through(
    before: str, encode: Callable[[str], str], after: str
) -> None:
    url = f"https://user:{SECRET}@example.org/x?sig={SECRET}"
    for body in (json.dumps({"a": f"{before} {encode(url)} {after}"}), f"{before} {encode(url)} {after}"):
        assert SECRET not in shown_body(body)
