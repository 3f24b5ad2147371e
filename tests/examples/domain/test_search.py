"""Searching domains: the rows are made once, and every test only reads them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.search import DomainFilter
from examples.domain.types import ContinentScope, DomainCreate, DomainName
from rowsmith import Count, CursorForwardPagination
from rowsmith.filters import ArrayFilter, EnumFilter, StringFilter

EUROPE, AMERICA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.SOUTH_AMERICA)


@pytest.fixture(scope="module", autouse=True)
async def content(db) -> None:
    """Make two domains of one tenant and one of another."""
    await DomainRepository(db).batch_create(
        [
            DomainCreate(DomainName("DE"), "Germany", Continent.EUROPE, languages=["de"]),
            DomainCreate(DomainName("FR"), "France", Continent.EUROPE),
            DomainCreate(DomainName("PE"), "Peru", Continent.SOUTH_AMERICA, languages=["es", "qu", "ay"]),
        ]
    )


def names(found) -> list[str]:
    return [domain.name for domain in found]


async def test_it_is_filtered_ordered_paged_and_counted(domains) -> None:
    """Filter, order, cursor and exact count work together."""
    europe = DomainFilter(continent=EnumFilter[Continent](in_=[Continent.EUROPE]))
    first = await domains.search(None, europe, CursorForwardPagination(1), orders=[DomainRow.title], count=Count.EXACT)
    assert (names(first), first.total_count, first.has_next_page) == (["FR"], 2, True)
    rest = await domains.search(None, europe, CursorForwardPagination(9, first.end_cursor), orders=[DomainRow.title])
    assert (names(rest), rest.has_next_page, rest.has_previous_page) == (["DE"], False, True)


async def test_each_tenant_finds_its_own(domains) -> None:
    """In a search, a count and a stream."""
    assert names(await domains.search(EUROPE, orders=[DomainRow.name])) == ["DE", "FR"]
    assert await domains.count(AMERICA) == 1
    assert [domain.name async for domain in domains.stream(AMERICA)] == ["PE"]


async def test_text_is_literal(domains) -> None:
    """A per cent sign is one."""
    assert await domains.count(None, DomainFilter(title=StringFilter(contains="%"))) == 0
    assert await domains.count(None, DomainFilter(title=StringFilter(contains="er"))) == 2


async def test_languages_are_searched_as_a_set(domains) -> None:
    """An array filter finds the domain that speaks both."""
    found = await domains.search(None, DomainFilter(languages=ArrayFilter[str](contains=["qu", "es"])))
    assert names(found) == ["PE"]


async def test_all_are_streamed_in_an_order(domains) -> None:
    """However many there are."""
    assert [domain.name async for domain in domains.stream(orders=[DomainRow.title.desc()])] == ["PE", "DE", "FR"]


def test_what_is_no_field_is_refused() -> None:
    """A misspelt one limits nothing otherwise."""
    with pytest.raises(ValidationError):
        DomainFilter.model_validate({"titel": {"equals": "Peru"}})
