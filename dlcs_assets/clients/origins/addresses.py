"""From the name of a host to a connection: looked up once, and only to addresses that may be read from."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address

from dlcs_assets.clients.origins.own_services import OwnService, OwnServices
from dlcs_assets.domain.networks import Network, may_be_read_from

# Host and port to addresses, as text, best first; raises OSError.
Resolve = Callable[[str, int], Sequence[str]]


class AddressRefusedError(Exception):
    """A host has none but addresses that are not public, and that the customer was not given; or leads to `own`."""

    def __init__(self, host: str, address: str, own: OwnService | None = None) -> None:
        super().__init__(f"'{host}' at {address}")
        self.host = host
        self.address = address
        self.own = own


def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host; it reads numbers in all their forms, too. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "Not the name of a host") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def checked_addresses(
    host: str, port: int, allowed: Collection[Network], resolve: Resolve, own: OwnServices
) -> Sequence[str]:
    """Return those addresses of a host that may be read from, for connections to be made to them and to no name.

    Raises AddressRefusedError if there are only others, or one is a service of ours; OSError if there are none.
    """
    found = resolve(host, port)
    for address in found:
        if (service := own.find(host, address, port)) is not None:
            raise AddressRefusedError(host, address, service)
    good = [address for address in found if may_be_read_from(ip_address(address), allowed)]
    if found and not good:
        raise AddressRefusedError(host, found[0])
    if not good:
        raise socket.gaierror(socket.EAI_NONAME, "No address for the host")
    return good


def connect(
    host: str, port: int, allowed: Collection[Network], resolve: Resolve, own: OwnServices, *, timeout: float
) -> socket.socket:
    """Connect to the first of a host's addresses that answers. Raises AddressRefusedError and OSError."""
    *others, last = checked_addresses(host, port, allowed, resolve, own)
    for address in others:
        try:
            return socket.create_connection((address, port), timeout)
        except OSError:
            continue
    return socket.create_connection((last, port), timeout)
