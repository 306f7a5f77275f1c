"""`dlcs alert` says whether alerts arrive."""

from __future__ import annotations

import json

import pytest

from dlcs_testing.command_line import dlcs
from dlcs_testing.scripted_server import Answer, scripted_server

pytestmark = pytest.mark.usefixtures("desk")
PATH = "/services/secret-of-the-chat"


def test_a_webhook_that_takes_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(Answer(200)) as chat:
        monkeypatch.setenv("DLCS_ALERT_WEBHOOK_URL", chat.url + PATH)
        done = dlcs("alert", "does it arrive?")
    assert (done.exit_code, done.output) == (0, "Sent to the webhook.\n")
    (asked,) = chat.asked
    assert (asked.path, asked.headers["content-type"]) == (PATH, "application/json")
    assert json.loads(asked.body)["text"] == "dlcs-assets: does it arrive?"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(404), "answered 404"),
        (Answer(302, headers=(("Location", "/elsewhere"),)), "answered 302"),
        (Answer(fault="reset"), "broke off"),
    ],
    ids=["refused", "redirected", "no answer"],
)
def test_a_webhook_that_fails_is_said_without_its_secret(
    answer: Answer, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(answer) as chat:
        monkeypatch.setenv("DLCS_ALERT_WEBHOOK_URL", chat.url + PATH)
        done = dlcs("alert")
    assert done.exit_code == 1
    assert said in done.stderr
    assert "secret-of-the-chat" not in done.output
    assert len(chat.asked) == 1


def test_that_there_is_no_receiver_is_said() -> None:
    done = dlcs("alert")
    assert done.exit_code == 1
    assert "DLCS_ALERT_TOPIC_ARN or DLCS_ALERT_WEBHOOK_URL" in done.output


def test_a_login_of_the_ui_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_UI_URL", "https://ada:hunter2@dagster.example.org/")
    with scripted_server(Answer(200)) as chat:
        monkeypatch.setenv("DLCS_ALERT_WEBHOOK_URL", chat.url + PATH)
        assert dlcs("alert").exit_code == 0
    assert json.loads(chat.asked[0].body)["link"] == "https://dagster.example.org"
