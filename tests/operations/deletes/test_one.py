"""Removing one row for good."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker

from rowsmith import Purger, Querier, StillReferenced
from rowsmith.scope import NO_LIMITS
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    DomainScope,
    GroupData,
    GroupId,
    GroupNotFound,
    GroupRepository,
    GroupRow,
    MemberCreate,
    MemberRepository,
    groups_in,
    stored,
)


def test_a_statement_can_be_looked_at_without_a_database() -> None:
    """The DELETE has the key in its WHERE and gives back what was there."""
    sql = " ".join(str(Purger(GroupRow, into=GroupData).statement(1, NO_LIMITS)).split())
    assert sql.startswith("DELETE FROM groups WHERE (groups.id = :id_1) RETURNING groups.id")


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def test_the_removed_entity_comes_back(groups: GroupRepository) -> None:
    """Purge gives what the row was, in one statement; afterwards it is absent."""
    before = await groups.get(GroupId(1))
    with count_statements(groups.db) as sent:
        assert await groups.purge(GroupId(1), scope=DomainScope("a")) == before
    assert [statement.split()[0] for statement in sent] == ["DELETE"]
    assert await groups.find(GroupId(1), include_deleted=True) is None
    with pytest.raises(GroupNotFound) as caught:
        await groups.purge(GroupId(1))
    assert caught.value.error_code == "group_purge_not-found"


async def test_a_soft_deleted_row_can_be_purged(groups: GroupRepository) -> None:
    """Removing for good is what a deleted row waits for."""
    assert (await groups.purge(GroupId(4))).name == "gone"
    assert len(await stored(groups.db)) == 3


async def test_a_referenced_row_stays(groups: GroupRepository) -> None:
    """Others still point at it: typed, and nothing is removed."""
    await MemberRepository(groups.db).create(MemberCreate(1, "x"))
    with pytest.raises(StillReferenced):
        await groups.purge(GroupId(1))
    assert await groups.find(GroupId(1)) is not None


async def test_any_session_will_do(groups: GroupRepository) -> None:
    """In a plain session an object that was held is gone from it as well; a rollback brings the row back."""
    async with async_sessionmaker(groups.db.engine)() as db_sess:
        row = await Querier(GroupRow).query(db_sess, 1)
        gone = await Purger(GroupRow, into=GroupData).purge(db_sess, 1)
        assert gone.name == row.name == "one"
        assert await Querier(GroupRow).find(db_sess, 1) is None
        await db_sess.rollback()
    assert await groups.find(GroupId(1)) is not None


async def test_rows_for_private_methods(groups: GroupRepository) -> None:
    """Without ``into`` the removed row comes back as its object."""
    async with groups.db.begin_session() as db_sess:
        row = await Purger(GroupRow).purge(db_sess, 1)
        assert (type(row), row.name) == (GroupRow, "one")


async def test_composite_keys(groups: GroupRepository) -> None:
    """A row is removed by its tuple."""
    members = MemberRepository(groups.db)
    made = await members.create(MemberCreate(1, "x"))
    assert await members.purge((1, "x")) == made


async def test_a_purged_object_leaves_the_session(groups: GroupRepository) -> None:
    """Without a data class the removed object comes back, and the session holds it no longer."""
    async with groups.db.begin_session() as db_sess:
        removed = await Purger(GroupRow).purge(db_sess, 1)
        assert removed.name == "one"
        assert removed not in db_sess
        assert await db_sess.get(GroupRow, 1) is None
