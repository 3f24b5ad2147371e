"""The example group with a cache_source: the cache first, the database behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.group.cache_source import group_cache
from examples.group.errors import GroupNotFound
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupPatch
from redis_server import redis_server
from rowsmith import OptionalState, Unscoped
from rowsmith.testing import WithTables
from support import count_statements

DE, FR = DomainName("DE"), DomainName("FR")
EVERYBODY = Unscoped(reason="a test looks at everything")


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Give each kind of cache."""
    if request.param == "memory":
        yield group_cache()
        return
    with redis_server() as server:
        async with server.client() as client:
            yield group_cache(client)


async def test_the_cache_is_asked_first_and_the_database_behind_it(with_tables: WithTables, cache: Any) -> None:
    """A hit sends nothing; a write ends it; a scope that asks whether the domain is there goes to the database."""
    async with with_tables(GroupMemberRow, GroupRow, DomainRow) as db:
        await DomainRepository(db).create(DomainCreate(DE, "Germany", Continent.EUROPE))
        await DomainRepository(db).create(DomainCreate(FR, "France", Continent.EUROPE))
        groups = GroupRepository(db, cache_source=cache)
        made = await groups.create(
            GroupCreate(DE, "Berlin", tags=["capital"], place={"lat": 52.5}), scope=DomainScope(DE)
        )
        assert await groups.get(made.id, EVERYBODY) == made
        with count_statements(db) as sent:
            assert await groups.get(made.id, EVERYBODY) == made
            assert await groups.batch_get([made.id], scope=EVERYBODY) == [made]
        assert sent == []
        patch = GroupPatch(name=OptionalState.update("Bonn"))
        await groups.update(made.id, patch, scope=DomainScope(DE))
        assert (await groups.get(made.id, EVERYBODY)).name == "Bonn"
        with pytest.raises(GroupNotFound):
            await groups.get(made.id, DomainScope(FR))
