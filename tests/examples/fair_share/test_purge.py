"""Removing a fair share for good."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import FairShareNotFound
from examples.fair_share.types import DomainShareScope, DomainUsageScope, Usage, UsageKey

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))
DE_USAGE = DomainUsageScope(DE.domain_name)
TODAY = date(2024, 5, 1)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_its_usage_goes_with_it(shares, usages, make, is_deleted) -> None:
    """Deleted before or not."""
    made = await make(DE)
    await usages.record([Usage(*made.key, day=TODAY, used=Decimal(1))], DE_USAGE)
    if is_deleted:
        await shares.delete(made.key, scope=DE)
    assert (await shares.purge(made.key, scope=DE)).key == made.key
    assert await shares.find(made.key, DE, include_deleted=True) is None
    assert await usages.find(UsageKey(*made.key, TODAY), DE_USAGE) is None


async def test_another_tenants_stays(shares, make) -> None:
    """It is not there for the caller; nor is one that is purged already."""
    theirs, purged = await make(FR), await make(DE)
    await shares.purge(purged.key, scope=DE)
    for share in (theirs, purged):
        with pytest.raises(FairShareNotFound) as caught:
            await shares.purge(share.key, scope=DE)
        assert caught.value.error_code == "fair-share_purge_not-found"
    assert await shares.get(theirs.key, FR) == theirs
