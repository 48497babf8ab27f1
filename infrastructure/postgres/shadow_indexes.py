"""The indexes of a shadow, several at a time: the server sorts for one of them on little more than one core.

Each is a transaction of its own, so that one that is there is whole. Whoever calls has the rebuild to itself; but a
server goes on with the index of a process that was killed, so another may still be making one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from psycopg import errors, sql

from jobledger.domain.errors import LedgerBusy
from jobledger.projections.projection import Projection

from ..sql_blocks import load
from .connections import PgConnection
from .view_tables import indexes

SQL = load("jobledger.infrastructure.postgres", "sql/shadows.sql")

_NAMES_OF_TABLES = "pg_class_relname_nsp_index"


def build(shadow: Projection, connect: Callable[[], AbstractContextManager[PgConnection]], *, at_once: int) -> None:
    """Make the indexes of the shadow that it does not have, the one of the key among them; `connect` gives connections
    of the owner."""
    left = deque(indexes(shadow).items())
    with ThreadPoolExecutor(at_once, thread_name_prefix="rebuild-index") as threads:
        for done in [threads.submit(_build_some, shadow, connect, left) for _ in range(at_once)]:
            done.result()


def _build_some(
    shadow: Projection,
    connect: Callable[[], AbstractContextManager[PgConnection]],
    left: deque[tuple[str, sql.Composed]],
) -> None:
    with connect() as connection:
        while left:
            try:
                name, statement = left.popleft()
            except IndexError:  # the other one took the last
                return
            _build_one(connection, shadow, name, statement)


def _build_one(connection: PgConnection, shadow: Projection, name: str, statement: sql.Composed) -> None:
    try:
        with connection.transaction():
            if name not in _existing(connection, shadow):
                connection.execute(SQL["room_to_sort"])
                connection.execute(statement)
    except errors.UniqueViolation as error:
        if error.diag.constraint_name != _NAMES_OF_TABLES:
            raise
        raise LedgerBusy(f"another process has made the index {name} meanwhile") from error


def _existing(connection: PgConnection, shadow: Projection) -> frozenset[str]:
    rows = connection.execute(SQL["names_on_table"], {"table": shadow.name}).fetchall()
    return frozenset(name for kind, name in rows if kind == "index")
