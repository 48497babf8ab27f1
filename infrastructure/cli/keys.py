"""`jobledger keys`: who may use the HTTP API, and for what."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.text import Text

from jobledger.application.key_messages import (
    KEYS_LIMIT_DEFAULT,
    KEYS_LIMIT_MAX,
    CreateKey,
    IssuedKey,
    KeyView,
    ListKeys,
    RevokeKey,
    RotateKey,
)
from jobledger.application.message import Message
from jobledger.application.result import Refused
from jobledger.domain.api_key import ApiKey, KeyStatus
from jobledger.domain.errors import InvalidInput
from jobledger.domain.identity import EXTRA_PERMISSIONS, Permission, Role

from ..shapes import keys as shapes
from ..shapes.texts import time_text, utc_text
from . import options
from .asking import send_calling
from .json_output import print_json
from .output import console, table
from .session import Session, opened
from .times import parse_future

R = TypeVar("R")

_group = typer.Typer(
    help="Make, list, rotate and revoke API keys: who may use the HTTP API, for which tenants and queues.",
    no_args_is_help=True,
)
_STATUS_STYLE = {KeyStatus.ACTIVE: "green", KeyStatus.EXPIRED: "yellow", KeyStatus.REVOKED: "dim"}
_TYPED = {
    "key_name": "--name", "expires_at": "--expires", "previous_expires_at": "--old-expires", "after_key": "--after",
    "key_id": "KEY",
}  # fmt: skip
_OF_GRANT = {"role": "--role", "tenants": "--tenant", "queues": "--queue", "extra": "--may"}
_KEY_ID = re.compile(r"[a-z0-9]{4,16}", re.ASCII)
_MAY = ", ".join(sorted(EXTRA_PERMISSIONS))

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key's id (not its text).", show_default=False)]
Expires = Annotated[
    str | None,
    typer.Option("--expires", help="When it ends: 90d, 12h, a date or a time. Default: never.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="keys")


@_group.command()
def create(
    *,
    name: Annotated[str, typer.Option("--name", help="What people call it.", show_default=False)],
    role: Annotated[
        list[Role], typer.Option("--role", help="What it is for. Repeatable: a grant for each.", show_default=False)
    ],
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", "-t", help="Only for this tenant. Repeatable. Default: all.",
                                       show_default=False)
    ] = None,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", help="Only in this queue. Repeatable. Default: all.",
                                       show_default=False)
    ] = None,
    may: Annotated[
        list[Permission] | None,
        typer.Option("--may", help=f"More than the role permits: {_MAY}. Repeatable.", metavar="PERMISSION",
                     show_default=False),
    ] = None,
    expires: Expires = None,
    person: Annotated[
        bool, typer.Option("--person", help="It stands for a person, not for a service: it cannot run jobs.")
    ] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Make a key and print its text, once. `JOBLEDGER_TENANT` does not count here: name the tenants."""
    limited = {"tenants": tenant or None, "queues": queue or None, "extra": may or ()}
    grants = tuple({"role": one, **limited} for one in dict.fromkeys(role))
    with opened() as session:
        issued = _ask(
            session, CreateKey, key_name=name, grants=grants, technical=not person,
            expires_at=parse_future(expires, "--expires", datetime.now(UTC)), reason=reason,
        )  # fmt: skip
    _print_issued(issued, as_json=as_json)


@_group.command("list")
def list_keys(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=KEYS_LIMIT_MAX, help="Rows of a page.")] = (
        KEYS_LIMIT_DEFAULT
    ),
    after: options.After = None,
    as_json: options.Json = False,
) -> None:
    """List all keys, revoked and expired ones too, without their secrets. Uses lag a minute."""
    now = datetime.now(UTC)
    with opened() as session:
        page = _ask(session, ListKeys, after_key=after or "", limit=limit)
    if as_json:
        print_json({"keys": [shapes.key_view(view, now) for view in page.keys], "next": page.next})
    elif not page.keys:
        console().print("no keys; make one with: jobledger keys create")
    else:
        columns = ("id", "name", "status", "ends (UTC)", "used (UTC)", "for")
        rows = [_line(view, now) for view in page.keys]
        console().print(table(*columns, rows=rows, spare=("used (UTC)", "ends (UTC)", "name")))
        if page.next is not None:
            console().print(f"[dim]next page:[/] jobledger keys list --after {page.next}")


