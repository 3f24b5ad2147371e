"""How the values of a column are handed to asyncpg, by COPY or as an array.

SQLAlchemy's own bind processors make them, so every type is stored as any other statement would store it; a column
whose type needs none is handed over untouched.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from math import isqrt
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text
from sqlalchemy import cast as sql_cast
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from rowsmith.errors import InvalidValue
from rowsmith.mapping.types import (
    ENDS_OF_TIME,
    Comparison,
    Take,
    Travel,
    column_type,
    is_walked,
    stored_form,
    stores_none,
    unlimited,
)
from rowsmith.mapping.writes import PLAIN

_ASYNCPG: Dialect = cast("Any", asyncpg.dialect)()
_ITEMS = (Travel.PLAIN, Travel.BYTES, Travel.JSON)
_COPYABLE = (*_ITEMS, Travel.ARRAY)
_AS_TEXT = (Travel.JSON, Travel.ARRAY)


def is_copyable(declared: TypeEngine[Any]) -> bool:
    """Say whether COPY can carry values of this type."""
    return _travel(declared) in _COPYABLE


def _travel(declared: TypeEngine[Any], dialect: Dialect = _ASYNCPG) -> Travel:
    return column_type(stored_form(declared, dialect)).travel


def bound(declared: TypeEngine[Any], values: Sequence[object], dialect: Dialect) -> Sequence[Any]:
    """Give the values as asyncpg takes them; None is SQL NULL on every column.

    Raises:
        InvalidValue: the type refuses one.
    """
    process: Any = declared.dialect_impl(dialect).bind_processor(dialect)
    if process is None or column_type(declared).travel is Travel.BYTES:
        return values
    with suppress(Exception):  # a type may raise anything, and quotes the value
        if is_json(declared, dialect) and not stores_none(
            declared, dialect
        ):  # whose processor would make the JSON literal null of None
            return [None if value is None else process(value) for value in values]
        return [process(value) for value in values]  # not by map(), which a StopIteration would end
    raise InvalidValue


def is_untold(declared: TypeEngine[Any]) -> bool:
    """Say whether nothing is known of what a type stores but by the database."""
    return column_type(stored_form(declared)).travel is Travel.SINGLY


def is_json(declared: TypeEngine[Any], dialect: Dialect = _ASYNCPG) -> bool:
    """Say whether values are stored as JSON."""
    return _travel(declared, dialect) is Travel.JSON


def fits_array(declared: TypeEngine[Any], dialect: Dialect = _ASYNCPG) -> bool:
    """Say whether values can be members of an array that travels as one parameter.

    Not where SQL of the type's own stands around each value, nor where asyncpg would take a value for an array in
    the array, as it does with anything that has a length and can be walked through: a multirange, a composite.
    """
    if has_sql(declared, dialect):
        return False
    travel = _travel(declared, dialect)
    if travel is Travel.ARRAY:
        return _travel(cast("Any", stored_form(declared, dialect)).item_type, dialect) in _ITEMS
    return travel is not Travel.SINGLY


def has_sql(declared: TypeEngine[Any], dialect: Dialect) -> bool:
    """Say whether a type puts SQL around its values when they are written (``bind_expression``)."""
    return bool(declared.dialect_impl(dialect)._has_bind_expression)  # pyright: ignore[reportPrivateUsage]


def travels_as_text(declared: TypeEngine[Any]) -> bool:
    """Say whether values go as text in an array: ``unnest`` would take arrays of arrays apart, JSON is text anyway."""
    return _travel(declared) in _AS_TEXT


class BoundItem(TypeDecorator[Any]):
    """A JSON value that is bound already: SQLAlchemy passes it on and only writes the cast."""

    impl = sqltypes.JSON
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Process nothing."""
        return


