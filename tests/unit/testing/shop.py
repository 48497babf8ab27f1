"""A small program to be tested, as a user of `jobledger.testing` would have one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import BaseModel

from jobledger import App, Dispatch, JobContext, Retry, Snooze

IN_TEN_SECONDS = Retry.fixed(max_attempts=3, base_seconds=10)


class Order(BaseModel):
    """The payload of every type."""

    order_id: str
    copies: int = 1


class OrderPaid(NamedTuple):
    """An event of the shop's domain."""

    id: str
    order_id: str
    tenant: str = "acme"
    source: str = "/shop"
    type: str = "shop.order.paid"


@dataclass
class World:
    """What handlers leave behind, and what happens while they run."""

    charges: dict[str, str] = field(default_factory=dict)
    mails: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)


def make_app(world: World) -> App:
    """The shop's jobs."""
    app = App("shop", code_version="1")

    @app.job("order.charge", queue="billing", effects="steps", timeout_seconds=60, retry=IN_TEN_SECONDS)
    def charge(context: JobContext, payload: Order) -> str:
        """Charges once for each key, then thanks by mail, carelessly."""
        key = context.step_key("charge")
        context.step("charge", lambda: world.charges.setdefault(key, payload.order_id))
        context.step("mail", lambda: world.mails.append(payload.order_id))
        return key

    @app.job("order.pack", effects="none", timeout_seconds=60, retry=IN_TEN_SECONDS)
    def pack(context: JobContext, payload: Order) -> int:
        """Harmless."""
        world.ran.append(payload.order_id)
        return payload.copies

    @app.job("order.ship", effects="none", timeout_seconds=60, retry=IN_TEN_SECONDS)
    def ship(context: JobContext, payload: Order) -> None:
        """Dispatches a job for each copy."""
        context.dispatch(*[Dispatch("order.pack", {"order_id": f"{payload.order_id}/{n}"}) for n in range(2)])

    @app.job("order.wait", effects="none", timeout_seconds=60)
    def wait(context: JobContext, payload: Order) -> None:
        """Waits until the third look."""
        if context.attempt < 3:
            raise Snooze(3_600, "the shop is closed")

    @app.job("order.greet", effects="none", timeout_seconds=60)
    async def greet(context: JobContext, payload: Order) -> str:
        """A coroutine."""
        world.ran.append(payload.order_id)
        return await context.step_async("greet", _greeting)

    @app.reaction("shop.order.paid")
    def on_paid(event: OrderPaid) -> list[Dispatch]:
        """Two jobs follow."""
        return [
            Dispatch("order.pack", {"order_id": event.order_id}, tenant=event.tenant),
            Dispatch("order.ship", {"order_id": event.order_id}, tenant=event.tenant),
        ]

    return app


async def _greeting() -> str:
    return "hello"
