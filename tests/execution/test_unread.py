"""A stored value that cannot be read is told of with the item whose it is, in every batch that reads it."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import wraps
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    BatchQuerier,
    Conflict,
    Database,
    DBSource,
    InvalidValue,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
    TransactionAborted,
    TriState,
)
from rowsmith.testing import WithTables
from support import share


class Mood(enum.Enum):
    low = "low"


class Base(DeclarativeBase):
    pass


class DayRow(Base):
    __tablename__ = "unread_days"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[int] = mapped_column(unique=True)
    first: Mapped[dt.date | None]
    last: Mapped[dt.date | None]
    mood: Mapped[Mood | None] = mapped_column(sa.Enum(Mood, name="unread_mood"))
    note: Mapped[str | None]
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    hours: Mapped[list[HourRow]] = relationship()


class HourRow(Base):
    __tablename__ = "unread_hours"
    id: Mapped[int] = mapped_column(primary_key=True)
    day_id: Mapped[int] = mapped_column(sa.ForeignKey(DayRow.id))
    at: Mapped[dt.date | None]


@dataclass(frozen=True)
class Day:
    id: int
    first: dt.date | None
    last: dt.date | None
    mood: Mood | None


@dataclass(frozen=True)
class Hour:
    at: dt.date | None


@dataclass(frozen=True)
class FullDay:
    id: int
    hours: list[Hour]


@dataclass(frozen=True)
class NewDay(Spec[DayRow]):
    code: int
    note: str


@dataclass(frozen=True)
class DayChange(Patch[DayRow]):
    note: TriState[str] = TriState.nop()


class Days(Repository[DayRow, Day, int]):
    soft_delete = SoftDelete(DayRow.deleted_at)
    conflict = Conflict([DayRow.code])


class DayRows(Repository[DayRow, DayRow, int]):
    soft_delete = SoftDelete(DayRow.deleted_at)
    conflict = Conflict([DayRow.code])


class FullDays(Repository[DayRow, FullDay, int]):
    soft_delete = SoftDelete(DayRow.deleted_at)
    conflict = Conflict([DayRow.code])


CHANGE = DayChange(TriState.update("mine"))
IDS = [8, 3, 6, 1, 5, 2, 7, 4]
DELETED = -100
"""What is taken from the key of a row for that of its twin which is deleted."""

BATCHES: Mapping[str, Callable[..., Awaitable[Any]]] = {
    "batch_get": lambda days, ids, **given: days.batch_get(ids, **given),
    "batch_update": lambda days, ids, **given: days.batch_update(ids, CHANGE, **given),
    "batch_update_each": lambda days, ids, **given: days.batch_update_each(dict.fromkeys(ids, CHANGE), **given),
    "batch_delete": lambda days, ids, **given: days.batch_delete(ids, **given),
    "batch_restore": lambda days, ids, **given: days.batch_restore([id_ + DELETED for id_ in ids], **given),
    "batch_purge": lambda days, ids, **given: days.batch_purge(ids, **given),
    "batch_upsert": lambda days, ids, **given: days.batch_upsert([NewDay(id_, "mine") for id_ in ids], **given),
}
NOUNS = {"batch_update_each": "patch", "batch_upsert": "spec"}


async def fill(made: Database) -> None:
    """Make days of which some cannot be read: 5 and 2, among the live ones and those that are deleted."""
    async with made.engine.begin() as connection:
        await connection.execute(sa.text("ALTER TYPE unread_mood ADD VALUE 'odd'"))
    days = "INSERT INTO unread_days (id, code, first, last, mood) SELECT n, n, '2020-01-01', '2020-01-02', 'low'"
    deleted = f"INSERT INTO unread_days (id, code, deleted_at) SELECT n + {DELETED}, n + {DELETED}, now()"
    async with made.engine.begin() as connection:
        for sent in (days, deleted):
            await connection.execute(sa.text(f"{sent} FROM generate_series(1, 8) n"))


async def spoil(made: Database, column: str) -> None:
    value = "'odd'" if column == "mood" else "'0044-03-15 BC'"
    table, key = ("unread_hours", "day_id") if column == "at" else ("unread_days", "id")
    async with made.engine.begin() as connection:
        ids = ", ".join(str(id_ + shift) for id_ in (2, 5) for shift in (0, DELETED))
        await connection.execute(sa.text(f"UPDATE {table} SET {column} = {value} WHERE {key} IN ({ids})"))


async def told(work: Awaitable[Any]) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        await work
    assert caught.value.is_stored
    assert caught.value.__cause__ is None
    return caught.value


def keep(error: InvalidValue, verb: str, column: str, index: int = 4) -> None:
    assert (error.index, error.facts.columns) == (index, (column,))
    table = "HourRow." if column == "at" else "DayRow."
    noun = NOUNS.get(verb, "id")
    assert str(error).endswith(f"a stored value of {table}{column} is none of its column's type"), str(error)
    assert f"the {noun} at index {index}: a stored" in str(error)


LANES = pytest.mark.parametrize("native", [True, False], ids=["native", "sqlalchemy"])
VERBS = pytest.mark.parametrize("verb", BATCHES)


@pytest.mark.parametrize("column, native, verb", share(product(["first", "last", "mood"], [True, False], BATCHES)))
async def test_the_item_is_told(with_tables: WithTables, verb: str, native: bool, column: str) -> None:
    """The error says at which index of the batch the row stands that cannot be read, whatever else is asked for."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        await spoil(made, column)
        db = Database(made.engine, native=native)
        for days in (Days(db), DayRows(db)):
            keep(await told(BATCHES[verb](days, IDS)), verb, column)
            keep(await told(BATCHES[verb](days, [1, 5])), verb, column, 1)
            keep(await told(BATCHES[verb](days, [2])), verb, column, 0)
        found = await BATCHES[verb](Days(db), [1, 3, 4, 6, 7, 8])
        assert len(found if verb == "batch_get" else found.succeeded) == 6


