"""Security groups, and who may connect to whom: a table."""

from __future__ import annotations

from typing import Any, Final

from aws_cdk import aws_ec2 as ec2

from dlcs_aws.network import Network
from dlcs_aws.template import Template

_ANYWHERE: Final = "0.0.0.0/0"
# What a group may reach outside of the table below; a group without an entry reaches nothing else.
_AWS: Final = (("tcp", 443, 443, "AWS services, and HTTPS"),)
_DATABASES: Final = (("tcp", 5432, 5432, "Database of the DLCS"),)
_GROUPS: Final = {
    "Front": ("Load balancer of the UI", (("tcp", 443, 443, "The identity provider"),)),
    "Web": ("Webserver, and pages of images", (*_AWS, *_DATABASES)),
    "CodeServer": ("Code server", (*_AWS, *_DATABASES)),
    "Work": ("Daemon and runs", (("tcp", 1, 65535, "Origins are at any port"),)),
    "Images": ("Load balancer of image servers and Appetiser", ()),
    "ImageServer": ("Image servers and Appetiser", _AWS),
    "Database": ("PostgreSQL", ()),
    "Scratch": ("The shared scratch folder", ()),
    "Endpoints": ("Endpoints of AWS services", ()),
}
_ALLOWED: Final = (
    ("Front", "Web", 3000, "The UI"),
    ("Front", "Web", 3001, "Pages of images"),
    ("Web", "CodeServer", 4000, "Definitions"),
    ("Work", "CodeServer", 4000, "Definitions and ticks"),
    ("Web", "Images", 8182, "Pages of images show renderings"),
    ("Work", "Images", 8182, "Thumbnails"),
    ("Work", "Images", 8000, "Conversions"),
    ("Images", "ImageServer", 8182, "Thumbnails"),
    ("Images", "ImageServer", 8000, "Conversions"),
    ("Web", "Database", 5432, "History and ledger"),
    ("CodeServer", "Database", 5432, "History and ledger"),
    ("Work", "Database", 5432, "History and ledger"),
    ("Work", "Scratch", 2049, "Files in progress"),
    ("ImageServer", "Scratch", 2049, "Files in progress"),
    ("Web", "Endpoints", 443, "AWS services"),
    ("CodeServer", "Endpoints", 443, "AWS services"),
    ("Work", "Endpoints", 443, "AWS services"),
    ("ImageServer", "Endpoints", 443, "AWS services"),
)


def add_security_groups(template: Template, network: Network) -> dict[str, str]:
    """Add the groups that this arrangement has, and return their ids by name."""
    here = _needed(template)
    reachable_from = template.ask(
        "People",
        "ReachableFrom",
        "Network from which the UI and the pages of images can be reached, such as 203.0.113.0/24.",
        allowed_pattern=r"[0-9.]+/[0-9]+",
    )
    ids = {}
    for name, (description, outside) in _GROUPS.items():
        if name in here:
            ingress = [_rule("tcp", 443, 443, "People", reachable_from)] if name == "Front" else None
            egress = [_rule(*each, _ANYWHERE) for each in outside]
            group = ec2.CfnSecurityGroup(
                template.stack,
                f"{name}SecurityGroup",
                group_description=description,
                vpc_id=network.vpc,
                security_group_ingress=ingress,
                # Without a rule a group could reach everything: AWS adds one that allows it.
                security_group_egress=egress or [_rule("icmp", 252, 86, "Nothing", "255.255.255.255/32")],
            )
            ids[name] = group.attr_group_id
    for source, target, port, description in _ALLOWED:
        if source in ids and target in ids:
            _allow(template.stack, (source, target), ids, port, description)
    return ids


def _needed(template: Template) -> set[str]:
    choices = template.choices
    absent = set() if choices.has_image_server else {"Images", "ImageServer"}
    absent |= set() if choices.on_efs else {"Scratch"}
    absent |= set() if choices.size.endpoints and choices.network == "new" else {"Endpoints"}
    return set(_GROUPS) - absent


def _rule(protocol: str, first: int, last: int, description: str, addresses: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"ipProtocol": protocol, "fromPort": first, "toPort": last, "description": description}
    return {**rule, "cidrIp": addresses}


def _allow(stack: Any, between: tuple[str, str], ids: dict[str, str], port: int, description: str) -> None:
    source, target = between
    name = f"{source}To{target}{port}"
    common = {"ip_protocol": "tcp", "from_port": port, "to_port": port, "description": description}
    ec2.CfnSecurityGroupIngress(
        stack, f"{name}In", group_id=ids[target], source_security_group_id=ids[source], **common
    )
    ec2.CfnSecurityGroupEgress(
        stack, f"{name}Out", group_id=ids[source], destination_security_group_id=ids[target], **common
    )
