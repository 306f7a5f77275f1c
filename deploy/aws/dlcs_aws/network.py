"""The network: one of its own in two zones, or one that exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2

from dlcs_aws.choices import Origin
from dlcs_aws.template import Template, after, arn, tags, taken_by

_ZONES: Final = (0, 1)
_ANYWHERE: Final = "0.0.0.0/0"
# What tasks ask of AWS: images, logs, secrets, messages; S3 has an endpoint that costs nothing.
_ENDPOINTS: Final = ("ecr.api", "ecr.dkr", "logs", "secretsmanager", "sqs", "sns", "ecs")


@dataclass(frozen=True)
class Network:
    """The ids of a network. Tasks and the database are in private subnets, the UI's load balancer is in public ones."""

    vpc: str
    private: tuple[str, ...]
    public: tuple[str, ...]


def add_network(template: Template) -> Network:
    """Add a network, or ask which one it is."""
    return _existing(template) if template.choices.network is Origin.EXISTING else _new(template)


def _existing(template: Template) -> Network:
    subnets = "List<AWS::EC2::Subnet::Id>"
    group = "Network"
    vpc = template.ask(group, "VpcId", "The network.", kind="AWS::EC2::VPC::Id")
    template.ask(group, "PrivateSubnets", "Two subnets with a way out (NAT), in two zones.", kind=subnets)
    template.ask(group, "PublicSubnets", "Two subnets for the UI's load balancer, in two zones.", kind=subnets)
    # Fn::Select takes a reference to a list as it is.
    private, public = ([_member(name, zone) for zone in _ZONES] for name in ("PrivateSubnets", "PublicSubnets"))
    return Network(vpc, tuple(private), tuple(public))


def _member(parameter: str, position: int) -> str:
    return cdk.Token.as_string({"Fn::Select": [position, {"Ref": parameter}]})


def _new(template: Template) -> Network:
    stack, size = template.stack, template.choices.size
    cidr = template.ask("Network", "VpcCidr", "Addresses of the network, a /16.", default="10.80.0.0/16")
    vpc = ec2.CfnVPC(
        stack, "Vpc", cidr_block=cidr, enable_dns_hostnames=True, enable_dns_support=True, tags=_named("ingest")
    )
    gateway = ec2.CfnInternetGateway(stack, "InternetGateway")
    ec2.CfnVPCGatewayAttachment(stack, "Attachment", vpc_id=vpc.ref, internet_gateway_id=gateway.ref)
    # The group that AWS makes for each network: it allows everything among its members, and has none.
    blocks = cdk.Fn.cidr(vpc.attr_cidr_block, 4, "12")
    public, private, nats, tables = [], [], [], []
    public_table = ec2.CfnRouteTable(stack, "PublicRoutes", vpc_id=vpc.ref)
    way_out = ec2.CfnRoute(
        stack,
        "PublicWayOut",
        route_table_id=public_table.ref,
        destination_cidr_block=_ANYWHERE,
        gateway_id=gateway.ref,
    )
    after(way_out, "Attachment")
    for zone in _ZONES:
        public.append(_subnet(stack, f"PublicSubnet{zone + 1}", vpc, zone, cdk.Fn.select(zone, blocks)))
        _associate(stack, f"PublicSubnet{zone + 1}", public[-1], public_table)
        private.append(_subnet(stack, f"PrivateSubnet{zone + 1}", vpc, zone, cdk.Fn.select(zone + 2, blocks)))
        if zone == 0 or size.second_zone:
            address = ec2.CfnEIP(stack, f"NatAddress{zone + 1}", domain="vpc")
            after(address, "Attachment")
            nat = ec2.CfnNatGateway(
                stack, f"Nat{zone + 1}", subnet_id=public[-1].ref, allocation_id=address.attr_allocation_id
            )
            nats.append(nat)
        tables.append(ec2.CfnRouteTable(stack, f"PrivateRoutes{zone + 1}", vpc_id=vpc.ref))
        ec2.CfnRoute(
            stack,
            f"PrivateWayOut{zone + 1}",
            route_table_id=tables[-1].ref,
            destination_cidr_block=_ANYWHERE,
            nat_gateway_id=nats[-1].ref,
        )
        _associate(stack, f"PrivateSubnet{zone + 1}", private[-1], tables[-1])
    ec2.CfnVPCEndpoint(
        stack,
        "S3Endpoint",
        vpc_id=vpc.ref,
        service_name=cdk.Fn.sub("com.amazonaws.${AWS::Region}.s3"),
        vpc_endpoint_type="Gateway",
        route_table_ids=[table.ref for table in tables],
    )
    _log_flows(template, vpc)
    return Network(vpc.ref, tuple(each.ref for each in private), tuple(each.ref for each in public))


def add_endpoints(template: Template, network: Network, groups: dict[str, str]) -> None:
    """Let tasks reach AWS's services without a NAT gateway, where there is a group for it."""
    if "Endpoints" not in groups:
        return
    for service in _ENDPOINTS:
        ec2.CfnVPCEndpoint(
            template.stack,
            "".join(part.capitalize() for part in service.split(".")) + "Endpoint",
            vpc_id=network.vpc,
            service_name=cdk.Fn.sub(f"com.amazonaws.${{AWS::Region}}.{service}"),
            vpc_endpoint_type="Interface",
            private_dns_enabled=True,
            subnet_ids=list(network.private),
            security_group_ids=[groups["Endpoints"]],
        )


def _named(name: str) -> Any:
    return tags({"Name": cdk.Fn.sub(f"${{AWS::StackName}}-{name}")})


def _subnet(stack: Any, name: str, vpc: Any, zone: int, block: str) -> Any:
    available = cdk.Fn.select(zone, cdk.Fn.get_azs(""))
    # Load balancers and NAT gateways in public subnets have addresses of their own: nothing else gets one.
    return ec2.CfnSubnet(
        stack,
        name,
        vpc_id=vpc.ref,
        availability_zone=available,
        cidr_block=block,
        map_public_ip_on_launch=False,
        tags=_named(name),
    )


def _associate(stack: Any, name: str, subnet: Any, table: Any) -> None:
    ec2.CfnSubnetRouteTableAssociation(stack, f"{name}Routes", subnet_id=subnet.ref, route_table_id=table.ref)


def _log_flows(template: Template, vpc: Any) -> None:
    """Write down connections that were refused: what a run tried that it may not."""
    from aws_cdk import aws_iam as iam  # noqa: PLC0415 (its import takes a second)
    from aws_cdk import aws_logs as logs  # noqa: PLC0415

    stack = template.stack
    group = logs.CfnLogGroup(
        stack,
        "FlowLog",
        log_group_name=cdk.Fn.sub("/dlcs/${AWS::StackName}/refused"),
        retention_in_days=template.choices.size.log_days,
    )
    writes = {
        "Sid": "WriteRefusedConnections",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
        "Resource": [arn("logs", "log-group:/dlcs/${AWS::StackName}/refused:*")],
    }
    role = iam.CfnRole(
        stack,
        "FlowLogRole",
        assume_role_policy_document=taken_by("FlowLogs", "vpc-flow-logs.amazonaws.com"),
        policies=[
            {"policyName": "logs", "policyDocument": {"Version": "2012-10-17", "Statement": [writes]}},
        ],
    )
    ec2.CfnFlowLog(
        stack,
        "RefusedConnections",
        resource_id=vpc.ref,
        resource_type="VPC",
        traffic_type="REJECT",
        log_destination_type="cloud-watch-logs",
        log_group_name=group.ref,
        deliver_logs_permission_arn=role.attr_arn,
    )
