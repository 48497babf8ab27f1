"""Where events arrive: lines of CloudEvents in, dispatches out.

Every line becomes exactly one delivery. What can be read leads to the dispatches that the reactions ask for; what
cannot is handed to jobledger too, as malformed, so that the refusal stands in the ledger with its line. An event that
was delivered before (same source and id) leads to nothing; the same business key in another event is jobledger's
affair, through the job types' idempotency keys, which outlive this process.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from jobledger import App, Dispatch, InvalidInput
from jobledger.application.dispatch_item import Malformed

from .cloud_event import LINE_BYTES_MAX, parse_object, to_domain_event
from .domain_event import DomainEvent


class Delivery(NamedTuple):
    """What came of one line. `event` is None where the line could not be read; a duplicate has no items."""

    line: int
    event: DomainEvent | None
    items: tuple[Dispatch | Malformed, ...]
    is_duplicate: bool = False


@dataclass(slots=True)
class Inbox:
    """The inbox of one program; it remembers source and id of what it has read."""

    app: App
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def read(self, path: Path) -> Iterator[Delivery]:
        """All lines of a file; empty ones are passed over, numbers count from 1."""
        with path.open("rb") as lines:
            number = 0
            # Read with a limit: a line without end must not fill the memory.
            while line := lines.readline(LINE_BYTES_MAX + 2):
                number += 1
                if line.strip():
                    yield self.receive(line, number)
                while line and not line.endswith(b"\n"):
                    line = lines.readline(LINE_BYTES_MAX)  # what is left of a line that was refused

    def receive(self, line: bytes, number: int) -> Delivery:
        """What follows from one line."""
        attributes: dict[str, object] = {}
        try:
            attributes = parse_object(line.rstrip(b"\r\n"))
            event = to_domain_event(attributes, number)
        except InvalidInput as error:
            malformed = Malformed(number, error, _claimed(attributes, "tenant"), _claimed(attributes, "type"))
            return Delivery(number, None, (malformed,))
        if (event.source, event.id) in self._seen:
            return Delivery(number, event, (), is_duplicate=True)
        self._seen.add((event.source, event.id))
        return Delivery(number, event, self._items(event))

    def _items(self, event: DomainEvent) -> tuple[Dispatch | Malformed, ...]:
        dispatches = self.app.reactions_to(event)
        if dispatches:
            return tuple(dispatches)
        nobody = InvalidInput("nobody reacts to events of this type", field="type", rule="has a reaction")
        return (Malformed(event.line, nobody, event.tenant, event.type),)


def _claimed(attributes: dict[str, object], name: str) -> str:
    """What the line says, for the record of its refusal; it may name what does not exist."""
    value = attributes.get(name)
    return value if isinstance(value, str) else ""
