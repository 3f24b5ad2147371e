"""Who sees and touches which fair shares; and that these tests find a scope that limits nothing."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import FairShareNotFound
from examples.fair_share.rows import FairShareRow
from examples.fair_share.search import FairShareFilter
from examples.fair_share.types import (
    DomainShareScope,
    FairShareKey,
    FairSharePatch,
    GroupShareScope,
    UserShareScope,
)
from examples.group.types import UserId
from rowsmith import OptionalState, ScopeMismatch
from rowsmith.filters import UUIDFilter

DE = DomainShareScope(DomainName("DE"))
NOBODY = UserId(UUID(int=0))
STOLEN = FairSharePatch(weight=OptionalState.update(Decimal(1_000)))

ONE = {
    "get": lambda shares, key, scope: shares.get(key, scope),
    "batch_get": lambda shares, key, scope: shares.batch_get([key], scope=scope),
    "update": lambda shares, key, scope: shares.update(key, STOLEN, scope=scope),
    "delete": lambda shares, key, scope: shares.delete(key, scope=scope),
    "purge": lambda shares, key, scope: shares.purge(key, scope=scope),
}
MANY = {
    "batch_update": lambda shares, keys, scope: shares.batch_update(keys, STOLEN, scope=scope),
    "batch_delete": lambda shares, keys, scope: shares.batch_delete(keys, scope=scope),
    "batch_purge": lambda shares, keys, scope: shares.batch_purge(keys, scope=scope),
}
OWNERS = {
    "domain": lambda share: DomainShareScope(share.domain_name),
    "group": lambda share: GroupShareScope(share.domain_name, share.group_id),
    "user": lambda share: UserShareScope(share.user_id),
}
EACH = pytest.mark.parametrize("kind", OWNERS)


@pytest.fixture
def others(cities):
    """Give those who must not notice: another domain, another group of the same domain, another user."""
    return {
        "domain": DomainShareScope(DomainName("FR")),
        "group": GroupShareScope(DE.domain_name, cities["Bonn"]),
        "user": UserShareScope(NOBODY),
    }


async def answer_to(call) -> tuple[object, ...]:
    """Give all that a caller can learn from a refusal."""
    with pytest.raises(FairShareNotFound) as caught:
        await call
    error = caught.value
    return type(error), str(error), error.error_code, error.facts


@EACH
@pytest.mark.parametrize("call", ONE)
async def test_another_tenants_and_an_absent_one_are_the_same_answer(shares, make, others, kind, call) -> None:
    """No call tells a foreign share from one that never was, and the foreign one is unchanged."""
    theirs = await make(DE)
    assert await shares.get(theirs.key, OWNERS[kind](theirs)) == theirs
    absent = FairShareKey(theirs.domain_name, theirs.group_id, NOBODY)
    answers = [await answer_to(ONE[call](shares, key, others[kind])) for key in (theirs.key, absent)]
    assert answers[0] == answers[1]
    assert await shares.get(theirs.key, OWNERS[kind](theirs)) == theirs


@EACH
@pytest.mark.parametrize("call", MANY)
async def test_another_tenants_is_missing_from_a_batch(shares, make, others, kind, call) -> None:
    """And unchanged."""
    theirs = await make(DE)
    result = await MANY[call](shares, [theirs.key], others[kind])
    assert (result.succeeded, result.missing) == ([], [theirs.key])
    assert await shares.get(theirs.key, OWNERS[kind](theirs)) == theirs


@EACH
async def test_another_tenants_cannot_be_restored(shares, make, others, kind) -> None:
    """Not even by who knows its key."""
    theirs = await make(DE)
    await shares.delete(theirs.key, scope=OWNERS[kind](theirs))
    with pytest.raises(FairShareNotFound):
        await shares.restore(theirs.key, scope=others[kind])


@EACH
async def test_another_tenants_is_in_no_search(shares, make, others, kind) -> None:
    """Nor counted, nor known to be there."""
    theirs, other = await make(DE), others[kind]
    this = FairShareFilter(user_id=UUIDFilter(equals=theirs.user_id))
    assert list(await shares.search(OWNERS[kind](theirs), this)) == [theirs]
    assert len(await shares.search(other, this)) == await shares.count(other, this) == 0
    assert [share async for share in shares.stream(other, this)] == []
    assert not await shares.exists(other, this)


async def test_a_group_is_one_of_its_domain(shares, make) -> None:
    """Who names another domain with it finds nothing, although no two groups have one id."""
    theirs = await make(DE)
    mixed = GroupShareScope(DomainName("FR"), theirs.group_id)
    assert await shares.count(mixed) == 0
    with pytest.raises(FairShareNotFound):
        await shares.get(theirs.key, mixed)


@EACH
async def test_none_is_made_for_another_tenant(shares, new, others, kind) -> None:
    """What a scope says of a column is the only value that a new row may have."""
    spec = new(DE)
    with pytest.raises(ScopeMismatch):
        await shares.create(spec, scope=others[kind])
    assert await shares.find(FairShareKey(spec.domain_name, spec.group_id, spec.user_id), DE) is None


@EACH
@pytest.mark.parametrize(
    "test, arguments",
    [
        *((test_another_tenants_and_an_absent_one_are_the_same_answer, [call]) for call in ONE),
        *((test_another_tenants_is_missing_from_a_batch, [call]) for call in MANY),
        (test_another_tenants_cannot_be_restored, []),
        (test_another_tenants_is_in_no_search, []),
    ],
)
async def test_a_scope_that_limits_nothing_is_found(shares, make, others, monkeypatch, kind, test, arguments) -> None:
    """With a condition that holds for all, each of the tests above fails."""
    monkeypatch.setattr(type(others[kind]), "to_conditions", lambda _: [FairShareRow.group_id > 0])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test(shares, make, others, kind, *arguments)
