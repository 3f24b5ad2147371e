"""Keyset pages at depth: PostgreSQL reads the page and no more, wherever it lies.

``ROWSMITH_DEPTH`` says how deep, in rows; a million takes half a minute.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Condition,
    CursorBackwardPagination,
    CursorForwardPagination,
    OffsetPagination,
    Order,
    Pagination,
    Repository,
    SearchScope,
)
from rowsmith.operations.reads.search import as_query, prepare
from rowsmith.pagination import CursorCodec
from rowsmith.scope import resolve_scope
from rowsmith.testing import WithTables

DEPTH = int(os.environ.get("ROWSMITH_DEPTH", "100000"))
SIZE = 50
TIES = 8


class Base(DeclarativeBase):
    pass


class EventRow(Base):
    __tablename__ = "events"
    __table_args__ = (
        sa.Index("ix_events_score_id", "score", "id"),
        sa.Index("ix_events_tenant_score_id", "tenant", "score", "id"),
        sa.Index("ix_events_score_desc_label_id", sa.text("score DESC"), "label", "id"),
        sa.Index("ix_events_grade_desc_id_desc", sa.text("grade DESC"), sa.text("id DESC")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    score: Mapped[int]
    grade: Mapped[int | None]
    label: Mapped[str]


@dataclass(frozen=True)
class EventData:
    id: int
    score: int
    label: str


@dataclass(frozen=True)
class TenantScope(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [EventRow.tenant == self.tenant]


class EventRepository(Repository[EventRow, EventData, int]):
    pass


@asynccontextmanager
async def events(made: WithTables) -> AsyncGenerator[EventRepository]:
    """Give a repository over twice as many rows as the depth: one in ten is tenant a's, scores come in eights."""
    async with made(EventRow) as db:
        async with db.begin_session() as db_sess:
            n = sa.func.generate_series(1, 2 * DEPTH).column_valued("n")
            values = sa.select(
                sa.case((n % 10 == 0, "a"), else_="b"), n / 8, sa.func.nullif(n / 4, 7), sa.func.concat("label ", n % 5)
            )
            columns = ["tenant", "score", "grade", "label"]
            await db_sess.execute(sa.insert(EventRow).from_select(columns, values))
        async with db.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(sa.text("VACUUM ANALYZE events"))
        yield EventRepository(db)


async def cursor_at(events: EventRepository, orders: list[Order], scope: SearchScope | None, depth: int) -> str:
    """Give the cursor of the row at a depth, found the slow way."""
    page = await events.search(scope, None, OffsetPagination(limit=1, offset=depth), orders=orders)
    return page.cursors[0]


async def plan_of(
    events: EventRepository, pagination: Pagination, orders: list[Order], scope: SearchScope | None
) -> dict[str, Any]:
    """Run the statement of a page under EXPLAIN ANALYZE."""
    limits = resolve_scope(scope, events.entity.info)
    search = prepare(events.entity, limits, events.db.engine.dialect, as_query(None, pagination, orders))
    sql = search.statement(CursorCodec()).compile(events.db.engine, compile_kwargs={"literal_binds": True})
    async with events.db.engine.connect() as connection:
        explained = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
    plan: dict[str, Any] = explained.scalar_one()[0]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def rows_read(plan: dict[str, Any]) -> int:
    """Every row that any scan touched, those thrown away by a filter included."""
    scans = [node for node in nodes(plan["Plan"]) if "Scan" in node["Node Type"]]
    assert scans
    return sum(
        (round(scan["Actual Rows"]) + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"] for scan in scans
    )


ORDERS: list[tuple[str, list[Order], SearchScope | None]] = [
    ("key", [], None),
    ("key, descending", [EventRow.id.desc()], None),
    ("not unique", [EventRow.score], None),
    ("not unique, descending", [EventRow.score.desc()], None),
    ("under a scope", [EventRow.score], TenantScope("a")),
    ("mixed directions", [EventRow.score.desc(), EventRow.label.asc()], None),
    ("nullable, descending", [EventRow.grade.desc()], None),
]


def pages_at(cursor: str, orders: list[Order]) -> list[Pagination]:
    """Give both pages beside a cursor; backwards, NULLs that came first come last, where no index range begins."""
    forward = CursorForwardPagination(first=SIZE, after=cursor)
    nullable = bool(orders) and "grade" in str(orders[0])
    return [forward] if nullable else [forward, CursorBackwardPagination(last=SIZE, before=cursor)]


async def test_a_page_at_depth_reads_the_page_and_no_more(with_tables: WithTables) -> None:
    """For every order with an index, forward and backward: at most the page, the row after it, and ties."""
    async with events(with_tables) as repository:
        for name, orders, scope in ORDERS:
            cursor = await cursor_at(repository, orders, scope, DEPTH if scope is None else DEPTH // 10)
            for page in pages_at(cursor, orders):
                plan = await plan_of(repository, page, orders, scope)
                types = {node["Node Type"] for node in nodes(plan["Plan"])}
                assert types <= {"Limit", "Index Scan", "Index Only Scan"}, (name, page, types)
                # A range that starts at the first term passes over the rows that tie with the cursor's there.
                assert rows_read(plan) <= SIZE + 1 + TIES, (name, page)
