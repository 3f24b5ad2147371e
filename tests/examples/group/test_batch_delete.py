"""Deleting many groups at once, and bringing them back."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.group.errors import GroupNameTaken
from examples.group.types import DomainScope
from rowsmith import InvalidValue

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))


async def test_all_of_the_tenant_are_deleted_and_the_others_missing(groups, make) -> None:
    """One that is deleted already is missing too; restoring brings them back."""
    first, theirs, second = await make(DE), await make(FR), await make(DE)
    result = await groups.batch_delete([first.id, theirs.id], scope=DE)
    assert ([group.id for group in result.succeeded], result.missing) == ([first.id], [theirs.id])
    again = await groups.batch_delete([first.id, second.id], scope=DE)
    assert ([group.id for group in again.succeeded], again.missing) == ([second.id], [first.id])
    assert await groups.find(first.id, DE) is None
    assert await groups.get(theirs.id, FR) == theirs
    assert len((await groups.batch_restore([first.id, second.id], scope=DE)).succeeded) == 2


async def test_none_comes_back_where_the_name_of_one_is_taken(groups, make) -> None:
    """All of them, or none."""
    first, second = await make(DE), await make(DE)
    await groups.batch_delete([first.id, second.id], scope=DE)
    await make(DE, name=second.name)
    with pytest.raises(GroupNameTaken):
        await groups.batch_restore([first.id, second.id], scope=DE)
    assert await groups.find(first.id, DE) is None


async def test_an_id_that_stands_twice_is_refused(groups, make) -> None:
    """Before anything is written."""
    made = await make(DE)
    with pytest.raises(InvalidValue):
        await groups.batch_delete([made.id, made.id], scope=DE)
    assert await groups.find(made.id, DE) == made
