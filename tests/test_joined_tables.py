"""Rows that are kept in several tables, one for each class above: read as one, written as one, never by halves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from rowsmith import (
    AnyOf,
    CheckViolation,
    Condition,
    Count,
    CursorBackwardPagination,
    CursorForwardPagination,
    Database,
    EntityAlreadyExists,
    EntityNotFound,
    Expr,
    InvalidFilter,
    InvalidValue,
    OffsetPagination,
    OptionalState,
    Repository,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    StaleVersion,
    StillReferenced,
    TriState,
    count,
    max_,
)
from rowsmith.filters import Filter, NumberFilter, StringFilter
from rowsmith.testing import WithTables
from support import comes_late, count_statements, is_waited_for
from tenants.tools import (
    TOOLS,
    CheckRow,
    ClampCreate,
    ClampData,
    ClampPatch,
    ClampRepository,
    ClampRow,
    HammerCreate,
    HammerRepository,
    MeterCreate,
    MeterData,
    MeterPatch,
    MeterRepository,
    MeterRow,
    ToolCreate,
    ToolData,
    ToolPatch,
    ToolRepository,
    ToolRow,
    ToolsOf,
)

A, B = ToolsOf("a"), ToolsOf("b")


@dataclass(frozen=True)
class Tools:
    """Clamp 1, meter 2, hammer 3 and tool 4 of tenant a; clamp 5 of tenant b."""

    db: Database
    clamps: ClampRepository
    meters: MeterRepository
    hammers: HammerRepository
    tools: ToolRepository

    async def held(self) -> dict[str, list[int]]:
        """Give the keys in each table."""
        async with self.db.engine.connect() as connection:
            keys = {row.__tablename__: row.__table__.columns.values()[0] for row in TOOLS}
            return {
                name: list((await connection.execute(sa.select(key).order_by(key))).scalars())
                for name, key in keys.items()
            }


async def filled(db: Database) -> Tools:
    made = Tools(db, ClampRepository(db), MeterRepository(db), HammerRepository(db), ToolRepository(db))
    await made.clamps.create(ClampCreate(1, "one", reading=10), scope=A)
    await made.meters.create(MeterCreate(2, "two", reading=20), scope=A)
    await made.hammers.create(HammerCreate(3, "three"), scope=A)
    await made.tools.create(ToolCreate(4, "four"), scope=A)
    await made.clamps.create(ClampCreate(5, "five", reading=50), scope=B)
    return made


@pytest.fixture
async def tools(any_tables: WithTables) -> AsyncIterator[Tools]:
    async with any_tables(*TOOLS, CheckRow) as db:
        yield await filled(db)


HELD = {"tools": [1, 2, 3, 4, 5], "meters": [1, 2, 5], "clamps": [1, 5]}


async def test_a_row_is_made_in_all_its_tables(tools: Tools) -> None:
    """And given as the database holds it: keys, stamps and defaults of every table."""
    assert await tools.held() == HELD
    made = await tools.clamps.create(ClampCreate(6, "six", reading=None), scope=A)
    assert made == ClampData(6, "a", "clamp", "six", 1, 1, "V", None, 6, 5)
    assert await tools.clamps.get(6, A) == made


async def test_reads_of_every_kind(tools: Tools) -> None:
    """Rows of a class are those of its subclasses too, told by the tables that they are joined from."""
    one, two = await tools.meters.get(1, A), await tools.meters.get(2, A)
    assert one == MeterData(1, "a", "clamp", "one", 1, 1, "V", 10)
    assert await tools.meters.find(3, A) is None
    assert await tools.clamps.find(2, A) is None
    assert await tools.meters.batch_get([2, 1], scope=A) == [two, one]
    page = await tools.meters.search(A, orders=[MeterRow.reading.desc()], count=Count.EXACT)
    assert (page.items, page.total_count) == ((two, one), 2)
    assert await tools.meters.count(A, [MeterRow.reading > 10]) == 1
    assert not await tools.clamps.exists(A, [ClampRow.reading > 10])
    assert [item async for item in tools.meters.stream(A, orders=[ToolRow.name.desc()])] == [two, one]
    [stats] = await tools.meters.aggregate(A, [ToolRow.name != "x"], into=Stats)
    assert stats == Stats(2, 20)
    assert [item.kind for item in (await tools.tools.search(A)).items] == ["clamp", "meter", "hammer", "tool"]
    with pytest.raises(InvalidFilter, match="refers to another table"):
        await tools.tools.search(A, [MeterRow.reading > 10])


@dataclass(frozen=True)
class Stats:
    rows: Annotated[int, count()]
    most: Annotated[int | None, max_(MeterRow.reading)]


class MeterFilter(Filter[MeterRow]):
    name: StringFilter | None = None
    reading: NumberFilter | None = None


@pytest.mark.parametrize("order", [ToolRow.name, MeterRow.unit, MeterRow.reading.desc()], ids=str)
async def test_pages_are_exact_over_columns_of_any_table(tools: Tools, order: Any) -> None:
    """Forwards, backwards and by offset, under a filter over two of them."""
    for id in range(10, 15):
        await tools.meters.create(MeterCreate(id, f"n{id}", reading=id % 2 or None), scope=A)
    wanted = MeterFilter(name=StringFilter(starts_with="n"), NOT=MeterFilter(reading=NumberFilter(gt=5)))
    everything = [item.id for item in (await tools.meters.search(A, wanted, orders=[order])).items]
    assert sorted(everything) == [10, 11, 12, 13, 14]
    forwards, page = list[int](), None
    while page is None or page.has_next_page:
        mode = CursorForwardPagination(2, after=page.end_cursor if page else None)
        page = await tools.meters.search(A, wanted, mode, orders=[order])
        forwards += [item.id for item in page.items]
    assert forwards == everything
    back = await tools.meters.search(A, wanted, CursorBackwardPagination(2, before=page.start_cursor), orders=[order])
    assert [item.id for item in back.items] == everything[2:4]
    offset = await tools.meters.search(A, wanted, OffsetPagination(2, offset=1), orders=[order])
    assert [item.id for item in offset.items] == everything[1:3]


@dataclass(frozen=True)
class CheckData:
    id: int
    meter: MeterData


@dataclass(frozen=True)
class CheckId:
    id: int


@dataclass(frozen=True)
class MeterCard:
    label: Annotated[str, Expr(ToolRow.name + " " + MeterRow.unit)]
    siblings: Annotated[
        int,
        Expr(
            sa.select(sa.func.count())
            .select_from(CheckRow)
            .where(CheckRow.meter_id == MeterRow.id, MeterRow.reading > ToolRow.uses)
            .scalar_subquery()
        ),
    ]
    checks: tuple[CheckId, ...]


@dataclass(frozen=True)
class CheckCard:
    meter: MeterCard


class CheckRepository(Repository[CheckRow, CheckData, int]):
    pass


async def test_projections_reach_all_tables_and_lead_to_them(tools: Tools) -> None:
    """Computed fields over columns of two tables, related rows that are kept in two, and rows related to those."""
    async with tools.db.begin_session() as db_sess:
        await db_sess.execute(sa.insert(CheckRow), [{"id": 1, "meter_id": 1}, {"id": 2, "meter_id": 1}])
    card = MeterCard("one V", 2, (CheckId(1), CheckId(2)))
    assert await tools.meters.get(1, A, into=MeterCard) == card
    assert await tools.meters.get(2, A, into=MeterCard) == MeterCard("two V", 0, ())
    checks = CheckRepository(tools.db)
    assert await checks.get(1) == CheckData(1, await tools.meters.get(1, A))
    assert await checks.get(1, into=CheckCard) == CheckCard(card)
    assert await tools.clamps.update(1, ClampPatch(width=OptionalState.update(9)), scope=A)
    with pytest.raises(StillReferenced):
        await tools.tools.purge(1, scope=A)
    assert await tools.held() == HELD


@dataclass(frozen=True)
class Reads(SearchScope):
    """Meters up to a reading, or whatever is wide: nothing of it can be stamped."""

    most: int

    def to_conditions(self) -> Sequence[Condition]:
        return [AnyOf(ToolRow.tenant == "b", MeterRow.reading <= self.most)]


async def test_a_scope_may_be_about_any_of_the_tables(tools: Tools) -> None:
    """It decides in the statement that locks the row; a row that would leave it is undone, in all tables."""
    meters, scope = tools.meters, Reads(15)
    assert [item.id for item in (await meters.search(scope)).items] == [1, 5]
    for call in (meters.update(2, MeterPatch(uses=OptionalState.update(9)), scope=scope), meters.purge(2, scope=scope)):
        with pytest.raises(EntityNotFound):
            await call
    out = MeterPatch(uses=OptionalState.update(9), reading=TriState.update(16))
    for leaving in (meters.update(1, out, scope=scope), meters.update_where([MeterRow.id == 1], out, scope=scope)):
        with pytest.raises(ScopeMismatch):
            await leaving
    assert await meters.get(1, A) == MeterData(1, "a", "clamp", "one", 1, 1, "V", 10)
    assert (await meters.update(1, MeterPatch(reading=TriState.update(15)), scope=scope)).reading == 15
    with pytest.raises(ScopeMismatch):
        await meters.create(TenantsMeter(1, "b", 3), scope=Narrow())
    with pytest.raises(EntityAlreadyExists):
        await meters.create(TenantsMeter(1, "c", 3), scope=Narrow())
    assert (await meters.create(TenantsMeter(7, "c", 3), scope=Narrow())).id == 7
    assert await tools.held() == {**HELD, "tools": [1, 2, 3, 4, 5, 7], "meters": [1, 2, 5, 7]}


@dataclass(frozen=True)
class Narrow(SearchScope):
    def to_conditions(self) -> Sequence[Condition]:
        return [ToolRow.tenant > "b", MeterRow.reading < 5]


@dataclass(frozen=True)
class TenantsMeter(MeterCreate):
    def __init__(self, id: int, tenant: str, reading: int) -> None:
        object.__setattr__(self, "given", {"id": id, "tenant": tenant, "name": f"name {id}", "reading": reading})

    def to_values(self) -> dict[str, Any]:
        return dict(vars(self)["given"])


async def test_an_update_goes_to_every_table_concerned(tools: Tools) -> None:
    """The version goes up with any of them, ``onupdate`` counts for the whole row, expressions read it as it was."""
    patch = ClampPatch(
        uses=OptionalState.update(40),
        reading=TriState.update(4),
        width=OptionalState.expression(lambda: ToolRow.uses + MeterRow.reading + ClampRow.width),
    )
    done = await tools.clamps.update(1, patch, scope=A, expected_version=1)
    assert done == ClampData(1, "a", "clamp", "one", 40, 2, "V", 4, 1, 1 + 10 + 5)
    with pytest.raises(StaleVersion):
        await tools.clamps.update(1, patch, scope=A, expected_version=1)
    async with tools.db.begin_session() as db_sess:
        assert (await db_sess.execute(sa.select(ClampRow.turned, ToolRow.seen).where(ClampRow.id == 1))).one() == (
            1,
            "changed",
        )
    with pytest.raises(InvalidValue, match="is the key of 3 tables"):
        await tools.clamps.update(1, ClampPatch(id=OptionalState.update(9)), scope=A)
    assert await tools.clamps.update(1, ClampPatch(), scope=A) == done


async def test_deleted_rows_are_marked_where_the_mark_is_kept(tools: Tools) -> None:
    """In a table above or in the class's own."""
    await tools.clamps.delete(1, scope=A)
    assert await tools.meters.find(1, A) is None
    assert (await tools.meters.restore(1, scope=A)).version == 3
    idle = IdleRepository(tools.db)
    assert (await idle.delete(1)).unit == "gone"
    assert [item.id for item in (await idle.search()).items] == [2, 5]
    with pytest.raises(EntityNotFound):
        await idle.update(1, MeterPatch(uses=OptionalState.update(2)))
    assert (await idle.restore(1)).unit == "V"


