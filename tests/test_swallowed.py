"""A write that raises is not kept, whoever swallows its error: by every verb of the register, on every lane."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, field_validator
from sqlalchemy import String, TypeDecorator, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    AllOf,
    AnyOf,
    Condition,
    Creator,
    Database,
    EntityAlreadyExists,
    EntityNotFound,
    InvalidFilter,
    InvalidValue,
    MappingError,
    Not,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    ScopeMismatch,
    SearchScope,
    SeveralFound,
    SoftDelete,
    Spec,
    StaleVersion,
    TransactionAborted,
    Unscoped,
)
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import Does
from tenants import NameTaken, OwnedBy, ThingCreate, ThingData, ThingPatch, ThingRepository, ThingRow
from verbs import VERBS, read, spec, world_of

LANES = pytest.mark.parametrize("lane", ["native", "arrays", "sqlalchemy"])
WRITES = [name for name, verb in VERBS.items() if verb.does is not Does.READ]
NUMBERS = {"load", "update_where", "delete_where", "restore_where", "purge_where"}
"""Verbs that give numbers, and so make no data."""

PATCH = ThingPatch(uses=OptionalState.update(7))

armed: ContextVar[bool] = ContextVar("armed", default=False)


class Broken(Exception):
    """What an application's own class says of a row."""


refusal: ContextVar[Callable[[], BaseException]] = ContextVar("refusal", default=Broken)


@dataclass(frozen=True)
class Brittle(ThingData):
    def __post_init__(self) -> None:
        if armed.get():
            kind = refusal.get()
            raise kind


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


async def outcome(work: Awaitable[Any]) -> Any:
    """Give what a call gives or raises."""
    try:
        return await work
    except BaseException as exc:  # noqa: BLE001 - whatever it is, it is looked at
        return exc


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

        with suppress(TransactionAborted):  # or it has undone itself, as a COPY does
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
    """A unit is undone by one that a data class raises of its own, though it is derived from a RepositoryError."""
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        things = OddThings(db)
        with pytest.raises(TransactionAborted):
            async with things.db.unit_of_work():
                with breaking(), pytest.raises(Odd):
                    await things.create(spec(1), scope=OwnedBy("a"))
        assert await things.count() == 0


@LANES
async def test_a_unit_within_another_is_undone_alone(any_tables: WithTables, lane: str) -> None:
    """What it wrote is gone, and what the one around it writes is kept."""
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
    """They undo a session as the methods of a repository do."""
    async with any_tables(ThingRow) as db:
        with pytest.raises(TransactionAborted):
            async with db.begin_session() as db_sess:
                with breaking(), pytest.raises(Broken):
                    await Creator(ThingRow, into=Brittle).create(db_sess, spec(1), scope=OwnedBy("a"))
        assert await BrittleThings(db).count(OwnedBy("a")) == 0


class Model(BaseModel):
    """The same by pydantic, whose refusal is told as an error of rowsmith's."""

    model_config = ConfigDict(frozen=True)
    id: int
    tenant: str
    name: str

    @field_validator("name")
    @classmethod
    def refuse(cls, value: str) -> str:
        if armed.get():
            raise ValueError(value)
        return value


class Models(Repository[ThingRow, Model, int]):
    soft_delete = SoftDelete(ThingRow.deleted_at)
    scope_required = True


ERRORS: Sequence[type[BaseException]] = (
    *(InvalidValue, MappingError, EntityNotFound, EntityAlreadyExists, StaleVersion, ScopeMismatch),
    *(InvalidFilter, SeveralFound, asyncio.CancelledError, StopIteration),
)


@pytest.mark.parametrize("kind", [Brittle, Model])
@LANES
async def test_it_does_not_matter_by_what_it_is_refused(any_tables: WithTables, lane: str, kind: type[Any]) -> None:
    """By an error of rowsmith's own, or pydantic's, by a cancellation: every verb, one after the other."""
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        world = world_of((BrittleThings if kind is Brittle else Models)(db))
        await world.refill()
        before = await world.stored()
        for error in ERRORS if kind is Brittle else [ValueError]:
            for name in sorted(set(WRITES) - NUMBERS):
                id_ = 4 if "restore" in name else 5 if VERBS[name].makes else 1
                token = refusal.set(error)
                told: Any = None
                with suppress(TransactionAborted):
                    async with db.unit_of_work():
                        with breaking():
                            told = await outcome(VERBS[name].call(world, id_, world.owner("a")))
                refusal.reset(token)
                assert isinstance(told, BaseException) or told.failed, (error, name)
                assert await world.stored() == before, (error, name)


