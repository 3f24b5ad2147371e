"""Rows that a trigger puts back once they are removed: no verb says that they are gone, and none goes on for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Database, RefusedByTrigger, Repository, TransactionAborted
from rowsmith.testing import WithTables
from says import Says
from support import count_statements, share


class Base(DeclarativeBase):
    pass


class LeafRow(Base):
    __tablename__ = "leaves"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    is_firm: Mapped[bool]
    is_gone: Mapped[bool] = mapped_column(default=False)
    above_id: Mapped[int | None]


class TwigRow(Base):
    __tablename__ = "twigs"

    id: Mapped[int] = mapped_column(primary_key=True)
    is_firm: Mapped[bool]
    above_id: Mapped[int | None] = mapped_column(sa.ForeignKey("twigs.id"))


class StemRow(Base):
    __tablename__ = "stems"
    __mapper_args__ = {"polymorphic_on": "kind"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    is_firm: Mapped[bool]


class RoseRow(StemRow):
    __tablename__ = "roses"
    __mapper_args__ = {"polymorphic_identity": "rose"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("stems.id"), primary_key=True)
    colour: Mapped[str]


@dataclass(frozen=True)
class Leaf:
    id: int
    owner: str


@dataclass(frozen=True)
class Twig:
    id: int


class Leaves(Repository[LeafRow, Leaf, int]):
    pass


class WholeLeaves(Repository[LeafRow, LeafRow, int]):
    pass


class Twigs(Repository[TwigRow, Twig, int]):
    pass


class Roses(Repository[RoseRow, Twig, int]):
    pass


_INTO = "INSERT INTO leaves (id, owner, is_firm, is_gone) VALUES (old.id, {}, old.is_firm, {})"
PUT_BACK = {
    "as it was": _INTO.format("old.owner", "old.is_gone"),
    "marked": _INTO.format("old.owner", "true"),
    "to another": _INTO.format("'b'", "old.is_gone"),
}
NOTHING = "UPDATE {0} SET is_firm = is_firm WHERE id = old.id"


@asynccontextmanager
async def watched(db: Database, table: str, does: str) -> AsyncIterator[None]:
    """Have a trigger do something once a firm row is removed."""
    is_sqlite = db.engine.dialect.name == "sqlite"
    async with db.engine.begin() as connection:
        if is_sqlite:
            await connection.exec_driver_sql(
                f"CREATE TRIGGER back AFTER DELETE ON {table} WHEN old.is_firm BEGIN {does}; END"
            )
        else:
            await connection.exec_driver_sql(
                "CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"IF old.is_firm THEN {does}; END IF; RETURN NULL; END $$"
            )
            await connection.exec_driver_sql(
                f"CREATE TRIGGER back AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION back()"
            )
    await db.engine.dispose()  # what is asked once for each connection is asked again
    try:
        yield
    finally:
        if not is_sqlite:
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION back() CASCADE")


@pytest.fixture(params=PUT_BACK)
async def db(request: pytest.FixtureRequest, any_tables: WithTables) -> AsyncIterator[Database]:
    """Leaves 1 and 2 are firm and are put back, 3 and 4 are not."""
    async with any_tables(LeafRow) as made:
        async with made.engine.begin() as connection:
            leaves = [{"id": n, "owner": "a", "is_firm": n < 3} for n in (1, 2, 3, 4)]
            await connection.execute(sa.insert(LeafRow), leaves)
        async with watched(made, "leaves", PUT_BACK[request.param]):
            yield made


async def raised(result: Awaitable[Any]) -> None:
    """Raise the failure of the one item that has one."""
    done = await result
    assert [success.data.id for success in done.succeeded] == [3]
    (failure,) = done.failed
    assert failure.index == 1
    raise failure.error


A = Says(LeafRow.owner == "a")
Call = Callable[[Any, Says | None], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "purge": lambda leaves, scope: leaves.purge(1, scope=scope),
    "batch_purge": lambda leaves, scope: leaves.batch_purge([3, 1], scope=scope),
    "purge_where at once": lambda leaves, scope: leaves.purge_where([LeafRow.id < 4], scope=scope, chunk_size=None),
    "purge_where, the first": lambda leaves, scope: leaves.purge_where(
        [LeafRow.id < 4], scope=scope, chunk_size=None, max_rows=2
    ),
}
IN_PARTS: dict[str, Call] = {
    "batch_purge_partial": lambda leaves, scope: raised(leaves.batch_purge_partial([3, 1], scope=scope)),
    "purge_where": lambda leaves, scope: leaves.purge_where([LeafRow.id < 4], scope=scope, pause=0),
    "purge_where one by one": lambda leaves, scope: leaves.purge_where(
        [LeafRow.id < 4], scope=scope, chunk_size=1, pause=0
    ),
}
WAYS = ("alone", "statement", "by SQLAlchemy", "session", "objects")


async def called(name: str, db: Database, way: str, scope: Says | None) -> None:
    async with AsyncExitStack() as stack:
        if way == "session":
            await stack.enter_async_context(db.unit_of_work())
        if way == "statement":
            stack.enter_context(db.writes_as("statement"))
        if way == "by SQLAlchemy":
            db = Database(db.engine, native=False)
        async with asyncio.timeout(20):
            await (CALLS | IN_PARTS)[name](WholeLeaves(db) if way == "objects" else Leaves(db), scope)


async def stored(db: Database) -> list[tuple[Any, ...]]:
    async with db.engine.connect() as connection:
        rows = await connection.execute(sa.text("SELECT id, owner, is_gone FROM leaves ORDER BY id"))
        return [(row[0], row[1], bool(row[2])) for row in rows]


@pytest.mark.parametrize("way, scope, name", share(product(WAYS, [A, None], CALLS), 3))
async def test_a_row_that_is_put_back_is_refused(db: Database, name: str, scope: Says | None, way: str) -> None:
    """By every verb and way, and wherever it was put: nothing of the call is kept."""
    before = await stored(db)
    with pytest.raises(RefusedByTrigger):
        await called(name, db, way, scope)
    with suppress(TransactionAborted):
        async with db.unit_of_work():
            with pytest.raises(RefusedByTrigger):
                await called(name, db, "alone", scope)
    assert await stored(db) == before


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("session", "statement")])
@pytest.mark.parametrize("name", IN_PARTS)
async def test_the_parts_of_a_call_are_refused(db: Database, name: str, way: str) -> None:
    """The items that a trigger puts back, and the chunk: none is met again and again."""
    with pytest.raises(RefusedByTrigger):
        await called(name, db, way, A)
    assert [row for row in await stored(db) if row[0] != 3] == [(1, "a", False), (2, "a", False), (4, "a", False)]


async def test_rows_that_are_not_put_back_go(db: Database) -> None:
    """A trigger that lets them go has nothing refused."""
    leaves, scope = Leaves(db), A
    assert (await leaves.purge(3, scope=scope)).id == 3
    report = await leaves.purge_where([LeafRow.id > 2], scope=scope, pause=0)
    assert (report.rows, report.complete) == (1, True)
    assert [row[0] for row in await stored(db)] == [1, 2]


@pytest.mark.parametrize("chunk_size", [1, 2, 100, None])
async def test_rows_that_keep_each_other_go_in_their_turn(any_tables: WithTables, chunk_size: int | None) -> None:
    """As they do where no trigger has them looked for again: children first, each counted once."""
    async with any_tables(TwigRow) as db:
        async with db.engine.begin() as connection:
            twigs = [{"id": n, "is_firm": True, "above_id": {1: 3, 4: 1, 5: 4}.get(n)} for n in (3, 1, 4, 2, 5)]
            for twig in twigs:
                await connection.execute(sa.insert(TwigRow), twig)
        async with watched(db, "twigs", NOTHING.format("twigs")):
            report = await Twigs(db).purge_where([], all_rows=True, chunk_size=chunk_size, pause=0)
            assert (report.rows, report.complete) == (5, True)
            assert await Twigs(db).count() == 0


async def test_rows_of_several_tables_are_refused_too(any_tables: WithTables) -> None:
    """Where a trigger puts back what one of them had."""
    async with any_tables(StemRow, RoseRow) as db:
        tables: list[Any] = [StemRow.__table__, RoseRow.__table__]
        async with db.engine.begin() as connection:
            await connection.execute(sa.insert(tables[0]), [{"id": 1, "kind": "rose", "is_firm": True}])
            await connection.execute(sa.insert(tables[1]), [{"id": 1, "colour": "red"}])
        back = "INSERT INTO stems VALUES (old.id, old.kind, old.is_firm); INSERT INTO roses VALUES (old.id, 'red')"
        async with watched(db, "stems", back):
            roses = Roses(db)
            for call in (
                lambda: roses.purge(1),
                lambda: roses.batch_purge([1]),
                lambda: roses.purge_where([], all_rows=True, chunk_size=None),
                lambda: roses.purge_where([], all_rows=True, pause=0),
            ):
                with pytest.raises(RefusedByTrigger):
                    async with asyncio.timeout(20):
                        await call()
            assert await roses.count() == 1


async def test_a_table_without_triggers_is_not_looked_at_again(with_tables: WithTables) -> None:
    """Its rows are removed by one statement."""
    async with with_tables(LeafRow) as db:
        async with db.engine.begin() as connection:
            leaves = [{"id": n, "owner": "a", "is_firm": True} for n in (1, 2, 3)]
            await connection.execute(sa.insert(LeafRow), leaves)
        leaves_of, scope = Leaves(db), A
        for call in (lambda: leaves_of.purge(1, scope=scope), lambda: leaves_of.batch_purge([2], scope=scope)):
            with count_statements(db) as sent:
                await call()
            assert len(sent) == 1
