"""How jobs that a handler asks for are dispatched: by the same use case as any others."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ..app import App
from ..commands import DispatchJobs
from ..dispatch_item import Dispatch
from ..dispatcher import Dispatcher
from ..message import Actor
from .attempt import ChildDispatch


def dispatching(dispatcher: Dispatcher, app: App) -> ChildDispatch:
    """Children are dispatched in the name of the program that their handler belongs to."""
    actor = Actor(id=f"service:{app.name}")

    def dispatch_children(children: Sequence[Dispatch]) -> list[UUID]:
        bulk = dispatcher.send(DispatchJobs, actor=actor, items=children).unwrap()
        return [item.result.unwrap().job_id for item in bulk.results]

    return dispatch_children
