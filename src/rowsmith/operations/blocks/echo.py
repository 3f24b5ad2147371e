"""What the database gives back for what was written, where that is certain without asking.

Only types that store every value exactly take part. A Numeric rounds to its scale, CHAR pads, JSON turns tuples
into lists, a TypeDecorator does what it likes: what was written there has to be read back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias, cast

from sqlalchemy import types as sqltypes
from sqlalchemy.types import TypeEngine

from rowsmith.operations.blocks.checks import NONE

_ZONE = attrgetter("tzinfo")

Echo: TypeAlias = Callable[[Sequence[Any], set[type[Any]]], Sequence[Any]]
"""Takes the values written to a column and their exact types; gives what a SELECT would."""


@lru_cache(maxsize=1024)
def echo_of(column_type: TypeEngine[Any]) -> Echo | None:
    """Give the echo of a column type; None where only the database knows."""
    if isinstance(column_type, sqltypes.TypeDecorator) or _is_inexact(column_type) or _is_foreign(column_type):
        return None
    return next((echo for kind, echo in _ECHOES if isinstance(column_type, kind)), None)


def _is_inexact(column_type: Any) -> bool:
    """CHAR pads with blanks; REAL and a given precision round; a UUID given as text may be in capitals."""
    if isinstance(column_type, (sqltypes.CHAR, sqltypes.REAL)):
        return True
    if isinstance(column_type, sqltypes.Uuid) and not column_type.as_uuid:
        return True
    return getattr(column_type, "precision", None) is not None


def _is_foreign(column_type: TypeEngine[Any]) -> bool:
    """A class of somebody else's may bind, read or wrap its values in any way."""
    return not type(column_type).__module__.startswith("sqlalchemy.")


def _converted(exact: type[Any], convert: Callable[[Any], Any]) -> Echo:
    """An IntEnum goes in as its number, a str subclass as its text."""

    def echo(values: Sequence[Any], types: set[type[Any]]) -> Sequence[Any]:
        if types <= {exact, NONE}:
            return values
        return [None if value is None else convert(value) for value in values]

    return echo


def _unchanged(values: Sequence[Any], types: set[type[Any]]) -> Sequence[Any]:
    return values


def _datetimes(values: Sequence[Any], types: set[type[Any]]) -> Sequence[Any]:
    """PostgreSQL keeps the point in time and gives it in UTC."""
    present = values if NONE not in types else [value for value in values if value is not None]
    zones = set(map(_ZONE, present))
    if zones <= {dt.UTC} or zones == {None}:
        return values
    return [None if value is None else cast("dt.datetime", value).astimezone(dt.UTC) for value in values]


_ECHOES: tuple[tuple[type[Any], Echo], ...] = (
    (sqltypes.Enum, _unchanged),
    (sqltypes.String, _converted(str, str.__str__)),
    (sqltypes.Integer, _converted(int, int)),
    (sqltypes.Float, _converted(float, float)),
    (sqltypes.Boolean, _unchanged),
    (sqltypes.DateTime, _datetimes),
    (sqltypes.Date, _unchanged),
    (sqltypes.Uuid, _unchanged),
    (sqltypes.LargeBinary, _converted(bytes, bytes)),
)
