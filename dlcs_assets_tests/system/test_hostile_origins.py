"""Hostile origins in one run with good ones: each image fails for its own reason, and the good ones are done."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta

from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.raw_server import Behaviour, Talk, raw_server

LOGIN_PAGE = b"<!DOCTYPE html><html><title>Please log in</title><form><input name=password></form></html>"
OK = b"HTTP/1.1 200 OK\r\n"


def says(data: bytes) -> Behaviour:
    return lambda talk: talk.say(data)


def body(data: bytes, *headers: bytes) -> Behaviour:
    return says(
        OK + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(data) + data
    )


def redirect(location: bytes) -> Behaviour:
    return says(b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")


def slow_headers(talk: Talk) -> None:
    talk.say(OK)
    talk.trickle(b"X-Slow: loris\r\n")


def endless_headers(talk: Talk) -> None:
    talk.say(OK)
    talk.pour(b"X-More: x\r\n" * 99)


def endless_body(talk: Talk) -> None:
    talk.say(OK + b"\r\n")
    talk.pour(b"x" * 9999)


HOSTILE: dict[str, tuple[Behaviour, str]] = {
    "slow-headers": (slow_headers, "origin_timeout"),
    "endless-headers": (endless_headers, "origin_headers_too_long"),
    "endless-body": (endless_body, "origin_too_large"),
    "metadata": (redirect(b"http://169.254.169.254/latest/meta-data/iam/"), "origin_address_refused"),
    "file": (redirect(b"file:///etc/passwd"), "origin_address_invalid"),
    "loop": (redirect(b"/loop"), "origin_redirects"),
    "bomb": (body(gzip.compress(bytes(10**7)), b"Content-Encoding: gzip"), "origin_too_large"),
    "garbage": (says(OK + b"Transfer-Encoding: chunked\r\n\r\nyes?\r\n"), "origin_broke_off"),
    "login-page": (body(LOGIN_PAGE, b"Content-Type: image/tiff"), "not_an_image"),
    "nothing": (body(b""), "origin_empty"),
}


def test_ten_hostile_origins_fail_each_for_its_own_reason(
    make_system: Callable[..., System],
) -> None:
    """Three good images of the same run are done, and nothing is left in scratch."""
    system = make_system(attempts=1, origin_max_bytes=500_000, origin_timeout=timedelta(seconds=3), chunks_in_flight=1)
    with ExitStack() as opened:
        for name, (behave, _) in HOSTILE.items():
            server = opened.enter_context(raw_server(behave))
            system.send(full_message(f"2/1/{name}", f"{server.url}/{name}", "iiif-img:default,thumbs:default"))
        for number in range(3):
            url = system.serve(f"good-{number}.jpg", jpeg(120, 90 + number))
            system.send(full_message(f"2/1/good-{number}", url, "iiif-img:default,thumbs:default"))
        (run,) = system.settle()
    assert system.failure_of(run)[0] == "10 of 13 images failed, 3 are done, 0 will be tried again."
    assert {name: system.status(f"2/1/{name}").error_code for name in HOSTILE} == {
        name: code for name, (_, code) in HOSTILE.items()
    }
    assert {system.status(f"2/1/good-{number}").state for number in range(3)} == {"done"}
    assert system.left_in_scratch() == []


def test_an_origin_in_a_private_network_is_refused(make_system: Callable[..., System]) -> None:
    """No request is sent there unless the settings or the customers file open the network."""
    system = make_system(private_networks=(), attempts=1)
    url = system.serve("page.jpg", jpeg(120, 90))
    status = system.ingest("2/1/page", url, "thumbs:default")
    assert (status.state, status.error_code) == ("failed", "origin_address_refused")
    assert system.origin.asked == []


def test_a_customers_file_opens_a_network_to_one_customer(make_system: Callable[..., System]) -> None:
    system = make_system(private_networks=(), attempts=1)
    file = system.settings.scratch.parent / f"{system.settings.scratch.name}.yaml"
    file.write_text("customers:\n  2: {private_networks: ['127.0.0.0/8']}\n  3: {}\n")
    system.use(customers_file=file)
    url = system.serve("page.jpg", jpeg(120, 90))
    assert system.ingest("2/1/page", url, "thumbs:default").state == "done"
    assert system.ingest("3/1/page", url, "thumbs:default").error_code == "origin_address_refused"