@_group.command()
def rotate(
    *,
    key: KeyArgument,
    expires: Expires = None,
    old_expires: Annotated[
        str | None,
        typer.Option("--old-expires", help="When the secret until now ends: 1d, 12h, 0s, a date or a time. Default: as "
                     "before, or with the next rotation.", show_default=False),
    ] = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Give a key another secret and print the new text, once. The last one goes on to work, the one before ends."""
    now = datetime.now(UTC)
    with opened() as session:
        issued = _ask(
            session, RotateKey, key_id=_id(key), expires_at=parse_future(expires, "--expires", now),
            previous_expires_at=parse_future(old_expires, "--old-expires", now), reason=reason,
        )  # fmt: skip
    _print_issued(issued, as_json=as_json)


@_group.command()
def revoke(*, key: KeyArgument, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """End a key for good. Servers believe in it for two more seconds at most."""
    with opened() as session:
        view = _ask(session, RevokeKey, key_id=_id(key), reason=reason)
    now = datetime.now(UTC)
    if as_json:
        print_json({"key": shapes.key_view(view, now)})
    else:
        console().print(_told(view.key, now), soft_wrap=True)


def _print_issued(issued: IssuedKey, *, as_json: bool) -> None:
    now = datetime.now(UTC)
    if as_json:
        print_json({"key": shapes.key(issued.key, now), "credential": issued.credential})
        return
    out, key = console(), issued.key
    out.print(_told(key, now), soft_wrap=True)
    if len(good := [secret for secret in key.secrets if secret.is_good(now)]) > 1:
        ends = "with the next rotation" if good[0].expires_at is None else f"at {utc_text(good[0].expires_at)}"
        out.print(f"the secret until now ends {ends}", soft_wrap=True)
    out.print()
    out.print(Text(f"    {issued.credential}", style="bold"), soft_wrap=True)
    out.print()
    out.print(
        f"[yellow]This is shown once and kept nowhere.[/] If it gets lost: jobledger keys rotate {key.key_id}",
        soft_wrap=True,
    )


def _told(key: ApiKey, now: datetime) -> Text:
    ends = "never expires" if key.expires_at is None else f"expires {utc_text(key.expires_at)}"
    kind = "" if key.technical else "a person's, "
    status = key.status(now)
    return Text.assemble(
        "key ", (key.key_id, "bold"), f" ({key.name}): ", (status.value, _STATUS_STYLE[status]),
        f", {kind}{shapes.grants_text(key.grants)}, {ends}",
    )  # fmt: skip


def _line(view: KeyView, now: datetime) -> tuple[str | Text, ...]:
    key, status = view.key, view.key.status(now)
    used = "never" if view.last_use is None else time_text(view.last_use.last_used_at)
    return (
        key.key_id, key.name, Text(status.value, style=_STATUS_STYLE[status]),
        "never" if key.expires_at is None else time_text(key.expires_at), used, shapes.grants_text(key.grants),
    )  # fmt: skip


def _id(text: str) -> str:
    """A key's id, also as histories name it: `key:4k2m9xq7ta`. What is none is not repeated: it may be a secret."""
    key_id = text.strip().removeprefix("key:")
    if _KEY_ID.fullmatch(key_id) is None:
        raise InvalidInput(
            "that is no key's id", field="KEY", rule="4 to 16 of a-z and 0-9", hint="jobledger keys list shows ids"
        )
    return key_id


def _ask(session: Session, message_type: type[Message[R]], /, **fields: object) -> R:
    """The answer; what is wrong is told about the option that carries it."""
    result = send_calling(session, message_type, _TYPED, **fields)
    if isinstance(result, Refused):
        in_grant = re.match(r"grants\.\d+\.(\w+)", result.error.field or "")
        if in_grant is not None:
            result.error.field = _OF_GRANT.get(in_grant[1], "--role")
    return result.unwrap()
