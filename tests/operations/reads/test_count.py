"""Counts: of the whole filtered search, whatever the page; in the page's own snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowsmith import (
    Count,
    CursorBackwardPagination,
    CursorForwardPagination,
    InvalidPagination,
    OffsetPagination,
    Pagination,
    Query,
)
from rowsmith.operations.reads import many
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    DomainScope,
    GroupCreate,
    GroupId,
    GroupRepository,
    GroupRow,
    MemberRow,
    groups_in,
)

PAGES: list[Pagination | None] = [
    None,
    OffsetPagination(limit=1),
    OffsetPagination(limit=1, offset=1),
    OffsetPagination(limit=5, offset=1_000_000),
    CursorForwardPagination(first=1),
    CursorBackwardPagination(last=1),
]


@pytest.mark.parametrize("pagination", PAGES)
async def test_an_exact_count_is_of_the_whole_search(any_tables: WithTables, pagination: Pagination | None) -> None:
    """Past the last page too, soft-deleted rows left out, in one statement more than the page."""
    async with groups_in(any_tables) as groups:
        with count_statements(groups.db) as sent:
            page = await groups.search(None, None, pagination, count=Count.EXACT)
        assert page.total_count == 3
        assert len(sent) == 2
        deleted_too = await groups.search(None, None, pagination, count=Count.EXACT, include_deleted=True)
        assert deleted_too.total_count == 4


async def test_no_count_unless_asked(any_tables: WithTables) -> None:
    """A page alone is one statement."""
    async with groups_in(any_tables) as groups:
        with count_statements(groups.db) as sent:
            page = await groups.search(DomainScope("a"), None, OffsetPagination(limit=1))
        assert page.total_count is None
        assert len(sent) == 1


@pytest.mark.parametrize("count", [Count.EXACT, Count.capped(100), Count.capped(1)])
async def test_a_count_never_leaves_its_scope(any_tables: WithTables, count: Count) -> None:
    """Another tenant's rows are not even counted, whatever the filters say."""
    async with groups_in(any_tables) as groups:
        either = (GroupRow.domain_name == "b") | (GroupRow.domain_name == "a")
        found = [await groups.search(DomainScope(name), [either], count=count) for name in ("a", "b", "c")]
        cap = count.cap or 100
        assert [page.total_count for page in found] == [min(cap, number) for number in (2, 1, 0)]
        assert [await groups.count(DomainScope(name), [either]) for name in ("a", "b", "c")] == [2, 1, 0]
        assert [await groups.exists(DomainScope(name), [either]) for name in ("a", "b", "c")] == [True, True, False]


async def test_exists_filters_multiply_nothing(any_tables: WithTables) -> None:
    """A group with three members that match is one row, in the page and in the count."""
    async with groups_in(any_tables) as groups:
        async with groups.db.begin_session() as db_sess:
            members = [{"group_id": 1, "email": f"{n}@x"} for n in range(3)]
            await db_sess.execute(sa.insert(MemberRow), members)
        with_members = sa.exists().where(MemberRow.group_id == GroupRow.id)
        page = await groups.search(None, [with_members], count=Count.EXACT)
        assert ([group.id for group in page.items], page.total_count) == ([1], 1)
        distinct = GroupRow.id.in_(sa.select(MemberRow.group_id).distinct())
        assert await groups.count(None, [distinct]) == 1
        assert await groups.count(None, [~with_members]) == 2


async def test_a_capped_count_stops_counting(any_tables: WithTables) -> None:
    """Up to the cap it is exact, and the database reads no further."""
    async with groups_in(any_tables) as groups:
        for cap, expected in ((1, 1), (2, 2), (3, 3), (4, 3), (2**63 - 2, 3)):
            with count_statements(groups.db) as sent:
                page = await groups.search(count=Count.capped(cap))
            assert page.total_count == expected
            assert "LIMIT" in sent[-1]


async def test_an_estimate_is_the_planners(with_tables: WithTables) -> None:
    """After ANALYZE it is near the truth, under a scope too, and no row was read for it."""
    async with groups_in(with_tables) as groups:
        async with groups.db.begin_session() as db_sess:
            series = sa.func.generate_series(1, 3000).column_valued("n")
            rows = sa.select(sa.literal("b"), "x" + sa.cast(series, sa.String))
            await db_sess.execute(sa.insert(GroupRow).from_select(["domain_name", "name"], rows))
            await db_sess.execute(sa.text("ANALYZE groups"))
        with count_statements(groups.db) as sent:
            page = await groups.search(DomainScope("b"), None, CursorForwardPagination(first=1), count=Count.ESTIMATED)
        assert page.total_count == pytest.approx(3001, rel=0.1)
        assert sent[-1].startswith("EXPLAIN (FORMAT JSON) SELECT")
        assert await groups.count(DomainScope("b")) == 3001


async def test_an_estimate_is_exact_where_the_database_has_none(sqlite_database: Any) -> None:
    """On SQLite somebody who asks for an estimate gets the number."""
    from rowsmith.testing import tables

    async with groups_in(lambda *rows: tables(sqlite_database, *rows)) as groups:
        assert (await groups.search(DomainScope("a"), count=Count.ESTIMATED)).total_count == 2


async def test_page_and_count_are_one_snapshot(with_tables: WithTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row committed between the two statements is in neither."""
    async with groups_in(with_tables) as groups:
        total: Callable[..., Any] = many._total

        async def write_then_count(*args: Any) -> Any:
            await asyncio.create_task(GroupRepository(groups.db).create(GroupCreate("a", "between")))
            return await total(*args)

        monkeypatch.setattr(many, "_total", write_then_count)
        page = await groups.search(count=Count.EXACT)
        assert (len(page.items), page.total_count) == (3, 3)
        monkeypatch.undo()
        assert (await groups.search(count=Count.EXACT)).total_count == 4


async def test_a_query_brings_its_count(any_tables: WithTables) -> None:
    """Count and page of a request stand in its query, and nowhere beside it."""
    async with groups_in(any_tables) as groups:
        query = Query(pagination=OffsetPagination(limit=1), count=Count.EXACT)
        assert (await groups.search(None, query)).total_count == 3
        assert await groups.count(None, query) == 3
        with pytest.raises(InvalidPagination):
            await groups.search(None, query, count=Count.EXACT)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_counts_and_pages_agree(any_tables: WithTables, data: st.DataObject) -> None:
    """For any rows, conditions and page: count, exists, the exact total and the unpaged rows say the same."""
    rows = data.draw(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.booleans()), max_size=6))
    scope = DomainScope(data.draw(st.sampled_from("ab")))
    filters = [GroupRow.size <= data.draw(st.integers(-1, 3))]
    pagination = OffsetPagination(limit=data.draw(st.integers(1, 3)), offset=data.draw(st.integers(0, 8)))
    async with any_tables(GroupRow) as db:
        groups = GroupRepository(db)
        for number, (domain, size, is_deleted) in enumerate(rows, 1):
            await groups.create(GroupCreate(domain, f"n{number}", size))
            if is_deleted:
                await groups.delete(GroupId(number))
        everything = await groups.search(scope, filters)
        page = await groups.search(scope, filters, pagination, count=Count.EXACT)
        assert page.total_count == len(everything) == await groups.count(scope, filters)
        assert page.items == everything.items[pagination.offset : pagination.offset + pagination.limit]
        assert await groups.exists(scope, filters) is bool(everything.items)
