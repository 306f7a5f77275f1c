"""The templates of deploy/aws: made by the app next to them, accepted by linters, and with all that is needed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dlcs_assets.settings import Settings
from dlcs_assets_tests.deploy.files import DEPLOY
from dlcs_assets_tests.deploy.templates import EXAMPLE, FOLDER, OPTIONAL, TEMPLATES, Resolved, read

ROOT = DEPLOY.parent
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node: apt-get install nodejs")
WITH_SETTINGS = [
    ("RunTask", "run"),
    ("SmallRunTask", "run"),
    ("CodeServerTask", "code-server"),
    ("ViewTask", "view"),
    ("OperatorTask", "operator"),
]
PASSWORDS = {
    "PGPASSWORD",
    "DAGSTER_POSTGRES_PASSWORD",
    "DLCS_LEDGER_KEY",
    "DLCS_DATABASE_URL",
    "DLCS_ALERT_WEBHOOK_URL",
    "AWS_SECRET_ACCESS_KEY",
}


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def template(request: pytest.FixtureRequest) -> Resolved:
    return read(request.param, **OPTIONAL)


def tables() -> ModuleType:
    """Return the module of the app that says what is a parameter; it needs no CDK."""
    spec = importlib.util.spec_from_file_location("aws_settings", FOLDER / "dlcs_aws" / "settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tasks(template: Resolved) -> list[dict[str, Any]]:
    return [template.properties(name) for name in template.named("AWS::ECS::TaskDefinition")]


@needs_node
@pytest.mark.timeout(1800)
def test_the_templates_are_those_that_the_app_makes(tmp_path: Path) -> None:
    """After a change of the app they are made again: `make templates`."""
    subprocess.run(["make", "templates", f"ARGS=--folder {tmp_path}"], cwd=ROOT, check=True, capture_output=True)
    assert {path.name: path.read_text() for path in TEMPLATES} == {
        path.name: path.read_text() for path in tmp_path.iterdir()
    }


@pytest.mark.timeout(900)
def test_cfn_lint_has_nothing_against_the_templates() -> None:
    cfn_lint = ROOT / ".venv" / "bin" / "cfn-lint"
    found = subprocess.run([cfn_lint, *TEMPLATES], capture_output=True, text=True, check=False)
    assert (found.stdout + found.stderr, found.returncode) == ("", 0)


def test_the_example_gives_what_has_no_default(template: Resolved) -> None:
    parameters = template.document["Parameters"]
    needed = {name for name, each in parameters.items() if "Default" not in each}
    assert needed - set(EXAMPLE) == set()
    assert set(EXAMPLE) | set(OPTIONAL) <= set(parameters)


def test_every_setting_can_be_given_or_is_left_out_for_a_reason(template: Resolved) -> None:
    """The list of what is left out is short, and says why."""
    left_out = tables().LEFT_OUT
    assert all(left_out.values())
    known = set(Settings.model_fields)
    for task, name in WITH_SETTINGS:
        container = template.container(task, name)
        given = {each["Name"] for each in (*container["Environment"], *container["Secrets"])}
        settings = {each.removeprefix("DLCS_").lower() for each in given if each.startswith("DLCS_")}
        assert settings == known - set(left_out)


def test_settings_accept_what_the_template_gives(template: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every parameter that may be blank left blank."""
    for name, value in Resolved(template.document, EXAMPLE).environment("RunTask", "run").items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.chunks_in_flight == int(template.document["Parameters"]["RunsInFlight"]["Default"])
    assert settings.default_thumbnail_sizes == Settings.model_fields["default_thumbnail_sizes"].default
    assert settings.customers is None
    assert settings.attempts == Settings.model_fields["attempts"].default


def test_no_password_is_in_the_environment_of_a_container(template: Resolved) -> None:
    for task in tasks(template):
        for container in task["ContainerDefinitions"]:
            assert not PASSWORDS & {each["Name"] for each in container.get("Environment", ())}
            for each in container.get("Secrets", ()):
                assert re.match(r"arn:aws:secretsmanager:.+:secret:(dlcs-system/|rds!db-)", each["ValueFrom"])


def test_the_ui_and_the_daemon_get_nothing_but_the_history(template: Resolved) -> None:
    for task, name in (("WebserverTask", "webserver"), ("DaemonTask", "daemon")):
        container = template.container(task, name)
        names = {each["Name"] for each in (*container["Environment"], *container["Secrets"])}
        assert not [each for each in names if each.startswith(("DLCS_", "PGPASSWORD"))]


