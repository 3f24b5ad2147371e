"""The register of a repository's verbs: one line each, and every rule that all verbs keep is tried on all of them.

A verb that is missing here fails ``tests/test_verbs.py``. In each world 1 and 2 are tenant a's, 3 is tenant b's, 4 is
tenant a's and deleted; nobody has 99. The worlds differ in how the rows are kept: in a table of their own, in one with
other classes, in several.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any

import sqlalchemy as sa

from rowsmith import Database, OptionalState, PurgeReport, Repository, RepositoryError, SearchScope, count
from rowsmith.testing import WithTables
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


VerbCall = Callable[[World, int, SearchScope | None], Awaitable[Any]]


class Does(Enum):
    """What a verb does to a row: of some classes of rows verbs are the same."""

    READ = "gives it"
    MAKE = "makes it"
    PUT = "makes or changes it"
    CHANGE = "changes it"
    MARK = "marks it as deleted"
    UNMARK = "makes it live again"
    REMOVE = "removes it"


@dataclass(frozen=True)
class Verb:
    """How a verb is called on one row, and how many statements that takes at most; savepoints do not count.

    ``in_parts`` is their number for a row in three tables; None: such rows are refused.
    """

    call: VerbCall
    statements: int
    does: Does = Does.READ
    in_parts: int | None = 1

    @property
    def makes(self) -> bool:
        """Whether it makes rows: that a key is taken by another tenant's row cannot be hidden then."""
        return self.does in (Does.MAKE, Does.PUT)


@dataclass(frozen=True)
class Number:
    things: Annotated[int, count()]


def spec(id: int) -> ThingCreate:
    """Give a new thing, whose name is its own."""
    return ThingCreate(id, f"name {id}", 1, None)


async def read(stream: Any) -> list[Any]:
    """Give all that a stream has."""
    return [item async for item in stream]


VERBS: dict[str, Verb] = {
    "create": Verb(lambda w, id, scope: w.things.create(w.spec(id), scope=scope), 1, Does.MAKE, 5),
    "get": Verb(lambda w, id, scope: w.things.get(w.key(id), scope), 1),
    "find": Verb(lambda w, id, scope: w.things.find(w.key(id), scope), 1),
    "get_one": Verb(lambda w, id, scope: w.things.get_one(scope, [w.row.id == id]), 1),
    "find_one": Verb(lambda w, id, scope: w.things.find_one(scope, [w.row.id == id]), 1),
    "first": Verb(lambda w, id, scope: w.things.first(scope, [w.row.id == id]), 1),
    "search": Verb(lambda w, id, scope: w.things.search(scope, [w.row.id == id]), 1),
    "count": Verb(lambda w, id, scope: w.things.count(scope, [w.row.id == id]), 1),
    "exists": Verb(lambda w, id, scope: w.things.exists(scope, [w.row.id == id]), 1),
    "aggregate": Verb(lambda w, id, scope: w.things.aggregate(scope, [w.row.id == id], into=Number), 1),
    "stream": Verb(lambda w, id, scope: read(w.things.stream(scope, [w.row.id == id])), 1),
    "update": Verb(lambda w, id, scope: w.things.update(w.key(id), w.patch, scope=scope), 1, Does.CHANGE, 5),
    "delete": Verb(lambda w, id, scope: w.things.delete(w.key(id), scope=scope), 1, Does.MARK, 5),
    "restore": Verb(lambda w, id, scope: w.things.restore(w.key(id), scope=scope), 1, Does.UNMARK, 5),
    "purge": Verb(lambda w, id, scope: w.things.purge(w.key(id), scope=scope), 1, Does.REMOVE, 5),
    "upsert": Verb(lambda w, id, scope: w.things.upsert(w.spec(id), scope=scope), 2, Does.PUT, None),
    "batch_get": Verb(lambda w, id, scope: w.things.batch_get([w.key(id)], scope=scope), 1),
    "batch_create": Verb(lambda w, id, scope: w.things.batch_create([w.spec(id)], scope=scope), 1, Does.MAKE, None),
    "batch_create_partial": Verb(
        lambda w, id, scope: w.things.batch_create_partial([w.spec(id)], scope=scope), 1, Does.MAKE, None
    ),
    "load": Verb(lambda w, id, scope: w.things.load([w.spec(id)], scope=scope), 1, Does.MAKE, None),
    "batch_upsert": Verb(lambda w, id, scope: w.things.batch_upsert([w.spec(id)], scope=scope), 2, Does.PUT, None),
    "batch_update": Verb(
        lambda w, id, scope: w.things.batch_update([w.key(id)], w.patch, scope=scope), 1, Does.CHANGE, 5
    ),
    "batch_update_each": Verb(
        lambda w, id, scope: w.things.batch_update_each({w.key(id): w.patch}, scope=scope), 1, Does.CHANGE, None
    ),
    "batch_update_partial": Verb(
        lambda w, id, scope: w.things.batch_update_partial({w.key(id): w.patch}, scope=scope), 1, Does.CHANGE, None
    ),
    "update_where": Verb(
        lambda w, id, scope: w.things.update_where([w.row.id == id], w.patch, scope=scope), 1, Does.CHANGE, 4
    ),
    "batch_delete": Verb(lambda w, id, scope: w.things.batch_delete([w.key(id)], scope=scope), 1, Does.MARK, 5),
    "batch_restore": Verb(lambda w, id, scope: w.things.batch_restore([w.key(id)], scope=scope), 1, Does.UNMARK, 5),
    "delete_where": Verb(lambda w, id, scope: w.things.delete_where([w.row.id == id], scope=scope), 1, Does.MARK, 4),
    "restore_where": Verb(
        lambda w, id, scope: w.things.restore_where([w.row.id == id], scope=scope), 1, Does.UNMARK, 4
    ),
    "batch_purge": Verb(lambda w, id, scope: w.things.batch_purge([w.key(id)], scope=scope), 1, Does.REMOVE, 5),
    "batch_purge_partial": Verb(
        lambda w, id, scope: w.things.batch_purge_partial([w.key(id)], scope=scope), 1, Does.REMOVE, 5
    ),
    "purge_where": Verb(
        lambda w, id, scope: w.things.purge_where([w.row.id == id], scope=scope, pause=0), 4, Does.REMOVE, 7
    ),
    "batch_upsert_partial": Verb(
        lambda w, id, scope: w.things.batch_upsert_partial([w.spec(id)], scope=scope), 2, Does.PUT, None
    ),
}

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
