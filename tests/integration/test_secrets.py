"""Secrets: a handler gets them, and the ledger never does."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from jobledger import App, Dispatch, InvalidInput, JobContext, JobStatus, Ledger, LedgerClient, Retry, SecretRef
from jobledger.domain.errors import InvalidSettings
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobFailed, JobSnoozed

TENANT = "acme"
SECRET = 'sk-3f"9ä/\\key of acme+0123456789abcdef'
NAME = "payment-gateway"


class Payload(BaseModel):
    """A payment."""

    number: int = 7
    key: SecretRef | None = None
    settings: dict[str, Any] = {}


class Vault:
    """A secrets file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, content: object, mode: int = 0o600) -> None:
        """Replace what is in it."""
        self.path.write_text(content if isinstance(content, str) else json.dumps(content))
        self.path.chmod(mode)


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """The vault of this test's workers, with a secret of the tenant."""
    vault = Vault(tmp_path / "secrets.json")
    vault.write({NAME: {TENANT: SECRET}, "shared": "of everybody"})
    monkeypatch.setenv("JOBLEDGER_SECRETS_FILE", str(vault.path))
    return vault


@pytest.fixture
def app() -> App:
    """An app to declare jobs on."""
    return App("tested", code_version="1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def opened(path: Path, app: App) -> Iterator[Callable[[], Ledger]]:
    """Opens the ledger once the test has declared its jobs; the tenant exists."""
    ledgers: list[Ledger] = []

    def open_ledger() -> Ledger:
        ledger = Ledger.open(f"sqlite:///{path}", app=app, create=True)
        ledgers.append(ledger)
        ledger.tenants.create(TENANT, reason="a customer")
        ledger.tenants.create("globex", reason="another customer")
        return ledger

    yield open_ledger
    for ledger in ledgers:
        ledger.close()


def declare(app: App, handler: Callable[[JobContext, Payload], Any], **options: Any) -> None:  # noqa: ANN401
    """Declare the job type; a failed attempt is not tried again."""
    handler.__annotations__ = {"context": JobContext, "payload": Payload, "return": object}
    app.job("tested.pay", effects="none", **{"retry": Retry.never(), **options})(handler)


def run(
    ledger: Ledger, app: App, payload: Mapping[str, object] | Payload | None = None, *, tenant: str = TENANT
) -> tuple[RecordedEvent, ...]:
    """Run one job to where it comes to rest; its events."""
    job_id = ledger.dispatch("tested.pay", payload or {}, tenant=tenant).job_id
    ledger.worker(app, drain=True).run()
    return ledger.jobs.history(job_id, tenant=tenant, bodies=True).events


def everything_in(path: Path) -> bytes:
    """All that the ledger's tables hold."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]
    cells = (cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row)
    return b"\n".join(cells)


def failure(events: tuple[RecordedEvent, ...]) -> JobFailed:
    """How the attempt failed."""
    (failed,) = (event.facts for event in events if isinstance(event.facts, JobFailed))
    assert isinstance(failed, JobFailed)
    return failed


def test_a_handler_gets_the_secrets_of_its_tenant(app: App, opened: Callable[[], Ledger], vault: Vault) -> None:
    """By name, from the vault: those of its tenant, and those for all."""
    seen: list[str] = []

    def handler(context: JobContext, payload: Payload) -> None:
        seen.extend([context.secrets[NAME], context.secrets["shared"]])

    declare(app, handler)
    assert run(opened(), app)[-1].topic == "job.completed"
    assert seen == [SECRET, "of everybody"]


def test_a_coroutine_gets_secrets_too(app: App, opened: Callable[[], Ledger], vault: Vault) -> None:
    """By name and by reference."""
    seen: list[str] = []

    async def handler(context: JobContext, payload: Payload) -> None:
        assert payload.key is not None
        seen.extend([context.secrets[NAME], payload.key.reveal()])

    declare(app, handler)
    assert run(opened(), app, {"key": {"$secret": NAME}})[-1].topic == "job.completed"
    assert seen == [SECRET, SECRET]


def test_a_secret_of_another_tenant_is_unknown(app: App, opened: Callable[[], Ledger], vault: Vault) -> None:
    """No tenant gets another's: the job ends in the DLQ at once, and the record says what is missing."""

    def handler(context: JobContext, payload: Payload) -> str:
        return context.secrets[NAME]

    declare(app, handler, retry=Retry())
    events = run(opened(), app, tenant="globex")
    assert [event.topic for event in events][-2:] == ["job.failed", "job.sent_to_dlq"]
    failed = failure(events)
    assert (failed.error_type, failed.recoverable) == ("UnknownSecret", False)
    assert failed.message == f"the vault has no secret '{NAME}' for tenant 'globex'; add it to secrets.json"


def test_references_are_resolved_before_the_handler_runs_and_never_recorded(
    app: App, opened: Callable[[], Ledger], vault: Vault, path: Path
) -> None:
    """In a field of the type as well as in free-form JSON: the handler finds the secret, the ledger the reference."""
    seen: list[str] = []
    shown: list[str] = []

    def handler(context: JobContext, payload: Payload) -> None:
        assert payload.key is not None
        deep = payload.settings["gateways"][0]["key"]
        seen.extend([payload.key.reveal(), deep.reveal()])
        shown.extend([repr(payload), str(payload.key), payload.model_dump_json()])

    declare(app, handler)
    reference = {"$secret": NAME}
    events = run(opened(), app, {"key": reference, "settings": {"gateways": [{"key": reference}]}})
    assert events[-1].topic == "job.completed"
    assert seen == [SECRET, SECRET]
    assert json.loads(events[0].body or b"")["key"] == reference
    assert SECRET.encode() not in everything_in(path)
    assert not [text for text in shown if SECRET in text or "sk-3f" in text]


def test_a_client_without_the_code_passes_references(app: App, opened: Callable[[], Ledger], vault: Vault) -> None:
    """The registry's schema takes a reference where the program's own type does, and refuses anything else there."""
    seen: list[str] = []

    def handler(context: JobContext, payload: Payload) -> None:
        assert payload.key is not None
        seen.append(payload.key.reveal())

    declare(app, handler)
    ledger = opened()
    ledger.worker(app, drain=True).run()  # publishes the types
    with Ledger.open(_url(ledger)) as client:
        job_id = client.dispatch("tested.pay", {"key": {"$secret": NAME}}, tenant=TENANT).job_id
        for wrong in (SECRET, {"$secret": ""}, {"$secret": NAME, "more": 1}, {"$secret": 7}):
            with pytest.raises(InvalidInput) as refused:
                client.dispatch("tested.pay", {"key": wrong}, tenant=TENANT)
            assert SECRET not in str(refused.value)
    ledger.worker(app, drain=True).run()
    assert ledger.jobs.get(job_id, tenant=TENANT).status is JobStatus.COMPLETED
    assert seen == [SECRET]


def test_a_program_may_dispatch_the_reference_itself(app: App, opened: Callable[[], Ledger], vault: Vault) -> None:
    """A payload model with a `SecretRef` in it is a payload like any; outside of a handler nothing is revealed."""
    reference = SecretRef(name=NAME)
    with pytest.raises(InvalidInput, match="not resolved here"):
        reference.reveal()

    def handler(context: JobContext, payload: Payload) -> bool:
        return payload.key is not None and payload.key.reveal() == SECRET

    declare(app, handler)
    events = run(opened(), app, Payload(key=reference, settings={"again": reference}))
    assert events[-1].body == b"true"
    assert json.loads(events[0].body or b"") == {
        "number": 7, "key": {"$secret": NAME}, "settings": {"again": {"$secret": NAME}},
    }  # fmt: skip


@pytest.mark.parametrize(
    "reference", [{"$secret": 7}, {"$secret": ""}, {"$secret": NAME, "and": "more"}, {"$secret": {}}]
)
def test_another_form_of_a_reference_is_refused_at_dispatch(
    app: App, opened: Callable[[], Ledger], reference: dict[str, object]
) -> None:
    """Also inside free-form JSON: what would fail the job later is told to who dispatches it, with its path."""
    declare(app, lambda context, payload: None)
    with pytest.raises(InvalidInput) as refused:
        opened().dispatch("tested.pay", {"settings": {"deep": [reference]}}, tenant=TENANT)
    assert refused.value.field == "payload.settings.deep.0"


class _Shown(BaseModel):
    amount: int


def _log(context: JobContext, secret: str) -> None:
    context.log(f"key {secret} in use", header={"Authorization": secret})


def _note(context: JobContext, secret: str) -> None:
    context.progress(0.5, f"with {secret}")


def _raise(context: JobContext, secret: str) -> None:
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise ValueError(f"401 for https://api.example/?key={secret}") from error


def _raise_quoted(context: JobContext, secret: str) -> None:
    from urllib.parse import quote_plus

    raise ValueError(f"401 for https://api.example/?key={quote_plus(secret)} and {json.dumps([secret])}")


def _validate(context: JobContext, secret: str) -> None:
    _Shown.model_validate({"amount": f"{'x' * 10}{secret}{'y' * 60}"})  # pydantic shows the ends of what it refuses


def _raise_long(context: JobContext, secret: str) -> None:
    raise ValueError("x" * 1_990 + secret)  # the message is cut within the secret


def _snooze(context: JobContext, secret: str) -> None:
    context.snooze(3_600, f"{secret} is being rotated")


@pytest.mark.parametrize("leak", [_log, _note, _raise, _raise_quoted, _validate, _raise_long, _snooze])
def test_a_secret_never_reaches_the_ledger(
    app: App, opened: Callable[[], Ledger], vault: Vault, path: Path, leak: Callable[[JobContext, str], None]
) -> None:
    """What a handler logs, notes or raises is recorded with the secret's name in place of the secret."""

    def handler(context: JobContext, payload: Payload) -> None:
        leak(context, context.secrets[NAME])

    declare(app, handler)
    run(opened(), app)
    stored = everything_in(path)
    assert f"[secret:{NAME}]".encode() in stored
    for part in (SECRET, repr(SECRET)[1:-1], json.dumps(SECRET)[1:-1], SECRET[:12], SECRET[-12:]):
        assert part.encode() not in stored


def _result(context: JobContext, secret: str) -> object:
    return {"used": [secret]}


def _step(context: JobContext, secret: str) -> object:
    return context.step("login", lambda: {"token": secret})


def _step_name(context: JobContext, secret: str) -> object:
    return context.step(f"login with {secret}", lambda: 1)


def _child(context: JobContext, secret: str) -> object:
    return context.dispatch(Dispatch("tested.pay", payload={"settings": {"token": secret}}))


@pytest.mark.parametrize("leak", [_result, _step, _step_name, _child])
def test_what_holds_a_secret_is_refused(
    app: App, opened: Callable[[], Ledger], vault: Vault, path: Path, leak: Callable[[JobContext, str], object]
) -> None:
    """A result, a step or a child that holds a secret fails the attempt; the record names it and does not show it."""

    def handler(context: JobContext, payload: Payload) -> object:
        return leak(context, context.secrets[NAME])

    declare(app, handler)
    ledger = opened()
    failed = failure(run(ledger, app))
    assert f"'{NAME}'" in failed.message
    assert SECRET[:12].encode() not in everything_in(path)
    assert len(ledger.jobs.list(tenant=TENANT).rows) == 1


def test_the_file_is_read_again_when_it_changes(app: App, opened: Callable[[], Ledger], vault: Vault) -> None:
    """A rotated secret is the next attempt's."""
    seen: list[str] = []

    def handler(context: JobContext, payload: Payload) -> None:
        seen.append(context.secrets["shared"])
        vault.write({"shared": "rotated since"})

    declare(app, handler)
    ledger = opened()
    for _ in range(2):
        ledger.dispatch("tested.pay", {}, tenant=TENANT)
    ledger.worker(app, drain=True, concurrency=1).run()
    assert seen == ["of everybody", "rotated since"]


@pytest.mark.parametrize("payload", [{}, {"key": {"$secret": NAME}}], ids=["by name", "by reference"])
@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda vault: vault.path.unlink(), "cannot be read: No such file"),
        (lambda vault: vault.path.chmod(0o640), "has permission 0640, and others may use it"),
        (lambda vault: vault.write(f'{{"{NAME}": "{SECRET[:3]}'), "is not JSON"),
        (lambda vault: vault.write([SECRET]), "is not a JSON object of names"),
        (lambda vault: vault.write({NAME: 7}), "is neither a text nor"),
    ],
    ids=["gone", "readable by others", "not JSON", "a list", "not a text"],
)
def test_a_vault_that_cannot_say_costs_no_attempt(
    request: pytest.FixtureRequest,
    vault: Vault,
    break_it: Callable[[Vault], None],
    why: str,
    payload: dict[str, object],
) -> None:
    """While the vault is unusable, jobs that want a secret are put off, and the reason stands in their history."""

    def handler(context: JobContext, payload: Payload) -> str:
        return context.secrets[NAME]

    app: App = request.getfixturevalue("app")
    declare(app, handler)
    ledger: Ledger = request.getfixturevalue("opened")()
    service = ledger.worker(app, drain=True)
    break_it(vault)
    job_id = ledger.dispatch("tested.pay", payload, tenant=TENANT).job_id
    service.run()
    job = ledger.jobs.get(job_id, tenant=TENANT)
    snoozed = ledger.jobs.history(job_id, tenant=TENANT).events[-1].facts
    assert (job.status, job.state.attempts_counted) == (JobStatus.DELAYED, 0)
    assert isinstance(snoozed, JobSnoozed)
    assert why in snoozed.why and SECRET[:3] not in snoozed.why


