"""What goes wrong between companies: each flaw is made from a good event and follows it some lines later."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any
from uuid import UUID

from .catalog import TENANTS, UNKNOWN_TENANT
from .routes import EVENT_PREFIX

Event = dict[str, Any]


class Kind(StrEnum):
    """Why a line is in the file."""

    GOOD = "good"
    # Not CloudEvents 1.0:
    BAD_JSON = "bad_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_TYPE = "missing_type"
    MISSING_ID = "missing_id"
    WRONG_SPECVERSION = "wrong_specversion"
    NAIVE_TIME = "naive_time"
    # Valid CloudEvents that must not have an effect, or not a second one:
    PAYLOAD_MISFIT = "payload_misfit"
    DUPLICATE_EVENT = "duplicate_event"
    DUPLICATE_KEY = "duplicate_key"
    CONFLICTING_KEY = "conflicting_key"
    CROSS_TENANT_SOURCE = "cross_tenant_source"
    CROSS_TENANT_DATA = "cross_tenant_data"
    UNKNOWN_TENANT = "unknown_tenant"
    UNKNOWN_TYPE = "unknown_type"


COUNTS = {
    Kind.BAD_JSON: 3,
    Kind.NOT_AN_OBJECT: 1,
    Kind.MISSING_TYPE: 2,
    Kind.MISSING_ID: 2,
    Kind.WRONG_SPECVERSION: 1,
    Kind.NAIVE_TIME: 2,
    Kind.PAYLOAD_MISFIT: 4,
    Kind.DUPLICATE_EVENT: 6,
    Kind.DUPLICATE_KEY: 5,
    Kind.CONFLICTING_KEY: 2,
    Kind.CROSS_TENANT_SOURCE: 3,
    Kind.CROSS_TENANT_DATA: 2,
    Kind.UNKNOWN_TENANT: 3,
    Kind.UNKNOWN_TYPE: 2,
}
INVALID = frozenset(
    {
        Kind.BAD_JSON,
        Kind.NOT_AN_OBJECT,
        Kind.MISSING_TYPE,
        Kind.MISSING_ID,
        Kind.WRONG_SPECVERSION,
        Kind.NAIVE_TIME,
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file."""

    kind: Kind
    text: str


def add_to(good: Sequence[Event], random: Random) -> list[Line]:
    """The good events with flawed ones among them."""
    lines = [(float(number), Line(Kind.GOOD, _json(event))) for number, event in enumerate(good)]
    for kind, count in COUNTS.items():
        candidates = [number for number, event in enumerate(good) if _suits(kind, event)]
        for number in random.sample(candidates, count):
            place = number + random.uniform(0.1, 12.9)
            lines.append((place, Line(kind, _MAKE[kind](good[number], random))))
    return [line for _, line in sorted(lines, key=lambda placed: placed[0])]


def _suits(kind: Kind, event: Event) -> bool:
    """Flaws with an invoice or a payment need one; nothing is flawed before the tenants are there."""
    if kind in (Kind.PAYLOAD_MISFIT, Kind.DUPLICATE_KEY, Kind.CONFLICTING_KEY):
        return "amount_cents" in event["data"]
    return not event["type"].endswith((".tenant.created", ".subscription.canceled"))


def _bad_json(event: Event, random: Random) -> str:
    """A line that was cut off."""
    text = _json(event)
    return text[: random.randint(20, len(text) - 2)]


def _not_an_object(event: Event, random: Random) -> str:
    return _json([_fresh(event, random)])


def _missing_type(event: Event, random: Random) -> str:
    return _without("type", _fresh(event, random))


def _missing_id(event: Event, random: Random) -> str:
    return _without("id", event)


def _wrong_specversion(event: Event, random: Random) -> str:
    return _json({**_fresh(event, random), "specversion": "2.0"})


def _naive_time(event: Event, random: Random) -> str:
    return _json({**_fresh(event, random), "time": event["time"][:19]})


def _payload_misfit(event: Event, random: Random) -> str:
    """An amount as a person would write it, a negative one, a missing field, one too many."""
    amount = event["data"]["amount_cents"]
    change: dict[str, Any] = random.choice(
        (
            {"amount_cents": f"R$ {amount / 100:.2f}"},
            {"amount_cents": -amount},
            {"currency": "DOUBLOONS"},
            {"discount": "10%"},
        )
    )
    return _with_data(_fresh(event, random), {"payment_id": f"ODD-{random.randint(100, 999)}", **change})


def _duplicate_event(event: Event, random: Random) -> str:
    """Delivered twice: source and id are the same."""
    return _json(event)


def _duplicate_key(event: Event, random: Random) -> str:
    """Sent twice: the same payment in another event."""
    return _json(_fresh(event, random))


def _conflicting_key(event: Event, random: Random) -> str:
    """The same payment in another event, but with another amount."""
    return _with_data(_fresh(event, random), {"amount_cents": event["data"]["amount_cents"] + 1})


def _cross_tenant_source(event: Event, random: Random) -> str:
    """Sent by one tenant, in the name of another."""
    sender = f"/tenants/{_other(event, random)}/{event['source'].rsplit('/', 1)[1]}"
    return _json({**_fresh(event, random), "source": sender})


def _cross_tenant_data(event: Event, random: Random) -> str:
    """Envelope and data name different tenants."""
    return _with_data(_fresh(event, random), {"tenant_id": _other(event, random)})


def _unknown_tenant(event: Event, random: Random) -> str:
    source = f"/tenants/{UNKNOWN_TENANT}/{event['source'].rsplit('/', 1)[1]}"
    return _with_data(
        {**_fresh(event, random), "source": source, "tenant": UNKNOWN_TENANT}, {"tenant_id": UNKNOWN_TENANT}
    )


def _unknown_type(event: Event, random: Random) -> str:
    """An event of a product that nobody here reacts to."""
    return _json({**_fresh(event, random), "type": EVENT_PREFIX + "elevator.serviced"})


_MAKE: dict[Kind, Callable[[Event, Random], str]] = {
    Kind.BAD_JSON: _bad_json,
    Kind.NOT_AN_OBJECT: _not_an_object,
    Kind.MISSING_TYPE: _missing_type,
    Kind.MISSING_ID: _missing_id,
    Kind.WRONG_SPECVERSION: _wrong_specversion,
    Kind.NAIVE_TIME: _naive_time,
    Kind.PAYLOAD_MISFIT: _payload_misfit,
    Kind.DUPLICATE_EVENT: _duplicate_event,
    Kind.DUPLICATE_KEY: _duplicate_key,
    Kind.CONFLICTING_KEY: _conflicting_key,
    Kind.CROSS_TENANT_SOURCE: _cross_tenant_source,
    Kind.CROSS_TENANT_DATA: _cross_tenant_data,
    Kind.UNKNOWN_TENANT: _unknown_tenant,
    Kind.UNKNOWN_TYPE: _unknown_type,
}


def _fresh(event: Event, random: Random) -> Event:
    """The same event with an id of its own: so that its flaw is its only one."""
    return {**event, "id": str(UUID(int=random.getrandbits(128), version=4))}


def _without(attribute: str, event: Event) -> str:
    return _json({name: value for name, value in event.items() if name != attribute})


def _with_data(event: Event, change: Event) -> str:
    return _json({**event, "data": {**event["data"], **change}})


def _other(event: Event, random: Random) -> str:
    return random.choice([tenant.slug for tenant in TENANTS if tenant.slug != event["tenant"]])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
