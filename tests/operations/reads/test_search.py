"""Searches: what is prepared without a database, and what a page is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg

from rowsmith import (
    Count,
    CursorForwardPagination,
    InvalidCursor,
    InvalidFilter,
    InvalidPagination,
    InvalidValue,
    OffsetPagination,
    Query,
)
from rowsmith.execution import execute
from rowsmith.filters import Filter, StringFilter
from rowsmith.operations import make_entity
from rowsmith.operations.reads.search import as_query, prepare
from rowsmith.pagination import CursorCodec
from rowsmith.scope import NO_LIMITS, resolve_scope
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    DomainRow,
    DomainScope,
    GroupData,
    GroupRepository,
    GroupRow,
    MemberRow,
    WideRow,
    groups_in,
)

ENTITY = make_entity(GroupRow, GroupData)
DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]


class GroupFilter(Filter[GroupRow]):
    name: StringFilter | None = None


class MemberFilter(Filter[MemberRow]):
    email: StringFilter | None = None


def sql_of(query: Query) -> str:
    statement = prepare(ENTITY, NO_LIMITS, DIALECT, query).statement(CursorCodec())
    return " ".join(str(statement).split())


def test_a_page_is_asked_for_with_one_row_more() -> None:
    """LIMIT is the size and one, to know whether there is a next page."""
    statement = prepare(ENTITY, NO_LIMITS, DIALECT, Query(pagination=CursorForwardPagination(first=10)))
    compiled = statement.statement(CursorCodec()).compile()
    assert 11 in compiled.params.values()


def test_what_the_data_selects_already_is_not_selected_again() -> None:
    """Cursor values come from the data's own columns where they can."""
    assert sql_of(Query()).count("groups.id") == 2  # selected and sorted by
    assert "rowsmith_key" not in sql_of(Query(orders=(GroupRow.name.desc(),)))
    assert "lower(groups.name) AS rowsmith$key_0" in sql_of(Query(orders=(sa.func.lower(GroupRow.name),)))


def test_orders_end_in_the_key() -> None:
    """The order is total, whatever was asked for."""
    assert (
        sql_of(Query(orders=(GroupRow.name.desc(),)))
        .split("ORDER BY ")[1]
        .startswith("groups.name DESC, groups.id DESC")
    )


@pytest.mark.parametrize(
    "filters",
    [
        [DomainRow.name == "a"],
        [GroupRow.name == DomainRow.name],
        [MemberRow.group_id == GroupRow.id],
        MemberFilter(email=StringFilter(equals="x")),
    ],
    ids=["other", "compared", "joined", "filter"],
)
def test_another_table_is_refused(filters: Any) -> None:
    """A condition on another row would multiply rows, or match by accident."""
    with pytest.raises(InvalidFilter, match="another table"):
        prepare(ENTITY, NO_LIMITS, DIALECT, as_query(filters))


def test_an_order_of_another_table_is_refused() -> None:
    """Sorting by another row would bring its table into FROM."""
    with pytest.raises(InvalidFilter, match=r"an order of GroupRow refers to .*scalar_subquery"):
        prepare(ENTITY, NO_LIMITS, DIALECT, as_query(None, None, [DomainRow.name]))
    subquery = sa.select(DomainRow.name).where(DomainRow.name == GroupRow.domain_name).scalar_subquery()
    assert prepare(ENTITY, NO_LIMITS, DIALECT, as_query(None, None, [subquery])).terms


@pytest.mark.parametrize("filters", [GroupRow.name == "x", "name", {"name": "x"}, 5, {GroupRow.name == "x"}])
def test_what_is_no_filter_is_refused(filters: Any) -> None:
    """One condition alone stands in a list, too."""
    with pytest.raises(InvalidFilter, match=r"write \[condition\]"):
        as_query(filters)


def test_a_query_stands_alone() -> None:
    """Page, orders and count are given in one place."""
    for extra in ({"pagination": OffsetPagination(1)}, {"orders": [GroupRow.name]}, {"count": Count.EXACT}):
        with pytest.raises(InvalidPagination):
            as_query(Query(), **extra)
    assert as_query(Query(count=Count.EXACT)) == Query(count=Count.EXACT)


def test_filters_and_conditions_mean_the_same() -> None:
    """A filter model is its conditions."""
    by_filter = prepare(ENTITY, NO_LIMITS, DIALECT, as_query(GroupFilter(name=StringFilter(equals="x"))))
    by_hand = prepare(ENTITY, NO_LIMITS, DIALECT, as_query([GroupRow.name == "x"]))
    later: list[Callable[[], Any]] = [lambda: GroupRow.name == "x"]
    by_callable = prepare(ENTITY, NO_LIMITS, DIALECT, as_query(later))
    texts = {str(search.statement(CursorCodec())) for search in (by_filter, by_hand, by_callable)}
    assert len(texts) == 1


