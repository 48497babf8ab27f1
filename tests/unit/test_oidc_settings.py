"""The settings about tokens of an issuer: what makes no sense, or no security, is refused at the start."""

from __future__ import annotations

import json

import pytest

from jobledger.domain.errors import InvalidSettings
from jobledger.domain.identity import Grant, Permission, Role
from jobledger.infrastructure import settings
from jobledger.infrastructure.oidc_settings import TechnicalMark, is_trustworthy

GOOD = {"JOBLEDGER_OIDC_ISSUER": "https://login.example.com/realms/main", "JOBLEDGER_OIDC_AUDIENCE": "jobledger"}


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> settings.Settings:
    """The settings with these variables of the environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return settings.load()


def test_without_an_issuer_no_tokens_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys need no setting."""
    assert loaded(monkeypatch).oidc is None
    assert loaded(monkeypatch, JOBLEDGER_OIDC_AUDIENCE="jobledger").oidc is None


def test_an_issuer_and_an_audience_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest has defaults: by discovery, asymmetric algorithms, a minute, persons, and nothing granted."""
    oidc = loaded(monkeypatch, **GOOD).oidc
    assert oidc == (
        GOOD["JOBLEDGER_OIDC_ISSUER"], "jobledger", None, ("RS256", "ES256", "EdDSA"), 60, "sub", None, "groups", {},
    )  # fmt: skip


def test_everything_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """One grant may stand for a list of one."""
    operator = {"role": "operator", "tenants": ["acme"], "extra": ["dlq.requeue"]}
    oidc = loaded(
        monkeypatch, **GOOD, JOBLEDGER_OIDC_JWKS_URL="http://127.0.0.1:8080/keys", JOBLEDGER_OIDC_LEEWAY_SECONDS="0",
        JOBLEDGER_OIDC_ALGORITHMS="PS512, Ed25519", JOBLEDGER_OIDC_TECHNICAL_CLAIM="gty=client-credentials",
        JOBLEDGER_OIDC_IDENTITY_CLAIM="email", JOBLEDGER_OIDC_GRANTS_CLAIM="realm_access.roles",
        JOBLEDGER_OIDC_GRANTS=json.dumps({"ops": operator, "it": [{"role": "admin"}, {"role": "auditor"}]}),
    ).oidc  # fmt: skip
    assert oidc is not None
    assert (oidc.algorithms, oidc.leeway_seconds) == (("PS512", "Ed25519"), 0)
    assert oidc.technical == TechnicalMark("gty", "client-credentials")
    wanted = Grant(role=Role.OPERATOR, tenants=frozenset({"acme"}), extra=frozenset({Permission.REQUEUE}))
    assert oidc.grants["ops"] == (wanted,)
    assert [grant.role for grant in oidc.grants["it"]] == [Role.ADMIN, Role.AUDITOR]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISSUER", "login.example.com"),
        ("ISSUER", "http://login.example.com"),
        ("ISSUER", "https://login.example.com/?a=1"),
        ("ISSUER", "https://user:secret@login.example.com"),
        ("JWKS_URL", "http://192.0.2.1/keys"),
        ("JWKS_URL", "file:///etc/passwd"),
        ("ALGORITHMS", "none"),
        ("ALGORITHMS", "RS256,HS256"),
        ("ALGORITHMS", ","),
        ("LEEWAY_SECONDS", "301"),
        ("LEEWAY_SECONDS", "-1"),
        ("TECHNICAL_CLAIM", "=x"),
        ("TECHNICAL_CLAIM", "gty="),
        ("GRANTS", "{"),
        ("GRANTS", "[]"),
        ("GRANTS", '{"ops": []}'),
        ("GRANTS", '{"ops": {"role": "king"}}'),
        ("GRANTS", '{"ops": {"role": "operator", "extra": ["keys.administer"]}}'),
        ("GRANTS", '{"ops": {"role": "operator", "tenants": []}}'),
        ("GRANTS", '{"ops": {"role": "operator", "tenant": "acme"}}'),
    ],
)
def test_what_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """With the variable, and without a secret that stands in a URL."""
    with pytest.raises(InvalidSettings) as refused:
        loaded(monkeypatch, **{**GOOD, f"JOBLEDGER_OIDC_{name}": value})
    assert refused.value.field == f"JOBLEDGER_OIDC_{name}"
    assert "secret" not in str(refused.value)


def test_an_issuer_needs_an_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was meant for another program must not do here."""
    with pytest.raises(InvalidSettings, match="JOBLEDGER_OIDC_AUDIENCE"):
        loaded(monkeypatch, JOBLEDGER_OIDC_ISSUER=GOOD["JOBLEDGER_OIDC_ISSUER"])


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://example.com", True), ("https://example.com:8443/a/", True), ("http://localhost:1/x", True),
        ("http://127.0.0.1", True), ("http://[::1]:8080", True), ("http://127.0.0.1.evil.example", False),
        ("http://localhost@evil.example", False), ("https://", False), ("https://x:y", False), ("ftp://x", False),
        ("http://[::1", False), ("", False), ("HTTPS://EXAMPLE.COM", True),
    ],
)  # fmt: skip
def test_keys_come_over_tls_or_from_this_machine(url: str, trusted: bool) -> None:
    """Whoever could change them on the way could sign for anybody."""
    assert is_trustworthy(url) is trusted
