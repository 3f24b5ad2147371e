"""The database: engines, sessions and units of work. The only module that begins and ends transactions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import AsyncAdaptedQueuePool

from rowsmith.attempts import note_commit
from rowsmith.errors import (
    CommitOutcomeUnknown,
    DatabaseUnavailable,
    MissingExtra,
    ReadOnlyViolation,
    TransactionAborted,
    TransactionError,
)
from rowsmith.execution import (
    DATABASE_ERRORS,
    blame,
    flush,
    has_failed,
    is_disconnect,
    translate,
    translated,
    watch_failures,
)
from rowsmith.execution.pool import prepare_pool
from rowsmith.execution.postgresql import prepare_postgresql
from rowsmith.execution.sqlite import READ_ONLY, prepare_sqlite
from rowsmith.operations.reads.many import CODEC
from rowsmith.pagination import CursorCodec
from rowsmith.unit_of_work import UnitOfWork

_DRIVERS = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}

# An in-memory SQLite database lives in one connection; its sessions must wait for each other.
_ONE_CONNECTION = {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0}

_units: ContextVar[Mapping[int, UnitOfWork]] = ContextVar("rowsmith_units", default=MappingProxyType({}))
"""The innermost unit of work of each database (by its identity) that this task is inside of."""


class Database:
    """An engine, and the ways into it.

    Args:
        engine: any AsyncEngine for PostgreSQL (asyncpg) or SQLite (aiosqlite). Its owner keeps it;
            ``dispose`` closes its pool.
        cursor_keys: secrets that cursors are signed with, the newest first; older ones are still
            accepted. Without any, cursors are checked but not signed.
    """

    def __init__(self, engine: AsyncEngine, *, cursor_keys: Sequence[bytes | str] = ()) -> None:
        self.engine = engine
        self._codec = CursorCodec(cursor_keys)
        watch_failures(engine.sync_engine)
        prepare_sqlite(engine.sync_engine)
        prepare_pool(engine.sync_engine)
        prepare_postgresql(engine.sync_engine)
        # Engines that share the pool, not options of a session's first connection: a session that an application
        # rolls back goes on with another, which must be read-only too.
        self._read_only = engine.execution_options(**_read_options(engine))
        self._snapshot = engine.execution_options(**_read_options(engine, isolation_level="REPEATABLE READ"))

    @classmethod
    def from_url(cls, url: str | URL, *, cursor_keys: Sequence[bytes | str] = (), **engine_options: Any) -> Database:
        """Make the engine as well.

        Args:
            url: a database URL; ``postgresql://`` and ``sqlite://`` get their asynchronous drivers.
            cursor_keys: as for the class.
            engine_options: for SQLAlchemy's ``create_async_engine``, such as ``pool_size=20``.

        Raises:
            MissingExtra: the driver that the URL asks for is not installed.
        """
        asked = make_url(url)
        target = asked.set(drivername=_DRIVERS.get(asked.drivername, asked.drivername))
        options = {"hide_parameters": True, **engine_options}
        if target.get_backend_name() == "sqlite" and target.database in (None, "", ":memory:"):
            options = {**_ONE_CONNECTION, **options}
        try:
            return cls(create_async_engine(target, **options), cursor_keys=cursor_keys)
        except ModuleNotFoundError as exc:
            raise MissingExtra(f"the driver {exc.name} is not installed: pip install {exc.name}") from None

    @asynccontextmanager
    async def begin_session(self) -> AsyncGenerator[AsyncSession]:
        """Open a session that commits on a clean exit; inside a unit of work, join that one instead.

        Raises:
            TransactionAborted: on leaving, when a statement failed inside and its error was swallowed.
            CommitOutcomeUnknown: the connection was lost while the answer to COMMIT was due.
            RepositoryError: any database error that leaves the block, translated.
        """
        unit = self._current_unit()
        async with self._transaction() if unit is None else unit.joined() as session:
            yield session

    @asynccontextmanager
    async def begin_readonly_session(self) -> AsyncGenerator[AsyncSession]:
        """Open a session in which the database itself refuses writes.

        Raises:
            ReadOnlyViolation: a write was tried, or ORM changes were left unflushed at the end.
        """
        unit = self._current_unit()
        if unit is not None:
            async with unit.joined() as session, _read_only_savepoint(session):
                yield session
            return
        async with self._session(self._read_only, guarded=True) as session:
            yield session
            _refuse_pending(session)

    @asynccontextmanager
    async def reading(self, *, snapshot: bool = False) -> AsyncGenerator[AsyncSession]:
        """Open a session for the reads of a repository, in one snapshot where several statements must agree.

        Cheaper than :meth:`begin_readonly_session`, which also guards against statements of the
        application's own.
        """
        unit, engine = self._current_unit(), self._snapshot if snapshot else self._read_only
        async with self._session(engine) if unit is None else unit.joined() as session:
            yield session

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncGenerator[UnitOfWork]:
        """Open a transaction that every repository call inside the block joins; a nested one is a savepoint.

        Raises:
            ConcurrentUse: on use from two tasks at once.
            AfterCommitFailed: committed, but work handed to ``after_commit`` failed.
            TransactionAborted, CommitOutcomeUnknown: as :meth:`begin_session`.
        """
        outer = self._current_unit()
        if outer is not None:
            with outer.nested() as inner:
                async with translated(), _savepoint(outer.session):
                    with _Entered(id(self), inner):
                        yield inner
            outer.adopt(inner)
            return
        async with self._transaction(in_unit=True) as session:
            unit = UnitOfWork(session)
            with _Entered(id(self), unit):
                yield unit
        await unit.run_after_commit()

    @property
    def in_unit_of_work(self) -> bool:
        """Whether the calling task is inside a unit of work of this database."""
        return self._current_unit() is not None

    async def dispose(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()

    def _current_unit(self) -> UnitOfWork | None:
        # A task started inside a unit of work may outlive it, and then is inside of nothing.
        unit = _units.get().get(id(self))
        return unit if unit is not None and unit.is_open else None

    @asynccontextmanager
    async def _transaction(self, *, in_unit: bool = False) -> AsyncGenerator[AsyncSession]:
        async with self._session(self.engine) as session:
            connection = await session.connection() if in_unit else None
            yield session
            if connection is not None and connection.closed:
                raise TransactionError("commit() or rollback() was called in a unit of work, which ends by itself")
            await _commit(session)

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine, *, guarded: bool = False) -> AsyncGenerator[AsyncSession]:
        """Open a session that has a connection from the pool and has begun its transaction."""
        async with translated(), AsyncSession(engine, expire_on_commit=False, info={CODEC: self._codec}) as session:
            if guarded:
                event.listen(session.sync_session, "after_begin", _take_snapshot)
            try:
                await session.connection()
            except TimeoutError:
                failure: Exception = DatabaseUnavailable()
            except DATABASE_ERRORS as exc:
                failure = translate(exc)
            else:
                yield session
                return
            raise failure


def in_transaction() -> bool:
    """Say whether the calling task is inside a transaction that it or its caller began, of any database."""
    return any(unit.is_open for unit in _units.get().values())


class _Entered:
    """Makes a unit of work the current one of its database for the length of a block."""

    def __init__(self, database: int, unit: UnitOfWork) -> None:
        self._database, self._unit = database, unit

    def __enter__(self) -> None:
        self._token = _units.set({**_units.get(), self._database: self._unit})

    def __exit__(self, *exc_info: object) -> None:
        self._unit.is_open = False
        with suppress(ValueError):  # left in another context than entered, as a fixture's teardown may be
            _units.reset(self._token)


async def _commit(session: AsyncSession) -> None:
    """Commit, or say truthfully why nothing was."""
    if not session.in_transaction():  # ended by hand
        return
    await flush(session)
    _refuse_failed(await session.connection())
    try:
        await session.commit()
    except DATABASE_ERRORS as exc:
        if is_disconnect(exc):
            note_commit()
        failure = CommitOutcomeUnknown() if is_disconnect(exc) else translate(exc, blame(session, exc))
    else:
        note_commit()
        return
    raise failure


@asynccontextmanager
async def _savepoint(session: AsyncSession) -> AsyncGenerator[None]:
    connection = await session.connection()
    nested = await session.begin_nested()
    try:
        yield
        await flush(session)
        _refuse_failed(connection)
        await nested.commit()
    except BaseException:
        with suppress(*DATABASE_ERRORS):  # a lost connection cannot roll back: the first error says why
            await nested.rollback()
        raise


@asynccontextmanager
async def _read_only_savepoint(session: AsyncSession) -> AsyncGenerator[None]:
    """Refuse writes inside an open transaction: PostgreSQL ends READ ONLY with the savepoint, SQLite is told to."""
    await flush(session)
    if session.get_bind().dialect.name == "postgresql":
        async with _savepoint(session):
            await session.execute(text("SET TRANSACTION READ ONLY"))
            yield
            _refuse_pending(session)
        return
    await session.execute(text("PRAGMA query_only = 1"))
    try:
        async with _savepoint(session):
            yield
            _refuse_pending(session)
    finally:
        await session.execute(text("PRAGMA query_only = 0"))


def _read_options(engine: AsyncEngine, **options: Any) -> dict[str, Any]:
    """Give the execution options of a reader; SQLite's transactions are snapshots anyway."""
    return {"postgresql_readonly": True, **options} if engine.dialect.name == "postgresql" else {READ_ONLY: True}


def _take_snapshot(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """SET TRANSACTION READ WRITE is refused from the first snapshot on, so take one."""
    connection.execute(text("SELECT 1"))


def _refuse_failed(connection: AsyncConnection) -> None:
    sync: Connection | None = connection.sync_connection
    if sync is not None and has_failed(sync):
        raise TransactionAborted


def _refuse_pending(session: AsyncSession) -> None:
    changed = [row for row in session.dirty if session.is_modified(row)]
    if session.new or session.deleted or changed:
        raise ReadOnlyViolation("ORM objects were changed in a read-only session: make the change in begin_session()")
