"""What changed between two versions of a job, laid out for people."""

from __future__ import annotations

import json
from collections import Counter

from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from jobledger.application.queries import FieldChange, JobDiff, PayloadChange, Revision
from jobledger.domain.identifiers import short_id

from ..shapes.texts import moment_text
from .history import difference_text

_SIGNS = {"add": "+", "remove": "-", "replace": "~"}
_PLACES_SHOWN = 50
_VALUE_CHARACTERS = 300


def print_diff(console: Console, found: JobDiff, *, bodies: bool) -> None:
    """Print the fields that differ, before and after, and the places of the payload that do."""
    head = Text(f"job {short_id(found.job_id)}: ", style="bold")
    console.print(head.append(f"{_revision(found.before)} -> {_revision(found.after)}", style=""))
    if found.topics:
        console.print(Text(_between(found), style="dim"), soft_wrap=True)
    width = max((len(change.name) for change in found.fields), default=0)
    for change in found.fields:
        console.print(_field(change, width), soft_wrap=True)
    if found.payload is not None:
        _print_payload(console, found.payload, bodies=bodies)
    elif not found.fields:
        console.print("nothing differs")


def _revision(revision: Revision) -> str:
    return f"version {revision.version} ({moment_text(revision.recorded_at)})"


def _between(found: JobDiff) -> str:
    counted = Counter(topic.removeprefix("job.") for topic in found.topics)
    told = ", ".join(name if number == 1 else f"{name} x{number:,}" for name, number in counted.items())
    backwards = " (taken back)" if found.before.version > found.after.version else ""
    return f"{len(found.topics):,} {'event' if len(found.topics) == 1 else 'events'}: {told}{backwards}"


def _field(change: FieldChange, width: int) -> Text:
    line = Text(f"~ {change.name:<{width}}  ")
    return line.append(_value(change.before), style="red").append(" -> ").append(_value(change.after), style="green")


def _value(value: JsonValue) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split("\n"))
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}..."


def _print_payload(console: Console, payload: PayloadChange, *, bodies: bool) -> None:
    if payload.places is None:
        console.print("~ payload: differs; where is not known, because a body is not there any more", soft_wrap=True)
        return
    console.print(
        f"~ payload: {len(payload.places)} {'place differs' if len(payload.places) == 1 else 'places differ'}"
    )
    if payload.differences is not None:
        for difference in payload.differences[:_PLACES_SHOWN]:
            console.print("  ", difference_text(difference), sep="", soft_wrap=True)
    else:
        for place in payload.places[:_PLACES_SHOWN]:
            console.print(Text(f"  {_SIGNS[place.op]} {place.path or 'all of it'}"), soft_wrap=True)
        if not bodies:
            console.print("[dim]--bodies shows the values, too; who looks at them is recorded[/]")
    if len(payload.places) > _PLACES_SHOWN:
        console.print(f"[dim]  and {len(payload.places) - _PLACES_SHOWN} more places; --json has them[/]")
