"""Which addresses of the network an original may be read from: public ones, and those that a customer was given."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# From IANA's registry of special-purpose addresses (RFC 6890 and its successors).
_NOT_PUBLIC: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carriers' NAT, and metadata of some clouds
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's own services: public by the registry, not by what answers there
            "169.254.0.0/16",  # link-local, with the metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # former 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
# All else of IPv6 is loopback, unique local, link-local, multicast, or not given out.
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)
# Where clouds hand out their machines' credentials: never an origin, whatever networks are allowed.
_METADATA: Final[tuple[Network, ...]] = (
    IPv4Network("169.254.0.0/16"),  # of most clouds, ECS and EKS among them
    IPv4Network("100.100.100.200/32"),
    IPv4Network("168.63.129.16/32"),
    IPv4Network("192.0.0.192/32"),
    IPv6Network("fd00:ec2::/32"),
    IPv6Network("fd20:ce::/32"),
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_FORM: Final = re.compile(r"[0-9a-fA-F:.]+/[0-9]{1,3}")


def parse_network(text: str) -> Network:
    """Read a network such as `10.1.0.0/16`. Raises ValueError, with what was expected."""
    wanted = "expected a network with the length of its prefix, such as 10.1.0.0/16 or fd00::/8"
    if not _FORM.fullmatch(text):
        raise ValueError(f"is '{text}'; {wanted}")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"is '{text}'; {wanted}") from None
    if ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"is '{text}', which has bits beyond its prefix; expected {network}")
    return network


def may_be_read_from(address: Address, allowed: Collection[Network] = ()) -> bool:
    """Return whether an address is public, or in one of the networks that are allowed.

    An IPv6 address that stands for one of IPv4 (mapped, NAT64, 6to4) is taken for what it leads to. Addresses of
    metadata are never read from.
    """
    meant = tuple(meant_by(address))
    if any(one in network for one in meant for network in _METADATA):
        return False
    if any(one in network for one in meant for network in allowed):
        return True
    return all(map(_is_public, meant))


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public internet, and so is all that it stands for."""
    return all(map(_is_public, meant_by(address)))


def meant_by(address: Address) -> Iterator[Address]:
    """Yield an address and that of IPv4 that it stands for; of a mapped one the latter only."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped  # the same to the system: no IPv6 is spoken
    else:
        yield address
        if address in _NAT64:
            yield IPv4Address(int(address) & 0xFFFFFFFF)
        elif address.sixtofour is not None:
            yield address.sixtofour


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC)
    if address in _NAT64:
        return True  # as far as it goes: the address that it stands for is checked as well
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)
