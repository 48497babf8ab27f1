"""What operators, workers and auditors do with the clients: against a real server, and (where it does it) the fake."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from jobledger.client import Client, Conflict, InvalidRequest, Lease, NotPermitted, ServerProblem
from tests.support.client_worlds import World

from .client_fixtures import client, its, persona, server

__all__ = ["client", "its", "persona", "server"]

OBJECT = {"type": "object"}
TYPE = {"name": "page.render", "effects": "steps", "payload_schema": OBJECT, "result_schema": OBJECT}


class TestLimits:
    """Limits and pauses."""

    def test_a_target_is_limited_and_freed(self, client: Client, persona: str) -> None:
        """As it was said, by whom; what is so already is not changed; what is not named stays."""
        limited = client.limits.set("persona", persona, concurrency=5, rate=(100, 60.0), reason="the gateway asks")
        assert (limited.scope, limited.tenant, limited.name, limited.changed) == ("persona", "acme", persona, True)
        assert not client.limits.set("persona", persona, concurrency=5, reason="again").changed
        found = client.limits.get("persona", persona)
        assert (found.concurrency, found.rate and (found.rate.count, found.rate.seconds)) == (5, (100, 60.0))
        assert [(event.topic, event.facts["reason"]) for event in found.events] == [
            ("persona.limited", "the gateway asks")
        ]
        assert persona in {row.name for row in client.limits.list(tenant="acme", scope="persona")}
        assert client.limits.remove("persona", persona, rate=True, reason="done").concurrency == 5
        assert client.limits.remove("persona", persona, reason="done").concurrency is None
        with pytest.raises(InvalidRequest) as wrong:
            client.limits.set("persona", persona, weight=3, reason="it pays")
        assert wrong.value.status == 422

    def test_queues_and_tenants_are_named_alone(self, client: Client, persona: str) -> None:
        """They belong to nobody; keys may hold slashes."""
        assert client.limits.set("queue", persona, concurrency=1, reason="narrow").tenant is None
        assert client.limits.get("queue", persona).concurrency == 1
        assert client.limits.set("tenant", "acme", weight=2, reason="it pays").weight == 2
        assert client.limits.remove("tenant", "acme", weight=True, reason="no more").weight == 1
        assert client.limits.set("key", f"{persona}/a", concurrency=1, reason="slow").name == f"{persona}/a"

    def test_personas_and_keys_are_paused(self, client: Client, persona: str) -> None:
        """What is paused already cannot be paused."""
        assert client.personas.pause(persona, reason="maintenance").paused
        with pytest.raises(Conflict):
            client.personas.pause(persona, reason="maintenance")
        assert not client.personas.resume(persona, reason="done").paused
        assert client.limit_keys.pause(f"{persona}/*", reason="maintenance").paused
        assert not client.limit_keys.resume(f"{persona}/*", reason="done").paused


class Worker:
    """A worker of `page.render` in a queue of its own, made of nothing but a client."""

    def __init__(self, its: World, queue: str) -> None:
        self.client, self.queue, self.name = its.client, queue, f"worker-{queue}"
        self.leases, self.job_types = (worker := its.worker()).leases, worker.job_types
        self.job_types.register("pages", [TYPE], code_version="1")

    def dispatch(self) -> str:
        """A job for it."""
        return str(self.client.dispatch("page.render", {"page": 1}, queue=self.queue).job_id)

    def claim(self) -> Lease:
        """The next job."""
        (lease,) = self.leases.claim(self.name, queues=[self.queue], wait_seconds=5).leases
        return lease


class TestLeases:
    """A remote worker, written with the client."""

    def test_work_is_taken_reported_and_done(self, its: World, persona: str) -> None:
        """Progress, logs and steps stand in the history; the result is the job's; an ending may be told again."""
        client, worker = its.client, Worker(its, persona)
        job = worker.dispatch()
        lease = worker.claim()
        assert (str(lease.job_id), lease.attempt, lease.payload, lease.steps) == (job, 1, {"page": 1}, [])
        beat = worker.leases.heartbeat(worker.name, [lease])
        assert ([one.verdict for one in beat.held], beat.renew_within_seconds) == (["go_on"], 10.0)
        assert worker.leases.progress(lease, 0.5, "half").recorded
        assert worker.leases.log(lease, "page 1").recorded
        step = worker.leases.step(lease, "charge", {"charge_id": "ch_1"})
        assert (step.key, step.already) == (f"{job}/charge", False)
        assert worker.leases.step(lease, "charge", {"charge_id": "ch_2"}).output == {"charge_id": "ch_1"}
        done = worker.leases.complete(lease, {"pages": 1}, cpu_seconds=0.1, units={"tokens": 3})
        assert (done.ending, done.status, done.repeated) == ("completed", "completed", False)
        assert worker.leases.complete(lease, {"pages": 1}, cpu_seconds=0.1, units={"tokens": 3}).repeated
        assert client.jobs.result(job).result == {"pages": 1}
        with pytest.raises(Conflict) as lost:
            worker.leases.fail(lease, "TooLate")
        assert lost.value.code == "lease_lost"

    def test_work_that_fails_or_waits(self, its: World, persona: str) -> None:
        """For good, for a while, or given back: the next attempt knows what the one before it did."""
        client, worker = its.client, Worker(its, persona)
        failed, later, released = (worker.dispatch() for _ in range(3))
        assert worker.leases.fail(worker.claim(), "SmtpError", "451", never_retry=True).status == "dlq"
        assert client.dlq.get(failed).error_type == "SmtpError"
        assert worker.leases.snooze(worker.claim(), 3_600, reason="closed").status == "delayed"
        lease = worker.claim()
        worker.leases.step(lease, "charge", 1)
        assert worker.leases.release(lease, reason="shutting down").status == "pending"
        again = worker.claim()
        assert [(one.step, one.output) for one in again.steps] == [("charge", 1)]
        client.jobs.cancel(released, reason="no")
        assert worker.leases.heartbeat(worker.name, [again]).held[0].verdict == "cancel_requested"
        assert worker.leases.release(again).status == "cancelled"
        assert client.jobs.get(later).status == "delayed"

    def test_a_worker_is_listed_until_it_ends(self, its: World, persona: str) -> None:
        """What it holds is given back; who asks in vain is told so."""
        client, worker = its.client, Worker(its, persona)
        assert worker.leases.claim(worker.name, queues=[persona]).leases == []
        job = worker.dispatch()
        worker.claim()
        assert [one.queues for one in client.workers.list() if one.worker.endswith(worker.name)] == [[persona]]
        assert worker.leases.retire(worker.name).given_back == 1
        assert client.jobs.get(job).status == "pending"
        assert not [one for one in client.workers.list(lost=True) if one.worker.endswith(worker.name)]

    def test_job_types_are_published(self, its: World) -> None:
        """Once; what cannot be a job type is named."""
        client = its.worker()
        client.job_types.register("pages", [TYPE], code_version="1")
        assert client.job_types.register("pages", [TYPE], code_version="1").changed == []
        (found,) = [one for one in client.job_types.list() if one.name == "page.render"]
        assert (found.app, found.effects) == ("pages", "steps")
        with pytest.raises(InvalidRequest) as wrong:
            client.job_types.register("pages", [{**TYPE, "payload_schema": {"type": "no such"}}], code_version="1")
        assert (wrong.value.field or "").startswith("definitions.0.payload_schema")


