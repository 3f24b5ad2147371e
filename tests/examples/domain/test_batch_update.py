"""Changing many domains at once."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainTitleTaken
from examples.domain.rows import Continent
from examples.domain.types import ContinentScope, DomainPatch
from rowsmith import InvalidValue, OptionalState

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)
INACTIVE = DomainPatch(is_active=OptionalState.update(False))


async def test_all_of_the_tenant_are_changed_and_the_others_missing(domains, make) -> None:
    """In the order of the names given."""
    first, theirs, second = await make(EUROPE), await make(ASIA), await make(EUROPE)
    result = await domains.batch_update([second.name, theirs.name, first.name], INACTIVE, scope=EUROPE)
    assert [(domain.name, domain.is_active) for domain in result.succeeded] == [
        (second.name, False),
        (first.name, False),
    ]
    assert result.missing == [theirs.name]
    assert await domains.get(theirs.name) == theirs


async def test_each_may_have_a_patch_of_its_own(domains, make) -> None:
    """All of them are written, or none."""
    first, second = await make(EUROPE), await make(EUROPE)
    patches = {first.name: INACTIVE, second.name: DomainPatch(title=OptionalState.update("Second"))}
    changed = (await domains.batch_update_each(patches, scope=EUROPE)).succeeded
    assert [(domain.is_active, domain.title) for domain in changed] == [(False, first.title), (True, "Second")]
    patches[second.name] = DomainPatch(title=OptionalState.update(first.title))
    with pytest.raises(DomainTitleTaken):
        await domains.batch_update_each(patches, scope=EUROPE)
    assert await domains.get(second.name) == changed[1]


async def test_a_name_that_stands_twice_is_refused(domains, make) -> None:
    """Before anything is written."""
    made = await make(EUROPE)
    with pytest.raises(InvalidValue):
        await domains.batch_update([made.name, made.name], INACTIVE)
    assert await domains.get(made.name) == made
