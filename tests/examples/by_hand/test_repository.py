"""The repository by hand: what the cache answers and what a write ends there, on a fake db_source; and on both."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from unittest.mock import AsyncMock

import pytest

from examples.by_hand.db_source import DomainDBSource
from examples.by_hand.repository import DomainRepository
from examples.domain.errors import DomainNotFound
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import ContinentScope, DomainCreate, DomainData, DomainName, DomainPatch
from rowsmith import OptionalState
from rowsmith.cache import MemoryCacheSource
from rowsmith.testing import fake

DE, FR = DomainName("DE"), DomainName("FR")
NOW = datetime(2024, 5, 1, tzinfo=UTC)
GERMANY = DomainData(DE, "Germany", Continent.EUROPE, None, [], {}, True, NOW, NOW)
RENAMED = replace(GERMANY, title="Federal Republic")
EUROPE = ContinentScope(Continent.EUROPE)
PATCH = DomainPatch(title=OptionalState.update("Federal Republic"))


@pytest.fixture
def cache():
    """Give an empty cache of domains."""
    return MemoryCacheSource(DomainData, ttl=60.0)


def reading(get, **more):
    """Give a source that reads by a function, the newest too."""
    return fake(DomainDBSource, get=get, get_newest=get, **more)


async def test_the_cache_is_asked_first(cache) -> None:
    """The database is asked once."""
    get = AsyncMock(return_value=GERMANY)
    domains = DomainRepository(reading(get), cache)
    assert [await domains.get(DE) for _ in range(3)] == [GERMANY] * 3
    get.assert_awaited_once_with(DE)


async def test_what_a_replica_gives_is_not_kept(cache) -> None:
    """It may be older than what another process has written and told the cache of."""
    source = fake(DomainDBSource, get=AsyncMock(return_value=GERMANY), get_newest=AsyncMock(return_value=RENAMED))
    domains = DomainRepository(source, cache)
    assert [await domains.get(DE) for _ in range(2)] == [RENAMED] * 2


async def test_without_a_cache_the_database_always_is(cache) -> None:
    """Also where a scope is given, or a transaction is open; and what is not there is not kept."""
    get = AsyncMock(return_value=GERMANY)
    source = reading(get)
    plain, cached = DomainRepository(source), DomainRepository(source, cache)
    for _ in range(2):
        await plain.get(DE)
        await cached.get(DE, EUROPE)
    async with source.db.unit_of_work():
        await cached.get(DE)
    assert get.await_count == 5
    missing = DomainRepository(reading(AsyncMock(side_effect=DomainNotFound())), cache)
    for _ in range(2):
        with pytest.raises(DomainNotFound):
            await missing.get(DE)


@pytest.mark.parametrize("call", ["create", "update", "purge", "succeed"])
async def test_a_write_ends_what_the_cache_has(cache, call) -> None:
    """From its beginning to its commit nothing is kept of the domain, and afterwards what is there now is."""
    get = AsyncMock(return_value=GERMANY)

    async def write(*args, **kwargs):
        get.return_value = RENAMED
        assert await cache.get_many([DE]) == {}
        assert await cache.lease([DE]) == {}
        return RENAMED

    domains = DomainRepository(reading(get, **{call: write}), cache)
    await domains.get(DE)
    spec = DomainCreate(DE, "Germany", Continent.EUROPE)
    arguments = {"create": [spec], "update": [DE, PATCH], "purge": [DE], "succeed": [FR, spec]}[call]
    assert await getattr(domains, call)(*arguments) == RENAMED
    assert [await domains.get(DE) for _ in range(2)] == [RENAMED] * 2
    assert get.await_count == 2


async def test_a_read_that_began_before_a_write_is_not_kept(cache) -> None:
    """The lease tells that the domain was written meanwhile."""
    domains: DomainRepository
    answers = [GERMANY, RENAMED]

    async def get(name):
        answer = answers.pop(0)
        if answer is GERMANY:
            await domains.update(DE, PATCH)
        return answer

    domains = DomainRepository(reading(get, update=AsyncMock(return_value=RENAMED)), cache)
    assert await domains.get(DE) == GERMANY
    assert await domains.get(DE) == RENAMED


async def test_a_write_that_fails_leaves_nothing_in_the_cache(cache) -> None:
    """Nobody knows what became of it; the database is asked until the hold is over."""
    get, update = AsyncMock(return_value=GERMANY), AsyncMock(side_effect=DomainNotFound())
    domains = DomainRepository(reading(get, update=update), cache)
    with pytest.raises(DomainNotFound):
        await domains.update(DE, PATCH)
    assert [await domains.get(DE) for _ in range(2)] == [GERMANY] * 2
    assert get.await_count == 2


async def test_all_of_it_together(any_tables, cache) -> None:
    """On tables: the cache is right after each write, one that is undone included."""
    async with any_tables(DomainRow) as db:
        domains = DomainRepository(DomainDBSource(db), cache)
        with pytest.raises(DomainNotFound):
            await domains.get(DE)
        germany = await domains.create(DomainCreate(DE, "Germany", Continent.EUROPE))
        assert await domains.get(DE) == await domains.get(DE) == germany
        with pytest.raises(ZeroDivisionError):
            async with db.unit_of_work():
                await domains.update(DE, PATCH)
                assert (await domains.get(DE)).title == "Federal Republic"
                raise ZeroDivisionError
        assert (await domains.get(DE)).title == "Germany"
        await domains.update(DE, PATCH, EUROPE)
        assert (await domains.get(DE)).title == "Federal Republic"
        assert (await domains.overview()).domains == len(await domains.search(EUROPE)) == 1
        await domains.succeed(DE, DomainCreate(FR, "France", Continent.EUROPE))
        assert (await domains.get(FR)).title == "Federal Republic"
        await domains.purge(FR)
        with pytest.raises(DomainNotFound):
            await domains.get(FR)
