"""The example domain: the standard operations on one table with a natural key."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainNameMalformed, DomainNameTaken, DomainNotFound, DomainTitleTaken
from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.search import DomainFilter
from examples.domain.types import ContinentScope, DomainCreate, DomainData, DomainName, DomainPatch
from rowsmith import Count, CursorForwardPagination, OptionalState, ScopeMismatch, TriState, Unscoped
from rowsmith.filters import ArrayFilter, EnumFilter, StringFilter

GERMANY = DomainCreate(DomainName("DE"), "Germany", Continent.EUROPE, languages=["de"], settings={"currency": "EUR"})
FRANCE = DomainCreate(DomainName("FR"), "France", Continent.EUROPE)
PERU = DomainCreate(DomainName("PE"), "Peru", Continent.SOUTH_AMERICA, languages=["es", "qu", "ay"])
EUROPE = ContinentScope(Continent.EUROPE)
SOUTH_AMERICA = ContinentScope(Continent.SOUTH_AMERICA)


@pytest.fixture
async def domains(any_tables):
    """Give the repository on an empty table, on each database."""
    async with any_tables(DomainRow) as db:
        yield DomainRepository(db)


def names(found) -> list[str]:
    return [domain.name for domain in found]


async def test_a_created_domain_comes_back_as_the_database_holds_it(domains) -> None:
    """Server defaults are in what create gives, and get gives the same."""
    created = await domains.create(GERMANY)
    assert isinstance(created, DomainData)
    assert (created.is_active, created.languages, created.settings) == (True, ["de"], {"currency": "EUR"})
    assert created.created_at.tzinfo is not None
    assert await domains.get(DomainName("DE")) == created


async def test_find_answers_none_where_get_raises(domains) -> None:
    """An absent domain is None to find and the domain's own error to get."""
    assert await domains.find(DomainName("XX")) is None
    with pytest.raises(DomainNotFound) as caught:
        await domains.get(DomainName("XX"))
    assert caught.value.error_code == "domain_get_not-found"


async def test_each_constraint_has_an_error_of_its_own(domains) -> None:
    """Name, title and form of the name are told apart, and no message quotes a value."""
    await domains.create(GERMANY)
    for spec, error, code in (
        (DomainCreate(DomainName("DE"), "Other", Continent.ASIA), DomainNameTaken, "domain_create_name-taken"),
        (DomainCreate(DomainName("XX"), "Germany", Continent.ASIA), DomainTitleTaken, "domain_create_title-taken"),
        (DomainCreate(DomainName("xx"), "Lower", Continent.ASIA), DomainNameMalformed, "domain_create_name-malformed"),
    ):
        with pytest.raises(error) as caught:
            await domains.create(spec)
        assert caught.value.error_code == code
        assert "Germany" not in str(caught.value)


async def test_a_patch_writes_only_what_it_sets(domains) -> None:
    """Fields left at nop keep their values, nullify writes NULL, and an empty patch changes nothing."""
    created = await domains.create(GERMANY)
    patched = await domains.update(created.name, DomainPatch(description=TriState.update("Sixteen states")))
    assert (patched.description, patched.title) == ("Sixteen states", "Germany")
    assert await domains.update(created.name, DomainPatch()) == patched
    nulled = await domains.update(
        created.name, DomainPatch(description=TriState.nullify(), languages=OptionalState.update([]))
    )
    assert (nulled.description, nulled.languages) == (None, [])


async def test_a_deleted_domain_is_unseen_until_it_is_restored(domains) -> None:
    """Reads, counts and updates pass a deleted domain by; restoring brings it back."""
    await domains.create(GERMANY)
    await domains.delete(DomainName("DE"))
    assert await domains.find(DomainName("DE")) is None
    assert (await domains.count(), await domains.exists(), (await domains.search()).items) == (0, False, ())
    assert await domains.find(DomainName("DE"), include_deleted=True) is not None
    with pytest.raises(DomainNotFound):
        await domains.update(DomainName("DE"), DomainPatch(title=OptionalState.update("x")))
    assert (await domains.restore(DomainName("DE"))).title == "Germany"


async def test_a_deleted_domains_title_is_free_again(domains) -> None:
    """The partial unique index lets another domain take the title, and then refuses the restore."""
    await domains.create(GERMANY)
    await domains.delete(DomainName("DE"))
    await domains.create(DomainCreate(DomainName("DX"), "Germany", Continent.EUROPE))
    with pytest.raises(DomainTitleTaken):
        await domains.restore(DomainName("DE"))


async def test_purge_removes_for_good_what_was_deleted_or_not(domains) -> None:
    """The removed domain is given back, and then it is in no table."""
    await domains.create(GERMANY)
    await domains.delete(DomainName("DE"))
    assert (await domains.purge(DomainName("DE"))).title == "Germany"
    assert await domains.find(DomainName("DE"), include_deleted=True) is None


async def test_a_search_is_filtered_ordered_paged_and_counted(domains) -> None:
    """Filter, order, cursor and exact count work together."""
    for spec in (GERMANY, FRANCE, PERU):
        await domains.create(spec)
    europe = DomainFilter(continent=EnumFilter[Continent](in_=[Continent.EUROPE]))
    first = await domains.search(None, europe, CursorForwardPagination(1), orders=[DomainRow.title], count=Count.EXACT)
    assert (names(first), first.total_count, first.has_next_page) == (["FR"], 2, True)
    rest = await domains.search(None, europe, CursorForwardPagination(9, first.end_cursor), orders=[DomainRow.title])
    assert (names(rest), rest.has_next_page, rest.has_previous_page) == (["DE"], False, True)
    assert await domains.count(None, DomainFilter(title=StringFilter(contains="%"))) == 0
    assert [domain.name async for domain in domains.stream(orders=[DomainRow.title.desc()])] == ["PE", "DE", "FR"]


async def test_languages_are_searched_as_a_set(with_tables) -> None:
    """An array filter finds the domain that speaks both languages (PostgreSQL)."""
    async with with_tables(DomainRow) as db:
        domains = DomainRepository(db)
        for spec in (GERMANY, FRANCE, PERU):
            await domains.create(spec)
        found = await domains.search(None, DomainFilter(languages=ArrayFilter[str](contains=["qu", "es"])))
        assert names(found) == ["PE"]


async def test_batch_get_keeps_the_order_of_the_names(domains) -> None:
    """Domains come in the order asked for; what is missing is named on the error."""
    for spec in (GERMANY, FRANCE):
        await domains.create(spec)
    assert names(await domains.batch_get([DomainName("FR"), DomainName("DE")])) == ["FR", "DE"]
    with pytest.raises(DomainNotFound) as caught:
        await domains.batch_get([DomainName("FR"), DomainName("XX")])
    assert caught.value.missing == ("XX",)


async def test_a_continents_administrator_stays_on_the_continent(domains) -> None:
    """Another continent's domain is not found, cannot be made, and a domain cannot be moved there."""
    await domains.create(GERMANY, scope=EUROPE)
    assert await domains.find(DomainName("DE"), SOUTH_AMERICA) is None
    with pytest.raises(ScopeMismatch):
        await domains.create(FRANCE, scope=SOUTH_AMERICA)
    with pytest.raises(DomainNotFound):
        await domains.purge(DomainName("DE"), scope=SOUTH_AMERICA)
    assert await domains.count(Unscoped(reason="a test looks at everything")) == 1
