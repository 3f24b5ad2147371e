"""A search without a page: the first rows, as many as the class says, and never all of them by accident."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import sqlalchemy as sa

from rowsmith import (
    BatchQuerier,
    CursorForwardPagination,
    DBSource,
    MappingError,
    NoPagination,
    Query,
    Repository,
)
from rowsmith.filters import Filter, NumberFilter, OrderBy, SearchRequest
from rowsmith.testing import WithTables
from tenants import CounterData, CounterRow, ThingData, ThingRepository, ThingRow


class Things(ThingRepository):
    scope_required = False


class FewThings(Things):
    default_page_size = 3


class ThingFilter(Filter[ThingRow]):
    id: NumberFilter | None = None


class ThingOrder(OrderBy[ThingRow]):
    field: Literal["id", "name"]


class ThingSearch(SearchRequest[ThingFilter, ThingOrder]):
    pass


class TwoAtATime(ThingSearch):
    max_page_size = 2


class FiveAtFirst(ThingSearch):
    default_page_size = 5


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[Things]:
    async with any_tables(ThingRow) as db:
        rows = [{"id": id, "tenant": "a", "name": f"name {id}", "uses": 0, "version": 1} for id in range(1, 103)]
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(ThingRow), rows)
        yield Things(db)


async def test_without_pagination_a_page_of_the_default_size(things: Things) -> None:
    """100 rows, or as many as the class says, with a cursor to the rest; all of them only where that is said."""
    page = await things.search()
    assert ([thing.id for thing in page], page.has_next_page) == ([*range(1, 101)], True)
    rest = await things.search(None, None, CursorForwardPagination(10, after=page.end_cursor))
    assert [thing.id for thing in rest] == [101, 102]
    everything = await things.search(None, None, NoPagination())
    assert (len(everything.items), everything.has_next_page) == (102, False)
    assert len((await FewThings(things.db).search()).items) == 3


async def test_however_a_search_is_made(things: Things) -> None:
    """With a prepared query, in another shape, on a source or an operation object of one's own."""
    few, conditions = FewThings(things.db), (ThingRow.id > 10,)
    assert [thing.id for thing in await few.search(None, Query(conditions))] == [11, 12, 13]
    assert [thing.id for thing in await few.search(None, list(conditions), into=ThingData)] == [11, 12, 13]
    assert len((await few.search(None, Query(conditions, pagination=NoPagination()))).items) == 92
    source = DBSource(things.db, ThingRow, into=ThingData, default_page_size=4)
    assert len((await source.read(source.batch_querier.search)).items) == 4
    async with things.db.begin_readonly_session() as db_sess:
        assert len((await BatchQuerier(ThingRow, default_page_size=2).search(db_sess)).items) == 2
        assert len((await BatchQuerier(ThingRow).search(db_sess)).items) == 100


async def test_a_request_that_asks_for_no_page(things: Things) -> None:
    """It gets what the repository's class says, or its own; and never more than it may ask for."""
    few = FewThings(things.db)
    pages = {kind: kind.model_validate({}).to_query() for kind in (ThingSearch, FiveAtFirst, TwoAtATime)}
    assert [len((await few.search(None, query)).items) for query in pages.values()] == [3, 5, 2]
    assert [len((await things.search(None, query)).items) for query in pages.values()] == [100, 5, 2]


async def test_pages_are_no_part_of_what_is_counted_changed_and_streamed(things: Things) -> None:
    """A query without a page is one of conditions alone."""
    few, query = FewThings(things.db), Query((ThingRow.id > 10,))
    assert await few.count(None, query) == 92
    assert len([thing async for thing in few.stream(None, query)]) == 92
    assert await few.delete_where(query) == 92


@pytest.mark.parametrize("size", [0, -1, 10_001, "5", None, True, 2.0])
def test_a_size_that_cannot_be_is_told_when_the_class_is_made(size: Any) -> None:
    """Of a repository, an operation object, and a request."""
    with pytest.raises(MappingError, match="default_page_size"):

        class Wrong(Repository[CounterRow, CounterData, int]):
            default_page_size = size

    with pytest.raises(MappingError, match="default_page_size"):
        BatchQuerier(CounterRow, default_page_size=size)
    if size is not None:
        with pytest.raises(MappingError, match="default_page_size"):

            class WrongSearch(ThingSearch):
                default_page_size = size

    with pytest.raises(MappingError, match="max_page_size"):

        class WrongMost(ThingSearch):
            max_page_size = size


def test_a_request_gives_no_more_than_it_may_be_asked_for() -> None:
    """A default over the maximum is told when the class is made."""
    with pytest.raises(MappingError, match="default_page_size"):

        class Wrong(TwoAtATime):
            default_page_size = 3
