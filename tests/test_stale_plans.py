"""A table that is altered under a warm pool: each call succeeds by running its own transaction once more."""

from __future__ import annotations

import enum
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Conflict, Database, OptionalState, Patch, Repository, Spec, StalePlan
from rowsmith.testing import WithTables
from tenants import DomainRow, GroupCreate, GroupId, GroupPatch, GroupRepository, GroupRow, MemberRow

POOL = 3


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    """A repository on a pool of three, with a group more than there are calls."""
    async with with_tables(DomainRow, GroupRow, MemberRow) as made:
        db = Database.from_url(made.engine.url, pool_size=POOL, max_overflow=0)
        groups = GroupRepository(db)
        await groups.batch_create([GroupCreate("a", f"group {number}") for number in range(40)])
        yield groups
        await db.dispose()


class Names:
    """Names and ids that no call before has used."""

    last = 0

    def next(self) -> int:
        Names.last += 1
        return Names.last


names = Names()


def spec() -> GroupCreate:
    return GroupCreate("a", f"new {names.next()}")


def patch() -> GroupPatch:
    return GroupPatch(name=OptionalState.update(f"renamed {names.next()}"))


async def all_of(stream: Any) -> list[Any]:
    return [item async for item in stream]


async def later(specs: list[GroupCreate]) -> AsyncIterator[GroupCreate]:
    for each in specs:
        yield each


async def named(db_sess: AsyncSession, ids: Iterator[int]) -> list[str]:
    found = await db_sess.scalars(sa.select(GroupRow.name).where(GroupRow.id.in_([*ids])))
    return [*found]


async def streamed(db_sess: AsyncSession, ids: Iterator[int]) -> AsyncGenerator[list[str], None]:
    yield await named(db_sess, ids)


async def own_read(groups: GroupRepository, ids: Iterator[int]) -> None:
    assert len(await groups.db_source.read(named, ids)) == 2


async def own_stream(groups: GroupRepository, ids: Iterator[int]) -> None:
    assert len(await all_of(groups.db_source.stream(streamed, ids))) == 2


doomed = map(GroupId, range(5, 38))
"""Keys of rows that no other call asks for."""

NAME = Conflict(constraint="uq_groups_live")

CALLS: dict[str, Callable[[GroupRepository], Awaitable[Any]]] = {
    "get": lambda groups: groups.get(GroupId(1)),
    "search": lambda groups: groups.search(),
    "stream": lambda groups: all_of(groups.stream()),
    "batch_get": lambda groups: groups.batch_get([GroupId(1), GroupId(2)]),
    "own read of an iterator": lambda groups: own_read(groups, iter([1, 2])),
    "own stream of an iterator": lambda groups: own_stream(groups, iter([1, 2])),
    "create": lambda groups: groups.create(spec()),
    "batch_create": lambda groups: groups.batch_create([spec(), spec()]),
    "batch_create of an iterator": lambda groups: groups.batch_create(iter([spec(), spec()])),
    "batch_create_partial": lambda groups: groups.batch_create_partial([spec()]),
    "load of an iterator": lambda groups: groups.load(later([spec(), spec()])),
    "update": lambda groups: groups.update(GroupId(1), patch()),
    "batch_update": lambda groups: groups.batch_update([GroupId(2)], patch()),
    "batch_update_each": lambda groups: groups.batch_update_each({GroupId(3): patch()}),
    "upsert": lambda groups: groups.upsert(spec(), conflict=NAME),
    "batch_upsert": lambda groups: groups.batch_upsert([spec()], conflict=NAME),
    "delete": lambda groups: groups.delete(next(doomed)),
    "purge": lambda groups: groups.purge(next(doomed)),
    "purge_where": lambda groups: groups.purge_where([GroupRow.id == 40]),
}


async def warm(groups: GroupRepository, call: Callable[[GroupRepository], Awaitable[Any]]) -> None:
    """Have every connection of the pool prepare the call's statements."""
    for _ in range(POOL):
        await call(groups)


