"""Alarms that go to people, and the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events

from dlcs_aws.database import Database
from dlcs_aws.image_servers import Balanced
from dlcs_aws.messages import Messages
from dlcs_aws.template import Template, under

_GIB: Final = 2**30


@dataclass(frozen=True)
class Alarm:
    """An alarm: over how many periods in a row the statistic of a metric is above a threshold, or below."""

    metric: str
    statistic: str
    threshold: float
    periods: int
    description: str
    seconds: int = 60
    below: bool = False
    missing_is_bad: bool = False


_AGE: Final = (
    "Messages are not taken in: the daemon, the code server or the ledger is down, or the customers file can't be "
    "used. See the sensors in the Dagster UI."
)
_DEPTH: Final = Alarm(
    "ApproximateNumberOfMessagesVisible",
    "Minimum",
    1000,
    12,
    "Messages come faster than they are taken in, for an hour.",
    seconds=300,
)
_OLDEST_MESSAGE_SECONDS: Final = {"Ingest": 900, "Priority": 300, "Uploads": 900, "Update": 900, "Delete": 900}
_DATABASE: Final = {
    "Storage": Alarm(
        "FreeStorageSpace",
        "Minimum",
        10 * _GIB,
        3,
        "Less than 10 GiB are left to the ledger and to Dagster's history. See DLCS_RUN_RETENTION and "
        "DLCS_HISTORY_RETENTION.",
        seconds=300,
        below=True,
        missing_is_bad=True,
    ),
    "Cpu": Alarm(
        "CPUUtilization", "Average", 80, 6, "The database is busy; ticks and dispatch slow down.", seconds=300
    ),
}
_FAILING: Final = Alarm(
    "HTTPCode_Target_5XX_Count", "Sum", 20, 10, "It fails. Runs retry and press less; images wait if it continues."
)
# On what the sensor `watch` logs (docs/operate.md).
_WATCHED: Final = {
    "Watch": Alarm(
        "StalledImages",
        "Maximum",
        0,
        10,
        "Images are in progress for longer than DLCS_STALLED_AFTER, or nothing is measured: then the daemon or the "
        "code server is down. `dlcs doctor` says which images and why.",
        missing_is_bad=True,
    ),
    "OldestDue": Alarm(
        "OldestDue",
        "Maximum",
        3600,
        5,
        "A customer's image has been due for an hour. The metric by Customer says whose; the sensors in the Dagster UI "
        "say why no run begins: capacity, for example.",
    ),
    "Heartbeat": Alarm(
        "OldestHeartbeat",
        "Maximum",
        300,
        3,
        "A run has given no sign of life for five minutes, and reconcile has not taken its images from it: see the "
        "sensor reconcile.",
    ),
    "Failures": Alarm(
        "RecentFailures",
        "Maximum",
        50,
        1,
        "More than 50 images failed within 15 minutes for one reason. The metric by Reason says which; docs/errors.md "
        "what to do.",
    ),
    "ServiceDown": Alarm(
        "ImagesWaitingForService",
        "Minimum",
        0,
        10,
        "A service cannot be reached, and images have waited for it for 10 minutes. The metric by Service says which.",
    ),
    "Damage": Alarm(
        "DamagedObjects",
        "Maximum",
        0,
        1,
        "The fixity audit found stored objects missing or changed: `dlcs doctor` names them and says what to do.",
    ),
    "Notifications": Alarm(
        "UnpublishedNotifications",
        "Minimum",
        0,
        15,
        "Notifications of finished batches have not been published for 15 minutes: see the sensor batches.",
    ),
    "Rejected": Alarm(
        "RejectedMessages",
        "Maximum",
        100,
        1,
        "More than 100 messages could not be used: `dlcs rejected` shows them with reasons.",
    ),
}


class Alarms:
    """Adds alarms, all of which go to one topic."""

    def __init__(self, template: Template, topic: str) -> None:
        self._template, self._topic = template, topic

    def add(self, name: str, namespace: str, alarm: Alarm, dimensions: Sequence[tuple[str, str]] = ()) -> None:
        """Add an alarm, which also says when all is well again."""
        cloudwatch.CfnAlarm(
            self._template.stack,
            f"{name}Alarm",
            alarm_name=cdk.Fn.sub(f"${{AWS::StackName}}-{name}"),
            alarm_description=alarm.description,
            namespace=namespace,
            metric_name=alarm.metric,
            dimensions=[{"name": dimension, "value": value} for dimension, value in dimensions],
            statistic=alarm.statistic,
            period=alarm.seconds,
            evaluation_periods=alarm.periods,
            threshold=alarm.threshold,
            comparison_operator="LessThanThreshold" if alarm.below else "GreaterThanThreshold",
            treat_missing_data="breaching" if alarm.missing_is_bad else "notBreaching",
            alarm_actions=[self._topic],
            ok_actions=[self._topic],
        )

    def add_all(
        self,
        messages: Messages,
        database: Database,
        services: Sequence[str],
        balanced: dict[str, Balanced],
        namespace: str,
    ) -> None:
        """Add the alarms of an installation."""
        for name, seconds in _OLDEST_MESSAGE_SECONDS.items():
            queue = [("QueueName", messages.queues[f"{name.lower()}_queue_url"].name)]
            age = Alarm("ApproximateAgeOfOldestMessage", "Maximum", seconds, 5, _AGE)
            self.add(f"{name}Age", "AWS/SQS", age, queue)
            self.add(f"{name}Depth", "AWS/SQS", _DEPTH, queue)
        for name, alarm in _DATABASE.items():
            self.add(f"Database{name}", "AWS/RDS", alarm, [("DBInstanceIdentifier", database.name)])
        for service in services:
            down = Alarm(
                "RunningTaskCount",
                "Minimum",
                1,
                5,
                f"No task of the service {service} is running.",
                below=True,
                missing_is_bad=True,
            )
            name = "".join(part.capitalize() for part in service.split("-"))
            where = [("ClusterName", cdk.Fn.ref("Cluster")), ("ServiceName", service)]
            self.add(f"{name}Down", "ECS/ContainerInsights", down, where)
        for name, each in balanced.items():
            where = [("LoadBalancer", each.balancer), ("TargetGroup", each.target)]
            self.add(f"{name}Failing", "AWS/ApplicationELB", _FAILING, where)
        for name, alarm in _WATCHED.items():
            self.add(name, namespace, alarm)
        self._tell_failed_tasks()

    def _tell_failed_tasks(self) -> None:
        pattern = {
            "source": ["aws.ecs"],
            "detail-type": ["ECS Task State Change"],
            "detail": {
                "clusterArn": [cdk.Fn.get_att("Cluster", "Arn")],
                "lastStatus": ["STOPPED"],
                "stopCode": ["TaskFailedToStart"],
            },
        }
        events.CfnRule(
            self._template.stack,
            "FailedTasksRule",
            description="A task of the cluster could not start.",
            event_pattern=pattern,
            targets=[{"id": "people", "arn": self._topic}],
        )


def add_budget(template: Template, email: str) -> None:
    """Add a budget of what this installation costs, by its tag."""
    limit = template.ask(
        "Alarms",
        "MonthlyBudget",
        "What a month may cost, in US dollars; 0: there is no budget.",
        kind="Number",
        default=0,
    )
    known = cdk.Fn.condition_not(cdk.Fn.condition_equals(limit, "0"))
    cdk.CfnCondition(template.stack, "HasMonthlyBudget", expression=known)
    told: Any = [{"subscriptionType": "EMAIL", "address": email}]
    budget = budgets.CfnBudget(
        template.stack,
        "Budget",
        budget={
            "budgetType": "COST",
            "timeUnit": "MONTHLY",
            "budgetLimit": {"amount": cdk.Token.as_number({"Ref": "MonthlyBudget"}), "unit": "USD"},
            # The tag must be activated for cost allocation, once for an account.
            "costFilters": {"TagKeyValue": [cdk.Fn.sub("user:dlcs:installation$${AWS::StackName}")]},
        },
        notifications_with_subscribers=[
            {
                "notification": {
                    "notificationType": kind,
                    "comparisonOperator": "GREATER_THAN",
                    "threshold": percent,
                    "thresholdType": "PERCENTAGE",
                },
                "subscribers": told,
            }
            for kind, percent in (("ACTUAL", 80), ("FORECASTED", 100))
        ],
    )
    under(budget, "HasMonthlyBudget")
