"""What a customers file may say, field by field, and what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from dlcs_assets.clients.credentials import check_reference
from dlcs_assets.clients.origins.sftp import check_known_host
from dlcs_assets.customers.fields import Value, parse_yaml
from dlcs_assets.customers.patterns import compile_search
from dlcs_assets.domain.customers import Customer, Customers, Quota
from dlcs_assets.domain.delivery import SEEDED_DEFAULTS, USE_ORIGINAL, Channel, DefaultChannel, Policies
from dlcs_assets.domain.image_servers import READS_NO_JP2_CAUSE, leads_to_jp2
from dlcs_assets.domain.networks import Network, parse_network
from dlcs_assets.domain.origin import OriginBucket, OriginStrategy, OriginStrategyRule

_LARGEST_NUMBER: Final = 2**31 - 1
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9.+*-]+/[a-z0-9.+*-]+|\*")
_RULE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LARGEST_BYTES: Final = 2**63 - 1
_MAX_RUNS: Final = 1000
_BYTES: Final = re.compile(r"([1-9][0-9]{0,18})([KMGT]i?B)")
_UNITS: Final = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_IN_DLCS: Final = ("origins", "policies", "default_channels", "spaces", "quota")
_FIELDS: Final = (
    "buckets",
    "origins",
    "private_networks",
    "known_hosts",
    "policies",
    "default_channels",
    "spaces",
    "quota",
    "runs_in_flight",
)
_NEXT_TO_DLCS: Final = ("known_hosts",)  # what rules of the DLCS lack
_WITH_CREDENTIALS: Final = tuple(strategy for strategy in OriginStrategy if strategy.with_credentials)
_WITH_KNOWN_HOSTS: Final = tuple(strategy for strategy in OriginStrategy if strategy.with_known_hosts)


def parse_customers(data: bytes, *, reads_jp2: bool = True, adds_to_dlcs: bool = False) -> Customers:
    """Read the bytes of a customers file. `reads_jp2`: whether thumbnails can be made from JP2s.

    `adds_to_dlcs`: what the DLCS's database says of customers is not for the file to say. Raises `InvalidConfigError`
    with all of its problems.
    """
    return parse_yaml(data, lambda root: _customers(root, reads_jp2=reads_jp2, adds_to_dlcs=adds_to_dlcs))


def _customers(root: Value, *, reads_jp2: bool, adds_to_dlcs: bool) -> Customers:
    fields = root.fields(["customers"])
    found = {}
    for name, value in fields["customers"].pairs() if "customers" in fields else ():
        number = _number(name, "a customer's number")
        if number is not None:
            found[number] = _customer(number, value, adds_to_dlcs=adds_to_dlcs)
            if not (reads_jp2 or adds_to_dlcs):
                _refuse_jp2(value, found[number])
    return Customers(found)


def _refuse_jp2(value: Value, customer: Customer) -> None:
    for default in customer.policies.defaults:
        if leads_to_jp2(default.channel, default.policy):
            where = "" if default.space is None else f" in space {default.space}"
            value.refuse(
                f"gives {default.media_type}{where} by default the channel {default.channel} with the policy "
                f"{default.policy}, which makes JP2s, and {READS_NO_JP2_CAUSE}; expected the policy {USE_ORIGINAL} in "
                "default_channels, or DLCS_IMAGE_SERVER_READS_JP2=true"
            )


def _customer(number: int, value: Value, *, adds_to_dlcs: bool) -> Customer:
    fields = value.fields(
        [],
        _FIELDS,
    )
    for name in fields.keys() & (_IN_DLCS if adds_to_dlcs else _NEXT_TO_DLCS):
        where = "only without" if adds_to_dlcs else "only next to"
        fields[name].refuse(f"is given; expected {where} the DLCS's database (DLCS_DATABASE_URL)")
    thumbs = _thumbs(fields["policies"]) if "policies" in fields else {}
    known = Policies(thumbs)
    customer_wide = (
        _defaults(fields["default_channels"], None, known) if "default_channels" in fields else SEEDED_DEFAULTS
    )
    of_spaces = _spaces(fields["spaces"], known) if "spaces" in fields else ()
    return Customer(
        number,
        policies=Policies(thumbs, defaults=(*customer_wide, *of_spaces)),
        rules=_rules(fields["origins"]) if "origins" in fields else (),
        known_hosts=_known_hosts(fields["known_hosts"]) if "known_hosts" in fields else (),
        buckets=_buckets(fields["buckets"]) if "buckets" in fields else {},
        private_networks=_networks(fields["private_networks"]) if "private_networks" in fields else (),
        quota=_quota(fields["quota"]) if "quota" in fields else Quota(),
        runs_in_flight=_number(fields["runs_in_flight"], "how many runs", _MAX_RUNS)
        if "runs_in_flight" in fields
        else None,
    )


def _number(name: Value, what: str, largest: int = _LARGEST_NUMBER) -> int | None:
    number = name.number()
    if number is not None and not 0 < number <= largest:
        name.refuse(f"is {number}; expected {what}, from 1 to {largest}")
        return None
    return number


def _quota(value: Value) -> Quota:
    fields = value.fields([], ["images", "bytes"])
    if value.kind == "map" and not fields:
        value.refuse("says nothing; expected 'images', 'bytes' or both")
    return Quota(
        images=_number(fields["images"], "how many images") if "images" in fields else None,
        bytes=_size(fields["bytes"]) if "bytes" in fields else None,
    )


def _size(value: Value) -> int | None:
    """Read a number of bytes: plain, or with a unit of powers of 1000 (KB) or of 1024 (KiB)."""
    if value.kind == "int":
        return _number(value, "how many bytes", _LARGEST_BYTES)
    if value.kind == "str":
        return value.read(_with_unit)
    value.refuse("is no size; expected whole bytes, or a whole number with a unit, such as 500GB")
    return None


def _with_unit(text: str) -> int:
    match = _BYTES.fullmatch(text)
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < size <= _LARGEST_BYTES:
        raise ValueError(
            f"is '{text}'; expected whole bytes, or a whole number with a unit, such as 500GB, up to "
            f"{_LARGEST_BYTES} bytes; units are {', '.join(_UNITS)}"
        )
    return size


def _buckets(value: Value) -> dict[str, OriginBucket]:
    found = {}
    for name, place in value.pairs():
        bucket = name.read(lambda text: _matching(text, _BUCKET, "the name of a bucket"))
        fields = place.fields([], ["endpoint", "region"])
        endpoint = fields["endpoint"].read(_endpoint) if "endpoint" in fields else None
        region = (
            fields["region"].read(lambda text: _matching(text, _REGION, "a region, such as eu-west-1"))
            if "region" in fields
            else None
        )
        if bucket is not None:
            found[bucket] = OriginBucket(endpoint, region)
    return found


def _networks(value: Value) -> tuple[Network, ...]:
    found = [item.read(parse_network) for item in value.items()]
    return tuple(network for network in found if network is not None)


def _thumbs(value: Value) -> Mapping[str, tuple[str, ...]]:
    fields = value.fields([], ["thumbs"])
    policies = {}
    for name, sizes in fields["thumbs"].pairs() if "thumbs" in fields else ():
        policy = name.text()
        values = [(size, size.text()) for size in sizes.items()]
        texts = [(size, text) for size, text in values if text is not None]
        if policy is None:
            continue
        good = True
        for size, text in texts:
            good = _policy_is_good(size, policy, (text,)) and good
        if good and not values and sizes.kind == "seq":
            good = _policy_is_good(sizes, policy, ())
        if good and texts:
            policies[policy] = tuple(text for _, text in texts)
    return policies


def _policy_is_good(value: Value, name: str, sizes: tuple[str, ...]) -> bool:
    try:
        Policies({name: sizes})
    except ValueError as error:
        value.refuse(f"{error} Expected a size as w, or ,h or !w,h, with ^ before it where it may enlarge")
        return False
    return True


def _spaces(value: Value, known: Policies) -> tuple[DefaultChannel, ...]:
    found: list[DefaultChannel] = []
    for name, space in value.pairs():
        number = _number(name, "a space's number")
        fields = space.fields(["default_channels"])
        if number is not None and "default_channels" in fields:
            found += _defaults(fields["default_channels"], number, known)
    return tuple(found)


def _defaults(value: Value, space: int | None, known: Policies) -> tuple[DefaultChannel, ...]:
    found: dict[tuple[str, Channel], DefaultChannel] = {}
    for item in value.items():
        fields = item.fields(["media_type", "channel", "policy"])
        media_type = (
            fields["media_type"].read(lambda text: _matching(text, _MEDIA_TYPE, "a media type, such as image/*"))
            if "media_type" in fields
            else None
        )
        channel = fields["channel"].read(_channel) if "channel" in fields else None
        policy = fields["policy"].text() if "policy" in fields else None
        if media_type is None or channel is None or policy is None:
            continue
        names = known.of(channel)
        if names is not None and policy not in names:
            fields["policy"].refuse(f"is '{policy}'; expected a policy of {channel}: {', '.join(sorted(names))}")
        elif (media_type, channel) in found:
            item.refuse(f"is there already for {media_type} and {channel}; expected each once")
        else:
            found[media_type, channel] = DefaultChannel(media_type, channel, policy, space)
    return tuple(found.values())


def _rules(value: Value) -> tuple[OriginStrategyRule, ...]:
    found: dict[str, OriginStrategyRule] = {}
    orders: dict[int, str] = {}
    for item in value.items():
        fields = item.fields(["id", "regex", "strategy", "order"], ["credentials", "optimised", "known_hosts"])
        rule = _rule(item, fields)
        if rule.id and rule.id in found:
            fields["id"].refuse(f"is '{rule.id}', which another origin strategy has; expected each once")
        if "order" in fields and rule.order in orders:
            fields["order"].refuse(f"is {rule.order}, as that of '{orders[rule.order]}'; expected each once")
        found[rule.id] = rule
        orders[rule.order] = rule.id
    return tuple(sorted(found.values(), key=lambda rule: rule.order))


def _rule(item: Value, fields: Mapping[str, Value]) -> OriginStrategyRule:
    """Read a rule; what can't be read is a problem noted, and the rule is never used."""
    name = fields["id"].read(_rule_id) if "id" in fields else None
    strategy = fields["strategy"].read(_strategy) if "strategy" in fields else None
    finds = fields["regex"].read(lambda text: compile_search(text, name or "?")) if "regex" in fields else None
    credentials = fields["credentials"].read(check_reference) if "credentials" in fields else None
    optimised = fields["optimised"].flag() if "optimised" in fields else None
    hosts = _known_hosts(fields["known_hosts"]) if "known_hosts" in fields else ()
    if strategy is not None:
        _check_combination(item, fields, strategy, optimised=bool(optimised))
    return OriginStrategyRule(
        name or "",
        strategy or OriginStrategy.DEFAULT,
        finds or (lambda _: False),
        (fields["order"].number() if "order" in fields else None) or 0,
        bool(optimised),
        credentials,
        hosts,
    )


