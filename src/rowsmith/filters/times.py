"""Filters over points in time and calendar dates."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StrictBool
from sqlalchemy.types import TypeEngine
from typing_extensions import override

from rowsmith.filters.fields import MAX_VALUES, FieldFilter
from rowsmith.filters.operands import On, Prepare, as_given, converts, stored, stored_name
from rowsmith.filters.operators import (
    AFTER,
    AT_OR_AFTER,
    AT_OR_BEFORE,
    BEFORE,
    BETWEEN,
    EQUALS,
    IN,
    IS_NULL,
    NOT_BETWEEN,
    NOT_EQUALS,
    NOT_IN,
)
from rowsmith.mapping.types import Comparison

_FINER: Final = re.compile(r"[.,]\d{6}\d*[1-9]")


def _written(value: object) -> Any:
    if isinstance(value, str) and _FINER.search(value):
        raise ValueError("give no more than six digits after the point: the database keeps microseconds")
    if isinstance(value, dt.date) or (isinstance(value, str) and "-" in value[1:]):
        return value
    raise ValueError("give a date or time in ISO 8601, not a number")


def _utc(moment: dt.datetime) -> dt.datetime:
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError("give a point in time within the years 1 to 9999 of UTC") from None


def _no_time(value: object) -> Any:
    if isinstance(value, dt.datetime):
        raise ValueError("give a date, not a datetime")  # noqa: TRY004 - pydantic wants a ValueError
    return value


Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_utc)]
Moments: TypeAlias = Annotated[list[Moment], Field(max_length=MAX_VALUES)]
Day: TypeAlias = Annotated[dt.date, BeforeValidator(_no_time), BeforeValidator(_written)]
Days: TypeAlias = Annotated[list[Day], Field(max_length=MAX_VALUES)]


class DateTimeFilter(FieldFilter):
    """Operators on a point in time. Datetimes carry a time zone; naive ones are refused."""

    equals: Annotated[Moment | None, EQUALS] = None
    not_equals: Annotated[Moment | None, NOT_EQUALS] = None
    before: Annotated[Moment | None, BEFORE] = None
    after: Annotated[Moment | None, AFTER] = None
    at_or_before: Annotated[Moment | None, AT_OR_BEFORE] = None
    at_or_after: Annotated[Moment | None, AT_OR_AFTER] = None
    between: Annotated[tuple[Moment, Moment] | None, BETWEEN] = None
    not_between: Annotated[tuple[Moment, Moment] | None, NOT_BETWEEN] = None
    in_: Annotated[Moments | None, IN] = None
    not_in: Annotated[Moments | None, NOT_IN] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    @override
    @classmethod
    def _prepare(cls, declared: TypeEngine[Any], on: On, where: str) -> Prepare | str:
        if converts(declared):
            return as_given
        compared = stored(declared).compared
        if compared is Comparison.MOMENT:
            return as_given
        if compared is not Comparison.LOCAL_TIME:
            return f"it compares points in time, and the column is {stored_name(declared)}"
        if on.utc:
            return lambda moment: moment.replace(tzinfo=None)
        return "the column has no time zone: declare DateTime(timezone=True), or say On(..., utc=True) if it holds UTC"


class DateFilter(FieldFilter):
    """Operators on a calendar date."""

    equals: Annotated[Day | None, EQUALS] = None
    not_equals: Annotated[Day | None, NOT_EQUALS] = None
    before: Annotated[Day | None, BEFORE] = None
    after: Annotated[Day | None, AFTER] = None
    at_or_before: Annotated[Day | None, AT_OR_BEFORE] = None
    at_or_after: Annotated[Day | None, AT_OR_AFTER] = None
    between: Annotated[tuple[Day, Day] | None, BETWEEN] = None
    not_between: Annotated[tuple[Day, Day] | None, NOT_BETWEEN] = None
    in_: Annotated[Days | None, IN] = None
    not_in: Annotated[Days | None, NOT_IN] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    _kind: ClassVar[str] = "dates"
    _comparisons: ClassVar[tuple[Comparison, ...]] = (Comparison.DATE,)
