"""Rows that a trigger removes once they are written, whose numbers SQLite gives again: no other row stands for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    Conflict,
    Database,
    OptionalState,
    Patch,
    RefusedByTrigger,
    Repository,
    RepositoryError,
    Spec,
    TransactionAborted,
)
from rowsmith.testing import WithTables, tables


class Base(DeclarativeBase):
    pass


class NoteRow(Base):
    __tablename__ = "passing_notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    size: Mapped[int]

    lines: Mapped[list[LineRow]] = relationship(viewonly=True)


class LineRow(Base):
    __tablename__ = "passing_lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    note_id: Mapped[int] = mapped_column(sa.ForeignKey("passing_notes.id", deferrable=True, initially="DEFERRED"))
    text: Mapped[str]


@dataclass(frozen=True)
class Note:
    id: int
    name: str
    size: int


@dataclass(frozen=True)
class New(Spec[NoteRow]):
    name: str
    size: int


@dataclass(frozen=True)
class Sized(Patch[NoteRow]):
    size: OptionalState[int] = OptionalState.nop()


class Notes(Repository[NoteRow, Note, int]):
    conflict = Conflict(columns=[NoteRow.name])


ON_SQLITE = (
    "CREATE TRIGGER passing AFTER {} ON passing_notes WHEN new.size = 13 "
    "BEGIN DELETE FROM passing_notes WHERE id = new.id; END"
)
ON_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.size = 13 THEN "
    "DELETE FROM passing_notes WHERE id = NEW.id; END IF; RETURN NULL; END $$"
)


@pytest.fixture
async def notes(any_tables: WithTables) -> AsyncIterator[Notes]:
    """Have a trigger remove what is written with a size of 13."""
    async with any_tables(NoteRow) as db:
        is_sqlite = db.engine.dialect.name == "sqlite"
        async with db.engine.begin() as connection:
            if is_sqlite:
                for verb in ("INSERT", "UPDATE"):
                    await connection.exec_driver_sql(ON_SQLITE.format(verb).replace("passing ", f"passing_{verb} "))
            else:
                await connection.exec_driver_sql(ON_POSTGRESQL)
                await connection.exec_driver_sql(
                    "CREATE TRIGGER passing AFTER INSERT OR UPDATE ON passing_notes FOR EACH ROW "
                    "EXECUTE FUNCTION pass_on()"
                )
        await db.engine.dispose()  # what is asked once for each connection is asked again
        try:
            yield Notes(db)
        finally:
            if not is_sqlite:
                async with db.engine.begin() as connection:
                    await connection.exec_driver_sql("DROP FUNCTION pass_on() CASCADE")


async def names(notes: Notes) -> list[str]:
    return sorted(note.name for note in await notes.search())


BATCHES: dict[str, Callable[[Notes, list[New]], Awaitable[Any]]] = {
    "batch_create": lambda notes, specs: notes.batch_create(specs),
    "batch_upsert": lambda notes, specs: notes.batch_upsert(specs),
}


@pytest.mark.parametrize("verb", BATCHES)
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_batch_gives_no_row_for_another(notes: Notes, verb: str, at: int) -> None:
    """It ends in an error that blames no key of the specs, and nothing is kept."""
    specs = [New(f"n{place}", 13 if place == at else 1) for place in range(3)]
    with pytest.raises(RefusedByTrigger) as caught:
        await BATCHES[verb](notes, specs)
    assert caught.value.index == at
    assert await names(notes) == []
    with pytest.raises(TransactionAborted):
        async with notes.db.unit_of_work():
            with pytest.raises(RefusedByTrigger):
                await BATCHES[verb](notes, specs)
    assert await names(notes) == []


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("verb", ["batch_create_partial", "batch_upsert_partial"])
async def test_it_is_the_failure_of_its_item(notes: Notes, at: int, verb: str) -> None:
    """The others are written, and each is given as it is."""
    specs = [New(f"n{place}", 13 if place == at else 1) for place in range(3)]
    result = await getattr(notes, verb)(specs)
    data = [getattr(each.data, "data", each.data) for each in result.succeeded]
    others = [f"n{place}" for place in range(3) if place != at]
    assert [note.name for note in data] == others
    ((index, error),) = [(failure.index, failure.error) for failure in result.failed]
    assert index == at
    assert isinstance(error, RefusedByTrigger)
    assert await names(notes) == others


async def test_a_row_that_is_removed_as_it_is_changed_is_refused(notes: Notes) -> None:
    """By whichever verb: none ends in an error of Python's own."""
    made = await notes.batch_create([New("a", 1), New("b", 1)])
    gone = Sized(size=OptionalState.update(13))
    ids = [note.id for note in made]
    for call in (
        lambda: notes.update(ids[0], gone),
        lambda: notes.batch_update(ids, gone),
        lambda: notes.batch_update_each(dict.fromkeys(ids, gone)),
        lambda: notes.upsert(New("a", 13)),
        lambda: notes.batch_upsert([New("a", 2), New("b", 13)]),
    ):
        work: Awaitable[Any] = call()
        with pytest.raises(RefusedByTrigger):
            await work
        assert await names(notes) == ["a", "b"]
    result = await notes.batch_update_partial({ids[0]: gone, ids[1]: Sized(size=OptionalState.update(5))})
    assert [type(failure.error) for failure in result.failed] == [RefusedByTrigger]
    assert [success.data.name for success in result.succeeded] == ["b"]


@dataclass(frozen=True)
class NewLine(Spec[LineRow], filled={"note_id"}):
    text: str


@dataclass(frozen=True)
class Tree(Spec[NoteRow]):
    name: str
    size: int
    lines: list[NewLine]


async def test_no_row_below_it_hangs_on_another(sqlite_database: Database) -> None:
    """A tree whose top is removed leaves nothing, and gives its lines to no other one's."""
    async with tables(sqlite_database, NoteRow, LineRow) as db:
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(ON_SQLITE.format("INSERT"))
        with pytest.raises(RepositoryError):
            await Notes(db).batch_create([Tree("a", 13, [NewLine("one")]), Tree("b", 1, [NewLine("two")])])
        async with db.begin_session() as session:
            assert list(await session.scalars(sa.select(LineRow.text))) == []
