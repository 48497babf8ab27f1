"""What a program declares: job types from annotated handlers, reactions from pure functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from jobledger import App, Dispatch, JobContext, Retry
from jobledger.application.declared_job import DeclaredJob, has_free_form_objects
from jobledger.domain.errors import InvalidInput, PayloadTooLarge, UnknownJobType
from tests.support.use_cases import Invoice


class Sent(BaseModel):
    """A result."""

    path: str
    pages: int = Field(ge=1)


class Measure(BaseModel):
    """A payload with a float."""

    value: float


def handler(context: JobContext, payload: Invoice) -> Sent:
    """Send an invoice to whom it may concern."""
    return Sent(path=payload.invoice_id, pages=1)


def declare(function: Callable[..., object] = handler, **options: Any) -> DeclaredJob:  # noqa: ANN401
    """A declaration of `invoice.send`."""
    app = App("test")
    app.job("invoice.send", **{"effects": "none", **options})(function)
    return app.declared("invoice.send")


def test_a_declaration_is_read_off_the_handler() -> None:
    """Payload from the second parameter, result from the return annotation, description from the docstring."""
    job = declare(queue="billing", retry=Retry.never(), timeout_seconds=60, providers=["mail"])
    definition = job.definition
    assert definition.payload_schema["required"] == ["invoice_id"]
    assert definition.result_schema["properties"].keys() == {"path", "pages"}  # type: ignore[union-attr]
    assert definition.description == "Send an invoice to whom it may concern."
    assert (definition.options.queue, definition.options.retry) == ("billing", Retry.never())
    assert (definition.isolation, job.is_async, definition.providers) == ("thread", False, ("mail",))


def test_the_handler_stays_callable() -> None:
    """The decorator returns it unchanged."""
    app = App("test")
    assert app.job("invoice.send", effects="none")(handler) is handler
    assert app.jobs["invoice.send"].handler is handler


def test_coroutines_are_async() -> None:
    """And nothing else is."""

    async def send(context: JobContext, payload: Invoice) -> None: ...

    job = declare(send)
    assert (job.definition.isolation, job.is_async) == ("async", True)
    for function, isolation in ((send, "thread"), (handler, "async")):
        with pytest.raises(InvalidInput) as caught:
            declare(function, isolation=isolation)
        assert caught.value.field == "isolation"


def test_a_decorated_handler_is_read_through() -> None:
    """What functools.wraps wraps counts."""

    @functools.wraps(handler)
    def wrapped(*arguments: object) -> object:
        return handler(*arguments)  # type: ignore[arg-type]

    assert declare(wrapped).definition.payload_schema["required"] == ["invoice_id"]


class _Typed(TypedDict):
    invoice_id: str


@dataclass
class _Data:
    invoice_id: str


class _Named(NamedTuple):
    invoice_id: str


def _typed(context: JobContext, payload: _Typed) -> None: ...
def _data(context: JobContext, payload: _Data) -> None: ...
def _free(context: JobContext, payload: dict[str, str]) -> None: ...


@pytest.mark.parametrize("function", [_typed, _data, _free, handler])
def test_whatever_pydantic_reads_as_an_object_is_a_payload(function: Callable[..., object]) -> None:
    """Models, dataclasses, typed dicts and mappings."""
    body = declare(function).accept({"invoice_id": "1"}).body
    assert body.startswith(b'{"invoice_id":"1"')


@pytest.mark.parametrize("function", [_typed, _data, handler])
def test_keys_are_made_of_fields(function: Callable[..., object]) -> None:
    """Whatever kind of payload it is."""
    assert declare(function, idempotency_key="invoice_id").accept({"invoice_id": "1"}).idempotency_key == "1"


# --- keys ------------------------------------------------------------------------------------------------------------


class _Keys(BaseModel):
    text: str = "a"
    number: int = 7
    day: date = date(2026, 3, 2)
    job: UUID = UUID(int=5)


def _keys(context: JobContext, payload: _Keys) -> None: ...


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ("text", "a"), ("number", "7"), ("day", '"2026-03-02"'), (("text", "number"), '["a",7]'),
        (("text",), "a"), (lambda payload: f"{payload.text}-{payload.day.year}", "a-2026"), (lambda payload: "", None),
    ],
)  # fmt: skip
def test_a_key_says_what_its_fields_say(fields: Any, key: str | None) -> None:  # noqa: ANN401
    """One text as it is, everything else as JSON, so that no two different payloads share a key by accident."""
    assert declare(_keys, idempotency_key=fields).accept({}).idempotency_key == key


def test_a_long_key_is_hashed() -> None:
    """Keys have at most 255 characters; two long ones still differ."""
    job = declare(_keys, idempotency_key="text", lock_key="lock:{text}")
    first, second = (job.accept({"text": "x" * 300 + end}) for end in "ab")
    assert len(first.idempotency_key or "") <= 255
    assert first.idempotency_key != second.idempotency_key
    assert first.lock_key != second.lock_key


class _Pair(BaseModel):
    one: str
    two: str


def _pair(context: JobContext, payload: _Pair) -> None: ...


def test_a_key_that_no_database_holds_is_hashed() -> None:
    """NUL is legal in a payload, but not in a key."""
    job = declare(_keys, idempotency_key="text", lock_key=lambda payload: payload.text)
    accepted = job.accept({"text": "a\x00b"})
    assert (accepted.idempotency_key or "").startswith("sha256:")
    assert accepted.lock_key == accepted.idempotency_key


def test_two_fields_are_not_glued() -> None:
    """("a:b", "c") and ("a", "b:c") are different keys."""
    job = declare(_pair, idempotency_key=("one", "two"))
    keys = {job.accept({"one": one, "two": two}).idempotency_key for one, two in (("a:b", "c"), ("a", "b:c"))}
    assert len(keys) == 2


# --- canonical payloads ----------------------------------------------------------------------------------------------


def test_equal_payloads_are_equal_bytes() -> None:
    """Whatever the order of their keys, free-form objects included."""
    job = declare(_free)
    assert job.accept({"b": "1", "a": "2"}).body == job.accept({"a": "2", "b": "1"}).body == b'{"a":"2","b":"1"}'
    fixed = declare()
    assert fixed.accept({"copies": 2, "invoice_id": "1"}).body == fixed.accept({"invoice_id": "1", "copies": 2}).body


@pytest.mark.parametrize(
    ("schema", "free"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, False),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, True),
        ({"type": "object", "properties": {"a": {}}}, True),
        ({"type": "object", "properties": {"a": {"title": "A"}}}, True),
        ({"type": "object", "additionalProperties": {"type": "string"}}, True),
        ({"type": "object", "properties": {}, "additionalProperties": False}, False),
        ({"$defs": {"A": {"type": "object", "additionalProperties": True}}, "$ref": "#/$defs/A"}, True),
        ({"type": "array", "items": {"anyOf": [{"type": "null"}, {"type": "object"}]}}, True),
        ({"type": "array", "items": {"$ref": "#/$defs/A"}}, False),
    ],
)
def test_free_form_objects_are_recognised(schema: dict[str, object], *, free: bool) -> None:
    """Only then keys have to be sorted, which costs."""
    assert has_free_form_objects(schema) is free


def test_a_result_is_checked_and_encoded() -> None:
    """Against the return annotation; too large is refused too (R3.2)."""
    job = declare(result_limit_bytes=40)
    assert job.encode_result(Sent(path="a", pages=1)) == b'{"path":"a","pages":1}'
    assert job.encode_result({"path": "a", "pages": 1}) == b'{"path":"a","pages":1}'
    with pytest.raises(InvalidInput) as caught:
        job.encode_result({"path": "a", "pages": 0})
    assert caught.value.field == "result.pages"
    with pytest.raises(PayloadTooLarge):
        job.encode_result({"path": "a" * 40, "pages": 1})


# --- refused declarations --------------------------------------------------------------------------------------------


def _one(context: JobContext) -> None: ...
def _unannotated(context: JobContext, payload) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
def _no_result(context: JobContext, payload: Invoice): ...  # type: ignore[no-untyped-def]  # noqa: ANN202
def _text(context: JobContext, payload: str) -> None: ...
def _named(context: JobContext, payload: _Named) -> None: ...
def _unreadable(context: JobContext, payload: Callable[[], None]) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "field"),
    [
        (_one, {}, "handler"), (_unannotated, {}, "payload"), (_no_result, {}, "result"), (_text, {}, "payload"),
        (_named, {}, "payload"), (_unreadable, {}, "payload"), (handler, {"effects": None}, "idempotency"),
        (handler, {"effects": "maybe"}, "effects"), (handler, {"kind": "other"}, "kind"),
        (handler, {"queue": "Not A Queue"}, "queue"), (handler, {"priority": 101}, "priority"),
        (handler, {"timeout_seconds": 0}, "timeout_seconds"),
        (handler, {"payload_limit_bytes": 0}, "payload_limit_bytes"),
        (handler, {"idempotency_key": "no_such"}, "idempotency_key"),
        (handler, {"lock_key": "{no_such}"}, "idempotency_key"),
        (handler, {"isolation": "fiber"}, "isolation"),
    ],
)  # fmt: skip
def test_a_declaration_that_breaks_a_rule_is_refused(
    function: Callable[..., object], options: dict[str, Any], field: str
) -> None:
    """At import, naming the field."""
    with pytest.raises(InvalidInput) as caught:
        declare(function, **options)
    assert caught.value.field == field
    assert caught.value.rule


def test_a_type_that_declares_nothing_about_running_twice_is_refused() -> None:
    """Rule 4: a key, or how its effects are protected."""
    with pytest.raises(InvalidInput, match="run twice"):
        App("test").job("invoice.send")(handler)


def test_names_are_unique_and_known() -> None:
    """A second declaration is refused; an unknown name lists the known ones."""
    app = App("test")
    app.job("invoice.send", effects="none")(handler)
    with pytest.raises(InvalidInput, match="declared twice"):
        app.job("invoice.send", effects="none")(handler)
    with pytest.raises(UnknownJobType, match=r"invoice\.send"):
        app.declared("invoice.sned")


# --- code version ----------------------------------------------------------------------------------------------------


def test_the_code_version_follows_the_source() -> None:
    """The same files give the same version; a given one is taken as it is."""
    one, other = App("one"), App("other")
    for app in (one, other):
        app.job("invoice.send", effects="none")(handler)
    assert one.code_version == other.code_version
    assert len(one.code_version) == 12
    assert App("test", code_version="2026.3").code_version == "2026.3"


# --- reactions -------------------------------------------------------------------------------------------------------


class _Event(NamedTuple):
    type: str
    tenant: str


def test_a_reaction_is_a_pure_function() -> None:
    """An event in, dispatches out: none, one or several; nothing is checked or written here."""
    app = App("test")

    @app.reaction("invoice.paid")
    def one(event: _Event) -> Dispatch:
        return Dispatch("receipt.issue", tenant=event.tenant)

    @app.reaction("invoice.paid")
    def many(event: _Event) -> list[Dispatch]:
        return [Dispatch("a.b", tenant=event.tenant), Dispatch("c.d", tenant=event.tenant)]

    @app.reaction("invoice.paid")
    def none(event: _Event) -> None:
        return None

    dispatches = app.reactions_to(_Event("invoice.paid", "acme"))
    assert [dispatch.job_type for dispatch in dispatches] == ["receipt.issue", "a.b", "c.d"]
    assert {dispatch.tenant for dispatch in dispatches} == {"acme"}
    assert app.reactions_to(_Event("invoice.lost", "acme")) == []
    assert app.reacts_to == {"invoice.paid"}
    assert one(_Event("x", "acme")) == Dispatch("receipt.issue", tenant="acme")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    """Pydantic would store it as null: a payload or result is kept as it is or refused, never changed."""

    def measure(context: JobContext, payload: Measure) -> Measure:
        return payload

    job = declare(measure)
    assert job.accept({"value": 1.5}).body == b'{"value":1.5}'
    with pytest.raises(InvalidInput, match=r"payload: .*JSON"):
        job.accept({"value": number})
    with pytest.raises(InvalidInput, match=r"result: .*JSON"):
        job.encode_result(Measure(value=number))
