"""Reading groups by their ids."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.group.errors import GroupNotFound
from examples.group.types import DomainScope, GroupId
from rowsmith import ScopeRequired

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
NONE = GroupId(2**31 - 1)


async def test_the_group_is_given(groups, make) -> None:
    """By get and by find."""
    made = await make(DE)
    assert await groups.get(made.id, DE) == await groups.find(made.id, DE) == made


async def test_find_answers_none_where_get_raises(groups) -> None:
    """An absent group is None to find and the group's own error to get."""
    assert await groups.find(NONE, DE) is None
    with pytest.raises(GroupNotFound) as caught:
        await groups.get(NONE, DE)
    assert caught.value.error_code == "group_get_not-found"


async def test_another_tenants_is_absent(groups, make) -> None:
    """To all three, and without a scope there is no answer at all."""
    theirs = await make(FR)
    assert await groups.find(theirs.id, DE) is None
    for call in (groups.get(theirs.id, DE), groups.batch_get([theirs.id], scope=DE)):
        with pytest.raises(GroupNotFound):
            await call
    with pytest.raises(ScopeRequired):
        await groups.get(theirs.id)


async def test_many_come_in_the_order_of_the_ids(groups, make) -> None:
    """What is missing is named on the error."""
    first, second = await make(DE), await make(DE)
    assert await groups.batch_get([second.id, first.id], scope=DE) == [second, first]
    with pytest.raises(GroupNotFound) as caught:
        await groups.batch_get([first.id, NONE], scope=DE)
    assert caught.value.missing == (NONE,)
