"""Which rows a view takes: what its columns say, on whichever database it is kept.

Rows are not looked at one by one before they are stored: that would cost each event for the sake of very few. A store
refuses a batch with a row that does not fit (`RowRefused`); only then is the batch folded again with a projection that
looks at each row (`fitting`), so that the event which makes it is found, and treated like one that the fold raises for.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from jobledger.domain.errors import LedgerError

from .ports import Key
from .projection import Column, Projection, Row, SeenEvent

INTEGER_MIN, INTEGER_MAX = -(2**31), 2**31 - 1

_UNFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error)
"""What encoding a value raises that its column does not take. (`UnicodeEncodeError` is a `ValueError`.)"""


class RowRefused(LedgerError):
    """A row, or the key of one, that no database takes for this view. It says something about an event or about the
    fold, never about the database: trying again helps nothing."""

    code = "row_refused"


@contextmanager
def encoding() -> Iterator[None]:
    """Raises what goes wrong while rows are encoded as `RowRefused`. It says nothing of what stands in them."""
    try:
        yield
    except _UNFIT as error:
        raise RowRefused(f"a row does not fit its columns ({type(error).__name__})") from error


def broken_rule(column: Column, value: object) -> str | None:
    """The rule of a column that a value breaks; None: it fits."""
    if value is None:
        return None if column.nullable else "is never null"
    return _RULES[column.type](value)


def require_fit(columns: Iterable[Column], values: Iterable[object]) -> None:
    """`RowRefused` for the first value that breaks a rule of its column."""
    for column, value in zip(columns, values, strict=True):
        if rule := broken_rule(column, value):
            raise RowRefused(f"what the fold says does not fit the column, which {rule}", field=column.name, rule=rule)


def require_key(columns: Sequence[Column], key: object) -> None:
    """`RowRefused` for what is no key of these columns."""
    if not isinstance(key, tuple) or len(key) != len(columns):
        raise RowRefused("it is no tuple of the key columns' values", field="key")
    require_fit(columns, key)


def fitting(projection: Projection) -> Projection:
    """The projection, with a key and a fold that raise `RowRefused` for what its columns do not take."""
    columns, key_columns = projection.columns, projection.key_columns
    key_of, fold_row = projection.key, projection.fold
    names = frozenset(column.name for column in columns)

    def key(event: SeenEvent) -> Key | None:
        found = key_of(event)
        if found is not None:
            require_key(key_columns, found)
        return found

    def fold(row: Row | None, event: SeenEvent) -> Row | None:
        folded = fold_row(row, event)
        if folded is not None:
            _require_columns(folded, names)
            require_fit(columns, [folded[column.name] for column in columns])
        return folded

    return projection._replace(key=key, fold=fold)


def _require_columns(row: object, names: frozenset[str]) -> None:
    if not isinstance(row, dict):
        raise RowRefused("the fold returned no row", field="row", rule="is a dict, or None")
    if missing := sorted(names - row.keys()):
        raise RowRefused("the fold returned a row without it", field=missing[0], rule="every column has a value")


def _id_rule(value: object) -> str | None:
    return None if isinstance(value, UUID) else "is a UUID"


def _text_rule(value: object) -> str | None:
    if not isinstance(value, str):
        return "is text"
    if "\x00" in value:
        return "holds no NUL character"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "can be encoded as UTF-8 (no lone surrogates)"
    return None


def _integer_rule(value: object) -> str | None:
    if isinstance(value, int) and INTEGER_MIN <= value <= INTEGER_MAX:
        return None
    return f"is an integer from {INTEGER_MIN} to {INTEGER_MAX}"


def _real_rule(value: object) -> str | None:
    if isinstance(value, int | float):
        try:
            return "is a number" if math.isnan(value) else None
        except OverflowError:
            pass
    return "is a number that a float holds"


def _boolean_rule(value: object) -> str | None:
    return None if isinstance(value, bool) else "is true or false"


def _time_rule(value: object) -> str | None:
    return None if isinstance(value, datetime) and value.utcoffset() is not None else "is a time with its zone"


_RULES = {
    "uuid": _id_rule, "text": _text_rule, "integer": _integer_rule, "real": _real_rule, "boolean": _boolean_rule,
    "timestamp": _time_rule,
}  # fmt: skip
