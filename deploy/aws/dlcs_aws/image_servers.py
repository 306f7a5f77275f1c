"""Image servers, and Appetiser where it is a service: behind a load balancer of their own, and as many as are busy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_elasticloadbalancingv2 as elb

from dlcs_aws.environment import Environment
from dlcs_aws.network import Network
from dlcs_aws.services import add_service
from dlcs_aws.storage import Scratch
from dlcs_aws.tasks import Tasks
from dlcs_aws.template import Template, after

_BUSY_PERCENT: Final = 60


@dataclass(frozen=True)
class Balanced:
    """A load balancer and a target group, as CloudWatch names them."""

    balancer: str
    target: str


def image_balancer(template: Template, network: Network, groups: Mapping[str, str]) -> Any:
    """Add the internal load balancer, in whose place there is nothing where runs have all they need in their task."""
    if not template.choices.has_image_server:
        return None
    return elb.CfnLoadBalancer(
        template.stack,
        "ImagesBalancer",
        type="application",
        scheme="internal",
        subnets=list(network.private),
        security_groups=[groups["Images"]],
        load_balancer_attributes=[
            {"key": "routing.http.drop_invalid_header_fields.enabled", "value": "true"},
            {"key": "idle_timeout.timeout_seconds", "value": "310"},  # the longest conversion, DLCS_APPETISER_TIMEOUT
        ],
    )


def address(balancer: Any, port: int) -> str:
    """Return the address of a service behind the internal load balancer."""
    return cdk.Fn.join("", ["http://", balancer.attr_dns_name, f":{port}"])


def add_image_servers(
    template: Template,
    network: Network,
    groups: Mapping[str, str],
    tasks: Tasks,
    environment: Environment,
    balancer: Any,
) -> Balanced:
    """Add the image servers. One of them opens an image for all its sizes, as long as its run asks."""
    # Any answer will do: with its API switched off Cantaloupe says 403 to /health, and writes 36 lines each time.
    health = {"health_check_path": "/", "matcher": {"httpCode": "200-499"}}
    sticky = [
        {"key": "stickiness.enabled", "value": "true"},
        {"key": "stickiness.type", "value": "lb_cookie"},
        {"key": "stickiness.lb_cookie.duration_seconds", "value": "60"},
        {"key": "deregistration_delay.timeout_seconds", "value": "60"},
    ]
    target = _listen(template.stack, ("ImageServer", 8182), network, balancer, sticky, health)
    service = add_service(
        template,
        network,
        "image-server",
        tasks.add_image_server(),
        groups["ImageServer"],
        health_check_grace_period_seconds=120,
        load_balancers=[{"containerName": "image-server", "containerPort": 8182, "targetGroupArn": target.ref}],
    )
    after(service, "ImageServerListener", "LogGroup", "ImagesToImageServer8182In")
    _scale(template, "image-server", template.choices.size.image_servers, environment.number("ImageServers"), service)
    return Balanced(balancer.attr_load_balancer_full_name, target.attr_target_group_full_name)


def add_appetisers(
    template: Template,
    network: Network,
    groups: Mapping[str, str],
    tasks: Tasks,
    environment: Environment,
    balancer: Any,
    shared: Scratch,
) -> Balanced:
    """Add Appetiser as a service, where it shares the scratch folder."""
    health = {"health_check_path": "/ping", "matcher": {"httpCode": "200"}}
    drain = [{"key": "deregistration_delay.timeout_seconds", "value": "300"}]
    target = _listen(template.stack, ("Appetiser", 8000), network, balancer, drain, health)
    service = add_service(
        template,
        network,
        "appetiser",
        tasks.add_appetiser(shared),
        groups["ImageServer"],
        health_check_grace_period_seconds=120,
        load_balancers=[{"containerName": "appetiser", "containerPort": 8000, "targetGroupArn": target.ref}],
    )
    mounts = ("ScratchMount1", "ScratchMount2", "ImageServerToScratch2049In")
    after(service, "AppetiserListener", "LogGroup", "ImagesToImageServer8000In", *mounts)
    _scale(template, "appetiser", 1, environment.number("Appetisers"), service)
    return Balanced(balancer.attr_load_balancer_full_name, target.attr_target_group_full_name)


def _listen(
    stack: Any,
    what: tuple[str, int],
    network: Network,
    balancer: Any,
    attributes: list[dict[str, str]],
    health: dict[str, Any],
) -> Any:
    name, port = what
    target = elb.CfnTargetGroup(
        stack,
        f"{name}Targets",
        vpc_id=network.vpc,
        target_type="ip",
        protocol="HTTP",
        port=port,
        health_check_interval_seconds=15,
        healthy_threshold_count=2,
        target_group_attributes=attributes,
        **health,
    )
    elb.CfnListener(
        stack,
        f"{name}Listener",
        load_balancer_arn=balancer.ref,
        protocol="HTTP",
        port=port,
        default_actions=[{"type": "forward", "targetGroupArn": target.ref}],
    )
    return target


def _scale(template: Template, name: str, least: int, most: float, service: Any) -> None:
    """Let there be as many as are busy, up to what the number of runs needs."""
    logical = "".join(part.capitalize() for part in name.split("-"))
    scaled = autoscaling.CfnScalableTarget(
        template.stack,
        f"{logical}Scaling",
        service_namespace="ecs",
        scalable_dimension="ecs:service:DesiredCount",
        resource_id=cdk.Fn.join("/", ["service", cdk.Fn.ref("Cluster"), service.attr_name]),
        min_capacity=least,
        max_capacity=most,
    )
    autoscaling.CfnScalingPolicy(
        template.stack,
        f"{logical}ScalingPolicy",
        policy_name=f"{name}-busy",
        policy_type="TargetTrackingScaling",
        scaling_target_id=scaled.ref,
        target_tracking_scaling_policy_configuration={
            "predefinedMetricSpecification": {"predefinedMetricType": "ECSServiceAverageCPUUtilization"},
            "targetValue": _BUSY_PERCENT,
            "scaleOutCooldown": 60,
            "scaleInCooldown": 600,
        },
    )
