"""Identifiers: ids that sort by birth, and streams that are their natural key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.domain.errors import InvalidInput
from jobledger.domain.identifiers import born_at, check_supplied_id, short_id, stream_id, uuid7
from tests.support.given import NOW

_MS = int(NOW.timestamp() * 1000)


@for_all(milliseconds=st.integers(0, 2**48 - 1), randomness=st.integers(0, 2**80))
def test_a_job_id_is_a_uuid_version_7(milliseconds: int, randomness: int) -> None:
    """Version, variant and time are where RFC 9562 says, whatever the randomness."""
    job_id = uuid7(milliseconds, randomness)
    assert job_id.version == 7
    assert job_id.variant == "specified in RFC 4122"
    assert job_id.int >> 80 == milliseconds


@for_all(first=st.integers(0, 2**48 - 2), later=st.integers(1, 1_000), randomness=st.integers(0, 2**74 - 1))
def test_job_ids_sort_by_birth(first: int, later: int, randomness: int) -> None:
    """A later millisecond is a greater id."""
    last = min(first + later, 2**48 - 1)
    assert uuid7(first, randomness) < uuid7(last, 0)


def test_a_job_id_tells_its_birth() -> None:
    """To the millisecond, in UTC."""
    assert born_at(uuid7(_MS, 5)) == NOW
    assert born_at(uuid7(0, 0)) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("minutes", [-4.9, 0, 4.9])
def test_a_supplied_id_is_taken_near_its_birth(minutes: float) -> None:
    """Within five minutes of the clock."""
    job_id = uuid7(_MS + int(minutes * 60_000), 5)
    assert check_supplied_id(job_id, NOW) == job_id


@pytest.mark.parametrize("job_id", [uuid4(), uuid7(_MS - 301_000, 5), uuid7(_MS + 301_000, 5), UUID(int=0)])
def test_any_other_supplied_id_is_refused(job_id: UUID) -> None:
    """The refusal names the field and the rule."""
    with pytest.raises(InvalidInput) as caught:
        check_supplied_id(job_id, NOW)
    assert caught.value.field == "job_id"
    assert caught.value.rule


@for_all(tenant=st.text(max_size=20), kind=st.text(max_size=20), key=st.text(max_size=20))
def test_a_stream_with_a_natural_key_has_a_uuid_version_8(tenant: str, kind: str, key: str) -> None:
    """First byte ff, so that all of them live in one partition; the same key is the same stream."""
    stream = stream_id(tenant, kind, key)
    assert stream.version == 8
    assert stream.bytes[0] == 0xFF
    assert stream == stream_id(tenant, kind, key)


def test_streams_of_different_keys_differ() -> None:
    """Whichever part differs."""
    ids = {stream_id(t, k, n) for t in ("a", "b") for k in ("tenant", "queue") for n in ("a", "b")}
    assert len(ids) == 8


def test_stream_ids_are_stored_data() -> None:
    """They never change: a changed hash would lose every tenant."""
    assert str(stream_id("acme", "tenant", "acme")) == "ffb67578-998b-8c59-9f58-86c8690f6b01"
    assert str(stream_id("system", "job_type", "invoice.send")) == "ff004f97-a7bd-8a9b-8ab9-17537c10875e"


def test_a_short_id_is_the_random_end() -> None:
    """Eight characters; two jobs of one millisecond differ in them."""
    job_id = uuid7(_MS, 0x1234567890ABCDEF)
    assert short_id(job_id) == job_id.hex[-8:]
    assert len(short_id(job_id)) == 8
    assert short_id(uuid7(_MS, 1)) != short_id(uuid7(_MS + int(timedelta(days=1).total_seconds()), 2))
