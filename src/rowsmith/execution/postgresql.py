"""PostgreSQL's values as its columns say that they are, where asyncpg gives them otherwise."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Dialect


class ZonedDateTime(asyncpg.AsyncpgDateTime):
    """Points in time, the ends of time too: asyncpg gives ``infinity`` as the last datetime there is, without a zone.

    It takes that datetime in UTC for ``infinity`` again, so that what was read can be written and compared.
    """

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Give the function that reads a value, aware if the column is."""
        return _aware if self.timezone else None


def _aware(value: dt.datetime | None) -> dt.datetime | None:
    return value if value is None or value.tzinfo is not None else value.replace(tzinfo=dt.UTC)


def prepare_postgresql(engine: Engine) -> None:
    """Set up an engine on asyncpg; does nothing to any other."""
    if engine.dialect.driver == "asyncpg":
        engine.dialect.colspecs = {**engine.dialect.colspecs, sqltypes.DateTime: ZonedDateTime}
