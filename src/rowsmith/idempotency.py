"""Idempotency keys: a write that is asked for twice, by a retry or by a client that got no answer, is done once.

::

    await groups.create(spec, scope=scope, idempotency_key=request.headers["Idempotency-Key"])

``create``, ``update``, ``upsert`` and ``batch_create`` take one. The first call writes; every later one with the same
key writes nothing and gives the row of the first, as it is now. The same key with another body (spec, patch, id,
expected version), or for another verb, is ``IdempotencyMismatch``. Another table's, or another scope's, equal key is
another key.

A key is kept in the transaction of its write: what is rolled back leaves none, also in a unit of work or in a session
of somebody else's. Two callers at once: one writes, the other waits for its transaction and gets its row. A row that is
purged, deleted or out of scope by the time of a later call is ``EntityNotFound``: it is not written a second time. The
row is told by its primary key alone: where it was purged and others made a row with the same one since, a later call
gives that.

What a spec makes up itself (``field(default_factory=uuid4)``) is of its body: two such specs are two bodies. A scope is
told by its conditions: one that holds the time of the call in Python is another scope each time; write ``func.now()``.
Equal values are one body in whatever form Python has them (the numbers ``1``, ``1.0`` and ``1.00``, an instant in two
zones, a list and a tuple, bytes and a bytearray, the keys of a mapping in any order); ``True`` is no number. Of a spec
or patch those are equal that their column stores as the same: an address as a text and as an object, a UUID in any
form, 1.004 and 1 in a ``Numeric(8, 2)``; ``1e23`` and ``Decimal(10**23)`` in a ``Numeric`` of PostgreSQL's are not.
Values that do not fit their columns are refused as ever, before a key is taken.
What hides its values (an array of numpy, an object with ``__slots__``, what holds itself) is ``InvalidValue``: give
dataclasses, pydantic models, mappings, lists, plain values and SQL.
With schemas that ``search_path`` tells apart, each takes a table of its own.

The table is to be made once, by a migration (:func:`add_to`, or :func:`ddl`) or by :func:`create`, and emptied now and
then (:func:`purge`).
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, cast

from sqlalchemy import MetaData, Table, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from rowsmith.database import Database, check_database
from rowsmith.db_source import DBSource
from rowsmith.errors import InvalidValue, MappingError, TransactionError, kind_of
from rowsmith.operations.deletes.where import Pace
from rowsmith.operations.once import KEYS, IdempotencyKeyRow

__all__ = ["TABLE", "IdempotencyKeyRow", "add_to", "create", "ddl", "purge"]

TABLE: Final = KEYS
"""The table, ``rowsmith_idempotency_keys``, in a ``MetaData`` of its own."""


_ONE_AT_A_TIME: Final = select(func.pg_advisory_xact_lock(func.hashtextextended(TABLE.name, 0)))


def add_to(metadata: MetaData) -> Table:
    """Have a team's own metadata hold the table too, so that ``create_all`` and Alembic's autogenerate make it.

    Where Alembic is given several, ``target_metadata = [Base.metadata, rowsmith.idempotency.TABLE.metadata]`` does the
    same.

    Raises:
        MappingError: it is no ``MetaData``.
    """
    if not isinstance(cast("object", metadata), MetaData):
        raise MappingError(f"add_to takes a MetaData, not {kind_of(metadata)}: write add_to(Base.metadata)")
    return TABLE.to_metadata(metadata)


def ddl(dialect: Dialect | None = None) -> list[str]:
    """Give the statements that make the table, for a migration that is written by hand; PostgreSQL's by default.

    Raises:
        MappingError: it is no dialect.
    """
    if dialect is not None and not isinstance(cast("object", dialect), Dialect):
        raise MappingError(f"ddl takes a dialect, not {kind_of(dialect)}: write ddl(engine.dialect), or ddl()")
    known: Any = cast("Any", postgresql).dialect() if dialect is None else dialect
    statements: list[Any] = [CreateTable(TABLE), *map(CreateIndex, TABLE.indexes)]
    return [str(statement.compile(dialect=known)).strip() for statement in statements]


async def create(db: Database) -> None:
    """Make the table, unless it is there; of several processes that do so at once, one makes it.

    Raises:
        MappingError: ``db`` is no Database.
        RepositoryError: the database refuses it.
    """
    check_database(db, "idempotency.create")
    async with db.begin_session() as session:
        connection = await session.connection()
        if connection.dialect.name == "postgresql":  # whose IF NOT EXISTS is no lock; SQLite has one writer at a time
            await connection.execute(_ONE_AT_A_TIME)
        await connection.run_sync(TABLE.metadata.create_all)


async def purge(db: Database, *, older_than: dt.timedelta) -> int:
    """Forget keys, in chunks that are transactions of their own, and give their number.

    A call with a key that is forgotten writes anew, so keep them for longer than anybody retries.

    Args:
        db: where they are kept.
        older_than: how long ago they were used.

    Raises:
        MappingError: ``db`` is no Database.
        InvalidValue: ``older_than`` is no length of time, a negative one, or longer than there are years.
        TransactionError: inside a session or a unit of work.
    """
    check_database(db, "idempotency.purge")
    if not isinstance(cast("Any", older_than), dt.timedelta):
        raise InvalidValue(f"older_than is a length of time, not {kind_of(older_than)}: write timedelta(days=7)")
    if older_than < dt.timedelta(0):
        raise InvalidValue("older_than is negative, and no key is used in time to come: write timedelta(days=7)")
    try:
        since = dt.datetime.now(dt.UTC) - older_than
    except OverflowError:
        raise InvalidValue("older_than reaches back before the year 1: write timedelta(days=7)") from None
    if db.is_in_session:
        raise TransactionError(
            "idempotency.purge commits chunk by chunk and cannot join a session or unit of work that is open: "
            "call it outside"
        )
    source = DBSource[IdempotencyKeyRow](db, IdempotencyKeyRow)
    old = IdempotencyKeyRow.created_at < since
    return (await source.in_chunks(source.where_purger.purge, [old], pace=Pace())).rows
