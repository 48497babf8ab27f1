"""Addresses and networks, as a setting names them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network
from typing import Annotated

from pydantic import AfterValidator


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no IP address, and no network like 10.0.0.0/8") from None


Network = Annotated[str, AfterValidator(_network)]
"""A network as `10.0.0.0/8`; an address is one of its own."""


def as_seen(networks: Iterable[str]) -> list[str]:
    """Those networks, as peers of a socket are called: where it takes IPv6, too, `::ffff:10.0.0.7` is one of IPv4."""
    seen = []
    for network in map(ip_network, networks):
        seen.append(str(network))
        if isinstance(network, IPv4Network):
            seen.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return seen
