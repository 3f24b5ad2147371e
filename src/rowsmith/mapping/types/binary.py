"""Bytes, bits, pickled objects and UUIDs."""

from __future__ import annotations

import uuid
from collections.abc import Sized
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, cast

from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import postgresql

from rowsmith.mapping.types.column_type import (
    NONE,
    Beside,
    ColumnType,
    Comparison,
    Family,
    InCursor,
    Quick,
    Row,
    Travel,
    always,
    anything,
    converted,
    instances,
    itself,
    never,
    unchanged,
)
from rowsmith.mapping.types.unknown import unknown


def _bytes(_: sqltypes.LargeBinary) -> ColumnType:
    return ColumnType(
        wraps=None,
        check=_check_bytes,
        operand=_check_bytes,
        taken=_taken_bytes,
        quick=Quick(bytes, always),
        echo=converted(bytes, bytes),
        travel=Travel.BYTES,
        cursor=instances(bytes),
        gives=(bytes,),
        compared=Comparison.NONE,
        beside=Beside(family=Family.BYTES),
        is_condition=False,
    )


def _check_bytes(value: object) -> str | None:
    if isinstance(value, memoryview):
        return (
            None
            if _is_whole(cast("Any", value))
            else "holds bytes, and this view has gaps or was released: give bytes(view)"
        )
    return None if isinstance(value, (bytes, bytearray)) else "holds bytes: give bytes"


def _is_whole(view: memoryview) -> bool:
    """Say whether a driver can read the bytes of a view: one after the other, and not given back yet."""
    try:
        return view.c_contiguous
    except ValueError:
        return False


def _taken_bytes(value: Any) -> Any:
    """Take for bytes whatever gives its own, as an array of numbers does."""
    with suppress(TypeError):
        return memoryview(value)
    return value


def _bits(declared: postgresql.BIT) -> ColumnType:
    """Give the record of bits, which a cast of PostgreSQL's cuts off, or fills up with zeros, without a word."""
    length, varies = declared.length, declared.varying

    def check(value: object) -> str | None:
        if isinstance(value, str) and not {"0", "1"}.issuperset(value):
            return "holds bits: give a text of 0 and 1"
        if length is None or not isinstance(value, Sized):
            return None  # what else it is the driver says
        size = len(value) * (8 if isinstance(value, (bytes, bytearray, memoryview)) else 1)
        fits = size <= length if varies else size == length
        return None if fits else f"holds {'at most' if varies else 'exactly'} {length} bits: give so many"

    return replace(unknown(declared), check=check, operand=check, quick=Quick(NONE, never))


def _pickled(_: sqltypes.PickleType) -> ColumnType:
    return ColumnType(
        wraps=None,  # a TypeDecorator, but SQLAlchemy's own
        check=anything,
        operand=anything,
        taken=itself,
        quick=Quick(NONE, None),
        echo=None,
        travel=Travel.PLAIN,
        cursor=InCursor(object, lambda _: False),  # sorted by what it is pickled as
        gives=(),
        compared=Comparison.NEVER,
        beside=Beside(family=None),
        is_condition=False,
    )


def _uuid(declared: sqltypes.Uuid[Any]) -> ColumnType:
    if not declared.as_uuid:
        return _uuid_text()
    return ColumnType(
        wraps=None,
        check=_check_uuid,
        operand=_check_uuid,
        taken=_taken_uuid,
        quick=Quick(uuid.UUID, always),
        echo=unchanged,
        travel=Travel.PLAIN,
        cursor=instances(uuid.UUID),
        gives=(uuid.UUID,),
        compared=Comparison.UUID,
        beside=Beside(family=Family.UUIDS, one=_taken_uuid),
        is_condition=False,
    )


def _check_uuid(value: object) -> str | None:
    return None if isinstance(value, uuid.UUID) else "holds UUIDs: give a uuid.UUID"


def _taken_uuid(value: Any) -> Any:
    return uuid.UUID(value) if _is_uuid_text(value) else value


def _uuid_text() -> ColumnType:
    return ColumnType(
        wraps=None,
        check=_check_uuid_text,
        operand=_check_uuid_text,
        taken=lambda value: str(value) if isinstance(value, uuid.UUID) else value,
        quick=Quick(NONE, never),
        echo=None,  # it may be given in capitals
        travel=Travel.PLAIN,
        cursor=InCursor(str, _is_uuid_text),
        gives=(str,),
        compared=Comparison.UUID_TEXT,
        beside=Beside(family=Family.UUIDS, one=_taken_uuid),
        is_condition=False,
    )


def _check_uuid_text(value: object) -> str | None:
    return None if _is_uuid_text(value) else "holds UUIDs: give one as text"


def _is_uuid_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True


ROWS: Final[tuple[Row, ...]] = (
    (sqltypes.PickleType, _pickled),
    (sqltypes.LargeBinary, _bytes),
    (postgresql.BIT, _bits),
    (sqltypes.Uuid, _uuid),
)
