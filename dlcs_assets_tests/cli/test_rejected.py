from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from dlcs_assets.clients.sqs import Queues
from dlcs_assets.domain.message_attributes import MessageAttribute
from dlcs_assets_tests.cli.conftest import NOW, Aws, Desk
from dlcs_testing.command_line import dlcs


def queue_name(url: str) -> str:
    return url.rsplit("/", 1)[-1]


@pytest.mark.usefixtures("ledger")
def test_an_empty_list_of_rejected_messages_is_not_an_error() -> None:
    assert dlcs("rejected").stdout == "No message is rejected.\n"
    assert json.loads(dlcs("rejected", "--json").stdout) == []


def test_a_rejected_message_is_shown_without_credentials(desk: Desk) -> None:
    """With its image, reason and remedy, and its body on one line."""
    body = '{"asset": {"id": "2/1/x",\n "origin": "https://u:secret@example.org/x?sig=secret"}}'
    message_id = desk.reject(body, image="2/1/x")
    text = dlcs("rejected").stdout
    assert text.startswith(message_id)
    assert "image   2/1/x" in text
    assert "reason  the message is not JSON (not_json). Send JSON" in text
    assert '"origin": "https://example.org/x?…"' in text
    assert "secret" not in text
    assert len(text.splitlines()) == 4


def test_json_has_the_whole_body_and_secrets_only_on_request(desk: Desk) -> None:
    """Programs get the body uncut; --with-secrets must be given for the credentials in it."""
    body = '{"asset": "https://u:secret@h/"} \u0001' + 999 * "x"
    message_id = desk.reject(body)
    (shown,) = json.loads(dlcs("rejected", "--json").stdout)
    assert (shown["id"], shown["code"], shown["queue"]) == (message_id, "not_json", "images")
    assert shown["body"] == body.replace("u:secret@", "")
    (shown,) = json.loads(dlcs("rejected", "--json", "--with-secrets").stdout)
    assert shown["body"] == body


def test_a_message_is_sent_again_to_the_queue_it_came_from(desk: Desk, aws: Aws) -> None:
    """It is then no longer rejected; a message of the priority queue keeps its priority."""
    first = desk.reject("one", queue=queue_name(aws.priority))
    desk.reject("two", queue=queue_name(aws.ingest))
    assert dlcs("rejected", "--requeue", first).stdout == "1 message sent again.\n"
    assert aws.bodies(aws.priority) == ["one"]
    assert aws.bodies(aws.ingest) == []
    assert [row["body"] for row in desk.ledger.inbox.rejected()] == ["two"]


def test_a_message_is_sent_again_with_its_attributes(desk: Desk, aws: Aws) -> None:
    attributes = {"IngestType": MessageAttribute("String", "IngestAdjunct")}
    desk.reject("one", queue=queue_name(aws.ingest), attributes=attributes)
    assert dlcs("rejected", "--requeue-all").stdout == "1 message sent again.\n"
    with Queues() as queues:
        (message,) = queues.receive(aws.ingest)
    assert (message.body, message.attributes) == ("one", attributes)


def test_all_are_sent_at_once_and_each_record_of_an_event_alone(
    desk: Desk, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLCS_UPLOADS_QUEUE_URL", aws.priority)
    monkeypatch.delenv("DLCS_PRIORITY_QUEUE_URL")
    for message_id, body in [("m1#0", "first"), ("m1#1", "second")]:
        desk.reject(body, message_id=message_id, queue=queue_name(aws.priority))
    desk.reject("other", queue=queue_name(aws.ingest))
    assert dlcs("rejected", "--requeue-all").stdout == "3 messages sent again.\n"
    assert (sorted(aws.bodies(aws.priority)), aws.bodies(aws.ingest)) == (["first", "second"], ["other"])
    assert desk.ledger.inbox.rejected() == []


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--requeue", "nothing"], 1, "No rejected message has the id nothing"),
        (["--requeue", "m1"], 1, "The queue elsewhere is not configured"),
        (["--requeue", "m1", "--requeue-all"], 2, "not both"),
    ],
)
def test_what_cannot_be_sent_stays_rejected(desk: Desk, options: list[str], status: int, said: str) -> None:
    desk.reject("one", message_id="m1", queue="elsewhere")
    done = dlcs("rejected", *options)
    assert (done.exit_code, said in done.stderr) == (status, True)
    assert len(desk.ledger.inbox.rejected()) == 1


def test_a_message_that_could_not_be_sent_again_stays_rejected(
    desk: Desk, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue does not exist: the ledger must not forget the message before it was sent."""
    monkeypatch.setenv("DLCS_INGEST_QUEUE_URL", aws.ingest + "-gone")
    desk.reject("one", queue=queue_name(aws.ingest) + "-gone")
    done = dlcs("rejected", "--requeue-all")
    assert done.exit_code == 1
    assert "queue_not_found" in done.stderr
    assert len(desk.ledger.inbox.rejected()) == 1


def test_one_message_that_cannot_be_sent_holds_up_no_other(desk: Desk, aws: Aws) -> None:
    """It stays rejected, and the command ends with status 1."""
    large = desk.reject("x" * 1_200_000, queue=queue_name(aws.ingest))
    for body in ("one", "two"):
        desk.reject(body, queue=queue_name(aws.ingest))
    done = dlcs("rejected", "--requeue-all")
    assert (done.exit_code, done.stdout) == (1, "2 messages sent again.\n")
    assert "1 of 3 stay rejected" in done.stderr
    assert f"{large}: A message of 1200000 bytes is larger than" in done.stderr
    assert sorted(aws.bodies(aws.ingest)) == ["one", "two"]
    assert [row["id"] for row in desk.ledger.inbox.rejected()] == [large]


def test_a_message_without_its_body_cannot_be_sent_again(desk: Desk, aws: Aws) -> None:
    """It is shown as no longer kept, and --requeue-all skips it instead of failing."""
    gone = desk.reject("gone", queue=queue_name(aws.ingest))
    desk.ledger.retention.enforce(history=NOW, bodies=datetime.now(UTC))
    desk.reject("kept", queue=queue_name(aws.ingest))
    shown = dlcs("rejected").stdout
    assert "body    (no longer kept)" in shown
    assert shown.count("reason  the message is not JSON") == 2
    refused = dlcs("rejected", "--requeue", gone)
    assert (refused.exit_code, aws.bodies(aws.ingest)) == (1, [])
    assert "is no longer kept (DLCS_REJECTED_RETENTION)" in refused.stderr
    assert dlcs("rejected", "--requeue-all").stdout == "1 message sent again.\n"
    assert [row["id"] for row in desk.ledger.inbox.rejected()] == [gone]
