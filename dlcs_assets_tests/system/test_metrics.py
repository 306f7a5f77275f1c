"""What is measured of a system, in both forms, and where it comes out."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dlcs_assets.cli.metrics import handler
from dlcs_assets.clients.file_semaphore import FileSemaphore
from dlcs_assets.metrics.measuring import measure
from dlcs_assets.metrics.metric import CONTENT_TYPE, Metric, Unit, embedded, openmetrics
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCS = Path(__file__).parents[2] / "docs"


def measured(system: System) -> list[Metric]:
    return measure(system.ledger, system.queues, system.settings, now=datetime.now(UTC))


def values(system: System) -> dict[str, dict[str, float]]:
    """Return what a Prometheus would read: values by label, by metric."""
    found: dict[str, dict[str, float]] = {}
    families = text_string_to_metric_families(openmetrics(measured(system)))  # type: ignore[no-untyped-call]
    for family in families:
        for sample in family.samples:
            found.setdefault(family.name, {})["".join(sample.labels.values())] = sample.value
    return found


def test_a_quiet_system_measures_nothing_to_worry_about(system: System) -> None:
    found = values(system)
    assert "dlcs_oldest_due_seconds" not in found
    assert found["dlcs_stalled_images"] == {"": 0}
    assert found["dlcs_oldest_heartbeat_seconds"] == {"": 0}
    assert found["dlcs_queue_waiting_messages"] == {"ingest": 0, "priority": 0, "uploads": 0}
    assert set(found["dlcs_unfinished_images"].values()) == {0}
    assert found["dlcs_ledger_size_bytes"][""] > 10_000


def test_what_waits_what_failed_and_what_was_refused_is_counted(make_system: Callable[..., System]) -> None:
    system = make_system(stalled_after=timedelta(0), attempt_delay=timedelta(minutes=5))
    system.ingest("2/1/missing", f"{system.origin.url}/nothing.jpg", "file")
    system.image_server.stop()
    system.ingest_once("3/1/waits", system.serve("page.jpg", jpeg(120, 90)), "iiif-img,thumbs")
    system.image_server.start()
    system.send("no JSON", full_message("4/1/due", system.serve("page.jpg", jpeg(120, 90)), "file"))
    system.use(chunks_in_flight=0)
    system.evaluate("sqs_ingest")
    system.send("a message that is not taken in")

    found = values(system)

    assert found["dlcs_failed_images"] == found["dlcs_recent_failures"] == {"origin_not_found": 1}
    assert found["dlcs_images_waiting_for_service"] == {"image_server": 1}
    assert found["dlcs_rejected_messages"] == {"": 1}
    assert found["dlcs_stalled_images"][""] == 2
    assert found["dlcs_unfinished_images"]["retry"] == 1
    assert found["dlcs_queue_waiting_messages"]["ingest"] == 1


def test_a_customers_image_that_is_due_has_its_age(system: System) -> None:
    system.send(full_message("4/1/due", system.serve("page.jpg", jpeg(120, 90)), "file"))
    system.tick("sqs_ingest", run=False)
    system.execute("UPDATE requests SET state = 'pending', chunk_id = NULL, due_at = datetime('now', '-100 seconds')")
    assert values(system)["dlcs_oldest_due_seconds"]["4"] == pytest.approx(100, abs=20)


def test_a_failure_that_was_fixed_counts_as_recent_only(system: System) -> None:
    system.ingest("2/1/page", f"{system.origin.url}/page.jpg", "file")
    system.serve("page.jpg", jpeg(120, 90))
    system.retry("2/1/page")
    system.settle()
    found = values(system)
    assert "dlcs_failed_images" not in found
    assert found["dlcs_recent_failures"] == {"origin_not_found": 1}


def test_requests_in_flight_are_those_that_hold_a_permit(system: System) -> None:
    folder = system.settings.slots / "appetiser-0123456789ab"
    slots = FileSemaphore(folder, 3)
    with slots.acquire(), slots.acquire():
        assert values(system)["dlcs_requests_in_flight"]["appetiser"] == 2
    assert values(system)["dlcs_requests_in_flight"]["appetiser"] == 0


def test_a_queue_that_is_down_has_no_depth(system: System) -> None:
    """Everything else is measured nevertheless."""
    system.use(ingest_queue_url=f"{system.settings.ingest_queue_url}-that-is-gone")
    found = values(system)
    assert set(found["dlcs_queue_waiting_messages"]) == {"priority", "uploads"}
    assert "dlcs_ledger_size_bytes" in found


def test_cloudwatch_gets_each_value_by_label_and_their_maximum() -> None:
    """The maximum has no dimension, so that one alarm covers all customers."""
    now = datetime(2026, 5, 4, tzinfo=UTC)
    metrics = [
        Metric("oldest_due", "", Unit.SECONDS, "customer", {"2": 10.0, "7": 30.0}),
        Metric("failed_images", "", Unit.COUNT, "reason", {}),
        Metric("ledger_size", "", Unit.BYTES, None, {"": 4096.0}),
    ]
    lines = [json.loads(line) for line in embedded(metrics, namespace="DLCS", now=now)]
    assert [{name: value for name, value in line.items() if name != "_aws"} for line in lines] == [
        {"OldestDue": 30.0, "FailedImages": 0.0, "LedgerSize": 4096.0},
        {"Customer": "2", "OldestDue": 10.0},
        {"Customer": "7", "OldestDue": 30.0},
    ]
    assert lines[1]["_aws"] == {
        "Timestamp": 1777852800000,
        "CloudWatchMetrics": [
            {
                "Namespace": "DLCS",
                "Dimensions": [["Customer"]],
                "Metrics": [{"Name": "OldestDue", "Unit": "Seconds"}],
            }
        ],
    }


def test_the_sensor_prints_metrics_as_json_if_a_namespace_is_set(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a namespace it prints nothing."""
    assert system.skip_reason("watch") == "The asset checks are evaluated"
    assert capsys.readouterr().out == ""
    system.use(metrics_namespace="DLCS/Ingest")
    said = system.skip_reason("watch")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said.endswith(f"{len(lines)} lines of metrics written")
    assert {line["_aws"]["CloudWatchMetrics"][0]["Namespace"] for line in lines} == {"DLCS/Ingest"}


def test_prometheus_can_ask_over_http(system: System) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(lambda: openmetrics(measured(system))))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"] == CONTENT_TYPE
            assert answer.read().endswith(b"# EOF\n")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/", timeout=10)
    finally:
        server.shutdown()
        server.server_close()


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def test_every_alarm_on_our_namespace_is_on_a_measured_metric(system: System) -> None:
    """An alarm on a metric that does not exist would never go off."""
    alarms: list[dict[str, Any]] = json.loads((DEPLOY / "cloudwatch" / "alarms.json").read_text())
    ours = {alarm["MetricName"] for alarm in alarms if alarm["Namespace"] == "${METRICS_NAMESPACE}"}
    assert ours <= {camel(metric.name) for metric in measured(system)}
    assert len(ours) >= 5


def test_every_metric_is_documented(system: System) -> None:
    page = (DOCS / "operate.md").read_text()
    for metric in measured(system):
        name = f"dlcs_{metric.name}" + (f"_{metric.unit}" if metric.unit else "")
        assert f"| `{name}` | {metric.label or ''} | {metric.meaning} |" in page
