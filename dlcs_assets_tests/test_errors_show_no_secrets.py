"""What an error shows with its traceback: nothing of what a library was given, was sent, or quotes."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.errors import IngestError, MessageRejectedError, PermanentError
from dlcs_assets.domain.ingest_request import parse_message
from dlcs_assets.logs import JsonLines
from dlcs_assets.settings import Settings
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline
from dlcs_testing.raw_server import raw_server
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server

SECRET = "s3cret-value"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


def all_forms(error: BaseException) -> str:
    """Return an exception as Python, our log lines and Dagster's history show it."""
    assert error.__traceback__ is not None
    info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("dlcs_assets", logging.ERROR, __file__, 1, "failed", None, info)
    dagsters = repr(serializable_error_info_from_exc_info(info))
    return "\n".join(["".join(traceback.format_exception(error)), str(error), JsonLines().format(record), dagsters])


def with_password(url: str) -> str:
    return url.replace("://", f"://user:{SECRET}@")


def nothing_listens() -> None:
    with Queues(endpoint_url=with_password(refused_url()), attempts=1) as queues:
        queues.receive(f"{with_password(refused_url())}/1/q")


def parameters_are_refused() -> None:
    with Notifications(endpoint_url=refused_url()) as topic:
        topic.publish("arn:aws:sns:eu-west-1:1:t", {"a": SECRET}, {})  # type: ignore[arg-type]  # to be refused


def no_answer_comes() -> None:
    with (
        scripted_server(Answer(fault="reset")) as server,
        Queues(endpoint_url=with_password(server.url), attempts=1) as queues,
    ):
        queues.depth(f"{server.url}/1/q")


def a_signature_is_quoted() -> None:
    said = f"<Error><Code>IncompleteSignature</Code><Message>'{SECRET}' is no key=value pair</Message></Error>"
    with scripted_server(Answer(400, said.encode())) as server:
        factory = S3ClientFactory(endpoint_url=server.url, max_attempts=1)
        with Storage(s3=factory) as storage:
            storage.read_bytes("bucket", "key")


def a_bug() -> None:
    nothing: dict[str, str] = {}
    try:
        nothing[SECRET]
    except KeyError as error:
        raise PermanentError("code", "The cause", remedy="What to do.") from error


def a_message() -> None:
    parse_message(f'{{"id": "{SECRET}')


@pytest.mark.parametrize(
    ("fails", "shown"),
    [
        (nothing_listens, "nothing answers there"),
        (parameters_are_refused, "ParamValidationError"),
        (no_answer_comes, "Depth|depth of"),
        (a_signature_is_quoted, "IncompleteSignature"),
        (a_bug, "WithheldError: KeyError at test_errors_show_no_secrets.py"),
        (a_message, "not JSON"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_form_of_an_error_shows_a_secret(fails: Callable[[], None], shown: str) -> None:
    """What led to it is shown as its type and the lines it came through."""
    with pytest.raises((IngestError, MessageRejectedError)) as caught:
        fails()
    everything = all_forms(caught.value)
    assert SECRET not in everything
    assert any(part in everything for part in shown.split("|"))


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 200 OK\r\nSet-Cookie {SECRET}\r\n\r\n",
        f"HTTP/1.1 {SECRET}\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
        f"HTTP/1.1 302 Found\r\nLocation: http://user:{SECRET}@[::1/x\r\nContent-Length: 0\r\n\r\n",
        f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{SECRET}/x\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_broken_answer_of_an_origin_is_not_quoted(
    pipeline: Pipeline, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    with raw_server(lambda talk: talk.say(answer.encode())) as server:
        status = pipeline.ingest("2/1/page", f"{server.url}/page.jpg", "file")
    assert status.state != "done"
    assert SECRET not in repr(status) + caplog.text
    assert status.error_code


@pytest.mark.parametrize(
    "wrong",
    [{"thumbs_bucket": "dlcs-storage"}, {"chunk_size": "0"}, {"history_retention": "1"}],
)
def test_settings_that_are_refused_are_not_quoted(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]) -> None:
    """A rule about several of them would quote all, the ledger's URL with its password among them."""
    monkeypatch.setenv("DLCS_LEDGER_URL", f"postgresql://dlcs:{SECRET}@h/d")
    monkeypatch.setenv("DLCS_LEDGER_KEY", SECRET)
    for name, value in wrong.items():
        monkeypatch.setenv(f"DLCS_{name.upper()}", value)
    with pytest.raises(ValueError, match="validation error") as caught:
        Settings()
    assert SECRET not in all_forms(caught.value)


def test_settings_show_no_password_of_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_LEDGER_URL", f"postgresql://dlcs:{SECRET}@h/d")
    assert SECRET not in repr(Settings())


def test_libraries_log_no_secret_at_any_level(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    """Who has Dagster manage the root logger (python_logs) would otherwise have signed addresses in each run's log."""
    caplog.set_level(logging.DEBUG)
    name = f"page.jpg?X-Amz-Signature={SECRET}"
    url = with_password(pipeline.serve(name, jpeg(60, 40), headers=(("Set-Cookie", f"a={SECRET}"),)))
    status = pipeline.ingest("2/1/page", url, "iiif-img:default,file")
    pipeline.services.storage.put_bytes(SECRET.encode(), pipeline.settings.storage_bucket, "secret", "text/plain")
    assert pipeline.services.storage.read_bytes(pipeline.settings.storage_bucket, "secret") == SECRET.encode()
    assert status.state == "done"
    assert SECRET not in caplog.text
