"""Changing a group."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.group.errors import GroupNameTaken, GroupNotFound
from examples.group.rows import GroupRow
from examples.group.types import DomainScope, GroupPatch
from rowsmith import OptionalState, TriState

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
X = GroupPatch(name=OptionalState.update("x"))


async def test_a_description_is_set_left_and_set_to_null(groups, make) -> None:
    """The three states of a nullable field."""
    made = await make(FR, description="Lumière")
    left = await groups.update(made.id, GroupPatch(population=OptionalState.update(2)), scope=FR)
    assert (left.description, left.population) == ("Lumière", 2)
    nulled = await groups.update(made.id, GroupPatch(description=TriState.nullify()), scope=FR)
    assert nulled.description is None


async def test_a_population_grows_in_the_database(groups, make) -> None:
    """By an expression, so that nobody's change is lost."""
    made = await make(DE, population=5)
    more = GroupPatch(population=OptionalState.expression(lambda: GroupRow.population + 2))
    assert (await groups.update(made.id, more, scope=DE)).population == 7


async def test_a_name_that_is_taken_is_refused(groups, make) -> None:
    """As when it is made, and the group stays as it was."""
    first, second = await make(DE), await make(DE)
    with pytest.raises(GroupNameTaken) as caught:
        await groups.update(first.id, GroupPatch(name=OptionalState.update(second.name)), scope=DE)
    assert caught.value.error_code == "group_update_name-taken"
    assert await groups.get(first.id, DE) == first


async def test_another_tenants_or_a_deleted_one_is_not_changed(groups, make) -> None:
    """Neither is there for the caller."""
    theirs, deleted = await make(FR), await make(DE)
    await groups.delete(deleted.id, scope=DE)
    for group in (theirs, deleted):
        with pytest.raises(GroupNotFound):
            await groups.update(group.id, X, scope=DE)
    assert await groups.get(theirs.id, FR) == theirs
