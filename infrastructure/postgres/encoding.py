"""Events as bytes: what many of a group share is encoded once."""

from __future__ import annotations

import hashlib

from jobledger.domain.event import Event, Metadata

from ..mapper import encode_facts, encode_metadata
from ..queue_row import encode_thread


class Encoder:
    """Encodes events. What many events share, their metadata, is encoded once: it is told by its identity, so an
    encoder must not outlive the writes it encodes."""

    def __init__(self) -> None:
        self._metadata: dict[int, bytes] = {}
        self._threads: dict[int, bytes] = {}

    def state(self, event: Event) -> bytes:
        """The stored state of an event, as `mapper.encode_state` gives it."""
        metadata, facts, body = event.metadata, event.facts, event.body
        line = self._metadata.get(id(metadata))
        if line is None:
            line = self._metadata[id(metadata)] = encode_metadata(metadata)
        if body is None:
            return line + b"\n" + encode_facts(facts)
        return b'%b,"body_sha256":"%b","body_length":%d}\n%b' % (
            line[:-1], hashlib.sha256(body).hexdigest().encode(), len(body), encode_facts(facts),
        )  # fmt: skip

    def thread(self, metadata: Metadata) -> bytes:
        """The column `thread` of a job that begins with this metadata."""
        thread = self._threads.get(id(metadata))
        if thread is None:
            thread = self._threads[id(metadata)] = encode_thread(metadata)
        return thread
