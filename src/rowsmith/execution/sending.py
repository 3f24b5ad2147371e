"""What is sent on asyncpg's connections, in a fraction of the calls that its methods take.

``Connection.fetch`` goes through five coroutines to find a statement that is prepared already, and the answer wakes
each of them. Where nothing stands in for the methods, the protocol beneath them is asked at once; it looks itself
whether the connection is there and in use. Whoever wraps the methods (instrumentation does), listens to queries, or has
a class of connections of his own, sees what is sent as ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from types import FunctionType
from typing import Any, Final

from asyncpg import Connection, connection

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
