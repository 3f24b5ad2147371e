"""Key values as bytes: one typed, self-delimiting form for whatever a row may be sorted by.

A value is a tag, a four-byte length and a body. The tag says which Python type the body is; what the
column holds decides whether that type may stand there, and which enum a name belongs to: nothing is ever
imported or evaluated because a cursor says so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Column, ColumnElement
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from rowsmith.errors import InvalidCursor, MappingError
from rowsmith.mapping.types import ENDS_OF_TIME, NUMBERS, column_type, is_number
from rowsmith.orders import OrderTerm
from rowsmith.pagination.ends import is_end

_MICROSECOND: Final = timedelta(microseconds=1)
_HEADER: Final = struct.Struct(">cI")
_DOUBLE: Final = struct.Struct(">d")
_BIGINT_BYTES: Final = 8
_DIALECT: Final = DefaultDialect()
_NONE: Final = b"n"
_ENUM: Final = b"e"
_MAX_EXPONENT: Final = 131_072  # the most digits before the point in PostgreSQL's numeric (its manual, 8.1.2)


@dataclass(frozen=True, slots=True)
class _Form:
    """How one Python type is written and read."""

    tag: bytes
    python: type[Any]
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def _write_text(value: object) -> bytes:
    return str(value).encode()


def _read_text(body: bytes) -> str:
    text = body.decode()
    if "\0" in text:
        raise ValueError("NUL")
    return text


def _write_int(value: int) -> bytes:
    magnitude = value if value >= 0 else ~value
    return value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def _read_int(body: bytes) -> int:
    if len(body) > _BIGINT_BYTES:
        raise ValueError("beyond 64 bits")
    return int.from_bytes(body, "big", signed=True)


def _read_decimal(body: bytes) -> Decimal:
    value = Decimal(body.decode("ascii"))
    if value.is_snan() or (value.is_finite() and abs(value.adjusted()) > _MAX_EXPONENT):
        raise ValueError("not a numeric")
    return value


def _write_timestamp(value: date | time) -> bytes:
    return value.isoformat().encode()


def _read_timestamp(python: type[date | time]) -> Callable[[bytes], Any]:
    return lambda body: python.fromisoformat(body.decode("ascii"))


# bool before int and datetime before date: the first form whose type fits is taken.
_FORMS: Final = (
    _Form(_ENUM, Enum, lambda value: value.name.encode(), bytes.decode),
    _Form(b"b", bool, lambda value: b"\1" if value else b"\0", lambda body: (b"\0", b"\1").index(body) == 1),
    _Form(b"i", int, _write_int, _read_int),
    _Form(b"s", str, _write_text, _read_text),
    _Form(b"t", datetime, _write_timestamp, _read_timestamp(datetime)),
    _Form(b"d", date, _write_timestamp, _read_timestamp(date)),
    _Form(b"c", time, _write_timestamp, _read_timestamp(time)),
    _Form(
        b"v",
        timedelta,
        lambda value: _write_int(value // _MICROSECOND),
        lambda body: int.from_bytes(body, "big", signed=True) * _MICROSECOND,
    ),
    _Form(b"u", UUID, lambda value: value.bytes, lambda body: UUID(bytes=body)),
    _Form(b"m", Decimal, _write_text, _read_decimal),
    _Form(b"f", float, _DOUBLE.pack, lambda body: _DOUBLE.unpack(body)[0]),
    _Form(b"x", bytes, bytes, bytes),
)
_DECLARED: Final[dict[type[Any], str]] = {date: "Date", datetime: "DateTime(timezone=...)", timedelta: "Interval"}
"""How the type of an expression is told, by that of its values."""
_BY_TAG: Final = {form.tag: form for form in _FORMS}


def pack(values: Sequence[object], terms: Sequence[OrderTerm]) -> bytes:
    """Write one value for each term.

    Raises:
        MappingError: a term's type has values that no cursor can carry (JSON, arrays, ...).
    """
    return b"".join(_pack_value(value, term.expression) for value, term in zip(values, terms, strict=True))


def unpack(payload: bytes, terms: Sequence[OrderTerm]) -> tuple[Any, ...]:
    """Read back what :func:`pack` wrote, checking that each value is one its term can have.

    Raises:
        InvalidCursor: it is anything else.
    """
    parts: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(payload):
        start = position + _HEADER.size
        if start > len(payload):
            raise InvalidCursor
        tag, length = _HEADER.unpack_from(payload, position)
        position = start + length
        if position > len(payload):
            raise InvalidCursor
        parts.append((tag, payload[start:position]))
    if len(parts) != len(terms):
        raise InvalidCursor
    return tuple(_unpack_value(tag, body, term) for (tag, body), term in zip(parts, terms, strict=True))


def stored_value(kind: TypeEngine[Any], value: object) -> Any:
    """Give a value as the database's own type has it, undoing what a team's ``TypeDecorator`` does."""
    for decorator in _layers(kind)[0]:
        if value is not None and _overrides(decorator, "process_bind_param"):
            value = decorator.process_bind_param(value, _DIALECT)
    return value


def _pack_value(value: object, expression: ColumnElement[Any]) -> bytes:
    stored = _stored(value, expression)
    if stored is None:
        return _HEADER.pack(_NONE, 0)
    if type(expression.type) is NullType and _may_be_another(stored):
        kind = _DECLARED[type(stored)]
        raise MappingError(
            f"a cursor cannot carry {type(stored).__name__} for {expression}, whose type is not told: "
            f"write func.name(..., type_={kind}), or type_coerce(..., {kind})"
        )
    form = next((form for form in _FORMS if isinstance(stored, form.python)), None)
    if form is None or not _fits(stored, expression):
        raise MappingError(
            f"a cursor cannot carry {type(value).__name__} for {expression} of type {type(expression.type).__name__}: "
            "order by a column of a plain type, or use OffsetPagination"
        )
    body = form.write(stored)
    return _HEADER.pack(form.tag, len(body)) + body


def _may_be_another(stored: object) -> bool:
    """Say whether the database may have meant something else by a value: months of an interval, infinity."""
    return isinstance(stored, timedelta) or (isinstance(stored, date) and stored in ENDS_OF_TIME)


def _stored(value: object, expression: ColumnElement[Any]) -> Any:
    with suppress(Exception):  # a team's process_bind_param may raise anything, and quotes the value
        return stored_value(expression.type, value)
    raise MappingError(f"a cursor cannot carry {expression}: its type does not bind a value that it gave")


def _unpack_value(tag: bytes, body: bytes, term: OrderTerm) -> Any:
    if tag == _NONE and term.nullable and not body:
        return None
    with suppress(Exception):  # a team's process_result_value may raise what it likes at outside bytes
        return _read(tag, body, term.expression)
    raise InvalidCursor


def _read(tag: bytes, body: bytes, expression: ColumnElement[Any]) -> Any:
    layers, bare = _layers(expression.type)
    value = _BY_TAG[tag].read(body)
    if tag == _ENUM:
        members = column_type(bare).cursor.python
        if not issubclass(members, Enum):
            raise InvalidCursor
        value = members[value]
    if not _fits(value, expression):
        raise InvalidCursor
    for decorator in reversed(layers):
        if _overrides(decorator, "process_result_value"):
            value = decorator.process_result_value(value, _DIALECT)
    return value


def _fits(value: object, expression: ColumnElement[Any]) -> bool:
    """Whether a stored value is one that the expression's type has."""
    kind = _layers(expression.type)[1]
    if is_end(value, kind):
        return True
    form = column_type(kind).cursor
    if form.python in NUMBERS and not isinstance(expression, Column):
        return is_number(value)  # what SQLAlchemy infers for sums and averages is a guess
    return form.holds(value)


def _layers(kind: TypeEngine[Any]) -> tuple[list[TypeDecorator[Any]], TypeEngine[Any]]:
    """Give a type's decorators, the outermost first, and the type that the database sees."""
    layers: list[TypeDecorator[Any]] = []
    while (wrapped := column_type(kind).wraps) is not None:
        decorator = cast("TypeDecorator[Any]", kind)
        if decorator.python_type is not object and not _overrides(decorator, "process_bind_param"):
            break
        layers.append(decorator)
        kind = wrapped
    return layers, kind


def _overrides(decorator: TypeDecorator[Any], method: str) -> bool:
    return getattr(type(decorator), method) is not getattr(TypeDecorator, method)
