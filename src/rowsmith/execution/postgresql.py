"""PostgreSQL's values as its columns say that they are, where asyncpg gives them otherwise."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects.postgresql import TSTZMULTIRANGE, TSTZRANGE, Range, asyncpg, ranges
from sqlalchemy.dialects.postgresql.ranges import MultiRange
from sqlalchemy.engine import Dialect


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
        return _then(read, _each_zoned) if isinstance(self, TSTZMULTIRANGE) else read


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


def _each_zoned(value: Any) -> Any:
    """Give a multirange of such ranges."""
    return value if value is None else MultiRange(map(_zoned, value))


def _aware(value: dt.datetime | None) -> dt.datetime | None:
    """Give a point in time with a zone: without one it stands for an end of time."""
    return value if value is None or value.tzinfo is not None else value.replace(tzinfo=dt.UTC)


def prepare_postgresql(engine: Engine) -> None:
    """Set up an engine on asyncpg; does nothing to any other."""
    if engine.dialect.driver == "asyncpg":
        engine.dialect.colspecs = {
            **engine.dialect.colspecs,
            sqltypes.DateTime: ZonedDateTime,
            sqltypes.JSON.JSONPathType: NullablePath,
            ranges.AbstractSingleRange: ZonedRange,
            ranges.AbstractMultiRange: ZonedMultiRange,
        }
