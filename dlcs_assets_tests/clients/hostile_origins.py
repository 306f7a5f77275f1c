"""What origins that mean harm answer, or those that are as broken as if they did, and the code in which each ends."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import Any, Final

from dlcs_testing.raw_server import Behaviour, Talk

IMAGE = b"II*\0" + bytes(range(256)) * 40


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def says(*parts: bytes) -> Behaviour:
    return lambda talk: talk.say(*parts)


def trickles(first: bytes, then: bytes) -> Behaviour:
    def behave(talk: Talk) -> None:
        talk.say(first)
        talk.trickle(then)

    return behave


def pours(first: bytes, then: bytes) -> Behaviour:
    def behave(talk: Talk) -> None:
        talk.say(first)
        talk.pour(then)

    return behave


def holds(first: bytes) -> Behaviour:
    def behave(talk: Talk) -> None:
        talk.say(first)
        talk.hold()

    return behave


def length(number: object) -> str:
    return f"Content-Length: {number}"


def redirects(location: str) -> Behaviour:
    return says(head(f"Location: {location}", length(0), "Connection: close", status="302 Found"))


def packed(data: bytes, how: str) -> Behaviour:
    return says(head(f"Content-Encoding: {how}", length(len(data))), data)


IMPATIENT = {"read_timeout_seconds": 0.2}
SHORT = {"timeout_seconds": 0.3, "min_rate": 0}
BOMB = gzip.compress(bytes(10**7))
LOOP = head("Location: /again", length(0), "Connection: close", status="302 Found")
RAW_DEFLATE = zlib.compress(IMAGE)


@dataclass(frozen=True)
class Case:
    name: str
    behave: Behaviour
    code: str
    options: dict[str, Any] | None = None


CASES: Final = [
    # Time
    Case("says nothing", holds(b""), "origin_timeout", IMPATIENT),
    Case("stops in the headers", holds(b"HTTP/1.1 200 OK\r\nETag: "), "origin_timeout", IMPATIENT),
    Case("stops in the body", holds(head(length(9)) + b"x"), "origin_timeout", IMPATIENT),
    Case("slow headers", trickles(b"HTTP/1.1 200 OK\r\n", b"X-Slow: loris\r\n"), "origin_too_slow"),
    Case("endless slow headers", trickles(b"HTTP/1.1 200 OK\r\n", b"X-Slow: loris\r\n"), "origin_timeout", SHORT),
    Case("slow body", trickles(head(length(10**5)), b"x"), "origin_too_slow"),
    Case("endless slow body", trickles(head(length(10**5)), b"x"), "origin_timeout", SHORT),
    Case("slow chunks", trickles(head("Transfer-Encoding: chunked"), b"1\r\nx\r\n"), "origin_too_slow"),
    Case("slow interim answers", trickles(b"", head(status="100 Continue")), "origin_too_slow"),
    # Bytes
    Case("endless body", pours(head(), b"x" * 9999), "origin_too_large"),
    Case(
        "endless chunks",
        pours(head("Transfer-Encoding: chunked"), b"64\r\n" + b"x" * 100 + b"\r\n"),
        "origin_too_large",
    ),
    Case("announces too much", holds(head(length(10**15))), "origin_too_large"),
    Case("endless headers", pours(b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n" * 99), "origin_headers_too_long"),
    Case("one endless header", pours(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 999), "origin_headers_too_long"),
    Case("endless status line", pours(b"HTTP/1.1 200 ", b"OK" * 999), "origin_headers_too_long"),
    Case("a huge header", says(head(f"X-Huge: {'x' * 200_000}", length(1)), b"x"), "origin_headers_too_long"),
    Case("20,000 headers", says(head(*["X-N: 1"] * 20_000, length(1)), b"x"), "origin_headers_too_long"),
    Case("interim answers", pours(b"", head(status="103 Early Hints") * 99), "origin_headers_too_long"),
    Case("gzip bomb", packed(BOMB, "gzip"), "origin_too_large"),
    Case("gzip bomb in chunks of members", packed(gzip.compress(b"x" * 999) * 200, "gzip"), "origin_too_large"),
    Case("gzip bomb in a gzip", packed(gzip.compress(BOMB), "gzip, gzip"), "origin_encoding_not_supported"),
    Case("brotli", packed(b"\x0b\x02\x80x\x03", "br"), "origin_encoding_not_supported"),
    Case("deflate", packed(RAW_DEFLATE, "deflate"), "origin_encoding_not_supported"),
    Case("packed by whatever", packed(IMAGE, "\x85" + "x" * 999), "origin_encoding_not_supported"),
    Case("says gzip and is not", packed(IMAGE, "gzip"), "origin_broke_off"),
    Case("gzip without end", packed(gzip.compress(IMAGE)[:-9], "gzip"), "origin_broke_off"),
    Case("gzip with more behind it", packed(gzip.compress(IMAGE) + b"more", "gzip"), "origin_broke_off"),
    Case("gzip all the same", packed(gzip.compress(IMAGE), "gzip"), "fetched"),
    Case("nothing", says(head(length(0))), "origin_empty"),
    Case("nothing, as gzip", packed(b"", "gzip"), "origin_empty"),
    # Lengths that are not true, and answers that are none
    Case("length too large", says(head(length(99)), b"x"), "origin_broke_off"),
    Case("length too small", says(head(length(5)), IMAGE), "fetched"),
    Case("length below nothing", says(head(length(-1)), IMAGE), "origin_broke_off"),
    Case("length in words", says(head(length("many")), IMAGE), "origin_broke_off"),
    Case("length of 5,000 digits", says(head(length("9" * 5000)), IMAGE), "origin_broke_off"),
    Case("two lengths", says(head(length(1), length(2)), IMAGE), "origin_broke_off"),
    Case("garbage for chunks", says(head("Transfer-Encoding: chunked"), b"\0\xff\r\nyes?\r\n"), "origin_broke_off"),
    Case("a chunk below nothing", says(head("Transfer-Encoding: chunked"), b"-5\r\nxxxxx\r\n"), "origin_broke_off"),
    Case("a chunk of 2**100", says(head("Transfer-Encoding: chunked"), b"1" + b"0" * 25 + b"\r\n"), "origin_broke_off"),
    Case("unknown transfer encoding", says(head("Transfer-Encoding: rot13"), IMAGE), "origin_broke_off"),
    Case("HTTP/0.9", says(IMAGE), "origin_broke_off"),
    Case("SSH", says(b"SSH-2.0-OpenSSH_9.9\r\n"), "origin_broke_off"),
    Case("hangs up", says(), "origin_broke_off"),
    Case("a NUL in a header", says(head("X-Nul: \0", length(1)), b"x"), "origin_broke_off"),
    Case("a header without name", says(head(": x", length(1)), b"x"), "origin_broke_off"),
    Case("status 999", says(head(length(0), status="999 Denied")), "origin_refused"),
    Case("status 1000", says(head(length(0), status="1000 Denied")), "origin_broke_off"),
    Case("an echo of the terminal", says(b"\x1b[2J\x1b[31m" * 99 + b"\r\n\r\n"), "origin_broke_off"),
    Case("switches protocols", says(head("Upgrade: h2c", status="101 Switching Protocols")), "origin_broke_off"),
    Case("304 without being asked", says(head(status="304 Not Modified")), "origin_refused"),
    Case("416 without being asked", says(head(length(0), status="416 Range Not Satisfiable")), "origin_refused"),
    Case("endless 429", says(head("Retry-After: " + "9" * 5000, status="429 Slow")), "origin_unavailable"),
    Case("206 without being asked", says(head(length(1), status="206 Partial Content"), b"x"), "origin_broke_off"),
    Case(
        "206 of the middle",
        says(head(length(1), "Content-Range: bytes 5-5/9", status="206 Partial Content"), b"x"),
        "origin_broke_off",
    ),
    Case(
        "206 of 5,000 digits",
        says(head(length(1), f"Content-Range: bytes 0-0/{'9' * 5000}", status="206 Partial Content"), b"x"),
        "origin_broke_off",
    ),
    Case(
        "206 of less than there is",
        says(head(length(1), "Content-Range: bytes 0-0/9", status="206 Partial Content"), b"x"),
        "origin_broke_off",
    ),
    Case(
        "206 of several ranges",
        says(head(length(5), "Content-Type: multipart/byteranges; boundary=x", status="206 Partial Content"), b"--x--"),
        "origin_broke_off",
    ),
    # Redirects
    Case("a loop", says(LOOP), "origin_redirects"),
    Case(
        "a loop with endless bodies", pours(LOOP.replace(b"Content-Length: 0\r\n", b""), b"x" * 999), "origin_redirects"
    ),
    Case("a redirect that never ends", trickles(b"HTTP/1.1 302 Found\r\n", b"Location: /x\r\n"), "origin_too_slow"),
    Case("to nowhere", says(head(length(0), status="302 Found")), "origin_refused"),
    Case(
        "to the metadata of the cloud", redirects("http://169.254.169.254/latest/meta-data/"), "origin_address_refused"
    ),
    Case("to it by IPv6", redirects("http://[fd00:ec2::254]/latest/meta-data/"), "origin_address_refused"),
    Case("to it as a number", redirects("http://2852039166/latest/meta-data/"), "origin_address_refused"),
    Case("to it in octal", redirects("http://0251.0376.0251.0376/"), "origin_address_invalid"),
    Case("to it in hex", redirects("http://0xA9FEA9FE/"), "origin_address_refused"),
    Case("to it in short", redirects("http://169.16689662/"), "origin_address_refused"),
    Case("to it without a scheme", redirects("//169.254.169.254/"), "origin_address_refused"),
    Case("to it by TLS", redirects("https://169.254.169.254/"), "origin_address_refused"),
    Case("to a private network", redirects("http://10.0.0.1:8080/admin"), "origin_address_refused"),
    Case("to a file", redirects("file:///etc/passwd"), "origin_address_invalid"),
    Case("to FTP", redirects("ftp://127.0.0.1/x"), "origin_address_invalid"),
    Case("to Gopher", redirects("gopher://127.0.0.1:6379/_FLUSHALL"), "origin_address_invalid"),
    Case("to data", redirects("data:image/png;base64,AAAA"), "origin_address_invalid"),
    Case("to a web socket", redirects("ws://127.0.0.1/"), "origin_address_invalid"),
    Case("to S3", redirects("s3://dlcs-storage/2/1/x"), "origin_address_invalid"),
    Case("to port 0", redirects("http://127.0.0.1:0/"), "origin_address_invalid"),
    Case("to port 65536 and 80", redirects("http://127.0.0.1:65616/"), "origin_address_invalid"),
    Case("to a port in words", redirects("http://127.0.0.1:http/"), "origin_address_invalid"),
]
