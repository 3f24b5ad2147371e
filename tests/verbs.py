"""The verbs of the register as they are called in worlds of the tests, so that what all keep is tried on all of them.

The register is the contract's, in ``rowsmith.testing.contract.verbs``; a verb that is missing there fails
``tests/test_verbs.py``. In each world 1 and 2 are tenant a's, 3 is tenant b's, 4 is tenant a's and deleted; nobody has
99. The worlds differ in how the rows are kept: in a table of their own, in one with other classes, in several.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

import sqlalchemy as sa

from rowsmith import Database, OptionalState, PurgeReport, Repository, RepositoryError, SearchScope, count
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS as REGISTER
from rowsmith.testing.contract.verbs import Does, VerbCall
from rowsmith.testing.contract.verbs import Verb as Registered
from tenants import OwnedBy, ThingCreate, ThingData, ThingPatch, ThingRepository, ThingRow
from tenants.parted import (
    EntriesOf,
    EntryCreate,
    EntryPatch,
    EntryRepository,
    EntryRow,
    ShareCreate,
    SharePatch,
    ShareRepository,
    ShareRow,
    SharesOf,
    year_of,
)
from tenants.tools import (
    TOOLS,
    ClampCreate,
    ClampData,
    ClampPatch,
    ClampRepository,
    ClampRow,
    HammerCreate,
    HammerRepository,
    HammerRow,
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


@dataclass(frozen=True)
class World:
    """Things of some class, in a database: how new ones are made, what changes them, who owns them."""

    things: Any
    row: Any
    spec: Callable[[int], Any]
    patch: Any
    owner: Callable[[str], SearchScope]
    key: Callable[[int], Any] = lambda id: id

    @property
    def in_parts(self) -> bool:
        """Whether a thing is kept in several tables."""
        return len(sa.inspect(self.row).tables) > 1

    @property
    def tables(self) -> list[sa.Table]:
        """The tables of all things of such classes."""
        return [row.__table__ for row in (TOOLS if issubclass(self.row, ToolRow) else (self.row,))]

    async def stored(self) -> dict[tuple[str, int], tuple[Any, ...]]:
        """Give what the tables hold, past the repository: each row by its table and id."""
        found: dict[tuple[str, int], tuple[Any, ...]] = {}
        async with self.things.db.engine.connect() as connection:
            for table in self.tables:
                rows = await connection.execute(sa.select(table))
                found |= {(table.name, _key_in(table, row)): tuple(row) for row in rows}
        return found

    async def refill(self) -> None:
        """Put the world's four things there, and none else."""
        async with self.things.db.unit_of_work() as unit:
            for table in reversed(self.tables):
                await unit.session.execute(sa.delete(table))
            for id, tenant in {1: "a", 2: "a", 3: "b", 4: "a"}.items():
                await self.things.create(self.spec(id), scope=self.owner(tenant))
            await self.things.delete(self.key(4), scope=self.owner("a"))

    async def reset(self, rows: Mapping[tuple[str, int], tuple[Any, ...]]) -> None:
        """Have the tables hold what :meth:`stored` once gave, and nothing else."""
        async with self.things.db.engine.begin() as connection:
            for table in reversed(self.tables):
                await connection.execute(sa.delete(table))
            for table in self.tables:
                names = [column.name for column in table.columns]
                given = [dict(zip(names, row, strict=True)) for (name, _), row in rows.items() if name == table.name]
                if given:
                    await connection.execute(sa.insert(table), given)


def _key_in(table: sa.Table, row: Any) -> Any:
    """Give a row's key: a tuple where it has several parts."""
    parts = [getattr(row, column.name) for column in table.primary_key]
    return tuple(parts) if len(parts) > 1 else parts[0]


OTHERWISE = {"update_where": (2, 4), "delete_where": (2, 4), "restore_where": (2, 4), "purge_where": (4, 7)}
"""How many statements verbs take that are not as :class:`Verb` says of their kind."""


@dataclass(frozen=True)
class Verb:
    """How a verb is called on one row of a world, and what it does to it."""

    call: Callable[[World, int, SearchScope | None], Awaitable[Any]]
    does: Does = Does.READ
    statements: int = 1
    """How many statements that takes at most; savepoints do not count."""

    in_parts: int | None = 1
    """Their number for a row in three tables; None: such rows are refused."""

    @classmethod
    def of(cls, name: str, registered: Registered) -> Verb:
        """Make it of a line of the register."""

        async def call(world: World, id: int, scope: SearchScope | None) -> Any:
            return await registered.call(VerbCall(world.things, scope, [world.key(id)], world.patch, [world.spec(id)]))

        does = registered.does
        usual = 2 if does is Does.PUT else 1, 1 if does is Does.READ else 5
        statements, in_parts = OTHERWISE.get(name, usual)
        return cls(call, does, statements, None if registered.one_table else in_parts)

    @property
    def makes(self) -> bool:
        """Whether it makes rows: that a key is taken by another tenant's row cannot be hidden then."""
        return self.does in (Does.MAKE, Does.PUT)


