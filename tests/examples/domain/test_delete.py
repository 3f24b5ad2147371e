"""Deleting a domain, and bringing it back."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainNotFound, DomainTitleTaken
from examples.domain.rows import Continent
from examples.domain.search import DomainFilter
from examples.domain.types import ContinentScope, DomainCreate, DomainName
from rowsmith.filters import StringFilter

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)


async def test_it_is_unseen_until_it_is_restored(domains, make) -> None:
    """Reads and counts pass a deleted domain by; restoring brings it back."""
    made = await make(EUROPE)
    this = DomainFilter(name=StringFilter(equals=made.name))
    await domains.delete(made.name, scope=EUROPE)
    assert await domains.find(made.name) is None
    assert (await domains.count(None, this), await domains.exists(None, this)) == (0, False)
    assert (await domains.search(None, this)).items == ()
    assert await domains.find(made.name, include_deleted=True) is not None
    assert (await domains.restore(made.name, scope=EUROPE)).title == made.title


async def test_its_title_is_free_again(domains, make) -> None:
    """The partial unique index lets another domain take it, and then refuses the restore."""
    made = await make(EUROPE)
    await domains.delete(made.name)
    await domains.create(DomainCreate(DomainName("DX"), made.title, Continent.EUROPE))
    with pytest.raises(DomainTitleTaken):
        await domains.restore(made.name)


async def test_another_tenants_stays(domains, make) -> None:
    """It is not there for the caller; nor is one that is deleted already."""
    theirs, deleted = await make(ASIA), await make(EUROPE)
    await domains.delete(deleted.name)
    for domain in (theirs, deleted):
        with pytest.raises(DomainNotFound) as caught:
            await domains.delete(domain.name, scope=EUROPE)
        assert caught.value.error_code == "domain_delete_not-found"
    assert await domains.get(theirs.name) == theirs
