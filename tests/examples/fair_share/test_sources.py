"""The db_source's policies, and the cache_source in front of it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from examples.domain.types import DomainName
from examples.fair_share.cache_source import fair_share_cache
from examples.fair_share.errors import FairShareNotFound, WeightNotPositive
from examples.fair_share.policies import policies
from examples.fair_share.repository import FairShareRepository
from examples.fair_share.types import DomainShareScope, FairSharePatch
from rowsmith import DatabaseUnavailable, OptionalState
from support import count_statements

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))


@pytest.mark.parametrize("error, calls", [(DatabaseUnavailable, 2), (WeightNotPositive, 1)])
async def test_a_read_is_tried_again_where_that_is_of_use(error, calls) -> None:
    """What the domain itself refuses is not asked for twice."""
    made = []

    @policies("test").apply()
    async def read() -> str:
        made.append(1)
        if len(made) == 1:
            raise error
        return "read"

    if calls == 1:
        with pytest.raises(error):
            await read()
    else:
        assert await read() == "read"
    assert len(made) == calls


async def test_the_cache_is_asked_first_and_the_database_behind_it(db, make) -> None:
    """A hit sends nothing, a write ends it, and another tenant does not find it there."""
    shares = FairShareRepository(db, fair_share_cache())
    made = await make(DE)
    assert await shares.get(made.key, DE) == made
    with count_statements(db) as sent:
        assert await shares.get(made.key, DE) == made
    assert sent == []
    changed = await shares.update(made.key, FairSharePatch(weight=OptionalState.update(Decimal(2))), scope=DE)
    assert await shares.get(made.key, DE) == changed
    with pytest.raises(FairShareNotFound):
        await shares.get(made.key, FR)
