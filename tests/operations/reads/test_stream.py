"""Streams: flat memory, and the connection is back however the reading ends."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from company import CORE_USERS, TeamRepository, TeamWithUsers, company
from rowsmith import (
    BatchQuerier,
    ConcurrentUse,
    Database,
    DatabaseUnavailable,
    InvalidValue,
    ScopeRequired,
    Stream,
    TransactionError,
)
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    DomainScope,
    GroupCreate,
    GroupRepository,
    GroupRow,
    WideRepository,
    WideRow,
    groups_in,
)

MANY = 200_000


@dataclass(frozen=True)
class Name:
    id: int
    name: str


async def fill(db: Database, number: int) -> None:
    """Insert this many groups, in the database itself."""
    series = sa.func.generate_series(1, number).column_valued("n")
    rows = sa.select(sa.literal("a"), "name " + sa.cast(series, sa.String))
    async with db.begin_session() as db_sess:
        await db_sess.execute(sa.insert(GroupRow).from_select(["domain_name", "name"], rows))


@asynccontextmanager
async def many_groups(made: WithTables, number: int) -> AsyncGenerator[GroupRepository]:
    async with made(GroupRow) as db:
        await fill(db, number)
        yield GroupRepository(db)


def borrowed(db: Database) -> int:
    """How many connections are out of the pool."""
    pool: Any = db.engine.sync_engine.pool
    return pool.checkedout()


async def is_back(db: Database) -> bool:
    """Whether every connection is back within a few turns of the event loop."""
    for _ in range(100):
        if borrowed(db) == 0:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_stream_gives_what_a_search_gives(any_tables: WithTables) -> None:
    """In the order asked for, under the scope, without soft-deleted rows, in one statement."""
    async with groups_in(any_tables) as groups:
        orders = [GroupRow.name.desc()]
        with count_statements(groups.db) as sent:
            streamed = [group async for group in groups.stream(DomainScope("a"), orders=orders)]
        assert streamed == list((await groups.search(DomainScope("a"), orders=orders)).items)
        assert [group.name for group in streamed] == ["two", "one"]
        assert len(sent) == 1
        assert len([group async for group in groups.stream(include_deleted=True)]) == 4


async def test_memory_is_flat(with_tables: WithTables) -> None:
    """Two hundred thousand rows pass through, a thousand at a time: a list of them would take ten times as much."""
    async with many_groups(with_tables, MANY) as groups:
        stream = groups.stream(orders=[GroupRow.id], into=Name)
        first = await anext(stream)  # what is made once (compiled statements, types) is not the stream's
        tracemalloc.start()
        try:
            seen, total = 1, first.id
            async for item in stream:
                seen, total = seen + 1, total + item.id
                if seen == MANY // 10:
                    _, of_a_tenth = tracemalloc.get_traced_memory()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (seen, total) == (MANY, MANY * (MANY + 1) // 2)
        assert peak < 2 * of_a_tenth
        assert borrowed(groups.db) == 0


async def leave_by_break(stream: Stream[Any]) -> None:
    async for _ in stream:
        break


async def leave_by_exception(stream: Stream[Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in stream:
            raise ZeroDivisionError


async def leave_by_return(stream: Stream[Any]) -> None:
    async for _ in stream:
        return


async def leave_by_cancellation(stream: Stream[Any]) -> None:
    started = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_while_fetching(stream: Stream[Any]) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()  # whoever waits comes to run when the reader does: for the next rows
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


LEAVES = [leave_by_break, leave_by_exception, leave_by_return, leave_by_cancellation, leave_while_fetching]


@pytest.mark.parametrize("leave", LEAVES)
async def test_leaving_early_gives_the_connection_back(
    with_tables: WithTables, leave: Callable[[Stream[Any]], Awaitable[None]]
) -> None:
    """Without a context manager the connection is back a moment later, and the pool is as good as new."""
    async with many_groups(with_tables, 50_000) as groups:
        await leave(groups.stream())
        assert await is_back(groups.db)
        assert await groups.count() == 50_000


async def test_a_context_manager_gives_the_connection_back_at_once(any_tables: WithTables) -> None:
    """Left by break, it is back before the next line; so it is after ``aclose()``."""
    async with groups_in(any_tables) as groups:
        async with groups.stream() as stream:
            async for _ in stream:
                assert borrowed(groups.db) == 1
                break
        assert borrowed(groups.db) == 0
        stream = groups.stream()
        assert (await anext(stream)).name == "one"
        await stream.aclose()
        await stream.aclose()
        assert borrowed(groups.db) == 0
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_stream_that_is_never_read_costs_nothing(any_tables: WithTables) -> None:
    """The connection is taken with the first row."""
    async with groups_in(any_tables) as groups:
        async with groups.stream():
            assert borrowed(groups.db) == 0
        groups.stream()
        assert borrowed(groups.db) == 0


async def test_a_backend_killed_in_the_middle(with_tables: WithTables) -> None:
    """The original error comes out, typed; the connection is back, and the pool heals by itself."""
    async with many_groups(with_tables, 50_000) as groups:
        stream, seen = groups.stream(into=Name), 0
        with pytest.raises(DatabaseUnavailable) as caught:
            async for _ in stream:
                seen += 1
                if seen == 1500:
                    await kill_others(groups.db)
        assert seen >= 1500
        assert caught.value.error_code == "group_stream_database-unavailable"
        assert borrowed(groups.db) == 0
        assert await groups.count() == 50_000


async def kill_others(db: Database) -> None:
    """End every other connection to the database, from one of its own."""
    door = db.engine.execution_options()
    async with door.connect() as connection:
        mine = sa.text(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.execute(mine)


async def test_a_stream_joins_the_unit_of_work(any_tables: WithTables) -> None:
    """It sees the unit's own rows, other calls go on beside it, and the unit commits after an early exit."""
    async with groups_in(any_tables) as groups:
        async with groups.db.unit_of_work():
            await groups.create(GroupCreate("a", "mine"))
            names = [(await groups.get(group.id)).name async for group in groups.stream(DomainScope("a"))]
            assert names == ["one", "two", "mine"]
            async for _ in groups.stream():
                break
            await groups.create(GroupCreate("a", "after"))
        assert await groups.count(DomainScope("a")) == 4
        assert await is_back(groups.db)


