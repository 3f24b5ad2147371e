"""What a column can hold, checked in Python before a statement is sent.

PostgreSQL, asyncpg and SQLite each refuse, coerce or swallow odd values in their own way (SQLite keeps
a NUL byte and a string in an INTEGER column). Checking here makes the answer the same on every backend,
and gives it before anything is written. A complaint says what the column holds, never what was given.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Iterable, Iterator
from decimal import Context, Decimal
from typing import Any, TypeAlias, cast

from sqlalchemy import types as sqltypes
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

from rowsmith.errors import InvalidValue

Check: TypeAlias = Callable[[Any], str | None]
"""Takes a value that is not None; gives the complaint, or None if the column can hold it."""


def check_value(column_type: TypeEngine[Any], value: Any, where: str) -> None:
    """Refuse a value that a column of this type cannot hold.

    Args:
        column_type: the SQLAlchemy type of the column.
        value: anything; None and SQL expressions pass, the database judges them.
        where: what the message calls the column, for example ``"GroupRow.name"``.

    Raises:
        InvalidValue: the column cannot hold it; the message says what it holds.
    """
    if value is None or isinstance(value, ClauseElement):
        return
    if (complaint := check_for(column_type)(value)) is not None:
        raise InvalidValue(f"{where} {complaint}")


def check_for(column_type: TypeEngine[Any]) -> Check:
    """Give the check of a column type; types of unknown kind (a ``TypeDecorator``) accept everything."""
    if isinstance(column_type, sqltypes.Interval):  # a TypeDecorator, but SQLAlchemy's own
        return _interval(column_type)
    if isinstance(column_type, sqltypes.TypeDecorator):
        return _anything
    return next((make(column_type) for kind, make in _CHECKS if isinstance(column_type, kind)), _anything)


def check_for_comparison(column_type: TypeEngine[Any]) -> Check:
    """Give the check of a value that is compared with such a column: what the database takes as a parameter.

    A text longer than the column is a fair question with the answer "none"; a number with more digits is not,
    because PostgreSQL is sent a parameter of the column's own NUMERIC type.
    """
    if isinstance(column_type, sqltypes.Enum):
        return _anything  # SQLAlchemy also takes a member's name here, and refuses the rest on every backend
    if isinstance(column_type, sqltypes.String):
        return _string(sqltypes.String())
    return check_for(column_type)


def _anything(value: Any) -> str | None:
    return None


def text_complaint(value: str) -> str | None:
    """Say why PostgreSQL's ``text`` cannot hold this string: a NUL byte, or a lone surrogate (not UTF-8)."""
    if "\x00" in value:
        return "cannot hold a NUL character: remove it"
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return "cannot hold a lone surrogate: the text is not valid Unicode"
    return None


def _string(column_type: sqltypes.String) -> Check:
    limit = column_type.length

    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return "holds text: give a str"
        if limit is not None and len(value) > limit:
            return f"holds at most {limit} characters"
        return text_complaint(value)

    return check


_INTEGER_BITS = ((sqltypes.SmallInteger, 16), (sqltypes.BigInteger, 64))


def _integer(column_type: sqltypes.Integer) -> Check:
    bits = next((bits for kind, bits in _INTEGER_BITS if isinstance(column_type, kind)), 32)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    complaint = f"holds integers from {low} to {high}"

    def check(value: Any) -> str | None:
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if fits else complaint

    return check


def _float(column_type: sqltypes.Float[Any]) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (float, int, Decimal)):
            return "holds numbers: give a float"
        return _finite(value)

    return check


def _finite(value: float | Decimal) -> str | None:
    try:
        finite = math.isfinite(value)
    except (ValueError, OverflowError):  # a signalling NaN, or an int past the largest float
        finite = False
    return None if finite else "holds finite numbers: not NaN, not infinity"


def _numeric(column_type: sqltypes.Numeric[Any]) -> Check:
    precision, scale = column_type.precision, column_type.scale or 0
    bound = None if precision is None else _first_too_big(precision, scale)

    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (Decimal, int, float)):
            return "holds numbers: give a Decimal"
        if complaint := _finite(value):
            return complaint
        too_big = bound is not None and Decimal(value).copy_abs() >= bound
        return f"holds at most {precision} digits, {scale} of them after the point" if too_big else None

    return check


def _first_too_big(precision: int, scale: int) -> Decimal:
    """Give the least number that NUMERIC(precision, scale) would round out of its digits, in exact arithmetic."""
    exact = Context(prec=precision + abs(scale) + 5)
    return exact.subtract(Decimal((0, (1,), precision - scale)), Decimal((0, (5,), -scale - 1)))


def _boolean(column_type: sqltypes.Boolean) -> Check:
    return lambda value: None if isinstance(value, bool) else "holds booleans: give True or False"


