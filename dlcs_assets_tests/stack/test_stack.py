from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from dlcs_stack import aws
from dlcs_stack.data_folder import NoStackError, StackRefusedError, read_state
from dlcs_stack.stack import INSTANCE, SERVICES, Component, RunningStack, Stack
from dlcs_stack.supervisor import ServiceFailedError, fetch, is_free
from dlcs_testing.command_line import dlcs
from dlcs_testing.processes import eventually, is_running, kill_service
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server

DLCS = str(Path(sys.executable).with_name("dlcs"))
NAMES = [
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "DLCS_INGEST_QUEUE_URL",
    "DLCS_PRIORITY_QUEUE_URL",
    "DLCS_UPLOADS_QUEUE_URL",
    "DLCS_UPDATE_QUEUE_URL",
    "DLCS_DELETE_QUEUE_URL",
    "DLCS_BATCH_COMPLETED_TOPIC_ARN",
    "DLCS_STORAGE_BUCKET",
    "DLCS_THUMBS_BUCKET",
    "DLCS_ORIGIN_BUCKET",
    "DLCS_APPETISER_URL",
    "DLCS_IMAGE_SERVER_URL",
    "DLCS_IMAGE_SERVER_KIND",
    "DLCS_LEDGER_URL",
    "DLCS_SCRATCH",
    "DLCS_PRIVATE_NETWORKS",
    "DLCS_UI_URL",
    "DAGSTER_HOME",
]
DEFINITIONS = """
import dagster as dg

@dg.asset
def nothing() -> None: ...

@dg.sensor(target=[nothing], minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def looks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    return dg.SkipReason("looked")

defs = dg.Definitions(assets=[nothing], sensors=[looks])
"""
REPOSITORY = '{repositoryName: "__repository__", repositoryLocationName: "dlcs-assets"}'
TICKS = f"{{ sensorsOrError(repositorySelector: {REPOSITORY}) {{ "
TICKS += "... on Sensors { results { sensorState { ticks { timestamp skipReason } } } } } }"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder: Path = (
        tmp_path_factory.mktemp("stack") / "data with spaces" / ("deep" * 25)
    )  # longer than the path of a socket may be
    with Stack(folder, components=SERVICES).running() as stack:
        yield stack


def python_file(folder: Path, definitions: str) -> list[str]:
    path = folder / "try_definitions.py"
    path.write_text(definitions)
    return ["--python-file", str(path)]


def looked(ui: str) -> list[float]:
    """Return when the sensor looked."""
    answer = json.loads(fetch(f"{ui}/graphql", json.dumps({"query": TICKS}).encode()))
    (sensor,) = answer["data"]["sensorsOrError"]["results"]
    return [tick["timestamp"] for tick in sensor["sensorState"]["ticks"] if tick["skipReason"] == "looked"]


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_each_service_answers_at_the_url_of_the_environment(services: RunningStack) -> None:
    for name, path, expected in [
        ("AWS_ENDPOINT_URL", "/moto-api/", b"Moto"),
        ("DLCS_APPETISER_URL", "/ping", b"working"),
        ("DLCS_IMAGE_SERVER_URL", "/health", b'"ok"'),
    ]:
        assert expected in fetch(services.environment[name] + path)


def test_the_services_can_be_as_the_real_ones_are(tmp_path: Path) -> None:
    options = {
        Component.APPETISER: ("--faults", "--broken-encoder"),
        Component.IMAGE_SERVER: ("--like", "cantaloupe-5.0.6", "--without-jp2-decoder", "--caching"),
    }
    components = frozenset(options)
    with Stack(tmp_path / "data", components=components, options=options).running() as stack:
        assert b"KDU_COMPRESS" in fetch(f"{stack.url(Component.APPETISER)}/config")
        with pytest.raises(OSError, match="403"):
            fetch(f"{stack.url(Component.IMAGE_SERVER)}/health")


def test_any_aws_client_works_with_the_environment_alone(services: RunningStack) -> None:
    script = (
        "import boto3, os\n"
        "boto3.client('sqs').send_message(QueueUrl=os.environ['DLCS_INGEST_QUEUE_URL'], MessageBody='{}')\n"
        "print(sorted(each['Name'] for each in boto3.client('s3').list_buckets()['Buckets']))"
    )
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**others, **services.environment}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['dlcs-origin', 'dlcs-storage', 'dlcs-thumbs']"


def test_the_services_see_nothing_of_the_users_own_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.org")
    with Stack(tmp_path / "data", components=frozenset({Component.AWS})).running() as stack:
        guard = psutil.Process(read_state(stack.data).services["aws"])
        seen = guard.children()[0].environ()
    assert {name for name in seen if name.startswith("AWS_")} == {name for name in NAMES if name.startswith("AWS_")}
    assert "127.0.0.1" in seen["NO_PROXY"]
    assert not Path(seen["TMPDIR"]).exists()  # it ends with the stack