async def alter(groups: GroupRepository, database: Database) -> None:
    """Change a column's type from elsewhere, so that nothing here learns of it."""
    sizes = f"{100 + names.next()}"
    async with database.engine.begin() as connection:
        await connection.execute(sa.text(f"ALTER TABLE groups ALTER COLUMN name TYPE varchar({sizes})"))


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_runs_once_more(groups: GroupRepository, database: Database, name: str) -> None:
    """On every connection of the pool, by whatever lane it goes, and with iterators that can be read only once."""
    await warm(groups, CALLS[name])
    before = await groups.count()
    await alter(groups, database)
    for _ in range(POOL):
        await CALLS[name](groups)
    made = {"create": 1, "upsert": 1, "batch_upsert": 1, "batch_create_partial": 1}
    made |= {"delete": -1, "purge": -1, "batch_create": 2, "batch_create of an iterator": 2, "load of an iterator": 2}
    assert await groups.count() == before + POOL * made.get(name, 0)


async def test_a_stale_plan_in_a_unit_of_work_is_told(groups: GroupRepository, database: Database) -> None:
    """The unit's earlier work is not the call's to repeat; the error has a type, and quotes nothing."""
    secret = "-".join(["an", "unheard", "of", "name"])
    find = sa.select(GroupRow).where(GroupRow.name == secret)
    for around in (groups.db.unit_of_work, groups.db.begin_session):
        async with around() as opened:
            await getattr(opened, "session", opened).execute(find)
            await groups.get(GroupId(1))
        await alter(groups, database)
        with pytest.raises(StalePlan) as caught:
            async with around() as opened:
                await getattr(opened, "session", opened).execute(find)
        assert secret not in "".join(traceback.format_exception(caught.value))
        await alter(groups, database)
        async with groups.db.begin_session():
            pass
    assert await groups.get(GroupId(1))


class Shade(enum.Enum):
    DARK = "dark"
    LIGHT = "light"


class Base(DeclarativeBase):
    pass


class PaintRow(Base):
    __tablename__ = "paints"

    id: Mapped[int] = mapped_column(primary_key=True)
    shade: Mapped[Shade]


@dataclass(frozen=True)
class Paint:
    id: int
    shade: Shade


@dataclass(frozen=True)
class PaintCreate(Spec[PaintRow]):
    shade: Shade


@dataclass(frozen=True)
class PaintPatch(Patch[PaintRow]):
    shade: OptionalState[Shade]


class PaintRepository(Repository[PaintRow, Paint, int]):
    pass


PAINTS: dict[str, Callable[[PaintRepository], Awaitable[Any]]] = {
    "search": lambda paints: paints.search(None, [PaintRow.shade == Shade.DARK]),
    "create": lambda paints: paints.create(PaintCreate(Shade.LIGHT)),
    "batch_create": lambda paints: paints.batch_create([PaintCreate(Shade.LIGHT)]),
    "update": lambda paints: paints.update(1, PaintPatch(OptionalState.update(Shade.LIGHT))),
}

MADE_ANEW = (
    "ALTER TYPE shade RENAME TO shade_before",
    "CREATE TYPE shade AS ENUM ('DARK', 'LIGHT', 'BRIGHT')",
    "ALTER TABLE paints ALTER shade TYPE shade USING shade::text::shade",
    "DROP TYPE shade_before",
)


def refusals(db: Database) -> int:
    return 0 if db.native is None else db.native.refused["stale plan"]


@pytest.mark.parametrize("is_native", [True, False])
async def test_a_type_that_is_made_anew(with_tables: WithTables, is_native: bool) -> None:
    """Each call is done once, and what was prepared for the type before is not sent a second time."""
    async with with_tables(PaintRow) as made:
        db = Database.from_url(made.engine.url, native=is_native, pool_size=1, max_overflow=0)
        paints = PaintRepository(db)
        await paints.create(PaintCreate(Shade.DARK))
        for name, call in PAINTS.items():
            await call(paints)
            async with made.engine.begin() as connection:
                for statement in MADE_ANEW:
                    await connection.exec_driver_sql(statement)
            before = await paints.count()
            await call(paints)
            assert await paints.count() == before + ("create" in name)
            found_stale = refusals(db)
            await call(paints)
            assert refusals(db) == found_stale, name
        await db.dispose()