def _datetime(column_type: sqltypes.DateTime) -> Check:
    if column_type.timezone:
        wanted = "holds points in time: give a datetime with a time zone (tzinfo)"
    else:
        wanted = "holds local times: give a datetime without a time zone"

    def check(value: Any) -> str | None:
        fits = isinstance(value, dt.datetime) and (value.utcoffset() is not None) == column_type.timezone
        return None if fits else wanted

    return check


def _date(column_type: sqltypes.Date) -> Check:
    def check(value: Any) -> str | None:
        fits = isinstance(value, dt.date) and not isinstance(value, dt.datetime)
        return None if fits else "holds dates: give a date, not a datetime"

    return check


def _time(column_type: sqltypes.Time) -> Check:
    wanted = f"holds times of day: give a time with{'' if column_type.timezone else 'out'} a time zone"

    def check(value: Any) -> str | None:
        fits = isinstance(value, dt.time) and (value.tzinfo is not None) == column_type.timezone
        return None if fits else wanted

    return check


def _interval(column_type: TypeEngine[Any]) -> Check:
    return lambda value: None if isinstance(value, dt.timedelta) else "holds durations: give a timedelta"


def _uuid(column_type: sqltypes.Uuid[Any]) -> Check:
    if column_type.as_uuid:
        return lambda value: None if isinstance(value, uuid.UUID) else "holds UUIDs: give a uuid.UUID"
    return lambda value: None if isinstance(value, str) and _is_uuid(value) else "holds UUIDs: give one as text"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _binary(_: TypeEngine[Any]) -> Check:
    return lambda value: None if isinstance(value, (bytes, bytearray, memoryview)) else "holds bytes: give bytes"


def _enum(column_type: sqltypes.Enum) -> Check:
    members: Any = column_type.enum_class
    if members is None:
        names = frozenset(column_type.enums)
        return lambda value: None if isinstance(value, str) and value in names else f"holds one of {sorted(names)}"
    return lambda value: None if isinstance(value, members) else f"holds members of {members.__name__}"


def _json(_: sqltypes.JSON) -> Check:
    return lambda value: None if value is sqltypes.JSON.NULL else json_complaint(value)


JSON_DEPTH = 200
"""How deep JSON may be nested; far below what PostgreSQL's and Python's parsers take."""


def json_complaint(value: Any, depth: int = 0) -> str | None:
    """Say why ``jsonb`` cannot hold this value: not JSON, NaN, a NUL character, too deep."""
    if depth > JSON_DEPTH:
        return f"holds JSON nested at most {JSON_DEPTH} deep"
    match value:
        case None | bool() | int():
            return None
        case str():
            return text_complaint(value)
        case float():
            return _finite(value)
        case list() | tuple():
            return _first(json_complaint(item, depth + 1) for item in _list(value))
        case dict():
            return _first(_json_member(key, item, depth + 1) for key, item in _dict(value).items())
        case _:
            return "holds JSON: give dicts, lists, text, numbers, booleans or None"


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value)


def _dict(value: Any) -> dict[Any, Any]:
    return cast("dict[Any, Any]", value)


def _json_member(key: Any, value: Any, depth: int) -> str | None:
    if not isinstance(key, str):
        return "holds JSON: the keys of an object are text"
    return text_complaint(key) or json_complaint(value, depth)


def _array(column_type: sqltypes.ARRAY[Any]) -> Check:
    item = check_for(column_type.item_type)
    holds_lists = isinstance(column_type.item_type, sqltypes.JSON)

    def check(value: Any) -> str | None:
        if not isinstance(value, (list, tuple)):
            return "holds arrays: give a list"
        complaint = _first(item(element) for element in _elements(cast("list[Any]", value), nested=not holds_lists))
        return complaint and f"is an array that {complaint}"

    return check


def _elements(values: Iterable[Any], *, nested: bool) -> Iterator[Any]:
    """Give the elements that are not NULL, of arrays in arrays too."""
    for value in values:
        if nested and isinstance(value, (list, tuple)):
            yield from _elements(cast("list[Any]", value), nested=True)
        elif value is not None:
            yield value


def _first(complaints: Iterable[str | None]) -> str | None:
    return next((complaint for complaint in complaints if complaint), None)


# The first kind that fits decides, so a subclass stands before its base.
_CHECKS: tuple[tuple[type[Any], Callable[[Any], Check]], ...] = (
    (sqltypes.Enum, _enum),
    (sqltypes.String, _string),
    (sqltypes.Integer, _integer),
    (sqltypes.Float, _float),
    (sqltypes.Numeric, _numeric),
    (sqltypes.Boolean, _boolean),
    (sqltypes.DateTime, _datetime),
    (sqltypes.Date, _date),
    (sqltypes.Time, _time),
    (sqltypes.Uuid, _uuid),
    (sqltypes.LargeBinary, _binary),
    (sqltypes.JSON, _json),
    (sqltypes.ARRAY, _array),
)