def test_settings_lead_elsewhere_without_moving_the_service(tmp_path: Path) -> None:
    """A test puts a faulty server between Dagster and Appetiser in this way."""
    elsewhere = {"DLCS_APPETISER_URL": "http://127.0.0.1:9", "DLCS_CHUNK_SIZE": "3"}
    stack = Stack(tmp_path / "data", components=frozenset({Component.APPETISER}), settings=elsewhere)
    with stack.running() as up:
        fetch(f"{up.url(Component.APPETISER)}/ping")
        assert {name: up.environment[name] for name in elsewhere} == elsewhere
        assert read_state(up.data).environment == up.environment


def test_env_prints_exports_that_a_shell_understands(services: RunningStack) -> None:
    command = f'eval "$({DLCS} env --data "$1")" && env'
    done = subprocess.run(["sh", "-c", command, "sh", str(services.data)], check=True, capture_output=True, text=True)
    assert list(services.environment) == NAMES
    for name, value in services.environment.items():
        assert f"{name}={value}" in done.stdout.splitlines()


def test_env_for_programs_is_one_json_object(services: RunningStack) -> None:
    done = dlcs("env", "--json", "--data", str(services.data))
    assert json.loads(done.stdout) == services.environment


def test_env_without_a_stack_says_so_and_exports_nothing(tmp_path: Path) -> None:
    """eval of its output must not set half an environment; the message names dlcs up."""
    done = dlcs("env", "--data", str(tmp_path))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "No stack is up" in done.stderr
    assert "dlcs up" in done.stderr


