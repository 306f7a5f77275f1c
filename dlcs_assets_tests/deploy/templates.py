"""The templates of deploy/aws, with parameters and CloudFormation's functions replaced by what they come to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlcs_assets_tests.deploy.files import DEPLOY

FOLDER = DEPLOY / "aws"
TEMPLATES = sorted((FOLDER / "templates").glob("*.json"))
ACCOUNT, REGION, STACK = "123456789012", "eu-west-1", "dlcs"
EXAMPLE = dict(line.split("=", 1) for line in json.loads((FOLDER / "parameters.example.json").read_text()))
# Everything that may be left blank.
OPTIONAL = {
    "Customers": "2,5",
    "DefaultThumbnailSizes": "!200,200",
    "S3OriginBuckets": "example-library-scans,example-other-scans",
    "CredentialsBucket": "example-dlcs-security",
    "ForwardQueueName": "dlcs-engine-image",
    "InvalidationTopicName": "dlcs-invalidation",
    "AssetModifiedTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:asset-modified",
    "LedgerKeySecret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:dlcs-system/ledger-key-AbCdEf",
    "AlertWebhookSecret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:dlcs-system/alert-webhook-AbCdEf",
    "DlcsDatabaseSecret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:dlcs-system/database-url-AbCdEf",
}
_ABSENT = object()


@dataclass(frozen=True)
class Resolved:
    """A template for some parameters."""

    document: Mapping[str, Any]
    given: Mapping[str, str] = field(default_factory=dict)

    def properties(self, name: str) -> dict[str, Any]:
        """Return what a resource comes to."""
        found: dict[str, Any] = self.value(self.document["Resources"][name].get("Properties", {}))
        return found

    def named(self, kind: str) -> list[str]:
        """Return the names of the resources of a type that are there."""
        return [
            name
            for name, each in self.document["Resources"].items()
            if each["Type"] == kind and ("Condition" not in each or self.holds({"Condition": each["Condition"]}))
        ]

    def container(self, task: str, name: str) -> dict[str, Any]:
        """Return a container of a task definition."""
        (found,) = [each for each in self.properties(task)["ContainerDefinitions"] if each["Name"] == name]
        assert isinstance(found, dict)
        return found

    def environment(self, task: str, name: str) -> dict[str, str]:
        """Return the variables of a container."""
        return {each["Name"]: each["Value"] for each in self.container(task, name)["Environment"]}

    def holds(self, condition: Any) -> bool:
        """Return whether a condition is met."""
        ((kind, arguments),) = condition.items()
        match kind:
            case "Condition":
                return self.holds(self.document["Conditions"][arguments])
            case "Fn::Not":
                return not self.holds(arguments[0])
            case "Fn::Equals":
                return bool(self.value(arguments[0]) == self.value(arguments[1]))
            case _:
                raise ValueError(kind)

    def value(self, expression: Any) -> Any:
        """Return what an expression comes to. What only AWS knows is a name that shows what it is of."""
        if isinstance(expression, list):
            return [found for each in expression if (found := self.value(each)) is not _ABSENT]
        if not isinstance(expression, dict):
            return expression
        if len(expression) == 1:
            ((kind, arguments),) = expression.items()
            if kind in {"Ref", "Fn::GetAtt"} or kind.startswith("Fn::"):
                return self._call(kind, arguments)
        values = {name: self.value(each) for name, each in expression.items()}
        return {name: each for name, each in values.items() if each is not _ABSENT}

    def _call(self, kind: str, arguments: Any) -> Any:  # noqa: PLR0911 (a function of CloudFormation each)
        match kind:
            case "Ref":
                return self._reference(arguments)
            case "Fn::GetAtt":
                return self._attribute(*arguments)
            case "Fn::Sub":
                return re.sub(r"\$\{([\w:]+)\}", lambda found: str(self._reference(found[1])), arguments)
            case "Fn::Join":
                return arguments[0].join(self.value(arguments[1]))
            case "Fn::Split":
                return self.value(arguments[1]).split(arguments[0])
            case "Fn::If":
                return self.value(arguments[1 if self.holds({"Condition": arguments[0]}) else 2])
            case "Fn::FindInMap":
                table, row, column = (self.value(each) for each in arguments)
                return self.document["Mappings"][table][str(row)][column]
            case _:
                return f"{kind}({json.dumps(arguments)})"

    def _reference(self, name: str) -> Any:  # noqa: PLR0911 (a kind of resource each)
        known = {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::StackName": STACK, "AWS::NoValue": _ABSENT}
        if name in known:
            return known[name]
        if name in self.document["Parameters"]:
            default = self.document["Parameters"][name].get("Default")
            value = self.given.get(name, default)
            assert value is not None, name
            return value
        kind, properties = self._resource(name)
        match kind:
            case "AWS::SNS::Topic":
                return f"arn:aws:sns:{REGION}:{ACCOUNT}:{self.value(properties['TopicName'])}"
            case "AWS::SecretsManager::Secret":
                return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{self.value(properties['Name'])}-AbCdEf"
            case "AWS::SQS::Queue":
                return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{self.value(properties['QueueName'])}"
            case "AWS::ECS::Cluster":
                return self.value(properties["ClusterName"])
            case _:
                return name

    def _attribute(self, name: str, attribute: str) -> str:
        kind, properties = self._resource(name)
        match kind, attribute:
            case "AWS::SQS::Queue", "Arn":
                return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.value(properties['QueueName'])}"
            case "AWS::IAM::Role", "Arn":
                return f"arn:aws:iam::{ACCOUNT}:role/{name}"
            case "AWS::RDS::DBInstance", "MasterUserSecret.SecretArn":
                return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-{name}-AbCdEf"
            case _:
                return f"{name}.{attribute}"

    def _resource(self, name: str) -> tuple[str, Mapping[str, Any]]:
        resource = self.document["Resources"][name]
        return resource["Type"], resource.get("Properties", {})


def read(path: Path, **given: str) -> Resolved:
    """Return a template with the parameters of the example, and more."""
    return Resolved(json.loads(path.read_text()), {**EXAMPLE, **given})
