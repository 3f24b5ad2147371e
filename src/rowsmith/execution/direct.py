"""Beneath SQLAlchemy: connections of its pool, taken and given back at once, and asyncpg, asked at once.

The pool lends what it calls a record. Around each it puts a proxy with a finalizer, tells listeners, and resets the
connection when it returns, in a greenlet where any of that may await something. Where nothing of it has to be done, the
record itself is taken from the pool's queue and put back: the pool counts it as checked out meanwhile, closes it when
it is disposed of, and hands it to whoever waits. Whatever is not plain goes the pool's own way: a connection that has
to be made, waited for, recycled or closed, an application that listens, and any use that ends otherwise than by an
answer, for which the proxy is made then (:func:`proxied`).

``Connection.fetch`` goes through five coroutines to find a statement that is prepared already, and the answer wakes
each of them. Where nothing stands in for the methods, the protocol beneath them is asked at once; it looks itself
whether the connection is there and in use. Whoever wraps the methods (instrumentation does), listens to queries, or has
a class of connections of his own, sees what is sent as ever.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from types import FunctionType
from typing import Any, Final, TypeAlias
from weakref import ref

from asyncpg import Connection, connection
from sqlalchemy import Pool
from sqlalchemy.pool.base import _ConnectionFairy  # pyright: ignore[reportPrivateUsage]

from rowsmith.execution.pool import HAS_WORD, WakingPool

Taken: TypeAlias = Any
"""A record of a pool, or a proxy around one: both have ``dbapi_connection``, ``info`` and ``invalidate()``."""


def take_at_once(pool: Pool) -> Taken:
    """Take a connection that waits in its pool and is plainly alive; None where the pool's own way has to be gone."""
    waking: Any = pool
    if pool.__class__ is not WakingPool or waking.hearing.heard(pool.dispatch) or waking._pre_ping or pool.echo:
        return None
    idle: Any = waking._pool._queue
    if not idle._queue or idle._getters or waking.owed:  # those who wait go first
        return None
    record = idle._queue.pop()  # the last that was put back: its server process is warm, and knows the statement
    if _is_alive(record, pool):
        return record
    idle._queue.insert(len(idle._queue) if waking._pool.use_lifo else 0, record)  # the pool's own way takes it next
    return None


def put_back(taken: Taken) -> bool:
    """Put back what nothing is left on; says that the pool's own way has to be gone, if it has."""
    if taken.__class__ is _ConnectionFairy:
        return _closed_at_once(taken)
    pool = taken._ConnectionRecord__pool
    idle = pool._pool._queue
    if pool.hearing.heard(pool.dispatch) or len(idle._queue) >= idle._maxsize:
        return False
    if idle._getters:
        pool._do_return_conn(taken)
    else:
        idle._queue.append(taken)
    return True


def proxied(taken: Taken) -> Any:
    """Give the proxy around a connection that was taken, by which its pool does with it what it does with any."""
    if taken.__class__ is _ConnectionFairy:
        return taken
    fairy = _ConnectionFairy(taken._ConnectionRecord__pool, taken.dbapi_connection, taken, echo=False)
    fairy._counter, taken.fairy_ref = 1, ref(fairy)  # pyright: ignore[reportPrivateUsage]
    return fairy


def _is_alive(record: Any, pool: Any) -> bool:
    """Say whether the pool would hand a connection out as it is, and nothing waits to be read on it."""
    if record.dbapi_connection is None or record.dbapi_connection._connection.is_closed():
        return False
    if pool._invalidate_time > record.starttime or record._soft_invalidate_time > record.starttime:
        return False
    if pool._recycle > -1 and time.time() - record.starttime > pool._recycle:
        return False
    has_word: Callable[[int], Any] | None = record.info.get(HAS_WORD)
    return has_word is not None and not has_word(0)


def _closed_at_once(fairy: Any) -> bool:
    """Give a connection back by its proxy, if that awaits nothing: it is kept in its pool, and nobody has to know."""
    if fairy.dbapi_connection is None:
        return True
    pool: Any = fairy._pool
    if pool.__class__ is not WakingPool or pool._overflow > 0 or pool.hearing.heard(pool.dispatch):
        return False
    fairy.close()
    return True


_Connection: Any = Connection  # asyncpg has no types


def _own(name: str) -> Any:
    """Give a method of asyncpg's; where somebody wraps it already, what no method is."""
    found: object = getattr(_Connection, name)
    is_own = type(found) is FunctionType and found.__globals__.get("__name__") == connection.__name__
    return found if is_own else None


_FETCH: Final = _own("fetch")
_EXECUTE: Final = _own("execute")
_BENEATH: Final = _own("_execute")


def fetch(driver: Any, sql: str, values: Sequence[Any]) -> Awaitable[Sequence[Any]]:
    """Send a statement as ``driver.fetch(sql, *values)`` does; one that is stale is not sent again."""
    if (
        driver.__class__ is _Connection
        and _Connection.fetch is _FETCH
        and _Connection._execute is _BENEATH
        and not driver._query_loggers
    ):
        protocol = driver._protocol
        prepared = driver._stmt_cache.get((sql, protocol.get_record_class(), False))
        if prepared is not None:
            sent: Awaitable[Sequence[Any]] = protocol.bind_execute(prepared, values, "", 0, False, None)
            return sent
    usual: Awaitable[Sequence[Any]] = driver.fetch(sql, *values)
    return usual


def command(driver: Any, sql: str) -> Awaitable[object]:
    """Send a statement without parameters as ``driver.execute(sql)`` does."""
    if driver.__class__ is _Connection and _Connection.execute is _EXECUTE and not driver._query_loggers:
        sent: Awaitable[object] = driver._protocol.query(sql, None)
        return sent
    usual: Awaitable[object] = driver.execute(sql)
    return usual
