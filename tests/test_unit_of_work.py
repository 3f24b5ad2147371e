"""Units of work: what joins them, what waits for their commit, and what they refuse."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from rowsmith import (
    AfterCommitFailed,
    ConcurrentUse,
    Database,
    InvalidValue,
    OptionalState,
    TransactionAborted,
    TransactionError,
)
from rowsmith.testing import WithTables, tables
from support import count_statements
from tenants import GroupCreate, GroupId, GroupNameTaken, GroupPatch, GroupRepository, GroupRow, groups_in


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


NEW = GroupCreate("a", "new")


async def test_calls_inside_are_one_transaction(groups: GroupRepository) -> None:
    """Every repository call and session inside joins the unit: seen by each other, undone together."""
    db = groups.db
    with pytest.raises(ValueError, match="stop"):
        async with db.unit_of_work() as unit:
            made = await groups.create(NEW)
            assert await groups.get(made.id) == made
            async with db.begin_session() as db_sess, db.begin_readonly_session() as reading:
                assert db_sess is reading is unit.session
            assert [item.id async for item in groups.stream()] == [1, 2, 3, made.id]
            raise ValueError("stop")
    assert await groups.count() == 3
    async with db.unit_of_work():
        await groups.create(NEW)
    assert await groups.count() == 4


async def test_a_nested_unit_is_a_savepoint(groups: GroupRepository) -> None:
    """What fails inside is undone alone; what ends well is committed with the outer one, or not at all."""
    db = groups.db
    async with db.unit_of_work():
        await groups.create(NEW)
        with pytest.raises(GroupNameTaken):
            async with db.unit_of_work():
                await groups.create(GroupCreate("a", "undone"))
                await groups.create(NEW)
        async with db.unit_of_work(), db.unit_of_work():
            await groups.create(GroupCreate("a", "deep"))
    assert {item.name for item in (await groups.search()).items} == {"one", "two", "new", "deep"}
    with pytest.raises(ValueError, match="stop"):
        async with db.unit_of_work():
            async with db.unit_of_work():
                await groups.create(GroupCreate("a", "lost"))
            raise ValueError("stop")
    assert await groups.count() == 5


async def test_a_swallowed_error_aborts_the_unit(groups: GroupRepository) -> None:
    """On both backends the unit says so; inside a nested one only that is lost."""
    db = groups.db
    with pytest.raises(TransactionAborted):
        async with db.unit_of_work():
            await groups.create(NEW)
            with pytest.raises(GroupNameTaken):
                await groups.create(NEW)
    async with db.unit_of_work():
        await groups.create(NEW)
        with pytest.raises(TransactionAborted):
            async with db.unit_of_work():
                await groups.create(GroupCreate("a", "undone"))
                with pytest.raises(GroupNameTaken):
                    await groups.create(NEW)
        await groups.create(GroupCreate("a", "after"))
    assert {item.name for item in (await groups.search()).items} == {"one", "two", "new", "after"}


async def test_a_swallowed_flush_error_aborts_the_nested_unit(groups: GroupRepository) -> None:
    """The ORM's errors count as well."""
    db = groups.db
    async with db.unit_of_work() as unit:
        with pytest.raises(TransactionAborted):
            async with db.unit_of_work():
                unit.session.add(GroupRow(domain_name="a", name="one"))
                with pytest.raises(sa.exc.IntegrityError):
                    await unit.session.flush()
        unit.session.add(GroupRow(domain_name="a", name="three"))
    assert await groups.count() == 4


async def test_a_refused_value_inside_is_no_failure(groups: GroupRepository) -> None:
    """What never reached the database may be caught and the unit go on."""
    async with groups.db.unit_of_work():
        for call in (groups.get(GroupId(99)), groups.get(GroupId(2**40)), groups.create(GroupCreate("\x00", "x"))):
            with pytest.raises(Exception, match=r"not found|holds integers|NUL"):
                await call
        await groups.create(NEW)
    assert await groups.count() == 4


