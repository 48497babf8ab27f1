"""What is decided about API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.domain import api_key as keys
from jobledger.domain.api_key import ApiKey, ApiKeyRevoked, KeyStatus, evolve
from jobledger.domain.errors import IllegalTransition, InvalidInput, ReasonRequired
from jobledger.domain.event import Facts
from jobledger.domain.identity import Grant, Permission, Role
from jobledger.domain.tenant import TenantCreated
from tests.support.given import NOW

DAY = timedelta(days=1)
EMITTER = Grant(role=Role.EMITTER, tenants=frozenset({"acme"}))


def created(**fields: Any) -> tuple[Facts, ...]:  # noqa: ANN401
    """A key of a service."""
    given: dict[str, Any] = {
        "key_id": "4k2m9xq7ta", "name": "mailer", "secret_sha256": "1" * 64, "grants": (EMITTER,), "technical": True,
        "expires_at": None, "reason": "needed", "now": NOW,
    }  # fmt: skip
    return keys.create(**{**given, **fields})


def key(*decided: Facts, **fields: Any) -> ApiKey:  # noqa: ANN401
    """A key that has come so far."""
    state: ApiKey | None = None
    for facts in (*created(**fields), *decided):
        state = evolve(state, facts)
    assert state is not None
    return state


def rotated(state: ApiKey, digit: str, **fields: Any) -> ApiKey:  # noqa: ANN401
    """The key with one more secret."""
    given: dict[str, Any] = {"expires_at": None, "previous_expires_at": None, "reason": "quarterly", "now": NOW}
    return reduce(evolve, keys.rotate(state, secret_sha256=digit * 64, **{**given, **fields}), state)


def good(state: ApiKey, at: datetime = NOW) -> list[str]:
    """The secrets that are good, by their first digits."""
    return [secret.sha256[0] for secret in state.secrets if secret.is_good(at)]


def test_a_key_proves_whom_it_was_made_for() -> None:
    """The identity has the key's id, grants and kind."""
    identity = key(technical=False).identity
    assert (identity.id, identity.grants, identity.technical) == ("key:4k2m9xq7ta", (EMITTER,), False)
    assert key().status(NOW) is KeyStatus.ACTIVE


def test_two_secrets_are_good_and_the_oldest_goes() -> None:
    """Rotating adds a secret beside the last one, and ends the one before that."""
    once = rotated(key(), "2")
    assert good(once) == ["1", "2"]
    assert good(rotated(once, "3")) == ["2", "3"]


def test_rotating_can_set_an_end_to_the_last_secret() -> None:
    """It is good until then, never longer than it was; the new one is not touched."""
    ending = rotated(key(), "2", previous_expires_at=NOW + DAY)
    assert good(ending, NOW + DAY - timedelta(microseconds=1)) == ["1", "2"]
    assert good(ending, NOW + DAY) == ["2"]
    expiring = key(expires_at=NOW + DAY)
    later = rotated(expiring, "2", expires_at=NOW + 9 * DAY, previous_expires_at=NOW + 5 * DAY)
    assert good(later, NOW + 2 * DAY) == ["2"]
    assert later.expires_at == NOW + 9 * DAY


def test_a_key_that_expires_goes_on_to_expire() -> None:
    """Its rotation says until when; one that never expires needs no end."""
    with pytest.raises(InvalidInput) as refused:
        rotated(key(expires_at=NOW + DAY), "2")
    assert refused.value.field == "expires_at"
    assert rotated(key(), "2").expires_at is None


def test_an_expired_key_can_be_rotated() -> None:
    """It was never revoked: a new secret makes it good again."""
    expired = key(expires_at=NOW + DAY)
    assert expired.status(NOW + DAY) is KeyStatus.EXPIRED
    again = rotated(expired, "2", expires_at=NOW + 9 * DAY, now=NOW + 2 * DAY)
    assert again.status(NOW + 2 * DAY) is KeyStatus.ACTIVE


