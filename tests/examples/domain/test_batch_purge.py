"""Removing many domains for good."""

from __future__ import annotations

import pytest

from examples.domain.rows import Continent
from examples.domain.types import ContinentScope
from rowsmith import InvalidValue

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)


async def test_all_of_the_tenant_are_removed_and_the_others_missing(domains, make) -> None:
    """Deleted before or not; what they were is given back."""
    first, theirs, second = await make(EUROPE), await make(ASIA), await make(EUROPE)
    await domains.delete(second.name)
    result = await domains.batch_purge([first.name, theirs.name, second.name], scope=EUROPE)
    assert ([domain.title for domain in result.succeeded], result.missing) == (
        [first.title, second.title],
        [theirs.name],
    )
    assert await domains.find(second.name, include_deleted=True) is None
    assert await domains.get(theirs.name) == theirs


async def test_a_name_that_stands_twice_is_refused(domains, make) -> None:
    """Before anything is removed."""
    made = await make(EUROPE)
    with pytest.raises(InvalidValue):
        await domains.batch_purge([made.name, made.name])
    assert await domains.get(made.name) == made
