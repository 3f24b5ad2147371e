"""Reading one row by its key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pydantic
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_sessionmaker

from rowsmith import EntityNotFound, InvalidValue, OptionalState, Querier
from rowsmith.scope import NO_LIMITS
from rowsmith.testing import WithTables
from support import count_statements
from tenants import GroupData, GroupId, GroupPatch, GroupRepository, GroupRow, groups_in


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


@dataclass(frozen=True)
class NameData:
    name: str


class NameModel(pydantic.BaseModel):
    name: str


def test_a_statement_can_be_looked_at_without_a_database() -> None:
    """Only the columns that the data needs are selected."""
    sql = str(Querier(GroupRow, into=NameData).statement(1, NO_LIMITS))
    assert " ".join(sql.split()) == "SELECT groups.name FROM groups WHERE (groups.id = :id_1)"
    locked = Querier(GroupRow, into=NameData).statement(1, NO_LIMITS, for_update=True)
    assert str(locked).endswith("FOR UPDATE")


async def test_data_and_rows(groups: GroupRepository) -> None:
    """Data as a dataclass or a pydantic model; without ``into`` the ORM object."""
    async with async_sessionmaker(groups.db.engine)() as db_sess:
        assert await Querier(GroupRow, into=NameData).query(db_sess, 1) == NameData("one")
        assert await Querier(GroupRow, into=NameModel).query(db_sess, 1) == NameModel(name="one")
        row = await Querier(GroupRow).query(db_sess, 1)
        assert (type(row), row.name) == (GroupRow, "one")
        assert await Querier(GroupRow).find(db_sess, 99) is None


async def test_absent(groups: GroupRepository) -> None:
    """Query raises with the key in ``missing`` and not in the message; find gives None."""
    async with groups.db.begin_session() as db_sess:
        with pytest.raises(EntityNotFound, match=r"^the group was not found$") as caught:
            await Querier(GroupRow, into=GroupData).query(db_sess, 4711)
        assert caught.value.missing == (4711,)
        assert "4711" not in repr(caught.value)
        assert await Querier(GroupRow, into=GroupData).find(db_sess, 4711) is None


async def test_one_statement(groups: GroupRepository) -> None:
    """Get and find are one SELECT each."""
    for call in (groups.get, groups.find):
        with count_statements(groups.db) as sent:
            await call(GroupId(1))
        assert [statement.split()[0] for statement in sent] == ["SELECT"]


async def test_odd_keys(groups: GroupRepository) -> None:
    """A key that cannot be one is a typed error on both backends, before any statement."""
    with count_statements(groups.db) as sent:
        for key in (2**31, 2**63, -(2**31) - 1, "1", "\x00", 1.0, None, True, (1,), [1]):
            for call in (groups.get, groups.find, groups.purge, groups.delete, groups.restore):
                with pytest.raises(InvalidValue):
                    await call(key)  # type: ignore[arg-type]
    assert sent == []


async def test_for_update_locks(with_tables: WithTables) -> None:
    """A locked row waits for its holder, so the second reader sees what the first wrote."""
    async with groups_in(with_tables) as groups:
        querier = Querier(GroupRow, into=GroupData)
        seen: list[int] = []

        async def bump() -> None:
            async with groups.db.begin_session() as db_sess:
                size = (await querier.query(db_sess, 1, for_update=True)).size
                seen.append(size)
                await asyncio.sleep(0.01)
                patch = GroupPatch(size=OptionalState.update(size + 1))
                await groups.db_source.updater.update(db_sess, 1, patch)

        await asyncio.gather(*(bump() for _ in range(4)))
        assert seen == [0, 1, 2, 3]


async def test_an_object_already_in_the_session_is_refreshed(groups: GroupRepository) -> None:
    """Reading refreshes what the session holds: no stale attribute survives a second read."""
    async with groups.db.begin_session() as db_sess:
        row = await Querier(GroupRow).query(db_sess, 1)
        await db_sess.execute(sa.text("UPDATE groups SET size = 8 WHERE id = 1"))
        assert (await Querier(GroupRow, into=GroupData).query(db_sess, 1)).size == 8
        assert (await Querier(GroupRow).find(db_sess, 1)) is row
        assert row.size == 8
