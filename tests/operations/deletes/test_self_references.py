"""Removing rows of a table that refer to each other, in chunks that are smaller than what they make together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Condition, Database, InvalidValue, Repository, SearchScope, SoftDelete, StillReferenced
from rowsmith.operations.deletes import where
from rowsmith.testing import WithTables, tables
from support import count_statements, is_waited_for, until


class Base(DeclarativeBase):
    pass


class Node:
    tenant: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    parent: Mapped[int | None]
    other: Mapped[int | None]
    is_old: Mapped[bool] = mapped_column(default=True)
    is_dead: Mapped[bool] = mapped_column(default=False)


def node(name: str, **options: Any) -> Any:
    """Give a class of rows that refer to rows of the same table, by a key of two columns and by one of another kind."""
    keys = (
        sa.ForeignKeyConstraint(["tenant", "parent"], [f"{name}.tenant", f"{name}.id"], name=f"fk_{name}", **options),
        sa.ForeignKeyConstraint(["tenant", "other"], [f"{name}.tenant", f"{name}.id"], ondelete="CASCADE"),
    )
    return type(f"{name.title()}Row", (Node, Base), {"__tablename__": name, "__table_args__": keys})


KINDS = {
    "plain": node("plain"),
    "restricted": node("restricted", ondelete="RESTRICT"),
    "cascading": node("cascading", ondelete="CASCADE"),
    "deferred": node("deferred", deferrable=True, initially="DEFERRED"),
}


@dataclass(frozen=True)
class Of(SearchScope):
    row: Any
    tenant: int

    def to_conditions(self) -> Sequence[Condition]:
        return [self.row.tenant == self.tenant]


class Nodes:
    """A repository over one of the tables, and what is in it."""

    def __init__(self, row: Any, db: Database) -> None:
        class Rows(Repository[row, row, Any]):  # type: ignore[valid-type]
            soft_delete = SoftDelete(row.is_dead, deleted=True, restored=False)

        self.row, self.db, self.rows = row, db, Rows(db)

    async def fill(self, parents: dict[int, int | None], tenant: int = 1) -> None:
        """Put rows there, each with its parent."""
        async with self.db.begin_session() as session:
            values = [{"tenant": tenant, "id": id, "parent": None} for id in parents]
            await session.execute(sa.insert(self.row.__table__), values)
            for id, parent in parents.items():
                here = (self.row.tenant == tenant) & (self.row.id == id)
                await session.execute(sa.update(self.row.__table__).where(here).values(parent=parent))

    async def ids(self) -> list[int]:
        """Give which rows are left."""
        async with self.db.begin_session() as session:
            return list(await session.scalars(sa.select(self.row.id).order_by(self.row.id)))


DOWN = {0: None, **{id: id - 1 for id in range(1, 25)}}
UP = {24: None, **{id: id + 1 for id in range(24)}}
MIXED = {id: {5: 20, 20: 3, 3: 17, 17: 9, 9: 24, 24: 0}.get(id) for id in range(25)}
SELVES = {id: id for id in range(25)}
CIRCLE = {id: (id + 1) % 25 for id in range(25)}
TAILED = {**{id: (id + 1) % 12 for id in range(12)}, **{id: id - 1 for id in range(12, 25)}}

SHAPES = {"down": DOWN, "up": UP, "mixed": MIXED, "selves": SELVES, "circle": CIRCLE, "tailed": TAILED}


@pytest.mark.parametrize("kind", KINDS)
async def test_rows_that_keep_each_other(any_tables: WithTables, kind: str) -> None:
    """They all go, whichever way their keys grow, circles that are longer than a chunk too."""
    async with any_tables(KINDS[kind]) as db:
        nodes = Nodes(KINDS[kind], db)
        keeps_circles = kind == "restricted" and db.engine.dialect.name == "sqlite"
        for name, shape in SHAPES.items():
            if keeps_circles and name in ("circle", "tailed"):
                continue
            await nodes.fill(shape)
            report = await nodes.rows.purge_where([nodes.row.id >= 0], chunk_size=4, pause=0)
            assert (name, report.rows, report.complete) == (name, 25, True)
            assert await nodes.ids() == []


async def test_a_circle_of_restrict_on_sqlite(sqlite_database: Database) -> None:
    """SQLite lets no statement remove it, and that is what is said; what hung on it is gone."""
    async with tables(sqlite_database, KINDS["restricted"]) as db:
        nodes = Nodes(KINDS["restricted"], db)
        await nodes.fill(TAILED)
        with pytest.raises(StillReferenced) as caught:
            await nodes.rows.purge_where([], all_rows=True, chunk_size=4, pause=0)
        assert caught.value.report.rows == 13
        assert await nodes.ids() == list(range(12))


async def test_chunks_are_full_where_they_can_be(any_tables: WithTables) -> None:
    """Where children have the later keys, and where they have the earlier ones."""
    async with any_tables(KINDS["plain"]) as db:
        nodes = Nodes(KINDS["plain"], db)
        for shape in (DOWN, UP):
            await nodes.fill(shape)
            report = await nodes.rows.purge_where([], all_rows=True, chunk_size=5, pause=0)
            assert (report.rows, report.chunks) == (25, 5)


@pytest.mark.parametrize("chunk_size", [4, None])
async def test_a_row_that_is_not_to_go_keeps_those_above_it(any_tables: WithTables, chunk_size: int | None) -> None:
    """The database says so; another scope's row is none that goes, a deleted one is."""
    async with any_tables(KINDS["plain"]) as db:
        nodes = Nodes(KINDS["plain"], db)
        await nodes.fill(DOWN)
        await nodes.fill(DOWN, tenant=2)
        await nodes.rows.batch_delete([(1, 3), (1, 9)])
        row, scope = nodes.row, Of(nodes.row, 1)
        assert (await nodes.rows.purge_where([row.id != 20], scope=scope, dry_run=True)).rows == 24
        with pytest.raises(StillReferenced):
            await nodes.rows.purge_where([row.id != 20], scope=scope, chunk_size=chunk_size, pause=0)
        report = await nodes.rows.purge_where([row.id >= 0], scope=scope, chunk_size=chunk_size, pause=0)
        assert report.complete
        assert await nodes.ids() == list(range(25))