class IdleRepository(Repository[MeterRow, MeterData, int]):
    soft_delete = SoftDelete(MeterRow.unit, deleted="gone", restored="V")


async def test_batches_with_one_patch_report_every_id(tools: Tools) -> None:
    """Those of siblings and strangers are missing, and stale ones keep all as it was."""
    patch, ids = MeterPatch(uses=OptionalState.update(8), reading=TriState.update(3)), [5, 2, 3, 1]
    done = await tools.meters.batch_update(ids, patch, scope=A)
    assert ([(item.id, item.uses, item.reading) for item in done.succeeded], done.missing) == (
        [(2, 8, 3), (1, 8, 3)],
        [5, 3],
    )
    with pytest.raises(StaleVersion) as stale:
        await tools.meters.batch_update([1, 2], patch, scope=A, expected_versions={1: 2, 2: 1})
    assert stale.value.stale == (2,)
    assert (await tools.meters.get(1, A)).version == 2
    assert await tools.meters.update_where([MeterRow.reading == 3], patch, scope=A) == 2
    assert await tools.meters.delete_where([ToolRow.name == "two"], scope=A) == 1
    assert [item.id for item in (await tools.meters.batch_restore([1, 2], scope=A)).succeeded] == [2]


async def test_a_purge_removes_every_part(tools: Tools) -> None:
    """Through a class above as through the row's own: what the classes below have of it goes first."""
    assert await tools.tools.purge(1, scope=A) == ToolData(1, "a", "clamp", "one", 1, 1)
    assert await tools.held() == {"tools": [2, 3, 4, 5], "meters": [2, 5], "clamps": [5]}
    result = await tools.tools.batch_purge([5, 4, 2], scope=A)
    assert ([item.id for item in result.succeeded], result.missing) == ([4, 2], [5])
    assert await tools.held() == {"tools": [3, 5], "meters": [5], "clamps": [5]}
    assert (await tools.tools.purge_where([ToolRow.id > 0], scope=B, dry_run=True)).rows == 1
    assert (await tools.tools.purge_where([ToolRow.id > 0], scope=B)).rows == 1
    assert await tools.held() == {"tools": [3], "meters": [], "clamps": []}


