"""Rows that a trigger writes back into, of a table that is written with theirs by a foreign key (ON UPDATE CASCADE)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Database, OptionalState, Patch, RefusedByTrigger, Repository, ScopeMismatch
from rowsmith.testing import WithTables
from says import Says


class Base(DeclarativeBase):
    pass


class ShelfRow(Base):
    __tablename__ = "shelves"
    __table_args__ = (sa.UniqueConstraint("id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    uses: Mapped[int] = mapped_column(default=0)


class CopyRow(Base):
    __tablename__ = "shelf_copies"
    __table_args__ = (
        sa.UniqueConstraint("id", "name"),
        sa.ForeignKeyConstraint(["id", "name"], ["shelves.id", "shelves.name"], onupdate="CASCADE", ondelete="CASCADE"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@dataclass(frozen=True)
class Shelf:
    id: int
    name: str
    uses: int


@dataclass(frozen=True)
class Named(Patch[ShelfRow]):
    name: OptionalState[str] = OptionalState.nop()


class Shelves(Repository[ShelfRow, Shelf, int]):
    pass


MOVES = "UPDATE shelves SET owner = 'b' WHERE id = new.id"
COUNTS = "UPDATE shelves SET uses = uses + 1 WHERE id = new.id"
RETURNS = "INSERT INTO shelves (id, owner, name, uses) VALUES (old.id, 'a', old.name, 0)"


@asynccontextmanager
async def followed(made: WithTables, event: str, does: str) -> AsyncIterator[Database]:
    """Have two shelves, each with a copy that follows its name, and a trigger of the copies."""
    async with made(ShelfRow, CopyRow) as db:
        is_sqlite = db.engine.dialect.name == "sqlite"
        async with db.engine.begin() as connection:
            await connection.execute(sa.insert(ShelfRow), [{"id": n, "owner": "a", "name": f"s{n}"} for n in (1, 2)])
            await connection.execute(sa.insert(CopyRow), [{"id": n, "name": f"s{n}"} for n in (1, 2)])
            on = f"CREATE TRIGGER follow AFTER {event} ON shelf_copies"
            if is_sqlite:
                await connection.exec_driver_sql(f"{on} BEGIN {does}; END")
            else:
                await connection.exec_driver_sql(
                    f"CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN NULL; END $$"
                )
                await connection.exec_driver_sql(f"{on} FOR EACH ROW EXECUTE FUNCTION follow()")
        await db.engine.dispose()  # what is asked once for each connection is asked again
        try:
            yield db
        finally:
            if not is_sqlite:
                async with db.engine.begin() as connection:
                    await connection.exec_driver_sql("DROP FUNCTION follow() CASCADE")


def named(name: str) -> Named:
    return Named(OptionalState.update(name))


A = Says(ShelfRow.owner == "a")
Call = Callable[[Shelves], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "update": lambda shelves: shelves.update(1, named("x"), scope=A),
    "batch_update_each": lambda shelves: shelves.batch_update_each({1: named("x"), 2: named("y")}, scope=A),
    "batch_update_partial": lambda shelves: shelves.batch_update_partial({1: named("x")}, scope=A),
    "update_where": lambda shelves: shelves.update_where([ShelfRow.id == 1], named("x"), scope=A),
}
REMOVING: tuple[Call, ...] = (
    lambda shelves: shelves.purge(1, scope=A),
    lambda shelves: shelves.batch_purge([1], scope=A),
    lambda shelves: shelves.purge_where([ShelfRow.id == 1], scope=A, chunk_size=None),
)
WAYS = ("alone", "statement", "by SQLAlchemy", "session")


async def called(call: Call, db: Database, way: str) -> Any:
    async with AsyncExitStack() as stack:
        if way == "session":
            await stack.enter_async_context(db.unit_of_work())
        if way == "statement":
            stack.enter_context(db.writes_as("statement"))
        result = await call(Shelves(Database(db.engine, native=False) if way == "by SQLAlchemy" else db))
        if failed := getattr(result, "failed", ()):
            raise failed[0].error
        return result


async def stored(db: Database) -> dict[int, tuple[Any, ...]]:
    async with db.engine.connect() as connection:
        rows = await connection.execute(sa.text("SELECT id, owner, name, uses FROM shelves"))
        return {row[0]: tuple(row[1:]) for row in rows}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CALLS)
async def test_the_data_is_what_was_written_back(any_tables: WithTables, name: str, way: str) -> None:
    """By every verb that changes what the other table follows."""
    async with followed(any_tables, "UPDATE", COUNTS) as db:
        result = await called(CALLS[name], db, way)
        rows = await stored(db)
        assert rows[1] == ("a", "x", 1)
        given = [] if isinstance(result, int) else getattr(result, "succeeded", [result])
        for each in (getattr(one, "data", one) for one in given):
            assert ("a", each.name, each.uses) == rows[each.id]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CALLS)
async def test_a_row_that_is_taken_out_of_its_scope_is_refused(any_tables: WithTables, name: str, way: str) -> None:
    """And nothing of it is kept."""
    async with followed(any_tables, "UPDATE", MOVES) as db:
        before = await stored(db)
        with pytest.raises(ScopeMismatch):
            await called(CALLS[name], db, way)
        assert await stored(db) == before


async def test_a_row_that_is_put_back_from_below_is_refused(any_tables: WithTables) -> None:
    """By a trigger of what went with it."""
    async with followed(any_tables, "DELETE", RETURNS) as db:
        before = await stored(db)
        for way in WAYS:
            for call in REMOVING:
                with pytest.raises(RefusedByTrigger):
                    await called(call, db, way)
        assert await stored(db) == before
