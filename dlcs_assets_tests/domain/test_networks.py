from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from dlcs_assets.domain.networks import may_be_read_from, parse_network

REFUSED = [
    *("0.0.0.0", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254"),
    *("100.100.100.200", "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"),
    *("100::1", "2001::1", "2001:db8::1", "3fff::1", "4000::1", "64:ff9b:1::a00:1", "5f00::1"),
    # IPv4 in another dress: mapped, translated, NAT64, 6to4, Teredo
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe"),
    *("2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "168.63.129.17", "172.15.255.255", "172.32.0.0", "192.0.1.0", "223.255.255.255"),
    *("2001:200::1", "2606:4700::1111", "2a00:1450:4001::1", "3ffe::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_not_read_from(address: str) -> None:
    assert not may_be_read_from(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_read_from(address: str) -> None:
    assert may_be_read_from(ip_address(address))


@pytest.mark.parametrize(
    ("address", "network", "expected"),
    [
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.2.2.3", "10.1.0.0/16", False),
        ("::ffff:10.1.2.3", "10.1.0.0/16", True),
        ("::ffff:10.2.2.3", "10.1.0.0/16", False),
        ("64:ff9b::10.1.2.3", "10.1.0.0/16", True),
        ("2002:a01:203::1", "10.1.0.0/16", True),
        ("fd00::7", "fd00::/8", True),
        ("fd00:ec2::254", "fd12::/16", False),
        ("127.0.0.1", "::1/128", False),
        ("169.254.169.254", "10.0.0.0/8", False),
    ],
)
def test_a_network_that_is_allowed_opens_itself_and_no_other(address: str, network: str, expected: bool) -> None:
    assert may_be_read_from(ip_address(address), [parse_network(network)]) is expected


@pytest.mark.parametrize("text", ["10.1.0.0/16", "127.0.0.1/32", "FD00::/8", "::1/128", "0.0.0.0/0"])
def test_a_network_is_read(text: str) -> None:
    assert parse_network(text) == ip_network(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.1.0.0", "is '10.1.0.0'; expected a network with the length of its prefix, such as 10.1.0.0/16"),
        ("10.1.0.0/255.255.0.0", "expected a network"),
        ("10.1.0.0/33", "expected a network"),
        ("fd00::/129", "expected a network"),
        ("10.1/16", "expected a network"),
        ("intranet.example", "expected a network"),
        ("10.1.0.0/16 ", "expected a network"),
        ("10.1.0.0/\u0661", "expected a network"),
        ("10.1.2.3/16", "is '10.1.2.3/16', which has bits beyond its prefix; expected 10.1.0.0/16"),
        ("fd00::1/8", "which has bits beyond its prefix; expected fd00::/8"),
    ],
)
def test_an_invalid_network_is_refused_with_what_was_expected(text: str, said: str) -> None:
    """A network with bits beyond its prefix is a mistake, not the larger network."""
    with pytest.raises(ValueError, match=said):
        parse_network(text)
