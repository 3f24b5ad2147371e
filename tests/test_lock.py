"""Rows that are read and locked: until the transaction ends, those that were asked for and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from typing import Any

import pytest
import sqlalchemy as sa

from rowsmith import (
    CursorBackwardPagination,
    CursorForwardPagination,
    Database,
    EntityNotFound,
    InvalidValue,
    Lock,
    LockNotAvailable,
    NoPagination,
    OffsetPagination,
    Pagination,
    ReadOnlyViolation,
    TransactionError,
)
from rowsmith.cache import MemoryCacheSource
from rowsmith.testing import WithTables
from tenants import (
    DomainRow,
    DomainScope,
    GroupCreate,
    GroupData,
    GroupId,
    GroupNotFound,
    GroupRepository,
    GroupRow,
)

A, ONE, FOREIGN = DomainScope("a"), GroupId(1), GroupId(5)
IDS = [GroupId(n) for n in range(1, 6)]
NAMED = [GroupRow.name == "1"]


async def filled(db: Database) -> GroupRepository:
    groups = GroupRepository(db, resilience=None)
    await groups.batch_create([GroupCreate("b" if id == FOREIGN else "a", str(id)) for id in IDS])
    return groups


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        yield await filled(made)


@pytest.fixture
async def anywhere(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with any_tables(DomainRow, GroupRow) as made:
        yield await filled(made)


Read = Callable[..., Awaitable[Any]]
READS: dict[str, Read] = {
    "get": lambda of, lock: of.get(ONE, A, lock=lock),
    "find": lambda of, lock: of.find(ONE, A, lock=lock),
    "get_one": lambda of, lock: of.get_one(A, NAMED, lock=lock),
    "find_one": lambda of, lock: of.find_one(A, NAMED, lock=lock),
    "first": lambda of, lock: of.first(A, lock=lock),
    "search": lambda of, lock: of.search(A, NAMED, lock=lock),
    "batch_get": lambda of, lock: of.batch_get([ONE], scope=A, lock=lock),
}


async def elsewhere(call: Awaitable[Any]) -> Any:
    """Wait for a call that is made outside of the blocks around."""

    async def alone() -> Any:
        return await call

    return await asyncio.create_task(alone(), context=Context())


async def free(groups: GroupRepository) -> list[int]:
    """Give the ids of the rows that nobody has locked so that others may not."""
    async with groups.db.engine.connect() as connection:
        ids = sa.select(GroupRow.id).order_by(GroupRow.id).with_for_update(skip_locked=True)
        return list((await connection.scalars(ids)).all())


@pytest.mark.parametrize("read", READS.values(), ids=list(READS))
async def test_until_the_transaction_ends(groups: GroupRepository, read: Read) -> None:
    """The row is nobody else's until then, and only that one is not."""
    async with groups.db.unit_of_work():
        assert await read(groups, Lock()) == await read(groups, None)
        assert await free(groups) == [2, 3, 4, 5]
    assert await free(groups) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("read", READS.values(), ids=list(READS))
async def test_on_every_backend(anywhere: GroupRepository, read: Read) -> None:
    """What is given is what is given without a lock; a call whose lock would be over at once is refused."""
    given = await read(anywhere, None)
    async with anywhere.db.begin_session():
        assert await read(anywhere, Lock("key_share", skip_locked=True)) == given
    with pytest.raises(TransactionError, match="unit_of_work") as caught:
        await read(anywhere, Lock())
    assert caught.value.facts.domain == "group"
    async with anywhere.db.begin_readonly_session():
        with pytest.raises(ReadOnlyViolation):
            await read(anywhere, Lock())


async def test_for_update_of_the_operation_is_such_a_lock(anywhere: GroupRepository) -> None:
    """Refused where it would be over at once, too."""
    source = anywhere.db_source
    with pytest.raises(TransactionError, match="unit_of_work"):
        await source.read(source.querier.query, ONE, for_update=True)
    given = await source.read(source.querier.query, ONE, for_update=False)
    async with anywhere.db.begin_session():
        assert await source.read(source.querier.query, ONE, for_update=True) == given


