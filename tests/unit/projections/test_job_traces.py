"""Which request and which job caused a job."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.domain.refusal import DispatchRefused
from jobledger.projections.job_traces import JOB_TRACES, causing_job
from jobledger.projections.projection import Cause, KnownFacts, Row
from tests.support.given import OTHER_JOB, dispatched
from tests.support.seen import JOB, fold_all, seen

CAUSE = UUID("01990a5d-ac96-774b-bcce-b302099a8057")


def caused(cause: Cause, tenant: str = "acme") -> Row:
    """The row of a job that was dispatched because of this."""
    event = seen(dispatched(), tenant=tenant)
    event = event._replace(reader=KnownFacts(event.facts, cause))
    (row,) = fold_all(JOB_TRACES, [event]).values()
    return row


def test_a_job_is_found_by_its_request_and_by_the_job_that_caused_it() -> None:
    """One row, with nothing in it that ever changes."""
    row = caused(Cause("request-1", f"{CAUSE}.2"))
    assert (row["tenant_id"], row["correlation_id"], row["job_id"]) == ("acme", "request-1", JOB)
    assert (row["causation_id"], row["caused_by"]) == (f"{CAUSE}.2", CAUSE)
    assert JOB_TRACES.topics == JOB_TRACES.births
    assert all(column.key or column.constant for column in JOB_TRACES.columns)


@pytest.mark.parametrize(
    "causation_id",
    [
        "order-4711.placed", "", ".", f"{CAUSE}", f"{CAUSE}.", f"{CAUSE}.x", f"{CAUSE}.\u0663", f"{CAUSE.hex}.2",
        f"{OTHER_JOB}x.2", "ff38ace1-1340-85ac-8e06-ca094389c66c.1", "0" * 36 + ".1",
    ],
)  # fmt: skip
def test_what_no_job_recorded_is_no_job(causation_id: str) -> None:
    """Messages from elsewhere, and events of streams that are not jobs, cause jobs, too."""
    row = caused(Cause("request-1", causation_id))
    assert (row["causation_id"], row["caused_by"]) == (causation_id, None)


@for_all(text=st.text(st.characters(), max_size=400))
def test_whatever_a_caller_sends_fits_into_a_key(text: str) -> None:
    """Correlation ids are the caller's: they are bounded, and hold nothing that a database cannot."""
    row = caused(Cause(text, text))
    for name in ("correlation_id", "causation_id"):
        stored = row[name]
        assert isinstance(stored, str) and len(stored) <= 200
        assert "\x00" not in stored and stored.encode().decode() == stored
    assert text == row["correlation_id"] or len(text) > 200 or "\x00" in text or not text.isprintable()


@for_all(text=st.text(max_size=50))
def test_no_text_makes_the_search_for_a_job_fail(text: str) -> None:
    """It is a job, or it is none."""
    assert causing_job(text) is None
    assert causing_job(f"{CAUSE}.7") == CAUSE


def test_a_refused_dispatch_is_part_of_its_request() -> None:
    """Its record belongs to the installation."""
    refused = DispatchRefused(
        tenant_claimed="acme", type_claimed="no.such", code="unknown_job_type", field=None, rule=None, message="no"
    )
    event = seen(refused, tenant="system")
    event = event._replace(reader=KnownFacts(refused, Cause("request-1", f"{CAUSE}.2")))
    (row,) = fold_all(JOB_TRACES, [event]).values()
    assert (row["tenant_id"], row["correlation_id"], row["caused_by"]) == ("system", "request-1", CAUSE)
