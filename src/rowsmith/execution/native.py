"""The native lane: a read of one statement goes to asyncpg itself, on a connection of SQLAlchemy's own pool.

It takes one round trip. SQLAlchemy takes three (BEGIN READ ONLY, the statement, ROLLBACK), and some thousand calls
around them. What BEGIN READ ONLY is for holds without it: a plan selects columns of a table, compares them with values,
and calls nothing, and the table is no view and has no policies, whose functions could write. The statement is a
transaction of its own under whatever the session's settings say (``default_transaction_isolation``).

The lane is closed where SQLAlchemy's own way would be seen or told to do otherwise; the call then goes that way, and
``refused`` counts why. What the driver says of a table altered under its statements is said by that way, too, which
runs them once more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeAlias

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection, PGDialect_asyncpg
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from rowsmith.attempts import note_commit
from rowsmith.errors import DatabaseUnavailable
from rowsmith.execution.commits import commits_of
from rowsmith.execution.direct import Taken, fetch, proxied, put_back, take_at_once
from rowsmith.execution.hearing import Hearing
from rowsmith.execution.kinds import is_stale
from rowsmith.execution.origin import Origin
from rowsmith.execution.pooler import is_behind_pooler, is_pooled
from rowsmith.execution.refusals import Refusal, argument_of
from rowsmith.execution.standing import OUTDATED, ask, forget, known
from rowsmith.execution.transactions import is_refusing, is_watching
from rowsmith.execution.translate import DATABASE_ERRORS, lost, translate, unreadable
from rowsmith.execution.triggers import ask_quietness

AROUND_STATEMENTS: Final = ("before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute")
"""SQLAlchemy's events of engines and connections that see or change a statement."""

INSTEAD_OF_THE_DRIVER: Final = ("do_execute", "do_executemany", "do_execute_no_params", "do_setinputsizes")
"""SQLAlchemy's events of dialects, and the methods of a dialect that they stand in for."""

_AROUND_TRANSACTIONS: Final = ("begin", "rollback", "engine_connect", "set_connection_execution_options")
_OF_SESSIONS: Final = (
    *("do_orm_execute", "after_begin", "after_rollback", "after_soft_rollback"),
    *("after_transaction_create", "after_transaction_end"),
)
_OF_SESSIONS_THAT_WRITE: Final = (
    *("before_commit", "after_commit", "before_flush", "after_flush", "after_flush_postexec"),
    *("after_bulk_update", "after_bulk_delete"),
)
_of_writing_sessions = attrgetter(*_OF_SESSIONS_THAT_WRITE)
_of_engines = attrgetter(*AROUND_STATEMENTS, *_AROUND_TRANSACTIONS)
_of_dialects = attrgetter(*INSTEAD_OF_THE_DRIVER, "handle_error")
_of_sessions = attrgetter(*_OF_SESSIONS)

_HARMLESS: Final = {"postgresql_readonly", "compiled_cache", "logging_token", "insertmanyvalues_page_size"}
"""Options of an engine that do nothing to a read of one statement."""


_VERSION: Final = "server_version_info"

WriteMode: TypeAlias = Literal["transaction", "statement"]
"""How a write of one statement is sent: between BEGIN and COMMIT, or as its own transaction."""

_asked: ContextVar[Mapping[NativeLane, WriteMode]] = ContextVar("rowsmith_writes", default=MappingProxyType({}))
"""What the running code asked for, of each lane."""


