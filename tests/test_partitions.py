"""Tables that PostgreSQL keeps in partitions: batches wait for locked rows there, and take the rows that are meant."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa

from rowsmith import BatchResult, CheckViolation, Database, OptionalState
from rowsmith.testing import WithTables
from support import is_waited_for
from tenants import ThingData
from tenants.parted import EntriesOf, EntryCreate, EntryPatch, EntryRepository, EntryRow, year_of

A = EntriesOf("a")


@pytest.fixture
async def entries(with_tables: WithTables) -> AsyncIterator[EntryRepository]:
    """Give sixty entries in two partitions."""
    async with with_tables(EntryRow) as db:
        made = EntryRepository(db)
        await made.batch_create([EntryCreate(id, year_of(id), f"name {id}") for id in range(60)], scope=A)
        async with db.begin_session() as db_sess:  # so small that PostgreSQL reads them whole, place or no place
            await db_sess.execute(sa.text("ANALYZE entries"))
        yield made


SEVEN = EntryPatch(uses=OptionalState.update(7))
KEYS = [(id, year_of(id)) for id in (3, 4, 5, 6)]
Call: TypeAlias = Callable[[EntryRepository], Awaitable[BatchResult[ThingData, Any]]]


@pytest.mark.parametrize(
    "call",
    [
        lambda entries: entries.batch_update(KEYS, SEVEN, scope=A),
        lambda entries: entries.batch_update_each(dict.fromkeys(KEYS, SEVEN), scope=A),
        lambda entries: entries.batch_delete(KEYS, scope=A),
        lambda entries: entries.batch_purge(KEYS, scope=A),
    ],
    ids=["batch_update", "batch_update_each", "batch_delete", "batch_purge"],
)
async def test_a_batch_waits_for_a_locked_row(entries: EntryRepository, database: Database, call: Call) -> None:
    """And changes or removes it then: it is there."""
    async with Database(database.engine).begin_session() as db_sess:
        await db_sess.execute(sa.text("UPDATE entries SET name = name WHERE id = 5"))
        sent = asyncio.ensure_future(call(entries))
        assert await is_waited_for(db_sess, sent)
    result = await sent
    assert (sorted((item.id, year_of(item.id)) for item in result.succeeded), result.missing) == (KEYS, [])
    assert await entries.count(A, [EntryRow.uses == 0]) == 60 - len(KEYS)


async def test_a_chunk_of_a_purge_takes_as_many_rows_as_it_may(entries: EntryRepository) -> None:
    """Places are the same ones in every partition."""
    report = await entries.purge_where([], scope=A, all_rows=True, chunk_size=2, max_rows=7)
    assert (report.rows, report.chunks) == (7, 4)
    assert [item.id for item in (await entries.search(A)).items] == list(range(7, 60))


@pytest.mark.parametrize("native", [True, False])
async def test_a_row_that_no_partition_takes(entries: EntryRepository, native: bool) -> None:
    """No CHECK has refused it, whatever the SQLSTATE says."""
    of = EntryRepository(Database(entries.db.engine, native=native))
    async with of.db.begin_session() as db_sess:
        await db_sess.execute(sa.text("DROP TABLE entries_2"))  # which takes the others
    lost = [EntryCreate(id, dt.date(1900, 1, 1), f"name {id}") for id in (60, 61)]
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: of.create(lost[0], scope=A),
        lambda: of.batch_create(lost, scope=A),
        lambda: of.upsert(lost[0], scope=A),
    ]
    for call in calls:
        with pytest.raises(CheckViolation, match=r"no partition takes the .*: make one for it") as caught:
            await call()
        assert caught.value.facts.table == "entries"
    made = await of.batch_create_partial([*lost, EntryCreate(62, year_of(62), "name 62")], scope=A)
    assert ([each.index for each in made.failed], len(made.succeeded)) == ([0, 1], 1)
