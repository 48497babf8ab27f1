"""The tables of views, made from their projections: the live one, its shadow, and what they are indexed by.

A table is STRICT and WITHOUT ROWID, so it is its own primary key index. SQLite cannot rename an index, while a rebuild
renames tables: the name of an index is only a label, `<view>_<suffix>` or, while another version of the view has that,
`<view>_<suffix>__2` and so on. Nothing names an index in a query, so which one it is never matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from sqlite3 import Connection

from jobledger.projections.projection import Column, ColumnType, Index, Projection

from ..sql_blocks import load

SQL = load("jobledger.infrastructure.sqlite", "sql/shadows.sql")

_TYPES: Mapping[ColumnType, str] = {
    "uuid": "BLOB", "text": "TEXT", "integer": "INTEGER", "real": "REAL", "boolean": "INTEGER", "timestamp": "INTEGER",
}  # fmt: skip


def quoted(name: str) -> str:
    """A name as it stands in a statement, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def table_definition(projection: Projection, table: str | None = None) -> str:
    """The statement that makes the projection's table, or one of the same shape called `table`, without indexes."""
    columns = [f"    {quoted(column.name)} {_type(column)}" for column in projection.columns]
    keys = ", ".join(quoted(column.name) for column in projection.key_columns)
    body = ",\n".join([*columns, f"    PRIMARY KEY ({keys})"])
    return f"CREATE TABLE {quoted(table or projection.name)} (\n{body}\n) STRICT, WITHOUT ROWID"


def index_definition(projection: Projection, index: Index, name: str, table: str) -> str:
    """The statement that makes this index of the projection on a table."""
    columns = ", ".join(map(quoted, index.columns))
    return f"CREATE INDEX {quoted(name)} ON {quoted(table)} ({columns}){_condition(projection, index)}"


def indexes(projection: Projection) -> tuple[Index, ...]:
    """Those of its indexes that SQLite has."""
    return tuple(index for index in projection.indexes if index.engine in {None, "sqlite"})


def missing_indexes(connection: Connection, projection: Projection, table: str) -> list[str]:
    """The statements that make the indexes that a version of the projection's table lacks."""
    taken = dict(connection.execute(SQL["indexes"]).fetchall())
    statements = []
    for index in indexes(projection):
        base = f"{projection.name}_{index.suffix}"
        if not any(_is_label(name, base) for name, owner in taken.items() if owner == table):
            name = next(name for name in _labels(base) if name not in taken)
            statements.append(index_definition(projection, index, name, table))
    return statements


def create_tables(connection: Connection, projections: Iterable[Projection]) -> None:
    """Make their tables and indexes, in the transaction at hand."""
    for projection in projections:
        connection.execute(table_definition(projection))
        for statement in missing_indexes(connection, projection, projection.name):
            connection.execute(statement)


def missing_tables(connection: Connection, projections: Iterable[Projection]) -> list[Projection]:
    """The projections that have no table."""
    return [projection for projection in projections if not has_table(connection, projection.name)]


def has_table(connection: Connection, name: str) -> bool:
    """Whether there is a table of this name."""
    return connection.execute(SQL["table"], (name,)).fetchone() is not None


def _type(column: Column) -> str:
    return _TYPES[column.type] + ("" if column.nullable else " NOT NULL")


def _condition(projection: Projection, index: Index) -> str:
    if index.where is None:
        return ""
    (column,) = (column for column in projection.columns if column.name == index.where)
    return f" WHERE {quoted(column.name)}" + ("" if column.type == "boolean" else " IS NOT NULL")


def _labels(base: str) -> Iterator[str]:
    yield base
    for number in count(2):
        yield f"{base}__{number}"


def _is_label(name: str, base: str) -> bool:
    return name == base or (name.startswith(f"{base}__") and name.removeprefix(f"{base}__").isdigit())