@pytest.mark.parametrize("column", ["first", "mood"])
@LANES
@VERBS
async def test_the_item_is_told_in_a_unit_of_work(
    with_tables: WithTables, verb: str, native: bool, column: str
) -> None:
    """Once a purge has removed the row nobody can ask: its column is told alone."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        await spoil(made, column)
        days = Days(Database(made.engine, native=native))
        # What has only read, or has undone itself, leaves the rest of the unit as it is.
        with nullcontext() if verb in ("batch_get", "batch_upsert") else pytest.raises(TransactionAborted):
            async with days.db.begin_session():
                error = await told(BATCHES[verb](days, IDS))
                assert await days.count(include_deleted=True) == (8 if verb == "batch_purge" else 16)
        if verb == "batch_purge":
            assert error.index is None
            assert column in error.facts.columns
        else:
            keep(error, verb, column)
        assert await days.count(include_deleted=True) == 16
        assert await days.count(filters=[DayRow.note == "mine"], include_deleted=True) == 0


@pytest.mark.parametrize("column", ["first", "mood"])
@LANES
async def test_a_session_goes_on_after_a_read(with_tables: WithTables, native: bool, column: str) -> None:
    """What could not be read has undone nothing: the connection is the same, and in its transaction."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        await spoil(made, column)
        days = Days(Database(made.engine, native=native))
        async with days.db.begin_readonly_session() as db_sess:
            before = await db_sess.scalar(sa.text("SELECT pg_backend_pid()"))
            keep(await told(days.batch_get(IDS)), "batch_get", column)
            await told(days.get(5))
            assert (await days.get(1)).id == 1
            assert await db_sess.scalar(sa.text("SELECT pg_backend_pid()")) == before


@VERBS
async def test_the_item_is_told_of_what_is_committed(with_tables: WithTables, verb: str) -> None:
    """A statement that is its own transaction has been kept by the time that its answer is read."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        await spoil(made, "mood")
        days = Days(Database(made.engine, writes="statement"))
        await days.count()  # a first connection goes SQLAlchemy's way, which has a transaction around it
        error = await told(BATCHES[verb](days, IDS))
    if verb == "batch_purge":
        assert error.index is None
    else:
        keep(error, verb, "mood")


@dataclass(frozen=True)
class Mine(SearchScope):
    """Some of the days."""

    def to_conditions(self) -> list[Any]:
        return [DayRow.note == "mine"]


@LANES
@VERBS
async def test_a_row_out_of_scope_is_not_told_of(with_tables: WithTables, verb: str, native: bool) -> None:
    """One before it that cannot be read either, and is not the caller's, is no item's fault."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        await spoil(made, "mood")
        async with made.engine.begin() as connection:
            await connection.execute(sa.text("UPDATE unread_days SET note = 'mine' WHERE id NOT IN (5, -95)"))
        days = Days(Database(made.engine, native=native))
        keep(await told(BATCHES[verb](days, IDS, scope=Mine())), verb, "mood", IDS.index(2))


