"""The database server, the secrets of its roles, and the container that makes roles and databases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager

from dlcs_aws.network import Network
from dlcs_aws.template import Template, taken_by

LEDGER_ROLE, LEDGER = "dlcs", "ledger"
HISTORY_ROLE, HISTORY = "dagster", "dagster"
_VERSION: Final = "16.9"
_SQL: Final = (Path(__file__).parent / "database.sql").read_text()
# PostgreSQL's own image, for psql. Its tag says what its digest is.
_POSTGRES: Final = (
    "public.ecr.aws/docker/library/postgres:16@sha256:f1c3376c26f2609ab9f29f71f824103fe2fcd8ee0346485cb6122a4f93df6f94"
)


@dataclass(frozen=True)
class Database:
    """Where the server is, and the ARNs of the secrets: of the master user as JSON, of the roles as they are."""

    name: str
    host: str
    port: str
    master_secret: str
    ledger_secret: str
    dagster_secret: str
    image: str

    @property
    def history(self) -> tuple[dict[str, str], list[dict[str, str]]]:
        """Return the variables and secrets by which Dagster's history is reached."""
        environment = {
            "DAGSTER_POSTGRES_HOST": self.host,
            "DAGSTER_POSTGRES_USER": HISTORY_ROLE,
            "DAGSTER_POSTGRES_DB": HISTORY,
            "PGSSLMODE": "require",
        }
        return environment, [_secret("DAGSTER_POSTGRES_PASSWORD", self.dagster_secret)]

    @property
    def ledger(self) -> tuple[dict[str, str], list[dict[str, str]]]:
        """Return the same for the ledger. libpq takes the password that the address lacks from its own variable."""
        url = cdk.Fn.join("", [f"postgresql://{LEDGER_ROLE}@", self.host, ":", self.port, f"/{LEDGER}"])
        return {"DLCS_LEDGER_URL": url}, [_secret("PGPASSWORD", self.ledger_secret)]

    def preparation(self, log: dict[str, Any]) -> dict[str, Any]:
        """Return the container that makes roles and databases, and ends."""
        return {
            "name": "database",
            "image": self.image,
            "essential": False,
            "entryPoint": ["sh", "-c"],
            "command": [
                'printenv SQL | psql --no-psqlrc --quiet --file=- >/dev/null && echo "Roles and databases are there."'
            ],
            "environment": [
                {"name": "SQL", "value": _SQL},
                {"name": "PGHOST", "value": self.host},
                {"name": "PGPORT", "value": self.port},
                {"name": "PGDATABASE", "value": "postgres"},
                {"name": "PGSSLMODE", "value": "require"},
                {"name": "PGCONNECT_TIMEOUT", "value": "30"},
            ],
            "secrets": [
                _secret("PGUSER", f"{self.master_secret}:username::"),
                _secret("PGPASSWORD", f"{self.master_secret}:password::"),
                _secret("LEDGER_PASSWORD", self.ledger_secret),
                _secret("DAGSTER_PASSWORD", self.dagster_secret),
            ],
            "logConfiguration": log,
        }


def _secret(variable: str, source: str) -> dict[str, str]:
    return {"name": variable, "valueFrom": source}


def add_database(template: Template, network: Network, group: str, instance_class: str) -> Database:
    """Add a PostgreSQL server, and passwords that no one has seen."""
    stack, size = template.stack, template.choices.size
    image = template.ask("Images", "PostgresImage", "PostgreSQL's image, for its psql.", default=_POSTGRES)
    subnets = rds.CfnDBSubnetGroup(
        stack,
        "DatabaseSubnets",
        db_subnet_group_description="Private subnets of the ingest",
        subnet_ids=list(network.private),
    )
    parameters = rds.CfnDBParameterGroup(
        stack,
        "DatabaseParameters",
        family="postgres16",
        description="PostgreSQL of the ingest",
        parameters={"rds.force_ssl": "1", "log_min_duration_statement": "2000"},
    )
    monitoring = iam.CfnRole(
        stack,
        "DatabaseMonitoringRole",
        assume_role_policy_document=taken_by("Monitoring", "monitoring.rds.amazonaws.com"),
        managed_policy_arns=["arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"],
    )
    instance = rds.CfnDBInstance(
        stack,
        "Database",
        engine="postgres",
        engine_version=_VERSION,
        db_instance_class=instance_class,
        allocated_storage=str(size.database_gib),
        max_allocated_storage=size.database_gib * 10,
        storage_type="gp3",
        storage_encrypted=True,
        multi_az=size.second_zone,
        master_username="postgres",
        manage_master_user_password=True,
        db_subnet_group_name=subnets.ref,
        vpc_security_groups=[group],
        db_parameter_group_name=parameters.ref,
        publicly_accessible=False,
        backup_retention_period=size.backup_days,
        preferred_backup_window="01:00-02:00",  # before maintenance and the fixity audit
        preferred_maintenance_window="sun:02:30-sun:03:30",
        auto_minor_version_upgrade=True,
        copy_tags_to_snapshot=True,
        delete_automated_backups=False,
        deletion_protection=True,
        enable_cloudwatch_logs_exports=["postgresql"],
        enable_performance_insights=True,
        monitoring_interval=60,
        monitoring_role_arn=monitoring.attr_arn,
    )
    instance.apply_removal_policy(cdk.RemovalPolicy.SNAPSHOT)
    return Database(
        name=instance.ref,
        host=instance.attr_endpoint_address,
        port=instance.attr_endpoint_port,
        master_secret=instance.attr_master_user_secret_secret_arn,
        ledger_secret=_password(stack, "LedgerPassword", "Password of the role dlcs"),
        dagster_secret=_password(stack, "DagsterPassword", "Password of the role dagster"),
        image=image,
    )


def _password(stack: Any, name: str, description: str) -> str:
    secret = secretsmanager.CfnSecret(
        stack,
        name,
        name=cdk.Fn.sub(f"dlcs-system/${{AWS::StackName}}/{name}"),
        description=description,
        generate_secret_string={"passwordLength": 40, "excludePunctuation": True},
    )
    secret.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
    return secret.ref