class TestQuestions:
    """What is asked about more than one job."""

    def test_a_request_is_traced(self, client: Client, persona: str) -> None:
        """Its jobs, page by page."""
        jobs = [client.dispatch("number.double", correlation_id=persona) for _ in range(3)]
        first = client.jobs.trace(persona, limit=2, after=jobs[-1].position)
        rest = client.jobs.trace(persona, limit=2, cursor=first.next_cursor)
        found = [job.job_id for job in [*first.jobs, *rest.jobs]]
        assert (found, rest.next_cursor) == ([job.job_id for job in jobs], None)

    @pytest.mark.parametrize("name", ["a/b", "a\nb", "..", ".", "a/../b", "%2F"])
    def test_a_request_has_any_name(self, client: Client, persona: str, name: str) -> None:
        """Also one that an address would be another with."""
        name = name if name in {".", ".."} else f"{persona}/{name}"
        job = client.dispatch("number.double", correlation_id=name)
        found = client.jobs.trace(name, after=job.position)
        assert job.job_id in {row.job_id for row in found.jobs}

    def test_acts_on_many_are_listed(self, its: World, persona: str) -> None:
        """The latest first, with how they ended."""
        its.client.dispatch("number.refuse", persona=persona)
        its.run_jobs()
        begun = its.client.dlq.discard(its.client.dlq.count(persona=persona), reason="hopeless")
        its.client.operations.wait(begun, timeout_seconds=30)
        (act,) = its.client.dlq.acts(limit=1)
        assert (act.event_id, act.act, act.reason, act.changed) == (begun.operation_id, "discard", "hopeless", 1)


