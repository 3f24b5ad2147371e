"""Classes that share a table: no statement for one of them reaches the rows of another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa

from company import (
    EngineerRow,
    ExecutiveRepository,
    ExecutiveRow,
    ExecutiveRowRepository,
    GradedCreate,
    GradedData,
    GradedPatch,
    GradedRepository,
    GradedRow,
    HouseRow,
    ManagerCreate,
    ManagerHired,
    ManagerOfKind,
    ManagerPatch,
    ManagerRepository,
    ManagerRow,
    SeniorRepository,
    StaffData,
    StaffRepository,
    StaffRow,
    staff_in,
)
from rowsmith import (
    Conflict,
    Database,
    EntityAlreadyExists,
    EntityNotFound,
    InvalidValue,
    NextValue,
    OptionalState,
    Repository,
    ScopeMismatch,
    Spec,
    count,
)
from rowsmith.testing import WithTables

RENAMED = ManagerPatch(name=OptionalState.update("x"))


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with staff_in(any_tables) as made:
        yield made


async def names(db: Database) -> dict[int, str]:
    async with db.begin_session() as db_sess:
        rows = await db_sess.execute(sa.text("SELECT id, name FROM staff ORDER BY id"))
        return {row[0]: row[1] for row in rows}


@pytest.mark.parametrize(
    "filters, all_rows", [([], True), ([StaffRow.name != "x"], False), ([ManagerRow.name != "x"], False)]
)
async def test_a_purge_over_conditions_removes_own_rows(db: Database, filters: list[Any], all_rows: bool) -> None:
    """And those of subclasses; whichever class the condition is written with."""
    managers = ManagerRepository(db)
    assert (await managers.purge_where(filters, all_rows=all_rows, dry_run=True)).rows == 2
    assert (await ExecutiveRepository(db).purge_where(filters, all_rows=all_rows, dry_run=True)).rows == 1
    assert (await managers.purge_where(filters, all_rows=all_rows)).rows == 2
    assert set(await names(db)) == {1, 3}


@pytest.mark.parametrize("update", [True, False])
async def test_an_upsert_neither_changes_nor_hands_out_a_sibling(db: Database, update: bool) -> None:
    """Its key is taken, as by a row outside of the scope."""
    managers, conflict = ManagerRepository(db), Conflict(update=update)
    with pytest.raises(EntityAlreadyExists):
        await managers.upsert(ManagerCreate(3, "x"), conflict=conflict)
    with pytest.raises(EntityAlreadyExists):
        await managers.batch_upsert([ManagerCreate(2, "x"), ManagerCreate(3, "x")], conflict=conflict)
    assert (await names(db)) == {1: "staff", 2: "manager", 3: "engineer", 4: "executive"}
    done = (await managers.batch_upsert([ManagerCreate(4, "y"), ManagerCreate(5, "z")], conflict=conflict)).succeeded
    kept = "y" if update else "executive"
    assert [(item.data, item.inserted) for item in done] == [
        (StaffData(4, "executive", kept), False),
        (StaffData(5, "manager", "z"), True),
    ]


async def test_batches_over_ids_miss_siblings(db: Database) -> None:
    """In whole and partial forms alike."""
    managers, ids = ManagerRepository(db), [1, 2, 3, 4]
    each = dict.fromkeys(ids, RENAMED)
    assert (await managers.batch_update(ids, RENAMED)).missing == [1, 3]
    assert (await managers.batch_update_each(each)).missing == [1, 3]
    assert [failure.index for failure in (await managers.batch_update_partial(each)).failed] == [0, 2]
    assert (await ExecutiveRepository(db).batch_purge(ids)).missing == [1, 2, 3]
    assert [failure.index for failure in (await managers.batch_purge_partial([1, 2, 3])).failed] == [0, 2]
    assert await names(db) == {1: "staff", 3: "engineer"}


@pytest.mark.parametrize("condition", [None, StaffRow.name != "x", ManagerRow.level.is_(None)])
async def test_updates_over_conditions_change_own_rows(db: Database, condition: Any) -> None:
    """Whichever class the condition is written with, also the one above in the middle of a hierarchy."""
    filters = [] if condition is None else [condition]
    changed = await ExecutiveRepository(db).update_where(filters, RENAMED_EXECUTIVE, all_rows=condition is None)
    assert changed == 1
    assert [pk for pk, name in (await names(db)).items() if name == "x"] == [4]


RENAMED_EXECUTIVE: Any = RENAMED


@pytest.mark.parametrize("condition", [None, StaffRow.name != "x", ManagerRow.level.is_(None)])
async def test_reads_give_own_rows(db: Database, condition: Any) -> None:
    """SQLAlchemy itself would add the rows of each class that a condition is written with."""
    executives, filters = ExecutiveRepository(db), [] if condition is None else [condition]
    assert [item.id for item in (await executives.search(None, filters)).items] == [4]
    assert await executives.count(None, filters) == 1
    assert [item.id async for item in executives.stream(None, filters)] == [4]
    stats = await executives.aggregate(None, filters, into=Stats)
    assert [item.rows for item in stats] == [1]
    assert list(await executives.batch_get([4])) == [StaffData(4, "executive", "executive")]
    with pytest.raises(EntityNotFound):
        await executives.batch_get([2, 4])
    assert await ExecutiveRowRepository(db).find(2) is None


@dataclass(frozen=True)
class Stats:
    rows: Annotated[int, count()]


async def test_a_siblings_condition_finds_nothing(db: Database) -> None:
    """An engineer's language says nothing about managers."""
    assert (await ManagerRepository(db).search(None, [EngineerRow.language.is_(None)])).items == ()
    assert not await ManagerRepository(db).exists(None, [EngineerRow.kind == "engineer"])