async def test_purges_over_conditions_walk_in_chunks_and_in_units(tools: Tools) -> None:
    """Chunk by chunk, some of them only, or in one transaction: a row goes whole each time."""
    for id in range(10, 17):
        await tools.clamps.create(ClampCreate(id, f"n{id}", reading=1), scope=A)
    some = [MeterRow.reading == 1]
    report = await tools.meters.purge_where(some, scope=A, chunk_size=2, max_rows=3, pause=0)
    assert (report.rows, report.complete) == (3, False)
    async with tools.db.unit_of_work():
        inner = await tools.meters.purge_where(some, scope=A, chunk_size=None)
    assert (inner.rows, inner.complete) == (4, True)
    assert await tools.held() == HELD


async def test_nothing_is_half_written(tools: Tools) -> None:
    """Where a constraint of a further table says no, the tables before it are as they were, also in a unit of work."""
    before = await tools.clamps.get(1, A)
    writes: list[Callable[[], Awaitable[Any]]] = [
        lambda: tools.clamps.create(ClampCreate(9, "nine", reading=-1), scope=A),
        lambda: tools.clamps.update(1, ClampPatch(uses=OptionalState.update(9), reading=TriState.update(-1)), scope=A),
        lambda: tools.meters.batch_update([2, 1], BAD, scope=A),
        lambda: tools.meters.update_where([ToolRow.id == 1], BAD, scope=A),
    ]
    for write in writes:
        async with tools.db.unit_of_work():
            with pytest.raises(CheckViolation) as caught:
                await write()
        assert caught.value.facts.constraint == "ck_meters_reading"
    assert await tools.held() == HELD
    assert await tools.clamps.get(1, A) == before