@pytest.mark.parametrize("chunk_size", [4, None])
@pytest.mark.parametrize("shape", ["down", "up", "mixed", "circle"])
@pytest.mark.parametrize("kind", ["plain", "cascading"])
async def test_no_more_rows_than_asked_for(
    any_tables: WithTables, shape: str, chunk_size: int | None, kind: str
) -> None:
    """Those go that can, and a later call goes on; a circle cannot in part, and that is said."""
    async with any_tables(KINDS[kind]) as db:
        nodes = Nodes(KINDS[kind], db)
        await nodes.fill(SHAPES[shape])
        options: Any = {"all_rows": True, "chunk_size": chunk_size, "pause": 0}
        if shape == "circle":
            with pytest.raises(StillReferenced if kind == "plain" else InvalidValue):
                await nodes.rows.purge_where([], max_rows=9, **options)
            assert len(await nodes.ids()) == 25
            return
        reports = [await nodes.rows.purge_where([], max_rows=9, **options) for _ in range(3)]
        assert [(report.rows, report.complete) for report in reports] == [(9, False), (9, False), (7, True)]
        assert await nodes.ids() == []


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk_size", [1, 4, 100, None])
async def test_what_is_counted_is_what_is_gone(any_tables: WithTables, shape: str, chunk_size: int | None) -> None:
    """What others would take along goes by itself, in chunks and at once; what does not match goes beside."""
    row = KINDS["cascading"]
    async with any_tables(row) as db:
        nodes = Nodes(row, db)
        await nodes.fill(SHAPES[shape])
        await nodes.fill({100: 3})
        async with db.begin_session() as session:
            await session.execute(sa.update(row).where(row.id == 100).values(is_old=False))
        assert (await nodes.rows.purge_where([row.is_old], dry_run=True)).rows == 25
        report = await nodes.rows.purge_where([row.is_old], chunk_size=chunk_size, pause=0)
        assert (report.rows, report.complete) == (25, True)
        assert await nodes.ids() == []