def test_only_the_first_container_of_the_code_server_is_master(template: Resolved) -> None:
    """It makes roles and databases, and ends; the others wait for it."""
    masters = [
        (task["Family"], container["Name"], container["Essential"])
        for task in tasks(template)
        for container in task["ContainerDefinitions"]
        if any(":rds!db-" in each["ValueFrom"] for each in container.get("Secrets", ()))
    ]
    assert masters == [("dlcs-code-server", "database", False)]
    code_server = template.container("CodeServerTask", "code-server")
    assert code_server["DependsOn"] == [{"Condition": "SUCCESS", "ContainerName": "database"}]
    for service in ("DaemonService", "WebserverService", "ViewService"):
        assert "CodeServerService" in template.document["Resources"][service]["DependsOn"]


def test_a_container_waits_only_for_those_with_a_health_check(template: Resolved) -> None:
    for task in tasks(template):
        containers = {each["Name"]: each for each in task["ContainerDefinitions"]}
        for container in containers.values():
            for needed in container.get("DependsOn", ()):
                assert needed["Condition"] == "SUCCESS" or "HealthCheck" in containers[needed["ContainerName"]]


def test_health_checks_start_no_dagster(template: Resolved) -> None:
    """One that does costs two seconds of a processor each time."""
    checks = [
        " ".join(container["HealthCheck"]["Command"])
        for task in tasks(template)
        for container in task["ContainerDefinitions"]
        if "HealthCheck" in container
    ]
    assert checks
    assert not [each for each in checks if "dagster" in each]


def test_only_runs_of_images_have_an_appetiser(template: Resolved) -> None:
    containers = {
        task: [each["Name"] for each in template.properties(task)["ContainerDefinitions"]]
        for task in ("RunTask", "SmallRunTask")
    }
    assert containers == {"RunTask": ["run", "appetiser"], "SmallRunTask": ["run"]}
    assert int(template.properties("SmallRunTask")["Cpu"]) < int(template.properties("RunTask")["Cpu"])


def test_the_daemon_starts_the_runs_of_this_template(template: Resolved) -> None:
    environment = template.environment("DaemonTask", "daemon")
    assert environment["DAGSTER_RUN_TASK_DEFINITION"] == template.properties("RunTask")["Family"]
    assert environment["DAGSTER_SMALL_RUN_TASK_DEFINITION"] == template.properties("SmallRunTask")["Family"]
    wanted = set(re.findall(r"env: (DAGSTER_\w+)", (DEPLOY / "dagster/dagster.yaml").read_text()))
    secrets = {each["Name"] for each in template.container("DaemonTask", "daemon")["Secrets"]}
    assert wanted <= {*environment, *secrets}


@pytest.mark.parametrize("runs", [2, 4, 8, 16, 32, 64])
def test_the_system_grows_with_one_number(template: Resolved, runs: int) -> None:
    changed = Resolved(template.document, {**template.given, "RunsInFlight": str(runs)})
    assert changed.environment("DaemonTask", "daemon")["DAGSTER_RUNS_IN_FLIGHT"] == str(runs)
    environment = changed.environment("CodeServerTask", "code-server")
    assert environment["DLCS_CHUNKS_IN_FLIGHT"] == str(runs)
    scaling = changed.properties("ImageServerScaling")
    asked = runs * int(environment["DLCS_IMAGE_SERVER_IN_FLIGHT"])
    assert scaling["MinCapacity"] <= int(scaling["MaxCapacity"])
    assert asked <= 16 * int(scaling["MaxCapacity"])
    assert changed.properties("Database")["DBInstanceClass"].startswith("db.")


def test_a_deployment_that_fails_is_taken_back(template: Resolved) -> None:
    for name in template.named("AWS::ECS::Service"):
        deployment = template.properties(name)["DeploymentConfiguration"]
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    daemon = template.properties("DaemonService")
    assert daemon["DeploymentConfiguration"]["MaximumPercent"] == 100
    assert daemon["DesiredCount"] == 1


def test_what_holds_data_outlives_the_stack(template: Resolved) -> None:
    kept = {name: each.get("DeletionPolicy") for name, each in template.document["Resources"].items()}
    assert kept["Database"] == "Snapshot"
    for kind in ("AWS::S3::Bucket", "AWS::SecretsManager::Secret"):
        assert {kept[name] for name in template.named(kind)} == {"Retain"}
    database = template.properties("Database")
    assert database["BackupRetentionPeriod"] >= 7
    assert database["DeletionProtection"]
    assert database["StorageEncrypted"]