def _known_hosts(value: Value) -> tuple[str, ...]:
    hosts = [line.read(check_known_host) for line in value.items()]
    return tuple(host for host in hosts if host is not None)


def _check_combination(item: Value, fields: Mapping[str, Value], strategy: OriginStrategy, *, optimised: bool) -> None:
    if strategy in _WITH_CREDENTIALS and "credentials" not in fields:
        item.refuse(f"lacks 'credentials'; expected with the strategy {strategy}")
    if strategy not in _WITH_CREDENTIALS and "credentials" in fields:
        fields["credentials"].refuse(f"is given; expected with {' and '.join(_WITH_CREDENTIALS)} only")
    if optimised and strategy is not OriginStrategy.S3_AMBIENT:
        fields["optimised"].refuse(f"is true; expected with {OriginStrategy.S3_AMBIENT} only")
    if strategy in _WITH_KNOWN_HOSTS and "known_hosts" not in fields:
        item.refuse(f"lacks 'known_hosts'; expected with the strategy {strategy}, as ssh-keyscan prints them")
    if strategy not in _WITH_KNOWN_HOSTS and "known_hosts" in fields:
        fields["known_hosts"].refuse(f"is given; expected with {' and '.join(_WITH_KNOWN_HOSTS)} only")


def _matching(text: str, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"is '{text}'; expected {what}")
    return text


def _rule_id(text: str) -> str:
    return _matching(text, _RULE_ID, "letters, digits, dots, dashes and underscores, 100 at most")


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("is no URL; expected one such as https://s3.example.org") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("is no plain http(s) URL; expected one such as https://s3.example.org, without credentials")
    return text


def _strategy(text: str) -> OriginStrategy:
    try:
        return OriginStrategy(text)
    except ValueError:
        raise ValueError(f"is '{text}'; expected one of {', '.join(OriginStrategy)}") from None


def _channel(text: str) -> Channel:
    # `none` as a default would make every image of that type invisible; it is for messages to ask for.
    allowed = [channel for channel in Channel if channel is not Channel.NONE]
    if text not in allowed:
        raise ValueError(f"is '{text}'; expected one of {', '.join(allowed)}")
    return Channel(text)
