"""The database: an engine, and the ways into it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from copy import copy
from functools import partial
from typing import Any, ClassVar, Final, Self, cast

from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from rowsmith.deadline import check_seconds
from rowsmith.errors import DatabaseFault, InvalidValue, MappingError, TransactionError, kind_of
from rowsmith.execution import NativeLane, WriteMode, execute, native_lane, watch_failures
from rowsmith.execution.commits import count_commits
from rowsmith.execution.isolation import check_isolation
from rowsmith.execution.pool import prepare_pool, until_closed
from rowsmith.execution.pooler import prepare_for_pooler
from rowsmith.execution.position import BARE_SIGHT, NOWHERE, SIGHT, Position, is_hidden, sight_of
from rowsmith.execution.postgresql import prepare_postgresql
from rowsmith.execution.sqlite import READ_ONLY, prepare_sqlite
from rowsmith.homes import BorrowedHome, Home, OpenSession, OwnHome, Taken
from rowsmith.hosts import engines_of
from rowsmith.pagination import CursorCodec
from rowsmith.pagination.cursor import CODEC
from rowsmith.replicas import Lag, Replicas, check_replicas
from rowsmith.sessions import ReadingBlock, ReadOnly, Unit, WritingBlock
from rowsmith.unit_of_work import UnitOfWork

_LAG = Lag()


class Database:
    """An engine, and the ways into it.

    Inside a block of :meth:`begin_session`, :meth:`begin_readonly_session` or :meth:`unit_of_work` every repository
    call to this database, and every further block, joins the one session; so do those of tasks started inside, one at a
    time. A block is entered once. One that is left while another task, or a block inside of it, is at work raises
    ``ConcurrentUse``: its connection is thrown away, nothing is committed, and its session is of no more use.

    Args:
        engine: any AsyncEngine for PostgreSQL (asyncpg) or SQLite (aiosqlite). Its owner keeps it;
            ``dispose`` closes its pool. Its pooled connections belong to one event loop.
        replicas: engines of PostgreSQL's standbys that follow the server of ``engine``. Reads outside of sessions and
            units of work, read-only sessions and streams go to one that has all that this process has written; writes,
            locks, units and other sessions go to ``engine``.
        lag: how far behind the replicas may be.
        cursor_keys: secrets that cursors are signed with, the newest first; older ones are still
            accepted. Without any, cursors are checked but not signed.
        deadline: seconds after which a call, or a block with a session of its own, is ended with
            ``DeadlineExceeded``, whatever the server or the network do; None for no such end. A stream has none, and
            what commits chunk by chunk has one for each chunk.
        native: calls of one statement go to asyncpg itself: reads in one round trip, in a session on its connection,
            and writes outside of one in three; False has SQLAlchemy send them all.
        writes: ``"statement"`` has such a write be a statement that is its own transaction, in one round trip. An
            answer means that it is committed; where none comes, ``CommitOutcomeUnknown`` is raised, for nobody can be
            asked. What takes more than a statement, an idempotency key among it, goes as with ``"transaction"``.
        pooler: there is one between here and PostgreSQL that gives each transaction another connection (PgBouncer with
            ``pool_mode=transaction``), so that nothing may be left on any. ``SET``, ``set_config(..., false)``,
            ``LISTEN`` and advisory locks that outlast a transaction reach somebody else's: use ``SET LOCAL`` and
            ``pg_advisory_xact_lock``.

    Attributes:
        native: that way, which counts what goes by it and what does not; None where there is none.
        replicas: what chooses among the servers; None where there is one only.

    Raises:
        MappingError: ``engine`` is something else, has no transactions (``isolation_level="AUTOCOMMIT"``), or is none
            for a pooler; or ``replicas`` are none of its.
        InvalidValue: ``deadline`` is no number of seconds, or ``writes`` something else.
    """

    is_borrowed: ClassVar[bool] = False
    deadline: float | None = None

    engine: AsyncEngine
    is_occupied: Callable[[], bool]
    """Says whether a call made here has to go through a session that is open, or through one of its task's own."""
    _home: Home
    _read_only: AsyncEngine
    _snapshot: AsyncEngine

    native: NativeLane | None = None
    replicas: Replicas[Database] | None = None

    # No object of options: each is a choice of its own, which most leave alone, and from_url takes the same by the same
    # names.
    def __init__(
        self,
        engine: AsyncEngine,
        *,
        replicas: Sequence[AsyncEngine] = (),
        lag: Lag = _LAG,
        cursor_keys: Sequence[bytes | str] = (),
        deadline: float | None = None,
        native: bool = True,
        writes: WriteMode = "transaction",
        pooler: bool = False,
    ) -> None:
        if not isinstance(cast("Any", engine), AsyncEngine):
            raise MappingError(f"Database(...) takes an AsyncEngine, not {kind_of(engine)}: {instead_of(engine)}")
        check_isolation(engine.sync_engine)
        check_replicas(engine, replicas, lag)
        self.deadline = None if deadline is None else check_seconds(deadline, "deadline")
        self._info = {CODEC: CursorCodec(cursor_keys)}
        self._is_pooled = _is_so(pooler, "pooler")
        self._writes: WriteMode = _checked(writes)
        self._is_native = (
            _is_so(native, "native")
            and type(self).reading is Database.reading
            and type(self).writing is Database.writing
        )
        self._serve(engine)
        if replicas:
            others = [self._beside(replica) for replica in replicas]
            self.replicas = Replicas(copy(self), others, lag, count_commits(engine.sync_engine))

    def _serve(self, engine: AsyncEngine) -> None:
        """Set up an engine, and the ways into it."""
        self.engine = engine
        watch_failures(engine.sync_engine)
        count_commits(engine.sync_engine)
        prepare_sqlite(engine.sync_engine)
        prepare_pool(engine.sync_engine)
        prepare_postgresql(engine.sync_engine)
        if self._is_pooled:
            prepare_for_pooler(engine.sync_engine)
        # Engines that share the pool, not options of a session's first connection: a session that an application
        # rolls back goes on with another, which must be read-only too.
        self._read_only = engine.execution_options(**_read_options(engine))
        self._snapshot = engine.execution_options(**_read_options(engine, isolation_level="REPEATABLE READ"))
        self._home = OwnHome(engine, self._info, self.deadline)
        self.is_occupied = self._home.is_occupied
        if self._is_native:
            reader = self._read_only.sync_engine
            self.native = native_lane(engine.sync_engine, reader, self._info, self.deadline, self._writes)

    def _beside(self, engine: AsyncEngine) -> Self:
        """Give the same on a replica, for reads; plans are made once for both."""
        other = copy(self)
        other._serve(engine)
        if other.native is not None:
            other.native.dialect = self.engine.dialect
        return other

    @classmethod
    def from_url(
        cls,
        url: str | URL,
        *,
        replicas: Sequence[str | URL] = (),
        lag: Lag = _LAG,
        cursor_keys: Sequence[bytes | str] = (),
        deadline: float | None = None,
        native: bool = True,
        writes: WriteMode = "transaction",
        pooler: bool = False,
        **engine_options: Any,
    ) -> Database:
        """Make the engine as well.

        Args:
            url: a database URL; ``postgresql://`` and ``sqlite://`` get their asynchronous drivers. One that names
                several hosts finds the one that takes writes.
            replicas: URLs of the standbys. Where they differ in the host only, one that is promoted is found, too, and
                the old primary is read from once it comes back as a standby.
            lag, cursor_keys, deadline, native, writes, pooler: as for the class.
            engine_options: for SQLAlchemy's ``create_async_engine``, such as ``pool_size=20``.

        Raises:
            MissingExtra: the driver that the URL asks for is not installed.
            MappingError: what is given is no URL, or none of an asynchronous driver; or its hosts and ports do not go
                together.
        """
        engines = engines_of(url, replicas, engine_options)
        db = cls(
            engines.primary,
            replicas=engines.replicas,
            lag=lag,
            cursor_keys=cursor_keys,
            deadline=deadline,
            native=native,
            writes=writes,
            pooler=pooler,
        )
        if db.replicas is not None:
            for each in engines.fallen:
                db.replicas.expect(db.replicas.primary._beside(each))
        return db

    @classmethod
    def from_session(
        cls, session: AsyncSession, *, cursor_keys: Sequence[bytes | str] = (), replicas: Sequence[AsyncEngine] = ()
    ) -> Database:
        """Work in a session that somebody else owns, commits and closes: a FastAPI dependency, a test's fixture.

        Nothing here ever commits or closes it. Each call that writes, each ``begin_session()`` and each
        ``unit_of_work()`` is a savepoint of its own: if it fails, it alone is undone, and the owner's transaction goes
        on. Whoever ends a block's savepoint inside of it (``session.rollback()``, ``commit()``, ``close()``) is told by
        ``TransactionError`` at the block's end, and what was written after that is not committed: the owner's
        ``commit()`` refuses to until he has rolled back. Inside of such a block it is as in any other: a unit is a
        savepoint, a session and a call join. A read has none: where the database refuses one, PostgreSQL undoes the
        owner's whole transaction, and the owner's ``commit()`` raises ``TransactionAborted`` instead of losing it in
        silence. Work that waits for a commit (``after_commit``) and what commits chunk by chunk (``purge_where``) are
        refused. On SQLite the engine is as its owner set it up: foreign keys are not switched on, and values are kept
        as SQLAlchemy does; only RETURNING is written so that it gives what is stored. What its owner's statements leave
        in a connection is taken away as that returns to the pool of an engine that a Database was made of, in a round
        trip; any other engine's pool does what SQLAlchemy does.

        Args:
            session: an AsyncSession, begun or not. One that ends its transactions in savepoints
                (``join_transaction_mode="create_savepoint"``) does so here, too.
            cursor_keys: as for the class.
            replicas: none, as all is done in this session.

        Raises:
            MappingError: it is no AsyncSession, its connection is closed, or its engine has no transactions
                (``isolation_level="AUTOCOMMIT"``); or there are replicas.
        """
        if not isinstance(cast("Any", replicas), (list, tuple)) or replicas:
            raise MappingError(
                "a session has one server, which its owner chose: write Database(engine, replicas=[...]) for reads of "
                "others, or leave replicas out"
            )
        return _SessionDatabase(session, cursor_keys=cursor_keys)

    def begin_session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session that commits on a clean exit; inside another block, join its session instead.

        Raises:
            ReadOnlyViolation: the block around is read-only.
            ConcurrentUse: another task is using the session around; on leaving, another task is still inside.
            TransactionAborted: on leaving, when a statement failed inside and its error was swallowed.
            CommitOutcomeUnknown: the connection was lost while the answer to COMMIT was due.
            RepositoryError: any database error that leaves the block, translated.
        """
        return WritingBlock(self._home, self._take_writer)

    def begin_readonly_session(self, *, snapshot: bool = False) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session in which the database itself refuses writes; inside another block, a savepoint that does.

        No statement leads out of it, on its connection or the driver's own either. Its ``commit()`` and
        ``rollback()`` end one transaction that reads and begin another, but for those of a savepoint.

        Args:
            snapshot: all statements see the same (``REPEATABLE READ``): for several that must agree.

        Raises:
            TransactionError: a snapshot is asked for inside a block whose transaction is none.
            ReadOnlyViolation: a write was tried, or a statement that ends what keeps them out (``text("COMMIT")``),
                or ORM changes were left unflushed at the end.
            ConcurrentUse: as :meth:`begin_session`.
        """
        return ReadOnly(self._home, partial(self._take_reader, snapshot), is_snapshot=snapshot)

    async def _take_writer(self) -> Taken:
        """Open a session that may write."""
        return await cast("OwnHome", self._home).begin(self.engine)

    async def _take_reader(self, snapshot: bool) -> Taken:
        """Open a session on a server that a read may go to now."""
        if self.replicas is not None:
            return await self.replicas.run(lambda db: db._take_reader(snapshot))
        return await cast("OwnHome", self._home).begin(self._snapshot if snapshot else self._read_only, read_only=True)

    def reading(
        self, *, snapshot: bool = False, is_open_to_all: bool = True, has_deadline: bool = True
    ) -> ReadingBlock:
        """Open a session for the reads of one call, in one snapshot where several statements must agree.

        Unlike that of :meth:`begin_readonly_session`, no other calls join it. Without ``is_open_to_all`` the
        application sends no statements of its own, so that nothing has to keep them from writing, and the connection
        needs no reset afterwards; without ``has_deadline`` it may stay open for ever.
        """
        engine = self._snapshot if snapshot else self._read_only
        return ReadingBlock(self._home, engine, is_open_to_all=is_open_to_all, has_deadline=has_deadline)

    def writing(self, *, is_open_to_all: bool = True) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session for the writes of one call: :meth:`begin_session`, told as :meth:`reading` is."""
        return WritingBlock(self._home, self._take_writer, is_open_to_all=is_open_to_all)

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a transaction that every repository call inside the block joins; inside another block, a savepoint.

        Raises:
            ConcurrentUse: as :meth:`begin_session`.
            AfterCommitFailed: committed, but work handed to ``after_commit`` failed.
            TransactionAborted, CommitOutcomeUnknown: as :meth:`begin_session`.
        """
        return Unit(self._home, self._take_writer)

    def writes_as(self, writes: WriteMode) -> AbstractContextManager[None]:
        """Have the calls inside the block write so, whatever ``writes`` was given to the class.

        ::

            with db.writes_as("statement"):
                await groups.create(spec)

        Raises:
            InvalidValue: it is neither ``"statement"`` nor ``"transaction"``.
        """
        chosen = _checked(writes)
        return nullcontext() if self.native is None else self.native.writes_as(chosen)

    def lane_within(self) -> NativeLane | None:
        """Give the way of a call on the connection of a session that is open; None where SQLAlchemy has to send it."""
        if not self.is_occupied():
            return None
        lane = self.native
        if self.replicas is not None:  # that of the server which the session is on
            around = self.joined()
            engine = None if around is None else around.db_sess.bind
            pool = engine.sync_engine.pool if isinstance(engine, AsyncEngine) else None
            servers = (*self.replicas.servers, self)
            lane = next((db.native for db in servers if db.engine.sync_engine.pool is pool), None)
        return None if lane is None else lane.opened()

    async def position(self) -> str:
        """Give a token of what is committed now: whoever reads from it sees that, in this process or another.

        ::

            group = await groups.create(spec)
            response.headers["X-Position"] = await db.position()

        It costs a read of the primary, on a connection of its own, and is needed only where others are to see what this
        process has written: its own reads do anyway. SQLite has one server, and one position.

        Raises:
            TransactionError: inside a session or unit of work, which is not committed yet.
            RepositoryError: the primary cannot be asked.
        """
        around = self.joined()
        if around is not None and not around.root.is_read_only:
            raise TransactionError(
                "a position is of what is committed: take it after the block of this session or unit of work; of a "
                "session of somebody else's, await Database(engine).position() after its commit()"
            )
        if self.engine.dialect.name != "postgresql":
            return str(NOWHERE)
        primary = self if self.replicas is None else self.replicas.primary
        try:
            return await primary._position(SIGHT)
        except DatabaseFault as exc:
            if not is_hidden(exc.facts.sqlstate):
                raise
        return await primary._position(BARE_SIGHT)

    async def _position(self, question: str) -> str:
        # A read-only session around may be a replica's, and would be undone by a question that is refused.
        async with ReadingBlock(self._home, self._read_only, is_open_to_all=False, joins=False) as db_sess:
            return str(sight_of((await execute(db_sess, text(question))).one()).position)

    @asynccontextmanager
    async def reading_from(self, token: str) -> AsyncGenerator[None]:
        """Have the calls inside the block see what was committed when :meth:`position` gave a token.

        A replica that is behind it is passed over, or waited for (``lag``). A token from outside can do no more than
        that: one that no server has come to has the primary answer.

        Args:
            token: what ``await db.position()`` gave, in this process or another.

        Raises:
            InvalidValue: it is nothing of the kind.
        """
        position = Position.parse(token)
        with nullcontext() if self.replicas is None else self.replicas.reading_from(position):
            yield

    @property
    def is_in_session(self) -> bool:
        """Whether a call made here would join a session that is open already."""
        return self._home.around() is not None

    def joined(self) -> OpenSession | None:
        """Give the block whose session a call made here would join; None where it would open its own."""
        return self._home.around()

    async def dispose(self) -> None:
        """Close every pooled connection; those of an event loop that has ended are dropped, as nobody can close them.

        What was given up before, by a call that was cancelled, is waited for as well, for two seconds at most.

        Raises:
            TransactionError: the connections belong to another event loop, which is running.
        """
        await self._home.dispose()
        if self.replicas is not None:
            for server in self.replicas.servers:
                await server.dispose()
            await self.replicas.dispose()
        await until_closed()


