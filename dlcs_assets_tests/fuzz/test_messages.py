"""Whatever a queue delivers is a request, an event, or rejected with a reason that can be stored and shown."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from dlcs_assets_tests.fuzz.generating import JSON, changed, damaged
from dlcs_assets_tests.fuzz.readers import (
    BRIDGE,
    DELETED,
    EVENT,
    FULL,
    MANIFESTS,
    UPDATED,
    read_body,
    read_notification,
    read_rows,
    wrapped,
)

BODIES = (
    st.text()
    | JSON.map(json.dumps)
    | st.sampled_from([FULL, EVENT, BRIDGE]).flatmap(changed).map(json.dumps)
    | st.sampled_from([FULL, EVENT, BRIDGE]).flatmap(changed).map(wrapped)
    | damaged(json.dumps(FULL).encode()).map(lambda data: data.decode("utf-8", "replace"))
)


@given(BODIES)
@example("")
@example("[" * 3000)
@example('{"a":' * 3000)
@example("9" * 5000)
@example('{"asset": {"id": "2/1/x", "id": "2/1/y"}}')
def test_a_message_is_read_or_rejected_with_a_reason(body: str) -> None:
    read_body(body)


@given(
    JSON.map(json.dumps)
    | st.sampled_from([DELETED, UPDATED]).flatmap(changed).map(json.dumps)
    | st.sampled_from([DELETED, UPDATED]).flatmap(changed).map(wrapped),
    st.dictionaries(
        st.sampled_from(["modificationType", "engineNotified", "messageType"]), st.text(max_size=10), max_size=3
    ),
)
def test_a_notification_is_read_or_rejected_with_a_reason(body: str, attributes: dict[str, str]) -> None:
    read_notification(body, attributes)


@given(st.binary(max_size=200) | st.sampled_from(MANIFESTS).flatmap(damaged))
def test_a_manifest_is_read_with_its_mistakes_by_line(data: bytes) -> None:
    read_rows(data)
