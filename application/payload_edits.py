"""Edited payloads: from what a person asks for to what runs, and what an edit changed, for those who may see it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from jobledger.domain import difference
from jobledger.domain.difference import Change, Difference
from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobRequeued

from .job_repository import brings_payload
from .known import KnownType
from .secret_shapes import refuse_secrets


class EditedPayload(NamedTuple):
    """A payload that was validated, and where it differs from the one before (None: that one cannot be read)."""

    body: bytes
    changes: tuple[Change, ...] | None


def accept_edited(known: KnownType, payload: JsonValue, before: bytes | None) -> EditedPayload | None:
    """Validate an edited payload as a dispatch would (schema, size, secrets); None where it changes nothing."""
    body = known.accept(payload).body
    refuse_secrets(body)
    found = _differences(before, body)
    if found is not None and not found:  # spelled differently: the same to every program that reads it
        return None
    return EditedPayload(body, None if found is None else difference.changes(found))


def edited(before: bytes | None, put: Mapping[str, JsonValue], without: Iterable[str]) -> JsonValue:
    """The payload before with a few places changed, which JSON pointers name."""
    document = _json(before)
    if not isinstance(document, dict):
        raise InvalidInput(
            "its payload is not there any more", field="payload", rule="is there to be changed",
            hint="give the whole payload instead",
        )  # fmt: skip
    changed: JsonValue = document
    for pointer, value in put.items():
        changed = difference.put(changed, pointer, value)
    for pointer in without:
        changed = difference.without(changed, pointer)
    return changed


def edits_of(events: Sequence[RecordedEvent]) -> dict[int, tuple[Difference, ...]]:
    """What each requeue with an edited payload changed, before and after, by its version. From the bodies: what is
    not among these events, or was removed, is left out."""
    found: dict[int, tuple[Difference, ...]] = {}
    bodies: dict[str, bytes] = {}
    for event in events:
        if not brings_payload(event):
            continue
        if isinstance(event.facts, JobRequeued) and event.body is not None:
            what = _differences(bodies.get(event.facts.payload_sha256_before or ""), event.body)
            if what is not None:
                found[event.originator_version] = tuple(what)
        if event.body is not None and event.metadata.body_sha256 is not None:
            bodies[event.metadata.body_sha256] = event.body
    return found


def _differences(before: bytes | None, after: bytes) -> list[Difference] | None:
    document = _json(before)
    return None if document is None else list(difference.differences(document, json.loads(after)))


def _json(body: bytes | None) -> JsonValue:
    """A body as JSON; None where it is none."""
    if body is None:
        return None
    try:
        document: JsonValue = json.loads(body)
    except ValueError:
        return None
    return document