# Each is refused by PostgreSQL's driver, too; see below.
ODD = [
    WideRow.label == "a\x00",
    WideRow.label.contains("\ud800"),
    WideRow.label.in_(["a", "\x00"]),
    WideRow.small == 2**15,
    WideRow.normal > 2**31,
    WideRow.normal.in_([1, -(2**31) - 1]),
    WideRow.big <= 2**63,
    WideRow.seen_at > sa.literal("yesterday", sa.DateTime(True)),
]
NAN = math.nan
ODD_HERE = [WideRow.ratio == NAN, WideRow.ratio < math.inf, WideRow.price > Decimal("NaN")]
WIDE = make_entity(WideRow)


@pytest.mark.parametrize("condition", [*ODD, *ODD_HERE], ids=str)
def test_odd_values_in_conditions_are_refused_before_anything_is_sent(condition: Any) -> None:
    """The same answer on every backend, in filters, in scopes and in subqueries; without the value."""
    with pytest.raises(InvalidValue) as caught:
        prepare(WIDE, NO_LIMITS, DIALECT, as_query([condition]))
    assert str(2**15) not in str(caught.value).replace("-32768 to 32767", "")
    nested = sa.exists().where(condition)
    with pytest.raises(InvalidValue):
        prepare(ENTITY, NO_LIMITS, DIALECT, as_query([nested]))


@pytest.mark.parametrize("condition", ODD, ids=str)
async def test_postgresql_says_the_same_of_odd_values(with_tables: WithTables, condition: Any) -> None:
    """A statement that was not looked at before gets InvalidValue from the driver, never a fault of the database."""
    async with with_tables(WideRow) as db, db.begin_session() as db_sess:
        with pytest.raises(InvalidValue):
            async with db_sess.begin_nested():
                await execute(db_sess, sa.select(WideRow.id).where(condition))


async def test_a_text_longer_than_its_column_is_a_fair_question(any_tables: WithTables) -> None:
    """The answer is none."""
    async with groups_in(any_tables) as groups:
        assert await groups.count(None, [GroupRow.domain_name == "x" * 21]) == 0
        assert await groups.count(DomainScope("x" * 21)) == 0


async def test_a_cursor_is_for_its_own_search(any_tables: WithTables) -> None:
    """Another order, filter or scope does not take it, and nor does one that includes the deleted."""
    async with groups_in(any_tables) as groups:
        page = await groups.search(DomainScope("a"), None, CursorForwardPagination(first=1))
        follow = CursorForwardPagination(first=1, after=page.end_cursor)
        assert (await groups.search(DomainScope("a"), None, follow)).items[0].id == 2
        with pytest.raises(InvalidCursor) as caught:
            await groups.search(DomainScope("b"), None, follow)
        assert caught.value.error_code == "group_search_invalid-cursor"
        for other in (
            groups.search(None, None, follow),
            groups.search(DomainScope("a"), [GroupRow.size == 0], follow),
            groups.search(DomainScope("a"), None, follow, orders=[GroupRow.name]),
            groups.search(DomainScope("a"), None, follow, include_deleted=True),
        ):
            with pytest.raises(InvalidCursor):
                await other


async def test_one_search_is_one_statement(any_tables: WithTables) -> None:
    """Whatever the mode of paging."""
    async with groups_in(any_tables) as groups:
        for pagination in (None, OffsetPagination(1), CursorForwardPagination(1)):
            with count_statements(groups.db) as sent:
                await groups.search(DomainScope("a"), GroupFilter(name=StringFilter(contains="o")), pagination)
            assert len(sent) == 1


async def test_values_are_bound_never_written_into_the_statement(any_tables: WithTables) -> None:
    """What a client sends is a parameter."""
    async with groups_in(any_tables) as groups:
        with count_statements(groups.db) as sent:
            await groups.search(DomainScope("secret'; --"), GroupFilter(name=StringFilter(contains="secret%")))
        assert "secret" not in sent[0]


def test_a_scope_stands_before_the_filters() -> None:
    """All conditions are in one WHERE."""
    limits = resolve_scope(DomainScope("a"), ENTITY.info)
    text = str(prepare(ENTITY, limits, DIALECT, as_query([GroupRow.name == "x"])).counted())
    assert text.index("groups.domain_name =") < text.index("groups.name =")


def test_repositories_know_their_entity() -> None:
    """What a search is prepared with is there without a database."""
    assert GroupRepository.entity.shape.names == ENTITY.shape.names