async def test_work_after_the_commit(groups: GroupRepository) -> None:
    """Waiting work runs in order, after the real commit and outside of the transaction; nested work included."""
    db, done = groups.db, list[str]()

    async def look() -> None:
        async with db.engine.connect() as connection:
            found = await connection.scalar(sa.select(sa.func.count()).select_from(GroupRow))
        assert await groups.count() == 4
        done.append(f"saw {found}")

    async with db.unit_of_work() as unit:
        unit.after_commit(look)
        async with db.unit_of_work() as inner:
            await groups.create(NEW)
            inner.after_commit(lambda: done.append("nested"))
        unit.after_commit(lambda: done.append("last"))
        assert done == []
    assert done == ["saw 5", "nested", "last"]


async def test_work_of_what_was_undone_never_runs(groups: GroupRepository) -> None:
    """A rolled back unit, a rolled back nested one, or a failed commit drops its work."""
    db, done = groups.db, list[str]()
    with pytest.raises(ValueError, match="stop"):
        async with db.unit_of_work() as unit:
            unit.after_commit(lambda: done.append("outer"))
            raise ValueError("stop")
    async with db.unit_of_work() as unit:
        with pytest.raises(ValueError, match="stop"):
            async with db.unit_of_work() as inner:
                inner.after_commit(lambda: done.append("inner"))
                raise ValueError("stop")
    with pytest.raises(TransactionAborted):
        async with db.unit_of_work() as unit:
            unit.after_commit(lambda: done.append("aborted"))
            await groups.create(NEW)
            with pytest.raises(GroupNameTaken):
                await groups.create(NEW)
    assert done == []
    with pytest.raises(TransactionError, match="ended"):
        unit.after_commit(lambda: done.append("late"))


@pytest.mark.parametrize("work", [None, 5, "tell", lambda group: None, [print]])
async def test_work_that_cannot_be_done_is_refused_at_once(groups: GroupRepository, work: Any) -> None:
    """And not after the commit, when nothing can be taken back."""
    with pytest.raises(InvalidValue, match=r"a function without arguments, not .*: write unit\.after_commit"):
        async with groups.db.unit_of_work() as unit:
            await groups.create(NEW)
            unit.after_commit(work)
    assert await groups.count() == 3


async def test_failing_work_is_told_and_costs_nobody_else(groups: GroupRepository) -> None:
    """The rest still runs, the data is committed, and the first failure is the cause."""
    done: list[str] = []

    def fail() -> None:
        raise LookupError("cache is down")

    async def fail_too() -> None:
        raise ValueError("also")

    with pytest.raises(AfterCommitFailed, match="2 of it") as caught:
        async with groups.db.unit_of_work() as unit:
            unit.after_commit(fail)
            unit.after_commit(fail_too)
            unit.after_commit(lambda: done.append("ran"))
            await groups.create(NEW)
    assert isinstance(caught.value.__cause__, LookupError)
    assert done == ["ran"]
    assert await groups.count() == 4


async def test_no_value_in_what_failing_work_leaves_behind(groups: GroupRepository) -> None:
    """The cause of AfterCommitFailed may be a driver's error, which quotes rows: its words are taken out."""
    domain = "-".join(["a", "secret"])  # in two parts, because a traceback shows the source

    async def fail() -> None:
        async with groups.db.engine.begin() as connection:
            await connection.execute(sa.insert(GroupRow).values(domain_name=domain, name="one", size=-1))

    with pytest.raises(AfterCommitFailed) as caught:
        async with groups.db.unit_of_work() as unit:
            unit.after_commit(fail)
    assert domain not in "".join(traceback.format_exception(caught.value))


async def test_two_tasks_in_one_unit_are_refused(groups: GroupRepository) -> None:
    """A gather over one unit of work gives ConcurrentUse to whoever comes second, and the first goes on."""
    async with groups.db.unit_of_work():
        results = await asyncio.gather(*(groups.get(GroupId(i)) for i in (1, 2, 3)), return_exceptions=True)
        assert [type(result) for result in results[1:]] == [ConcurrentUse, ConcurrentUse]
        assert await groups.get(GroupId(1)) == results[0]
        sessions = [asyncio.create_task(_hold(groups.db)) for _ in range(2)]
        held = await asyncio.gather(*sessions, return_exceptions=True)
        assert [type(result) for result in held] == [type(None), ConcurrentUse]


