"""Deleting a group, and bringing it back."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.group.errors import GroupNameTaken, GroupNotFound
from examples.group.types import DomainScope

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))


async def test_it_is_unseen_until_it_is_restored(groups, make) -> None:
    """And then it is what it was."""
    made = await make(DE)
    await groups.delete(made.id, scope=DE)
    assert await groups.find(made.id, DE) is None
    assert await groups.find(made.id, DE, include_deleted=True) is not None
    assert (await groups.restore(made.id, scope=DE)).name == made.name


async def test_its_name_is_free_again(groups, make) -> None:
    """Another group takes it, and then the restore is refused."""
    made = await make(DE)
    await groups.delete(made.id, scope=DE)
    assert (await make(DE, name=made.name)).id != made.id
    with pytest.raises(GroupNameTaken):
        await groups.restore(made.id, scope=DE)


async def test_another_tenants_stays(groups, make) -> None:
    """It is not there for the caller; nor is one that is deleted already."""
    theirs, deleted = await make(FR), await make(DE)
    await groups.delete(deleted.id, scope=DE)
    for group in (theirs, deleted):
        with pytest.raises(GroupNotFound) as caught:
            await groups.delete(group.id, scope=DE)
        assert caught.value.error_code == "group_delete_not-found"
    assert await groups.get(theirs.id, FR) == theirs
