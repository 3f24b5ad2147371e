"""Points in time, dates, times of day and durations."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import postgresql

from rowsmith.mapping.types.column_type import (
    NONE,
    Beside,
    Check,
    ColumnType,
    Comparison,
    Family,
    InCursor,
    Quick,
    Row,
    Travel,
    always,
    instances,
    itself,
    never,
    unchanged,
)

_ZONE: Final = attrgetter("tzinfo")
_FOLD: Final = attrgetter("fold")
_YEAR: Final = attrgetter("year")
_FIRST: Final = dt.datetime.min  # noqa: DTZ901
_LAST: Final = dt.datetime.max  # noqa: DTZ901
_FIRST_IN_UTC: Final = _FIRST.replace(tzinfo=dt.UTC)
_LAST_IN_UTC: Final = _LAST.replace(tzinfo=dt.UTC)
_OUTER_YEARS: Final = frozenset({dt.MINYEAR, dt.MAXYEAR})
"""In any other, a point in time is in Python's calendar in UTC, too, whatever its zone."""

ENDS_OF_TIME: Final[frozenset[Any]] = frozenset({dt.date.min, dt.date.max, _FIRST, _LAST, _FIRST_IN_UTC, _LAST_IN_UTC})
"""What asyncpg sends as PostgreSQL's ``-infinity`` and ``infinity``, which are no dates at all.

It gives them back for those, too: points in time stand for them, in whatever lane. A date, or a local time, is more
likely meant as it is, and refused.
"""


def in_utc(value: Any) -> Any:
    """Give a point in time so that Python tells it from others as PostgreSQL does.

    Within one time zone Python takes the two hours for one that a clock shows twice, and across zones for none.
    """
    with suppress(OverflowError):  # at either end of time
        return value.astimezone(dt.UTC).replace(fold=0)
    return value


def _within(ends: frozenset[object], check: Check) -> Check:
    """Refuse the first and the last value that Python has, too."""

    def checked(value: object) -> str | None:
        complaint = check(value)
        if complaint is None and value in ends:
            return "holds neither end of Python's calendar, which PostgreSQL takes for infinity: give another moment"
        return complaint

    return checked


def _datetime(declared: sqltypes.DateTime) -> ColumnType:
    zoned = bool(declared.timezone)
    check: Check = _check_moment if zoned else _check_local
    precision: int | None = getattr(declared, "precision", None)  # to which PostgreSQL's TIMESTAMP rounds
    wider = None if precision is None else postgresql.TIMESTAMP(zoned)
    operand = _unrounded(check, precision)
    check = _not_rounded_beyond(_LAST_IN_UTC if zoned else _LAST, _step(precision), check)
    return ColumnType(
        wraps=None,
        check=check if zoned else _within(ENDS_OF_TIME, check),
        operand=operand,
        taken=itself if zoned else _taken_local,
        quick=Quick(dt.datetime, _moments_fit if zoned else _local_times_fit),
        echo=_datetimes if wider is None else None,
        travel=Travel.PLAIN,
        cursor=_zoned(dt.datetime, zoned),
        gives=(dt.datetime,),
        compared=Comparison.MOMENT if zoned else Comparison.LOCAL_TIME,
        beside=Beside(family=Family.TIMES, wider=wider, keeps=None if wider is None else operand, splits=zoned),
        is_condition=False,
    )


def _unrounded(check: Check, precision: int | None) -> Check:
    """Refuse what is finer, too, which PostgreSQL would round without a word."""
    if precision is None:
        return check
    step = 10 ** (6 - min(precision, 6))  # the most that PostgreSQL keeps

    def checked(value: Any) -> str | None:
        if (complaint := check(value)) or value in ENDS_OF_TIME:
            return complaint
        finer = value.microseconds if isinstance(value, dt.timedelta) else value.microsecond
        return f"keeps {precision} digits of a second, and this has more" if finer % step else None

    return checked


