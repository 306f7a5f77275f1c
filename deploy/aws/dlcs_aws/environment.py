"""What code server, runs, `dlcs` and pages of images find in their environment: all settings, each in one place."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk

from dlcs_aws.choices import RUNS_IN_FLIGHT, Arrangement
from dlcs_aws.database import Database
from dlcs_aws.messages import Messages
from dlcs_aws.permissions import Permissions
from dlcs_aws.settings import GIVEN, GIVEN_OR_ABSENT, SECRETS, parameter_of, variable_of
from dlcs_aws.storage import Buckets
from dlcs_aws.template import Template, only_if

# Of one run. In the service's arrangement the runs in flight together ask four times their number of the image servers.
_IN_FLIGHT = {
    Arrangement.SERVICE: {"appetiser": 2, "image_server": 4},
    Arrangement.SIDECAR: {"appetiser": 3, "image_server": 4},
    # The folder of permits is shared, so that these hold for all runs together.
    Arrangement.EFS: {"appetiser": 4, "image_server": 16},
    Arrangement.APPETISER: {"appetiser": 3, "image_server": 4},
}


class Environment:
    """The variables and secrets of containers that have settings."""

    def __init__(
        self, template: Template, database: Database, buckets: Buckets, messages: Messages, permissions: Permissions
    ) -> None:
        self._template = template
        self._database = database
        stack, size = template.stack, template.choices.size
        self.runs_in_flight = template.ask(
            "How much",
            "RunsInFlight",
            "Runs at a time. What follows from it (image servers, the class of the database) is in the mapping Scale.",
            kind="Number",
            default=str(size.runs_in_flight),
            allowed_values=[str(each) for each in RUNS_IN_FLIGHT],
        )
        cdk.CfnMapping(stack, "Scale", mapping=size.scale())
        self.metrics_namespace = template.ask(
            "Alarms", "MetricsNamespace", "Where CloudWatch shows what the system measures.", default="DLCS/Ingest"
        )
        self.ui_host = template.ask(
            "People",
            "UiHost",
            "Name by which the UI is reached, such as ingest.example.org.",
            allowed_pattern="[a-z0-9.-]+",
        )
        self.view_host = template.ask(
            "People", "ViewHost", "The same for the pages of images.", allowed_pattern="[a-z0-9.-]+"
        )
        self._variables = {
            "storage_bucket": buckets.storage,
            "thumbs_bucket": buckets.thumbs,
            "origin_bucket": buckets.uploads,
            "s3_origin_buckets": permissions.origin_buckets,
            "batch_completed_topic_arn": messages.batch_completed,
            "alert_topic_arn": messages.alarms,
            **{setting: queue.url for setting, queue in messages.queues.items()},
            "chunks_in_flight": self.runs_in_flight,
            "backfill_runs": self.scaled("BackfillRuns"),
            "scratch": "/scratch/work",
            "slots": "/scratch/slots",
            "ui_url": cdk.Fn.join("", ["https://", self.ui_host]),
            "view_url": cdk.Fn.join("", ["https://", self.view_host]),
            "metrics_namespace": self.metrics_namespace,
            "log_format": "json",
        }
        self._optional = {
            "forward_queue_url": ("HasForwardQueueName", messages.forward_url),
            "invalidation_topic_arn": ("HasInvalidationTopicName", messages.invalidation_topic),
        }
        for setting in GIVEN:
            self._variables[setting] = template.ask("Settings", parameter_of(setting), _described(setting), default="")
        for setting in GIVEN_OR_ABSENT:
            value = template.optional("Settings", parameter_of(setting), _described(setting))
            self._optional[setting] = (f"Has{parameter_of(setting)}", value)
        for name, description in SECRETS.values():
            template.optional("Secrets", name, description)

    def scaled(self, what: str) -> str:
        """Return what follows from the number of runs."""
        return cdk.Fn.find_in_map("Scale", self.runs_in_flight, what)

    def number(self, what: str) -> float:
        """Return the same as a number."""
        return cdk.Token.as_number({"Fn::FindInMap": ["Scale", {"Ref": "RunsInFlight"}, what]})

    def services(self, image_server: str, appetiser: str) -> None:
        """Say where image server and Appetiser are; blank: there is none."""
        arrangement = self._template.choices.arrangement
        limits = _IN_FLIGHT[arrangement]
        self._variables["appetiser_url"] = appetiser
        self._variables["appetiser_in_flight"] = str(limits["appetiser"])
        self._variables["image_server_url"] = image_server
        self._variables["image_server_in_flight"] = str(limits["image_server"])
        by_appetiser = arrangement is Arrangement.APPETISER
        self._variables["thumbnails_by"] = "appetiser" if by_appetiser else "image-server"
        on_disk = arrangement in {Arrangement.SIDECAR, Arrangement.EFS}
        self._variables["image_server_sources"] = "disk" if on_disk else "s3"
        self._variables["image_server_late_files"] = "60" if arrangement is Arrangement.EFS else ""

    def of_ledger(self) -> tuple[list[Any], list[Any]]:
        """Return variables and secrets of a process that has settings, history and ledger."""
        history, history_secrets = self._database.history
        ledger, ledger_secrets = self._database.ledger
        plain = {"AWS_DEFAULT_REGION": cdk.Aws.REGION, **history, **ledger}
        plain |= {variable_of(setting): value for setting, value in self._variables.items()}
        absent = [
            only_if(condition, {"Name": variable_of(setting), "Value": value})
            for setting, (condition, value) in self._optional.items()
        ]
        made_by_hand = [
            only_if(f"Has{name}", {"Name": variable_of(setting), "ValueFrom": cdk.Fn.ref(name)})
            for setting, (name, _) in SECRETS.items()
        ]
        return [*_pairs(plain), *absent], [*history_secrets, *ledger_secrets, *made_by_hand]

    def of_history(self) -> tuple[list[Any], list[Any]]:
        """Return variables and secrets of webserver and daemon, which have no settings."""
        history, secrets = self._database.history
        return _pairs({"AWS_DEFAULT_REGION": cdk.Aws.REGION, **history}), secrets


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _described(setting: str) -> str:
    return f"{variable_of(setting)}: see docs/settings.md. Blank: its default."
