"""A secret of several lines, a key in PEM for instance, is kept out of what is shown line by line."""

from __future__ import annotations

import pytest

from jobledger.application.worker.failures import traceback_of
from jobledger.application.worker.secrets import Secrets

_LINES = (
    "-----BEGIN PRIVATE KEY-----",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
    "BKcwggSjAgEAAoIBAQDV",
    "-----END PRIVATE KEY-----",
)
KEY = "\n".join(_LINES)


class Vault:
    """Knows the key."""

    def get(self, name: str, tenant: str) -> str:
        """See `SecretVault`."""
        return KEY


@pytest.fixture
def secrets() -> Secrets:
    """After a handler asked for the key."""
    secrets = Secrets(Vault(), "acme")
    assert secrets["key"] == KEY
    return secrets


def test_the_traceback_of_a_group_of_errors_shows_no_line_of_a_key(secrets: Secrets) -> None:
    """Each line of an error in a group is indented, so the key does not stand there as it is."""
    try:
        raise ExceptionGroup("several", [ValueError(f"cannot sign with {KEY}"), ValueError("another")])
    except ExceptionGroup as group:
        shown = traceback_of(group, secrets.redact).decode()
    assert "another" in shown
    assert not [line for line in _LINES[1:3] if line in shown]


def test_a_key_that_is_logged_line_by_line_is_not_shown(secrets: Secrets) -> None:
    """Whatever stands around each of its lines."""
    assert not [line for line in _LINES[1:3] if line in secrets.redact(f"debug: {line}")]


def test_a_result_may_hold_what_is_one_line_of_a_key_among_others(secrets: Secrets) -> None:
    """Only the whole key makes a result one that must not be recorded: its first line is no secret."""
    assert secrets.named_in(_LINES[0].encode()) is None
    assert secrets.named_in(KEY.encode()) == "key"