def test_up_next_to_a_running_stack_is_refused(services: RunningStack) -> None:
    done = subprocess.run([DLCS, "up", "--data", services.data], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "A stack is up" in done.stderr


def test_a_port_that_is_in_use_is_refused_by_number(services: RunningStack, tmp_path: Path) -> None:
    taken = int(services.environment["DLCS_APPETISER_URL"].rpartition(":")[2])
    stack = Stack(tmp_path / "stack", components=frozenset({Component.APPETISER}), ports={Component.APPETISER: taken})
    with pytest.raises(StackRefusedError, match=f"Port {taken}, which appetiser was given, is in use"), stack.running():
        pass


def test_a_stopped_service_is_started_again_at_the_same_url(services: RunningStack) -> None:
    """Other services have its URL in their environment, and must find it again."""
    url = services.environment["DLCS_APPETISER_URL"]
    services.stop(Component.APPETISER)
    with pytest.raises(OSError, match="refused"):
        fetch(f"{url}/ping")
    services.start(Component.APPETISER)
    assert b"working" in fetch(f"{url}/ping")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_shows_each_service_and_leaves_nothing_when_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """After Ctrl-C or SIGTERM no process, port or state of the stack is left."""
    with subprocess.Popen([DLCS, "up", "--services-only", "--data", tmp_path], stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        shown = []
        for line in up.stdout:
            shown.append(line)
            if "Ctrl-C" in line:
                break
        state = read_state(tmp_path)
        below = [child.pid for child in psutil.Process(up.pid).children(recursive=True)]
        up.send_signal(number)
        assert up.wait(30) == 0
    assert [line.split()[:2] for line in shown if line.startswith("ready")] == [
        ["ready", name] for name in sorted(state.services, key=[line.split()[1] for line in shown].index)
    ]
    assert set(state.services) == {"aws", "appetiser", "image-server"}
    assert eventually(lambda: not any(map(is_running, below)))
    for name in ("AWS_ENDPOINT_URL", "DLCS_APPETISER_URL", "DLCS_IMAGE_SERVER_URL"):
        assert is_free(port_of(state.environment[name]))
    with pytest.raises(NoStackError):
        read_state(tmp_path)


def own_service(monkeypatch: pytest.MonkeyPatch, variable: str, url: str) -> None:
    for name in aws.CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, url)


@pytest.mark.parametrize(
    ("variable", "component"),
    [("DLCS_IMAGE_SERVER_URL", Component.IMAGE_SERVER), ("DLCS_APPETISER_URL", Component.APPETISER)],
)
def test_a_service_of_the_users_own_is_used(
    variable: str, component: Component, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was silently not used: a picture that came out right said nothing of the user's server."""
    with scripted_server(Answer(200)) as server:
        own_service(monkeypatch, variable, server.url)
        command = [DLCS, "up", "--services-only", "--data", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
            assert up.stdout
            shown = []
            for line in up.stdout:
                shown.append(line)
                if "Ctrl-C" in line:
                    break
            state = read_state(tmp_path)
            up.terminate()
    assert shown[0].split() == ["yours", component, server.url]
    assert state.environment[variable] == server.url
    assert state.services.keys() == SERVICES - {component}


def test_a_users_service_that_does_not_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = refused_url()
    own_service(monkeypatch, "DLCS_IMAGE_SERVER_URL", url)
    done = dlcs("up", "--services-only", "--data", str(tmp_path))
    assert done.exit_code == 1
    assert f"DLCS_IMAGE_SERVER_URL leads to {url}, where no image-server answers" in done.stderr
    done = dlcs("demo", "--exit", "--data", str(tmp_path), "--image-server-port", "1")
    assert (done.exit_code, "leave --image-server-port out" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_what_dlcs_env_exported_is_not_the_users_own(services: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell keeps the addresses of a stack that has ended, or of another one."""
    for name, value in services.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DLCS_IMAGE_SERVER_URL", refused_url())
    done = dlcs("up", "--services-only", "--data", str(services.data))
    assert "A stack is up" in done.stderr
    assert "not used  DLCS_APPETISER_URL, " in done.stdout
    assert "DLCS_UPLOADS_QUEUE_URL: this shell has what `dlcs env` exported" in done.stdout


def test_a_folder_of_version_0_1_is_emptied_and_used(tmp_path: Path) -> None:
    """Its dagster.yaml names modules that moved since; nothing of it may be kept."""
    data = tmp_path / "stack"
    (data / "dagster" / "history").mkdir(parents=True)
    (data / ".dlcs-stack").touch()
    (data / "ledger.db").write_bytes(b"a ledger")
    old = "run_launcher:\n  module: dlcs_assets.launcher\n  class: ForkingRunLauncher\n"
    (data / "dagster" / "dagster.yaml").write_text(
        old + "storage:\n  custom:\n    module: dlcs_assets.history.sqlite\n"
    )
    killed = {"pid": 2**22, "services": {"aws": 2**22 + 1}, "environment": {"DLCS_UI_URL": "http://127.0.0.1:9"}}
    (data / "stack.json").write_text(json.dumps(killed))
    with pytest.raises(NoStackError):
        read_state(data)
    with Stack(data, components=frozenset({Component.AWS})).running() as stack:
        assert set(read_state(data).services) == {"aws"}
        assert (stack.data / "dagster" / "dagster.yaml").read_bytes() == INSTANCE.read_bytes()
        assert not (data / "ledger.db").exists()


@dataclass
class Whole:
    """A stack with all services and a sensor that looks each second; `ready` names each service that got ready."""

    up: RunningStack
    ready: list[str]
    running: ExitStack

    @property
    def ui(self) -> str:
        return self.up.environment["DLCS_UI_URL"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    ready: list[str] = []
    stack = Stack(
        folder / "data",
        definitions=python_file(folder, DEFINITIONS),
        on_ready=lambda readiness: ready.append(readiness.service.name),
    )
    with ExitStack() as running:
        yield Whole(running.enter_context(stack.running()), ready, running)


@pytest.mark.e2e
def test_the_whole_stack_starts_and_ticks(whole: Whole) -> None:
    assert eventually(lambda: bool(looked(whole.ui)))


@pytest.mark.e2e
def test_a_killed_code_server_is_restarted_and_ticks_continue(whole: Whole) -> None:
    """Sensors must not stand still until someone restarts the whole stack."""
    assert eventually(lambda: bool(looked(whole.ui)))
    guard = read_state(whole.up.data).services["code-server"]
    kill_service(guard)
    killed = time.time()

    def looks_again() -> bool:
        whole.up.check()
        return max(looked(whole.ui)) > killed

    assert eventually(looks_again, seconds=60)
    assert read_state(whole.up.data).services["code-server"] != guard
    assert whole.ready.count("code-server") == 2


@pytest.mark.e2e
def test_the_whole_stack_leaves_nothing_when_stopped(whole: Whole) -> None:
    guards = [psutil.Process(pid) for pid in read_state(whole.up.data).services.values()]
    below = [each.pid for guard in guards for each in (guard, *guard.children(recursive=True))]
    assert len(below) >= 12  # six services, each with its guard
    whole.running.close()
    assert not any(map(is_running, below))
    assert is_free(port_of(whole.ui))


@pytest.mark.e2e
def test_a_code_location_that_does_not_load_is_reported(tmp_path: Path) -> None:
    """dlcs up ends with the error of the import, instead of showing an empty UI."""
    broken = python_file(tmp_path, "raise RuntimeError('no such table')")
    components = frozenset({Component.CODE_SERVER, Component.WEBSERVER})
    stack = Stack(tmp_path / "data", components=components, definitions=broken)
    with (
        pytest.raises(
            ServiceFailedError, match=r"webserver cannot be used.* dlcs-assets does not load[\s\S]*no such table"
        ),
        stack.running(),
    ):
        pytest.fail("it came up")
