"""The example group with a cache_source: the cache first, the database behind it."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.group.cache_source import group_cache
from examples.group.errors import GroupNotFound
from examples.group.repository import GroupRepository
from examples.group.types import DomainScope, GroupPatch
from rowsmith import OptionalState, Unscoped

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
EVERYBODY = Unscoped(reason="a test looks at everything")


async def test_the_cache_is_asked_first_and_the_database_behind_it(db, make, sent) -> None:
    """A hit sends nothing; a write ends it; a scope that asks whether the domain is there goes to the database."""
    groups = GroupRepository(db, cache_source=group_cache())
    made = await make(DE, tags=["capital"], place={"lat": 52.5})
    assert await groups.get(made.id, EVERYBODY) == made
    sent.clear()
    assert await groups.get(made.id, EVERYBODY) == made
    assert await groups.batch_get([made.id], scope=EVERYBODY) == [made]
    assert sent == []
    changed = await groups.update(made.id, GroupPatch(population=OptionalState.update(7)), scope=DE)
    assert await groups.get(made.id, EVERYBODY) == changed
    with pytest.raises(GroupNotFound):
        await groups.get(made.id, FR)