def _not_rounded_beyond(last: Any, step: dt.timedelta | None, check: Check) -> Check:
    """Refuse what PostgreSQL would round up to a moment that it has and Python has not, and that nobody could read.

    Args:
        last: the last value that Python has.
        step: the last digit that a column keeps; None where it keeps all that Python has.
        check: what else is to be said of a value.
    """
    if step is None:
        return check
    if isinstance(last, dt.time):
        bound: Any = (dt.datetime.combine(_FIRST, last) - step / 2).time()
    else:
        bound = last - step / 2

    def checked(value: Any) -> str | None:
        complaint = check(value)
        if complaint is None:
            clock = value.replace(tzinfo=None) if isinstance(value, dt.time) else value
            if clock > bound and value not in ENDS_OF_TIME:
                return f"holds nothing that is rounded up beyond {last}: give this with fewer digits of a second"
        return complaint

    return checked


def _step(precision: int | None) -> dt.timedelta | None:
    """Give the last digit of a second that a column keeps, where that is none of Python's."""
    if precision is None or not 0 <= precision < _DIGITS_OF_A_SECOND:
        return None
    return dt.timedelta(microseconds=float(10 ** (_DIGITS_OF_A_SECOND - precision)))


_DIGITS_OF_A_SECOND: Final = 6


def _moments_fit(values: Sequence[Any]) -> bool:
    return set(map(type, map(_ZONE, values))) <= _ZONES and _OUTER_YEARS.isdisjoint(map(_YEAR, values))


def _local_times_fit(values: Sequence[Any]) -> bool:
    if set(map(_ZONE, values)) != {None}:
        return not values
    return bool(min(values) > _FIRST and max(values) < _LAST_SECOND)


_LAST_SECOND: Final = _LAST.replace(microsecond=0)
"""Before it nothing is rounded beyond Python's calendar, or a day."""

_ZONES: Final = frozenset({dt.timezone, ZoneInfo})
"""Zones of which it is known that ``utcoffset()`` is never None."""


def _offset(value: dt.datetime, otherwise: dt.timedelta | None = None) -> dt.timedelta | None:
    """Give how far the clock is from UTC; None where there is no time zone, ``otherwise`` where one cannot say it."""
    try:
        return value.utcoffset()
    except Exception:  # noqa: BLE001 - of a time zone of a team's own
        return otherwise


def _check_moment(value: object) -> str | None:
    if not isinstance(value, dt.datetime) or _offset(value) is None:
        return "holds points in time: give a datetime with a time zone (tzinfo)"
    fits = _FIRST_IN_UTC <= value <= _LAST_IN_UTC
    return (
        None if fits else "holds points in time from year 1 to year 9999 in UTC, and this is none of them: give another"
    )


def _check_local(value: object) -> str | None:
    fits = isinstance(value, dt.datetime) and _offset(value, dt.timedelta(0)) is None
    return None if fits else "holds local times: give a datetime without a time zone"


def _taken_local(value: Any) -> Any:
    """Take a date for its first moment."""
    return dt.datetime.combine(value, dt.time()) if _is_date(value) else value


def _datetimes(values: Sequence[Any], types: set[type[Any]]) -> Sequence[Any]:
    """PostgreSQL keeps the point in time and gives it in UTC; not which of two alike by the clock it was."""
    filled = values if NONE not in types else [value for value in values if value is not None]
    zones = set(map(_ZONE, filled))
    if (zones <= {dt.UTC} or zones == {None}) and not any(map(_FOLD, filled)):
        return values
    kept = (value if value is None or _ZONE(value) is None else value.astimezone(dt.UTC) for value in values)
    return [value if value is None else value.replace(fold=0) for value in kept]


def _zoned(python: type[object], timezone: bool) -> InCursor:
    """Give the form of times: none has a zone where the column keeps none."""
    return InCursor(python, lambda value: isinstance(value, python) and (timezone or _ZONE(value) is None))


def _date(_: sqltypes.Date) -> ColumnType:
    return ColumnType(
        wraps=None,
        check=_within(ENDS_OF_TIME, _check_date),
        operand=_check_date,
        taken=_taken_date,
        quick=Quick(
            dt.date, lambda values: not values or bool(dt.date.min < min(values) and max(values) < dt.date.max)
        ),
        echo=unchanged,
        travel=Travel.PLAIN,
        cursor=InCursor(dt.date, _is_date),
        gives=(dt.date,),
        compared=Comparison.DATE,
        beside=Beside(family=Family.TIMES),
        is_condition=False,
    )


def _is_date(value: object) -> bool:
    return isinstance(value, dt.date) and not isinstance(value, dt.datetime)


