"""SQLite made to keep the promises: foreign keys on, writers queue instead of losing updates, UTC times.

Sources: SQLAlchemy's notes on pysqlite transactions, and SQLite's manual on BEGIN IMMEDIATE and
``PRAGMA query_only``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.base import _SQliteJson  # pyright: ignore[reportPrivateUsage] - what reads numbers
from sqlalchemy.engine import Dialect, ExceptionContext

from rowsmith.errors import InvalidValue
from rowsmith.execution.endings import watch_ends
from rowsmith.execution.read_only import locked_on_sqlite
from rowsmith.execution.returning import read_returning_whole

READ_ONLY = "rowsmith_readonly"
"""The execution option of a connection whose transaction may not write."""


class UtcDateTime(sqlite.DATETIME):
    """Points in time kept as UTC: SQLite's own storage drops the time zone, and aware values would shift.

    Full seconds are stored as ``CURRENT_TIMESTAMP`` writes them, without a fraction, because SQLite
    compares the text: with ``.000000`` a server default would equal nothing, and a cursor would lose rows.
    """

    def bind_processor(self, dialect: Dialect) -> Any:
        """Give the function that stores a value."""

        def store(value: dt.datetime | None) -> str | None:
            """Write a point in time as UTC, as the database's own functions write it."""
            if value is not None and value.tzinfo is not None and self.timezone:
                value = value.astimezone(dt.UTC).replace(tzinfo=None)
            return None if value is None else value.isoformat(" ")

        return store

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Give the function that reads a value back, aware if the column is."""
        read: Any = super().result_processor(dialect, coltype)

        def aware(value: object) -> dt.datetime | None:
            """Read a point in time, which is UTC."""
            stored: dt.datetime | None = read(value)
            return None if stored is None else stored.replace(tzinfo=dt.UTC)

        return aware if self.timezone else read


class ExactNumeric(sqltypes.Numeric[Any]):
    """Decimals that SQLite keeps as floats: rounded to their scale as PostgreSQL does, and refused if they change."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Give the function that stores a value; it raises InvalidValue for one that would be read as another."""
        shown = self._effective_decimal_return_scale

        def store(value: Any) -> float | None:
            """Round a number to the column's scale, and refuse one that would be read as another."""
            if value is None:
                return None
            number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
            if self.scale is not None and number.is_finite():
                number = _EXACT.quantize(number, Decimal((0, (1,), -self.scale)))
            stored = float(number)
            read = Decimal(f"{stored:.{shown}f}" if self.asdecimal else repr(stored))
            is_kept = read == number or (not self.asdecimal and isinstance(value, int) and stored == number)
            if number.is_finite() and not is_kept:
                raise InvalidValue("has more digits than SQLite keeps: store it as text, or in whole units")
            return stored

        return store


class PlainUuid(sqltypes.Uuid[Any]):
    """UUIDs kept as text of one form, 32 small letters and digits: SQLite compares the text, whatever was given."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Give the function that stores a value."""
        return super().bind_processor(dialect) if self.as_uuid else _plain_uuid

    def literal_processor(self, dialect: Dialect) -> Any:
        """Give the function that writes a value into a statement."""
        base: Any = super()
        write = base.literal_processor(dialect)

        def write_plain(value: str) -> Any:
            """Write a UUID as it is stored."""
            return write(_plain_uuid(value))

        return write if self.as_uuid else write_plain


def _plain_uuid(value: str | None) -> str | None:
    """Give the form that is stored of a UUID, and of what is compared with some and is no whole one."""
    if value is None:
        return None
    with suppress(ValueError):
        return uuid.UUID(value).hex
    return value.replace("-", "").lower()


class WholeFloat(sqltypes.Float[Any]):
    """Floats that are read as floats: of a whole one SQLite's RETURNING gives an integer."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Give the function that reads a value back."""
        base: Any = super()
        return base.result_processor(dialect, coltype) or _whole


def _whole(value: object) -> Any:
    return float(value) if type(value) is int else value


class WholeJson(_SQliteJson):
    """JSON in a column that SQLite takes for one of numbers: a document that is no more than one is kept as its own."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Give the function that stores a value; it raises InvalidValue for a number that would be read as another."""
        base: Any = super()
        write = base.bind_processor(dialect)

        def store(value: Any) -> Any:
            """Write a document, and refuse an integer that SQLite would make another number of."""
            if isinstance(value, int) and not _is_kept(value):
                raise InvalidValue("is an integer that SQLite keeps as a float: give it in a list, [...], or as text")
            return write(value)

        return store


def _is_kept(value: int) -> bool:
    """Say whether SQLite has an integer as it is, or a float that is equal to it."""
    with suppress(OverflowError):
        return -(2**63) <= value < 2**63 or float(value) == value
    return False


class _Types(dict[Any, Any]):
    """What stands in for SQLAlchemy's types on SQLite; not for an application's class that stores values itself."""

    def __missing__(self, kind: type[Any]) -> type[Any]:
        is_own = issubclass(kind, _STOOD_IN) and not kind.__module__.startswith("sqlalchemy.")
        if is_own and not _PROCESSORS.isdisjoint(vars(kind)):
            return kind
        raise KeyError(kind)


_STOOD_IN: Final[tuple[type[Any], ...]] = (sqltypes.Numeric, sqltypes.Float, sqltypes.Uuid)
_PROCESSORS: Final = frozenset({"bind_processor", "result_processor"})

_EXACT = Context(prec=2_000, rounding=ROUND_HALF_UP)