class Wary(TypeDecorator[str]):
    """Takes no text that begins with "bad"."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is not None and value.startswith("bad"):
            raise Broken
        return value


def drawn() -> int:
    """What Python fills in."""
    if armed.get():
        raise Broken
    return 1


class WaryBase(DeclarativeBase):
    pass


class WaryRow(WaryBase):
    __tablename__ = "swallowed_wary"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Wary)
    made: Mapped[int] = mapped_column(default=drawn, onupdate=drawn)
    day: Mapped[dt.date | None]


@dataclass(frozen=True)
class NewWary(Spec[WaryRow]):
    id: int
    text: str = "good"


@dataclass(frozen=True)
class WaryPatch(Patch[WaryRow]):
    text: OptionalState[str] = OptionalState.nop()


class Waries(Repository[WaryRow, WaryRow, int]):
    pass


GOOD, BAD = (WaryPatch(OptionalState.update(text)) for text in ("better", "bad"))

UNSENT: Mapping[str, Callable[[Waries], Awaitable[Any]]] = {
    "create, a type": lambda rows: rows.create(NewWary(2, "bad")),
    "batch_create, a type": lambda rows: rows.batch_create([NewWary(2), NewWary(3, "bad")]),
    "upsert, a type": lambda rows: rows.upsert(NewWary(1, "bad")),
    "update, a type": lambda rows: rows.update(1, BAD),
    "batch_update, a type": lambda rows: rows.batch_update([1], BAD),
    "search, a type": lambda rows: rows.search(None, [WaryRow.text == "bad"]),
    "update_where, a type": lambda rows: rows.update_where([WaryRow.text == "bad"], GOOD),
    "create, a default": lambda rows: rows.create(NewWary(2)),
    "batch_create, a default": lambda rows: rows.batch_create([NewWary(2), NewWary(3)]),
    "update, a default": lambda rows: rows.update(1, GOOD),
    "update_where, a default": lambda rows: rows.update_where([WaryRow.id == 1], GOOD),
}


@LANES
@pytest.mark.parametrize("name", UNSENT)
async def test_what_was_never_sent_undoes_nothing(any_tables: WithTables, lane: str, name: str) -> None:
    """A type that refuses what is bound, a default that raises: the unit goes on, and keeps what was done before."""
    async with any_tables(WaryRow) as made, on(made, lane) as db:
        rows = Waries(db)
        async with db.unit_of_work():
            await rows.create(NewWary(1))
            with breaking() if "default" in name else nullcontext():
                told = await outcome(UNSENT[name](rows))
            assert isinstance(told, (Broken, InvalidValue)), told
        assert [(row.id, row.text) for row in (await rows.search()).items] == [(1, "good")]


@dataclass(frozen=True)
class Wariness:
    id: int
    day: dt.date | None


class WaryData(Repository[WaryRow, Wariness, int]):
    pass


@LANES
@pytest.mark.parametrize("kind", [Waries, WaryData])
async def test_a_read_that_cannot_be_read_undoes_nothing(with_tables: WithTables, lane: str, kind: type[Any]) -> None:
    """A day that Python's calendar lacks: the server has done what it was asked."""
    async with with_tables(WaryRow) as made, on(made, lane) as db:
        rows = kind(db)
        await rows.count()
        async with db.unit_of_work() as unit:
            await rows.create(NewWary(1))
            await rows.create(NewWary(2))
            await unit.session.execute(text("UPDATE swallowed_wary SET day = '0044-03-15 BC' WHERE id = 2"))
            reads = (
                *(rows.get(2), rows.find(2), rows.search(), rows.batch_get([2])),
                *(rows.get_one(None, [WaryRow.id == 2]), read(rows.stream())),
            )
            for work in reads:
                told = await outcome(work)
                assert isinstance(told, InvalidValue), told
                assert told.is_stored
        assert await rows.count() == 2


@LANES
async def test_no_row_is_left_out_in_silence(any_tables: WithTables, lane: str) -> None:
    """A class that raises StopIteration, as a ``next()`` without a match does, ends no page and no stream."""
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        world = world_of(BrittleThings(db))
        await world.refill()
        token = refusal.set(StopIteration)
        with breaking():
            for name in {*VERBS} - {*WRITES} - {"count", "exists", "aggregate"}:
                told = await outcome(VERBS[name].call(world, 1, world.owner("a")))
                assert isinstance(told, RuntimeError), (name, told)
        refusal.reset(token)