async def test_single_writes_miss_siblings(db: Database) -> None:
    """Another class's row and an absent one are the same."""
    managers = ManagerRepository(db)
    for pk in (3, 99):
        with pytest.raises(EntityNotFound):
            await managers.get(pk)
        with pytest.raises(EntityNotFound):
            await managers.update(pk, RENAMED)
        with pytest.raises(EntityNotFound):
            await managers.purge(pk)
    assert len(await names(db)) == 4


async def test_every_lane_writes_the_class(db: Database) -> None:
    """Rows are read back as what they were created as."""
    managers = ManagerRepository(db)
    await managers.create(ManagerCreate(10, "a"))
    await managers.batch_create([ManagerCreate(11, "a"), ManagerCreate(12, "a")])
    await managers.load([ManagerCreate(13, "a"), ManagerCreate(14, "a")])
    await managers.batch_create_partial([ManagerCreate(15, "a")])
    await managers.upsert(ManagerCreate(16, "a"))
    await managers.batch_upsert([ManagerCreate(17, "a")])
    found = await managers.search(None, [StaffRow.id >= 10])
    assert [(item.id, item.kind) for item in found.items] == [(pk, "manager") for pk in range(10, 18)]
    await managers.create(ManagerOfKind(20, "a", "executive"))
    assert (await ExecutiveRepository(db).get(20)).kind == "executive"


async def test_no_lane_writes_another_class(db: Database) -> None:
    """A value of the column that says so is refused, an expression too; those of subclasses are not."""
    managers, wrong = ManagerRepository(db), ManagerOfKind(20, "a", "engineer")
    good = ManagerOfKind(21, "a", "manager")
    for single in (managers.create, managers.upsert):
        with pytest.raises(InvalidValue, match=r"ManagerRow\.kind says that the row is of another class"):
            await single(wrong)
    for batch in (managers.batch_create, managers.load, managers.batch_upsert):
        with pytest.raises(InvalidValue, match=r"index 1: ManagerRow\.kind says"):
            await batch([good, wrong])
    for state in (OptionalState.update("staff"), OptionalState.expression(lambda: StaffRow.name)):
        moved = ManagerPatch(kind=state)
        calls: list[Callable[[ManagerPatch], Awaitable[Any]]] = [
            lambda patch: managers.update(2, patch),
            lambda patch: managers.batch_update([2], patch),
            lambda patch: managers.batch_update_each({2: patch}),
            lambda patch: managers.update_where([], patch, all_rows=True),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match="another class"):
                await call(moved)
    promoted = await managers.update(2, ManagerPatch(kind=OptionalState.update("executive")))
    assert promoted.kind == "executive"
    assert len(await names(db)) == 4