BAD = MeterPatch(uses=OptionalState.update(9), reading=TriState.update(-1))


async def test_objects_of_a_session_keep_up(tools: Tools) -> None:
    """What it holds of the row is up to date after an update, and gone after a purge, whatever it was loaded as."""
    async with tools.db.unit_of_work() as unit:
        row = (await unit.session.scalars(sa.select(ToolRow).where(ToolRow.id == 1).options(WITH_PARTS))).one()
        assert isinstance(row, ClampRow)
        await tools.clamps.update(1, ClampPatch(uses=OptionalState.update(9), width=OptionalState.update(3)), scope=A)
        assert (row.uses, row.width, row.version) == (9, 3, 2)
        row.reading = 77
        assert (await tools.meters.get(1, A)).reading == 77
        assert (await tools.meters.purge(1, scope=A)).version == 3
        assert row not in unit.session
    assert 1 not in (await tools.held())["tools"]


WITH_PARTS = selectinload(MeterRow.checks)


async def test_rows_themselves_are_given_of_their_class(tools: Tools) -> None:
    """By a repository that gives rows: whole ones, with the columns of all tables."""
    rows = RowRepository(tools.db)
    assert [type(row) for row in (await rows.search()).items] == [ClampRow, MeterRow, ClampRow]
    changed = await rows.update(2, MeterPatch(unit=OptionalState.update("A")))
    assert (changed.unit, changed.name, changed.version) == ("A", "two", 2)
    assert (await rows.purge(2)).reading == 20


