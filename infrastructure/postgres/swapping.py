"""Putting a shadow in the place of the live view, in one transaction of `jobledger_owner`.

What makes it safe: first the tables are locked, then the checkpoints, and only then is looked at where both stand. A
runner whose batch was under way has ended by then, and its batch counts; one that comes later waits for the lock, and
finds the new table under the old name.
"""

from __future__ import annotations

from typing import NamedTuple

from psycopg import sql

from jobledger.domain.errors import SchemaOutdated
from jobledger.projections.ports import Checkpoint, CheckpointMoved
from jobledger.projections.projection import IDENTIFIER_LENGTH_MAX, Column, Projection
from jobledger.projections.shadow import Rebuild, RebuildState, shadow_of

from ..sql_blocks import load
from . import rebuild_rows
from .comparing import scope_condition
from .connections import PgConnection, Role

SQL = load("jobledger.infrastructure.postgres", "sql/shadows.sql")

LOCK_TIMEOUT = "50ms"
"""Readers stand behind us while we wait for those that were there before."""
VACUUM_TIMEOUT = "3s"
"""How long we wait, with nobody behind us, for PostgreSQL's own upkeep of a table, which gives way after a second."""


def previous_name(view: str) -> str:
    """The table of the version that was replaced last."""
    return f"{view}__previous"


def previous_of(projection: Projection) -> Projection:
    """The version of a view that was replaced last."""
    return projection._replace(name=previous_name(projection.name))


class Standing(NamedTuple):
    """Where live view and shadow stand; None: the live one never ran."""

    live: Checkpoint | None
    fresh: Checkpoint

    @property
    def is_level(self) -> bool:
        """Whether both stand at one position."""
        return self.fresh.position == (0 if self.live is None else self.live.position)


def swap(connection: PgConnection, rebuild: Rebuild, projection: Projection) -> None:
    """Replace the view, or its rows of the rebuild's scope, in the transaction at hand; see the port."""
    with_previous = rebuild.scope.is_whole and exists(connection, previous_of(projection).name)
    connection.execute(SQL["set_lock_timeout"], (VACUUM_TIMEOUT,))
    connection.execute(SQL["have_rebuild_alone"], (rebuild.rebuild_id,))
    if rebuild_rows.state_of(connection, rebuild) is not RebuildState.COMPARING:
        raise CheckpointMoved(f"the rebuild of {rebuild.projection} is not comparing any more")
    tables = [shadow_of(projection).name, projection.name]
    if with_previous:
        tables.insert(0, previous_of(projection).name)
    _lock(connection, tables, "SHARE UPDATE EXCLUSIVE")
    renames = [] if not rebuild.scope.is_whole else _renames(connection, projection)
    connection.execute(SQL["set_lock_timeout"], (LOCK_TIMEOUT,))
    if rebuild.scope.is_whole:
        _lock(connection, tables, "ACCESS EXCLUSIVE")
        _replace_table(connection, projection, _level(connection, rebuild, projection), renames, with_previous)
    else:
        _lock(connection, tables, "SHARE ROW EXCLUSIVE")
        _require_same_fold(projection, _level(connection, rebuild, projection))
        _replace_rows(connection, rebuild, projection)
    connection.execute(SQL["set_state_of_rebuild"], (RebuildState.SWAPPED, rebuild.rebuild_id))


def exists(connection: PgConnection, table: str) -> bool:
    """Whether there is a table of this name."""
    row = connection.execute(SQL["table_exists"], (table,)).fetchone()
    return row is not None and bool(row[0])