def prepare_sqlite(engine: Engine) -> None:
    """Set up a SQLite engine; does nothing to any other, and nothing the second time."""
    _served.add(engine)
    if engine.dialect.name != "sqlite" or _begin in engine.dispatch.begin:
        return
    own = {
        sqltypes.DateTime: UtcDateTime,
        sqltypes.Numeric: ExactNumeric,
        sqltypes.Float: WholeFloat,
        sqltypes.Uuid: PlainUuid,
        sqltypes.JSON: WholeJson,
    }
    dialect: Any = engine.dialect
    dialect.colspecs = _Types({**dialect.colspecs, **own})
    dialect._type_memos.clear()  # what it made of the types of columns that it has met, as by create_all()
    engine.clear_compiled_cache()
    read_returning_whole(engine)
    watch_ends(engine)
    event.listen(engine, "connect", _connect)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "checkin", _checkin)
    event.listen(engine, "close", _close)
    event.listen(engine, "handle_error", _abandon)


_served: Final[WeakSet[Engine]] = WeakSet()
"""The engines that a Database is made of."""


def _connect(dbapi_connection: Any, _: object) -> None:
    """Set up a new connection."""
    dbapi_connection.isolation_level = None  # the driver must not open transactions on its own
    _run(dbapi_connection, "PRAGMA foreign_keys = ON")


def _checkin(dbapi_connection: Any, _: object) -> None:
    """End a transaction whose COMMIT failed: SQLite keeps it open, and SQLAlchemy believes that it ended."""
    if dbapi_connection is None:
        return
    driver = dbapi_connection.driver_connection
    _unlock(driver)
    if driver.in_transaction:
        _roll_back(dbapi_connection)


def _close(dbapi_connection: Any, _: object) -> None:
    """End the transaction of a cancelled task: a connection is not closed while a cursor on it is alive.

    Two tasks may close one connection, the one that was cancelled and the one that leaves the block around it. The
    driver's second close would wait for ever, for a thread that has ended, so it joins the first; and so does one that
    comes after the thread was told to stop, which is all that is done for whoever is cancelled again.
    """
    driver = dbapi_connection.driver_connection
    if driver not in _closing:
        _closing.add(driver)
        if hasattr(driver, "stop"):  # as aiosqlite has from 0.22.1 on
            driver.stop = lru_cache(driver.stop)
        driver.close = _once(driver, driver.close)
        _unlock(driver)
        _roll_back(dbapi_connection)


def _unlock(driver: Any) -> None:
    """Let a connection end its transaction, if it was kept from it."""
    if driver in locked_on_sqlite:
        locked_on_sqlite.remove(driver)
        _queue(driver.set_authorizer(None))


def _once(driver: Any, close: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Have a connection be closed once, however many ask for it; all of them wait for that."""
    task: asyncio.Task[None] | None = None

    async def closing() -> None:
        if driver._running or not hasattr(driver, "stop"):
            await close()
        elif (stopped := driver.stop()) is not None:  # its thread was told to close it, and to end
            await stopped

    async def closed() -> None:
        nonlocal task
        task = task or asyncio.create_task(closing())
        await asyncio.shield(task)

    return closed


_closing: WeakSet[Any] = WeakSet()


def _abandon(context: ExceptionContext) -> None:
    """Close the cursor of a cancelled statement: it would hold SQLite's lock for as long as the traceback lives."""
    cursor: Any = getattr(getattr(context.execution_context, "cursor", None), "_cursor", None)
    if context.is_disconnect and cursor is not None:
        _queue(cursor.close())


@asynccontextmanager
async def interrupted(connection: Connection) -> AsyncGenerator[None]:
    """Have nothing run on a SQLite connection meanwhile: closed under a statement, it would keep its locks."""
    pooled: Any = connection._dbapi_connection  # pyright: ignore[reportPrivateUsage]
    adapter = None if pooled is None else pooled.dbapi_connection
    if adapter is None or connection.dialect.name != "sqlite":
        yield
        return
    async with AsyncExitStack() as stack:
        for _ in range(INTERRUPTS):  # one that comes before the statement has begun does nothing
            with suppress(TimeoutError, ValueError):  # it has not ended yet, or is closed already
                await adapter.driver_connection.interrupt()
                async with asyncio.timeout(LONGEST_WAIT / INTERRUPTS):
                    await stack.enter_async_context(adapter._execute_mutex)
                break
        yield


INTERRUPTS = 100

LONGEST_WAIT = 2.0
"""Seconds for an interrupted statement to end."""


def _roll_back(dbapi_connection: Any) -> None:
    """End the transaction of a connection, once the driver's thread comes to it."""
    _queue(dbapi_connection.driver_connection.rollback())


def _queue(work: Coroutine[Any, Any, Any]) -> None:
    """Put work into the queue of the driver's thread without waiting, which could be cancelled again."""
    with suppress(ValueError):  # closed already
        work.send(None)
    work.close()


def _begin(connection: Connection) -> None:
    """Begin a transaction, which takes the lock at once if it may write; none where an application wants none.

    One that a Database is made of has them whatever was chosen for it.
    """
    options, driver = connection.get_execution_options(), connection.connection
    read_only = bool(options.get(READ_ONLY))
    _run(driver, f"PRAGMA query_only = {int(read_only)}")
    is_without = options.get("isolation_level") == "AUTOCOMMIT" and not read_only
    chosen = connection.engine.get_execution_options().get("isolation_level")
    if is_without and (chosen != "AUTOCOMMIT" or connection.engine not in _served):
        return
    # A deferred BEGIN takes the write lock at the first write, after a read another writer may have overtaken.
    _run(driver, "BEGIN" if read_only else "BEGIN IMMEDIATE")


def _run(driver: Any, statement: str) -> None:
    """Run a statement below SQLAlchemy: it belongs to the transaction's frame, not to its content."""
    cursor = driver.cursor()
    cursor.execute(statement)
    cursor.close()
