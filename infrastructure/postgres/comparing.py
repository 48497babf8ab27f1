"""A live view beside its shadow, in one snapshot: digests of both, and what they do not agree on.

Digests are taken over all rows in the order of the key, in the binary form of COPY. Only where they differ are the
tables joined. A live view that an older fold wrote may have other columns: a column that it lacks counts as null, one
that the fold does not know any more does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from psycopg import sql

from jobledger.domain.errors import InvalidInput, LedgerNotFound
from jobledger.projections.projection import Column, Projection, Row, Value
from jobledger.projections.shadow import SAMPLE_SIZE, Comparison, Difference, Scope, shadow_of

from ..sql_blocks import load
from .connections import PgConnection
from .view_tables import TENANT

SQL = load("jobledger.infrastructure.postgres", "sql/shadows.sql")

JOB = "job_id"
"""The column that says which job a row is of."""


class _Table(NamedTuple):
    """A table as it is: columns in their order with their types, and those of its key."""

    name: str
    types: dict[str, str]
    key: frozenset[str]


class PostgresSnapshot:
    """Live view and shadow in the transaction of one connection, at one position."""

    def __init__(
        self, connection: PgConnection, projection: Projection, position: int, analyse: Callable[[Projection], None]
    ) -> None:
        """`analyse` tidies the shadow up, for whoever reads it next."""
        self._connection = connection
        self._projection = projection
        self._position = position
        self._analyse = analyse

    def compare(self, scope: Scope) -> Comparison:
        """Compare all rows of the scope; see the port."""
        self._analyse(self._projection)
        live, fresh = self._table(self._projection.name), self._table(shadow_of(self._projection).name)
        where = scope_condition(self._projection, scope)
        rows_live, digest_live = self._digest(live, where)
        rows_fresh, digest_fresh = self._digest(fresh, where)
        differing, sample = 0, list[Difference]()
        if live.types != fresh.types or digest_live != digest_fresh:
            differing, sample = self._differences(live, fresh, where, rows_live + rows_fresh)
        return Comparison(self._position, rows_live, rows_fresh, differing, digest_live, digest_fresh, tuple(sample))

    def _table(self, name: str) -> _Table:
        rows = self._connection.execute(SQL["columns_of_table"], (name,)).fetchall()
        if not rows:
            raise LedgerNotFound(f"there is no table {name}", hint="run: jobledger migrate")
        types = {column: kind for column, kind, _ in rows}
        return _Table(name, types, frozenset(column for column, _, is_key in rows if is_key))

    def _digest(self, table: _Table, where: sql.Composable) -> tuple[int, str]:
        """How many rows, and their SHA-256 in the order of the key."""
        names = [column.name for column in self._projection.columns if column.name in table.types]
        keys = [column.name for column in self._projection.key_columns if column.name in table.types]
        statement = sql.SQL("COPY (SELECT {} FROM {} AS t WHERE {} ORDER BY {}) TO STDOUT (FORMAT BINARY)").format(
            _names(names, "t"), sql.Identifier(table.name), where, _names(keys or names, "t")
        )
        digest = hashlib.sha256()
        with self._connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for row in copy:
                    digest.update(row)
            return cursor.rowcount, digest.hexdigest()

    def _differences(
        self, live: _Table, fresh: _Table, where: sql.Composable, rows: int
    ) -> tuple[int, list[Difference]]:
        keys = [column.name for column in self._projection.key_columns]
        if live.key != frozenset(keys):
            return rows, []  # rows of another key: nothing to compare one by one
        parts = {
            "live": sql.Identifier(live.name), "fresh": sql.Identifier(fresh.name), "keys": _names(keys),
            "where": where, "differs": _differs(self._projection.columns, live, fresh),
        }  # fmt: skip
        joined = sql.SQL(
            "FROM (SELECT *, true AS is_there FROM {live} AS t WHERE {where}) AS live"
            " FULL JOIN (SELECT *, true AS is_there FROM {fresh} AS t WHERE {where}) AS fresh USING ({keys})"
            " WHERE live.is_there IS NULL OR fresh.is_there IS NULL OR {differs}"
        ).format(**parts)
        row = self._connection.execute(sql.SQL("SELECT count(*) {}").format(joined)).fetchone()
        return (row[0] if row else 0), self._sample(joined, keys, live, fresh)

    def _sample(self, joined: sql.Composable, keys: Sequence[str], live: _Table, fresh: _Table) -> list[Difference]:
        rest_live = [name for name in live.types if name not in keys]
        rest_fresh = [name for name in fresh.types if name not in keys]
        statement = sql.SQL("SELECT {} {} ORDER BY {} LIMIT {}").format(
            sql.SQL(", ").join(
                [
                    *map(sql.Identifier, keys),
                    *(sql.Identifier("live", name) for name in ["is_there", *rest_live]),
                    *(sql.Identifier("fresh", name) for name in ["is_there", *rest_fresh]),
                ]
            ),
            joined, _names(keys), SAMPLE_SIZE,
        )  # fmt: skip
        found = []
        for row in self._connection.execute(statement).fetchall():
            key, rest = row[: len(keys)], row[len(keys) :]
            named = dict(zip(keys, key, strict=True))
            of_live, of_fresh = rest[: len(rest_live) + 1], rest[len(rest_live) + 1 :]
            found.append(Difference(tuple(key), _row(named, rest_live, of_live), _row(named, rest_fresh, of_fresh)))
        return found


def scope_condition(projection: Projection, scope: Scope) -> sql.Composed:
    """What is true of a row (of a table called `t`) of the scope. `InvalidInput` where rows do not say whose they
    are."""
    conditions = [sql.SQL("true").format()]
    for column, value in ((TENANT, scope.tenant), (JOB, scope.job)):
        if value is None:
            continue
        if all(other.name != column for other in projection.columns):
            raise InvalidInput(
                f"the rows of {projection.name} have no {column}", field="scope", rule="rows that say whose they are",
                hint="rebuild the whole view",
            )  # fmt: skip
        conditions.append(sql.SQL("{} = {}").format(sql.Identifier("t", column), sql.Literal(value)))
    return sql.SQL(" AND ").join(conditions)


def _differs(columns: Sequence[Column], live: _Table, fresh: _Table) -> sql.Composed:
    """What tells a live row from a fresh one with the same key."""
    conditions = [sql.SQL("false").format()]
    for column in columns:
        if column.key:
            continue
        ours, theirs = sql.Identifier("fresh", column.name), sql.Identifier("live", column.name)
        if column.name not in live.types:
            conditions.append(sql.SQL("{} IS NOT NULL").format(ours))
        elif live.types[column.name] == fresh.types[column.name]:
            conditions.append(sql.SQL("{} IS DISTINCT FROM {}").format(ours, theirs))
        else:
            conditions.append(sql.SQL("{}::text IS DISTINCT FROM {}::text").format(ours, theirs))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))


def _row(key: Row, names: Sequence[str], values: Sequence[Value]) -> Row | None:
    """A side of the join; None where it has no such row."""
    is_there, *rest = values
    return {**key, **dict(zip(names, rest, strict=True))} if is_there else None


def _names(names: Sequence[str], *table: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*table, name) for name in names)
