"""The db_source by hand: sessions opened once, operations without a base class."""

from __future__ import annotations

import pytest

from examples.by_hand.db_source import DomainDBSource, Overview
from examples.domain.errors import DomainNameTaken, DomainNotFound, DomainTitleTaken
from examples.domain.rows import Continent, DomainRow
from examples.domain.search import DomainFilter
from examples.domain.types import ContinentScope, DomainCreate, DomainName, DomainPatch
from rowsmith import Database, OffsetPagination, OptionalState, ScopeMismatch, TransactionError
from rowsmith.filters import StringFilter

SU, RU, PE = DomainName("SU"), DomainName("RU"), DomainName("PE")
SOVIET = DomainCreate(SU, "The Union", Continent.EUROPE, languages=["ru"])
PERU = DomainCreate(PE, "Peru", Continent.SOUTH_AMERICA)
RUSSIA = DomainCreate(RU, "Russia", Continent.EUROPE)
EUROPE, SOUTH_AMERICA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.SOUTH_AMERICA)


@pytest.fixture
async def source(with_tables):
    """Give the source with a domain on each of two continents."""
    async with with_tables(DomainRow) as db:
        source = DomainDBSource(db)
        await source.create(SOVIET)
        await source.create(PERU)
        yield source


async def test_one_row_is_made_read_changed_and_removed(source) -> None:
    """By the operations themselves, with the domain's own rules and within a scope."""
    union = await source.get(SU, EUROPE)
    assert await source.get_newest(SU) == union
    changed = await source.update(SU, DomainPatch(title=OptionalState.update("Union")), EUROPE)
    assert (union.title, changed.title) == ("The Union", "Union")
    assert await source.purge(SU, EUROPE) == changed
    with pytest.raises(DomainNotFound):
        await source.get(SU)
    with pytest.raises(DomainNameTaken):
        await source.create(PERU)


@pytest.mark.parametrize("call", ["get", "update", "purge", "succeed"])
async def test_the_other_continent_is_not_there(source, call) -> None:
    """Nor is it changed."""
    arguments = {"update": [DomainPatch(title=OptionalState.update("x"))], "succeed": [RUSSIA]}.get(call, [])
    with pytest.raises(DomainNotFound):
        await getattr(source, call)(SU, *arguments, SOUTH_AMERICA)
    assert (await source.get(SU)).title == "The Union"


async def test_a_search_is_one_page_of_the_scope(source) -> None:
    """Filter and page as in every repository."""
    await source.create(RUSSIA)
    page = await source.search(EUROPE, None, OffsetPagination(1))
    assert ([domain.name for domain in page], page.has_next_page) == ([RU], True)
    assert len(await source.search(EUROPE, DomainFilter(title=StringFilter(contains="Per")))) == 0


async def test_an_heir_takes_the_place_in_one_transaction(source) -> None:
    """Its title is free only once the first is ended, and what fails leaves both as they were."""
    heir = await source.succeed(SU, RUSSIA)
    assert (heir.title, heir.languages) == ("The Union", ["ru"])
    with pytest.raises(DomainNotFound):
        await source.get(SU)
    with pytest.raises(DomainNameTaken):
        await source.succeed(RU, PERU)
    assert (await source.get(RU)).title == "The Union"
    with pytest.raises(DomainTitleTaken):
        await source.create(DomainCreate(DomainName("XX"), "The Union", Continent.ASIA))


async def test_an_heir_is_within_the_scope(source) -> None:
    """The scope holds for both."""
    with pytest.raises(ScopeMismatch):
        await source.succeed(SU, DomainCreate(RU, "Russia", Continent.ASIA), EUROPE)
    assert (await source.get(SU)).name == SU


async def test_a_new_domain_is_within_the_scope(source) -> None:
    """As one that is changed is."""
    assert (await source.create(RUSSIA, EUROPE)).name == RU
    with pytest.raises(ScopeMismatch):
        await source.create(DomainCreate(DomainName("JP"), "Japan", Continent.ASIA), EUROPE)


async def test_a_method_joins_the_session_that_is_open(source) -> None:
    """So that a caller's unit of work undoes what several did."""
    with pytest.raises(ZeroDivisionError):
        async with source.db.unit_of_work():
            await source.create(RUSSIA)
            await source.get(RU)
            raise ZeroDivisionError
    with pytest.raises(DomainNotFound):
        await source.get(RU)


async def test_an_overview_is_of_one_moment(source, monkeypatch) -> None:
    """What another writes between its statements is in none of them."""
    assert await source.overview(EUROPE) == Overview(1, {Continent.EUROPE: 1})
    count, other = source._count, DomainDBSource(Database(source.db.engine))

    async def and_then_another_writes(db_sess, scope):
        counted = await count(db_sess, scope)
        await other.create(RUSSIA)
        return counted

    monkeypatch.setattr(source, "_count", and_then_another_writes)
    assert await source.overview() == Overview(2, {Continent.EUROPE: 1, Continent.SOUTH_AMERICA: 1})


async def test_a_transaction_that_has_begun_is_no_snapshot(source) -> None:
    """Asked for inside of one, it is refused instead of silently none."""
    async with source.db.unit_of_work():
        with pytest.raises(TransactionError):
            await source.overview()
