"""Dagster as its UI sees and drives it: the GraphQL queries and mutations of the webserver that the tests need."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.domain.stages import Stage

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # or each call would read all certificates of this machine
LOCATION = "dlcs-assets"
REPOSITORY = "__repository__"
IMPLICIT_JOB = "__ASSET_JOB"  # the job of all runs and backfills that people launch on assets
FINISHED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

RUNS = """query Runs($filter: RunsFilter!) { runsOrError(filter: $filter) { __typename
  ... on Runs { results { runId status tags { key value } assetSelection { path } } }
  ... on PythonError { message } } }"""
EVENTS = """query Events($run: ID!) { logsForRun(runId: $run, limit: 1000) { __typename
  ... on EventConnection { events { __typename
    ... on MessageEvent { message eventType }
    ... on EngineEvent { metadataEntries { label ... on TextMetadataEntry { text } } } } } } }"""
PARTITIONS = """query Partitions($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
  assetPartitionStatuses { ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions materializingPartitions unmaterializedPartitions } } } } }"""
MATERIALIZATIONS = """query Materializations($asset: AssetKeyInput!, $keys: [String!]) {
  assetOrError(assetKey: $asset) { ... on Asset { assetMaterializations(partitions: $keys, limit: 100) {
    runId partition metadataEntries { label
      ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue } ... on MarkdownMetadataEntry { mdStr }
      ... on UrlMetadataEntry { url } ... on BoolMetadataEntry { boolValue } } } } } }"""
# As the page of a partition asks for what is known of it.
HISTORY = """query History($asset: AssetKeyInput!, $key: String!) { assetOrError(assetKey: $asset) { ... on Asset {
  assetEventHistory(partitions: [$key], limit: 1000,
    eventTypeSelectors: [MATERIALIZATION, OBSERVATION, FAILED_TO_MATERIALIZE]) { results { __typename
      ... on ObservationEvent { description metadataEntries { label ... on TextMetadataEntry { text } } } } } } } }"""
KEYS = """query Keys($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
  partitionKeys } } }"""
TICKS = """query Ticks($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor {
  sensorState { ticks(limit: 50) { status skipReason runIds logEvents { events { message } } } } } } }"""
CHECK = """query Check($asset: AssetKeyInput!, $check: String!) {
  assetCheckExecutions(assetKey: $asset, checkName: $check, limit: 1) { evaluation { description
    metadataEntries { label } } } }"""
LAUNCH_RUN = """mutation LaunchRun($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
TERMINATE = "mutation Terminate($run: String!) { terminateRun(runId: $run) { __typename } }"
LAUNCH_BACKFILL = """mutation LaunchBackfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename
    ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL = """query Backfill($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
  status } } }"""


@dataclass(frozen=True)
class Run:
    """A run as the UI lists it."""

    id: str
    status: str
    tags: Mapping[str, str]
    stages: frozenset[str]


@dataclass(frozen=True)
class DagsterApi:
    """The GraphQL endpoint of a webserver."""

    url: str

    def query(self, document: str, **variables: Any) -> Any:
        """Return the value of the only field of the answer; raise AssertionError for an error of the query itself."""
        body = {"query": document, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=body, timeout=60, verify=NO_TLS).json()
        assert "errors" not in answer, answer["errors"]
        (value,) = answer["data"].values()
        return value

    def runs(self, **tags: str) -> list[Run]:
        """Return the runs that carry all these tags of ours (`customer="7"` is `dlcs/customer: 7`), newest first."""
        wanted = [{"key": f"dlcs/{name}", "value": value} for name, value in tags.items()]
        return [_run(found) for found in self.query(RUNS, filter={"tags": wanted})["results"]]

    def runs_of_backfill(self, backfill_id: str) -> list[Run]:
        """Return the runs that a backfill has made, newest first."""
        wanted = [{"key": "dagster/backfill", "value": backfill_id}]
        return [_run(found) for found in self.query(RUNS, filter={"tags": wanted})["results"]]

    def run(self, run_id: str) -> Run:
        """Return one run."""
        (found,) = self.query(RUNS, filter={"runIds": [run_id]})["results"]
        return _run(found)

    def pid(self, run_id: str) -> int | None:
        """Return the process of a run as the run's own log names it, or None if it has not started yet."""
        for event in self.query(EVENTS, run=run_id)["events"]:
            for entry in event.get("metadataEntries", []):
                if entry["label"] == "pid":
                    return int(entry["text"])
        return None

    def messages(self, run_id: str) -> list[str]:
        """Return the lines of a run's log."""
        return [event["message"] for event in self.query(EVENTS, run=run_id)["events"] if event.get("message")]

    def partitions(self, stage: Stage, prefix: str) -> dict[str, str]:
        """Return materialized, failed, materializing or missing for each partition whose key starts so."""
        statuses = self.query(PARTITIONS, asset=_key(stage))["assetPartitionStatuses"]
        groups = {  # a partition may be in several: the last counts
            "missing": statuses["unmaterializedPartitions"],
            "materialized": statuses["materializedPartitions"],
            "failed": statuses["failedPartitions"],
            "materializing": statuses["materializingPartitions"],
        }
        return {key: state for state, keys in groups.items() for key in keys if key.startswith(prefix)}

    def partition_keys(self) -> list[str]:
        """Return the keys of all partitions in Dagster's order, in which ranges run."""
        keys: list[str] = self.query(KEYS, asset=_key(Stage.ORIGINAL))["partitionKeys"]
        return keys

    def materializations(self, stage: Stage, key: str) -> list[dict[str, Any]]:
        """Return the metadata of each materialisation of a partition, newest first."""
        found = self.query(MATERIALIZATIONS, asset=_key(stage), keys=[key])["assetMaterializations"]
        return [{entry["label"]: _value(entry) for entry in each["metadataEntries"]} for each in found]

    def observations(self, stage: Stage, key: str) -> list[dict[str, Any]]:
        """Return the metadata of what was observed of a partition, newest first."""
        found = self.query(HISTORY, asset=_key(stage), key=key)["assetEventHistory"]["results"]
        observed = [each for each in found if each["__typename"] == "ObservationEvent"]
        return [{entry["label"]: _value(entry) for entry in each["metadataEntries"]} for each in observed]

    def ticks(self, sensor: str) -> list[dict[str, Any]]:
        """Return the newest ticks of a sensor: status, skipReason, runIds."""
        selector = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, "sensorName": sensor}
        ticks: list[dict[str, Any]] = self.query(TICKS, sensor=selector)["sensorState"]["ticks"]
        return ticks

    def check(self, asset: str, name: str) -> Any:
        """Return the newest evaluation of an asset's check; None if there is none yet."""
        key = {"path": ["dlcs", asset]}
        found = self.query(CHECK, asset=key, check=name)
        return found[0]["evaluation"] if found else None

    def launch_run(self, stages: Iterable[Stage], tags: Mapping[str, str]) -> str:
        """Launch a run on assets as the UI does for "Materialize"; return its id."""
        params = {
            "selector": {
                "repositoryName": REPOSITORY,
                "repositoryLocationName": LOCATION,
                "pipelineName": IMPLICIT_JOB,
                "assetSelection": [_key(stage) for stage in stages],
                "assetCheckSelection": [],
            },
            "mode": "default",
            "runConfigData": "{}",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        launched = self.query(LAUNCH_RUN, params=params)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def terminate(self, run_id: str) -> str:
        """Terminate a run as the UI does; return TerminateRunSuccess, or which kind of failure it was."""
        return str(self.query(TERMINATE, run=run_id)["__typename"])

    def launch_backfill(self, stages: Iterable[Stage], keys: Sequence[str]) -> str:
        """Launch a backfill as the UI does for "Materialize" on several partitions; return its id."""
        params = {"assetSelection": [_key(stage) for stage in stages], "partitionNames": list(keys), "tags": []}
        launched = self.query(LAUNCH_BACKFILL, params=params)
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def backfill_status(self, backfill_id: str) -> str:
        """Return REQUESTED, COMPLETED_SUCCESS, COMPLETED_FAILED, ..."""
        return str(self.query(BACKFILL, id=backfill_id)["status"])


def _key(stage: Stage) -> dict[str, list[str]]:
    return {"path": list(Catalog().asset(stage).path)}


def _run(found: Mapping[str, Any]) -> Run:
    stages = frozenset(key["path"][-1] for key in found["assetSelection"] or ())
    return Run(found["runId"], found["status"], {tag["key"]: tag["value"] for tag in found["tags"]}, stages)


def _value(entry: Mapping[str, Any]) -> Any:
    return next((value for name, value in entry.items() if name != "label"), None)