async def test_the_base_class_reaches_all(db: Database) -> None:
    """Rows of every subclass are rows of it, however they are loaded."""
    staff = StaffRepository(db)
    assert [item.kind for item in (await staff.search()).items] == ["staff", "manager", "engineer", "executive"]
    assert (await staff.purge_where([], all_rows=True, dry_run=True)).rows == 4
    rows = await AnyStaffRepository(db).batch_get([1, 2, 3, 4])
    assert [type(row) for row in rows] == [StaffRow, ManagerRow, EngineerRow, ExecutiveRow]


class AnyStaffRepository(Repository[StaffRow]):
    pass


@dataclass(frozen=True)
class HouseData:
    id: int
    managers: list[StaffData]


@dataclass(frozen=True)
class HouseCreate(Spec[HouseRow]):
    id: int
    managers: list[ManagerHired]


class HouseRepository(Repository[HouseRow, HouseData, int]):
    pass


async def test_a_tree_and_its_collections_keep_to_the_class(db: Database) -> None:
    """Rows below are created as, and read as, the class that the relationship leads to."""
    houses = HouseRepository(db)
    assert [item.id for item in (await houses.get(1)).managers] == [2, 4]
    await houses.batch_create([HouseCreate(2, [ManagerHired(30, "a", 2)])])
    assert (await houses.get(2)).managers == [StaffData(30, "manager", "a")]


class NumberedRepository(Repository[ManagerRow, StaffData, int]):
    next_value = NextValue(ManagerRow.number, within=ManagerRow.house_id)


async def test_numbers_are_counted_among_own_rows(db: Database) -> None:
    """A sibling's number is not the class's."""
    async with db.begin_session() as db_sess:
        await db_sess.execute(sa.text("UPDATE staff SET number = id * 10"))
    await NumberedRepository(db).batch_create([ManagerHired(40, "a", 1)])
    async with db.begin_session() as db_sess:
        await db_sess.execute(sa.text("UPDATE staff SET number = 1000 WHERE id = 3"))
    await NumberedRepository(db).batch_create([ManagerHired(41, "a", 1)])
    async with db.begin_session() as db_sess:
        numbers = (await db_sess.execute(sa.text("SELECT number FROM staff WHERE id >= 40 ORDER BY id"))).scalars()
        assert list(numbers) == [41, 42]


@pytest.fixture
async def seniors(any_tables: WithTables) -> AsyncIterator[SeniorRepository]:
    async with any_tables(GradedRow) as db:
        await GradedRepository(db).batch_create([GradedCreate(1, 3), GradedCreate(2, 7)])
        yield SeniorRepository(db)


async def test_a_class_may_be_told_by_an_expression(seniors: SeniorRepository) -> None:
    """All that reaches own rows only holds then too."""
    raised = GradedPatch(grade=OptionalState.update(9))
    any_raised: Any = raised
    assert (await seniors.batch_update([1, 2], any_raised)).missing == [1]
    assert (await seniors.search()).items == (GradedData(2, 9),)
    with pytest.raises(EntityAlreadyExists):
        await seniors.upsert(senior(1, 8))
    assert (await seniors.purge_where([GradedRow.id > 0])).rows == 1


async def test_a_row_may_not_leave_a_class_told_by_an_expression(seniors: SeniorRepository) -> None:
    """Nothing could be stamped on it, so it is looked at after the write, which is undone."""
    lowered: Any = GradedPatch(grade=OptionalState.update(1))
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: seniors.create(senior(3, 1)),
        lambda: seniors.batch_create([senior(3, 8), senior(4, 1)]),
        lambda: seniors.upsert(senior(3, 1)),
        lambda: seniors.upsert(senior(2, 1)),
        lambda: seniors.update(2, lowered),
        lambda: seniors.batch_update([2], lowered),
        lambda: seniors.update_where([], lowered, all_rows=True),
    ]
    for call in calls:
        with pytest.raises(ScopeMismatch):
            await call()
    assert (await seniors.search()).items == (GradedData(2, 7),)
    assert await seniors.create(senior(3, 6)) == GradedData(3, 6)


def senior(pk: int, grade: int) -> Any:
    return GradedCreate(pk, grade)
