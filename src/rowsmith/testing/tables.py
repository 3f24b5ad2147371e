"""The tables of some rows, made in a database for as long as a block lasts."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Protocol, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, NoReferencedTableError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapper

from rowsmith.database import Database
from rowsmith.errors import MappingError
from rowsmith.execution.kinds import LOCK_NOT_AVAILABLE
from rowsmith.testing.catalogue import LOCK_WAIT, Objects, catalogue, drop, end_holders


class LeftOpenWarning(RuntimeWarning):
    """A test left a transaction open on its tables; the connection was ended so that they could be dropped."""


class WithTables(Protocol):
    """The type of the fixture ``with_tables``: rows in, a context manager with their database out."""

    def __call__(self, *rows: type[Any]) -> AbstractAsyncContextManager[Database]:
        """Make the tables of these rows for the length of a block."""
        ...


@asynccontextmanager
async def tables(
    target: Database | AsyncEngine, *rows: type[Any], door: AsyncEngine | None = None
) -> AsyncIterator[Database]:
    """Make the tables of `rows`, and nothing else, for the length of the block.

    The rows may come in any order and refer to each other in circles. What the tables need comes with
    them: enum types, sequences, indexes, schemas, and what their DDL events make. Foreign keys to tables that
    are not among `rows` are left out. At the end all that was made is dropped, whatever the block raised;
    tables that were there before are used and stay.

    A transaction that still holds the tables then is ended by force (PostgreSQL) after two seconds, with
    a :class:`LeftOpenWarning`. On PostgreSQL idle connections of the pool are closed too: they
    remember types and plans of the dropped tables.

    Whoever opens many blocks in one event loop may give a `door` from :func:`side_door`, which saves each
    of them two connections.

    Raises:
        MappingError: something among `rows` is no mapped class.
        RuntimeError: on leaving, on SQLite, a session is still open.
    """
    database = target if isinstance(target, Database) else Database(target)
    async with nullcontext(door) if door else side_door(database.engine) as opened:
        made = await _create(opened, _subset(rows))
    try:
        yield database
    finally:
        async with nullcontext(door) if door else side_door(database.engine) as opened:
            await _drop(opened, made)
        if database.engine.dialect.name == "postgresql":
            await database.engine.dispose()


def _subset(rows: Sequence[type[Any]]) -> sa.MetaData:
    """Copy the tables of `rows` to a metadata of their own, without foreign keys that lead out of it."""
    subset = sa.MetaData()
    originals: dict[sa.Table, None] = {}  # with the parents' where a class inherits by joined tables
    for row in rows:
        mapper: object = sa.inspect(row, raiseerr=False)
        if not isinstance(mapper, Mapper):
            raise MappingError(f"with_tables takes mapped classes, got {row!r}: write with_tables(DomainRow, GroupRow)")
        originals.update(dict.fromkeys(cast("Sequence[sa.Table]", mapper.tables)))
    for table in originals:
        subset.naming_convention = table.metadata.naming_convention
        _forward_events(table.to_metadata(subset), table)
    for metadata in {table.metadata: None for table in originals}:
        _forward_events(subset, metadata)
    for table in subset.tables.values():
        _cut_outside(table)
    return subset


def _forward_events(copy: sa.Table | sa.MetaData, original: sa.Table | sa.MetaData) -> None:
    """Let the DDL that a team hung on the original run for its copy, which does not inherit it."""
    for name in ("before_create", "after_create"):
        event.listen(copy, name, _forward(getattr(original.dispatch, name), original))


def _forward(listeners: Callable[..., Any], original: sa.Table | sa.MetaData) -> Callable[..., None]:
    def call(_: Any, connection: sa.Connection, **options: Any) -> None:
        listeners(original, connection, **options)

    return call


def _cut_outside(table: sa.Table) -> None:
    for key in list(table.foreign_key_constraints):
        try:
            key.referred_table  # noqa: B018 (looks the table up)
        except NoReferencedTableError:
            table.constraints.discard(key)
            for element in key.elements:
                table.foreign_keys.discard(element)
                element.parent.foreign_keys.discard(element)


async def _create(door: AsyncEngine, subset: sa.MetaData) -> Objects:
    before: Objects = set()
    try:
        async with door.begin() as connection:
            before = await catalogue(connection)
            schemas = {table.schema for table in subset.tables.values() if table.schema}
            for schema in sorted(schemas) if door.dialect.name == "postgresql" else ():
                await connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
            await connection.run_sync(subset.create_all)
            return await catalogue(connection) - before
    except BaseException:
        if door.dialect.name != "postgresql":  # the DDL of SQLite's drivers is not transactional
            async with door.begin() as connection:
                await drop(connection, await catalogue(connection) - before)
        raise


async def _drop(door: AsyncEngine, made: Objects) -> None:
    try:
        await _drop_once(door, made)
    except (DBAPIError, sqlite3.OperationalError) as failed:
        if "database is locked" in str(failed):  # SQLite has no code for it that every driver passes on
            raise RuntimeError("a session is still open on these tables: close it before the block ends") from None
        if getattr(getattr(failed, "orig", None), "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        async with door.begin() as connection:
            pids = await end_holders(connection, made)
        warnings.warn(
            f"transactions were open on tables of with_tables for {LOCK_WAIT} after its block: their connections "
            f"(pids {pids}) were ended; close every session inside the block",
            LeftOpenWarning,
            stacklevel=2,
        )
        await _drop_once(door, made)


async def _drop_once(door: AsyncEngine, made: Objects) -> None:
    async with door.begin() as connection:
        await drop(connection, made)


@asynccontextmanager
async def side_door(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """Give an engine to the same database whose connections are not those under test, which may be used up or broken.

    It has the dialect of the first, which so learns of the DDL. SQLite has no use for it, and in memory it
    would be another database.
    """
    if engine.dialect.name != "postgresql":
        yield engine
        return
    sync = engine.sync_engine
    door = AsyncEngine(sa.Engine(sync.pool.recreate(), sync.dialect, sync.url))
    try:
        yield door
    finally:
        await door.dispose()
