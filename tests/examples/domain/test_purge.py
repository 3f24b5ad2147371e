"""Removing a domain for good."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainNotFound
from examples.domain.rows import Continent
from examples.domain.types import ContinentScope

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_it_is_in_no_table_afterwards(domains, make, is_deleted) -> None:
    """The removed domain is given back, deleted before or not."""
    made = await make(EUROPE)
    if is_deleted:
        await domains.delete(made.name)
    assert (await domains.purge(made.name, scope=EUROPE)).title == made.title
    assert await domains.find(made.name, include_deleted=True) is None


async def test_another_tenants_stays(domains, make) -> None:
    """It is not there for the caller; nor is one that is purged already."""
    theirs, purged = await make(ASIA), await make(EUROPE)
    await domains.purge(purged.name)
    for domain in (theirs, purged):
        with pytest.raises(DomainNotFound) as caught:
            await domains.purge(domain.name, scope=EUROPE)
        assert caught.value.error_code == "domain_purge_not-found"
    assert await domains.get(theirs.name) == theirs
