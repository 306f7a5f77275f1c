from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dlcs_assets.clients.image_server import ImageServer, Refused, ThumbnailBytes
from dlcs_assets.clients.image_server_answer import SourceFailedError
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.image_servers import DIALECTS, ImageServerKind
from dlcs_testing.pictures import jpeg
from dlcs_testing.scripted_server import Answer, ScriptedServer, refused_url, scripted_server

PAGE = Size(1000, 2000)
IDENTIFIER = "s3://dlcs-storage/2/1/foo"


def image_server(url: str, **options: Any) -> ImageServer:
    defaults: dict[str, Any] = {"url": url, "first_delay_seconds": 0.001, "timeout_seconds": 5.0}
    return ImageServer(**(defaults | options))


def ask(server: ScriptedServer, parameter: str = "!200,200", image: Size = PAGE, **options: Any) -> Any:
    client = image_server(server.url, **options)
    try:
        return client.session().thumbnail(IDENTIFIER, parameter, parameter, image)
    finally:
        client.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server(Answer(200, jpeg(100, 200))) as script:
        yield script


def test_a_thumbnail_comes_with_its_measured_size(server: ScriptedServer) -> None:
    thumbnail = ask(server)
    assert isinstance(thumbnail, ThumbnailBytes)
    assert thumbnail.size == Size(100, 200)
    assert thumbnail.data == jpeg(100, 200)


@pytest.mark.parametrize(
    ("identifier", "ask_for", "path"),
    [
        (
            "s3://eu-west-1/bucket-name/2/1/foo",
            "!1024,1024",
            "/iiif/3/s3%3A%2F%2Feu-west-1%2Fbucket-name%2F2%2F1%2Ffoo/full/!1024,1024/0/default.jpg?cache=recache",
        ),
        # The DLCS engine encodes the slashes only: each of these would be mangled.
        (
            "s3://b/2/1/50% off?x=1#é;2",
            "400,",
            "/iiif/3/s3%3A%2F%2Fb%2F2%2F1%2F50%25%20off%3Fx%3D1%23%C3%A9%3B2/full/400,/0/default.jpg?cache=recache",
        ),
    ],
)
def test_the_whole_identifier_is_one_encoded_segment(identifier: str, ask_for: str, path: str) -> None:
    with scripted_server(Answer(200, jpeg(400, 800))) as server:
        client = image_server(server.url + "/", attempts=1)
        try:
            client.session().thumbnail(identifier, "400,", ask_for, PAGE)
        finally:
            client.close()
        assert [asked.path for asked in server.asked] == [path]


def test_upscaling_sizes_are_requested_as_they_are() -> None:
    with scripted_server(Answer(200, jpeg(20, 40))) as server:
        ask(server, "^!40,40", Size(10, 20))
        assert server.asked[0].path.endswith(
            ("/full/^!40,40/0/default.jpg?cache=recache", "/full/%5E!40,40/0/default.jpg?cache=recache")
        )


