"""Removing a group for good."""

from __future__ import annotations

from uuid import UUID

import pytest

from examples.domain.repository import DomainRepository
from examples.domain.types import DomainName
from examples.group.errors import GroupNotFound
from examples.group.types import DomainScope, UserId, UserScope
from rowsmith import StillReferenced

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
ADA = UserId(UUID(int=1))


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_its_members_go_with_it(groups, make, is_deleted) -> None:
    """Deleted before or not."""
    made = await make(DE)
    await groups.add_member(made.id, ADA, scope=DE)
    if is_deleted:
        await groups.delete(made.id, scope=DE)
    assert (await groups.purge(made.id, scope=DE)).name == made.name
    assert await groups.find(made.id, DE, include_deleted=True) is None
    assert await groups.count(UserScope(ADA)) == 0


async def test_a_domain_with_groups_cannot_be_purged(db, make) -> None:
    """The other end of the foreign key is told apart."""
    await make(DE)
    with pytest.raises(StillReferenced):
        await DomainRepository(db).purge(DE.domain_name)


async def test_another_tenants_stays(groups, make) -> None:
    """It is not there for the caller; nor is one that is purged already."""
    theirs, purged = await make(FR), await make(DE)
    await groups.purge(purged.id, scope=DE)
    for group in (theirs, purged):
        with pytest.raises(GroupNotFound) as caught:
            await groups.purge(group.id, scope=DE)
        assert caught.value.error_code == "group_purge_not-found"
    assert await groups.get(theirs.id, FR) == theirs
