"""The clients against a real server and against the fakes of `jobledger.testing`: the same tests for all four."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID, uuid4

import pytest

from jobledger.client import (
    ApiProblem,
    Client,
    Conflict,
    DispatchRequest,
    InvalidRequest,
    NotFinished,
    NotFound,
    VersionConflict,
)
from tests.support.client_worlds import World

from .client_fixtures import client, its, persona, server

__all__ = ["client", "its", "persona", "server"]

NOBODYS = UUID("0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f")


class TestClient:
    """What every client does."""

    def test_a_job_is_dispatched_and_shown(self, client: Client) -> None:
        """What was dispatched is there at once; the payload only where it is asked for."""
        dispatched = client.dispatch("number.double", {"number": 4}, priority=7)
        job = client.jobs.get(dispatched.job_id, payload=True)
        assert (job.job_id, job.status, job.payload, job.priority) == (dispatched.job_id, "pending", {"number": 4}, 7)
        assert not dispatched.duplicate
        assert client.jobs.get(dispatched.job_id).payload is None

    def test_each_dispatch_has_a_key_of_its_own(self, client: Client) -> None:
        """Two dispatches of the same are two jobs, each of which could have been asked for again."""
        first, second = client.dispatch("number.double"), client.dispatch("number.double")
        assert first.job_id != second.job_id
        keys = {client.jobs.get(each.job_id).idempotency_key for each in (first, second)}
        assert len(keys) == 2 and None not in keys

    def test_the_same_key_gives_the_first_job_back(self, client: Client) -> None:
        """Another payload is a conflict."""
        key = str(uuid4())
        first = client.dispatch("number.double", {"number": 1}, idempotency_key=key)
        again = client.dispatch("number.double", {"number": 1}, idempotency_key=key)
        assert (again.job_id, first.duplicate, again.duplicate) == (first.job_id, False, True)
        with pytest.raises(Conflict) as refused:
            client.dispatch("number.double", {"number": 2}, idempotency_key=key)
        assert (refused.value.code, refused.value.status) == ("idempotency_conflict", 409)

    def test_many_have_a_result_each(self, client: Client) -> None:
        """In their order; one that is refused says why, and is nobody else's trouble."""
        key = str(uuid4())
        items = [
            DispatchRequest(type="number.double", payload={"number": 1}, idempotency_key=key),
            DispatchRequest(type="number.double", payload={"number": "one"}),
            DispatchRequest(type="number.double", payload={"number": 1}, idempotency_key=key),
            DispatchRequest(type="number.triple"),
        ]
        first, wrong, again, unknown = client.dispatch_many(iter(items))
        assert [result.number for result in (first, wrong, again, unknown)] == [1, 2, 3, 4]
        assert first.unwrap().job_id == again.unwrap().job_id
        assert (first.unwrap().duplicate, again.unwrap().duplicate) == (False, True)
        assert wrong.error is not None and (wrong.error.code, wrong.error.field) == ("invalid_input", "payload.number")
        with pytest.raises(ApiProblem) as refused:
            unknown.unwrap()
        assert refused.value.code == "unknown_job_type"

    def test_batches_of_any_length_are_dispatched(self, client: Client) -> None:
        """More items than go into one request are several; they are taken as they are needed."""
        items = (DispatchRequest(type="number.double", payload={"number": number}) for number in range(1_100))
        results = list(client.dispatch_many(items))
        assert [result.number for result in results] == list(range(1, 1_101))
        assert len({result.unwrap().job_id for result in results}) == 1_100

    def test_a_list_is_one_over_its_pages(self, client: Client, persona: str) -> None:
        """Newest first, up to a limit; with `after` it holds what was dispatched before."""
        jobs = [client.dispatch("number.double", persona=persona) for _ in range(3)]
        newest_first = [job.job_id for job in reversed(jobs)]
        after = jobs[-1].position
        assert [row.job_id for row in client.jobs.list(persona=persona, after=after)] == newest_first
        assert [row.job_id for row in client.jobs.list(persona=persona, limit=2, after=after)] == newest_first[:2]
        assert [row.job_id for row in client.jobs.list(limit=1, after=after)] == newest_first[:1]
        assert list(client.jobs.list(persona=persona, status="completed")) == []

    def test_pages_follow_each_other(self, client: Client, persona: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What does not fit into one page is asked for when it is needed."""
        monkeypatch.setattr("jobledger.infrastructure.client.jobs.PAGE_ROWS", 2)
        monkeypatch.setattr("jobledger.infrastructure.client.jobs.PAGE_EVENTS", 1)
        jobs = [client.dispatch("number.double", persona=persona) for _ in range(5)]
        rows = list(client.jobs.list(persona=persona, after=jobs[-1].position))
        assert [row.job_id for row in rows] == [job.job_id for job in reversed(jobs)]
        client.jobs.cancel(jobs[0].job_id, reason="no")
        topics = [event.topic for event in client.jobs.history(jobs[0].job_id)]
        assert topics == ["job.dispatched", "job.cancelled"]

    def test_a_history_says_who_and_why(self, client: Client) -> None:
        """From any version on; on whose behalf is recorded."""
        job = client.dispatch("number.double").job_id
        client.on_behalf_of("ana@acme.example").jobs.cancel(job, reason="the customer called")
        (cancelled,) = client.jobs.history(job, after_version=1)
        assert (cancelled.topic, cancelled.why) == ("job.cancelled", "the customer called")
        assert cancelled.on_behalf_of == "ana@acme.example"
        assert [event.body for event in client.jobs.history(job, bodies=True, limit=1)] == [{"number": 0}]

    def test_why_and_what_changed(self, client: Client) -> None:
        """A waiting job says what it waits for, two versions what differs, a job what caused it."""
        job = client.dispatch("number.double", correlation_id="order-7").job_id
        assert client.jobs.explain(job).status == "pending"
        client.jobs.cancel(job, reason="no")
        changes = {change.name: change.after for change in client.jobs.diff(job, from_version=1).fields}
        assert changes["status"] == "cancelled"
        assert client.jobs.causes(job).correlation_id == "order-7"

    def test_a_job_is_changed_as_it_was_seen(self, client: Client) -> None:
        """With another version it is a conflict, and nothing happens; the answer has the next version."""
        job = client.dispatch("number.double").job_id
        later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
        moved = client.jobs.reschedule(job, reason="later", run_at=later, if_match=1)
        assert (moved.version, moved.status) == (2, "delayed")
        assert client.jobs.get(job).due_at == later
        with pytest.raises(VersionConflict) as late:
            client.jobs.cancel(job, reason="no", if_match=1)
        assert (late.value.code, late.value.status, late.value.field) == ("version_conflict", 412, "header.If-Match")
        assert client.jobs.cancel(job, reason="no", if_match=2).status == "cancelled"

    def test_what_is_not_there_is_not_found(self, client: Client) -> None:
        """A job, a tenant."""
        with pytest.raises(NotFound) as missing:
            client.jobs.get(NOBODYS)
        assert (missing.value.code, missing.value.status, missing.value.field) == ("not_found", 404, "path.job_id")
        assert missing.value.request_id
        with pytest.raises(NotFound) as unknown:
            client.of("nobody").dispatch("number.double")
        assert unknown.value.code == "unknown_tenant"

    def test_what_is_wrong_is_named(self, client: Client) -> None:
        """With its field, in the words of the payload."""
        with pytest.raises(InvalidRequest) as wrong:
            client.dispatch("number.double", {"number": "four"})
        assert (wrong.value.code, wrong.value.field) == ("invalid_input", "payload.number")
        with pytest.raises(InvalidRequest) as unknown:
            client.dispatch("number.triple")
        assert (unknown.value.code, unknown.value.field) == ("unknown_job_type", "type")

    def test_queues_are_paused_and_resumed(self, client: Client) -> None:
        """What is paused already cannot be paused."""
        paused = client.queues.pause("default", reason="maintenance")
        assert (paused.paused, paused.changed) == (True, True)
        with pytest.raises(Conflict) as already:
            client.queues.pause("default", reason="maintenance")
        assert already.value.code == "illegal_transition"
        assert [queue.paused for queue in client.queues.list() if queue.queue == "default"] == [True]
        assert not client.queues.resume("default", reason="done").paused
        assert client.tenants.pause("acme", reason="maintenance").paused
        assert not client.tenants.unpause("acme", reason="done").paused

    def test_tenants_are_made_and_suspended(self, client: Client, persona: str) -> None:
        """A suspended tenant's jobs are not taken."""
        assert client.tenants.create(persona, display_name="A customer").status == "active"
        client.tenants.suspend(persona, reason="it does not pay")
        assert {row.name: row.status for row in client.tenants.list()}[persona] == "suspended"
        with pytest.raises(Conflict) as suspended:
            client.of(persona).dispatch("number.double")
        assert suspended.value.code == "tenant_suspended"
        assert client.tenants.resume(persona, reason="it paid").status == "active"
        with pytest.raises(Conflict):
            client.tenants.create(persona)

    def test_statistics_count(self, client: Client, persona: str) -> None:
        """By persona, once they hold what was dispatched."""
        jobs = [client.dispatch("number.double", persona=persona) for _ in range(2)]
        found = client.statistics(by=["type", "persona"], after=jobs[-1].position)
        (group,) = [group for group in found.groups if group.persona == persona]
        assert (group.type, group.dispatched) == ("number.double", 2)
        queues = client.queue_statistics(after=jobs[-1].position)
        assert any(group.queue == "default" for group in queues.groups)

    def test_a_result_is_waited_for(self, its: World) -> None:
        """What the job returned; what one died of; until then `NotFinished`."""
        client = its.client
        done = client.dispatch("number.double", {"number": 4}).job_id
        dead = client.dispatch("number.refuse", {"number": 4}).job_id
        later = client.dispatch("number.double", delay_seconds=3_600).job_id
        its.run_jobs()
        result = client.jobs.result(done, timeout_seconds=30)
        assert (result.status, result.result, result.error) == ("completed", {"number": 8}, None)
        refused = client.jobs.result(dead, timeout_seconds=30)
        assert (refused.status, refused.result_shown) == ("dlq", False)
        assert refused.error is not None and refused.error.message == "4 is refused"
        with pytest.raises(NotFinished) as waiting:
            client.jobs.result(later, timeout_seconds=0.2)
        assert waiting.value.status == "delayed"

    def test_a_dead_job_is_looked_at_mended_and_requeued(self, its: World, persona: str) -> None:
        """With another payload, as it was seen; or given up."""
        client = its.client
        first, second = (client.dispatch("number.refuse", {"number": 4}, persona=persona).job_id for _ in range(2))
        its.run_jobs()
        dead = client.dlq.get(first, bodies=True)
        assert (dead.cause, dead.payload, dead.error_message) == ("unrecoverable", {"number": 4}, "4 is refused")
        with pytest.raises(VersionConflict) as unseen:
            client.jobs.requeue(first, reason="mended", put={"/number": 5})
        assert unseen.value.code == "precondition_required"
        mended = client.jobs.requeue(first, reason="mended", put={"/number": 5}, if_match=dead.version)
        assert mended.status == "pending"
        given_up = client.jobs.discard(second, reason="nobody needs it")
        assert client.jobs.get(first, payload=True).payload == {"number": 5}
        assert list(client.dlq.list(persona=persona, after=given_up.position)) == []

    def test_what_was_counted_is_requeued(self, its: World, persona: str) -> None:
        """All that a filter matches, as an operation that is waited for."""
        client = its.client
        jobs = [client.dispatch("number.refuse", persona=persona).job_id for _ in range(3)]
        its.run_jobs()
        seen = client.dlq.count(persona=persona)
        assert (seen.count, seen.groups[0].type) == (3, "number.refuse")
        assert {row.job_id for row in client.dlq.list(persona=persona)} == set(jobs)
        begun = client.dlq.requeue(seen, reason="mended")
        done = client.operations.wait(begun, timeout_seconds=30)
        assert (done.status, done.kind, done.result and done.result["changed"]) == ("succeeded", "dlq.requeue", 3)
        assert {client.jobs.get(job).status for job in jobs} == {"pending"}
        its.run_jobs()
        again = client.dlq.count(persona=persona)
        dropped = client.operations.wait(client.dlq.discard(again, reason="hopeless"), timeout_seconds=30)
        assert dropped.status == "succeeded"
        with pytest.raises(ValueError, match="nothing"):
            client.dlq.requeue(client.dlq.count(persona=persona), reason="mended")

    def test_a_job_is_followed(self, its: World) -> None:
        """From its beginning to its end, and from any position on."""
        client = its.client
        job = client.dispatch("number.double").job_id
        its.run_jobs()
        with closing(client.jobs.events(job)) as events:
            seen = [next(events) for _ in range(3)]
        assert [event.topic for event in seen] == ["job.dispatched", "job.started", "job.completed"]
        with closing(client.jobs.events(job, after=seen[0].position)) as events:
            assert next(events) == seen[1]

    def test_what_happens_is_followed(self, client: Client, persona: str) -> None:
        """Of a persona, of certain topics, after a position."""
        before = client.dispatch("number.double", persona=persona)
        jobs = [client.dispatch("number.double", persona=persona).job_id for _ in range(2)]
        client.dispatch("number.double")
        client.jobs.cancel(jobs[0], reason="no")
        with closing(client.events(persona=persona, after=before.position)) as events:
            seen = [(event.topic, event.job_id) for event in islice(events, 3)]
        assert seen == [("job.dispatched", jobs[0]), ("job.dispatched", jobs[1]), ("job.cancelled", jobs[0])]
        with closing(client.events(persona=persona, topics=["job.cancelled"], after=before.position)) as events:
            assert next(events).why == "no"
