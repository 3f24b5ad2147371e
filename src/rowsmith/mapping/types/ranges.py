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
    Take,
    Travel,
    anything,
    itself,
    never,
)
from rowsmith.mapping.types.unknown import unknown


def range_rows(column_type: Callable[[Any], ColumnType]) -> tuple[Row, ...]:
    """Give the rows of ranges, whose bounds are of types that the table knows."""

    def bounds(declared: TypeEngine[Any]) -> tuple[Check, Take]:
        member = member_of(declared)
        return (anything, itself) if member is None else (column_type(member).check, column_type(member).taken)

    def one(declared: TypeEngine[Any]) -> ColumnType:
        bound, take = bounds(declared)
        check = _range_check(bound)

        def operand(value: object) -> str | None:
            return check(value) if _is_range(value) else None  # a member may stand there, too

        quick = Quick(Range, lambda values: not any(map(check, values)))
        record = replace(unknown(declared), travel=Travel.MEMBERS, beside=_BESIDE, quick=quick)
        return replace(record, check=check, operand=operand, taken=_taken_range(take))

    def several(declared: TypeEngine[Any]) -> ColumnType:
        bound, take = bounds(declared)
        each, taken = _range_check(bound), _taken_range(take)
        check = _several_check(each)

        def operand(value: object) -> str | None:
            one_too = each if _is_range(value) else check
            return one_too(value) if _is_range(value) or isinstance(value, (list, tuple)) else None

        def taken_all(value: Any) -> Any:
            return list(map(taken, cast("list[Any]", value))) if isinstance(value, (list, tuple)) else value

        record = replace(unknown(declared), beside=_BESIDE, quick=Quick(NONE, never))
        return replace(record, check=check, operand=operand, taken=taken_all)

    return (ranges.AbstractSingleRange, one), (ranges.AbstractMultiRange, several)


def member_of(declared: TypeEngine[Any]) -> TypeEngine[Any] | None:
    """Give the type of what a range is over; None for a range of a team's own."""
    return next((member for kinds, member in _MEMBERS if isinstance(declared, kinds)), None)


def _is_range(value: object) -> bool:
    """Say whether a value is a range: SQLAlchemy's, or asyncpg's."""
    return hasattr(value, "lower_inc")


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
        if not _is_range(value):
            return None  # what it is the driver says
        ends = [end for end in (value.lower, value.upper) if end is not None]
        if complaint := next(filter(None, map(bound, ends)), None):
            return f"is a range that {complaint}"
        is_upside_down = len(ends) > 1 and bound is not anything and ends[0] > ends[1]
        return "holds ranges: the lower bound of this one is above its upper one" if is_upside_down else None

    return check


def _taken_range(take: Take) -> Take:
    """Give what takes for a range its two ends, as asyncpg does, and asyncpg's own, and each end as its type does."""

    def end(value: Any) -> Any:
        return None if value is None else take(value)

    def taken(value: Any) -> Any:
        given: Any = value
        if isinstance(value, (list, tuple)) and len(given) == 2:  # noqa: PLR2004
            return Range(*map(end, given), bounds="[]")
        return Range(end(given.lower), end(given.upper)) if _is_range(given) else given

    return taken


def _several_check(one: Check) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, (list, tuple)):
            return "holds lists of ranges: give a list of Range, [Range(1, 5)]"
        items = cast("Sequence[Any]", value)
        if not all(map(_is_range, items)):
            return "holds lists of ranges: give each as a Range"
        return next(filter(None, map(one, items)), None)

    return check