def drop(connection: PgConnection, table: str) -> None:
    """Remove a table, where there is one."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))


def drop_shadow(connection: PgConnection, projection: str) -> None:
    """Remove the shadow of a view: rows, checkpoint, parked events."""
    name = f"{projection}__new"
    drop(connection, name)
    connection.execute(SQL["forget_checkpoint"], (name,))
    connection.execute(SQL["forget_parked_of"], (name,))


def _lock(connection: PgConnection, tables: list[str], mode: str) -> None:
    """The live table, which others use, comes last."""
    names = sql.SQL(", ").join(map(sql.Identifier, tables))
    connection.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(names, sql.SQL(mode)))


def _level(connection: PgConnection, rebuild: Rebuild, projection: Projection) -> Standing:
    """Where both stand, which nobody changes any more; `CheckpointMoved` unless that is one position."""
    names = [projection.name, shadow_of(projection).name]
    rows = connection.execute(SQL["lock_checkpoints"], (names,)).fetchall()
    found = {name: Checkpoint(*rest) for name, *rest in rows}
    fresh = found.get(shadow_of(projection).name)
    if fresh is None or fresh.version != rebuild.fold_version:
        raise CheckpointMoved(f"the shadow of {projection.name} is not this rebuild's")
    standing = Standing(found.get(projection.name), fresh)
    if not standing.is_level:
        raise CheckpointMoved(f"{projection.name} and its shadow do not stand at one position")
    return standing


def _replace_table(
    connection: PgConnection, projection: Projection, standing: Standing, renames: list[sql.Composed], previous: bool
) -> None:
    live, shadow = projection.name, shadow_of(projection).name
    if previous:
        drop(connection, previous_of(projection).name)
    with connection.pipeline():
        for statement in renames:
            connection.execute(statement)
        connection.execute(SQL["forget_parked_of"], (live,))
        connection.execute(SQL["take_over_parked"], (live, shadow))
        connection.execute(SQL["forget_checkpoint"], (shadow,))
        fresh = standing.fresh
        connection.execute(SQL["replace_checkpoint"], (live, fresh.version, fresh.position, fresh.recorded_at))


def _renames(connection: PgConnection, projection: Projection) -> list[sql.Composed]:
    """Live becomes previous, shadow becomes live: tables, and all that bears their names."""
    live, shadow, previous = projection.name, shadow_of(projection).name, previous_of(projection).name
    return [*_rename(connection, live, previous), *_rename(connection, shadow, live)]


def _rename(connection: PgConnection, old: str, new: str) -> list[sql.Composed]:
    statements = [sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))]
    for kind, name in connection.execute(SQL["names_on_table"], {"table": old}).fetchall():
        if not name.startswith(f"{old}_"):
            continue  # somebody's own
        renamed = new + name.removeprefix(old)
        if kind == "constraint" and len(renamed) > IDENTIFIER_LENGTH_MAX:
            continue  # it would be cut; unlike an index's, its name has to differ from others of its own table only
        to = sql.Identifier(renamed)
        if kind == "index":
            statements.append(sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(name), to))
        else:
            statements.append(
                sql.SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
                    sql.Identifier(new), sql.Identifier(name), to
                )
            )
    return statements


def _replace_rows(connection: PgConnection, rebuild: Rebuild, projection: Projection) -> None:
    """The rows of the scope that differ, as the projector: row-level security binds the owner too."""
    live, shadow = projection.name, shadow_of(projection).name
    parts = {
        "live": sql.Identifier(live), "fresh": sql.Identifier(shadow),
        "where": scope_condition(projection, rebuild.scope), "columns": _names(projection.columns),
        "keys": _names(projection.key_columns), "same_key": _equal(projection.key_columns),
        "replacing": _replacing(projection),
    }  # fmt: skip
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(Role.PROJECTOR)))
    connection.execute(
        sql.SQL(
            "DELETE FROM {live} AS t WHERE {where} AND NOT EXISTS (SELECT FROM {fresh} AS fresh WHERE {same_key})"
        ).format(**parts)
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {live} AS live ({columns}) SELECT {columns} FROM {fresh} AS t WHERE {where}"
            " ON CONFLICT ({keys}) DO {replacing}"
        ).format(**parts)
    )
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(Role.OWNER)))
    scope = {"projection": live, "tenant": rebuild.scope.tenant, "job": rebuild.scope.job}
    connection.execute(SQL["forget_parked_of_scope"], scope)
    connection.execute(SQL["take_over_parked"], (live, shadow))
    drop_shadow(connection, live)


def _require_same_fold(projection: Projection, standing: Standing) -> None:
    if standing.live is not None and standing.live.version != projection.version:
        raise SchemaOutdated(
            f"view {projection.name} was written by version {standing.live.version} of its fold, this program has "
            f"{projection.version}: its rows cannot be replaced one by one", field="projection",
            hint="rebuild the whole view",
        )  # fmt: skip


def _replacing(projection: Projection) -> sql.Composed:
    rest = [column for column in projection.columns if not column.key]
    if not rest:
        return sql.SQL("NOTHING").format()
    return sql.SQL("UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column.name), sql.Identifier("excluded", column.name))
            for column in rest
        ),
        _names(rest, "live"), _names(rest, "excluded"),
    )  # fmt: skip


def _equal(columns: tuple[Column, ...]) -> sql.Composed:
    return sql.SQL("({}) = ({})").format(_names(columns, "fresh"), _names(columns, "t"))


def _names(columns: tuple[Column, ...] | list[Column], *table: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*table, column.name) for column in columns)