def test_path_and_cache_are_settings(server: ScriptedServer) -> None:
    ask(server, path="/iiif/2", cache="")
    ask(server, path="", cache="nocache")
    assert [asked.path.replace("s3%3A%2F%2Fdlcs-storage%2F2%2F1%2Ffoo", "X") for asked in server.asked] == [
        "/iiif/2/X/full/!200,200/0/default.jpg",
        "/X/full/!200,200/0/default.jpg?cache=nocache",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "Requested image dimensions exceed largest available resolution",
        "Requests for scales in excess of 100% must prefix the size path component with a ^ character.",
        # With a max_scale of 2; the DLCS engine fails the whole image on it.
        "Requests for scales in excess of 200% are not allowed.",
    ],
)
def test_a_size_that_the_server_refuses_is_left_out_with_reason(body: str) -> None:
    """It costs one request, and must not fail the other sizes of the image."""
    with scripted_server(Answer(400, f"400 Bad Request\n\n{body}\n".encode())) as server:
        answer = ask(server)
        assert isinstance(answer, Refused)
        assert body in answer.reason
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "code", "times"),
    [
        (Answer(400), PermanentError, "image_server_refused", 1),
        (Answer(400, b"Invalid size"), PermanentError, "image_server_refused", 1),
        (Answer(301, b"", (("Location", "/elsewhere"),)), PermanentError, "image_server_refused", 1),
        (Answer(403, b"pixel area 20000000 exceeds"), PermanentError, "thumbnail_too_many_pixels", 1),
        (Answer(415), PermanentError, "image_server_refused", 1),
        (Answer(501, b"Unsupported source format"), PermanentError, "source_unreadable", 1),
        # S3 denies the source, or too many ask at a time: seen to pass.
        (Answer(403), TransientError, "image_server_forbidden", 3),
        (Answer(404), TransientError, "image_server_source_missing", 3),
        (Answer(429), TransientError, "image_server_unavailable", 3),
        (Answer(500), SourceFailedError, "image_server_unavailable", 3),
        (Answer(502), TransientError, "image_server_unavailable", 3),
        (Answer(fault="reset"), SourceFailedError, "image_server_broke_off", 3),
        (Answer(200, b"x" * 100, fault="break off"), SourceFailedError, "image_server_broke_off", 3),
        (Answer(fault="hang"), TransientError, "image_server_timeout", 3),
    ],
)
def test_each_answer_has_its_error_and_code(answer: Answer, kind: type[IngestError], code: str, times: int) -> None:
    with scripted_server(answer) as server:
        with pytest.raises(IngestError) as caught:
            ask(server, attempts=3, timeout_seconds=0.2)
        assert type(caught.value) is kind
        assert caught.value.code == code
        assert len(server.asked) == times


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "is empty"),
        (b"<html>Oh no</html>", "does not begin as a JPEG"),
        (b"\xff\xd8\xff\xe0", "has no readable JPEG header"),
        (jpeg(100, 200)[:-500], "breaks off before the end"),
        # Begin, size and end alone do not make it whole.
        (jpeg(100, 200).partition(b"\xff\xda")[0] + b"\xff\xd9", "does not decode"),
    ],
)
def test_an_incomplete_jpeg_is_requested_again(body: bytes, what: str) -> None:
    """Image servers send status 200 before they know whether they can encode."""
    with scripted_server(Answer(200, body), Answer(200, jpeg(100, 200))) as server:
        assert ask(server).size == Size(100, 200)
        server.answers = [Answer(200, body)]
        with pytest.raises(TransientError) as caught:
            ask(server)
        assert caught.value.code == "thumbnail_unreadable"
        assert what in caught.value.cause


# Edge lengths that an image server may give for the DLCS's own examples. Where the constrained edge is off, the DLCS
# records the size that it expected; here the thumbnail is refused, since recorded sizes are those of the pixels.
@pytest.mark.parametrize(
    ("image", "parameter", "returned", "accepted"),
    [
        ((1000, 2000), "250,", (250, 499), True),
        ((2000, 1000), ",250", (500, 250), True),
        ((1000, 2000), ",250", (125, 251), False),
        ((1000, 2000), "100,", (100, 201), True),
        ((1000, 2000), "200,", (200, 400), True),
        ((2000, 1000), "!250,250", (249, 125), False),
        ((1000, 2000), "!100,100", (50, 101), False),
        ((1000, 2000), "!250,250", (125, 249), False),
        ((1000, 2000), "!250,250", (124, 250), True),
        ((1000, 2000), ",200", (100, 200), True),
        ((1000, 2000), "!200,200", (100, 200), True),
        ((1000, 2000), "250,", (249, 500), False),
        ((1000, 2000), ",100", (50, 101), False),
    ],
)
def test_only_the_requested_size_is_accepted(
    image: tuple[int, int], parameter: str, returned: tuple[int, int], accepted: bool
) -> None:
    with scripted_server(Answer(200, jpeg(*returned))) as server:
        if accepted:
            assert ask(server, parameter, Size(*image)).size == Size(*returned)
            return
        with pytest.raises(PermanentError) as caught:
            ask(server, parameter, Size(*image), attempts=2)
        assert caught.value.code == "thumbnail_wrong_size"
        assert len(server.asked) == 2


def test_a_wrong_size_that_passes_is_overcome(server: ScriptedServer) -> None:
    server.answers = [Answer(200, jpeg(99, 199)), Answer(200, jpeg(100, 200))]
    assert ask(server).size == Size(100, 200)