def test_people_log_in_before_anything_answers(template: Resolved) -> None:
    """Each name has a login before its pages; other names get nothing."""
    rules = [template.properties(name) for name in template.named("AWS::ElasticLoadBalancingV2::ListenerRule")]
    hosts = [rule["Conditions"][0]["HostHeaderConfig"]["Values"] for rule in rules]
    assert hosts == [["ingest.example.org"], ["images.example.org"]]
    for rule in rules:
        login, forward = rule["Actions"]
        assert (login["Type"], login["Order"], forward["Type"], forward["Order"]) == (
            "authenticate-oidc",
            1,
            "forward",
            2,
        )
        secret = login["AuthenticateOidcConfig"]["ClientSecret"]
        assert secret == "{{resolve:secretsmanager:dlcs-system/oidc:SecretString:client_secret}}"
    front = template.properties("FrontListener")
    assert (front["Protocol"], front["Port"]) == ("HTTPS", 443)
    assert front["DefaultActions"][0]["FixedResponseConfig"]["StatusCode"] == "421"


def test_only_the_load_balancer_is_reached_from_outside(template: Resolved) -> None:
    open_to = {
        name: [rule["CidrIp"] for rule in template.properties(name).get("SecurityGroupIngress", ())]
        for name in template.named("AWS::EC2::SecurityGroup")
    }
    assert {name: found for name, found in open_to.items() if found} == {"FrontSecurityGroup": ["203.0.113.0/24"]}


def test_queues_keep_messages_and_have_no_redrive_policy(template: Resolved) -> None:
    """The ledger keeps what cannot be used; a tick must end before its messages come again."""
    for name in template.named("AWS::SQS::Queue"):
        queue = template.properties(name)
        assert queue["VisibilityTimeout"] == 120
        assert "RedrivePolicy" not in queue
        assert queue["SqsManagedSseEnabled"]


def test_uploads_are_notified_to_a_queue_that_lets_them_in(template: Resolved) -> None:
    uploads = template.properties("UploadsBucket")
    (sent,) = uploads["NotificationConfiguration"]["QueueConfigurations"]
    policy = template.properties("UploadsQueuePolicy")["PolicyDocument"]
    (statement,) = policy["Statement"]
    assert (sent["Event"], [sent["Queue"]]) == ("s3:ObjectCreated:*", statement["Resource"])
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{uploads['BucketName']}"},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
    assert "UploadsQueuePolicy" in template.document["Resources"]["UploadsBucket"]["DependsOn"]


def test_only_transient_objects_expire(template: Resolved) -> None:
    for name in template.named("AWS::S3::Bucket"):
        rules = template.properties(name)["LifecycleConfiguration"]["Rules"]
        expiring = [(rule["Prefix"], rule["ExpirationInDays"]) for rule in rules if "ExpirationInDays" in rule]
        assert expiring == ([("transient/", 7)] if name == "StorageBucket" else [])


def test_every_alarm_of_the_former_files_is_there(template: Resolved) -> None:
    """An alarm is what it is on, and at which threshold."""

    def essence(alarm: Any) -> tuple[Any, ...]:
        keys = ("Namespace", "MetricName", "Statistic", "Period", "EvaluationPeriods", "Threshold", "TreatMissingData")
        return tuple(alarm[key] for key in keys)

    ours = {essence(template.properties(name)) for name in template.named("AWS::CloudWatch::Alarm")}
    text = (DEPLOY / "cloudwatch/alarms.json").read_text().replace("${METRICS_NAMESPACE}", "DLCS/Ingest")
    assert {essence(each) for each in json.loads(text)} <= ours
    for name in template.named("AWS::CloudWatch::Alarm"):
        alarm = template.properties(name)
        assert alarm["AlarmActions"] == alarm["OKActions"] == [template.value({"Ref": "AlarmTopic"})]


def test_everything_that_can_be_tagged_is_tagged_for_its_cost(template: Resolved) -> None:
    for name in ("Database", "RunTask", "StorageBucket", "ImageServerService"):
        tags = template.properties(name)["Tags"]
        assert {"Key": "dlcs:installation", "Value": "dlcs"} in tags
    for name in template.named("AWS::ECS::Service"):
        assert template.properties(name)["PropagateTags"] == "SERVICE"


def test_the_template_needs_no_assets_and_no_bootstrap(template: Resolved) -> None:
    assert "Rules" not in template.document
    assert "BootstrapVersion" not in template.document["Parameters"]
    assert not [name for name, each in template.document["Resources"].items() if each["Type"].startswith("AWS::Lambda")]
    assert len(json.dumps(template.document)) < 1_000_000