def test_a_worker_does_not_start_with_a_vault_that_others_can_read(
    app: App, opened: Callable[[], Ledger], vault: Vault
) -> None:
    """The setting is refused with what to do about it."""
    declare(app, lambda context, payload: None)
    ledger = opened()
    vault.path.chmod(0o644)
    with pytest.raises(InvalidSettings, match=r"JOBLEDGER_SECRETS_FILE.*permission 0644.*chmod 0600"):
        ledger.worker(app)


def test_without_a_vault_jobs_that_want_a_secret_wait(app: App, opened: Callable[[], Ledger]) -> None:
    """A worker that was started without a vault loses no job: it is put off, and the reason names the setting."""

    def handler(context: JobContext, payload: Payload) -> str:
        return context.secrets[NAME]

    declare(app, handler)
    snoozed = run(opened(), app)[-1].facts
    assert isinstance(snoozed, JobSnoozed)
    assert "JOBLEDGER_SECRETS_FILE" in snoozed.why


def test_a_secret_that_could_not_be_kept_out_is_refused(app: App, opened: Callable[[], Ledger], vault: Vault) -> None:
    """One of three characters would have to be taken out of every other word."""
    vault.write({NAME: "abc"})

    def handler(context: JobContext, payload: Payload) -> str:
        return context.secrets[NAME]

    declare(app, handler)
    failed = failure(run(opened(), app))
    assert (failed.error_type, failed.recoverable) == ("UnknownSecret", False)
    assert "fewer than 4 characters" in failed.message


def _url(ledger: LedgerClient) -> str:
    assert isinstance(ledger, Ledger)
    return ledger._handle.settings.database.url
