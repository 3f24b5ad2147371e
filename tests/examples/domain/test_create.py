"""Making a domain."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainNameMalformed, DomainNameTaken, DomainTitleTaken
from examples.domain.rows import Continent
from examples.domain.types import ContinentScope, DomainCreate, DomainData, DomainName
from rowsmith import ScopeMismatch

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)
GERMANY = DomainCreate(DomainName("DE"), "Germany", Continent.EUROPE, languages=["de"], settings={"currency": "EUR"})


async def test_it_comes_back_as_the_database_holds_it(domains) -> None:
    """Server defaults are in what create gives, and get gives the same."""
    made = await domains.create(GERMANY, scope=EUROPE)
    assert isinstance(made, DomainData)
    assert (made.is_active, made.languages, made.settings) == (True, ["de"], {"currency": "EUR"})
    assert made.created_at.tzinfo is not None
    assert await domains.get(made.name, EUROPE) == made


@pytest.mark.parametrize(
    "change, error, code",
    [
        ({}, DomainNameTaken, "domain_create_name-taken"),
        ({"name": "XX"}, DomainTitleTaken, "domain_create_title-taken"),
        ({"name": "xx", "title": "Lower"}, DomainNameMalformed, "domain_create_name-malformed"),
    ],
)
async def test_each_constraint_has_an_error_of_its_own(domains, make, change, error, code) -> None:
    """Name, title and form of the name are told apart, and no message quotes a value."""
    taken = await make(EUROPE)
    with pytest.raises(error) as caught:
        await domains.create(
            DomainCreate(**{"name": taken.name, "title": taken.title, **change}, continent=Continent.ASIA)
        )
    assert caught.value.error_code == code
    assert taken.title not in str(caught.value)


async def test_none_is_made_for_another_tenant(domains) -> None:
    """What a spec says must be what the scope says, and nothing is there afterwards."""
    with pytest.raises(ScopeMismatch):
        await domains.create(DomainCreate(DomainName("JP"), "Japan", Continent.ASIA), scope=EUROPE)
    assert await domains.find(DomainName("JP")) is None
