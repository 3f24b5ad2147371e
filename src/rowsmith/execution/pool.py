"""A pool made to keep the promises: no dead connection is handed out, nobody waits for a server that is away.

What is wrong with SQLAlchemy's pool of asyncpg connections, and what is done about it here:

- A connection that died while idle is found out by its first statement. Its socket tells at once, so it is looked at
  when it is taken; no round trip is made for that.
- One that dies while it is set up is told by asyncpg as a misuse of it, in several words. Here all of them are that no
  connection was made.
- When connecting fails, those who wait for a connection are not woken, and wait out ``pool_timeout``. Here the place of
  the connection that failed goes to the next who waits, who finds out for himself.
- Who waits for a connection and is woken may find it taken by one who comes just then, and waits again, behind all
  others. Here who comes lets him go first.
- A connection of which nobody knows what is on the wire is closed politely, for up to two seconds, during which a
  cancelled task does not go on. Here that is done behind its back.
- Settings, locks, listeners and temporary tables of a session pass to the next who takes the connection. Here they are
  reset, where an application could have left any in a session of rowsmith's, or in one of its own that it has lent: one
  round trip (PostgreSQL's manual, DISCARD).
- A transaction that SQLAlchemy takes for ended, as its end was refused or it was begun behind its back, passes to the
  next, too. Here the connection is given up.
- A server that was demoted goes on refusing writes on connections that were made before. Here they are given up.

Behind a pooler (:mod:`rowsmith.execution.pooler`) nothing is reset: it would be on somebody else's connection.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from operator import attrgetter
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet, ref

from asyncpg import Connection as AsyncpgConnection
from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolResetState
from sqlalchemy.pool.base import _ConnectionRecord  # pyright: ignore[reportPrivateUsage]
from sqlalchemy.util import await_

from rowsmith.execution.commits import may_have_committed, note_loans, was_lent
from rowsmith.execution.elsewhere import PATH, forget_learned, give_back, told_path
from rowsmith.execution.hearing import Hearing
from rowsmith.execution.pooler import NamedApart, is_pooled
from rowsmith.execution.read_only import is_left_open, unlock
from rowsmith.execution.transaction_id import IS_SPREAD, SPREAD, bring_ids, want_no_id
from rowsmith.execution.transactions import USED

POLITE: Final = 2.0
"""For how many seconds a connection is closed politely, so that the server ends what it was doing for it."""
_AGAIN: Final = POLITE / 10
"""After how many seconds the server is told so once more."""

_BASELINE: Final = "rowsmith_baseline"
SERVER: Final = "rowsmith_server"
"""Where the record of a connection says what :func:`server_of` gives."""
HAS_WORD: Final = "rowsmith_has_word"
"""And what says whether there is something to be read on it, once somebody has looked at it."""


_seams: Final = WeakSet[Dialect]()
"""Dialects that are set up, each once: an engine and those that differ from it by options share one."""


class WakingPool(AsyncAdaptedQueuePool):
    """Wakes those who wait when connecting fails: the place in the pool is given back like a connection.

    ``owed`` is how many were woken and have not come yet: what they were woken for is theirs.
    """

    owed = 0

    @cached_property
    def hearing(self) -> Hearing:
        """Knows whether somebody has to be told of what is taken and given back, besides those that look at it here."""
        return Hearing(
            attrgetter("checkout", "reset", "checkin"), lambda listener: listener in (_look, _reset, give_back)
        )

    def _create_connection(self) -> ConnectionPoolEntry:
        # It connects when it is taken, and returns to the queue where that fails.
        return _ConnectionRecord(self, connect=False)

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        pool: Any = self._pool
        waiting = pool._queue._getters
        loop: Any = waiting[0].get_loop() if waiting else None
        super()._do_return_conn(record)
        if loop is not None:
            self.owed += 1
            loop.call_soon(self._had)  # behind who was woken

    def _had(self) -> None:
        self.owed -= 1

    def _do_get(self) -> ConnectionPoolEntry:
        if self.owed:
            await_(asyncio.sleep(0))
        return super()._do_get()


def prepare_pool(engine: Engine) -> None:
    """Set up the pool of an engine on asyncpg; does nothing to any other, and nothing the second time."""
    if engine.dialect.driver != "asyncpg" or _look in engine.pool.dispatch.checkout:
        return
    if type(engine.pool) is AsyncAdaptedQueuePool:
        engine.pool.__class__ = WakingPool  # what recreates itself by its class, when it is disposed of
    engine.dialect.do_terminate = _terminate  # type: ignore[method-assign]
    if engine.dialect not in _seams:
        _seams.add(engine.dialect)
        note_loans(engine, _note_loan)
        bring_ids(engine)
    event.listen(engine, "checkout", _look)
    event.listen(engine, "reset", _reset)


_records: Final[WeakKeyDictionary[Any, ref[Any]]] = WeakKeyDictionary()
"""Of each connection of the driver's the pool's record."""


def _note_loan(driver: Any) -> None:
    """Have nothing be known of a connection on which something may be sent that nobody sees."""
    record = _records[driver]() if driver in _records else None
    if record is not None:
        forget_learned(record.info, is_lent=True)


def server_of(connection: Connection) -> tuple[str | None, str | None]:
    """Give which server and timeline a connection is to, and which of the server's lives; None where nobody can tell.

    A server that was promoted may give a transaction's id a second time; so may one that crashed, of transactions of
    which nothing was on its disk: what it says of its life is the same for as long as it does not.
    """
    server, life = connection.info.get(SERVER, _NOBODY)
    return server, life


def _look(dbapi_connection: Any, record: ConnectionPoolEntry, _: object) -> None:
    driver, info = dbapi_connection._connection, record.info
    has_word = info.get(HAS_WORD)
    is_new = has_word is None
    for _ in range(3):  # the server's last words, and that it hung up, are read one after the other
        if driver.is_closed():
            raise _unmade(dbapi_connection) if is_new else DisconnectionError
        if has_word is None:
            has_word = info[HAS_WORD] = _words_of(driver)
            _set_up(dbapi_connection, record)
        if not has_word(0):  # one on an idle connection mostly is that it has ended
            return
        await_(asyncio.sleep(0))


def _set_up(dbapi_connection: Any, record: ConnectionPoolEntry) -> None:
    driver = dbapi_connection._connection
    try:
        await_(_meet(driver, record))
    except (PostgresError, InterfaceError, InternalClientError, OSError) as failure:
        if getattr(failure, "sqlstate", None) is not None and not driver.is_closed():  # it has answered
            raise
    else:
        return
    raise _unmade(dbapi_connection)


def _unmade(dbapi_connection: Any) -> Exception:
    """Give the error for a connection lost before anybody had it, as SQLAlchemy would tell it of any.

    It would make another where a DisconnectionError says so, and after some of them call it a misuse of its own.
    """
    lost: Exception = dbapi_connection.dbapi.InterfaceError("connection is closed", ConnectionResetError())
    return lost


def has_word(connection: Connection) -> bool:
    """Say whether there is something to be read on an idle connection: mostly that it has ended."""
    look = connection.info.get(HAS_WORD)
    return look is None or bool(look(0))


_NOBODY: Final = (None, None)
# What a server counts of itself begins anew with every recovery from a crash, and outlasts a restart.
IDENTITY: Final = """
(SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8),
pg_stat_get_bgwriter_stat_reset_time()::text
"""
"""Expressions for which server it is, and which of its lives."""
_PROCESS: Final = f"pg_backend_pid(), {IS_SPREAD}"


def _words_of(driver: Any) -> Callable[[int], Any]:
    """Give what says whether there is something to be read on a connection, made once for all its life."""
    socket = driver._transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return lambda _: True  # nobody knows
    waiting = select.poll()
    waiting.register(socket.fileno(), select.POLLIN)
    return waiting.poll


async def _meet(driver: Any, record: Any) -> None:
    """Note of a new connection what server it is to, and what the application has set up on it."""
    _records[driver] = ref(record)
    *record.info[SERVER], process, record.info[SPREAD] = await _who(driver)
    if is_pooled(driver):
        return
    record.info[PATH] = told_path(driver)
    if process != driver.get_server_pid() and driver.__class__ is AsyncpgConnection:
        driver.__class__ = NamedApart
    listeners = record._ConnectionRecord__pool.dispatch.connect
    if not all(str(getattr(one, "__module__", "")).startswith(("sqlalchemy", "rowsmith")) for one in listeners):
        record.info[_BASELINE] = await driver.fetch(_CURRENT)  # what the application's own have set is to stay


async def _who(driver: Any) -> Sequence[Any]:
    """Ask which server it is, which of its processes, and whether it is one of several.

    By statements without a name: there may be a pooler.
    """
    names, driver._stmt_cache_enabled = driver._stmt_cache_enabled, False
    try:
        with suppress(PostgresError):  # a standby has no timeline of its own, and some services hide theirs
            told: Sequence[Any] = await driver.fetchrow(f"SELECT {IDENTITY}, {_PROCESS}")
            return told
        return (*_NOBODY, *await driver.fetchrow(f"SELECT {_PROCESS}"))
    finally:
        driver._stmt_cache_enabled = names


_CURRENT: Final = """
SELECT name, setting FROM pg_settings WHERE source = 'session' UNION ALL SELECT 'role', current_setting('role')
"""
_CLEAN: Final = """
SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL;
DISCARD SEQUENCES; DISCARD TEMP
"""
_RESTORE: Final = "SELECT set_config(name, setting, false) FROM unnest($1::text[], $2::text[]) given (name, setting)"


def _reset(dbapi_connection: Any, record: Any, state: PoolResetState) -> None:
    """Take away what an application may have left, after its transaction and before anybody else comes."""
    driver = dbapi_connection.driver_connection
    unlock(driver)
    if record is not None and state.asyncio_safe and is_left_open(dbapi_connection, driver):
        record.invalidate()
        return
    if record is None:  # a connection that was detached
        return
    want_no_id(record.info)
    give_back(dbapi_connection, record)
    is_used = record.info.pop(USED, False)
    is_anybodys = was_lent(driver) or is_used
    if dbapi_connection.isolation_level == "autocommit" or (is_anybodys and not dbapi_connection.readonly):
        may_have_committed(record._ConnectionRecord__pool._dialect)
    if not is_used:
        return
    if state.terminate_only or not state.asyncio_safe or driver.is_closed():
        return
    dbapi_connection.rollback()
    await_(_clean(dbapi_connection.driver_connection, record.info.get(_BASELINE)))


async def _clean(driver: Any, baseline: Any) -> None:
    if driver._listeners:  # asyncpg keeps a list of its own, which only this empties
        await driver.reset()
    if is_pooled(driver):
        return
    await driver.execute(_CLEAN)
    if baseline:
        await driver.fetch(_RESTORE, [row[0] for row in baseline], [row[1] for row in baseline])


_closing: set[asyncio.Task[None]] = set()


def _terminate(dbapi_connection: Any) -> None:
    """Give a connection up at once; that the server ends what it does for it is seen to meanwhile."""
    driver, dbapi_connection._transaction = dbapi_connection.driver_connection, None
    try:
        task = asyncio.get_running_loop().create_task(_close(driver))
    except RuntimeError:  # collected when no loop is running any more
        driver.terminate()
        return
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def until_closed() -> None:
    """Wait for the connections that were given up in this event loop; each is closed within :data:`POLITE` seconds."""
    loop = asyncio.get_running_loop()
    if closing := [task for task in _closing if task.get_loop() is loop]:
        await asyncio.wait(closing)


async def _close(driver: Any) -> None:
    """Close a connection politely; a cancellation that came before its statement had begun did nothing: more follow."""
    loop = asyncio.get_running_loop()
    closing = loop.create_task(driver.close(timeout=POLITE))
    while not (await asyncio.wait([closing], timeout=_AGAIN))[0]:
        protocol = driver._protocol
        if protocol is not None and protocol._is_cancelling():
            told: asyncio.Future[None] = loop.create_future()
            told.add_done_callback(lambda sent: sent.exception())  # asyncpg puts it there: nobody is to be told
            driver._cancel_current_command(told)
    with suppress(Exception):
        await closing
