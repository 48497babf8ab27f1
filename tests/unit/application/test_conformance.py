"""The conformance report: nine lines a job type, each of them able to say no (R4.14)."""

# ruff: noqa: T201, BLE001, SIM105 - the handlers here break rules on purpose

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from jobledger import App, JobContext, SecretRef
from jobledger.application.conformance import Check, TypeReport, check_app, check_job, require_conformance
from jobledger.application.secret_shapes import is_secret_name, looks_secret
from jobledger.domain.errors import NonConformingType
from jobledger.domain.rate_card import RateCard

log = logging.getLogger(__name__)
counter = 0


class Payload(BaseModel):
    """What a good payload is."""

    invoice_id: str = "1"


class WithTenant(BaseModel):
    """Says whose it is a second time."""

    tenant_id: str = ""


class WithSecret(BaseModel):
    """Would hold a secret, further down."""

    class Login(BaseModel):
        """Deeper."""

        apiKey: str = ""  # noqa: N815

    login: Login = Login()


def good(context: JobContext, payload: Payload) -> None:
    """Does everything right."""
    context.step("send", lambda: None)
    context.log("sent", invoice=payload.invoice_id)


def no_step(context: JobContext, payload: Payload) -> None:
    """Says steps, records none."""


def tenant_in_payload(context: JobContext, payload: WithTenant) -> None:
    """Two tenants."""


def shares_state(context: JobContext, payload: Payload) -> None:
    """Counts over all tenants."""
    global counter  # noqa: PLW0603
    counter += 1


def loops(context: JobContext, payload: Payload) -> None:
    """Retries by itself."""
    while True:
        try:
            return
        except ValueError:
            continue


def swallows(context: JobContext, payload: Payload) -> None:
    """Never fails."""
    try:
        int("x")
    except Exception:
        pass


def handles(context: JobContext, payload: Payload) -> None:
    """Looks at what it caught, or raises something better."""
    try:
        int("x")
    except Exception as error:
        context.log("odd", error=repr(error))
    try:
        int("x")
    except Exception:
        raise ValueError("not a number") from None


def prints(context: JobContext, payload: Payload) -> None:
    """Talks to nobody."""
    print("sent")


def interpolates(context: JobContext, payload: Payload) -> None:
    """Logs a sentence."""
    log.info(f"sent {payload.invoice_id}")  # noqa: G004


def reports_usage(context: JobContext, payload: Payload) -> None:
    """Uses tokens."""
    context.usage(tokens=5)


def secret_in_payload(context: JobContext, payload: WithSecret) -> None:
    """Would carry a key."""


def secret_in_source(context: JobContext, payload: Payload) -> None:
    """Holds a key."""
    context.log("AKIAABCDEFGHIJKLMNOP")


def reads_environment(context: JobContext, payload: Payload) -> None:
    """Looks around."""
    os.environ.get("MAIL_PASSWORD")


def calls_out(context: JobContext, payload: Payload) -> None:
    """Through a helper of the same module."""
    _fetch()


def _fetch() -> None:
    urllib.request.urlopen("http://localhost")


def calls_out_by_import(context: JobContext, payload: Payload) -> None:
    """Imports in its own body."""
    import smtplib

    smtplib.SMTP("localhost")


def calls_out_by_class(context: JobContext, payload: Payload) -> None:
    """Uses what it imported from there."""
    socket.create_connection(("localhost", 1))


def starts_a_process(context: JobContext, payload: Payload) -> None:
    """Work that nobody sees."""
    subprocess.run(["true"], check=True)


async def blocks(context: JobContext, payload: Payload) -> None:
    """Stops everybody."""
    time.sleep(1)  # noqa: ASYNC251


def report(handler: Callable[..., object], **options: Any) -> TypeReport:  # noqa: ANN401
    """The report of a handler."""
    app = App("test")
    app.job("some.job", **{"effects": "none", "timeout_seconds": 60, **options})(handler)
    return check_job(app.declared("some.job"))


def violated(found: TypeReport) -> list[Check]:
    """The lines that say no."""
    return [line.check for line in found.lines if not line.conforms]


def test_a_report_has_nine_lines_in_a_fixed_order() -> None:
    """Those of R4.14, each with what was found."""
    found = report(good, effects="steps")
    assert [line.check for line in found.lines] == list(Check)
    assert len(found.lines) == 9
    assert all(line.finding for line in found.lines)
    assert found.conforms


