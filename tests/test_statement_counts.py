"""How many statements each call sends, on both backends: one, wherever one will do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rowsmith import AnyOf, Count, CursorForwardPagination, OffsetPagination, OptionalState
from rowsmith.testing import WithTables
from support import count_statements
from tenants import CheckedScope, DomainScope, GroupCreate, GroupId, GroupPatch, GroupRepository, GroupRow, groups_in


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def read(stream: Any) -> list[Any]:
    return [item async for item in stream]


A = DomainScope("a")
SIZED = GroupPatch(size=OptionalState.update(1))
PAGE = CursorForwardPagination(first=1)
CALLS: dict[str, tuple[int, Callable[[GroupRepository], Awaitable[Any]]]] = {
    "get": (1, lambda groups: groups.get(GroupId(1))),
    "get in a scope": (1, lambda groups: groups.get(GroupId(1), A)),
    "find": (1, lambda groups: groups.find(GroupId(99))),
    "search": (1, lambda groups: groups.search(A, None, PAGE, orders=[GroupRow.name])),
    "search with an offset": (1, lambda groups: groups.search(A, None, OffsetPagination(limit=1, offset=1))),
    "search with a count": (2, lambda groups: groups.search(A, None, PAGE, count=Count.EXACT)),
    "search with a capped count": (2, lambda groups: groups.search(A, None, PAGE, count=Count.capped(1))),
    "count": (1, lambda groups: groups.count(A)),
    "get_one": (1, lambda groups: groups.get_one(A, [GroupRow.name == "one"])),
    "find_one": (1, lambda groups: groups.find_one(A, [GroupRow.name == "one"])),
    "first": (1, lambda groups: groups.first(A)),
    "exists": (1, lambda groups: groups.exists(A)),
    "stream": (1, lambda groups: read(groups.stream(A))),
    "batch_get": (1, lambda groups: groups.batch_get([GroupId(1), GroupId(2)])),
    "create": (1, lambda groups: groups.create(GroupCreate("a", "new"))),
    "create in a scope": (1, lambda groups: groups.create(GroupCreate("a", "newer"), scope=A)),
    "create in one of two scopes": (2, lambda groups: groups.create(GroupCreate("a", "newest"), scope=AnyOf(A, A))),
    "update": (1, lambda groups: groups.update(GroupId(1), SIZED)),
    "update in a scope": (1, lambda groups: groups.update(GroupId(1), SIZED, scope=A)),
    "update in one of two scopes": (1, lambda groups: groups.update(GroupId(1), SIZED, scope=AnyOf(A, A))),
    "update of nothing": (1, lambda groups: groups.update(GroupId(1), GroupPatch())),
    "delete": (1, lambda groups: groups.delete(GroupId(2))),
    "restore": (1, lambda groups: groups.restore(GroupId(2))),
    "purge": (1, lambda groups: groups.purge(GroupId(2))),
    "an existence check": (2, lambda groups: groups.count(CheckedScope("a"))),
}


def is_savepoint(statement: str) -> bool:
    return "SAVEPOINT" in statement


async def test_statements_of_each_call(groups: GroupRepository) -> None:
    """An event on the engine counts what is really sent; savepoints are not counted here."""
    for name, (expected, call) in CALLS.items():
        with count_statements(groups.db) as sent:
            await call(groups)
        assert len([statement for statement in sent if not is_savepoint(statement)]) == expected, (name, sent)


async def test_only_what_the_data_needs_is_selected(groups: GroupRepository) -> None:
    """Columns that no field names stay in the database."""
    with count_statements(groups.db) as sent:
        await groups.get(GroupId(1))
    assert "created_at" in sent[0]
    assert "deleted_at," not in sent[0].split("FROM")[0]