@LANES
async def test_collections_and_operation_objects(with_tables: WithTables, native: bool) -> None:
    """What cannot be read may be in a row of a collection, and the verb one of an operation object."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        async with made.engine.begin() as connection:
            await connection.execute(
                sa.text("INSERT INTO unread_hours (id, day_id, at) SELECT id, id, '2020-01-01' FROM unread_days")
            )
        await spoil(made, "at")
        db = Database(made.engine, native=native)
        for verb in ("batch_get", "batch_update", "batch_update_each", "batch_delete", "batch_upsert"):
            keep(await told(BATCHES[verb](FullDays(db), IDS)), verb, "at")
        async with db.begin_readonly_session() as db_sess:
            error = await told(BatchQuerier(DayRow, into=FullDay).query(db_sess, IDS))
            keep(error, "batch_get", "at")
            error = await told(BatchQuerier(DayRow, into=FullDay).query(db_sess=db_sess, ids=IDS))
            keep(error, "batch_get", "at")


PARTIAL: Mapping[str, Callable[[Any], Awaitable[Any]]] = {
    "batch_update_partial": lambda days: days.batch_update_partial(dict.fromkeys(IDS, CHANGE)),
    "batch_purge_partial": lambda days: days.batch_purge_partial(IDS),
    "batch_upsert_partial": lambda days: days.batch_upsert_partial([NewDay(id_, "mine") for id_ in IDS]),
}


@pytest.mark.parametrize("column", ["first", "mood"])
@pytest.mark.parametrize("verb", PARTIAL)
async def test_a_partial_batch_tells_each_of_them(with_tables: WithTables, verb: str, column: str) -> None:
    """The others are written."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        await spoil(made, column)
        days = Days(made)
        async with made.unit_of_work():
            result = await PARTIAL[verb](days)
        assert [failure.index for failure in result.failed] == [4, 5]
        assert all(column in failure.error.facts.columns and failure.error.is_stored for failure in result.failed)
        assert len(result.succeeded) == 6
        left = 2 if verb == "batch_purge_partial" else 8
        assert await days.count() == left


class NoteRow(Base):
    __tablename__ = "unread_notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[int] = mapped_column(unique=True)
    mood: Mapped[Mood | None] = mapped_column(sa.Enum(Mood, native_enum=False))
    note: Mapped[str | None]


@dataclass(frozen=True)
class Note:
    id: int
    mood: Mood | None


@dataclass(frozen=True)
class NewNote(Spec[NoteRow]):
    code: int
    note: str


@dataclass(frozen=True)
class NoteChange(Patch[NoteRow]):
    note: TriState[str] = TriState.nop()


class Notes(Repository[NoteRow, Note, int]):
    conflict = Conflict([NoteRow.code])


NOTE_BATCHES: Mapping[str, Callable[[Any], Awaitable[Any]]] = {
    "batch_get": lambda notes: notes.batch_get(IDS),
    "batch_update": lambda notes: notes.batch_update(IDS, NoteChange(TriState.update("x"))),
    "batch_update_each": lambda notes: notes.batch_update_each(
        dict.fromkeys(IDS, NoteChange(TriState.update("x"))),
    ),
    "batch_purge": lambda notes: notes.batch_purge(IDS),
    "batch_upsert": lambda notes: notes.batch_upsert([NewNote(id_, "x") for id_ in IDS]),
    "batch_update_partial": lambda notes: notes.batch_update_partial(
        dict.fromkeys(IDS, NoteChange(TriState.update("x"))),
    ),
    "batch_purge_partial": lambda notes: notes.batch_purge_partial(IDS),
    "batch_upsert_partial": lambda notes: notes.batch_upsert_partial([NewNote(id_, "x") for id_ in IDS]),
}


@pytest.mark.parametrize("verb", NOTE_BATCHES)
async def test_the_item_is_told_on_both_databases(any_tables: WithTables, verb: str) -> None:
    """SQLite's values are read by SQLAlchemy's types, and partial batches name each item."""
    async with any_tables(NoteRow) as made:
        async with made.engine.begin() as connection:
            rows = [{"id": id_, "code": id_, "mood": "odd" if id_ in (2, 5) else "low"} for id_ in IDS]
            await connection.execute(
                sa.text("INSERT INTO unread_notes (id, code, mood) VALUES (:id, :code, :mood)"), rows
            )
        notes = Notes(made)
        if verb.endswith("_partial"):
            result = await NOTE_BATCHES[verb](notes)
            assert [failure.index for failure in result.failed] == [4, 5]
            assert all(failure.error.is_stored for failure in result.failed)
        else:
            error = await told(NOTE_BATCHES[verb](notes))
            assert (error.index, error.facts.columns) == (4, ("mood",))