@pytest.mark.parametrize(
    ("handler", "options", "check"),
    [
        (no_step, {"effects": "steps"}, Check.IDEMPOTENT), (no_step, {"effects": "transaction"}, Check.IDEMPOTENT),
        (tenant_in_payload, {}, Check.TENANT),
        (shares_state, {}, Check.TENANT), (loops, {}, Check.RETRY), (swallows, {}, Check.DLQ),
        (prints, {}, Check.STRUCTURED_LOGS), (interpolates, {}, Check.STRUCTURED_LOGS),
        (reports_usage, {}, Check.METRICS), (good, {"rate_card": RateCard(per_unit={"tokens": 1})}, Check.METRICS),
        (secret_in_payload, {}, Check.SECURITY), (secret_in_source, {}, Check.SECURITY),
        (reads_environment, {}, Check.SECURITY), (calls_out, {}, Check.PROVIDERS),
        (calls_out_by_import, {}, Check.PROVIDERS), (calls_out_by_class, {}, Check.PROVIDERS),
        (starts_a_process, {}, Check.OBSERVABILITY),
        (blocks, {}, Check.OBSERVABILITY),
    ],
)  # fmt: skip
def test_each_line_can_say_no(handler: Callable[..., object], options: dict[str, Any], check: Check) -> None:
    """And only that line does."""
    found = report(handler, **options)
    assert violated(found) == [check]
    assert not found.conforms


@pytest.mark.parametrize(
    ("handler", "options"),
    [
        (handles, {}), (reports_usage, {"rate_card": RateCard(per_unit={"tokens": 1})}),
        (good, {"effects": None, "idempotency_key": "invoice_id"}), (good, {"providers": ["mail"]}),
    ],
)  # fmt: skip
def test_what_is_right_is_not_held_against_it(handler: Callable[..., object], options: dict[str, Any]) -> None:
    """No false alarm."""
    assert violated(report(handler, **options)) == []


def test_a_handler_without_source_is_judged_by_its_declaration() -> None:
    """And the report says so."""
    namespace: dict[str, Any] = {"JobContext": JobContext, "Payload": Payload}
    exec("def made(context: JobContext, payload: Payload) -> None: ...", namespace)
    found = report(namespace["made"])
    assert found.conforms
    assert "not available" in found.lines[0].finding


def test_a_violating_type_may_not_go_to_production() -> None:
    """The refusal names type and violation, and what to run."""
    app = App("test")
    app.job("good.job", effects="none", timeout_seconds=60)(good)
    require_conformance(app)
    app.job("bad.job", effects="none", timeout_seconds=60)(prints)
    with pytest.raises(NonConformingType, match=r"bad\.job.*structured_logs") as caught:
        require_conformance(app)
    assert "jobledger check" in str(caught.value.hint)
    assert [found.conforms for found in check_app(app)] == [True, False]


@pytest.mark.parametrize(
    "name", ["password", "db_password", "apiKey", "API_KEY", "access-token", "clientSecret", "token"]
)
def test_names_that_would_hold_a_secret(name: str) -> None:
    """Whatever the spelling."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["tokens", "password_hint", "secretary", "key", "invoice_id", "keyword"])
def test_names_that_would_not(name: str) -> None:
    """Counts, hints and people."""
    assert not is_secret_name(name)


_SECRETS = [
    "-----BEGIN RSA PRIVATE KEY-----", "AKIA" + "B" * 16, "ghp_" + "a" * 36, "sk_live_" + "a" * 20,
    "xoxb-1234567890-ab", "jl_admin." + "a_B-" * 10 + "aaa",
    "AIza" + "c" * 35, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijklmno",
]  # fmt: skip


@pytest.mark.parametrize("text", _SECRETS)
def test_texts_that_are_a_secret(text: str) -> None:
    """Known shapes."""
    assert looks_secret(f"use {text} please")


@pytest.mark.parametrize("text", ["", "hello", "AKIA", "eyJ", "sk_live", "-----BEGIN PUBLIC KEY-----", "0xAKIAB"])
def test_texts_that_are_not(text: str) -> None:
    """Only the whole shape counts."""
    assert not looks_secret(text)


def test_what_a_child_process_starts_ends_with_it() -> None:
    """A program started by a handler is work that nobody stops, unless the handler runs in a process of its own."""
    assert violated(report(starts_a_process)) == [Check.OBSERVABILITY]
    assert violated(report(starts_a_process, isolation="process")) == []


class Account(BaseModel):
    """Names of secrets, by reference."""

    password: SecretRef
    api_key: SecretRef | None = None


def test_a_reference_is_no_secret() -> None:
    """A field that would hold a secret may hold a reference to one."""

    def handler(context: JobContext, payload: Account) -> None:
        context.log("sent", length=len(payload.password.reveal()))

    assert Check.SECURITY not in violated(report(handler))
