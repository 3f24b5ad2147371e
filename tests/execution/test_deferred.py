"""Constraints that are checked at COMMIT, and batches in which each item stands for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    CheckViolation,
    Database,
    EntityAlreadyExists,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    Spec,
    StillReferenced,
)
from rowsmith.execution import replay
from rowsmith.testing import WithTables
from support import count_statements


class Base(DeclarativeBase):
    pass


class CarRow(Base):
    """A car of a train, behind another one; two may exchange their places."""

    __tablename__ = "late_cars"
    __table_args__ = (sa.UniqueConstraint("place", name="uq_late_place", deferrable=True, initially="DEFERRED"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    place: Mapped[int]
    name: Mapped[str] = mapped_column(default="-")
    behind_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("late_cars.id", deferrable=True, initially="DEFERRED", name="fk_late_behind")
    )


class LoadRow(Base):
    """What a car carries."""

    __tablename__ = "late_loads"
    id: Mapped[int] = mapped_column(primary_key=True)
    car_id: Mapped[int] = mapped_column(sa.ForeignKey("late_cars.id", deferrable=True, initially="DEFERRED"))


class StopRow(Base):
    """A stop of a line, of which SQLite, too, knows what comes after it at COMMIT alone."""

    __tablename__ = "late_stops"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_id: Mapped[int | None] = mapped_column(sa.ForeignKey("late_stops.id", deferrable=True, initially="DEFERRED"))


@dataclass(frozen=True)
class Car:
    id: int
    place: int


@dataclass(frozen=True)
class CarCreate(Spec[CarRow]):
    id: int
    place: int
    behind_id: int | None = None


@dataclass(frozen=True)
class CarPatch(Patch[CarRow]):
    place: OptionalState[int] = OptionalState.nop()
    name: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class Stop:
    id: int


@dataclass(frozen=True)
class StopCreate(Spec[StopRow]):
    id: int
    next_id: int | None = None


class PlaceTaken(Exception):
    """An application's own error, which is none of rowsmith's."""


class Cars(Repository[CarRow, Car, int]):
    pass


class OwnCars(Repository[CarRow, Car, int]):
    violations = {"uq_late_place": PlaceTaken}


class Stops(Repository[StopRow, Stop, int]):
    pass


def at(place: int, name: str | None = None) -> CarPatch:
    return CarPatch(OptionalState.update(place), OptionalState.nop() if name is None else OptionalState.update(name))


def told(result: Any) -> tuple[list[int], list[tuple[int, type[Exception]]]]:
    """Give the indexes of what was done, and what became of the others."""
    return [item.index for item in result.succeeded], [(item.index, type(item.error)) for item in result.failed]


@pytest.fixture(params=[False, True], ids=["driver", "sqlalchemy"])
async def cars(request: pytest.FixtureRequest, with_tables: WithTables) -> AsyncIterator[Cars]:
    """Three cars, the third one behind the second and loaded; written by the driver, or by SQLAlchemy."""
    async with with_tables(CarRow, LoadRow) as db:
        made = Cars(db, resilience=None)
        await made.batch_create([CarCreate(1, 1), CarCreate(2, 2), CarCreate(3, 3, 2)])
        async with db.begin_session() as session:
            await session.execute(sa.insert(LoadRow).values(car_id=3))
        with count_statements(db) if request.param else nullcontext():
            yield made


CALLS: dict[str, tuple[Callable[[Cars], Any], list[int], list[tuple[int, type[Exception]]]]] = {
    "create a taken place": (
        lambda cars: cars.batch_create_partial([CarCreate(4, 4), CarCreate(5, 1), CarCreate(6, 6)]),
        [0, 2],
        [(1, EntityAlreadyExists)],
    ),
    "create one place twice": (
        lambda cars: cars.batch_create_partial([CarCreate(4, 4), CarCreate(5, 4), CarCreate(6, 6)]),
        [0, 2],
        [(1, EntityAlreadyExists)],
    ),
    "create behind nothing": (
        lambda cars: cars.batch_create_partial([CarCreate(4, 4, 5), CarCreate(5, 5, 4), CarCreate(6, 6, 99)]),
        [0, 1],
        [(2, ReferenceNotFound)],
    ),
    "upsert a taken place": (
        lambda cars: cars.batch_upsert_partial([CarCreate(1, 3), CarCreate(2, 7), CarCreate(4, 4), CarCreate(5, 3)]),
        [1, 2],
        [(0, EntityAlreadyExists), (3, EntityAlreadyExists)],
    ),
    "upsert behind nothing": (
        lambda cars: cars.batch_upsert_partial([CarCreate(1, 1, 4), CarCreate(2, 2, 99), CarCreate(4, 4, 5)]),
        [],
        [(0, ReferenceNotFound), (1, ReferenceNotFound), (2, ReferenceNotFound)],
    ),
    "update to a taken place": (
        lambda cars: cars.batch_update_partial({1: at(9), 2: at(3)}),
        [0],
        [(1, EntityAlreadyExists)],
    ),
    "purge what is referred to": (
        lambda cars: cars.batch_purge_partial([1, 2, 3]),
        [0],
        [(1, StillReferenced), (2, StillReferenced)],
    ),
}


@pytest.mark.parametrize("call", CALLS)
async def test_the_items_at_fault_are_found(cars: Cars, call: str) -> None:
    """Of a call that is a transaction of its own: the others are written, and stay."""
    made, done, failed = CALLS[call]
    before = {car.id: car for car in await cars.search()}
    result = await made(cars)
    assert told(result) == (done, failed)
    written = {data.id: data for data in (getattr(data, "data", data) for data in result.data)}
    after = {car.id: car for car in await cars.search()}
    is_purge = call.startswith("purge")
    assert after == ({id: before[id] for id in before.keys() - written} if is_purge else before | written)


async def test_every_try_waits_until_all_its_statements_are_sent(cars: Cars) -> None:
    """Two rows exchange their places by a statement each, after another try was checked."""
    await cars.batch_create([CarCreate(4, 4), CarCreate(5, 5)])
    result = await cars.batch_update_partial({1: at(8), 2: at(3), 4: at(5, "four"), 5: at(4)})
    assert told(result) == ([0, 2, 3], [(1, EntityAlreadyExists)])


async def test_a_name_that_another_tables_constraint_has(cars: Cars) -> None:
    """That one cannot wait, and nobody asks it to."""
    async with cars.db_source.db.begin_session() as session:
        await session.execute(sa.text("ALTER TABLE late_loads ADD CONSTRAINT fk_late_behind CHECK (id > 0)"))
    result = await cars.batch_create_partial([CarCreate(4, 4), CarCreate(5, 1), CarCreate(6, 6)])
    assert told(result) == ([0, 2], [(1, EntityAlreadyExists)])


async def test_a_good_batch_sends_no_more_for_them(with_tables: WithTables) -> None:
    """Nor does one whose fault is found without them: nobody asks what is checked late."""
    async with with_tables(CarRow, LoadRow) as db:
        cars, counts = Cars(db, resilience=None), list[list[str]]()
        for specs in ([CarCreate(1, 1), CarCreate(2, 2)], [CarCreate(3, 3), CarCreate(1, 4)]):
            with count_statements(db) as sent:
                await cars.batch_create_partial(specs)
            counts.append([sql for sql in sent if "CONSTRAINT" in sql.upper()])
        assert counts == [[], []]


async def test_a_unit_of_work_may_make_it_right(cars: Cars) -> None:
    """So what is checked at its COMMIT is left to that, which says what was not."""
    async with cars.db_source.db.unit_of_work():
        result = await cars.batch_create_partial([CarCreate(4, 1), CarCreate(5, 5, 6)])
        assert told(result) == ([0, 1], [])
        await cars.update(1, at(9))
        await cars.create(CarCreate(6, 6))
    with pytest.raises(EntityAlreadyExists):
        async with cars.db_source.db.unit_of_work():
            assert told(await cars.batch_create_partial([CarCreate(7, 1), CarCreate(8, 8)])) == ([0, 1], [])
    assert sorted(car.id for car in await cars.search()) == [1, 2, 3, 4, 5, 6]


async def test_an_error_of_the_applications_own_is_an_items(with_tables: WithTables) -> None:
    """Whatever class ``violations`` gives it."""
    async with with_tables(CarRow, LoadRow) as db:
        result = await OwnCars(db, resilience=None).batch_create_partial([CarCreate(1, 1), CarCreate(2, 1)])
        assert told(result) == ([0], [(1, PlaceTaken)])


async def test_a_trigger_that_waits_is_heard(with_tables: WithTables) -> None:
    """What it refuses at COMMIT is the item's that it refused."""
    async with with_tables(CarRow, LoadRow) as db:
        async with db.begin_session() as session:
            for statement in TRIGGER:
                await session.execute(sa.text(statement))
        cars = Cars(db, resilience=None)
        result = await cars.batch_create_partial([CarCreate(1, 1), CarCreate(2, 13), CarCreate(3, 3)])
        assert told(result) == ([0, 2], [(1, CheckViolation)])


