"""Read-only sessions whose statements all see the same."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from rowsmith import Database, OptionalState, ReadOnlyViolation, TransactionError
from rowsmith.testing import WithTables
from support import count_statements
from tenants import GroupCreate, GroupId, GroupPatch, GroupRow, groups_in


async def test_all_statements_of_a_snapshot_agree(with_tables: WithTables) -> None:
    """Whatever others commit meanwhile; without it each statement sees what is committed by then."""
    async with groups_in(with_tables) as groups:
        other = Database(groups.db.engine)
        for snapshot, seen in ((True, (3, "one")), (False, (4, "new"))):
            async with groups.db.begin_readonly_session(snapshot=snapshot):
                assert await groups.count() == 3
                others = type(groups)(other)
                made = await others.create(GroupCreate("b", "late"))
                await others.update(GroupId(1), GroupPatch(name=OptionalState.update("new")))
                assert (await groups.count(), (await groups.get(GroupId(1))).name) == seen
            await others.purge(made.id)
            await others.update(GroupId(1), GroupPatch(name=OptionalState.update("one")))


async def test_a_snapshot_takes_no_writes(any_tables: WithTables) -> None:
    """It is a read-only session like any other, on both databases."""
    async with groups_in(any_tables) as groups:
        with pytest.raises(ReadOnlyViolation):
            async with groups.db.begin_readonly_session(snapshot=True):
                await groups.delete(GroupId(1))
        async with groups.db.begin_readonly_session(snapshot=True) as db_sess:
            assert (await db_sess.execute(sa.select(sa.func.count()).select_from(GroupRow))).scalar_one() == 4


async def test_a_snapshot_inside_another_block(any_tables: WithTables) -> None:
    """Inside a snapshot it is the same one; inside what is none it is refused, and the block goes on."""
    async with groups_in(any_tables) as groups:
        db = groups.db
        async with db.begin_readonly_session(snapshot=True), db.begin_readonly_session(snapshot=True):
            assert await groups.count() == 3
        async with db.unit_of_work():
            if db.engine.dialect.name == "postgresql":
                with pytest.raises(TransactionError, match=r"begin_readonly_session\(snapshot=True\) outside"):
                    async with db.begin_readonly_session(snapshot=True):
                        pass
            else:
                async with db.begin_readonly_session(snapshot=True):
                    pass
            await groups.delete(GroupId(1))
        assert await groups.count() == 2


async def test_a_session_that_asks_for_no_snapshot_sends_nothing_for_one(any_tables: WithTables) -> None:
    """Nor does a snapshot of its own: it begins as one."""
    async with groups_in(any_tables) as groups:
        for snapshot in (True, False):
            with count_statements(groups.db) as sent:
                async with groups.db.begin_readonly_session(snapshot=snapshot):
                    await groups.count()
            assert [statement for statement in sent if "isolation" in statement.lower()] == []
