"""Reading much: a keyset page at a depth of a million rows beside the first one, and a stream beside a bare cursor."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import DateTime, Index, func, insert, literal, select, text
from sqlalchemy import cast as as_type
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import String

from benchmarks.common import Arena, Contender, Goal, benchmark
from rowsmith import CursorForwardPagination, OffsetPagination, Repository

PAGE = 100
PAGES = 300


class Base(DeclarativeBase):
    pass


class EventRow(Base):
    __tablename__ = "bench_events"
    __table_args__ = (Index("ix_bench_events_score_id", "score", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_name: Mapped[str]
    name: Mapped[str]
    score: Mapped[int]
    note: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


@dataclass(frozen=True)
class EventData:
    id: int
    domain_name: str
    name: str
    score: int
    note: str | None
    created_at: dt.datetime


class EventRepository(Repository[EventRow, EventData, int]):
    pass


async def make_events(arena: Arena, number: int) -> EventRepository:
    """Make the table with this many rows."""
    n = func.generate_series(1, number).column_valued("n")
    values = select(literal("a"), literal("name ") + as_type(n, String), n / 8)
    async with arena.db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(EventRow).from_select(["domain_name", "name", "score"], values))
    async with arena.db.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE bench_events"))
    return EventRepository(arena.db)


@benchmark
async def keyset_depth(arena: Arena) -> None:
    depth = arena.rows(1_000_000)
    events = await make_events(arena, depth + depth // 10)
    orders = [EventRow.score]
    deep = (await events.search(None, None, OffsetPagination(limit=1, offset=depth), orders=orders)).end_cursor

    def pages(after: str | None) -> Callable[[], Awaitable[object]]:
        async def read() -> None:
            for _ in range(PAGES):
                page = await events.search(None, None, CursorForwardPagination(PAGE, after), orders=orders)
                assert page.end_cursor  # what the next page is asked for with

        return read

    first, at_depth = "first page", f"page at depth {depth:,}"
    contenders = [Contender(first, pages(None), PAGES * PAGE), Contender(at_depth, pages(deep), PAGES * PAGE)]
    await arena.race(f"keyset pages of {PAGE}", contenders, [Goal(at_depth, first, 1 / 1.1)])


@benchmark
async def stream_rows(arena: Arena) -> None:
    number = arena.rows(1_000_000)
    events = await make_events(arena, number)

    async def by_hand() -> None:
        query = "SELECT id, domain_name, name, score, note, created_at FROM bench_events ORDER BY id"
        async with arena.pool.acquire() as connection, connection.transaction(readonly=True):
            async for record in connection.cursor(query, prefetch=1000):
                EventData(*record)

    async def stream() -> None:
        async for _ in events.stream():
            pass

    contenders = [Contender("asyncpg cursor", by_hand, number), Contender("rowsmith", stream, number)]
    await arena.race(f"stream of {number:,} rows", contenders, [Goal("rowsmith", "asyncpg cursor", 0.8)])