TRIGGER = (
    """CREATE OR REPLACE FUNCTION late_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.place = 13 THEN RAISE check_violation; END IF; RETURN NULL; END $$""",
    """CREATE CONSTRAINT TRIGGER late_refuse AFTER INSERT ON late_cars DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION late_refuse()""",
)


async def test_specs_of_an_iterator_are_there_again(with_tables: WithTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many it gives: the batch has them all at hand."""
    monkeypatch.setattr(replay, "MOST_KEPT", 3)
    async with with_tables(CarRow, LoadRow) as db:
        cars = Cars(db, resilience=None)
        result = await cars.batch_create_partial(CarCreate(id, id % 9) for id in range(10))
        assert told(result) == ([*range(9)], [(9, EntityAlreadyExists)])


async def test_what_an_iterator_raises_is_no_items(with_tables: WithTables) -> None:
    """Nor is it tried again, whatever it is."""
    async with with_tables(CarRow, LoadRow) as db:
        begun = list[int]()

        def raising() -> Iterator[CarCreate]:
            begun.append(1)
            yield CarCreate(1, 1)
            raise EntityAlreadyExists

        with pytest.raises(EntityAlreadyExists):
            await Cars(db, resilience=None).batch_create_partial(raising())
        assert begun == [1]


async def test_references_that_wait_on_either_database(any_tables: WithTables) -> None:
    """Those that lead nowhere are told by item, those that keep a row from being removed, too."""
    async with any_tables(StopRow) as db:
        stops = Stops(db, resilience=None)
        specs = [StopCreate(1, 2), StopCreate(2, 1), StopCreate(3, 99), StopCreate(4, 3), StopCreate(5, 1)]
        for verb in (stops.batch_create_partial, stops.batch_upsert_partial):
            done: Any = await verb(specs)
            assert told(done) == ([0, 1, 4], [(2, ReferenceNotFound), (3, ReferenceNotFound)])
            result = await stops.batch_purge_partial([1, 2])
            assert told(result) == ([], [(0, StillReferenced), (1, StillReferenced)])
            assert told(await stops.batch_purge_partial([5, 2, 1, 99]))[0] == [0, 1, 2]


async def test_rows_that_led_nowhere_before_are_no_items_fault(sqlite_database: Database) -> None:
    """SQLite has such rows, where it was not told to look when they were written."""
    async with sqlite_database.engine.begin() as connection:
        await connection.run_sync(StopRow.metadata.tables["late_stops"].create)
    async with sqlite_database.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        for statement in (
            "PRAGMA foreign_keys = OFF",
            "INSERT INTO late_stops VALUES (7, 77)",
            "PRAGMA foreign_keys = ON",
        ):
            await raw.execute(statement)
            await raw.commit()
    stops = Stops(sqlite_database, resilience=None)
    assert told(await stops.batch_create_partial([StopCreate(1), StopCreate(2, 99)])) == ([0], [(1, ReferenceNotFound)])
    assert sorted(stop.id for stop in await stops.search()) == [1, 7]
