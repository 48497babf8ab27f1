"""What a job type is: it says how it may run twice, and its definition has a fingerprint."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jobledger.domain.errors import InvalidInput
from jobledger.domain.job_type import (
    JobTypeDefinition,
    JobTypeRegistered,
    add_soft_timeout,
    evolve,
    register,
    require_idempotency,
)
from jobledger.domain.options import JobOptions
from tests.support.given import dispatched


def definition(**fields: object) -> JobTypeDefinition:
    """A job type that sends invoices."""
    known = {"name": "invoice.send", "effects": "steps", "payload_schema": {"type": "object"}, "result_schema": {}}
    return JobTypeDefinition.model_validate({**known, **fields})


def test_a_new_type_is_registered() -> None:
    """With its fingerprint, and who published it with which code."""
    (event,) = register(None, definition(), code_version="v1", app="condominium")
    assert (event.definition, event.fingerprint) == (definition(), definition().fingerprint)
    assert (event.code_version, event.app) == ("v1", "condominium")


def test_what_is_in_force_is_not_registered_again() -> None:
    """A worker that starts with the same types records nothing, whatever its code version."""
    state = evolve(None, *register(None, definition(), code_version="v1", app="a"))
    assert register(state, definition(), code_version="v2", app="a") == ()


def test_a_changed_type_is_registered_again() -> None:
    """The state counts the changes."""
    state = evolve(None, *register(None, definition(), code_version="v1", app="a"))
    (event,) = register(state, definition(kind="ai"), code_version="v2", app="a")
    assert evolve(state, event).changes == 2
    assert evolve(state, event).definition.kind == "ai"


@pytest.mark.parametrize(
    "fields",
    [{"effects": "none"}, {"effects": None, "idempotency_key_fields": ("id",)},
     {"effects": None, "idempotency_key_computed": True}],
)  # fmt: skip
def test_any_way_to_say_how_it_may_run_twice_is_enough(fields: dict[str, object]) -> None:
    """A key from the payload, a key that code computes, or how the effects are protected (rule 4)."""
    require_idempotency(definition(**fields))


def test_a_type_that_declares_nothing_is_refused() -> None:
    """At registration, with the rule (R4.5)."""
    with pytest.raises(InvalidInput, match="run twice") as caught:
        register(None, definition(effects=None), code_version="v1", app="a")
    assert caught.value.field == "idempotency"
    assert "effects" in str(caught.value.rule)


@pytest.mark.parametrize(
    "name", ["", "Invoice", "1invoice", "invoice..send", "invoice.", ".send", "a b", "x" * 121, "é"]
)
def test_a_bad_name_is_refused(name: str) -> None:
    """Names are lower case words with dots between them."""
    with pytest.raises(ValidationError) as caught:
        definition(name=name)
    assert caught.value.errors()[0]["loc"] == ("name",)


def test_any_change_changes_the_fingerprint() -> None:
    """Options, schemas and policies count; the payload's own fingerprint follows its schema alone."""
    first = definition()
    variants = [
        definition(options=JobOptions(priority=1)), definition(payload_schema={"type": "object", "title": "x"}),
        definition(providers=("payments",)), definition(description="other"),
    ]  # fmt: skip
    assert len({first.fingerprint, *(variant.fingerprint for variant in variants)}) == 5
    assert [v.payload_fingerprint == first.payload_fingerprint for v in variants] == [True, False, True, True]


def test_equal_definitions_have_equal_fingerprints() -> None:
    """Whatever the order of the schema's keys."""
    one = definition(payload_schema={"type": "object", "title": "x"})
    other = definition(payload_schema={"title": "x", "type": "object"})
    assert one.fingerprint == other.fingerprint


def test_version_one_had_one_timeout() -> None:
    """It is brought up with the soft timeout that it meant: 90 %."""
    old = {"definition": {"name": "a", "options": {"timeout_seconds": 100.0}}, "fingerprint": "f"}
    assert add_soft_timeout(old)["definition"]["options"] == {"timeout_seconds": 100.0, "soft_timeout_seconds": 90.0}
    assert add_soft_timeout({"definition": {"name": "a"}})["definition"]["options"] == {}
    kept = {"definition": {"options": {"timeout_seconds": 100.0, "soft_timeout_seconds": 50.0}}}
    assert add_soft_timeout(kept)["definition"]["options"]["soft_timeout_seconds"] == 50.0


def test_other_events_do_not_belong_to_a_type() -> None:
    """The fold refuses them."""
    with pytest.raises(InvalidInput, match="not an event of a job type"):
        evolve(None, dispatched())


@pytest.mark.parametrize("limit", [0, 4_000_001])
def test_payload_limits_have_limits(limit: int) -> None:
    """1 byte to 4 MB."""
    with pytest.raises(ValidationError):
        definition(payload_limit_bytes=limit)


def test_the_event_repeats_nothing_it_does_not_have_to() -> None:
    """Its topic and version are stored data."""
    assert (JobTypeRegistered.topic, JobTypeRegistered.schema_version) == ("job_type.registered", 3)