def test_a_revoked_key_is_over() -> None:
    """It can be neither rotated nor revoked again."""
    state = key(ApiKeyRevoked(key_id="4k2m9xq7ta", reason="leaked"))
    assert state.status(NOW) is KeyStatus.REVOKED
    with pytest.raises(IllegalTransition):
        rotated(state, "2")
    with pytest.raises(IllegalTransition):
        keys.revoke(state, reason="again")


def test_each_act_needs_a_reason() -> None:
    """Blanks are none."""
    for decide in (
        lambda: created(reason=" "), lambda: rotated(key(), "2", reason=""), lambda: keys.revoke(key(), reason="\t"),
    ):  # fmt: skip
        with pytest.raises(ReasonRequired):
            decide()


def test_a_key_is_not_made_expired() -> None:
    """Neither by making it nor by rotating it."""
    for decide in (lambda: created(expires_at=NOW), lambda: rotated(key(), "2", expires_at=NOW - DAY)):
        with pytest.raises(InvalidInput) as refused:
            decide()
        assert refused.value.field == "expires_at"


@pytest.mark.parametrize(
    ("grants", "technical", "field"),
    [
        ((), True, "grants"),
        ((EMITTER,) * 21, True, "grants"),
        ((EMITTER, Grant(role=Role.EMITTER, extra=frozenset({Permission.KEYS}))), True, "grants.1.extra"),
        ((Grant(role=Role.WORKER),), False, "grants.0.role"),
        ((Grant(role=Role.EMITTER, tenants=frozenset()),), True, "grants.0.tenants"),
        ((Grant(role=Role.EMITTER, queues=frozenset(f"q{n}" for n in range(1_001))),), True, "grants.0.queues"),
    ],
)
def test_grants_are_sound(grants: tuple[Grant, ...], technical: bool, field: str) -> None:
    """What comes with a role only is not granted beside one, persons run no jobs, and everything has an end."""
    with pytest.raises(InvalidInput) as refused:
        created(grants=grants, technical=technical)
    assert refused.value.field == field


def test_what_is_stored_of_a_grant_has_an_order() -> None:
    """The same grants are stored as the same bytes by every process."""
    names = frozenset({"acme", "beta", "gamma", "delta"})
    grant = Grant(role=Role.OPERATOR, tenants=names, queues=names, extra=frozenset({Permission.REQUEUE}))
    stored = grant.model_dump(mode="json")
    assert stored["tenants"] == stored["queues"] == sorted(names)
    assert Grant.model_validate_json(grant.model_dump_json()) == grant


@given(
    st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 20), st.none() | st.integers(1, 40)), max_size=8)
)
def test_whatever_is_rotated_the_last_two_are_good_at_most(rotations: list[tuple[int, int | None, int | None]]) -> None:
    """At every moment: those of the last two that have not ended, and the newest wherever it has not expired."""
    state, now = key(), NOW
    for number, (waited_days, previous_days, days) in enumerate(rotations):
        now += waited_days * DAY
        before = state.secrets
        expires_at = None if days is None and before[-1].expires_at is None else now + (days or 1) * DAY
        previous = None if previous_days is None else now + previous_days * DAY
        facts = keys.rotate(state, secret_sha256=f"{number:064x}", expires_at=expires_at,
                            previous_expires_at=previous, reason="r", now=now)  # fmt: skip
        state = reduce(evolve, facts, state)
        assert [secret.sha256 for secret in state.secrets] == [before[-1].sha256, f"{number:064x}"]
        assert state.secrets[-1].is_good(now)
        for at in (now, now + 10 * DAY, now + 50 * DAY):
            assert before[-1].is_good(at) or not state.secrets[0].is_good(at), "no end moves back"
            assert previous is None or at < previous or not state.secrets[0].is_good(at)
            assert (state.status(at) is KeyStatus.ACTIVE) == bool(good(state, at))


def test_another_streams_event_does_not_fit() -> None:
    """Nor does one that comes before the key was made."""
    for facts in (TenantCreated(name="acme"), ApiKeyRevoked(key_id="4k2m9xq7ta", reason="r")):
        with pytest.raises(InvalidInput, match="does not fit"):
            evolve(None, facts)