class _SessionDatabase(Database):
    """Somebody else's session as a database; see :meth:`Database.from_session`."""

    is_borrowed = True

    def __init__(self, session: AsyncSession, *, cursor_keys: Sequence[bytes | str] = ()) -> None:
        if not isinstance(cast("Any", session), AsyncSession):
            raise MappingError(
                f"Database.from_session(...) takes an AsyncSession, not {kind_of(session)}: {instead_of(session)}"
            )
        self._home = BorrowedHome(session)
        self.is_occupied = self._home.is_occupied
        self.engine = self._read_only = self._snapshot = AsyncEngine(self._home.engine)
        codec = CursorCodec(cursor_keys)
        if cursor_keys:
            session.info[CODEC] = codec


def instead_of(given: object) -> str:
    """Say what to write where a Database is made of, or taken for, something else."""
    return next((advice for kinds, advice in _INSTEAD if isinstance(given, kinds)), _EITHER)


_EITHER = "write Database(engine), or Database.from_session(session)"

_INSTEAD: Sequence[tuple[tuple[type[Any], ...], str]] = (
    ((AsyncSession,), "write Database.from_session(session)"),
    ((AsyncEngine,), "write Database(engine)"),
    ((async_sessionmaker, async_scoped_session), "write Database.from_session(maker()), or Database(engine)"),
    ((AsyncConnection,), "write Database.from_session(AsyncSession(connection)), or Database(connection.engine)"),
    ((Engine,), "make it with create_async_engine(url), and write Database(engine)"),
    (
        (Session, sessionmaker, scoped_session, Connection),
        "rowsmith is asynchronous: make an AsyncSession, and write Database.from_session(session), or Database(engine)",
    ),
    ((str, URL), "write Database.from_url(url)"),
)


_MODES: Final[dict[str, WriteMode]] = {"transaction": "transaction", "statement": "statement"}


def _checked(writes: object) -> WriteMode:
    chosen = _MODES.get(writes) if isinstance(writes, str) else None
    if chosen is None:
        raise InvalidValue('writes is "transaction" or "statement": write Database(engine, writes="statement")')
    return chosen


def _is_so(given: object, name: str) -> bool:
    if not isinstance(given, bool):
        raise InvalidValue(f"{name} is True or False, not {kind_of(given)}: write Database(engine, {name}=True)")
    return given


def _read_options(engine: AsyncEngine, **options: Any) -> dict[str, Any]:
    """Give the execution options of a reader; SQLite's transactions are snapshots anyway."""
    return {"postgresql_readonly": True, **options} if engine.dialect.name == "postgresql" else {READ_ONLY: True}


def check_database(db: object, taker: str) -> None:
    """Refuse what is no Database, as an engine is none.

    Raises:
        MappingError: it is not; the message names who takes one.
    """
    if not isinstance(db, Database):
        raise MappingError(f"{taker} takes a Database, not {kind_of(db)}: give it Database(engine)")
