from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dlcs_assets_tests.stack.image_server.conftest import Server, identifier
from dlcs_stack.image_server.refusal import ENLARGED_WITHOUT_CARET
from dlcs_testing.image_server_pictures import decoded, encoded, quadrants

PAGE = (1609, 2398)


@pytest.fixture(scope="module")
def page(server: Server) -> str:
    return server.put("2/1/page", encoded(quadrants(*PAGE), "JPEG", quality=92))


class FaultyS3(ThreadingHTTPServer):
    """An S3 that refuses, fails or breaks off in the middle of an object: moto does none of these."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _FaultyHandler)
        self.fault = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _FaultyHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        fault = self.server.fault  # type: ignore[attr-defined]  # it is a FaultyS3
        code, status = {"refuse": ("AccessDenied", 403), "fail": ("InternalError", 500)}.get(fault, ("", 200))
        body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + (100 if fault == "break off" else 0)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def faulty_s3() -> Iterator[FaultyS3]:
    with FaultyS3() as s3:
        thread = threading.Thread(target=s3.serve_forever)
        thread.start()
        yield s3
        s3.shutdown()
        thread.join()


def test_a_thumbnail_is_a_jpeg_of_the_requested_size(server: Server, page: str) -> None:
    answer = server.get(page, "full/!1000,1000/0/default.jpg?cache=recache")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    picture = decoded(answer.content)
    assert (picture.format, picture.size) == ("JPEG", (671, 1000))
    assert "exif" not in picture.info


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ("full/!1700,2400/0/default.jpg", 400, ENLARGED_WITHOUT_CARET),
        ("full/1610,/0/default.jpg", 400, ENLARGED_WITHOUT_CARET),
        ("full/^8000,/0/default.jpg", 403, "25000000 pixels"),
        ("5000,0,10,10/max/0/default.jpg", 400, "outside"),
        ("full/max/0/default.bmp", 415, "format"),
        ("full/max/0/pretty.jpg", 400, "quality"),
        ("full/max/0/default.jpg/more", 404, "four segments"),
        ("full/max", 404, "four segments"),
    ],
)
def test_a_refusal_is_a_line_of_text_with_cantaloupes_status(
    server: Server, page: str, asked: str, status: int, text: str
) -> None:
    answer = server.get(page, asked)
    assert answer.status_code == status
    assert text in answer.text
    assert len(answer.text.splitlines()) == 1
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_server_that_may_not_enlarge_refuses_as_cantaloupe(serve: Callable[..., Server]) -> None:
    server = serve(max_scale=1.0)
    page = server.put("2/1/small", encoded(quadrants(80, 60), "PNG"))
    for version, size, status in ((3, "^160,", 400), (2, "160,", 403)):
        answer = server.get(page, f"full/{size}/0/default.jpg", version=version)
        assert answer.status_code == status
        assert answer.text == "Requests for scales in excess of 100% are not allowed."
    assert "sizeUpscaling" not in server.get(page, "info.json").json()["extraFeatures"]


@pytest.mark.parametrize("what", ["info.json", "full/max/0/default.jpg"])
def test_a_missing_object_or_bucket_is_a_404(server: Server, what: str) -> None:
    assert server.get(identifier("no/such/key"), what).status_code == 404
    assert server.get("s3:%2F%2Fno-such-bucket%2Fkey", what).status_code == 404


@pytest.mark.parametrize(("fault", "status"), [("refuse", 403), ("fail", 500), ("break off", 500)])
def test_what_goes_wrong_with_s3_has_cantaloupes_status(
    serve: Callable[..., Server], faulty_s3: FaultyS3, fault: str, status: int
) -> None:
    faulty_s3.fault = fault
    answer = serve(s3_endpoint=faulty_s3.url).get(identifier("a/b/c"), "info.json")
    assert (answer.status_code, len(answer.text.splitlines())) == (status, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a picture",
        b"<html><body>Not found</body></html>",
        b"%PDF-1.4 ...",
        encoded(quadrants(300, 200), "PNG")[:200],
        encoded(quadrants(300, 200), "JPEG2000")[:-40],
        encoded(quadrants(300, 200), "JPEG")[:-400],
        encoded(quadrants(300, 200), "TIFF")[:-400],
        encoded(quadrants(300, 200), "JPEG2000")[:60],
    ],
    ids=["empty", "text", "html", "pdf", "png", "jp2", "jpeg", "tiff", "jp2-header"],
)
def test_a_source_that_cannot_be_read_is_a_501(server: Server, body: bytes) -> None:
    answer = server.get(server.put("2/1/broken", body), "full/max/0/default.jpg")
    assert answer.status_code == 501
    assert answer.text.startswith("The source cannot be read: ")
    assert len(answer.text.splitlines()) == 1


def test_the_base_uri_leads_to_info_json(server: Server, page: str) -> None:
    for path in (f"/iiif/3/{page}", f"/iiif/2/{page}/"):
        answer = server.client.get(path)
        assert answer.status_code == 303
        assert server.client.get(answer.headers["location"]).status_code == 200


def test_info_json_of_version_3_says_what_the_server_can(server: Server, page: str) -> None:
    answer = server.get(page, "info.json")
    info = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert info["@context"] == "http://iiif.io/api/image/3/context.json"
    assert (info["type"], info["protocol"], info["profile"]) == ("ImageService3", "http://iiif.io/api/image", "level2")
    assert (info["width"], info["height"]) == PAGE
    assert info["maxArea"] == 25_000_000
    assert {"sizeUpscaling", "rotationArbitrary", "mirroring"} <= set(info["extraFeatures"])
    assert info["tiles"] == [{"width": 512, "height": 512, "scaleFactors": [1, 2, 4, 8]}]
    assert [(size["width"], size["height"]) for size in info["sizes"]] == [(202, 300), (403, 600), (805, 1199), PAGE]
    assert info["id"].startswith(server.url)
    assert server.client.get(info["id"] + "/full/202,300/0/default.jpg").status_code == 200


def test_info_json_of_version_2_says_what_the_server_can(server: Server, page: str) -> None:
    answer = server.get(page, "info.json", version=2)
    info = answer.json()
    assert info["@context"] == "http://iiif.io/api/image/2/context.json"
    assert (info["width"], info["height"]) == PAGE
    assert info["profile"][0] == "http://iiif.io/api/image/2/level2.json"
    assert {"jpg", "png"} <= set(info["profile"][1]["formats"])
    assert "sizeAboveFull" in info["profile"][1]["supports"]
    assert server.client.get(info["@id"] + "/full/full/0/default.jpg").status_code == 200


def test_a_size_too_large_to_be_served_is_not_in_info_json(serve: Callable[..., Server]) -> None:
    """A viewer that takes sizes from info.json must not be answered 403."""
    server = serve(max_pixels=100_000)
    page = server.put("2/1/limited", encoded(quadrants(1000, 600), "PNG"))
    sizes = server.get(page, "info.json").json()["sizes"]
    assert sizes == []
    assert decoded(server.get(page, "full/max/0/default.jpg").content).size == (408, 244)


@pytest.mark.parametrize(
    ("version", "media_type"),
    [
        (3, 'application/ld+json;profile="http://iiif.io/api/image/3/context.json"'),
        (2, "application/ld+json"),
    ],
)
def test_json_ld_is_sent_to_clients_that_accept_it(server: Server, page: str, version: int, media_type: str) -> None:
    answer = server.get(page, "info.json", version=version, headers={"Accept": "application/ld+json, */*;q=0.1"})
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "Accept"


def test_link_headers_name_the_profile_and_the_canonical_request(server: Server, page: str) -> None:
    link = server.get(page, "full/!400,400/0/color.jpg").headers["link"]
    assert '<http://iiif.io/api/image/3/level2.json>;rel="profile"' in link
    assert '/full/268,400/0/default.jpg>;rel="canonical"' in link
    link = server.get(page, "full/!268,999/0/default.jpg", version=2).headers["link"]
    assert '/full/268,/0/default.jpg>;rel="canonical"' in link
    assert '<http://iiif.io/api/image/2/level2.json>;rel="profile"' in link


def test_a_viewer_from_elsewhere_may_ask(serve: Callable[..., Server], page: str) -> None:
    server = serve(viewers=("https://viewer.example",))
    answer = server.client.options(f"/iiif/3/{page}/info.json", headers={"Origin": "https://viewer.example"})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "GET" in answer.headers["access-control-allow-methods"]


def test_head_answers_without_a_body(server: Server, page: str) -> None:
    answer = server.client.head(f"/iiif/3/{page}/full/100,/0/default.jpg")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def test_a_path_outside_the_image_api_is_a_404(server: Server) -> None:
    for path in ("/", "/iiif", "/iiif/3/", "/iiif/1/x/info.json", "/favicon.ico"):
        assert server.client.get(path).status_code == 404, path


def test_health_answers_200(server: Server) -> None:
    answer = server.client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