class Halting(TypeDecorator[str]):
    """Raises it for a text, whether it is written or read."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value == "halt":
            raise StopIteration
        return value

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        if value == "stop":
            raise StopIteration
        return value


class HaltingRow(WaryBase):
    __tablename__ = "swallowed_halting"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Halting)


@dataclass(frozen=True)
class Halt(Spec[HaltingRow]):
    id: int
    text: str


@dataclass(frozen=True)
class HaltPatch(Patch[HaltingRow]):
    text: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class Text:
    text: str


class Halts(Repository[HaltingRow, Text, int]):
    pass


HALTING: Mapping[str, Callable[[Halts], Awaitable[Any]]] = {
    "batch_create": lambda rows: rows.batch_create([Halt(10, "a"), Halt(11, "halt"), Halt(12, "b")]),
    "load": lambda rows: rows.load([Halt(10, "a"), Halt(11, "halt"), Halt(12, "b")]),
    "batch_upsert": lambda rows: rows.batch_upsert([Halt(0, "a"), Halt(11, "halt"), Halt(12, "b")]),
    "batch_update": lambda rows: rows.batch_update([0, 2], HaltPatch(OptionalState.update("halt"))),
    "batch_update_each": lambda rows: rows.batch_update_each(
        {0: HaltPatch(OptionalState.update("a")), 2: HaltPatch(OptionalState.update("halt"))}
    ),
    "batch_get": lambda rows: rows.batch_get([0, 1, 2]),
    "search": lambda rows: rows.search(None, orders=[HaltingRow.id]),
    "stream": lambda rows: read(rows.stream()),
    "batch_update, read": lambda rows: rows.batch_update([0, 1, 2], HaltPatch()),
    "batch_purge": lambda rows: rows.batch_purge([0, 1, 2]),
    "get": lambda rows: rows.get(1),
}


@LANES
@pytest.mark.parametrize("name", HALTING)
async def test_no_value_is_left_out_in_silence(any_tables: WithTables, lane: str, name: str) -> None:
    """Nor does a column's type that raises it end the values of an array, or of a column."""
    async with any_tables(HaltingRow) as made, on(made, lane) as db:
        rows = Halts(db)
        await rows.load([Halt(0, "a"), Halt(2, "c")])
        async with made.engine.begin() as connection:
            await connection.execute(text("INSERT INTO swallowed_halting (id, text) VALUES (1, 'stop')"))
        before = await texts_in(made)
        told = await outcome(HALTING[name](rows))
        assert isinstance(told, (InvalidValue, RuntimeError)), told
        assert await texts_in(made) == before


async def texts_in(db: Database) -> list[Any]:
    async with db.engine.connect() as connection:
        return list(await connection.execute(text("SELECT id, text FROM swallowed_halting ORDER BY id")))


class ServedRow(WaryBase):
    __tablename__ = "swallowed_served"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    made: Mapped[int] = mapped_column(server_default="7")


@dataclass(frozen=True)
class Serve(Spec[ServedRow]):
    text: str


@dataclass(frozen=True)
class Served:
    id: int
    made: int


class Serving(Repository[ServedRow, Served, int]):
    pass


def told_of(rows: int) -> None:
    """Hear how many rows are sent."""
    raise InvalidValue(str(rows))


@LANES
@pytest.mark.parametrize("number", [1, 3, 3000])
@pytest.mark.parametrize("verb", ["batch_create", "load", "purge_where"])
async def test_what_hears_of_progress_may_raise(any_tables: WithTables, lane: str, number: int, verb: str) -> None:
    """Rows that Python knows wholly, and such as the server fills in."""
    async with any_tables(ThingRow, ServedRow) as made, on(made, lane) as db:
        world, served = world_of(BrittleThings(db)), Serving(db)
        await world.refill()
        await served.load([Serve("kept")])
        before = await world.stored()
        things = [spec(10 + place) for place in range(number)]
        calls = {
            "batch_create": lambda: (
                world.things.batch_create(things, scope=OwnedBy("a"), progress=told_of),
                served.batch_create([Serve("x")] * number, progress=told_of),
            ),
            "load": lambda: (
                world.things.load(things, scope=OwnedBy("a"), progress=told_of),
                served.load([Serve("x")] * number, progress=told_of),
            ),
            "purge_where": lambda: (
                world.things.purge_where(None, all_rows=True, scope=OwnedBy("a"), chunk_size=None, progress=told_of),
                served.purge_where(None, all_rows=True, chunk_size=None, progress=told_of),
            ),
        }
        for work in calls[verb]():
            with suppress(TransactionAborted):
                async with db.unit_of_work():
                    assert isinstance(await outcome(work), InvalidValue)
            assert await world.stored() == before
            assert await served.count() == 1


