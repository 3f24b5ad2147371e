"""The example of groups whose keys begin with the domain: no call needs more than one shard."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlalchemy as sa

from examples.distributed.repository import (
    DomainScope,
    GroupCreate,
    GroupKey,
    GroupNameTaken,
    GroupNotFound,
    GroupPatch,
    GroupRepository,
    MemberCreate,
    MemberKey,
    MemberRepository,
    MembersOf,
)
from examples.distributed.rows import GroupMemberRow, GroupRow
from rowsmith import CursorForwardPagination, OptionalState, ReferenceNotFound
from rowsmith.testing import one_shard
from tenants.parted import keep_in_parts

DE, FR = DomainScope("DE"), DomainScope("FR")
ADA = UUID(int=1)

for row in (GroupRow, GroupMemberRow):
    keep_in_parts(row, *(f"FOR VALUES WITH (MODULUS 4, REMAINDER {number})" for number in range(4)))


@pytest.fixture
async def groups(with_tables):
    """Give the repository with groups of two domains, where a statement on two shards fails."""
    async with with_tables(GroupRow, GroupMemberRow) as db:
        with one_shard(db):
            groups = GroupRepository(db)
            await groups.batch_create([GroupCreate("Berlin", 3), GroupCreate("Hamburg", 2)], scope=DE)
            paris = await groups.create(GroupCreate("Paris", 2), scope=FR)
            await MemberRepository(db).create(MemberCreate(paris.id, ADA), scope=MembersOf("FR"))
            yield groups


async def test_groups_are_read_and_changed_in_their_domain(groups) -> None:
    """By key, by page and in batches; to another domain they are absent."""
    page = await groups.search(DE, None, CursorForwardPagination(first=1), orders=[GroupRow.name])
    rest = await groups.search(DE, None, CursorForwardPagination(5, page.end_cursor), orders=[GroupRow.name])
    berlin, hamburg = (*page, *rest)
    assert (berlin.name, hamburg.name) == ("Berlin", "Hamburg")
    grown = GroupPatch(population=OptionalState.update(4))
    assert (await groups.update(berlin.key, grown, scope=DE)).population == 4
    assert len((await groups.batch_update([berlin.key, hamburg.key], grown, scope=DE)).succeeded) == 2
    with pytest.raises(GroupNotFound):
        await groups.get(berlin.key, FR)
    with pytest.raises(GroupNameTaken):
        await groups.create(GroupCreate("Berlin"), scope=DE)
    assert (await groups.create(GroupCreate("Berlin"), scope=FR)).domain_name == "FR"
    written = await groups.batch_upsert([GroupCreate("Bremen", 1), GroupCreate("Berlin", 4)], scope=DE)
    assert [item.inserted for item in written.succeeded] == [True, False]
    assert await groups.delete_where([GroupRow.population == 4], scope=DE) == 2


async def test_members_are_beside_their_group(groups) -> None:
    """Their foreign key has the domain in it, and they go with the group, on its shard."""
    members, key = MemberRepository(groups.db), (await groups.first(DE)).key
    await members.create(MemberCreate(key.id, ADA), scope=MembersOf("DE"))
    with pytest.raises(ReferenceNotFound):
        await members.create(MemberCreate(key.id, ADA), scope=MembersOf("FR"))
    assert await members.count(MembersOf("DE")) == 1
    assert (await groups.purge(GroupKey(*key), scope=DE)).id == key.id
    assert await members.count(MembersOf("DE")) == 0
    async with groups.db.begin_session() as session:
        there = sa.select(sa.func.count()).select_from(GroupRow).where(GroupRow.domain_name == "DE")
        assert await session.scalar(there) == 1


async def test_another_domains_groups_are_absent(groups) -> None:
    """From a search, and to whoever has the key."""
    found = await groups.search(FR)
    assert [group.name for group in found] == ["Paris"]
    with pytest.raises(GroupNotFound):
        await groups.get(found.items[0].key, DE)


async def test_another_domains_members_are_absent(groups) -> None:
    """From a search, and to whoever has the key."""
    members = MemberRepository(groups.db)
    (found,) = await members.search(MembersOf("FR"))
    assert not await members.exists(MembersOf("DE"), id=MemberKey("FR", found.group_id, found.user_id))


@pytest.mark.parametrize(
    "scope, condition, test",
    [
        (DomainScope, GroupRow.population >= 0, test_another_domains_groups_are_absent),
        (MembersOf, GroupMemberRow.group_id > 0, test_another_domains_members_are_absent),
    ],
)
async def test_a_scope_that_limits_nothing_is_found(groups, monkeypatch, scope, condition, test) -> None:
    """With a condition that holds for all, the test above fails: it asks every shard, too."""
    monkeypatch.setattr(scope, "to_conditions", lambda _: [condition])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test(groups)
