"""Addresses and networks, as a setting names them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no IP address, and no network like 10.0.0.0/8") from None


Network = Annotated[str, AfterValidator(_network)]
"""A network as `10.0.0.0/8`; an address is one of its own."""
