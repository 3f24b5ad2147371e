"""Checking a whole column at once: the answer of ``mapping.values``, at a tenth of its cost.

A quick check looks at all values together and says only whether they *surely* fit (``set(map(type, column))`` is
one call into C for a thousand values). Where it cannot be sure, the check of single values decides and finds the
index. So the two can never disagree about what is refused.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from sqlalchemy import types as sqltypes
from sqlalchemy.types import TypeEngine

from rowsmith.errors import InvalidValue
from rowsmith.mapping import Check, RowInfo
from rowsmith.mapping.writes import FOREIGN

Fits: TypeAlias = Callable[[Sequence[Any]], bool]
"""Takes the values of a column that are not None, of one exact type; True: each of them surely fits."""

NONE: type[Any] = type(None)


def check_column(
    info: RowInfo[Any], name: str, column: Sequence[Any], types: set[type[Any]], first: int = 0, *, noun: str = "spec"
) -> None:
    """Refuse a column with a value that it cannot hold, or with a SQL expression.

    Args:
        info: whose column it is.
        name: the attribute.
        column: the values, None included.
        types: the exact types among the values.
        first: the index in the caller's input of the first value, for the message.
        noun: what the values come from, for the message.

    Raises:
        InvalidValue: the message names the index and the column, never the value.
    """
    keep_class(info, name, column, first, noun=noun)
    if any(hasattr(kind, "__clause_element__") or hasattr(kind, "compile") for kind in types):
        index = first + _expression(column)
        raise InvalidValue(
            f"the {noun} at index {index}: {info.row.__name__}.{name} is a SQL expression: write it alone"
        )
    exact, fits = quick_check(info.columns[name].type)
    present = column if NONE not in types else [value for value in column if value is not None]
    if fits is None or (types <= {exact, NONE} and fits(present)):
        return
    if (found := _first_complaint(info.checks[name], column)) is not None:
        raise InvalidValue(f"the {noun} at index {first + found[0]}: {info.row.__name__}.{name} {found[1]}")


def keep_class(info: RowInfo[Any], name: str, column: Sequence[Any], first: int = 0, *, noun: str = "spec") -> None:
    """Refuse a column that would make a row another class's; arguments as for :func:`check_column`."""
    if info.is_foreign(name, column):
        index = first + next(place for place, value in enumerate(column) if info.is_foreign(name, [value]))
        raise InvalidValue(f"the {noun} at index {index}: {info.row.__name__}.{name} {FOREIGN}")


def _first_complaint(check: Check, column: Sequence[Any]) -> tuple[int, str] | None:
    for index, value in enumerate(column):
        if value is not None and (complaint := check(value)) is not None:
            return index, complaint
    return None


def _expression(column: Sequence[Any]) -> int:
    return next(
        i for i, value in enumerate(column) if hasattr(value, "__clause_element__") or hasattr(value, "compile")
    )


@lru_cache(maxsize=1024)
def quick_check(column_type: TypeEngine[Any]) -> tuple[type[Any], Fits | None]:
    """Give the exact type that a quick check is for, and the check; None: this type of column takes everything."""
    if isinstance(column_type, sqltypes.Interval):  # a TypeDecorator, but SQLAlchemy's own
        return dt.timedelta, _always
    if isinstance(column_type, sqltypes.TypeDecorator):
        return NONE, None
    for kind, maker in _QUICK:
        if isinstance(column_type, kind):
            return maker(column_type)
    return (NONE, _never) if isinstance(column_type, (sqltypes.JSON, sqltypes.ARRAY)) else (NONE, None)


def _never(values: Sequence[Any]) -> bool:
    return not values


def _always(values: Sequence[Any]) -> bool:
    return True


def _text(column_type: sqltypes.String) -> tuple[type[Any], Fits]:
    limit = column_type.length

    def fits(values: Sequence[str]) -> bool:
        if limit is not None and max(map(len, values), default=0) > limit:
            return False
        text = "".join(values)
        return "\x00" not in text and (text.isascii() or _is_unicode(text))

    return str, fits


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(column_type: sqltypes.Integer) -> tuple[type[Any], Fits]:
    small, big = isinstance(column_type, sqltypes.SmallInteger), isinstance(column_type, sqltypes.BigInteger)
    high = 2 ** (15 if small else 63 if big else 31)
    return int, lambda values: not values or (min(values) >= -high and max(values) < high)


def _float(column_type: sqltypes.Float[Any]) -> tuple[type[Any], Fits]:
    # NaN and infinity stay what they are in a sum; a sum that overflows only costs the slower check.
    return float, lambda values: math.isfinite(sum(map(abs, values)))


_LARGE = Decimal("1E300")
"""More than this a float cannot hold, which SQLite keeps numbers as."""


def _numeric(column_type: sqltypes.Numeric[Any]) -> tuple[type[Any], Fits]:
    precision, scale = column_type.precision, column_type.scale
    # Nine tenths of what fits: who comes near the limit is looked at alone.
    bound = min(_LARGE, Decimal((0, (9,), (precision or 400) - (scale or 0) - 1)))

    def fits(values: Sequence[Decimal]) -> bool:
        return all(map(Decimal.is_finite, values)) and (not values or (max(values) < bound and min(values) > -bound))

    return Decimal, fits


def _datetime(column_type: sqltypes.DateTime) -> tuple[type[Any], Fits]:
    # Of these zones it is known that utcoffset() is never None.
    kinds: set[type[Any]] = {dt.timezone, ZoneInfo} if column_type.timezone else {NONE}
    zone = attrgetter("tzinfo")
    return dt.datetime, lambda values: set(map(type, map(zone, values))) <= kinds


def _time(column_type: sqltypes.Time) -> tuple[type[Any], Fits]:
    zone = attrgetter("tzinfo")
    return dt.time, _never if column_type.timezone else lambda values: set(map(zone, values)) <= {None}


def _enum(column_type: sqltypes.Enum) -> tuple[type[Any], Fits]:
    members: Any = column_type.enum_class
    if members is not None:
        return members, _always
    names = set(column_type.enums)
    return str, lambda values: set(values) <= names


def _uuid(column_type: sqltypes.Uuid[Any]) -> tuple[type[Any], Fits]:
    return (uuid.UUID, _always) if column_type.as_uuid else (NONE, _never)


def _exactly(kind: type[Any]) -> Callable[[Any], tuple[type[Any], Fits]]:
    return lambda column_type: (kind, _always)


# The first kind that fits decides, as in mapping.values: a subclass stands before its base.
_QUICK: tuple[tuple[type[Any], Callable[[Any], tuple[type[Any], Fits]]], ...] = (
    (sqltypes.Enum, _enum),
    (sqltypes.String, _text),
    (sqltypes.Integer, _integer),
    (sqltypes.Float, _float),
    (sqltypes.Numeric, _numeric),
    (sqltypes.Boolean, _exactly(bool)),
    (sqltypes.DateTime, _datetime),
    (sqltypes.Date, _exactly(dt.date)),
    (sqltypes.Time, _time),
    (sqltypes.Uuid, _uuid),
    (sqltypes.LargeBinary, _exactly(bytes)),
)
