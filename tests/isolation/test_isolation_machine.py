"""Random tenants, identities and requests, against a model of who may see and do what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test

from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.http.server import make_server_app, services_for
from jobledger.infrastructure.identities import ensure_admin_key
from jobledger.infrastructure.projecting import make_runner
from jobledger.infrastructure.service import publish_types
from jobledger.infrastructure.settings import load
from tests.support.postgres import TestCluster

from .world import app

EXAMPLES = int(os.environ.get("TESTS_ISOLATION_EXAMPLES", "100"))
"""Random worlds; more find more."""
STEPS = 30
QUEUES: Final = ("fast", "slow")
EXTRA: Final = ("payloads.read", "dlq.requeue")
MAY: Final[dict[str, set[str]]] = {
    "emitter": {"dispatch", "read"}, "worker": {"work"}, "operator": {"read", "operate", "flow"},
    "auditor": {"read", "audit"},
    "admin": {"dispatch", "read", "operate", "audit", "flow", "tenants", "payloads.read", "dlq.requeue"},
}  # fmt: skip
"""What a role permits, of what is asked here."""


UNDONE_BY: Final = {
    "pause": ("unpause", "flow"), "suspend": ("resume", "tenants"),
    "personas/bot/pause": ("personas/bot/resume", "flow"),
}  # fmt: skip
"""Acts on a tenant or its persona: what undoes each, and the permission that both take."""


class Grant(NamedTuple):
    """What somebody was granted; None is all of them."""

    role: str
    tenants: frozenset[str] | None
    queues: frozenset[str] | None
    extra: frozenset[str]

    def gives(self, permission: str, tenant: str | None, queue: str | None) -> bool:
        """Whether it covers that. None asks for all tenants, or all queues."""
        return (
            permission in MAY[self.role] | self.extra
            and (self.tenants is None or tenant in self.tenants)
            and (self.queues is None or queue in self.queues)
        )


@dataclass(eq=False)
class Known:
    """Somebody with a key."""

    credential: str
    grants: tuple[Grant, ...]

    def knows(self, tenant: str) -> bool:
        """Whether a tenant is any business of theirs."""
        return any(grant.tenants is None or tenant in grant.tenants for grant in self.grants)

    def may(self, permission: str, tenant: str | None, queue: str | None) -> bool:
        """Whether one of their grants covers it all."""
        return any(grant.gives(permission, tenant, queue) for grant in self.grants)

    def is_for_all(self, permission: str) -> bool:
        """Whether one of their grants gives it for all tenants."""
        return any(grant.tenants is None and permission in MAY[grant.role] | grant.extra for grant in self.grants)

    def may_somewhere(self, permission: str, tenant: str) -> bool:
        """Whether they may in some queue of a tenant."""
        return any(self.may(permission, tenant, queue) for queue in (*QUEUES, "another", None))


@dataclass(eq=False)
class Job:
    """A job that was dispatched."""

    job_id: str
    tenant: str
    queue: str
    secret: str
    waits: bool = True


@dataclass
class Served:
    """A server in this process, and an administrator."""

    client: TestClient
    admin: str
    numbers: Iterator[int] = field(default_factory=count)

    def ask(self, credential: str, method: str, path: str, **about: Any) -> httpx.Response:  # noqa: ANN401
        """One request."""
        headers = {"Authorization": f"Bearer {credential}"}
        answered: httpx.Response = self.client.request(method, path, headers=headers, **about)  # type: ignore[assignment]
        return answered


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """On each engine, with lists that are kept up to date."""
    with ExitStack() as ending:
        database = f"sqlite:///{tmp_path_factory.mktemp('machine')}/ledger.db"
        if request.param == "postgres":
            cluster: TestCluster = request.getfixturevalue("postgres_cluster")
            database = ending.enter_context(cluster.database(migrated=True))
        handle = ending.enter_context(closing(open_ledger(load(database=database), create=True, app=app)))
        publish_types(handle, app)
        runner = make_runner(handle)
        runner.start()
        ending.callback(runner.stop)
        admin = ensure_admin_key(handle)
        assert admin is not None
        services = ending.enter_context(services_for(handle))
        application = make_server_app(services)
        yield Served(ending.enter_context(TestClient(application, raise_server_exceptions=False)), admin)


class Isolation(RuleBasedStateMachine):
    """What anybody is answered is what the model says."""

    tenants = Bundle("tenants")
    somebody = Bundle("somebody")
    jobs = Bundle("jobs")

    def __init__(self, served: Served) -> None:
        super().__init__()
        self.served = served
        self.all_jobs: list[Job] = []
        self.position: str | None = None

    # --- who and what there is ---------------------------------------------------------------------------------------

    @initialize(target=tenants)
    def tenants_come(self) -> Any:  # noqa: ANN401 - as hypothesis has it
        """Two, of names that no other run has, and one that never comes but is asked for like the others."""
        number = next(self.served.numbers)
        names = [f"t{number}-{uuid4().hex[:8]}" for _ in range(2)]
        for name in names:
            self._done(self.served.ask(self.served.admin, "POST", "/v1/tenants", json={"name": name, "reason": "new"}))
        return multiple(*names, f"nobody-{number}")

    @rule(
        target=somebody, among=st.lists(tenants, min_size=1, max_size=2),
        everywhere=st.sampled_from((False, False, True)),
        roles=st.lists(st.sampled_from(sorted(MAY)), min_size=1, max_size=2),
        queues=st.sets(st.sampled_from(QUEUES)), extra=st.sets(st.sampled_from(EXTRA)),
    )  # fmt: skip
    def somebody_comes(
        self, among: list[str], *, everywhere: bool, roles: list[str], queues: set[str], extra: set[str]
    ) -> Any:  # noqa: ANN401 - as hypothesis has it
        """With a grant for each role: some tenants or all, some queues or all."""
        real = frozenset(name for name in among if not name.startswith("nobody"))
        if not real and not everywhere:
            return multiple()
        grants = [
            Grant(
                role, None if everywhere and number == 0 else real or None, frozenset(queues) or None, frozenset(extra)
            )
            for number, role in enumerate(roles)
        ]
        body = {"name": "somebody", "reason": "a test", "grants": [
            {
                "role": one.role, "tenants": None if one.tenants is None else sorted(one.tenants),
                "queues": None if one.queues is None else sorted(one.queues), "extra": sorted(one.extra),
            }
            for one in grants
        ]}  # fmt: skip
        made = self._done(self.served.ask(self.served.admin, "POST", "/v1/keys", json=body))
        return Known(made["credential"], tuple(grants))

    # --- what they do ------------------------------------------------------------------------------------------------

    @rule(target=jobs, tenant=tenants, queue=st.sampled_from(QUEUES))
    def a_job_comes(self, tenant: str, queue: str) -> Any:  # noqa: ANN401
        """From an administrator."""
        return self.dispatch_as(Known(self.served.admin, (Grant("admin", None, None, frozenset()),)), tenant, queue)

    @rule(target=jobs, who=somebody, tenant=tenants, queue=st.sampled_from((*QUEUES, "another")))
    def dispatch(self, who: Known, tenant: str, queue: str) -> Any:  # noqa: ANN401
        """Where one may; else 404 of a tenant that is none of one's business, 403 of a queue."""
        return self.dispatch_as(who, tenant, queue)

    def dispatch_as(self, who: Known, tenant: str, queue: str) -> Any:  # noqa: ANN401
        """What becomes of it."""
        secret = uuid4().hex
        body = {"type": "text.keep", "payload": {"text": secret}, "queue": queue}
        answered = self.served.ask(who.credential, "POST", f"/v1/tenants/{tenant}/jobs", json=body)
        if self._is_unknown(who, tenant, answered):
            return multiple()
        if not who.may("dispatch", tenant, queue):
            self._is(answered, 403, "not_permitted")
            return multiple()
        made = self._done(answered)
        self.position = made["position"]
        job = Job(made["job_id"], tenant, queue, secret)
        self.all_jobs.append(job)
        return job

    @rule(who=somebody, tenant=tenants, job=jobs, there=st.booleans(), payload=st.booleans())
    def look(self, who: Known, tenant: str, job: Job, *, there: bool, payload: bool) -> None:
        """At a job, also through another tenant's address."""
        tenant = job.tenant if there else tenant
        params = {"payload": "true"} if payload else {}
        answered = self.served.ask(who.credential, "GET", f"/v1/tenants/{tenant}/jobs/{job.job_id}", params=params)
        if self._is_there(who, tenant, job, answered, ("read", "payloads.read") if payload else ("read",)):
            shown = self._done(answered)
            assert shown["tenant"] == tenant
            assert (shown["payload"] == {"text": job.secret}) is payload

    @rule(
        who=somebody, tenant=tenants, job=jobs, there=st.booleans(),
        verb=st.sampled_from(("history", "explanation", "causes", "result")),
    )  # fmt: skip
    def look_closer(self, who: Known, tenant: str, job: Job, *, there: bool, verb: str) -> None:
        """At what happened to it."""
        tenant = job.tenant if there else tenant
        answered = self.served.ask(who.credential, "GET", f"/v1/tenants/{tenant}/jobs/{job.job_id}/{verb}")
        if self._is_there(who, tenant, job, answered, ("read",)):
            self._done(answered)

    @rule(who=somebody, tenant=tenants, job=jobs, there=st.booleans())
    def cancel(self, who: Known, tenant: str, job: Job, *, there: bool) -> None:
        """Once; afterwards it cannot be."""
        tenant = job.tenant if there else tenant
        place = f"/v1/tenants/{tenant}/jobs/{job.job_id}/cancel"
        answered = self.served.ask(who.credential, "POST", place, json={"reason": "a test"})
        if self._is_there(who, tenant, job, answered, ("operate",)):
            assert answered.status_code in ((200,) if job.waits else (200, 409)), answered.text
            job.waits = False

    @rule(who=somebody, job=jobs)
    def cancel_while_suspended(self, who: Known, job: Job) -> None:
        """Of a tenant that is suspended only who is for all tenants changes something; the others are told why not."""
        place, why = f"/v1/tenants/{job.tenant}", {"json": {"reason": "a test"}}
        self._done(self.served.ask(self.served.admin, "POST", f"{place}/suspend", **why))
        answered = self.served.ask(who.credential, "POST", f"{place}/jobs/{job.job_id}/cancel", **why)
        self._done(self.served.ask(self.served.admin, "POST", f"{place}/resume", **why))
        if not self._is_there(who, job.tenant, job, answered, ("operate",)):
            return
        if who.is_for_all("operate"):
            assert answered.status_code in ((200,) if job.waits else (200, 409)), answered.text
            job.waits = False
        else:
            self._is(answered, 409, "tenant_suspended")

    @rule(who=somebody, tenant=tenants, queue=st.sampled_from((None, *QUEUES, "another")))
    def list_jobs(self, who: Known, tenant: str, queue: str | None) -> None:
        """All of a tenant's, or of one of its queues: no more, no less."""
        params = {
            name: value for name, value in (("queue", queue), ("after", self.position), ("limit", "500")) if value
        }
        answered = self.served.ask(who.credential, "GET", f"/v1/tenants/{tenant}/jobs", params=params)
        if self._is_unknown(who, tenant, answered):
            return
        if not who.may("read", tenant, queue):
            self._is(answered, 403, "not_permitted")
            return
        expected = {job.job_id for job in self.all_jobs if job.tenant == tenant and queue in (None, job.queue)}
        assert {row["job_id"] for row in self._done(answered)["jobs"]} == expected

    @rule(who=somebody)
    def list_tenants(self, who: Known) -> None:
        """Those that one has a grant for."""
        shown = {row["name"] for row in self._done(self.served.ask(who.credential, "GET", "/v1/tenants"))["tenants"]}
        assert all(who.knows(name) for name in shown)

    @rule(who=somebody, tenant=tenants)
    def replay(self, who: Known, tenant: str) -> None:
        """The events of a tenant, for auditors of all of its queues."""
        answered = self.served.ask(who.credential, "GET", "/v1/audit/events", params={"tenant": tenant})
        if self._is_unknown(who, tenant, answered):
            return
        if not who.may("audit", tenant, None):
            self._is(answered, 403, "not_permitted")
            return
        assert answered.status_code == 200
        others = [job for job in self.all_jobs if job.tenant != tenant]
        assert not [job for job in others if job.job_id in answered.text]
        assert not [job for job in self.all_jobs if job.secret in answered.text]

    @rule(who=somebody, queue=st.sampled_from((*QUEUES, "another")))
    def claim(self, who: Known, queue: str) -> None:
        """Only jobs of tenants and queues that one works for."""
        body = {"worker": "w", "queues": [queue], "limit": 5}
        answered = self.served.ask(who.credential, "POST", "/v1/leases/claim", json=body)
        if not any("work" in MAY[grant.role] and grant.queues in (None, grant.queues) for grant in who.grants):
            self._is(answered, 403, "not_permitted")
            return
        if not any(grant.gives("work", next(iter(grant.tenants or ("",))), queue) for grant in who.grants):
            self._is(answered, 403, "not_permitted")
            return
        for lease in self._done(answered)["leases"]:
            assert who.may("work", lease["tenant"], lease["queue"])
            for job in self.all_jobs:
                if job.job_id == lease["job_id"]:
                    assert lease["payload"] == {"text": job.secret}
                    job.waits = False

    @rule(who=somebody, tenant=tenants, held=st.sampled_from(tuple(UNDONE_BY)))
    def undo(self, who: Known, tenant: str, held: str) -> None:
        """What was imposed on a tenant, or on a persona of it: only the installation does."""
        (verb, permission), why = UNDONE_BY[held], {"json": {"reason": "a test"}}
        place, is_there = f"/v1/tenants/{tenant}", not tenant.startswith("nobody")
        if is_there:
            self._done(self.served.ask(self.served.admin, "POST", f"{place}/{held}", **why))
        answered = self.served.ask(who.credential, "POST", f"{place}/{verb}", **why)
        if self._is_unknown(who, tenant, answered) or not who.may(permission, None, None):
            assert answered.status_code == (403 if is_there and who.knows(tenant) else answered.status_code)
            if is_there:
                self._done(self.served.ask(self.served.admin, "POST", f"{place}/{verb}", **why))
        else:
            self._done(answered)

    @rule(who=somebody, tenant=tenants, held=st.sampled_from(tuple(UNDONE_BY)))
    def impose(self, who: Known, tenant: str, held: str) -> None:
        """Personas are the tenant's own to pause, the tenant as a whole is not; whoever could, undoes it."""
        (verb, permission), why = UNDONE_BY[held], {"json": {"reason": "a test"}}
        answered = self.served.ask(who.credential, "POST", f"/v1/tenants/{tenant}/{held}", **why)
        if self._is_unknown(who, tenant, answered):
            return
        if not who.may(permission, tenant if held.startswith("personas") else None, None):
            self._is(answered, 403, "not_permitted")
            return
        self._done(answered)
        self._done(self.served.ask(who.credential, "POST", f"/v1/tenants/{tenant}/{verb}", **why))

    # --- what the model says -----------------------------------------------------------------------------------------

    def _is_unknown(self, who: Known, tenant: str, answered: httpx.Response) -> bool:
        """A tenant that is not there, and one that is none of their business, are one and the same."""
        if who.knows(tenant) and not tenant.startswith("nobody"):
            return False
        if who.knows(tenant):  # whoever is for all tenants may be told first that they may not do that
            assert answered.status_code in (403, 404), answered.text
            return True
        self._is(answered, 404, "unknown_tenant")
        return True

    def _is_there(
        self, who: Known, tenant: str, job: Job, answered: httpx.Response, permissions: tuple[str, ...]
    ) -> bool:  # fmt: skip
        """Whether they see that job there: asserts what is answered where they do not."""
        if self._is_unknown(who, tenant, answered):
            return False
        for permission in permissions:
            if not who.may_somewhere(permission, tenant):
                self._is(answered, 403, "not_permitted")
                return False
            if job.tenant != tenant or not who.may(permission, tenant, job.queue):
                self._is(answered, 404 if len(permissions) == 1 else answered.status_code, None)
                assert answered.status_code in (403, 404) and job.secret not in answered.text
                return False
        return True

    def _is(self, answered: httpx.Response, status: int, code: str | None) -> None:
        assert answered.status_code == status, answered.text
        assert code is None or answered.json()["code"] == code

    def _done(self, answered: httpx.Response) -> Any:  # noqa: ANN401 - any JSON
        assert answered.is_success, answered.text
        return answered.json()


def test_who_may_what(served: Served) -> None:
    """The same worlds each time; more of them with TESTS_ISOLATION_EXAMPLES."""
    bounds = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    run_state_machine_as_test(lambda: Isolation(served), settings=bounds)  # type: ignore[arg-type]  # as it documents
