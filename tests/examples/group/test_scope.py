"""Who sees and touches which groups; and that these tests find a scope that limits nothing."""

from __future__ import annotations

from uuid import UUID

import pytest

from examples.domain.types import DomainName
from examples.group.errors import GroupDomainNotFound, GroupNotFound
from examples.group.rows import GroupRow
from examples.group.search import GroupFilter
from examples.group.types import DomainScope, GroupCreate, GroupId, GroupPatch, UserId, UserScope
from rowsmith import AnyOf, OptionalState, ScopeMismatch, SearchScope
from rowsmith.filters import StringFilter

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
ADA, BOB = UserScope(UserId(UUID(int=1))), UserScope(UserId(UUID(int=2)))
STOLEN = GroupPatch(population=OptionalState.update(1_000))
ABSENT = GroupId(2**31 - 1)

ONE = {
    "get": lambda groups, id, scope: groups.get(id, scope),
    "batch_get": lambda groups, id, scope: groups.batch_get([id], scope=scope),
    "update": lambda groups, id, scope: groups.update(id, STOLEN, scope=scope),
    "delete": lambda groups, id, scope: groups.delete(id, scope=scope),
    "purge": lambda groups, id, scope: groups.purge(id, scope=scope),
    "add_member": lambda groups, id, scope: groups.add_member(id, BOB.user_id, scope=scope),
}
MANY = {
    "batch_update": lambda groups, ids, scope: groups.batch_update(ids, STOLEN, scope=scope),
    "batch_delete": lambda groups, ids, scope: groups.batch_delete(ids, scope=scope),
    "batch_purge": lambda groups, ids, scope: groups.batch_purge(ids, scope=scope),
}
EACH = pytest.mark.parametrize("owner, other", [(DE, FR), (ADA, BOB)], ids=["domain", "user"])


@pytest.fixture
def owned(groups, make):
    """Give what makes a group that its owner's scope reaches: that of a domain, or of a member."""

    async def made(owner: SearchScope):
        group = await make(DE)
        if isinstance(owner, UserScope):
            await groups.add_member(group.id, owner.user_id, scope=DE)
        return group

    return made


async def answer_to(call) -> tuple[object, ...]:
    """Give all that a caller can learn from a refusal."""
    with pytest.raises(GroupNotFound) as caught:
        await call
    error = caught.value
    return type(error), str(error), error.error_code, error.facts


@EACH
@pytest.mark.parametrize("call", ONE)
async def test_another_tenants_and_an_absent_one_are_the_same_answer(groups, owned, owner, other, call) -> None:
    """No call tells a foreign group from one that never was, and the foreign one is unchanged."""
    theirs = await owned(owner)
    assert await groups.get(theirs.id, owner) == theirs
    foreign, absent = [await answer_to(ONE[call](groups, id, other)) for id in (theirs.id, ABSENT)]
    assert foreign == absent
    assert await groups.get(theirs.id, owner) == theirs


@EACH
@pytest.mark.parametrize("call", MANY)
async def test_another_tenants_is_missing_from_a_batch(groups, owned, owner, other, call) -> None:
    """And unchanged."""
    theirs = await owned(owner)
    result = await MANY[call](groups, [theirs.id], other)
    assert (result.succeeded, result.missing) == ([], [theirs.id])
    assert await groups.get(theirs.id, owner) == theirs


@EACH
async def test_another_tenants_cannot_be_restored(groups, owned, owner, other) -> None:
    """Not even by who knows its id."""
    theirs = await owned(owner)
    await groups.delete(theirs.id, scope=owner)
    with pytest.raises(GroupNotFound):
        await groups.restore(theirs.id, scope=other)


@EACH
async def test_another_tenants_is_in_no_search(groups, owned, owner, other) -> None:
    """Nor counted, nor known to be there."""
    this = GroupFilter(name=StringFilter(equals=(await owned(owner)).name))
    assert len(await groups.search(owner, this)) == 1
    assert len(await groups.search(other, this)) == await groups.count(other, this) == 0
    assert [group async for group in groups.stream(other, this)] == []
    assert not await groups.exists(other, this)


@EACH
async def test_none_is_made_for_another_tenant(groups, owner, other) -> None:
    """A condition that cannot be stamped is verified after the write, and the write undone."""
    with pytest.raises(ScopeMismatch):
        await groups.create(GroupCreate(DE.domain_name, "Bonn"), scope=other)
    assert not await groups.exists(DE, GroupFilter(name=StringFilter(equals="Bonn")))


TESTS = [
    *((test_another_tenants_and_an_absent_one_are_the_same_answer, [call]) for call in ONE),
    *((test_another_tenants_is_missing_from_a_batch, [call]) for call in MANY),
    (test_another_tenants_cannot_be_restored, []),
    (test_another_tenants_is_in_no_search, []),
]


@EACH
@pytest.mark.parametrize("test, arguments", TESTS)
async def test_a_scope_that_limits_nothing_is_found(groups, owned, monkeypatch, owner, other, test, arguments) -> None:
    """With a condition that holds for all, each of the tests above fails."""
    monkeypatch.setattr(type(owner), "to_conditions", lambda _: [GroupRow.id > 0])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test(groups, owned, owner, other, *arguments)


async def test_any_of_two_scopes_reaches_what_either_does(groups, owned, make) -> None:
    """Each group once."""
    german, french = await owned(ADA), await make(FR)
    this = GroupFilter(name=StringFilter(in_=[german.name, french.name]))
    assert [group.id for group in await groups.search(ADA, this)] == [german.id]
    either = await groups.search(AnyOf(FR, ADA), this, orders=[GroupRow.id])
    assert [group.id for group in either] == [german.id, french.id]


async def test_a_member_may_change_a_group(groups, owned) -> None:
    """A scope over a membership table limits writes like any other."""
    theirs = await owned(ADA)
    assert (await groups.update(theirs.id, STOLEN, scope=ADA)).population == 1_000


async def test_a_domain_that_is_not_there_says_so(groups) -> None:
    """The existence check gives the domain's own error, for reads as for writes."""
    nowhere = DomainScope(DomainName("XX"))
    for call in (groups.search(nowhere), groups.get(ABSENT, nowhere), groups.delete(ABSENT, scope=nowhere)):
        with pytest.raises(GroupDomainNotFound):
            await call