async def test_leaving_a_unit_of_work_with_an_open_stream(with_tables: WithTables) -> None:
    """The transaction ends with its block, whatever a stream left behind."""
    async with many_groups(with_tables, 5_000) as groups:
        async with groups.db.unit_of_work():
            async for _ in groups.stream():
                break
        assert await is_back(groups.db)
        kept: Stream[Any] | None = None
        async with groups.db.unit_of_work():
            kept = groups.stream()
            await anext(kept)
        assert await is_back(groups.db)
        await kept.aclose()
        assert await groups.count() == 5_000


async def test_collections_come_chunk_by_chunk(any_tables: WithTables) -> None:
    """Nested data takes one statement for each collection of a chunk."""
    async with company(any_tables) as db:
        with count_statements(db) as sent:
            teams = [team async for team in TeamRepository(db).stream(into=TeamWithUsers)]
        assert teams[0].users == CORE_USERS
        assert len(teams) == 4
        assert len(sent) == 2


async def test_chunks_are_as_large_as_asked_for(any_tables: WithTables) -> None:
    """An operation object of one's own takes ``chunk_size``; less than one row is refused."""
    async with groups_in(any_tables) as groups, groups.db.begin_session() as db_sess:
        querier = BatchQuerier(GroupRow, into=Name)
        sizes = [len(chunk) async for chunk in querier.chunks(db_sess, chunk_size=3)]
        assert sizes == [3, 1]
        assert [item.id async for item in querier.stream(db_sess, chunk_size=1)] == [1, 2, 3, 4]
        with pytest.raises(InvalidValue, match="chunk_size is 0: give 1 or more"):
            await anext(querier.stream(db_sess, chunk_size=0))


class Strict(GroupRepository):
    scope_required = True


async def test_a_stream_is_no_way_around_a_scope(any_tables: WithTables) -> None:
    """It is refused with the first row, and holds no connection then."""
    async with groups_in(any_tables) as groups:
        with pytest.raises(ScopeRequired) as caught:
            await anext(Strict(groups.db).stream())
        assert caught.value.error_code.startswith("group_stream_")
        assert borrowed(groups.db) == 0


async def test_a_stored_value_of_no_type_is_refused_without_being_quoted(sqlite_database: Database) -> None:
    """What a column's type says of a value it does not know never gets out."""
    from rowsmith.testing import tables

    async with tables(sqlite_database, WideRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(
                sa.text("INSERT INTO wide (id, colour) VALUES ('00000000000000000000000000000001', 'secret')")
            )
        with pytest.raises(InvalidValue) as caught:
            await anext(WideRepository(db).stream())
        assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


async def test_two_streams_at_once(with_tables: WithTables) -> None:
    """Each has a connection of its own, outside of a unit of work."""
    async with many_groups(with_tables, 3_000) as groups:
        async with groups.stream() as left, groups.stream() as right:
            pairs = [(a.id, b.id) async for a, b in zipped(left, right)]
        assert pairs == [(n, n) for n in range(1, 3_001)]


async def zipped(left: Stream[Any], right: Stream[Any]) -> AsyncGenerator[tuple[Any, Any]]:
    async for item in left:
        yield item, await anext(right)


async def test_one_task_reads_a_stream(any_tables: WithTables) -> None:
    """A second one is told so, whatever it does with the stream; the first one reads on."""
    async with groups_in(any_tables) as groups:
        for use in (anext, list_of, Stream.aclose):
            stream = groups.stream()
            reading = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            with pytest.raises(ConcurrentUse, match="its own"):
                await use(stream)
            assert (await reading).name == "one"
            assert len(await list_of(stream)) == 2


async def list_of(stream: Any) -> list[Any]:
    return [item async for item in stream]


async def test_a_stream_is_read_once(any_tables: WithTables) -> None:
    """A second reading would find nothing, and say that there is nothing."""
    async with groups_in(any_tables) as groups:
        stream, left = groups.stream(), groups.stream()
        assert len([group async for group in stream]) == await groups.count() > 0
        async with left:
            await anext(left)
        for done in (stream, left):
            with pytest.raises(TransactionError, match=r"was read to its end, or closed: call stream\(\) again"):
                await list_of(done)
            with pytest.raises(StopAsyncIteration):
                await anext(done)