async def test_a_leaf_that_is_locked_is_waited_for(with_tables: WithTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it hangs on is no circle: nothing goes until the lock does, and then all of it."""
    async with with_tables(KINDS["plain"]) as db:
        nodes = Nodes(KINDS["plain"], db)
        await nodes.fill(DOWN)
        async with Database(db.engine).begin_session() as other:
            await other.execute(sa.select(nodes.row.id).where(nodes.row.id == 24).with_for_update())
            monkeypatch.setattr(where, "FIRST_WAIT", 0.01)
            with count_statements(db) as statements:
                purge = asyncio.create_task(nodes.rows.purge_where([], all_rows=True, chunk_size=4, pause=0))
                await until(lambda: asyncio.sleep(0, len(statements) >= 60 or purge.done()))  # passes over them all
            assert (purge.done(), len(await nodes.ids())) == (False, 25)
        assert (await purge).rows == 25


async def test_rows_that_come_meanwhile(any_tables: WithTables) -> None:
    """A child that comes below a row that is still to go is removed too; stopped on the way, the next call goes on."""
    async with any_tables(KINDS["plain"]) as db:
        nodes = Nodes(KINDS["plain"], db)
        await nodes.fill(DOWN)
        loop, added = asyncio.get_running_loop(), list[asyncio.Task[None]]()

        def add(done: int) -> None:
            if done == 4:
                added.append(loop.create_task(nodes.fill({99: 2})))

        report = await nodes.rows.purge_where([], all_rows=True, chunk_size=4, pause=0.1, progress=add)
        assert (report.rows, await nodes.ids()) == (26, [])
        await nodes.fill(DOWN)

        def stop(done: int) -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await nodes.rows.purge_where([], all_rows=True, chunk_size=4, progress=stop)
        assert len(await nodes.ids()) == 21
        assert (await nodes.rows.purge_where([], all_rows=True, chunk_size=4, pause=0)).rows == 21


@pytest.mark.parametrize("kind", ["plain", "cascading"])
@pytest.mark.parametrize("verb", ["batch_purge", "batch_purge_partial", "purge_where"])
async def test_a_row_that_others_rewrite_meanwhile_goes_and_is_counted(
    with_tables: WithTables, kind: str, verb: str
) -> None:
    """A statement that waited for it would see it as it was: the foreign key would take it along, or keep another."""
    row = KINDS[kind]
    async with with_tables(row) as db:
        nodes = Nodes(row, db)
        await nodes.fill({1: None, 2: 1, 3: 2, 4: None})
        ids = [(1, id) for id in (1, 2, 3, 4)]
        calls: dict[str, Any] = {
            "batch_purge": lambda: nodes.rows.batch_purge(ids),
            "batch_purge_partial": lambda: nodes.rows.batch_purge_partial(ids),
            "purge_where": lambda: nodes.rows.purge_where([row.tenant == 1], chunk_size=None),
        }
        async with db.engine.connect() as other:
            await other.execute(sa.update(row.__table__).where(row.id == 2).values(is_old=False))
            call = asyncio.ensure_future(calls[verb]())
            assert await is_waited_for(other, call)
            await other.commit()
        done = await call
        assert (done.rows if verb == "purge_where" else len(done.succeeded)) == 4
        assert await nodes.ids() == []


@pytest.mark.parametrize("chunk_size", [2, 10, None])
async def test_a_row_that_others_rewrite_before_it_is_locked_is_counted(
    with_tables: WithTables, chunk_size: int | None
) -> None:
    """Between what a chunk's statement has seen and its locks: it does not wait for them."""
    row = KINDS["cascading"]
    async with with_tables(row) as db:
        nodes = Nodes(row, db)
        await nodes.fill({1: None, 2: 1, 3: 2, 4: None})
        pausing = sa.type_coerce(sa.text("pg_advisory_xact_lock_shared(77)::text = ''"), sa.Boolean)
        async with db.engine.connect() as other:
            await other.execute(sa.select(sa.func.pg_advisory_xact_lock(77)))
            call = asyncio.ensure_future(nodes.rows.purge_where([row.tenant == 1, pausing], chunk_size=chunk_size))
            assert await is_waited_for(other, call)
            await other.execute(sa.update(row.__table__).where(row.id == 2).values(is_old=False))
            await other.commit()
        assert ((await call).rows, await nodes.ids()) == (4, [])


@dataclass(frozen=True)
class Tied:
    tenant: int
    id: int
    parent: int | None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("into", ["data", "rows"])
async def test_rows_that_others_of_the_batch_take_along_are_given(
    any_tables: WithTables, shape: str, into: str
) -> None:
    """They are removed by the call, as they were: what is missing is what was not there, or not in reach."""
    row = KINDS["cascading"]
    async with any_tables(row) as db:
        nodes = Nodes(row, db)

        class Data(Repository[row, Tied, Any]): ...  # type: ignore[valid-type]

        rows: Any = nodes.rows if into == "rows" else Data(db)
        await nodes.fill({1: None}, tenant=2)
        for verb in (rows.batch_purge, rows.batch_purge_partial):
            await nodes.fill(SHAPES[shape])
            ids = [(1, 99), *((1, id) for id in range(25)), (2, 1)]
            result = await verb(ids, scope=Of(row, 1))
            if verb == rows.batch_purge:
                done, missing = result.succeeded, result.missing
            else:
                done, missing = [each.data for each in result.succeeded], [ids[each.index] for each in result.failed]
            assert [(each.id, each.parent) for each in done] == sorted(SHAPES[shape].items())
            assert missing == [(1, 99), (2, 1)]
            assert await nodes.ids() == [1]


class ShelfRow(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[int | None] = mapped_column(
        sa.ForeignKey("labels.id", ondelete="CASCADE", use_alter=True, name="fk_shelves_label")
    )


class LabelRow(Base):
    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf: Mapped[int | None] = mapped_column(sa.ForeignKey("shelves.id", ondelete="CASCADE"))


class Shelves(Repository[ShelfRow, ShelfRow, int]): ...


async def test_rows_that_are_taken_along_by_way_of_another_table(any_tables: WithTables) -> None:
    """They are given and counted, too."""
    async with any_tables(ShelfRow, LabelRow) as db:
        shelves = Shelves(db)

        async def fill() -> None:
            async with db.begin_session() as session:
                await session.execute(sa.insert(ShelfRow), [{"id": 1, "label": None}])
                await session.execute(sa.insert(LabelRow), [{"id": 1, "shelf": 1}])
                await session.execute(sa.insert(ShelfRow), [{"id": 2, "label": 1}])

        await fill()
        result = await shelves.batch_purge([1, 2])
        assert ([shelf.id for shelf in result.succeeded], result.missing) == ([1, 2], [])
        for chunk_size in (5, None):
            await fill()
            assert (await shelves.purge_where([ShelfRow.id > 0], chunk_size=chunk_size, pause=0)).rows == 2
            assert await shelves.count() == 0