class Planned(Protocol):
    """A statement worked out once, see :class:`rowsmith.operations.plans.Plan`."""

    sql: str
    alone: str
    table: Table | None
    placed: Table | None
    removes: bool
    written: Table | None
    presumes: Hashable
    is_ready: bool
    has_processors: bool

    def ready(self, oids: Sequence[int]) -> bool:
        """Be told the types that the server gives; says whether the plan can do with them."""
        ...

    def read(self, records: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Make of the driver's records what SQLAlchemy makes of them."""
        ...

    def unread(self, failure: Exception) -> Refusal:
        """Say which column's type has raised that while it was reading."""
        ...

    def refused(self, failure: Exception, values: Sequence[Any]) -> Refusal | None:
        """Say which column the value is of that the driver or the server cannot take or give, if that can be told."""
        ...


UNTOLD: Final[Any] = object()
"""What is given where SQLAlchemy's way has to say what comes of a call."""


class Sent(Protocol):
    """What is to be sent for a call, whether it reads or writes; see :class:`rowsmith.operations.plans.Asked`."""

    @property
    def plan(self) -> Planned:
        """The statement."""
        ...

    @property
    def values(self) -> Sequence[Any]:
        """What is given for its parameters, as the driver takes it."""
        ...

    def origin(self) -> Origin:
        """Say whose call it is, for errors."""
        ...

    def meant(self, failure: Exception) -> Exception:
        """Give what an error of the database means for the call."""
        ...


class AskedRead(Sent, Protocol):
    """A read that is asked for."""

    def answer(self, records: Sequence[Any]) -> Any:
        """Say what the records mean; :data:`UNTOLD` where that is not for a plan to say."""
        ...


class NativeLane:
    """The lane of one engine on asyncpg.

    Args:
        engine: whose pool it takes connections of.
        reader: the engine that sessions which read have, with their options.
        info: what sessions carry in their ``info``.
        deadline: how many seconds a read may last.
        writes: how a write is sent, see :class:`rowsmith.Database`.

    Attributes:
        taken: how many calls went this way.
        refused: how many did not, by what stood against it.
        dialect: what plans are compiled for.
    """

    def __init__(
        self,
        engine: Engine,
        reader: Engine,
        info: Mapping[str, Any],
        deadline: float | None = None,
        writes: WriteMode = "transaction",
    ) -> None:
        self.engine, self.dialect, self.info, self.deadline = engine, engine.dialect, info, deadline
        self._commits = commits_of(engine)
        self.writes = writes
        self.taken = 0
        self.refused: Counter[str] = Counter()
        own, sessions = engine.dispatch, Session(reader).dispatch
        self._hearing = Hearing(
            lambda dialect: (*_of_engines(own), *_of_dialects(dialect.dispatch), *_of_sessions(sessions)), is_watching
        )
        self._hearing_of_writes = Hearing(lambda own: (*_of_writing_sessions(sessions), own.commit), is_refusing)
        self._without_calls: dict[Table, bool] = {}
        self._is_cold = True
        self._is_behind_pooler = is_behind_pooler(engine)
        self._never = next(iter(sorted(set(reader.get_execution_options()) - _HARMLESS)), None)

    def opened(self, *, writes: bool = False, is_kept: bool = False) -> NativeLane | None:
        """Give the lane, for a call; None where something stands against it, which is counted.

        Args:
            writes: it is a write.
            is_kept: a cache keeps such rows, which a session tells of what it writes once that is committed.
        """
        why = "cache" if is_kept else self.why_not_write() if writes else self.why_not()
        if why is None:
            return self
        self.refuse(why)
        return None

    def why_not(self) -> str | None:
        """Say what has to be seen or done around statements, and would not be underneath SQLAlchemy."""
        if self._never is not None:
            return self._never
        if self._is_cold:
            self._is_cold = not (hasattr(self.dialect, _VERSION) and hasattr(self.engine.dialect, _VERSION))
            if self._is_cold:  # SQLAlchemy's compiler asks which version it writes for
                return "first connection"
        heard = self._hearing.heard(self.engine.dialect)
        if heard is not None:
            return heard
        return "echo" if self.engine.logger.isEnabledFor(logging.INFO) else None

    def why_not_write(self) -> str | None:
        """Say what :meth:`why_not` says, of a write."""
        why = self.why_not()
        if why is not None:
            return why
        if self._is_behind_pooler and not self.is_alone():  # of which nobody asks later what server it was on
            return "pooler"
        dialect: Any = self.engine.dialect
        if dialect._on_connect_isolation_level is not None:
            return "isolation_level"
        return self._hearing_of_writes.heard(self.engine.dispatch)

    def note_commit(self) -> None:
        """Say that something was committed, or may have been."""
        note_commit()
        self._commits.count += 1

    def is_alone(self) -> bool:
        """Say whether a write made here is a statement that is its own transaction."""
        return _asked.get().get(self, self.writes) == "statement"

    @contextmanager
    def writes_as(self, writes: WriteMode) -> Iterator[None]:
        """Have the writes of the block sent this way."""
        token = _asked.set({**_asked.get(), self: writes})
        try:
            yield
        finally:
            _asked.reset(token)

    def refuse(self, why: str) -> None:
        """Count a call that goes SQLAlchemy's way."""
        self.refused[why] += 1

    async def read(self, asked: AskedRead) -> Any:
        """Send what is asked for, and give its answer; :data:`UNTOLD` where SQLAlchemy has to be asked itself.

        Raises:
            RepositoryError: what the database or driver said, translated, no cause attached; or what the answer means.
        """
        plan = asked.plan
        taken = take_at_once(self.engine.pool) or await greenlet_spawn(connected, self.engine)
        failure: Exception | None = None
        why: str | None = None
        records: Sequence[Any] = ()
        try:
            if not (plan.is_ready and SUITS in taken.info):
                why = await self.unsuited(plan, taken, plan.sql)
            if why is None:
                records = await fetch(taken.dbapi_connection._connection, plan.sql, asked.values)
        except Exception as exc:  # noqa: BLE001 - a codec may raise anything
            taken = proxied(taken)
            failure, why = await ended(taken, exc, lambda: asked.origin().reading())
        except BaseException:
            await greenlet_spawn(proxied(taken).invalidate)  # nobody knows what is still on the wire
            raise
        if not put_back(taken):
            await greenlet_spawn(proxied(taken).close)
        if failure is not None:
            raise asked.meant(failure)
        if why is not None:
            self.refuse(why)
            return UNTOLD
        self.taken += 1
        return asked.answer(read_records(plan, records, asked.origin) if plan.has_processors else records)

    def is_new(self, plan: Planned, taken: Taken) -> bool:
        """Say whether a plan that writes, or its table on a connection, was not looked at yet, or is none for it."""
        return not (plan.is_ready and taken.info.get(plan.presumes))

    async def unsuited(self, plan: Planned, taken: Taken, sql: str) -> str | None:
        """Look at a connection, a table and a plan, once each; says what stands against them."""
        adapter, driver = taken.dbapi_connection, taken.dbapi_connection.driver_connection
        if not _suits(self.engine.dialect, adapter, driver):
            return "connection"
        taken.info[SUITS] = True
        return await self.unlearned(plan, driver, taken.info, sql)

    async def unlearned(self, plan: Planned, driver: Any, on_connection: dict[Any, Any], sql: str) -> str | None:
        """Look at a plan and a table, once each, and at the table's triggers; says what stands against them."""
        if not plan.is_ready and (why := await self._unready(plan, driver, sql)) is not None:
            return why
        if (table := plan.written) is None:
            return None
        if plan.presumes not in on_connection:
            await ask_quietness(driver, self.dialect, table, table.schema, on_connection)
        return None if on_connection[plan.presumes] else "triggers"

    async def _unready(self, plan: Planned, driver: Any, sql: str) -> str | None:
        if plan.table is not None and not await self._calls_nothing(plan.table, driver):
            return "table"
        if plan.placed is not None:
            dialect, placed = self.dialect, plan.placed
            standing = known(dialect, placed, placed.schema) or await ask(driver, dialect, placed, placed.schema)
            if not (standing.has_places and (standing.can_lock_doomed or not plan.removes)):
                return "table"
        statement = await driver.prepare(sql)
        oids = [attribute.type.oid for attribute in statement.get_attributes()]
        return None if plan.ready(oids) else "types"

    async def _calls_nothing(self, table: Table, driver: Any) -> bool:
        """Say whether reading a table calls no function that could write."""
        if table not in self._without_calls:
            name = self.dialect.identifier_preparer.format_table(table)
            found = await driver.fetchval(_CALLS_NOTHING, name)
            if found is None:  # it is not there
                return False
            self._without_calls[table] = found
        return self._without_calls[table]

    def note(self, plan: Planned, failure: BaseException) -> None:
        """Have a plan's table looked at again once what fits no view has failed: one may have come in its place."""
        if plan.placed is not None and getattr(failure, "sqlstate", None) in OUTDATED:
            forget(plan.placed)
            plan.is_ready = False


SUITS: Final = "rowsmith_suits_native_lane"
"""What is kept with a connection by that the lane may be taken on it."""

_CALLS_NOTHING: Final = """
SELECT relkind IN ('r', 'p') AND NOT relrowsecurity FROM pg_class WHERE oid = to_regclass($1::text)
"""


def native_lane(
    engine: Engine, reader: Engine, info: Mapping[str, Any], deadline: float | None, writes: WriteMode
) -> NativeLane | None:
    """Give the lane of an engine; None where its dialect is none of SQLAlchemy's on asyncpg."""
    return NativeLane(engine, reader, info, deadline, writes) if type(engine.dialect) is PGDialect_asyncpg else None


def _suits(dialect: Any, adapter: Any, driver: Any) -> bool:
    """Say whether a statement alone is the same on a connection as one between BEGIN READ ONLY and ROLLBACK.

    Not where the engine chose another isolation for its transactions than the server has, nor where the application
    has statements without names, or with names of its own: for a pooler that may know none of the driver's.
    """
    is_chosen = dialect._on_connect_isolation_level is not None  # by create_engine(isolation_level=...)
    # What the adapter calls the server's own isolation; it says so once a connection had another one.
    usual: str | None = None if is_chosen else dialect._isolation_lookup.get(dialect.default_isolation_level)
    return adapter.isolation_level in (None, "autocommit", usual) and speaks_plainly(adapter, driver)


def speaks_plainly(adapter: Any, driver: Any) -> bool:
    """Say whether statements on a connection are named as the driver names them, or a pooler is known to be there."""
    own: Any = AsyncAdapt_asyncpg_connection
    return (
        type(adapter) is own
        and adapter._prepared_statement_name_func is own._default_name_func
        and (driver._stmt_cache_enabled or is_pooled(driver))
    )


def connected(engine: Engine) -> Any:
    """Take a connection as a session does: it may have to be made, or waited for.

    Raises:
        RepositoryError: there is none, which is no call's own error: ``violations`` are not asked.
    """
    try:
        return engine.pool.connect()
    except Exception as exc:
        failure = _unreachable(engine, exc)
        if failure is exc:
            raise
    raise failure


def _unreachable(engine: Engine, failure: Exception) -> Exception:
    """Give the error for a connection that could not be had, once those who listen to failures know of it."""
    dialect: Any = engine.dialect
    if isinstance(failure, dialect.loaded_dbapi.Error):
        try:
            Connection._handle_dbapi_exception_noconnection(failure, dialect, engine)  # pyright: ignore[reportPrivateUsage]
        except Exception as exc:  # noqa: BLE001 - it raises what it makes of it
            failure = exc
    if type(failure) is TimeoutError:
        return DatabaseUnavailable()
    return translate(failure) if isinstance(failure, DATABASE_ERRORS) else failure


async def ended(
    pooled: Any, failure: Exception, origin: Callable[[], Origin]
) -> tuple[Exception, None] | tuple[None, str]:
    """Give the error that the caller meets; or say why SQLAlchemy is asked, where the server has done nothing yet.

    A connection of which it is not certain what is on the wire is thrown away.
    """
    driver = pooled.dbapi_connection._connection
    if is_stale(failure):
        await driver.reload_schema_state()
        return None, "stale plan"
    if argument_of(failure) is not None and not driver.is_closed():
        return None, "value"
    is_told = getattr(failure, "sqlstate", None) is not None and not driver.is_closed()
    if is_told:
        return translate(failure, origin()), None
    is_lost = driver.is_closed() or isinstance(failure, OSError)  # a TimeoutError is one
    await greenlet_spawn(pooled.invalidate)
    if not is_lost:
        return None, "driver"
    return lost(failure, origin()), None


def read_records(plan: Planned, records: Sequence[Any], origin: Callable[[], Origin]) -> Sequence[Sequence[Any]]:
    """Make of the driver's records what SQLAlchemy makes of them.

    Raises:
        InvalidValue: one is none of its column's type.
    """
    try:
        return plan.read(records)
    except Exception as exc:  # noqa: BLE001 - a column's type may raise anything, and quotes the value
        failure = unreadable(exc, origin(), plan.unread(exc))
    raise failure