VERBS = {name: Verb.of(name, registered) for name, registered in REGISTER.items()}


@dataclass(frozen=True)
class Number:
    things: Annotated[int, count()]


def spec(id: int) -> ThingCreate:
    """Give a new thing, whose name is its own."""
    return ThingCreate(id, f"name {id}", 1, None)


async def read(stream: Any) -> list[Any]:
    """Give all that a stream has."""
    return [item async for item in stream]


NO_VERBS = frozenset({"invalidate", "to_data", "to_patch", "to_row"})
"""Public methods of a repository that touch no row."""


def public_methods(repository: type[Any] = Repository) -> set[str]:
    """Give the names of all methods that could be verbs."""
    named = inspect.getmembers(repository, inspect.isfunction)
    return {name for name, _ in named if not name.startswith("_")} - NO_VERBS


@asynccontextmanager
async def things_in(made: WithTables) -> AsyncGenerator[ThingRepository]:
    """Give a repository over the world's four things."""
    async with world_in(made, "things") as world:
        yield world.things


@asynccontextmanager
async def world_in(made: WithTables, name: str) -> AsyncGenerator[World]:
    """Give a world with its four things."""
    rows: Mapping[str, Any] = {"things": (ThingRow,), "shares": (ShareRow,), "entries": (EntryRow,)}
    async with made(*rows.get(name, TOOLS)) as db:
        world = worlds_of(db)[name]
        await world.refill()
        yield world


def world_of(things: Any) -> World:
    """Give the world of a repository of things."""
    return World(things, ThingRow, spec, ThingPatch(uses=OptionalState.update(7)), OwnedBy)


async def stored(things: ThingRepository) -> dict[int, tuple[Any, ...]]:
    """Give what the table of things holds, past the repository: each row by its id."""
    return {id: row for (_, id), row in (await world_of(things).stored()).items()}


def worlds_of(db: Database, caches: Callable[[type[Any]], Any] = lambda _: None) -> dict[str, World]:
    """Give every class of things, in a database that has their tables, with a cache of each one's data if any."""
    seven: Any = OptionalState.update(7)

    def made(repository: Any, data: Any) -> Any:
        return repository(db, cache_source=caches(data))

    def named(kind: Any) -> Callable[[int], Any]:
        return lambda id: kind(id, f"name {id}")

    return {
        "things": world_of(made(ThingRepository, ThingData)),
        "tools": World(
            made(ToolRepository, ToolData),
            ToolRow,
            named(ToolCreate),
            ToolPatch(uses=seven),
            ToolsOf,
        ),
        "hammers": World(
            made(HammerRepository, ToolData),
            HammerRow,
            named(HammerCreate),
            ToolPatch(uses=seven),
            ToolsOf,
        ),
        "meters": World(
            made(MeterRepository, MeterData),
            MeterRow,
            named(MeterCreate),
            MeterPatch(uses=seven),
            ToolsOf,
        ),
        "clamps": World(
            made(ClampRepository, ClampData),
            ClampRow,
            named(ClampCreate),
            ClampPatch(uses=seven),
            ToolsOf,
        ),
        "shares": World(
            made(ShareRepository, ThingData),
            ShareRow,
            named(ShareCreate),
            SharePatch(uses=seven),
            SharesOf,
            lambda id: ("b" if id == 3 else "a", id),
        ),
        "entries": World(
            made(EntryRepository, ThingData),
            EntryRow,
            lambda id: EntryCreate(id, year_of(id), f"name {id}"),
            EntryPatch(uses=seven),
            EntriesOf,
            lambda id: (id, year_of(id)),
        ),
    }


async def outcome(call: Awaitable[Any]) -> str:
    """Give what a call came to, all that its caller can see of it: the result, or the error with its code."""
    try:
        result = await call
    except RepositoryError as exc:
        return f"{type(exc).__name__} {exc.error_code} {exc} {vars(exc).get('missing')}"
    return repr(replace(result, seconds=0.0) if isinstance(result, PurgeReport) else result)
