"""Connections that wait in SQLAlchemy's pool, taken and given back at once: without its proxies, without a greenlet.

The pool lends what it calls a record. Around each it puts a proxy with a finalizer, tells listeners, and resets the
connection when it returns, in a greenlet where any of that may await something. Where nothing of it has to be done, the
record itself is taken from the pool's queue and put back: the pool counts it as checked out meanwhile, closes it when
it is disposed of, and hands it to whoever waits. Whatever is not plain goes the pool's own way: a connection that has
to be made, waited for, recycled or closed, an application that listens, and any use that ends otherwise than by an
answer, for which the proxy is made then (:func:`proxied`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import ref

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
