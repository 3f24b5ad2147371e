"""Groups whose calls go by the native lane, and the same ones by SQLAlchemy's way: what tests of the lane share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from rowsmith import Database, OptionalState, RepositoryError, commit_outcome
from rowsmith.execution import NativeLane
from rowsmith.testing import FaultProxy, WithFaults
from tenants import DomainRow, DomainScope, GroupCreate, GroupId, GroupPatch, GroupRepository, GroupRow

ONE, FOREIGN, A = GroupId(1), GroupId(3), DomainScope("a")


def lane_of(db: Database) -> NativeLane:
    """Give the native lane of a database that has one."""
    assert db.native is not None
    return db.native


def plain_of(groups: GroupRepository) -> GroupRepository:
    """Give a repository on the same tables whose calls all go SQLAlchemy's way."""
    return GroupRepository(Database(groups.db.engine, native=False), resilience=None)


async def groups_of(db: Database, *specs: GroupCreate) -> GroupRepository:
    """Give a repository with these groups, once a connection is there."""
    groups = GroupRepository(db, resilience=None)
    await groups.batch_create(specs)
    await groups.get(ONE)
    return groups


async def three_in(db: Database) -> GroupRepository:
    """Give a repository with two groups of the domain a, and one of b."""
    return await groups_of(db, GroupCreate("a", "one"), GroupCreate("a", "three"), GroupCreate("b", "two"))


@asynccontextmanager
async def hasty(with_faults: WithFaults, **options: Any) -> AsyncIterator[tuple[GroupRepository, FaultProxy]]:
    """Give groups whose calls have a third of a second, behind a proxy, once their get and update are prepared.

    What comes before is done without a deadline, however long it takes a busy machine.
    """
    async with with_faults(DomainRow, GroupRow, **options) as (db, proxy):
        groups = await three_in(db)
        await groups.update(ONE, renamed("one"))
        groups.db_source.db = Database(db.engine, deadline=0.3, **options)
        yield groups, proxy


@asynccontextmanager
async def triggered(
    groups: GroupRepository, body: str, fires: str = "BEFORE INSERT OR UPDATE OR DELETE ON groups FOR EACH ROW"
) -> AsyncIterator[None]:
    """Have a trigger on the table of groups, before each write of one unless told otherwise."""
    async with groups.db.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"CREATE FUNCTION rowsmith_native() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        )
        await connection.exec_driver_sql(f"CREATE TRIGGER rowsmith_native {fires} EXECUTE FUNCTION rowsmith_native()")
    try:
        yield
    finally:
        async with groups.db.engine.begin() as connection:
            await connection.exec_driver_sql("DROP FUNCTION rowsmith_native CASCADE")


async def taken(groups: GroupRepository, call: Callable[[], Awaitable[Any]]) -> int:
    """Make a call, and give how many statements of it went by the lane."""
    before = lane_of(groups.db).taken
    await call()
    return lane_of(groups.db).taken - before


def renamed(name: str) -> GroupPatch:
    """Give a patch."""
    return GroupPatch(name=OptionalState.update(name))


async def told(call: Awaitable[Any]) -> Any:
    """Give all that a caller can learn from a call, of an error too."""
    try:
        return await call
    except (RepositoryError, TypeError) as exc:
        words = (str(exc), getattr(exc, "error_code", None), getattr(exc, "facts", None), vars(exc).get("missing"))
        return type(exc), words, commit_outcome(exc), exc.__cause__, exc.__context__


async def ended_by(task: asyncio.Task[Any]) -> BaseException | None:
    """Wait for a task, and give what it was ended by."""
    try:
        await task
    except asyncio.CancelledError as exc:
        return exc
    return None
