"""Topics and stored payloads are data: what was written once is read for ever.

`golden_events.json` holds one stored event of each version of each topic. A line there is never changed; a new version
of an event gets a line of its own, and an upcaster from the one before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobledger.domain.errors import CorruptEvent, UnknownTopic
from jobledger.domain.job import JobDispatched
from jobledger.domain.job_type import JobTypeRegistered
from jobledger.domain.topics import ALL_FACTS, TOPICS, UPCASTERS
from jobledger.infrastructure.mapper import decode_facts, decode_metadata, encode_facts, encode_metadata

GOLDEN: dict[str, str] = json.loads(Path(__file__).with_name("golden_events.json").read_text(encoding="utf-8"))
CURRENT = [f"{facts.topic} {facts.schema_version}" for facts in ALL_FACTS]
EXPECTED_TOPICS = {
    "access.allowed", "access.refused", "api_key.created", "api_key.revoked", "api_key.rotated",
    "audit.bodies_read", "audit.export_begun", "audit.exported", "projection.event_skipped",
    "projection.parked_retried", "projection.previous_dropped", "projection.rebuild_begun",
    "projection.rebuild_cancelled", "projection.rebuilt", "projection.skip_withdrawn",
    "dispatch.refused", "dlq.bulk_begun", "dlq.bulk_ended", "dlq.bulk_progressed",
    "job.cancel_requested", "job.cancelled", "job.completed",
    "job.discarded", "job.dispatched", "job.failed", "job.interrupted", "job.logged",
    "job.progressed", "job.released", "job.requeued", "job.rescheduled", "job.retried", "job.sent_to_dlq",
    "job.snoozed", "job.stalled", "job.started", "job.step_recorded", "job_type.registered", "key.limited",
    "key.paused", "key.resumed", "persona.limited", "persona.paused", "persona.resumed", "queue.limited",
    "queue.paused", "queue.resumed", "tenant.created", "tenant.limited", "tenant.paused", "tenant.resumed",
    "tenant.suspended", "tenant.unpaused",
}  # fmt: skip


def _topic(key: str) -> str:
    return key.rpartition(" ")[0]


def _lines(state: str) -> tuple[Any, Any]:
    metadata, facts = state.split("\n")
    return json.loads(metadata), json.loads(facts)


def test_the_topics_are_these() -> None:
    """A topic that was stored is never renamed; a new one is added to this list and to the golden file."""
    assert set(TOPICS) >= EXPECTED_TOPICS
    assert len(TOPICS) == len(ALL_FACTS), "a topic has one class"


def test_every_version_of_every_topic_has_a_stored_example() -> None:
    """From 1 to the one that is written now."""
    every = {f"{facts.topic} {n}" for facts in ALL_FACTS for n in range(1, facts.schema_version + 1)}
    assert set(GOLDEN) == every


def test_every_older_version_has_an_upcaster() -> None:
    """And there is none from a version that never was."""
    older = {(facts.topic, n) for facts in ALL_FACTS for n in range(1, facts.schema_version)}
    assert set(UPCASTERS) == older


@pytest.mark.parametrize("key", GOLDEN)
def test_what_was_stored_is_read(key: str) -> None:
    """As the class that its topic names, with the metadata."""
    state = GOLDEN[key].encode()
    facts = decode_facts(_topic(key), state)
    assert type(facts) is TOPICS[_topic(key)]
    assert decode_metadata(state).actor == "service:condominium"


@pytest.mark.parametrize("key", CURRENT)
def test_what_is_read_is_written_the_same(key: str) -> None:
    """Metadata byte for byte, facts field by field; fields that were added later have their defaults."""
    state = GOLDEN[key].encode()
    metadata_line, facts_line = state.split(b"\n")
    facts, metadata = decode_facts(_topic(key), state), decode_metadata(state)
    assert encode_metadata(metadata) == metadata_line
    written, stored = json.loads(encode_facts(facts)), json.loads(facts_line)
    assert {name: written[name] for name in stored} == stored


def test_an_older_version_is_brought_up() -> None:
    """A job type of version 1 had one timeout; its soft timeout was 90 % of it."""
    facts = decode_facts("job_type.registered", GOLDEN["job_type.registered 1"].encode())
    assert isinstance(facts, JobTypeRegistered)
    assert facts.definition.options.timeout_seconds == 60
    assert facts.definition.options.soft_timeout_seconds == 54


def test_jobs_and_types_of_before_have_no_limit_key() -> None:
    """What version 1 of a dispatch and version 2 of a job type could not say is None; the rest stays."""
    dispatched = decode_facts("job.dispatched", GOLDEN["job.dispatched 1"].encode())
    assert isinstance(dispatched, JobDispatched)
    assert dispatched.limit_key is None and dispatched.lock_key
    registered = decode_facts("job_type.registered", GOLDEN["job_type.registered 2"].encode())
    assert isinstance(registered, JobTypeRegistered)
    assert registered.definition.options.limit_key is None
    assert registered.definition.options.lock_key == "{invoice_id}"


def test_a_topic_that_is_not_in_the_registry_is_not_imported() -> None:
    """It is unknown, whatever it names."""
    with pytest.raises(UnknownTopic, match=r"os\.system"):
        decode_facts("os.system", GOLDEN["job.started 1"].encode())


def test_a_newer_version_is_not_guessed_at() -> None:
    """An older program stops and says what to do."""
    metadata, _ = GOLDEN["job.started 1"].split("\n")
    for topic in ("job.started", "job_type.registered"):
        with pytest.raises(UnknownTopic, match="version 9") as caught:
            decode_facts(topic, f'{metadata}\n{{"schema_version":9,"new":1}}'.encode())
        assert "upgrade" in str(caught.value.hint)


@pytest.mark.parametrize("facts", ["{}", '{"job_type":1}', "not json", ""])
def test_a_corrupt_event_is_named(facts: str) -> None:
    """It is not folded as something else."""
    metadata, _ = GOLDEN["job.started 1"].split("\n")
    with pytest.raises(CorruptEvent):
        decode_facts("job.started", f"{metadata}\n{facts}".encode())


def test_metadata_and_facts_are_two_lines_of_json() -> None:
    """Readers that only fold never parse the first."""
    for state in GOLDEN.values():
        metadata, facts = _lines(state)
        assert {"correlation_id", "trace_parent", "actor", "time"} <= metadata.keys()
        assert isinstance(facts, dict)
