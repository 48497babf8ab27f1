"""API keys through the command line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobledger.domain.identity import Identity, Permission
from jobledger.infrastructure import settings
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.identities import ensure_admin_key, open_authenticator
from tests.support.cli import Cli

WHY = ("--reason", "trying it out")
KEY = {
    "key_id", "identity", "name", "status", "technical", "grants", "expires_at", "secrets", "created_at", "created_by",
    "last_used_at", "last_address",
}  # fmt: skip


def created(cli: Cli, *words: str) -> dict[str, Any]:
    """A key as it was made, with its text."""
    answer: dict[str, Any] = cli("keys", "create", "--name", "mailer", *WHY, *words, "--json").json
    assert answer.keys() == {"key", "credential"}
    return answer


def listed(cli: Cli) -> dict[str, dict[str, Any]]:
    """All keys by name."""
    return {row["name"]: row for row in cli("keys", "list", "--json").json["keys"]}


def ledger(cli: Cli) -> closing[LedgerHandle]:
    """The ledger, as a server opens it."""
    return closing(open_ledger(settings.load(database=cli.variables["JOBLEDGER_DATABASE"])))


def who(cli: Cli, credential: str) -> Identity:
    """Whom a server would take for it."""
    with ledger(cli) as handle, open_authenticator(handle) as authenticator:
        return authenticator.authenticate(credential, address="192.0.2.7")


def test_a_key_is_made_shown_once_and_listed(cli: Cli) -> None:
    """Its text is on stdout with a remark, and nowhere afterwards; the list says what it is for."""
    answer = cli(
        "keys", "create", "--name", "mail sender", "--role", "emitter", "--tenant", "acme", "--queue", "mail",
        "--queue", "bulk", "--expires", "90d", *WHY,
    )  # fmt: skip
    (text,) = [line.strip() for line in answer.out.splitlines() if line.strip().startswith("jl_")]
    assert "shown once" in answer.out and answer.err == ""
    assert "emitter for acme in bulk, mail, expires" in answer.out
    shown = cli("keys", "list").out
    assert "mail sender" in shown and "never" in shown
    assert text.partition(".")[2] not in shown + cli("keys", "list", "--json").out
    row = listed(cli)["mail sender"]
    assert set(row) == KEY
    assert (row["identity"], row["created_by"]) == (f"key:{row['key_id']}", "test:operator")
    assert row["grants"] == [{"role": "emitter", "tenants": ["acme"], "queues": ["bulk", "mail"], "extra": []}]

    identity = who(cli, text)
    assert identity.permits(Permission.DISPATCH, "acme", "mail")
    assert not identity.permits(Permission.DISPATCH, "acme", "default")
    used = listed(cli)["mail sender"]
    assert used["last_used_at"] is not None and used["last_address"] == "192.0.2.7"


def test_a_persons_key_may_more_where_that_is_said(cli: Cli) -> None:
    """Permissions that no role but the administrator's has are granted by name."""
    made = created(cli, "--role", "operator", "--person", "--may", "payloads.read", "--may", "dlq.requeue")
    assert made["key"]["technical"] is False
    assert made["key"]["grants"] == [
        {"role": "operator", "tenants": None, "queues": None, "extra": ["dlq.requeue", "payloads.read"]}
    ]


def test_each_role_that_is_named_is_a_grant(cli: Cli) -> None:
    """For the tenants and queues that are named; the answer says all of them."""
    both = ("--role", "emitter", "--role", "auditor", "--role", "emitter", "--tenant", "acme", "--queue", "mail")
    made = created(cli, *both)
    limited = {"tenants": ["acme"], "queues": ["mail"], "extra": []}
    assert made["key"]["grants"] == [{"role": "emitter", **limited}, {"role": "auditor", **limited}]
    told = cli("keys", "create", "--name", "two", *both, *WHY).out
    assert "emitter for acme in mail" in told and "auditor for acme in mail" in told


