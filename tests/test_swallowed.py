"""A write that raises is not kept, whoever swallows its error: by every verb of the register, on every lane."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import event

from rowsmith import (
    Creator,
    Database,
    InvalidValue,
    MappingError,
    OptionalState,
    Repository,
    RepositoryError,
    SoftDelete,
    TransactionAborted,
)
from rowsmith.testing import WithTables
from tenants import NameTaken, OwnedBy, ThingData, ThingPatch, ThingRow
from verbs import VERBS, Does, spec, world_of

LANES = pytest.mark.parametrize("lane", ["native", "arrays", "sqlalchemy"])
WRITES = [name for name, verb in VERBS.items() if verb.does is not Does.READ]
NUMBERS = {"load", "update_where", "delete_where", "restore_where", "purge_where"}
"""Verbs that give numbers, and so make no data."""

PATCH = ThingPatch(uses=OptionalState.update(7))

armed: ContextVar[bool] = ContextVar("armed", default=False)


class Broken(Exception):
    """What an application's own class says of a row."""


@dataclass(frozen=True)
class Brittle(ThingData):
    def __post_init__(self) -> None:
        if armed.get():
            raise Broken


class BrittleThings(Repository[ThingRow, Brittle, int]):
    violations = {"uq_things_live": NameTaken}
    soft_delete = SoftDelete(ThingRow.deleted_at)
    scope_required = True


@asynccontextmanager
async def on(made: Database, lane: str) -> AsyncIterator[Database]:
    """Give a database whose statements go to asyncpg itself, those of batches do so alone, or SQLAlchemy sends all."""

    def see(*_: object) -> None: ...

    if lane == "sqlalchemy":
        event.listen(made.engine.sync_engine, "before_execute", see)
    try:
        yield Database(made.engine, native=lane == "native")
    finally:
        if lane == "sqlalchemy":
            event.remove(made.engine.sync_engine, "before_execute", see)


@contextmanager
def breaking() -> Iterator[None]:
    token = armed.set(True)
    try:
        yield
    finally:
        armed.reset(token)


@LANES
@pytest.mark.parametrize("name", sorted(set(WRITES) - NUMBERS))
async def test_a_write_whose_data_cannot_be_made_is_not_kept(any_tables: WithTables, name: str, lane: str) -> None:
    """A partial batch says so of the item, and has undone it."""
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        world = world_of(BrittleThings(db))
        await world.refill()
        before = await world.stored()
        is_partial = name.endswith("_partial")

        async def call() -> Any:
            id_ = 4 if "restore" in name else 5 if VERBS[name].makes else 1
            return await VERBS[name].call(world, id_, world.owner("a"))

        async def broken() -> None:
            with breaking():
                if is_partial:
                    assert [type(failure.error) for failure in (await call()).failed] == [Broken]
                    return
                with pytest.raises(Broken):
                    await call()

        with nullcontext() if is_partial else pytest.raises(TransactionAborted):
            async with db.unit_of_work():
                await broken()
        assert await world.stored() == before
        await broken()
        assert await world.stored() == before
        await call()
        assert await world.stored() != before


class Gone(Exception):
    """What is raised for a row that is not there: no error of rowsmith's."""


class Odd(RepositoryError):
    """What a domain says of a row, by an error of rowsmith's kind."""


@dataclass(frozen=True)
class OddThing(ThingData):
    def __post_init__(self) -> None:
        if armed.get():
            raise Odd


class Strict(BrittleThings):
    not_found = Gone


class OddThings(Repository[ThingRow, OddThing, int]):
    pass


@LANES
async def test_what_rowsmith_says_itself_undoes_nothing_else(any_tables: WithTables, lane: str) -> None:
    """Absent rows, by a domain's own error too, and what was refused before it was sent."""
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        things, mine = Strict(db), OwnedBy("a")
        async with db.unit_of_work():
            await things.create(spec(1), scope=mine)
            for work in (
                things.update(9, PATCH, scope=mine),
                things.purge(9, scope=mine),
                things.delete(9, scope=mine),
            ):
                with pytest.raises(Gone):
                    await work
            with pytest.raises(InvalidValue):
                await things.update(1, ThingPatch(uses=OptionalState.update(1 << 40)), scope=mine)
            with pytest.raises(MappingError):
                await things.update(1, "x", scope=mine)  # type: ignore[arg-type]
            with breaking(), pytest.raises(Broken):
                await things.get(1, mine)  # which only reads
        assert await things.count(mine) == 1


@LANES
async def test_a_domains_own_error_of_rowsmiths_kind_is_none_of_rowsmiths(any_tables: WithTables, lane: str) -> None:
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        things = OddThings(db)
        with pytest.raises(TransactionAborted):
            async with things.db.unit_of_work():
                with breaking(), pytest.raises(Odd):
                    await things.create(spec(1), scope=OwnedBy("a"))
        assert await things.count() == 0


@LANES
async def test_a_unit_within_another_is_undone_alone(any_tables: WithTables, lane: str) -> None:
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        things, mine = BrittleThings(db), OwnedBy("a")
        async with db.unit_of_work():
            await things.create(spec(1), scope=mine)
            with suppress(Broken):
                async with db.unit_of_work():
                    with breaking():
                        await things.create(spec(2), scope=mine)
            with pytest.raises(TransactionAborted):
                async with db.unit_of_work():
                    with breaking(), suppress(Broken):
                        await things.create(spec(3), scope=mine)
            await things.create(spec(4), scope=mine)
        assert sorted(thing.id for thing in (await things.search(mine)).items) == [1, 4]


async def test_operation_objects_are_the_same(any_tables: WithTables) -> None:
    async with any_tables(ThingRow) as db:
        with pytest.raises(TransactionAborted):
            async with db.begin_session() as db_sess:
                with breaking(), pytest.raises(Broken):
                    await Creator(ThingRow, into=Brittle).create(db_sess, spec(1), scope=OwnedBy("a"))
        assert await BrittleThings(db).count(OwnedBy("a")) == 0
