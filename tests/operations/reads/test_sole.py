"""Reading one row by something else than its key: the only one that matches, or the first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from company import RegionScope, TeamCard, TeamName, TeamRepository, TeamRow, company
from rowsmith import (
    BatchQuerier,
    InvalidPagination,
    InvalidValue,
    NoPagination,
    Query,
    ScopeError,
    SeveralFound,
)
from rowsmith.filters import Filter, StringFilter
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    CheckedScope,
    DomainNotFound,
    DomainScope,
    GroupData,
    GroupId,
    GroupNotFound,
    GroupRepository,
    GroupRow,
    groups_in,
)

A = DomainScope("a")
ONE = [GroupRow.name == "one"]


class GroupFilter(Filter[GroupRow]):
    name: StringFilter | None = None


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def test_the_only_one_that_matches(groups: GroupRepository) -> None:
    """By a filter model, by conditions or by a Query, in one statement that stops at the second row."""
    for filters in (ONE, GroupFilter(name=StringFilter(equals="one")), Query(tuple(ONE))):
        for method in (groups.get_one, groups.find_one, groups.first):
            with count_statements(groups.db) as sent:
                found = await method(A, filters)
            assert found is not None
            assert found.id == 1
            assert len(sent) == 1
            assert "LIMIT" in sent[0]


async def test_none_that_matches_is_the_domains_not_found(groups: GroupRepository) -> None:
    """Deleted, another tenant's, and not there at all: one answer, which ``find_one`` and ``first`` give as None."""
    for scope, name in ((A, "gone"), (DomainScope("b"), "two"), (A, "no such name")):
        filters = [GroupRow.name == name]
        with pytest.raises(GroupNotFound) as caught:
            await groups.get_one(scope, filters)
        assert caught.value.facts.operation == "get_one"
        assert caught.value.missing == ()
        assert await groups.find_one(scope, filters) is None
        assert await groups.first(scope, filters) is None
    assert (await groups.get_one(A, [GroupRow.name == "gone"], include_deleted=True)).id == 4


async def test_several_that_match_are_an_error_unless_the_first_is_meant(groups: GroupRepository) -> None:
    """The message says what to write; an order says which is the first, and the key decides between equals."""
    for method, operation in ((groups.get_one, "get_one"), (groups.find_one, "find_one")):
        with pytest.raises(SeveralFound, match=r"narrow the filters, or write first\(") as caught:
            await method(None, ONE)
        assert caught.value.facts.operation == operation
        assert await method(A, ONE) is not None
    for orders, id in (([], 1), ([GroupRow.id.desc()], 3), ([GroupRow.name.desc()], 2), ([GroupRow.size], 1)):
        first = await groups.first(orders=orders)
        assert first is not None
        assert first.id == id
    assert await groups.first(None, Query(orders=(GroupRow.id.desc(),))) == await groups.get(GroupId(3))
    with pytest.raises(InvalidPagination):
        await groups.first(None, Query(orders=(GroupRow.id.desc(),)), orders=[GroupRow.id])


async def test_in_another_shape(any_tables: WithTables) -> None:
    """``into`` selects what that class has, related rows included, and takes one statement more for each collection."""
    async with company(any_tables) as db:
        teams = TeamRepository(db)
        for method in (teams.get_one, teams.find_one, teams.first):
            assert await method(None, [TeamRow.name == "core"], into=TeamName) == TeamName("core")
            found = await method(RegionScope("eu"), [TeamRow.name == "core"], into=TeamCard)
            assert found == await teams.get(1, RegionScope("eu"), into=TeamCard)
        with count_statements(teams.db) as sent, pytest.raises(SeveralFound):
            await teams.get_one(into=TeamCard)
        assert len(sent) == 1  # no collection is read of rows that are not given


async def test_as_operation_objects(groups: GroupRepository) -> None:
    """In any session, with the row itself or as data; the existence checks of the scope come before."""
    data, rows = BatchQuerier(GroupRow, into=GroupData), BatchQuerier(GroupRow)
    async with groups.db.begin_readonly_session() as db_sess:
        assert (await data.get_one(db_sess, A, ONE)).name == "one"
        assert type(await rows.find_one(db_sess, A, ONE)) is GroupRow
        assert await data.first(db_sess, A, orders=[GroupRow.id]) == await groups.get(GroupId(1))
        assert await data.exists(db_sess, A, pk=1)
        verbs: list[Callable[..., Awaitable[Any]]] = [data.get_one, data.find_one, data.first]
        for verb in verbs:
            with pytest.raises(DomainNotFound):
                await verb(db_sess, CheckedScope("c"), ONE)


async def test_exists_by_an_id(groups: GroupRepository) -> None:
    """Under scope, filters and deletion as with any read; together with filters both have to hold."""
    there = [await groups.exists(A, id=GroupId(id)) for id in (1, 2, 3, 4, 99)]
    assert there == [True, True, False, False, False]
    assert await groups.exists(id=GroupId(3))
    assert await groups.exists(A, id=GroupId(4), include_deleted=True)
    assert not await groups.exists(A, [GroupRow.name == "two"], id=GroupId(1))
    with pytest.raises(InvalidValue):
        await groups.exists(A, id=None)  # type: ignore[arg-type]
    with pytest.raises(ScopeError, match=r"exists\(scope, id=id\)"):
        await groups.exists(GroupId(1))  # type: ignore[arg-type]
    assert not await groups.exists(A, Query((GroupRow.name == "three",), pagination=NoPagination()))
