"""Changing many fair shares at once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import WeightNotPositive
from examples.fair_share.types import DomainShareScope, FairSharePatch
from rowsmith import OptionalState, StaleVersion

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))


def weighing(weight: int) -> FairSharePatch:
    return FairSharePatch(weight=OptionalState.update(Decimal(weight)))


async def test_all_of_the_tenant_are_changed_and_the_others_missing(shares, make) -> None:
    """In the order of the keys given."""
    first, theirs, second = await make(DE), await make(FR), await make(DE)
    result = await shares.batch_update([second.key, theirs.key, first.key], weighing(7), scope=DE)
    assert [(share.key, share.weight) for share in result.succeeded] == [(second.key, 7), (first.key, 7)]
    assert result.missing == [theirs.key]
    assert await shares.get(theirs.key, FR) == theirs


async def test_none_is_changed_where_one_is_stale_or_refused(shares, make) -> None:
    """All of them, or none."""
    first, second = await make(DE), await make(DE)
    patches = {first.key: weighing(2), second.key: weighing(0)}
    with pytest.raises(WeightNotPositive):
        await shares.batch_update_each(patches, scope=DE)
    versions = {first.key: 1, second.key: 9}
    with pytest.raises(StaleVersion) as caught:
        await shares.batch_update(list(versions), weighing(2), scope=DE, expected_versions=versions)
    assert caught.value.stale == (second.key,)
    assert await shares.batch_get([first.key, second.key], scope=DE) == [first, second]