class Bound(TypeDecorator[Any]):
    """An array whose items are bound already, and which stands nowhere but in ``unnest``."""

    impl = ARRAY
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Process nothing."""
        return


class ArrayOf(TypeDecorator[Any]):
    """An array of a column's values, each bound as one by itself: none of them is an array in the array.

    SQLAlchemy's own array binds what stands in a list or tuple by itself, which may be one value of the application's.
    """

    impl = ARRAY
    cache_ok = True

    def __init__(self, item_type: TypeEngine[Any]) -> None:
        super().__init__(uncut(item_type), dimensions=1)
        self.item_type = item_type

    def bind_processor(self, dialect: Dialect) -> Any:
        """Give what binds all together; it raises InvalidValue where one is not taken."""
        process: Any = self.item_type.dialect_impl(dialect).bind_processor(dialect)

        def bind(values: Sequence[object]) -> Sequence[Any]:
            return members([process(value) for value in values])

        return members if process is None else bind


def array_type(declared: TypeEngine[Any]) -> Bound:
    """Give the type of the array parameter that carries a column."""
    return Bound(Text() if travels_as_text(declared) else uncut(declared), dimensions=1)


def uncut(declared: TypeEngine[Any]) -> TypeEngine[Any]:
    """Give the type without the limit of its text: the cast of an array to VARCHAR(n)[] cuts longer items, silently.

    Only what a TypeDecorator makes can be too long for its column; other text is checked before.
    """
    wrapped = column_type(declared).wraps
    if wrapped is None:
        return declared
    inner = unlimited(wrapped) if column_type(wrapped).wraps is None else uncut(wrapped)
    if inner is wrapped:
        return declared
    twin = cast("TypeDecorator[Any]", declared).copy()
    twin.impl = twin.impl_instance = cast("Any", inner)
    return twin


def array_values(
    declared: TypeEngine[Any], values: Sequence[object], dialect: Dialect, types: set[type[Any]] | None = None
) -> list[Any]:
    """Give the array parameter that carries a column; ``types`` are the exact types of the values, where known."""
    items = bound(declared, values, dialect)
    if _travel(declared) is Travel.ARRAY:
        stored: Any = stored_form(declared, dialect)
        item = stored_form(stored.item_type, dialect)
        of = column_type(item).compared
        if of is Comparison.TEXT:
            _refuse_other_than_text(items)
        is_bound = item is not stored.item_type or column_type(declared).wraps is not None
        if of is Comparison.INTEGER and is_bound:  # as text, 2.0 and True are none
            take = _taken_by_arrays_of(item)
            items = [None if item is None else take(item) for item in items]
        return [None if item is None else array_literal(item) for item in items]
    kinds = (types if items is values else None) or set(map(type, items))
    plain = members(items, kinds)
    return folded(plain if isinstance(plain, list) else list(plain), kinds if plain is items else None)


@lru_cache(maxsize=1024)
def _taken_by_arrays_of(item: TypeEngine[Any]) -> Take:
    return column_type(ARRAY(item)).taken


def members(items: Sequence[Any], types: set[type[Any]] | None = None) -> Sequence[Any]:
    """Give bound values as members of an array; ``types`` are the exact types among them, where known.

    Raises:
        InvalidValue: asyncpg would take one for an array in the array.
    """
    odd = (types or set(map(type, items))) - PLAIN
    if not odd:
        return items
    if any(is_walked(kind) and not issubclass(kind, int) for kind in odd):
        raise InvalidValue(_WALKED)
    return plain_numbers(items, odd)


_WALKED: Final = "a member of an array is taken for an array itself by asyncpg: give a plain value"


def folded(items: list[Any], types: set[type[Any]] | None = None) -> list[Any]:
    """Give an array in rows of equal length, which ``unnest`` gives in the same order; as it is where it has none.

    Of each item of the first row asyncpg asks whether it is an array itself, through abstract classes, which takes
    longer than writing it does. Only values that surely are none are folded.
    """
    rows = next((number for number in range(isqrt(len(items)), 1, -1) if not len(items) % number), 1)
    if rows < _FEW or not (types or set(map(type, items))) <= PLAIN:
        return items
    width = len(items) // rows
    return [items[start : start + width] for start in range(0, len(items), width)]


_FEW = 8
"""With fewer rows than these, folding an array saves little."""


def _refuse_other_than_text(items: Iterable[object]) -> None:
    """Refuse what the driver would refuse in an array of texts, and writing it out as text would let through."""
    for item in items:
        if isinstance(item, (list, tuple)):
            _refuse_other_than_text(cast("Iterable[Any]", item))
        elif not (item is None or isinstance(item, str)):
            raise InvalidValue("a value does not fit its column: an array of texts holds something else")


def plain_numbers(values: Sequence[object], types: set[type[Any]]) -> Sequence[Any]:
    """Give numbers of classes derived from ``int`` as such: asyncpg would take an IntFlag for an array of its bits."""
    derived = tuple(kind for kind in types if issubclass(kind, int) and kind not in (int, bool))
    return [int(value) if isinstance(value, derived) else value for value in values] if derived else values


def unpacked(column: ColumnElement[Any], declared: TypeEngine[Any]) -> ColumnElement[Any]:
    """Give the expression for a column of ``unnest`` in its own type again."""
    return sql_cast(column, stored_form(declared, _ASYNCPG)) if travels_as_text(declared) else column


def array_literal(items: Sequence[object]) -> str:
    """Give an array as PostgreSQL reads it from text (its manual: "Array Value Input")."""
    return "{" + ",".join(map(_array_item, items)) + "}"


def _array_item(item: Any) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, (list, tuple)):
        return array_literal(cast("Sequence[Any]", item))
    if isinstance(item, (bytes, bytearray, memoryview)):
        item = "\\x" + bytes(cast("Any", item)).hex()
    kind: type[Any] = item.__class__
    if is_walked(kind):
        raise InvalidValue(_WALKED)
    if isinstance(item, dt.date) and item in ENDS_OF_TIME:
        return "-infinity" if item.year == dt.MINYEAR else "infinity"
    write = next((text for kind, text in _WRITTEN if isinstance(item, kind)), str)
    text = write(item).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


# bool before int, and datetime before date.
_WRITTEN: Final[Sequence[tuple[type[Any], Callable[[Any], str]]]] = (
    *((str, str.__str__), (bool, str), (int, int.__repr__), (float, float.__repr__), (Decimal, Decimal.__str__)),
    *((dt.datetime, dt.datetime.__str__), (dt.date, dt.date.__str__), (dt.time, dt.time.__str__)),
    *((dt.timedelta, dt.timedelta.__str__), (UUID, UUID.__str__)),
)
"""How a value is written whatever a class of an application's makes of it: the driver looks at what it holds, too."""
