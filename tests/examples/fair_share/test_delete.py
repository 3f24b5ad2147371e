"""Deleting a fair share, and bringing it back."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import FairShareNotFound, FairShareTaken
from examples.fair_share.types import DomainShareScope, FairShareCreate

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))


async def test_it_is_unseen_until_it_is_restored(shares, make) -> None:
    """With what it weighed; its place is kept meanwhile, so that it is not made anew."""
    made = await make(DE)
    await shares.delete(made.key, scope=DE)
    assert await shares.find(made.key, DE) is None
    assert (await shares.find(made.key, DE, include_deleted=True)).weight == made.weight
    with pytest.raises(FairShareTaken):
        await shares.create(FairShareCreate(made.domain_name, made.group_id, made.user_id), scope=DE)
    assert (await shares.restore(made.key, scope=DE)).weight == made.weight


async def test_another_tenants_stays(shares, make) -> None:
    """It is not there for the caller; nor is one that is deleted already."""
    theirs, deleted = await make(FR), await make(DE)
    await shares.delete(deleted.key, scope=DE)
    for share in (theirs, deleted):
        with pytest.raises(FairShareNotFound) as caught:
            await shares.delete(share.key, scope=DE)
        assert caught.value.error_code == "fair-share_delete_not-found"
    assert await shares.get(theirs.key, FR) == theirs
