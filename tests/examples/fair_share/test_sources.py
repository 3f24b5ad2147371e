"""The db_source's policies, and the cache_source in front of it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from prometheus_client import REGISTRY

from examples.domain.types import DomainName
from examples.fair_share.cache_source import fair_share_cache
from examples.fair_share.errors import FairShareNotFound, WeightNotPositive
from examples.fair_share.policies import policies
from examples.fair_share.repository import FairShareRepository, UsageRepository
from examples.fair_share.types import DomainShareScope, DomainUsageScope, FairSharePatch
from rowsmith import DatabaseUnavailable, OptionalState
from rowsmith.resilience import LayerType

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))


@pytest.mark.parametrize("error, calls", [(DatabaseUnavailable, 2), (WeightNotPositive, 1)])
async def test_a_read_is_tried_again_where_that_is_of_use(error, calls) -> None:
    """What the domain itself refuses is not asked for twice."""
    made = []

    @policies(LayerType.CLIENT, "test").apply()
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


async def test_each_layer_is_measured_under_its_own_name(db, make) -> None:
    """The db_source, the cache in front of it, and the repository of usage, which has no source of its own."""
    shares, usages = FairShareRepository(db, fair_share_cache()), UsageRepository(db)
    await shares.get((await make(DE)).key, DE)
    await usages.count(DomainUsageScope(DE.domain_name))
    measured = {
        sample.labels["layer"]
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("domain") == "repository" and sample.value
    }
    assert {"fair_share_db_source", "fair_share_cache_source", "usage_repository"} <= measured


async def test_the_cache_is_asked_first_and_the_database_behind_it(db, make, sent) -> None:
    """A hit sends nothing, a write ends it, and another tenant does not find it there."""
    shares = FairShareRepository(db, fair_share_cache())
    made = await make(DE)
    assert await shares.get(made.key, DE) == made
    sent.clear()
    assert await shares.get(made.key, DE) == made
    assert sent == []
    changed = await shares.update(made.key, FairSharePatch(weight=OptionalState.update(Decimal(2))), scope=DE)
    assert await shares.get(made.key, DE) == changed
    with pytest.raises(FairShareNotFound):
        await shares.get(made.key, FR)