def _check_date(value: object) -> str | None:
    return None if _is_date(value) else "holds dates: give a date, not a datetime"


def _taken_date(value: Any) -> Any:
    """Take the first moment of a date for it: of any other the driver would cut off the time."""
    is_first = isinstance(value, dt.datetime) and value.tzinfo is None and value.time() == dt.time()
    return value.date() if is_first else value


def _time(declared: sqltypes.Time) -> ColumnType:
    zoned = declared.timezone
    complaint = f"holds times of day: give a time with{'' if zoned else 'out'} a time zone"

    def check(value: object) -> str | None:
        fits = isinstance(value, dt.time) and (value.tzinfo is not None) == zoned
        return None if fits else complaint

    precision: int | None = getattr(declared, "precision", None)
    wider = None if precision is None else postgresql.TIME(declared.timezone)
    operand = _unrounded(check, precision)
    return ColumnType(
        wraps=None,
        check=_not_rounded_beyond(dt.time.max, _step(precision), check),
        operand=operand,
        taken=itself,
        quick=Quick(dt.time, never if zoned else _times_fit),
        echo=None,
        travel=Travel.PLAIN,
        cursor=_zoned(dt.time, zoned),
        gives=(dt.time,),
        compared=Comparison.NONE,
        beside=Beside(family=Family.TIMES_OF_DAY, wider=wider, keeps=None if wider is None else operand, splits=zoned),
        is_condition=False,
    )


def _times_fit(values: Sequence[Any]) -> bool:
    return set(map(_ZONE, values)) <= {None} and max(values, default=_FIRST.time()) < _LAST_SECOND.time()


def _interval(declared: sqltypes.Interval | postgresql.INTERVAL) -> ColumnType:
    wider: sqltypes.Interval | postgresql.INTERVAL
    operand: Check = _check_interval
    if isinstance(declared, postgresql.INTERVAL):
        wider, precision = postgresql.INTERVAL(), declared.precision
        operand = _uncut(_unrounded(operand, precision), declared.fields)
    else:
        wider, precision = sqltypes.Interval(), declared.second_precision if declared.native else None
        operand = _unrounded(operand, precision)
    rounds = operand is not _check_interval
    return ColumnType(
        wraps=None,  # Interval is a TypeDecorator, but SQLAlchemy's own
        check=_not_rounded_beyond(dt.timedelta.max, _step(precision), _check_interval),
        operand=operand,
        taken=itself,
        quick=Quick(dt.timedelta, always if precision is None else never),
        echo=None,
        travel=Travel.PLAIN,
        cursor=instances(dt.timedelta),
        gives=(dt.timedelta,),
        compared=Comparison.NEVER,
        beside=Beside(
            family=Family.DURATIONS,
            wider=wider if rounds else None,
            keeps=operand if rounds else None,
        ),
        is_condition=False,
    )


def _uncut(check: Check, fields: str | None) -> Check:
    """Refuse what PostgreSQL would cut off without a word: all that is finer than the last field that is kept."""
    last = (fields or "").upper().rpartition(" ")[2]
    step = _STEPS.get(last)

    def checked(value: Any) -> str | None:
        complaint = check(value)
        if complaint is None and step is not None and (value % step if step else value):
            complaint = f"keeps whole {last.lower()}s, and this has more: give it without"
        return complaint

    return check if step is None else checked


_STEPS: Final = {
    **dict.fromkeys(("YEAR", "MONTH"), dt.timedelta(0)),
    "DAY": dt.timedelta(days=1),
    "HOUR": dt.timedelta(hours=1),
    "MINUTE": dt.timedelta(minutes=1),
}
"""By the last field that an interval keeps, of what a timedelta may be a multiple; of months it has none at all.

PostgreSQL's manual, "Date/Time Types", has them as what is stored, and what is finer set to nought.
"""


def _check_interval(value: object) -> str | None:
    return None if isinstance(value, dt.timedelta) else "holds durations: give a timedelta"


ROWS: Final[tuple[Row, ...]] = (
    (sqltypes.Interval, _interval),
    (postgresql.INTERVAL, _interval),
    (sqltypes.DateTime, _datetime),
    (sqltypes.Date, _date),
    (sqltypes.Time, _time),
)
