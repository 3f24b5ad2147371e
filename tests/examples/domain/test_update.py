"""Changing a domain."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainNotFound, DomainTitleTaken
from examples.domain.rows import Continent
from examples.domain.types import ContinentScope, DomainPatch
from rowsmith import OptionalState, TriState

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)


async def test_only_what_is_set_is_written(domains, make) -> None:
    """Fields left at nop keep their values, nullify writes NULL, and an empty patch changes nothing."""
    made = await make(EUROPE, languages=["de"])
    patched = await domains.update(made.name, DomainPatch(description=TriState.update("Sixteen states")), scope=EUROPE)
    assert (patched.description, patched.title) == ("Sixteen states", made.title)
    assert await domains.update(made.name, DomainPatch(), scope=EUROPE) == patched
    nulled = await domains.update(
        made.name, DomainPatch(description=TriState.nullify(), languages=OptionalState.update([])), scope=EUROPE
    )
    assert (nulled.description, nulled.languages) == (None, [])


async def test_a_title_that_is_taken_is_refused(domains, make) -> None:
    """As when it is made, and the domain stays as it was."""
    first, second = await make(EUROPE), await make(ASIA)
    with pytest.raises(DomainTitleTaken) as caught:
        await domains.update(first.name, DomainPatch(title=OptionalState.update(second.title)))
    assert caught.value.error_code == "domain_update_title-taken"
    assert await domains.get(first.name) == first


async def test_another_tenants_or_a_deleted_one_is_not_changed(domains, make) -> None:
    """Neither is there for the caller."""
    theirs, deleted = await make(ASIA), await make(EUROPE)
    await domains.delete(deleted.name)
    for domain in (theirs, deleted):
        with pytest.raises(DomainNotFound):
            await domains.update(domain.name, DomainPatch(title=OptionalState.update("x")), scope=EUROPE)
    assert await domains.get(theirs.name) == theirs
