"""Deleting many domains at once, and bringing them back."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainTitleTaken
from examples.domain.rows import Continent
from examples.domain.types import ContinentScope, DomainCreate, DomainName
from rowsmith import InvalidValue

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)


async def test_all_of_the_tenant_are_deleted_and_the_others_missing(domains, make) -> None:
    """One that is deleted already is missing too; restoring brings them back."""
    first, theirs, second = await make(EUROPE), await make(ASIA), await make(EUROPE)
    result = await domains.batch_delete([first.name, theirs.name], scope=EUROPE)
    assert ([domain.name for domain in result.succeeded], result.missing) == ([first.name], [theirs.name])
    again = await domains.batch_delete([first.name, second.name], scope=EUROPE)
    assert ([domain.name for domain in again.succeeded], again.missing) == ([second.name], [first.name])
    assert await domains.find(first.name) is None
    assert await domains.get(theirs.name) == theirs
    restored = await domains.batch_restore([first.name, second.name], scope=EUROPE)
    assert len(restored.succeeded) == 2


async def test_none_comes_back_where_the_place_of_one_is_taken(domains, make) -> None:
    """All of them, or none."""
    first, second = await make(EUROPE), await make(EUROPE)
    await domains.batch_delete([first.name, second.name])
    await domains.create(DomainCreate(DomainName("NEW"), second.title, Continent.EUROPE))
    with pytest.raises(DomainTitleTaken):
        await domains.batch_restore([first.name, second.name])
    assert await domains.find(first.name) is None


async def test_a_name_that_stands_twice_is_refused(domains, make) -> None:
    """Before anything is written."""
    made = await make(EUROPE)
    with pytest.raises(InvalidValue):
        await domains.batch_delete([made.name, made.name])
    assert await domains.find(made.name) == made
