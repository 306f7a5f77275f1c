"""The load balancer that people reach: it logs them in by OpenID Connect before anything answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_route53 as route53

from dlcs_aws.environment import Environment
from dlcs_aws.network import Network
from dlcs_aws.template import Template, under

_SESSION_SECONDS: Final = 8 * 3600
_POLICY: Final = "ELBSecurityPolicy-TLS13-1-2-2021-06"


@dataclass(frozen=True)
class FrontDoor:
    """The target groups behind the login."""

    ui: str
    view: str


def add_front_door(
    template: Template, network: Network, groups: Mapping[str, str], environment: Environment
) -> FrontDoor:
    """Add the load balancer, and a rule for each name. Other names get nothing."""
    stack, group = template.stack, "People"
    balancer = elb.CfnLoadBalancer(
        stack,
        "FrontBalancer",
        type="application",
        scheme="internet-facing",
        subnets=list(network.public),
        security_groups=[groups["Front"]],
        load_balancer_attributes=[
            {"key": "routing.http.drop_invalid_header_fields.enabled", "value": "true"},
            {"key": "routing.http.desync_mitigation_mode", "value": "strictest"},
            {"key": "deletion_protection.enabled", "value": "true" if template.choices.size.second_zone else "false"},
            {"key": "idle_timeout.timeout_seconds", "value": "300"},  # the UI's web socket is quiet for minutes
        ],
    )
    certificate = template.ask(
        group, "CertificateArn", "Certificate for the two names.", allowed_pattern="arn:aws:acm:.+"
    )
    listener = elb.CfnListener(
        stack,
        "FrontListener",
        load_balancer_arn=balancer.ref,
        protocol="HTTPS",
        port=443,
        ssl_policy=_POLICY,
        certificates=[{"certificateArn": certificate}],
        default_actions=[
            {"type": "fixed-response", "fixedResponseConfig": {"statusCode": "421", "contentType": "text/plain"}}
        ],
    )
    login = _login(template)
    # The webserver's and the pages' own front doors answer checks, which come by the task's address.
    ui = _behind(stack, network, ("Ui", 3000, "/server_info", 1), listener, environment.ui_host, login)
    view = _behind(stack, network, ("View", 3001, "/health", 2), listener, environment.view_host, login)
    _name(template, balancer, {"Ui": environment.ui_host, "View": environment.view_host})
    template.show("FrontDoorName", balancer.attr_dns_name, "What the two names must lead to (CNAME)")
    return FrontDoor(ui, view)


def _login(template: Template) -> dict[str, Any]:
    group, secret = "Login", "OidcSecret"
    asked = {
        "issuer": template.ask(group, "OidcIssuer", "Issuer of the identity provider.", allowed_pattern="https://.+"),
        "authorizationEndpoint": template.ask(
            group, "OidcAuthorizationEndpoint", "Its authorization endpoint.", allowed_pattern="https://.+"
        ),
        "tokenEndpoint": template.ask(group, "OidcTokenEndpoint", "Its token endpoint.", allowed_pattern="https://.+"),
        "userInfoEndpoint": template.ask(
            group, "OidcUserInfoEndpoint", "Its user info endpoint.", allowed_pattern="https://.+"
        ),
        "clientId": template.ask(group, "OidcClientId", "The client that it knows the load balancer as."),
    }
    name = template.ask(
        group, secret, "Name of the secret in Secrets Manager, JSON, whose client_secret is that client's."
    )
    resolved = ["{{resolve:secretsmanager:", name, ":SecretString:client_secret}}"]
    return {
        "type": "authenticate-oidc",
        "order": 1,
        "authenticateOidcConfig": {
            **asked,
            "clientSecret": cdk.Fn.join("", resolved),
            "scope": "openid",
            "sessionTimeout": _SESSION_SECONDS,
            "onUnauthenticatedRequest": "authenticate",
        },
    }


def _behind(
    stack: Any, network: Network, what: tuple[str, int, str, int], listener: Any, host: str, login: dict[str, Any]
) -> str:
    name, port, check, priority = what
    target = elb.CfnTargetGroup(
        stack,
        f"{name}Targets",
        vpc_id=network.vpc,
        target_type="ip",
        protocol="HTTP",
        port=port,
        health_check_path=check,
        health_check_interval_seconds=30,
        healthy_threshold_count=2,
        matcher={"httpCode": "200"},
        target_group_attributes=[
            {"key": "deregistration_delay.timeout_seconds", "value": "30"},
            # A page's scripts and its web socket are of one release.
            {"key": "stickiness.enabled", "value": "true"},
            {"key": "stickiness.type", "value": "lb_cookie"},
        ],
    )
    elb.CfnListenerRule(
        stack,
        f"{name}Rule",
        listener_arn=listener.ref,
        priority=priority,
        conditions=[{"field": "host-header", "hostHeaderConfig": {"values": [host]}}],
        actions=[login, {"type": "forward", "order": 2, "targetGroupArn": target.ref}],
    )
    return str(target.ref)


def _name(template: Template, balancer: Any, hosts: Mapping[str, str]) -> None:
    zone = template.optional(
        "People", "HostedZoneId", "Zone of Route 53 for the two names; blank: you name them yourself."
    )
    for name, host in hosts.items():
        record = route53.CfnRecordSet(
            template.stack,
            f"{name}Name",
            hosted_zone_id=zone,
            name=host,
            type="A",
            alias_target={
                "dnsName": balancer.attr_dns_name,
                "hostedZoneId": balancer.attr_canonical_hosted_zone_id,
            },
        )
        under(record, "HasHostedZoneId")