@pytest.mark.parametrize("read", READS.values(), ids=list(READS))
async def test_nowait(groups: GroupRepository, read: Read) -> None:
    """A row that another transaction has is told of at once."""
    async with groups.db.unit_of_work():
        await groups.get(ONE, lock=Lock())

        async def other() -> None:
            async with groups.db.unit_of_work():
                await read(groups, Lock(nowait=True))

        with pytest.raises(LockNotAvailable):
            await elsewhere(other())


async def test_skip_locked(groups: GroupRepository) -> None:
    """What another transaction has is as if it were not there, and workers on one queue share it out."""
    async with groups.db.unit_of_work():
        first = await groups.search(A, None, CursorForwardPagination(2), lock=Lock(skip_locked=True))

        async def other() -> list[int]:
            async with groups.db.unit_of_work():
                with pytest.raises(GroupNotFound):
                    await groups.get(ONE, lock=Lock(skip_locked=True))
                with pytest.raises(EntityNotFound):
                    await groups.batch_get([ONE, GroupId(3)], lock=Lock(skip_locked=True))
                page = await groups.search(A, None, CursorForwardPagination(2), lock=Lock(skip_locked=True))
                return [item.id for item in page.items]

        assert ([item.id for item in first.items], await elsewhere(other())) == ([1, 2], [3, 4])


PAGES: dict[str, tuple[Pagination, list[int]]] = {
    "forward": (CursorForwardPagination(2), [1, 2]),
    "backward": (CursorBackwardPagination(2), [3, 4]),
    "offset": (OffsetPagination(2, 1), [1, 2, 3]),
    "the last": (OffsetPagination(2, 2), [1, 2, 3, 4]),
    "less than a page": (CursorForwardPagination(9), [1, 2, 3, 4]),
    "all": (NoPagination(), [1, 2, 3, 4]),
}


@pytest.mark.parametrize("pagination, locked", PAGES.values(), ids=list(PAGES))
async def test_the_rows_of_a_page(groups: GroupRepository, pagination: Pagination, locked: list[int]) -> None:
    """They are locked, with those before an offset, the row after them is not; else the page is as without a lock."""
    plain = await groups.search(A, None, pagination, orders=[GroupRow.note, GroupRow.id])
    async with groups.db.unit_of_work():
        page = await groups.search(A, None, pagination, orders=[GroupRow.note, GroupRow.id], lock=Lock())
        assert await free(groups) == [id for id in IDS if id not in locked]
    assert (page, page.has_next_page, page.has_previous_page) == (plain, plain.has_next_page, plain.has_previous_page)
    assert (page.start_cursor, page.end_cursor) == (plain.start_cursor, plain.end_cursor)


STRENGTHS: dict[Any, set[str]] = {
    "update": set(),
    "no_key_update": {"key_share"},
    "share": {"share", "key_share"},
    "key_share": {"no_key_update", "share", "key_share"},
}


@pytest.mark.parametrize("strength", STRENGTHS)
async def test_strengths(groups: GroupRepository, strength: Any) -> None:
    """Each keeps away what PostgreSQL's table of conflicting row locks says."""
    async with groups.db.unit_of_work():
        await groups.get(ONE, lock=Lock(strength))

        async def other(asked: Any) -> bool:
            async with groups.db.unit_of_work():
                return await groups.find(ONE, lock=Lock(asked, skip_locked=True)) is not None

        assert {asked for asked in STRENGTHS if await elsewhere(other(asked))} == STRENGTHS[strength]


async def test_the_database_is_asked_and_no_cache(groups: GroupRepository) -> None:
    """A row that is locked is the one that is there now, whatever is kept of it."""
    cached = GroupRepository(groups.db, cache_source=MemoryCacheSource(GroupData), resilience=None)
    await cached.get(ONE)
    async with groups.db.engine.begin() as connection:
        await connection.execute(sa.update(GroupRow).values(size=7))
    async with groups.db.unit_of_work():
        assert (await cached.get(ONE, lock=Lock())).size == 7
        assert [group.size for group in await cached.batch_get([ONE], lock=Lock())] == [7]


@pytest.mark.parametrize(
    "wrong", [{"strength": "exclusive"}, {"strength": None}, {"nowait": 1}, {"nowait": True, "skip_locked": True}]
)
def test_what_is_no_lock(wrong: dict[str, Any]) -> None:
    """It is refused as it is made."""
    with pytest.raises(InvalidValue):
        Lock(**wrong)
