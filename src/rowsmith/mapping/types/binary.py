"""Bytes, pickled objects and UUIDs."""

from __future__ import annotations

import uuid
from typing import Any, Final

from sqlalchemy import types as sqltypes

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
    never,
    unchanged,
)


def _bytes(_: sqltypes.LargeBinary) -> ColumnType:
    return ColumnType(
        wraps=None,
        check=_check_bytes,
        operand=_check_bytes,
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
    return None if isinstance(value, (bytes, bytearray, memoryview)) else "holds bytes: give bytes"


def _pickled(_: sqltypes.PickleType) -> ColumnType:
    return ColumnType(
        wraps=None,  # a TypeDecorator, but SQLAlchemy's own
        check=anything,
        operand=anything,
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
        quick=Quick(uuid.UUID, always),
        echo=unchanged,
        travel=Travel.PLAIN,
        cursor=instances(uuid.UUID),
        gives=(uuid.UUID,),
        compared=Comparison.UUID,
        beside=Beside(family=Family.UUIDS),
        is_condition=False,
    )


def _check_uuid(value: object) -> str | None:
    return None if isinstance(value, uuid.UUID) else "holds UUIDs: give a uuid.UUID"


def _uuid_text() -> ColumnType:
    return ColumnType(
        wraps=None,
        check=_check_uuid_text,
        operand=_check_uuid_text,
        quick=Quick(NONE, never),
        echo=None,  # it may be given in capitals
        travel=Travel.PLAIN,
        cursor=InCursor(str, _is_uuid_text),
        gives=(str,),
        compared=Comparison.UUID_TEXT,
        beside=Beside(family=Family.UUIDS),
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
    (sqltypes.Uuid, _uuid),
)
