"""The tables of views, made from their projections: columns, key, indexes, row-level security and rights.

A table is made in two parts, because rows come in fastest between them: first the bare table, then all the rest.
Everything that belongs to a table has its name in front of its own, so that both are renamed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from jobledger.projections.projection import Column, Index, Projection

from .binary_arrays import FORMS
from .connections import PgConnection

TENANT = "tenant_id"
"""The column that says whose a row is. A view without it is nobody's: the API may not read it."""

Statements = list[sql.Composed]


def bare_table(projection: Projection, *, autovacuum: bool = True) -> sql.Composed:
    """The statement that makes the table: columns, no key, nobody's rights."""
    options = [sql.SQL("fillfactor = {}").format(projection.fill_percent)] if projection.fill_percent != 100 else []
    if not autovacuum:
        options.append(sql.SQL("autovacuum_enabled = false").format())
    return sql.SQL("CREATE TABLE {} ({}){}").format(
        sql.Identifier(projection.name), sql.SQL(", ").join(map(_column, projection.columns)), _with(options)
    )


def indexes(projection: Projection) -> dict[str, sql.Composed]:
    """The statements that make the indexes, by their names; the one behind the primary key comes last."""
    wanted = (index for index in projection.indexes if index.engine in {None, "postgres"})
    return {
        **{_index_name(projection, index): _index(projection, index) for index in wanted},
        _key_name(projection): _key_index(projection),
    }


def key(projection: Projection) -> sql.Composed:
    """The statement that makes its index the primary key."""
    return sql.SQL("ALTER TABLE {} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {name}").format(
        sql.Identifier(projection.name), name=sql.Identifier(_key_name(projection))
    )


def protection(projection: Projection) -> Statements:
    """The statements that say who may do what: the API reads one tenant's rows, the auditor all, the projector writes.

    Without a tenant there is nothing to tell rows apart by, and the API reads none.
    """
    names = {"table": sql.Identifier(projection.name), "tenant": sql.Identifier(TENANT)}
    return [sql.SQL(text).format(**names) for text in (_OF_TENANTS if has_tenant(projection) else _OF_NOBODY)]


def definition(projection: Projection) -> Statements:
    """All that a projection's table is made of."""
    return [bare_table(projection), *indexes(projection).values(), key(projection), *protection(projection)]


def has_tenant(projection: Projection) -> bool:
    """Whether each row is a tenant's."""
    return any(column.name == TENANT for column in projection.columns)


def missing_tables(connection: PgConnection, projections: Iterable[Projection]) -> list[Projection]:
    """The projections that have no table."""
    wanted = list(projections)
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass('jobledger.' || quote_ident(name)) IS NULL",
        ([projection.name for projection in wanted],),
    ).fetchall()
    missing = {name for (name,) in rows}
    return [projection for projection in wanted if projection.name in missing]


def create_tables(connection: PgConnection, projections: Sequence[Projection]) -> None:
    """Make their tables, as `jobledger_owner` in its schema and in the transaction at hand."""
    for projection in projections:
        for statement in definition(projection):
            connection.execute(statement)


# As in the migrations: the policies' names are the same on every table that has a tenant.
_OF_TENANTS = (
    "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    (
        "CREATE POLICY one_tenant ON {table} FOR SELECT TO jobledger_api"
        " USING ({tenant} = nullif(current_setting('jobledger.tenant', true), ''))"
    ),
    "CREATE POLICY read_all ON {table} FOR SELECT TO jobledger_auditor USING (true)",
    "CREATE POLICY write ON {table} FOR ALL TO jobledger_projector USING (true) WITH CHECK (true)",
    "GRANT SELECT ON {table} TO jobledger_api, jobledger_auditor",
    "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} TO jobledger_projector",
)
_OF_NOBODY = (
    "GRANT SELECT ON {table} TO jobledger_auditor",
    "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} TO jobledger_projector",
)


def _column(column: Column) -> sql.Composed:
    text = "{} {}" + (' COLLATE "C"' if column.type == "text" else "") + ("" if column.nullable else " NOT NULL")
    return sql.SQL(text).format(sql.Identifier(column.name), sql.SQL(FORMS[column.type].type_name))


def _with(options: Sequence[sql.Composed]) -> sql.Composed:
    return sql.SQL(" WITH ({})" if options else "{}").format(sql.SQL(", ").join(options))


def _key_name(projection: Projection) -> str:
    return f"{projection.name}_pkey"


def _key_index(projection: Projection) -> sql.Composed:
    return sql.SQL("CREATE UNIQUE INDEX {} ON {} ({})").format(
        sql.Identifier(_key_name(projection)), sql.Identifier(projection.name),
        _names(column.name for column in projection.key_columns),
    )  # fmt: skip


def _index_name(projection: Projection, index: Index) -> str:
    return f"{projection.name}_{index.suffix}"


def _index(projection: Projection, index: Index) -> sql.Composed:
    return sql.SQL("CREATE INDEX {} ON {} ({}){}").format(
        sql.Identifier(_index_name(projection, index)), sql.Identifier(projection.name), _names(index.columns),
        _condition(projection, index),
    )  # fmt: skip


def _condition(projection: Projection, index: Index) -> sql.Composed:
    if index.where is None:
        return sql.SQL("").format()
    (column,) = (column for column in projection.columns if column.name == index.where)
    return sql.SQL(" WHERE {}" if column.type == "boolean" else " WHERE {} IS NOT NULL").format(
        sql.Identifier(column.name)
    )


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
