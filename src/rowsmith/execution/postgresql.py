"""PostgreSQL's values as its columns say that they are, where asyncpg gives them otherwise."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import Engine
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects.postgresql import TSTZMULTIRANGE, TSTZRANGE, Range, asyncpg, ranges
from sqlalchemy.dialects.postgresql.ranges import MultiRange
from sqlalchemy.engine import Dialect

Processor: TypeAlias = Callable[[Any], Any]
"""Makes of a value of the driver's what its column's type says that it is."""

_ZONE: Final = attrgetter("tzinfo")


class ZonedDateTime(asyncpg.AsyncpgDateTime):
    """Points in time, the ends of time too: asyncpg gives ``infinity`` as the last datetime there is, without a zone.

    It takes that datetime in UTC for ``infinity`` again, so that what was read can be written and compared.
    """

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Give the function that reads a value, aware if the column is."""
        return _aware if self.timezone else None


class ZonedRange(asyncpg._AsyncpgRange):  # pyright: ignore[reportPrivateUsage] - it has no other name
    """Ranges of points in time, whose ends may be ``infinity`` too."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Give the function that reads a value, its ends aware if the type is of zoned times."""
        base: Any = super()
        read: Callable[[Any], Any] = base.result_processor(dialect, coltype)
        return _then(read, _zoned) if isinstance(self, TSTZRANGE) else read


class ZonedMultiRange(asyncpg._AsyncpgMultiRange):  # pyright: ignore[reportPrivateUsage] - it has no other name
    """Several of them."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Give the function that reads a value, its ends aware if the type is of zoned times."""
        base: Any = super()
        read: Callable[[Any], Any] = base.result_processor(dialect, coltype)
        if not isinstance(self, TSTZMULTIRANGE):
            return read
        return _then(read, lambda value: value if value is None else MultiRange(map(_zoned, value)))


class NullablePath(asyncpg.AsyncpgJSONPathType):
    """JSON paths: SQLAlchemy binds None as an empty list, which is none of them."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Give the function that stores a value."""
        base: Any = super()
        store = base.bind_processor(dialect)

        def process(value: object) -> Any:
            """Store a path, and None as NULL."""
            return None if value is None else store(value)

        return process


def _then(read: Callable[[Any], Any], convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Give the function that reads a value and converts it."""
    return lambda value: convert(read(value))


def _zoned(value: Any) -> Any:
    """Give a range with aware ends."""
    if value is None or value.empty:
        return value
    return Range(_aware(value.lower), _aware(value.upper), bounds=value.bounds)


def _aware(value: dt.datetime | None) -> dt.datetime | None:
    """Give a point in time with a zone: without one it stands for an end of time."""
    return value if value is None or value.tzinfo is not None else value.replace(tzinfo=dt.UTC)


def leaves(process: object, column: Iterable[object]) -> bool:
    """Say whether a result processor surely leaves the values of a column as they are, by one look at all of them."""
    if process is not _aware:
        return False
    with suppress(Exception):  # it says in its own place what it cannot read
        given: Iterable[Any] = filter(None, column)
        return None not in set(map(_ZONE, given))
    return False


def read_by_column(
    records: Sequence[Sequence[Any]], processors: Iterable[tuple[int, Processor]]
) -> Sequence[Sequence[Any]]:
    """Give records with what result processors make of their columns, told by place; as they are where it is the same.

    Raises:
        Exception: whatever a processor raises.
    """
    left = [(place, each) for place, each in processors if not leaves(each, map(itemgetter(place), records))]
    if not left:
        return records
    columns: list[Iterable[Any]] = list(zip(*records, strict=True))
    for place, process in left:
        columns[place] = [process(value) for value in columns[place]]
    return list(zip(*columns, strict=True))


def prepare_postgresql(engine: Engine) -> None:
    """Set up an engine on asyncpg, whether it was used before or not; does nothing to any other, or a second time."""
    dialect: Any = engine.dialect
    if dialect.driver != "asyncpg" or dialect.colspecs.get(sqltypes.DateTime) is ZonedDateTime:
        return
    dialect.colspecs = {
        **dialect.colspecs,
        sqltypes.DateTime: ZonedDateTime,
        sqltypes.JSON.JSONPathType: NullablePath,
        ranges.AbstractSingleRange: ZonedRange,
        ranges.AbstractMultiRange: ZonedMultiRange,
    }
    dialect._type_memos.clear()  # what it made of the types of columns that it has met, as by create_all()
    engine.clear_compiled_cache()
