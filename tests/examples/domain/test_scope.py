"""Who sees and touches which domains; and that these tests find a scope that limits nothing."""

from __future__ import annotations

import pytest

from examples.domain.errors import DomainNotFound
from examples.domain.rows import Continent, DomainRow
from examples.domain.search import DomainFilter
from examples.domain.types import ContinentScope, DomainCreate, DomainName, DomainPatch
from rowsmith import ScopeMismatch, TriState
from rowsmith.filters import StringFilter

EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)
STOLEN = DomainPatch(description=TriState.update("stolen"))

ONE = {
    "get": lambda domains, name: domains.get(name, ASIA),
    "batch_get": lambda domains, name: domains.batch_get([name], scope=ASIA),
    "update": lambda domains, name: domains.update(name, STOLEN, scope=ASIA),
    "delete": lambda domains, name: domains.delete(name, scope=ASIA),
    "purge": lambda domains, name: domains.purge(name, scope=ASIA),
}
MANY = {
    "batch_update": lambda domains, names: domains.batch_update(names, STOLEN, scope=ASIA),
    "batch_delete": lambda domains, names: domains.batch_delete(names, scope=ASIA),
    "batch_purge": lambda domains, names: domains.batch_purge(names, scope=ASIA),
}


async def answer_to(call) -> tuple[object, ...]:
    """Give all that a caller can learn from a refusal."""
    with pytest.raises(DomainNotFound) as caught:
        await call
    error = caught.value
    return type(error), str(error), error.error_code, error.facts


@pytest.mark.parametrize("call", ONE)
async def test_another_tenants_and_an_absent_one_are_the_same_answer(domains, make, call) -> None:
    """No call tells a foreign domain from one that never was, and the foreign one is unchanged."""
    theirs = await make(EUROPE)
    foreign, absent = [await answer_to(ONE[call](domains, name)) for name in (theirs.name, DomainName("ABSENT"))]
    assert foreign == absent
    assert await domains.get(theirs.name) == theirs


@pytest.mark.parametrize("call", MANY)
async def test_another_tenants_is_missing_from_a_batch(domains, make, call) -> None:
    """And unchanged."""
    theirs = await make(EUROPE)
    result = await MANY[call](domains, [theirs.name])
    assert (result.succeeded, result.missing) == ([], [theirs.name])
    assert await domains.get(theirs.name) == theirs


async def test_another_tenants_cannot_be_restored(domains, make) -> None:
    """Not even by who knows its name."""
    theirs = await make(EUROPE)
    await domains.delete(theirs.name)
    with pytest.raises(DomainNotFound):
        await domains.restore(theirs.name, scope=ASIA)


async def test_another_tenants_is_in_no_search(domains, make) -> None:
    """Nor counted, nor known to be there."""
    this = DomainFilter(name=StringFilter(equals=(await make(EUROPE)).name))
    assert await domains.search(EUROPE, this)
    assert len(await domains.search(ASIA, this)) == await domains.count(ASIA, this) == 0
    assert [domain async for domain in domains.stream(ASIA, this)] == []
    assert not await domains.exists(ASIA, this)


async def test_none_is_made_for_another_tenant(domains) -> None:
    """The scope's value is the only one that a new row may have."""
    with pytest.raises(ScopeMismatch):
        await domains.create(DomainCreate(DomainName("JP"), "Japan", Continent.EUROPE), scope=ASIA)


@pytest.mark.parametrize(
    "test, arguments",
    [
        *((test_another_tenants_and_an_absent_one_are_the_same_answer, [call]) for call in ONE),
        *((test_another_tenants_is_missing_from_a_batch, [call]) for call in MANY),
        (test_another_tenants_cannot_be_restored, []),
        (test_another_tenants_is_in_no_search, []),
    ],
)
async def test_a_scope_that_limits_nothing_is_found(domains, make, monkeypatch, test, arguments) -> None:
    """With a condition that holds for all, each of the tests above fails."""
    monkeypatch.setattr(ContinentScope, "to_conditions", lambda _: [DomainRow.name != ""])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test(domains, make, *arguments)
