"""Removing many groups for good."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.group.types import DomainScope
from rowsmith import InvalidValue

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))


async def test_all_of_the_tenant_are_removed_and_the_others_missing(groups, make) -> None:
    """Deleted before or not; what they were is given back."""
    first, theirs, second = await make(DE), await make(FR), await make(DE)
    await groups.delete(second.id, scope=DE)
    result = await groups.batch_purge([first.id, theirs.id, second.id], scope=DE)
    assert ([group.name for group in result.succeeded], result.missing) == ([first.name, second.name], [theirs.id])
    assert await groups.find(second.id, DE, include_deleted=True) is None
    assert await groups.get(theirs.id, FR) == theirs


async def test_an_id_that_stands_twice_is_refused(groups, make) -> None:
    """Before anything is removed."""
    made = await make(DE)
    with pytest.raises(InvalidValue):
        await groups.batch_purge([made.id, made.id], scope=DE)
    assert await groups.get(made.id, DE) == made
