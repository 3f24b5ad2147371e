"""Changing many groups at once."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.group.errors import GroupNameTaken
from examples.group.types import DomainScope, GroupPatch
from rowsmith import InvalidValue, OptionalState

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
SEVEN = GroupPatch(population=OptionalState.update(7))


async def test_all_of_the_tenant_are_changed_and_the_others_missing(groups, make) -> None:
    """In the order of the ids given."""
    first, theirs, second = await make(DE), await make(FR), await make(DE)
    result = await groups.batch_update([second.id, theirs.id, first.id], SEVEN, scope=DE)
    assert [(group.id, group.population) for group in result.succeeded] == [(second.id, 7), (first.id, 7)]
    assert result.missing == [theirs.id]
    assert await groups.get(theirs.id, FR) == theirs


async def test_none_is_changed_where_one_is_refused(groups, make) -> None:
    """Two groups of a domain cannot have one name; a partial batch keeps the one that can."""
    first, second = await make(DE), await make(DE)
    same = GroupPatch(name=OptionalState.update(f"{first.name} and {second.name}"))
    with pytest.raises(GroupNameTaken):
        await groups.batch_update([first.id, second.id], same, scope=DE)
    assert await groups.batch_get([first.id, second.id], scope=DE) == [first, second]
    partial = await groups.batch_update_partial({first.id: same, second.id: same}, scope=DE)
    assert [failure.index for failure in partial.failed] == [1]


async def test_an_id_that_stands_twice_is_refused(groups, make) -> None:
    """Before anything is written."""
    made = await make(DE)
    with pytest.raises(InvalidValue):
        await groups.batch_update([made.id, made.id], SEVEN, scope=DE)
    assert await groups.get(made.id, DE) == made
