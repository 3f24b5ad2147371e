"""Soft deletion: by time or by status, unseen everywhere, and undone by restore."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import (
    Condition,
    Count,
    CursorForwardPagination,
    InvalidFilter,
    MappingError,
    OptionalState,
    Querier,
    Repository,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    SoftDeleter,
    Spec,
)
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    Base,
    CounterRow,
    DomainScope,
    GroupCreate,
    GroupId,
    GroupNotFound,
    GroupPatch,
    GroupRepository,
    GroupRow,
    MemberRow,
    TenantScope,
    WideRow,
    counters_in,
    groups_in,
    stored,
)

GONE = GroupId(4)


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def test_deleted_rows_are_unseen_everywhere(groups: GroupRepository) -> None:
    """No read, count, page, stream or write meets one, unless include_deleted says so."""
    everything = {"include_deleted": True}
    assert await groups.find(GONE) is None
    assert await groups.find(GONE, **everything) is not None
    assert (await groups.get(GONE, **everything)).name == "gone"
    assert [item.id for item in (await groups.search()).items] == [1, 2, 3]
    assert [item.id for item in (await groups.search(**everything)).items] == [1, 2, 3, 4]
    assert (await groups.search(count=Count.EXACT)).total_count == await groups.count() == 3
    assert await groups.count(**everything) == 4
    named = [GroupRow.name == "gone"]
    assert not await groups.exists(None, named)
    assert await groups.exists(None, named, **everything)
    assert [item.id async for item in groups.stream()] == [1, 2, 3]
    assert [item.id async for item in groups.stream(**everything)] == [1, 2, 3, 4]
    assert [item.id for item in await groups.batch_get([GONE, GroupId(1)], **everything)] == [4, 1]
    for call in (
        groups.get(GONE),
        groups.batch_get([GroupId(1), GONE]),
        groups.update(GONE, GroupPatch(size=OptionalState.update(1))),
        groups.delete(GONE),
    ):
        with pytest.raises(GroupNotFound):
            await call


async def test_delete_and_restore(groups: GroupRepository) -> None:
    """Each is one UPDATE that gives the entity; twice is not found, as for an absent row."""
    before = await stored(groups.db)
    with count_statements(groups.db) as sent:
        assert (await groups.delete(GroupId(1))).id == 1
        assert (await groups.restore(GroupId(1))).id == 1
    assert [statement.split()[0] for statement in sent] == ["UPDATE", "UPDATE"]
    assert await stored(groups.db) == before
    await groups.delete(GroupId(1), scope=DomainScope("a"))
    for call in (groups.delete(GroupId(1)), groups.restore(GroupId(2)), groups.restore(GroupId(99))):
        with pytest.raises(GroupNotFound):
            await call


async def test_the_databases_clock_marks_the_deletion(groups: GroupRepository) -> None:
    """The mark is the server's time, not that of whoever deleted."""
    await groups.delete(GroupId(1))
    async with groups.db.begin_session() as db_sess:
        mark, now = (await db_sess.execute(sa.select(GroupRow.deleted_at, sa.func.now()).where(GroupRow.id == 1))).one()
    assert mark is not None
    assert abs(mark - now.replace(tzinfo=now.tzinfo or dt.UTC)) < dt.timedelta(seconds=10)


async def test_re_creating_after_a_deletion(groups: GroupRepository) -> None:
    """With a unique index over live rows the name is free again, and both rows are there."""
    made = await groups.create(GroupCreate("a", "gone"))
    assert made.id != GONE
    assert await groups.count(include_deleted=True) == 5
    await groups.delete(made.id)
    assert (await groups.restore(GONE)).name == "gone"


async def test_a_cursor_survives_the_deletion_of_its_row(groups: GroupRepository) -> None:
    """The row that a cursor was made at may go: the next page goes on behind it, none lost, none doubled."""
    first = await groups.search(None, None, CursorForwardPagination(first=2), orders=[GroupRow.name.desc()])
    for item in first.items:
        await groups.delete(item.id)
    rest = await groups.search(
        None, None, CursorForwardPagination(first=9, after=first.end_cursor), orders=[GroupRow.name.desc()]
    )
    assert sorted(item.id for item in (*first.items, *rest.items)) == [1, 2, 3]


class State(enum.Enum):
    ACTIVE = "active"
    IDLE = "idle"
    DELETED = "deleted"


class TaskRow(Base):
    __tablename__ = "tasks"

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[State | None]


@dataclass(frozen=True)
class TaskCreate(Spec[TaskRow]):
    state: State | None


class TaskRepository(Repository[TaskRow]):
    soft_delete = SoftDelete(TaskRow.state, deleted=State.DELETED, restored=State.ACTIVE)


async def test_by_status(any_tables: WithTables) -> None:
    """One value means deleted, every other and NULL mean live, and restoring writes the declared one."""
    async with any_tables(TaskRow) as db:
        tasks = TaskRepository(db)
        for state in (State.ACTIVE, State.IDLE, None, State.DELETED):
            await tasks.create(TaskCreate(state))
        assert await tasks.count() == 3
        assert (await tasks.delete(2)).state is State.DELETED
        assert await tasks.count() == 2
        assert (await tasks.restore(2)).state is State.ACTIVE
        assert [task.id for task in (await tasks.search()).items] == [1, 2, 3]