@dataclass(frozen=True)
class Searching(SearchScope):
    """A scope that looks for what is not there."""

    def to_conditions(self) -> Sequence[Condition]:
        return [next(condition for condition in [ThingRow.tenant == "a"] if condition is None)]


@LANES
async def test_no_part_of_a_scope_is_left_out_in_silence(any_tables: WithTables, lane: str) -> None:
    """As the parts of an ``AllOf`` after one that raises StopIteration were: all tenants' rows were seen."""
    every = Unscoped(reason="a test")
    parts = [
        AllOf(ThingRow.uses >= 0, Searching()),
        AllOf(ThingRow.uses >= 0, lambda: next(iter(()))),
        AllOf(ThingRow.uses >= 0, Not(Searching())),
        AnyOf(ThingRow.tenant == "a", Searching()),
    ]
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        things = ThingRepository(db)
        await things.batch_create([ThingCreate(id, f"n{id}", 1, None) for id in range(3)], scope=OwnedBy("a"))
        for part in parts:
            for call in (
                things.search(part),
                things.get(1, part),
                things.search(every, [part]),
                things.update_where([ThingRow.id >= 0], ThingPatch(uses=OptionalState.update(9)), scope=part),
                things.purge_where([part], scope=every),
            ):
                assert isinstance(await outcome(call), RuntimeError)
        assert [thing.uses for thing in await things.search(every)] == [1] * 3


@dataclass(frozen=True)
class Seeking(Spec[ThingRow], filled={"tenant"}):
    """Looks for what is not there as its values are asked for, if it is told to."""

    id: int
    halts: bool = False

    def to_values(self) -> Any:
        given = [1] if not self.halts else []
        return {"id": self.id, "name": f"n{self.id}", "uses": next(iter(given))}


@LANES
async def test_no_spec_is_left_out_in_silence(any_tables: WithTables, lane: str) -> None:
    """Nor those after it: the partial forms blame it alone."""
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        things, a = ThingRepository(db), OwnedBy("a")
        for place in range(3):
            specs = [Seeking(id, halts=id == place) for id in range(3)]
            for verb in (things.batch_create, things.load, things.batch_upsert):
                assert isinstance(await outcome(verb(specs, scope=a)), RuntimeError)
            for verb in (things.create, things.upsert):
                assert isinstance(await outcome(verb(specs[place], scope=a)), RuntimeError)
            assert list(await things.search(a)) == []
            for partial in (things.batch_create_partial, things.batch_upsert_partial):
                result = await partial(specs, scope=a)
                assert [failure.index for failure in result.failed] == [place]
                assert [success.index for success in result.succeeded] == [id for id in range(3) if id != place]
                await things.purge_where([ThingRow.id >= 0], scope=a)


@dataclass(frozen=True)
class Asking(Spec[ThingRow], filled={"tenant"}):
    """Asks another database as its values are asked for, and that one is away."""

    id: int

    def to_values(self) -> Any:
        if self.id == 1:
            raise OperationalError("SELECT 1", {}, Exception("away"))
        return {"id": self.id, "name": f"n{self.id}", "uses": 1}


@LANES
async def test_what_a_spec_raises_is_its_own_fault(any_tables: WithTables, lane: str) -> None:
    """An error of SQLAlchemy's, too: nothing was sent by then."""
    async with any_tables(ThingRow) as made, on(made, lane) as db:
        things, a = ThingRepository(db), OwnedBy("a")
        for partial in (things.batch_create_partial, things.batch_upsert_partial):
            result = await partial([Asking(id) for id in range(3)], scope=a)
            assert [failure.index for failure in result.failed] == [1]
            assert [success.index for success in result.succeeded] == [0, 2]
            await things.purge_where([ThingRow.id >= 0], scope=a)
