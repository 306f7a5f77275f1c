"""Parameters, conditions and expressions of a template, in the words of this app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aws_cdk as cdk

from dlcs_aws.choices import Choices


@dataclass
class Template:
    """A stack that is being written, with the choices it is made for and the parameters it asks for."""

    stack: Any
    choices: Choices
    groups: dict[str, list[str]] = field(default_factory=dict)
    conditions: set[str] = field(default_factory=set)

    def ask(self, group: str, name: str, description: str, *, kind: str = "String", **limits: Any) -> str:
        """Add a parameter to a group, which consoles show together; return the reference to its value."""
        cdk.CfnParameter(self.stack, name, type=kind, description=description, **limits)
        self.groups.setdefault(group, []).append(name)
        return cdk.Fn.ref(name)

    def optional(self, group: str, name: str, description: str, **limits: Any) -> str:
        """Add a parameter that may be blank, and a condition that it is not: Has with its name."""
        reference = self.ask(group, name, description, default="", **limits)
        condition = f"Has{name}"
        filled = cdk.Fn.condition_not(cdk.Fn.condition_equals(reference, ""))
        cdk.CfnCondition(self.stack, condition, expression=filled)
        self.conditions.add(condition)
        return reference

    def show(self, name: str, value: str, description: str) -> None:
        """Add an output."""
        cdk.CfnOutput(self.stack, name, value=value, description=description)

    def finish(self) -> None:
        """Write down how consoles group the parameters."""
        groups = [{"Label": {"default": label}, "Parameters": names} for label, names in self.groups.items()]
        self.stack.template_options.metadata = {"AWS::CloudFormation::Interface": {"ParameterGroups": groups}}


def only_if(condition: str, value: Any) -> Any:
    """Return an entry of a list that is there under a condition only. Its keys are CloudFormation's, with capitals."""
    return cdk.Fn.condition_if(condition, value, cdk.Aws.NO_VALUE)


def under(resource: Any, condition: str) -> Any:
    """Let a resource exist under a condition only."""
    resource.add_override("Condition", condition)
    return resource


def after(resource: Any, *names: str) -> Any:
    """Let a resource wait for others that it does not refer to."""
    resource.add_override("DependsOn", sorted(names))
    return resource


def arn(service: str, resource: str) -> str:
    """Return the ARN of a resource of this account and region."""
    return cdk.Fn.sub(f"arn:aws:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}")


def bucket_arn(name: str, keys: str = "") -> str:
    """Return the ARN of a bucket, or of objects in it by a pattern."""
    return cdk.Fn.join("", ["arn:aws:s3:::", name, *([f"/{keys}"] if keys else [])])


def bucket_arns(names: str, keys: str = "") -> Any:
    """Return the ARNs of all buckets of a parameter that lists them with commas."""
    tail = f"/{keys}" if keys else ""
    joined = cdk.Fn.join(f"{tail},arn:aws:s3:::", cdk.Fn.split(",", names))
    return cdk.Token.as_any({"Fn::Split": [",", cdk.Fn.join("", ["arn:aws:s3:::", joined, tail])]})


def taken_by(sid: str, service: str) -> dict[str, Any]:
    """Return who takes a role: a service of AWS, for this account alone."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": sid,
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": ["sts:AssumeRole"],
                "Condition": {"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
            }
        ],
    }


def tags(values: Mapping[str, str]) -> Sequence[Any]:
    """Return tags as resources take them."""
    return [cdk.CfnTag(key=key, value=value) for key, value in values.items()]