async def test_operation_objects_alone(groups: GroupRepository) -> None:
    """SoftDeleter and Querier with the same rule work in any session; without a rule they say what to declare."""
    rule = SoftDelete(GroupRow.deleted_at)
    async with groups.db.begin_session() as db_sess:
        row = await SoftDeleter(GroupRow, soft_delete=rule).delete(db_sess, 1)
        assert row.deleted_at is not None
        assert await Querier(GroupRow, soft_delete=rule).find(db_sess, 1) is None
        assert await Querier(GroupRow).find(db_sess, 1) is row
        for call in (SoftDeleter(GroupRow).delete(db_sess, 2), SoftDeleter(GroupRow).restore(db_sess, 2)):
            with pytest.raises(MappingError, match=r"soft_delete = SoftDelete\(GroupRow.deleted_at\)"):
                await call


def test_wrong_declarations() -> None:
    """A mark on another row, of a kind that cannot mark, or half given is refused when it is declared."""
    with pytest.raises(MappingError, match="both"):
        SoftDelete(TaskRow.state, deleted=State.DELETED)
    for rule, message in [
        (SoftDelete(TaskRow.state), "holds no time"),
        (SoftDelete(TaskRow.state, deleted="deleted", restored=State.ACTIVE), "holds members of State"),
        (SoftDelete(GroupRow.deleted_at), "no column of TaskRow"),
        (SoftDelete(MemberRow.weight, deleted=1, restored=0), "no column of TaskRow"),
    ]:
        with pytest.raises(MappingError, match=message):
            Querier(TaskRow, soft_delete=rule)
    with pytest.raises(MappingError, match="NOT NULL"):
        Querier(GroupRow, soft_delete=SoftDelete(GroupRow.created_at))
    with pytest.raises(MappingError, match="no column of WideRow"):
        Querier(WideRow, soft_delete=SoftDelete(GroupRow.id, deleted=1, restored=0))
    with pytest.raises(MappingError, match="holds no time"):
        Querier(WideRow, soft_delete=SoftDelete(WideRow.span))


async def test_a_mark_that_moves_a_row_out_of_its_scope_is_undone(any_tables: WithTables) -> None:
    """What an UPDATE writes unasked counts: deleting and restoring are held to the scope as an update is."""

    @dataclass(frozen=True)
    class Untouched(SearchScope):
        def to_conditions(self) -> list[Condition]:
            return [CounterRow.touched == "no"]

    async with counters_in(any_tables) as counters:
        for call in (
            counters.delete(("a", 0), scope=Untouched()),
            counters.batch_delete([("a", 0)], scope=Untouched()),
        ):
            with pytest.raises(ScopeMismatch):
                await call
        assert (await counters.get(("a", 0))).touched == "no"


async def test_all_rows_that_match_are_deleted_and_restored(groups: GroupRepository) -> None:
    """In their scope; those deleted already are not counted, nor those live; versions and marks are as ever."""
    scope = DomainScope("a")
    with count_statements(groups.db) as sent:
        assert await groups.delete_where([GroupRow.size >= 0], scope=scope) == 2
    assert len(sent) == (2 if groups.db.engine.dialect.name == "postgresql" else 1)  # one that locks them
    assert await groups.delete_where([], scope=scope, all_rows=True) == 0
    assert [item.domain_name for item in (await groups.search()).items] == ["b"]
    assert await groups.restore_where([GroupRow.name == "one"], scope=scope) == 1
    assert await groups.restore_where([GroupRow.name == "one"], scope=scope) == 0
    assert await groups.find(GroupId(1)) is not None
    for call in (groups.delete_where([], scope=scope), groups.restore_where([], scope=scope)):
        with pytest.raises(InvalidFilter, match="all_rows=True"):
            await call


async def test_a_version_goes_up_with_the_mark(any_tables: WithTables) -> None:
    """An old one is stale after ``delete_where`` and ``restore_where``; objects of a unit are in step."""
    async with counters_in(any_tables) as counters, counters.db.unit_of_work() as unit:
        held = await unit.session.get_one(CounterRow, ("a", 1))
        assert await counters.delete_where([CounterRow.place == 1], scope=TenantScope("a")) == 1
        assert (held.version, held.deleted_at is None) == (2, False)
        assert await counters.restore_where([CounterRow.place == 1]) == 1
        assert (held.version, held.deleted_at) == (3, None)


async def test_without_soft_deletion_no_row_is_marked(any_tables: WithTables) -> None:
    """The message says what to declare."""

    class Plain(Repository[MemberRow, MemberRow, tuple[int, str]]):
        pass

    async with any_tables(GroupRow, MemberRow) as db:
        members = Plain(db)
        for call in (members.delete_where([], all_rows=True), members.restore_where([], all_rows=True)):
            with pytest.raises(MappingError, match="declare soft_delete"):
                await call