@LANES
async def test_a_row_that_the_call_does_not_see_is_not_told_of(with_tables: WithTables, native: bool) -> None:
    """A deleted one cannot be read either, and stands before the one that was."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        await spoil(made, "mood")
        days = Days(Database(made.engine, native=native))
        for verb in ("batch_get", "batch_update", "batch_update_each", "batch_delete", "batch_upsert"):
            first = 1 if verb == "batch_upsert" else 2 + DELETED  # of which an upsert would say that its key is taken
            keep(await told(BATCHES[verb](days, [first, 5])), verb, "mood", 1)
        keep(await told(days.batch_restore([2, 5 + DELETED])), "batch_restore", "mood", 1)
        keep(await told(days.batch_get([2 + DELETED], include_deleted=True)), "batch_get", "mood", 0)


MAKING: Mapping[str, Callable[[Any], Awaitable[Any]]] = {
    "create": lambda days: days.create(NewDay(50, "mine")),
    "upsert": lambda days: days.upsert(NewDay(50, "mine")),
    "batch_create": lambda days: days.batch_create([NewDay(50, "mine"), NewDay(51, "mine")]),
    "batch_upsert": lambda days: days.batch_upsert([NewDay(50, "mine"), NewDay(51, "mine")]),
}


@LANES
@pytest.mark.parametrize("verb", MAKING)
async def test_what_the_server_makes_and_nobody_can_read_is_not_kept(
    with_tables: WithTables, verb: str, native: bool
) -> None:
    """A new row whose default cannot be read is undone, in a unit of work and in a call of its own."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        async with made.engine.begin() as connection:
            await connection.execute(sa.text("ALTER TABLE unread_days ALTER mood SET DEFAULT 'odd'"))
            await connection.execute(sa.text("ALTER SEQUENCE unread_days_id_seq RESTART WITH 1000"))
        days = Days(Database(made.engine, native=native))
        with suppress(TransactionAborted):  # a batch of upserts has undone itself
            async with days.db.unit_of_work():
                error = await told(MAKING[verb](days))
                assert error.facts.columns == ("mood",)
        assert await days.count(include_deleted=True) == 16
        await told(MAKING[verb](days))
        assert await days.count(include_deleted=True) == 16


class DatedRow(Base):
    __tablename__ = "unread_dates"
    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[dt.date | None]
    next_day: Mapped[dt.date | None]
    at: Mapped[dt.datetime | None]
    time: Mapped[dt.time | None]


@dataclass(frozen=True)
class Dated:
    day: dt.date | None
    next_day: dt.date | None
    at: dt.datetime | None
    time: dt.time | None


class Dates(Repository[DatedRow, Dated, int]):
    pass


class DatedRows(Repository[DatedRow, DatedRow, int]):
    pass


async def test_a_text_that_is_no_date_is_told_of_by_its_column(sqlite_database: Database) -> None:
    """SQLite takes any; the days are of two columns that the same code reads."""
    engine = sqlite_database.engine
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all, tables=[DatedRow.__table__])
    for id_, column in enumerate(("day", "next_day", "at", "time")):
        async with engine.begin() as connection:
            await connection.execute(sa.text("DELETE FROM unread_dates"))
            await connection.execute(sa.text(f"INSERT INTO unread_dates (id, {column}) VALUES ({id_}, 'none')"))
        for dates in (Dates(sqlite_database), DatedRows(sqlite_database)):
            same = ("day", "next_day") if "day" in column else (column,)
            for work in (dates.get(id_), dates.batch_get([id_]), dates.search(None), dates.purge(id_)):
                assert (await told(work)).facts.columns == same


async def test_a_function_around_a_verb_is_none_itself(with_tables: WithTables) -> None:
    """It has the verb's attributes, and nobody knows what it does with its arguments."""
    async with with_tables(DayRow, HourRow) as made:
        await fill(made)
        await spoil(made, "mood")
        source = DBSource(made, DayRow, into=Day)

        @wraps(source.batch_updater.update)
        async def twice(db_sess: Any, ids: list[int]) -> Any:
            await source.batch_updater.update(db_sess, ids, CHANGE)

        keep(await told(source.write(twice, IDS)), "batch_update", "mood")
        assert await source.read(source.batch_querier.count) == 16