def test_a_key_is_rotated_and_revoked(cli: Cli) -> None:
    """Its secrets overlap as long as that is wanted; who did it and why is on record."""
    first = created(cli, "--role", "auditor", "--expires", "2999-01-01")
    key_id = first["key"]["key_id"]
    assert first["key"]["expires_at"] == "2999-01-01T00:00:00Z"
    second = cli("keys", "rotate", key_id, "--expires", "30d", "--old-expires", "0s", *WHY, "--json").json
    assert second["key"]["key_id"] == key_id and second["credential"] != first["credential"]
    assert len(second["key"]["secrets"]) == 1
    assert who(cli, second["credential"]).id == f"key:{key_id}"
    third = cli("keys", "rotate", f"key:{key_id}", "--expires", "30d", *WHY).out
    assert "the secret until now ends at" in third and "shown once" in third

    assert f"key {key_id} (mailer): revoked" in cli("keys", "revoke", key_id, "--reason", "leaked").out
    assert listed(cli)["mailer"]["status"] == "revoked"
    assert "revoked" in cli("keys", "rotate", key_id, "--expires", "1d", *WHY, code=1).err
    acts = cli("audit", "actions", "--tenant", "system", "--json").out
    assert f"key {key_id}" in acts and "leaked" in acts and second["credential"].partition(".")[2] not in acts


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("create", "--name", "a", "--role", "worker"), "--reason"),
        (("create", "--name", "", "--role", "worker", *WHY), "--name"),
        (("create", "--name", "a", "--role", "worker", "--person", *WHY), "--role"),
        (("create", "--name", "a", "--role", "worker", "--tenant", "nobody", *WHY), "--tenant"),
        (("create", "--name", "a", "--role", "worker", "--tenant", "A B", *WHY), "--tenant"),
        (("create", "--name", "a", "--role", "worker", "--queue", "A B", *WHY), "--queue"),
        (("create", "--name", "a", "--role", "worker", "--may", "keys.administer", *WHY), "--may"),
        (("create", "--name", "a", "--role", "worker", "--expires", "soon", *WHY), "--expires"),
        (("create", "--name", "a", "--role", "worker", "--expires", "2020-01-01", *WHY), "--expires"),
        (("create", "--name", "a", "--role", "worker", "--expires", "999999999w", *WHY), "--expires"),
        (("create", "--name", "a", "--role", "worker", "--expires", "2020-13-01", *WHY), "--expires"),
        (("rotate", "abcdefgh", "--old-expires", "-1d", *WHY), "--old-expires"),
        (("revoke", "jl_abcdefgh.secret", *WHY), "KEY"),
        (("revoke", "abcdefgh", *WHY), "KEY"),
    ],
)
def test_what_is_wrong_is_told_about_its_option(sqlite_cli: Cli, words: tuple[str, ...], field: str) -> None:
    """And nothing is made; a secret that was typed instead of an id is not repeated."""
    error = sqlite_cli("keys", *words, "--json", code=1).error
    assert error["field"] == field, error
    assert "secret" not in error["message"]
    assert listed(sqlite_cli) == {}


def test_a_long_list_has_pages(sqlite_cli: Cli) -> None:
    """`next` of a page is `--after` of the following."""
    made = sorted(created(sqlite_cli, "--role", "emitter")["key"]["key_id"] for _ in range(3))
    first = sqlite_cli("keys", "list", "--limit", "2", "--json").json
    assert [row["key_id"] for row in first["keys"]] == made[:2]
    rest = sqlite_cli("keys", "list", "--limit", "2", "--after", first["next"], "--json").json
    assert ([row["key_id"] for row in rest["keys"]], rest["next"]) == (made[2:], None)
    assert f"--after {made[1]}" in sqlite_cli("keys", "list", "--limit", "2").out
    assert "no keys" not in sqlite_cli("keys", "list").out


def test_the_first_start_makes_an_admin_key_once(cli: Cli) -> None:
    """Whoever installed it can begin; the record says that nobody asked for it."""
    with ledger(cli) as handle:
        text = ensure_admin_key(handle)
        assert text is not None and text.startswith("jl_admin.")
        assert ensure_admin_key(handle) is None
    row = listed(cli)["first admin key"]
    assert (row["key_id"], row["created_by"], row["technical"]) == ("admin", "system:first-start", False)
    assert who(cli, text).permits(Permission.KEYS, None, None)


def test_tenants_are_made_and_suspended_with_reasons(cli: Cli) -> None:
    """All four commands; the manual acts say why."""
    cli("tenants", "create", "beta", "--reason", "signed")
    assert "error" in cli("tenants", "suspend", "beta", code=1).err
    cli("tenants", "suspend", "beta", "--reason", "unpaid")
    assert {row["name"]: row["status"] for row in cli("tenants", "list", "--json").json["tenants"]}[
        "beta"
    ] == "suspended"
    cli("tenants", "resume", "beta", "--reason", "paid")
    acts = cli("audit", "actions", "--tenant", "beta").out
    assert "unpaid" in acts and "paid" in acts


@pytest.fixture
def sqlite_cli(tmp_path: Path, prepared_sqlite: str) -> Cli:
    """The command line on SQLite alone: for what no engine decides."""
    return Cli(tmp_path, prepared_sqlite, JOBLEDGER_ACTOR="test:operator")
