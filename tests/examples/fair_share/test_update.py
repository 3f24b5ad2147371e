"""Changing a fair share."""

from __future__ import annotations

from decimal import Decimal

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import FairShareNotFound, WeightNotPositive
from examples.fair_share.types import DomainShareScope, FairSharePatch
from rowsmith import OptionalState, StaleVersion

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))
HEAVIER = FairSharePatch(weight=OptionalState.update(Decimal(3)))


async def test_two_editors_do_not_overwrite_each_other(shares, make) -> None:
    """The second of two writes that started from one version is stale, and is no "not found"."""
    made = await make(DE)
    after = await shares.update(made.key, HEAVIER, scope=DE, expected_version=made.version)
    assert (after.weight, after.version) == (Decimal(3), made.version + 1)
    with pytest.raises(StaleVersion):
        await shares.update(made.key, HEAVIER, scope=DE, expected_version=made.version)
    assert await shares.get(made.key, DE) == after


async def test_a_weight_stays_above_nothing(shares, make) -> None:
    """And the share as it was."""
    made = await make(DE)
    with pytest.raises(WeightNotPositive) as caught:
        await shares.update(made.key, FairSharePatch(weight=OptionalState.update(Decimal(0))), scope=DE)
    assert caught.value.error_code == "fair-share_update_weight-not-positive"
    assert await shares.get(made.key, DE) == made


async def test_another_tenants_or_a_deleted_one_is_not_changed(shares, make) -> None:
    """Neither is there for the caller."""
    theirs, deleted = await make(FR), await make(DE)
    await shares.delete(deleted.key, scope=DE)
    for share in (theirs, deleted):
        with pytest.raises(FairShareNotFound):
            await shares.update(share.key, HEAVIER, scope=DE)
    assert await shares.get(theirs.key, FR) == theirs
