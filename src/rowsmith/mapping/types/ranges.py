"""Ranges and multiranges of PostgreSQL: each bound is a value that a column of their members' type would hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from sqlalchemy import BigInteger, Date, DateTime, Integer, Numeric
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import Range, ranges
from sqlalchemy.types import TypeEngine

from rowsmith.mapping.types.column_type import (
    NONE,
    Beside,
    Check,
    ColumnType,
    Family,
    Quick,
    Row,
    Travel,
    anything,
    never,
)
from rowsmith.mapping.types.unknown import unknown


def range_rows(column_type: Callable[[Any], ColumnType]) -> tuple[Row, ...]:
    """Give the rows of ranges, whose bounds are of types that the table knows."""

    def bound(declared: TypeEngine[Any]) -> Check:
        member = next((member for kinds, member in _MEMBERS if isinstance(declared, kinds)), None)
        return anything if member is None else column_type(member).check

    def one(declared: TypeEngine[Any]) -> ColumnType:
        check = _range_check(bound(declared))

        def operand(value: object) -> str | None:
            return check(value) if isinstance(value, _RANGE) else None  # a member may stand there, too

        quick = Quick(Range, lambda values: not any(map(check, values)))
        return replace(
            unknown(declared), travel=Travel.MEMBERS, beside=_BESIDE, check=check, operand=operand, quick=quick
        )

    def several(declared: TypeEngine[Any]) -> ColumnType:
        each = _range_check(bound(declared))
        check = _several_check(each)

        def operand(value: object) -> str | None:
            one_too = each if isinstance(value, _RANGE) else check
            return one_too(value) if isinstance(value, (_RANGE, list, tuple)) else None

        return replace(unknown(declared), beside=_BESIDE, check=check, operand=operand, quick=Quick(NONE, never))

    return (ranges.AbstractSingleRange, one), (ranges.AbstractMultiRange, several)


_RANGE: Final[Any] = Range
_BESIDE: Final = Beside(family=Family.RANGES)
_MEMBERS: Final[Sequence[tuple[tuple[type[Any], ...], TypeEngine[Any]]]] = (
    ((postgresql.INT4RANGE, postgresql.INT4MULTIRANGE), Integer()),
    ((postgresql.INT8RANGE, postgresql.INT8MULTIRANGE), BigInteger()),
    ((postgresql.NUMRANGE, postgresql.NUMMULTIRANGE), Numeric()),
    ((postgresql.DATERANGE, postgresql.DATEMULTIRANGE), Date()),
    ((postgresql.TSRANGE, postgresql.TSMULTIRANGE), DateTime()),
    ((postgresql.TSTZRANGE, postgresql.TSTZMULTIRANGE), DateTime(timezone=True)),
)


def _range_check(bound: Check) -> Check:
    """Give the check of ranges, of which asyncpg would cut bounds that do not fit."""

    def check(value: Any) -> str | None:
        if isinstance(value, (list, tuple)):
            # Which asyncpg takes for the two ends where it stands alone, and for an array where it is one's member.
            return "holds ranges: give a Range, not a list of its ends"
        if not isinstance(value, _RANGE):
            return None  # what it is the driver says
        ends = [end for end in (value.lower, value.upper) if end is not None]
        if complaint := next(filter(None, map(bound, ends)), None):
            return f"is a range that {complaint}"
        is_upside_down = len(ends) > 1 and bound is not anything and ends[0] > ends[1]
        return "holds ranges: the lower bound of this one is above its upper one" if is_upside_down else None

    return check


def _several_check(one: Check) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, (list, tuple)):
            return "holds lists of ranges: give a list of Range, [Range(1, 5)]"
        items = cast("Sequence[Any]", value)
        if not all(isinstance(item, _RANGE) for item in items):
            return "holds lists of ranges: give each as a Range"
        return next(filter(None, map(one, items)), None)

    return check
