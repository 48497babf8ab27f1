"""Exports that are handed out as they are read: a chunk in memory at a time, and their hash at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from jobledger.application.audit_messages import Export

from .audit_files import Written
from .audit_formats import encoder, header_of

CHUNK_BYTES = 1 << 16


def stream_events(
    export: Export, position_text: Callable[[int], str], ended: Callable[[Written], object]
) -> Iterator[bytes]:
    """The bytes of an export. `ended` is told what they were, after the last has been taken; never, where whoever takes
    them stops before."""
    encode = encoder(export.format, position_text, bodies=export.bodies)
    digest, written, chunk = hashlib.sha256(), Written(), bytearray(header_of(export.format, bodies=export.bodies))

    def taken() -> bytes:
        content = bytes(chunk)
        chunk.clear()
        digest.update(content)
        written.size_bytes += len(content)
        return content

    for event in export.events:
        chunk += encode(event)
        written.by_type[event.topic] += 1
        written.first_position = written.first_position or event.position
        written.last_position = event.position
        if len(chunk) >= CHUNK_BYTES:
            yield taken()
    if chunk:
        yield taken()
    written.sha256 = digest.hexdigest()
    ended(written)