class TestAdministrators:
    """What a server does, and the fake says that it does not."""

    @pytest.mark.parametrize(
        "ask",
        [
            lambda client: client.projections.list(), lambda client: list(client.keys.list()),
            lambda client: list(client.audit.actions()), lambda client: list(client.audit.export()),
        ],
    )  # fmt: skip
    def test_the_fake_says_what_it_does_not(self, its: World, ask: Callable[[Client], object]) -> None:
        """With an error of its own; a server does it."""
        if not its.is_fake:
            ask(its.client)
            return
        with pytest.raises(ServerProblem, match=r"not_in_the_fake: the fake .* test it against") as refused:
            ask(its.client)
        assert refused.value.status == 501

    def test_who_may_not_is_told_what_it_takes(self, its: World) -> None:
        """The permission that is missing, and who can grant it."""
        if its.is_fake:
            return
        with pytest.raises(NotPermitted, match=r"not_permitted: .* \[needs the permission keys\.") as refused:
            its.worker().keys.create("another", [{"role": "admin"}], reason="to do more")
        assert "can grant it" in str(refused.value)

    def test_keys_are_made_renewed_and_ended(self, its: World) -> None:
        """Each secret stands in one answer."""
        if its.is_fake:
            return
        client = its.client
        made = client.keys.create("billing", [{"role": "emitter", "tenants": ["acme"]}], reason="OPS-12")
        assert made.key.grants[0].role == "emitter"
        renewed = client.keys.rotate(made.key.key_id, reason="90 days")
        assert renewed.credential != made.credential
        assert made.key.key_id in {key.key_id for key in client.keys.list()}
        assert client.keys.revoke(made.key.key_id, reason="gone").key.status == "revoked"

    def test_events_are_replayed(self, its: World, persona: str) -> None:
        """As they were recorded, to the last byte; the ledger has a record of it, and of what people did."""
        if its.is_fake:
            return
        client = its.client
        job = client.dispatch("number.double", {"number": 4}, persona=persona).job_id
        client.jobs.cancel(job, reason="no")
        own = [one for one in client.audit.events(topics=["job.*"], bodies=True) if one.stream_id == job]
        assert [(one.topic, one.body) for one in own] == [("job.dispatched", '{"number":4}'), ("job.cancelled", None)]
        content = b"".join(client.audit.export(format="csv", reason="the auditor asked"))
        assert content.startswith(b"position,id,recorded_at") and str(job).encode() in content
        exported = list(client.audit.events(topics=["audit.*"]))[-1]
        record = client.audit.exported(exported.stream_id)
        assert record.ended is not None
        assert (record.reason, record.ended.sha256) == ("the auditor asked", hashlib.sha256(content).hexdigest())
        assert [act.reason for act in client.audit.actions(tenant="acme") if act.job_id == job] == ["no"]

    def test_a_view_is_compared_and_made_anew(self, its: World) -> None:
        """As operations that are waited for."""
        if its.is_fake:
            return
        client = its.client
        assert "tenant_jobs" in {view.projection for view in client.projections.list().views}
        compared = client.projections.wait(client.projections.verify("tenant_jobs"), timeout_seconds=60)
        assert (compared.status, compared.result and compared.result["differing"]) == ("succeeded", 0)
        begun = client.projections.rebuild("tenant_jobs", reason="INC-9", tenant="acme")
        assert client.projections.wait(begun, timeout_seconds=60).status == "succeeded"
