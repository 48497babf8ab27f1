"""Arrays in PostgreSQL's binary form, packed in a few C calls for a whole batch.

A `PackedArray` is handed to psycopg as one finished value whose type is known. psycopg's own dumping of lists picks the
type by what is in them (int2 or int4, text for a list of nothing but None), which a call of a function cannot leave
open, and costs half as much again with its C extension, many times as much without.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from uuid import UUID

from psycopg import adapters
from psycopg.adapt import Dumper
from psycopg.pq import Format

_LENGTH = struct.Struct(">i").pack
_HEADER = struct.Struct(">iiIii").pack
_EMPTY = struct.Struct(">iiI").pack
_NULL = b"\xff\xff\xff\xff"
_16, _8, _4, _1 = (_LENGTH(size) for size in (16, 8, 4, 1))
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class PackedArray:
    """An array parameter that is packed already. Its subclasses say of what."""

    __slots__ = ("packed",)

    element_oid: int
    array_oid: int

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    @classmethod
    def _of(cls, count: int, parts: Sequence[bytes], *, has_null: bool = False) -> bytes:
        if not count:
            return _EMPTY(0, 0, cls.element_oid)
        return _HEADER(1, has_null, cls.element_oid, count, 1) + b"".join(parts)


class Uuids(PackedArray):
    """uuid[]."""

    __slots__ = ()
    element_oid, array_oid = 2950, 2951

    def __init__(self, values: Sequence[UUID]) -> None:
        parts = [_16 + value.int.to_bytes(16) for value in values]
        super().__init__(self._of(len(values), parts))


class Integers(PackedArray):
    """integer[]."""

    __slots__ = ()
    element_oid, array_oid = 23, 1007

    def __init__(self, values: Sequence[int | None]) -> None:
        if None in values:
            parts = [_NULL if value is None else _4 + _LENGTH(value) for value in values]
            super().__init__(self._of(len(values), parts, has_null=True))
        else:
            pairs = chain.from_iterable((4, value) for value in values)
            super().__init__(self._of(len(values), [struct.pack(f">{2 * len(values)}i", *pairs)]))


class Booleans(PackedArray):
    """boolean[]."""

    __slots__ = ()
    element_oid, array_oid = 16, 1000

    def __init__(self, values: Sequence[bool | None]) -> None:
        parts = [_NULL if value is None else _1 + (b"\1" if value else b"\0") for value in values]
        super().__init__(self._of(len(values), parts, has_null=None in values))


class Blobs(PackedArray):
    """bytea[]."""

    __slots__ = ()
    element_oid, array_oid = 17, 1001

    def __init__(self, values: Sequence[bytes | None]) -> None:
        parts: list[bytes] = []
        for value in values:
            if value is None:
                parts.append(_NULL)
            else:
                parts += (_LENGTH(len(value)), value)
        super().__init__(self._of(len(values), parts, has_null=None in values))


class Texts(PackedArray):
    """text[]."""

    __slots__ = ()
    element_oid, array_oid = 25, 1009

    def __init__(self, values: Sequence[str | None]) -> None:
        parts: list[bytes] = []
        for value in values:
            if value is None:
                parts.append(_NULL)
            else:
                encoded = value.encode()
                parts += (_LENGTH(len(encoded)), encoded)
        super().__init__(self._of(len(values), parts, has_null=None in values))


class Timestamps(PackedArray):
    """timestamptz[]: microseconds since 2000 in UTC."""

    __slots__ = ()
    element_oid, array_oid = 1184, 1185

    def __init__(self, values: Sequence[datetime | None]) -> None:
        parts = [
            _NULL if value is None else _8 + ((value - _EPOCH) // _MICROSECOND).to_bytes(8, signed=True)
            for value in values
        ]
        super().__init__(self._of(len(values), parts, has_null=None in values))


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: PackedArray) -> bytes:
        return obj.packed


def _register(kind: type[PackedArray]) -> None:
    adapters.register_dumper(kind, type(f"{kind.__name__}Dumper", (_PackedDumper,), {"oid": kind.array_oid}))


for _kind in (Uuids, Integers, Booleans, Blobs, Texts, Timestamps):
    _register(_kind)
