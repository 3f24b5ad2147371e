"""Tables that PostgreSQL keeps in partitions: batches wait for locked rows there, and take the rows that are meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import BatchResult, Database, OptionalState, Patch, Repository, SoftDelete, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class PartRow(Base):
    __tablename__ = "parts"
    __table_args__ = {"postgresql_partition_by": "HASH (id)"}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    is_gone: Mapped[bool] = mapped_column(default=False)


for number in range(3):
    sa.event.listen(
        PartRow.__table__,
        "after_create",
        sa.DDL(f"CREATE TABLE parts_{number} PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER {number})"),
    )


@dataclass(frozen=True)
class PartData:
    id: int
    name: str


@dataclass(frozen=True)
class PartCreate(Spec[PartRow]):
    id: int
    name: str


@dataclass(frozen=True)
class PartPatch(Patch[PartRow]):
    name: OptionalState[str] = OptionalState.nop()


class PartRepository(Repository[PartRow, PartData, int]):
    soft_delete = SoftDelete(PartRow.is_gone, deleted=True, restored=False)


@pytest.fixture
async def parts(with_tables: WithTables) -> AsyncIterator[PartRepository]:
    async with with_tables(PartRow) as db:
        made = PartRepository(db)
        await made.batch_create([PartCreate(pk, "a") for pk in range(60)])
        async with db.begin_session() as db_sess:  # so small that PostgreSQL reads them whole, place or no place
            await db_sess.execute(sa.text("ANALYZE parts"))
        yield made


async def is_waited_for(db_sess: AsyncSession, sent: asyncio.Future[Any]) -> bool:
    """Look until somebody waits for this transaction; False where the call that was sent ends before."""
    waiting = sa.text("SELECT EXISTS (SELECT FROM pg_locks WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))")
    while not sent.done():
        if (await db_sess.execute(waiting)).scalar_one():
            return True
        await asyncio.sleep(0.01)
    return False


RENAMED = PartPatch(name=OptionalState.update("x"))
IDS = [3, 4, 5, 6]
Call: TypeAlias = Callable[[PartRepository], Awaitable[BatchResult[PartData, Any]]]


@pytest.mark.parametrize(
    "call",
    [
        lambda parts: parts.batch_update(IDS, RENAMED),
        lambda parts: parts.batch_update_each(dict.fromkeys(IDS, RENAMED)),
        lambda parts: parts.batch_delete(IDS),
        lambda parts: parts.batch_purge(IDS),
    ],
    ids=["batch_update", "batch_update_each", "batch_delete", "batch_purge"],
)
async def test_a_batch_waits_for_a_locked_row(parts: PartRepository, database: Database, call: Call) -> None:
    """And changes or removes it then: it is there."""
    async with Database(database.engine).begin_session() as db_sess:
        await db_sess.execute(sa.text("UPDATE parts SET name = name WHERE id = 5"))
        sent = asyncio.ensure_future(call(parts))
        assert await is_waited_for(db_sess, sent)
    result = await sent
    assert (sorted(item.id for item in result.succeeded), result.missing) == (IDS, [])
    assert await parts.count(None, [PartRow.name == "a"]) in (56, 60 - len(IDS))


async def test_a_chunk_of_a_purge_takes_as_many_rows_as_it_may(parts: PartRepository) -> None:
    """Places are the same ones in every partition."""
    report = await parts.purge_where([], all_rows=True, chunk_size=2, max_rows=7)
    assert (report.rows, report.chunks) == (7, 4)
    assert [item.id for item in (await parts.search()).items] == list(range(7, 60))