class RowRepository(Repository[MeterRow]):
    pass


async def test_no_write_moves_a_row_to_another_class(tools: Tools) -> None:
    """What says of which class a row is stays, where another class keeps its rows elsewhere."""
    to_tool, to_clamp = OptionalState.update("tool"), OptionalState.update("clamp")
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: tools.tools.update(1, ToolPatch(kind=to_tool), scope=A),
        lambda: tools.tools.batch_update([1], ToolPatch(kind=to_tool), scope=A),
        lambda: tools.tools.batch_update_each({1: ToolPatch(kind=to_tool)}, scope=A),
        lambda: tools.tools.update_where([ToolRow.id == 1], ToolPatch(kind=to_tool), scope=A),
        lambda: tools.meters.update(2, MeterPatch(kind=to_clamp), scope=A),
        lambda: tools.clamps.update(1, ClampPatch(kind=to_tool), scope=A),
        lambda: tools.tools.upsert(ToolOfKind(1, "one", "tool"), scope=A),
        lambda: tools.tools.create(ToolOfKind(8, "eight", "clamp"), scope=A),
        lambda: tools.tools.batch_create([ToolOfKind(8, "eight", "meter")], scope=A),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match="of another class"):
            await call()
    upserted = await tools.tools.upsert(ToolCreate(1, "one", 6), scope=A)
    assert (upserted.inserted, upserted.data.kind, upserted.data.uses) == (False, "clamp", 6)
    made = await tools.tools.create(ToolOfKind(8, "eight", "hammer"), scope=A)
    assert (await tools.hammers.get(8, A)) == made


@dataclass(frozen=True)
class ToolOfKind(ToolCreate):
    def __init__(self, id: int, name: str, kind: str) -> None:
        object.__setattr__(self, "given", {"id": id, "name": name, "kind": kind})

    def to_values(self) -> dict[str, Any]:
        return dict(vars(self)["given"])


@pytest.fixture
async def on_postgresql(with_tables: WithTables) -> AsyncIterator[Tools]:
    async with with_tables(*TOOLS, CheckRow) as db:
        yield await filled(db)


