"""Behind a pooler that gives a client another of the server's connections for each transaction (PgBouncer and others).

Nothing that is left on a connection is there for the next transaction, and others find it: prepared statements,
settings, listeners, session's locks. So statements get no names, which asyncpg then sends whole in one message, and
settings that asyncpg makes are made and taken back inside one transaction.

A pooler is seen by what it says of the server's process: a number of its own, by which it finds whom to cancel.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Final
from uuid import uuid4

from asyncpg import Connection as AsyncpgConnection
from sqlalchemy import Engine, event

from rowsmith.errors import MappingError

_Connection: Any = AsyncpgConnection  # asyncpg has no types


class PooledConnection(_Connection):  # type: ignore[misc]
    """A connection to a pooler, of which each transaction may reach another connection of the server's."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Give no statement: it would reach a connection that is somebody else's."""
        return ""

    async def _introspect_types(self, *given: Any) -> Any:
        """Look types up, for which asyncpg switches the JIT off and on again."""
        base: Any = super()
        async with nullcontext() if self.is_in_transaction() else self.transaction():
            return await base._introspect_types(*given)


class NamedApart(_Connection):  # type: ignore[misc]
    """A connection to a pooler that nobody was told of: what it prepares has no name that another process uses, too."""

    __slots__ = ()

    def _get_unique_id(self, prefix: str) -> str:
        return f"__asyncpg_{prefix}_{uuid4().hex}__"


def is_pooled(driver: object) -> bool:
    """Say whether a connection is made for such a pooler."""
    return driver.__class__ is PooledConnection


def is_through_pooler(driver: object) -> bool:
    """Say whether a connection is to a pooler of any kind, told or not."""
    return type(driver) in (PooledConnection, NamedApart)  # to asyncpg's metaclass all are instances of each


_SETTINGS: Final = {"statement_cache_size": 0, "connection_class": PooledConnection}


def prepare_for_pooler(engine: Engine) -> None:
    """Have an engine's connections made for such a pooler.

    Raises:
        MappingError: the engine is none on asyncpg.
    """
    if engine.dialect.driver != "asyncpg":
        raise MappingError(f"pooler=True is for PostgreSQL by asyncpg, and this engine is on {engine.dialect.driver}")
    if not is_behind_pooler(engine):
        event.listen(engine, "do_connect", _set_up)
        event.listen(engine, "connect", _check)


def is_behind_pooler(engine: Engine) -> bool:
    """Say whether :func:`prepare_for_pooler` was told of an engine."""
    return _set_up in engine.dialect.dispatch.do_connect


def _set_up(dialect: object, record: object, arguments: object, options: dict[str, Any]) -> None:
    options.update(_SETTINGS)


def _check(dbapi_connection: Any, record: object) -> None:
    if not is_pooled(dbapi_connection.driver_connection):
        raise MappingError("pooler=True sets up connections, which an engine with a creator of its own makes itself")
