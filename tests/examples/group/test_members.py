"""Putting users into groups."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
import sqlalchemy as sa

from examples.domain.types import DomainName
from examples.group.errors import GroupNotFound
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, UserId, UserScope

DE = DomainScope(DomainName("DE"))
WAITING = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))")
ADA, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))


async def test_a_user_sees_the_groups_they_are_in(groups, make) -> None:
    """And those alone; a member may put others in."""
    made, _ = await make(DE), await make(DE)
    await groups.add_member(made.id, ADA, scope=DE)
    await groups.add_member(made.id, BOB, scope=UserScope(ADA))
    assert [group.id for group in await groups.search(UserScope(BOB))] == [made.id]


async def test_nobody_gets_into_a_group_that_is_deleted_meanwhile(db, groups, make) -> None:
    """The group stays locked from the look at it until the member is in it; so the other one's delete is waited for."""
    bonn = await make(DE)
    async with db.engine.begin() as other:
        await other.execute(sa.update(GroupRow).where(GroupRow.id == bonn.id).values(deleted_at=sa.func.now()))
        adding = asyncio.create_task(groups.add_member(bonn.id, ADA, scope=DE))
        while not (adding.done() or (await other.execute(WAITING)).scalar_one()):  # noqa: ASYNC110 - servers have no Event
            await asyncio.sleep(0.002)
        assert not adding.done()
    with pytest.raises(GroupNotFound):
        await adding
    async with db.begin_readonly_session() as db_sess:
        assert await db_sess.get(GroupMemberRow, (bonn.id, ADA)) is None