async def _hold(db: Database) -> None:
    async with db.unit_of_work():
        await asyncio.sleep(0.01)


async def test_one_task_after_another_may_use_a_unit(groups: GroupRepository) -> None:
    """A child task that is awaited before the next use is nobody's rival."""
    async with groups.db.unit_of_work():
        await asyncio.create_task(groups.create(NEW))
        assert await asyncio.create_task(groups.count()) == 4
    assert await groups.count() == 4


async def test_the_outer_unit_rests_while_a_nested_one_is_open(groups: GroupRepository) -> None:
    """A task that still holds the outer unit is refused while another works in a nested one."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def other() -> None:
        entered.set()
        await leave.wait()
        await groups.count()

    async with groups.db.unit_of_work():
        task = asyncio.create_task(other())
        await entered.wait()
        async with groups.db.unit_of_work():
            leave.set()
            with pytest.raises(ConcurrentUse):
                await task


async def test_a_task_that_outlives_the_unit_is_on_its_own(groups: GroupRepository) -> None:
    """Its later calls are transactions of their own, not uses of a closed session."""
    leave = asyncio.Event()

    async def later() -> int:
        await leave.wait()
        await groups.create(NEW)
        return await groups.count()

    with pytest.raises(ValueError, match="stop"):
        async with groups.db.unit_of_work():
            task = asyncio.create_task(later())
            raise ValueError("stop")
    leave.set()
    assert await task == 4


async def test_ending_the_transaction_by_hand_is_refused(groups: GroupRepository) -> None:
    """Work that waits for the commit would be told a lie, so the unit raises."""
    done: list[str] = []
    with pytest.raises(TransactionError, match="ends by itself"):
        async with groups.db.unit_of_work() as unit:
            unit.after_commit(lambda: done.append("ran"))
            await unit.session.rollback()
    assert done == []


async def test_a_stream_left_half_read(groups: GroupRepository) -> None:
    """A broken-off stream does not lock its own task out of the unit."""
    async with groups.db.unit_of_work():
        stream = groups.stream()
        async for _ in stream:
            break
        assert await groups.count() == 3
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.create_task(groups.create(NEW))
    assert await groups.count() == 4


async def test_no_update_is_lost(any_database: Database) -> None:
    """Thirty read-modify-writes at once all count: by expression, and by reading under a lock first."""
    async with groups_in(lambda *rows: tables(any_database, *rows)) as groups:
        bump = GroupPatch(size=OptionalState.expression(lambda: GroupRow.size + 1))
        await asyncio.gather(*(groups.update(GroupId(1), bump) for _ in range(30)))
        assert (await groups.get(GroupId(1))).size == 30

        async def read_then_write() -> None:
            async with any_database.unit_of_work() as unit:
                size = (await groups.db_source.querier.query(unit.session, 2, for_update=True)).size
                await asyncio.sleep(0)
                await groups.update(GroupId(2), GroupPatch(size=OptionalState.update(size + 1)))

        await asyncio.gather(*(read_then_write() for _ in range(30)))
        assert (await groups.get(GroupId(2))).size == 30


async def test_sqlite_units_queue_without_a_lock_of_their_own(sqlite_database: Database) -> None:
    """On SQLite a plain read in a unit already holds the write lock, so nothing is overtaken."""
    async with groups_in(lambda *rows: tables(sqlite_database, *rows)) as groups:

        async def read_then_write() -> None:
            async with sqlite_database.unit_of_work():
                size = (await groups.get(GroupId(2))).size
                await groups.update(GroupId(2), GroupPatch(size=OptionalState.update(size + 1)))

        await asyncio.gather(*(read_then_write() for _ in range(30)))
        assert (await groups.get(GroupId(2))).size == 30


async def test_a_unit_sends_no_statement_of_its_own(groups: GroupRepository) -> None:
    """Joining costs nothing: a call inside a unit sends the same statements as outside."""
    with count_statements(groups.db) as sent:
        async with groups.db.unit_of_work():
            await groups.get(GroupId(1))
            await groups.update(GroupId(1), GroupPatch(size=OptionalState.update(3)))
    assert len(sent) == 2
