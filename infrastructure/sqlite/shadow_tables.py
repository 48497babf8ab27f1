"""The versions of a view's table: how a shadow becomes the live one, and how a table goes away.

Renaming takes the same few milliseconds at any size, and readers never wait for it: their transactions see one version
or the other. Dropping takes seconds for a million rows, in which nobody could write. So a table that is not wanted any
more is first set aside under a name of its own, in the transaction that decides it, and then removed bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from sqlite3 import Connection

from jobledger.projections.projection import Projection
from jobledger.projections.shadow import Scope, shadow_of

from ..sql_blocks import load
from .comparing import scope_condition
from .database import Database
from .view_tables import has_table, quoted, table_definition

SQL = load("jobledger.infrastructure.sqlite", "sql/shadows.sql", "sql/views.sql")

_ROWS_AT_ONCE = 5_000


def shadow_name(view: str) -> str:
    """The table of the shadow of a view; `shadow_of` names the projection so."""
    return f"{view}__new"


def previous_name(view: str) -> str:
    """The table of the version that was replaced last."""
    return f"{view}__previous"


def make_shadow(connection: Connection, projection: Projection) -> None:
    """An empty shadow without indexes, whatever was left of an earlier one."""
    drop_shadow(connection, projection.name)
    connection.execute(table_definition(projection, shadow_of(projection).name))


def drop_shadow(connection: Connection, view: str) -> None:
    """Forget the shadow: its checkpoint, what is parked, and its rows."""
    name = shadow_name(view)
    connection.execute(SQL["forget_checkpoint"], (name,))
    connection.execute(SQL["forget_parked"], (name,))
    set_aside(connection, view, name)


def set_aside(connection: Connection, view: str, table: str) -> None:
    """Take a table away, if it is there; `remove_set_aside` does the rest, once this is committed."""
    if has_table(connection, table):
        prefix = _aside(view)
        name = next(name for number in count(1) if not has_table(connection, name := f"{prefix}{number}"))
        _rename(connection, table, name)


def exchange(connection: Connection, view: str) -> None:
    """The shadow becomes live, the live one previous."""
    set_aside(connection, view, previous_name(view))
    _rename(connection, view, previous_name(view))
    _rename(connection, shadow_name(view), view)


def replace_rows(connection: Connection, projection: Projection, scope: Scope) -> None:
    """Give the live table the shadow's rows of a scope; rows that are right already stay untouched."""
    live, fresh = quoted(projection.name), quoted(shadow_of(projection).name)
    condition, values = scope_condition(projection, scope)
    same_key = _same([column.name for column in projection.key_columns])
    same_row = _same([column.name for column in projection.columns])
    names = ", ".join(quoted(column.name) for column in projection.columns)
    keys = ", ".join(quoted(column.name) for column in projection.key_columns)
    rest = [quoted(column.name) for column in projection.columns if not column.key]
    replacing = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in rest)}" if rest else "NOTHING"
    connection.execute(
        f"DELETE FROM {live} AS live WHERE {condition}"
        f" AND NOT EXISTS (SELECT 1 FROM {fresh} AS fresh WHERE {same_key})",
        values,
    )
    connection.execute(
        f"INSERT INTO {live} ({names}) SELECT {names} FROM {fresh} AS fresh"
        f" WHERE NOT EXISTS (SELECT 1 FROM {live} AS live WHERE {same_row}) ON CONFLICT ({keys}) DO {replacing}"
    )


def remove_set_aside(database: Database, view: str) -> None:
    """Remove what was set aside, in small transactions. Harmless where another process does it, too."""
    with database.read() as connection:
        tables = [name for (name,) in connection.execute(SQL["tables_like"], (_aside(view),))]
    for table in tables:
        while _remove_some(database, table):
            pass


def _remove_some(database: Database, table: str) -> bool:
    """An index, or some rows, or at last the empty table; False once there is nothing left."""
    with database.write() as connection:
        if not has_table(connection, table):
            return False
        index = connection.execute(SQL["indexes_of"], (table,)).fetchone()
        if index is not None:
            connection.execute(f"DROP INDEX {quoted(index[0])}")
        elif not _delete_some(connection, table):
            connection.execute(f"DROP TABLE {quoted(table)}")
    return True


def _delete_some(connection: Connection, table: str) -> bool:
    keys = ", ".join(quoted(name) for name in _key_names(connection, table))
    deleted = connection.execute(
        f"DELETE FROM {quoted(table)} WHERE ({keys}) IN"
        f" (SELECT {keys} FROM {quoted(table)} ORDER BY {keys} LIMIT {_ROWS_AT_ONCE})"
    )
    return deleted.rowcount > 0


def _key_names(connection: Connection, table: str) -> Sequence[str]:
    return [name for (name,) in connection.execute(SQL["keys_of"], (table,))]


def _aside(view: str) -> str:
    return f"{view}__dropped"


def _same(names: Sequence[str]) -> str:
    return " AND ".join(f"live.{quoted(name)} IS fresh.{quoted(name)}" for name in names)


def _rename(connection: Connection, table: str, name: str) -> None:
    connection.execute(f"ALTER TABLE {quoted(table)} RENAME TO {quoted(name)}")
