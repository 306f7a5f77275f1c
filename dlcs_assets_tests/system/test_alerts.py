"""What is wrong is announced: once when it begins, once when it is over, and not lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from dlcs_assets.defs.jobs.maintenance import MAINTENANCE_JOB
from dlcs_assets.ledger.outbox import ALERT_WEBHOOK
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.scripted_server import Answer, ScriptedServer, scripted_server
from dlcs_testing.subscriber import subscriber

SECRET_PATH = "/services/T0/B0/secret-of-the-chat"


@pytest.fixture
def chat(system: System) -> Iterator[ScriptedServer]:
    """Return what receives the alerts of a system."""
    with scripted_server(Answer(200, b"ok")) as server:
        system.use(alert_webhook_url=SecretStr(server.url + SECRET_PATH), ui_url="https://dagster.example.org")
        system.tick("watch")
        yield server


def received(chat: ScriptedServer) -> list[tuple[str, str]]:
    """Return the alerts that were received, with their states."""
    bodies: list[dict[str, Any]] = [json.loads(asked.body) for asked in chat.asked]
    return [(body["alert"], body["state"]) for body in bodies]


def fail_an_image(system: System, name: str) -> None:
    system.ingest(f"2/1/{name}", f"{system.origin.url}/nothing.jpg", "file")


def forget_failures(system: System) -> None:
    system.execute("UPDATE requests SET finished_at = datetime('now', '-1 day')")


def test_that_all_is_well_is_not_announced(system: System, chat: ScriptedServer) -> None:
    assert system.skip_reason("watch") == "The asset checks are evaluated"
    assert chat.asked == []


def test_what_fails_is_announced_as_it_begins_and_ends(system: System, chat: ScriptedServer) -> None:
    fail_an_image(system, "one")
    assert system.skip_reason("watch").endswith("; 1 alerts; 1 alerts sent")
    fail_an_image(system, "two")
    system.tick("watch")
    assert received(chat) == [("images_succeed", "failing")]
    assert json.loads(chat.asked[0].body)["text"] == (
        "dlcs-assets: images_succeed fails. 1 images failed within 15 minutes: 1 origin_not_found. "
        "https://dagster.example.org"
    )
    forget_failures(system)
    system.tick("watch")
    system.tick("watch")
    assert received(chat) == [("images_succeed", "failing"), ("images_succeed", "over")]


def test_that_nothing_moves_is_announced_with_its_reason(system: System, chat: ScriptedServer) -> None:
    system.send(full_message("2/1/waits", system.serve("page.jpg", jpeg(120, 90)), "file"))
    system.use(chunks_in_flight=0, stalled_after=timedelta(0))
    system.tick("sqs_ingest")
    system.tick("watch")
    assert received(chat) == [("nothing_stalled", "failing")]
    assert "1 images are in progress for too long" in json.loads(chat.asked[0].body)["text"]


def test_an_alert_that_is_not_taken_is_sent_later(system: System, chat: ScriptedServer) -> None:
    chat.answers[:] = [Answer(503)]
    fail_an_image(system, "one")
    reason = system.skip_reason("watch")
    assert "1 alerts unsent" in reason
    assert "secret-of-the-chat" not in reason
    chat.answers[:] = [Answer(200)]
    system.execute("UPDATE notifications SET due_at = datetime('now', '-1 second')")
    assert system.skip_reason("watch").endswith("; 1 alerts sent")
    assert received(chat) == [("images_succeed", "failing")] * 2
    assert system.ledger.outbox.unsent(ALERT_WEBHOOK) == (0, None)


def test_a_tick_that_dies_sends_the_same_alert_once(system: System, chat: ScriptedServer) -> None:
    before = system.cursors["watch"]
    fail_an_image(system, "one")
    system.tick("watch")
    system.cursors["watch"] = before  # Dagster had not kept the new one
    system.tick("watch")
    assert received(chat) == [("images_succeed", "failing")]


def test_a_failed_run_of_maintenance_is_announced_once(system: System, chat: ScriptedServer) -> None:
    run = system.instance.create_run_for_job(
        system.definitions.get_job_def(MAINTENANCE_JOB), status=dg.DagsterRunStatus.STARTED
    )
    system.instance.report_run_failed(run)
    system.tick("watch")
    system.tick("watch")
    (asked,) = chat.asked
    body = json.loads(asked.body)
    assert (body["alert"], body["state"]) == ("run_failed", "happened")
    assert body["link"] == f"https://dagster.example.org/runs/{run.run_id}"


def test_a_topic_gets_the_same(system: System) -> None:
    with subscriber() as listener:
        system.use(alert_topic_arn=listener.topic)
        fail_an_image(system, "one")
        system.tick("watch")
        (message,) = listener.messages()
    assert json.loads(message["Body"])["alert"] == "images_succeed"
    assert {name: each["StringValue"] for name, each in message["MessageAttributes"].items()} == {
        "Alert": "images_succeed",
        "State": "failing",
    }


def test_a_receiver_that_is_unset_holds_nothing_up(system: System, chat: ScriptedServer) -> None:
    chat.answers[:] = [Answer(503)]
    fail_an_image(system, "one")
    system.tick("watch")
    system.use(alert_webhook_url=None)
    system.tick("watch")
    assert system.ledger.health.unpublished() == 0


def test_cursors_of_version_0_1_are_read(system: System, chat: ScriptedServer) -> None:
    system.cursors["watch"] = json.dumps(json.loads(system.cursors["watch"])["checks"])
    assert system.skip_reason("watch") == "The asset checks are evaluated"
    assert chat.asked == []