MOVED: dict[str, Callable[[AsyncSession], Awaitable[Any]]] = {
    "out of the scope": lambda db_sess: db_sess.execute(sa.text("UPDATE tools SET tenant = 'b' WHERE id = 1")),
    "out of the filter": lambda db_sess: db_sess.execute(sa.text("UPDATE meters SET reading = 99 WHERE id = 1")),
}


@pytest.mark.parametrize("moved", MOVED)
async def test_the_first_statement_decides_under_its_lock(on_postgresql: Tools, moved: str) -> None:
    """A row that another transaction moves meanwhile, in whichever table, is not there when the wait is over."""
    tools, scope = on_postgresql, InReach()
    writes: list[Awaitable[Any]] = [
        tools.clamps.update(1, ClampPatch(width=OptionalState.update(9)), scope=scope),
        tools.clamps.purge(1, scope=scope),
        tools.meters.delete(1, scope=scope),
    ]
    async with Database(tools.db.engine).begin_session() as db_sess:
        await MOVED[moved](db_sess)
        waiting = [asyncio.ensure_future(write) for write in writes]
        assert await is_waited_for(db_sess, *waiting)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [EntityNotFound] * 3
    assert await tools.held() == HELD


@dataclass(frozen=True)
class InReach(SearchScope):
    def to_conditions(self) -> Sequence[Condition]:
        return [ToolRow.tenant == "a", MeterRow.reading < 50]


async def test_calls_on_a_class_and_on_one_above_wait_for_each_other(on_postgresql: Tools) -> None:
    """Mixed at random they neither deadlock nor lose an update."""
    db, more = on_postgresql.db, OptionalState.expression(lambda: ToolRow.uses + 1)
    # Without the policies that call again after a deadlock.
    clamps, meters = ClampRepository(db, resilience=None), MeterRepository(db, resilience=None)
    tools = ToolRepository(db, resilience=None)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: clamps.update(1, ClampPatch(uses=more, width=OptionalState.update(1)), scope=A),
        lambda: meters.batch_update([2, 1], MeterPatch(uses=more), scope=A),
        lambda: tools.batch_update([3, 1, 2], ToolPatch(uses=more), scope=A),
        lambda: meters.update_where([ToolRow.id < 3], MeterPatch(uses=more), scope=A),
    ]
    await asyncio.gather(*(call() for call in calls * 10))
    assert (await tools.get(1, A)).uses == 41


async def test_a_row_that_comes_once_the_others_are_locked_is_not_waited_for(
    on_postgresql: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of a partial purge once one of its items failed goes on without it, in every table."""
    tools = on_postgresql
    async with tools.db.begin_session() as db_sess:
        db_sess.add(CheckRow(id=1, meter_id=2))
    async with tools.db.engine.connect() as other:
        values = {"id": -1, "tenant": "a", "kind": "tool", "name": "late", "version": 1}
        comes_late(monkeypatch, other, sa.insert(ToolRow.__table__).values(values))
        async with tools.db.unit_of_work() as unit:
            await unit.session.execute(sa.text("SET LOCAL lock_timeout = 1"))
            done = await tools.tools.batch_purge_partial([4, 2, -1], scope=A)
        assert [item.index for item in done.succeeded] == [0]
        assert [type(item.error) for item in done.failed] == [StillReferenced, EntityNotFound]


async def test_how_a_row_is_found_and_locked(on_postgresql: Tools) -> None:
    """Key and scope stand in the first statement, which locks the row in every table; the rest go by the key."""
    tools = on_postgresql
    with count_statements(tools.db) as sent:
        await tools.meters.update(1, MeterPatch(unit=OptionalState.update("A")), scope=A)
    first, *rest = [statement for statement in sent if "SAVEPOINT" not in statement]
    assert "tools.tenant = " in first
    assert first.endswith("FOR NO KEY UPDATE OF tools, meters")
    assert [statement.split()[0] for statement in rest] == ["UPDATE", "UPDATE", "SELECT", "SELECT"]