@pytest.mark.parametrize(
    "answer", [Answer(500, b"Index 1200 out of bounds"), Answer(200, jpeg(100, 200), (), "break off")]
)
def test_a_source_that_failed_in_all_attempts_is_not_repeated(answer: Answer) -> None:
    """Each further size would keep threads and permits for as long as the first one did."""
    with scripted_server(answer) as server:
        client = image_server(server.url, attempts=4)
        session = client.session()
        for requests in (4, 5, 6):
            with pytest.raises(SourceFailedError) as caught:
                session.thumbnail("s3://b/k", "!200,200", "!200,200", PAGE)
            assert len(server.asked) == requests
        assert caught.value.url == server.url + server.asked[0].path
        client.close()


def test_cookies_of_the_balancer_stay_with_one_image() -> None:
    """The DLCS engine sends raw Set-Cookie lines back, attributes included; here only names and values are sent."""
    cookies = (
        ("Set-Cookie", "AWSALB=_remove_; Path=/"),
        ("Set-Cookie", "AWSALBCORS=abc=; Expires=Mon, 30 Nov 2026 10:00:00 GMT; Path=/; SameSite=None"),
        ("Set-Cookie", "tracking=1"),
    )
    with scripted_server(Answer(200, jpeg(100, 200), cookies)) as server:
        client = image_server(server.url)
        first = client.session()
        first.thumbnail(IDENTIFIER, "!200,200", "!200,200", PAGE)
        first.thumbnail(IDENTIFIER, "!200,200", "!200,200", PAGE)
        client.session().thumbnail(IDENTIFIER, "!200,200", "!200,200", PAGE)
        client.close()
        assert [asked.headers.get("cookie") for asked in server.asked] == [
            None,
            "AWSALB=_remove_; AWSALBCORS=abc=",
            None,
        ]


def test_without_a_balancer_no_cookie_is_sent(server: ScriptedServer) -> None:
    client = image_server(server.url)
    session = client.session()
    for _ in range(2):
        session.thumbnail(IDENTIFIER, "!200,200", "!200,200", PAGE)
    client.close()
    assert ["cookie" in asked.headers for asked in server.asked] == [False, False]


def info_of(server: ScriptedServer, **options: Any) -> Size:
    client = image_server(server.url, **options)
    try:
        return client.session().info(IDENTIFIER)
    finally:
        client.close()


def test_info_returns_the_size_as_it_is_served() -> None:
    body = json.dumps({"width": 64, "height": 56, "profile": "level2"}).encode()
    with scripted_server(Answer(503), Answer(200, body)) as server:
        assert info_of(server) == Size(64, 56)
        assert server.asked[0].path == "/iiif/3/s3%3A%2F%2Fdlcs-storage%2F2%2F1%2Ffoo/info.json?cache=recache"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"width": 0, "height": 5}', b'{"width": "x", "height": 5}', b"\xff"])
def test_an_unreadable_info_is_transient(body: bytes) -> None:
    with scripted_server(Answer(200, body)) as server:
        with pytest.raises(TransientError) as caught:
            info_of(server, attempts=2)
        assert caught.value.code == "info_unreadable"
        assert len(server.asked) == 2


@pytest.mark.parametrize(("status", "up"), [(200, True), (403, True), (404, True), (500, True), (503, False)])
def test_any_answer_but_a_gateways_means_that_it_is_up(status: int, up: bool) -> None:
    with scripted_server(Answer(status)) as server:
        client = image_server(server.url)
        assert client.is_up() is up
        client.close()
        assert server.asked[0].path == "/health"


def test_a_server_that_is_down_is_a_service_down() -> None:
    client = image_server(refused_url(), attempts=2)
    assert not client.is_up()
    with pytest.raises(ServiceDownError) as caught:
        client.session().info(IDENTIFIER)
    assert caught.value.code == "image_server_down"
    client.close()


def test_each_kind_of_image_server_has_a_dialect() -> None:
    """A kind without one would fail when the first thumbnail is asked for."""
    assert DIALECTS.keys() == set(ImageServerKind)
