"""The register of a repository's verbs: one line each, and every rule that all verbs keep is tried on all of them.

A verb that is missing here fails ``tests/test_verbs.py``. The world is that of ``things``: 1 and 2 are tenant a's,
3 is tenant b's, 4 is tenant a's and deleted; nobody has 99.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

import sqlalchemy as sa

from rowsmith import OptionalState, PurgeReport, Repository, RepositoryError, SearchScope, count
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingCreate, ThingPatch, ThingRepository, ThingRow

VerbCall = Callable[[ThingRepository, int, SearchScope | None], Awaitable[Any]]


@dataclass(frozen=True)
class Verb:
    """How a verb is called on one row, and how many statements that takes at most; savepoints do not count.

    ``makes`` says that it makes rows: that a key is taken by another tenant's row cannot be hidden then.
    """

    call: VerbCall
    statements: int
    makes: bool = False


@dataclass(frozen=True)
class Number:
    things: Annotated[int, count()]


def spec(id: int) -> ThingCreate:
    """Give a new thing, whose name is its own."""
    return ThingCreate(id, f"name {id}", 1, None)


async def read(stream: Any) -> list[Any]:
    """Give all that a stream has."""
    return [item async for item in stream]


PATCH = ThingPatch(uses=OptionalState.update(7))

VERBS: dict[str, Verb] = {
    "create": Verb(lambda things, id, scope: things.create(spec(id), scope=scope), 1, makes=True),
    "get": Verb(lambda things, id, scope: things.get(id, scope), 1),
    "find": Verb(lambda things, id, scope: things.find(id, scope), 1),
    "search": Verb(lambda things, id, scope: things.search(scope, [ThingRow.id == id]), 1),
    "count": Verb(lambda things, id, scope: things.count(scope, [ThingRow.id == id]), 1),
    "exists": Verb(lambda things, id, scope: things.exists(scope, [ThingRow.id == id]), 1),
    "aggregate": Verb(lambda things, id, scope: things.aggregate(scope, [ThingRow.id == id], into=Number), 1),
    "stream": Verb(lambda things, id, scope: read(things.stream(scope, [ThingRow.id == id])), 1),
    "update": Verb(lambda things, id, scope: things.update(id, PATCH, scope=scope), 1),
    "delete": Verb(lambda things, id, scope: things.delete(id, scope=scope), 1),
    "restore": Verb(lambda things, id, scope: things.restore(id, scope=scope), 1),
    "purge": Verb(lambda things, id, scope: things.purge(id, scope=scope), 1),
    "upsert": Verb(lambda things, id, scope: things.upsert(spec(id), scope=scope), 2, makes=True),
    "batch_get": Verb(lambda things, id, scope: things.batch_get([id], scope=scope), 1),
    "batch_create": Verb(lambda things, id, scope: things.batch_create([spec(id)], scope=scope), 1, makes=True),
    "batch_create_partial": Verb(
        lambda things, id, scope: things.batch_create_partial([spec(id)], scope=scope), 1, makes=True
    ),
    "load": Verb(lambda things, id, scope: things.load([spec(id)], scope=scope), 1, makes=True),
    "batch_upsert": Verb(lambda things, id, scope: things.batch_upsert([spec(id)], scope=scope), 2, makes=True),
    "batch_update": Verb(lambda things, id, scope: things.batch_update([id], PATCH, scope=scope), 1),
    "batch_update_each": Verb(lambda things, id, scope: things.batch_update_each({id: PATCH}, scope=scope), 1),
    "batch_update_partial": Verb(lambda things, id, scope: things.batch_update_partial({id: PATCH}, scope=scope), 1),
    "update_where": Verb(lambda things, id, scope: things.update_where([ThingRow.id == id], PATCH, scope=scope), 1),
    "batch_delete": Verb(lambda things, id, scope: things.batch_delete([id], scope=scope), 1),
    "batch_restore": Verb(lambda things, id, scope: things.batch_restore([id], scope=scope), 1),
    "delete_where": Verb(lambda things, id, scope: things.delete_where([ThingRow.id == id], scope=scope), 1),
    "restore_where": Verb(lambda things, id, scope: things.restore_where([ThingRow.id == id], scope=scope), 1),
    "batch_purge": Verb(lambda things, id, scope: things.batch_purge([id], scope=scope), 1),
    "batch_purge_partial": Verb(lambda things, id, scope: things.batch_purge_partial([id], scope=scope), 1),
    "purge_where": Verb(lambda things, id, scope: things.purge_where([ThingRow.id == id], scope=scope, pause=0), 4),
}

NO_VERBS = frozenset({"to_data"})
"""Public methods of a repository that touch no row."""


def public_methods(repository: type[Any] = Repository) -> set[str]:
    """Give the names of all methods that could be verbs."""
    named = inspect.getmembers(repository, inspect.isfunction)
    return {name for name, _ in named if not name.startswith("_")} - NO_VERBS


@asynccontextmanager
async def things_in(made: WithTables) -> AsyncGenerator[ThingRepository]:
    """Give a repository over the world's four things."""
    async with made(ThingRow) as db:
        things = ThingRepository(db)
        await refill(things)
        yield things


async def refill(things: ThingRepository) -> None:
    """Put the world's four things there, and none else."""
    async with things.db.unit_of_work() as unit:
        await unit.session.execute(sa.delete(ThingRow.__table__))
        await things.batch_create([spec(id) for id in (1, 2, 4)], scope=OwnedBy("a"))
        await things.create(spec(3), scope=OwnedBy("b"))
        await things.delete(4, scope=OwnedBy("a"))


async def stored(things: ThingRepository) -> dict[int, tuple[Any, ...]]:
    """Give what the table holds, past the repository: each row by its id."""
    async with things.db.engine.connect() as connection:
        rows = await connection.execute(sa.select(ThingRow.__table__).order_by(ThingRow.id))
        return {row[0]: tuple(row) for row in rows}


async def outcome(call: Awaitable[Any]) -> str:
    """Give what a call came to, all that its caller can see of it: the result, or the error with its code."""
    try:
        result = await call
    except RepositoryError as exc:
        return f"{type(exc).__name__} {exc.error_code} {exc} {vars(exc).get('missing')}"
    return repr(replace(result, seconds=0.0) if isinstance(result, PurgeReport) else result)
