"""Rows that a trigger skips: never told as written, removed or absent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import (
    BatchCreator,
    EntityNotFound,
    OptionalState,
    Patch,
    RefusedByTrigger,
    Repository,
    Spec,
    TransactionAborted,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class NoteRow(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(unique=True)
    above_id: Mapped[int | None] = mapped_column(sa.ForeignKey("notes.id"))

    below: Mapped[list[NoteRow]] = relationship(viewonly=True)


@dataclass(frozen=True)
class NoteData:
    id: int
    word: str


@dataclass(frozen=True)
class Word:
    """Data of which Python knows everything, so that COPY can be taken."""

    word: str


@dataclass(frozen=True)
class NoteCreate(Spec[NoteRow]):
    word: str
    below: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Keyed(Spec[NoteRow]):
    id: int
    word: str


@dataclass(frozen=True)
class Plain(Spec[NoteRow]):
    word: str


@dataclass(frozen=True)
class NotePatch(Patch[NoteRow]):
    word: OptionalState[str] = OptionalState.nop()


class Notes(Repository[NoteRow, NoteData, int]):
    pass


POSTGRESQL = """
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF TG_OP <> 'INSERT' AND OLD.word = 'firm' THEN RETURN NULL; END IF;
IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
IF NEW.word = 'bad' THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON notes FOR EACH ROW EXECUTE FUNCTION skip()
"""
SQLITE = [
    f"CREATE TRIGGER {name} BEFORE {verb} ON notes WHEN {row}.word = '{word}' BEGIN SELECT RAISE(IGNORE); END"
    for name, verb, row, word in [
        ("skip1", "INSERT", "NEW", "bad"),
        ("skip2", "UPDATE", "OLD", "firm"),
        ("skip3", "DELETE", "OLD", "firm"),
    ]
]


@pytest.fixture
async def notes(any_tables: WithTables) -> AsyncIterator[Notes]:
    """Notes 1 (firm: it can be neither changed nor removed) and 2; none can be created with the word "bad"."""
    async with any_tables(NoteRow) as db:
        is_sqlite = db.engine.dialect.name == "sqlite"
        made = Notes(db)
        await made.batch_create([NoteCreate("firm"), NoteCreate("soft")])
        async with db.engine.begin() as connection:
            for sql in SQLITE if is_sqlite else POSTGRESQL.split(";\nCREATE TRIGGER"):
                await connection.exec_driver_sql(
                    sql if is_sqlite or "FUNCTION skip() RET" in sql else f"CREATE TRIGGER{sql}"
                )
        yield made
        if not is_sqlite:
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION skip CASCADE")


SPECS = [NoteCreate("a"), NoteCreate("bad"), NoteCreate("b")]
KEYED = [Keyed(12, "a"), Keyed(11, "bad"), Keyed(10, "b")]
NEW = NotePatch(OptionalState.update("new"))
CALLS: dict[str, tuple[int | None, Callable[[Notes], Awaitable[Any]]]] = {
    "create": (None, lambda notes: notes.create(KEYED[1])),
    "upsert": (None, lambda notes: notes.upsert(KEYED[1])),
    "upsert of one that is there": (None, lambda notes: notes.upsert(Keyed(1, "new"))),
    "batch_create": (1, lambda notes: notes.batch_create(SPECS)),
    "batch_create of keys": (1, lambda notes: notes.batch_create(KEYED)),
    "batch_create of nothing else": (2, lambda notes: notes.batch_create([*SPECS[::2], SPECS[1]])),
    "load": (1, lambda notes: notes.load(SPECS)),
    "load of keys": (1, lambda notes: notes.load(KEYED)),
    "batch_upsert": (1, lambda notes: notes.batch_upsert(KEYED)),
    "tree": (0, lambda notes: notes.batch_create([NoteCreate("top", (SPECS[1],))])),
    "update": (None, lambda notes: notes.update(1, NEW)),
    "batch_update_each": (1, lambda notes: notes.batch_update_each({2: NEW, 1: NEW})),
    "purge": (None, lambda notes: notes.purge(1)),
    "batch_purge": (1, lambda notes: notes.batch_purge([2, 1])),
}


async def test_a_row_that_a_trigger_skips_is_an_error(notes: Notes) -> None:
    """Every verb says so, and which row it was; nothing of the call stays."""
    for verb, (index, call) in CALLS.items():
        with pytest.raises(RefusedByTrigger) as caught:
            await call(notes)
        assert (verb, caught.value.index) == (verb, index)
        noun = "id" if index is not None and verb in ("batch_update_each", "batch_purge") else "(spec|item|row)"
        assert index is None or re.search(rf"refused the row of the {noun} at index {index}", str(caught.value))
        assert [item.word for item in (await notes.search(orders=[NoteRow.id])).items] == ["firm", "soft"], verb
    for absent in (notes.update(99, NEW), notes.purge(99)):
        with pytest.raises(EntityNotFound):
            await absent


async def test_a_purge_by_condition_says_that_a_trigger_keeps_rows(notes: Notes) -> None:
    """At once, and with what was removed; in one transaction nothing is."""
    for _ in range(2):
        with pytest.raises(RefusedByTrigger, match="keeps the rows") as caught:
            await asyncio.wait_for(notes.purge_where([], all_rows=True, chunk_size=None), 20)
        assert [item.word for item in (await notes.search(orders=[NoteRow.id])).items] == ["firm", "soft"]
    for removed in (1, 0):
        with pytest.raises(RefusedByTrigger, match="keeps the rows") as caught:
            await asyncio.wait_for(notes.purge_where([], all_rows=True, chunk_size=1), 20)
        report = caught.value.report
        assert report is not None
        assert (report.rows, report.complete) == (removed, False)
        assert [item.word for item in (await notes.search()).items] == ["firm"]


async def test_objects_of_rows_purged_by_condition_are_let_go(any_tables: WithTables) -> None:
    """A session that held them, in which the purge ran, does not give them any more."""
    async with any_tables(NoteRow) as db:
        notes = Notes(db)
        await notes.batch_create([NoteCreate("one"), NoteCreate("two")])
        async with db.unit_of_work() as unit:
            held = (await unit.session.scalars(sa.select(NoteRow).order_by(NoteRow.id))).all()
            assert (await notes.purge_where([NoteRow.word == "one"], chunk_size=None)).rows == 1
            assert [item in unit.session for item in held] == [False, True]
            assert await unit.session.get(NoteRow, held[1].id) is held[1]


async def test_rows_by_copy_are_counted(notes: Notes) -> None:
    """COPY does not say what was skipped; the rows are sent another way to find out."""
    async with notes.db.begin_session() as db_sess:
        with pytest.raises(RefusedByTrigger) as caught:
            await BatchCreator(NoteRow, into=Word).create(db_sess, SPECS)
        assert caught.value.index == 1
        await db_sess.rollback()


async def test_a_batch_is_not_half_done(notes: Notes) -> None:
    """Who swallows the error inside a unit of work has nothing committed."""
    with pytest.raises(TransactionAborted):
        async with notes.db.unit_of_work():
            with pytest.raises(RefusedByTrigger):
                await notes.batch_create([Plain("a"), Plain("bad"), Plain("b")])
    assert await notes.count() == 2


async def test_an_item_that_a_trigger_skips_fails_alone(notes: Notes) -> None:
    """In each of the partial forms, by its index in the whole input."""
    made = await notes.batch_create_partial([NoteCreate("x"), *SPECS])
    changed = await notes.batch_update_partial({2: NEW, 1: NEW})
    gone = await notes.batch_purge_partial([2, 99, 1])
    assert [(item.index, type(item.error)) for item in made.failed] == [(2, RefusedByTrigger)]
    assert [item.word for item in made.data] == ["x", "a", "b"]
    assert [(item.index, type(item.error)) for item in changed.failed] == [(1, RefusedByTrigger)]
    assert [(item.index, type(item.error)) for item in gone.failed] == [(1, EntityNotFound), (2, RefusedByTrigger)]
    assert [getattr(item.error, "index", None) for item in (*made.failed, *changed.failed, *gone.failed)] == [
        2,
        1,
        None,
        2,
    ]


REMOVE = "DELETE FROM notes WHERE id = NEW.id AND NEW.word = 'gone'"
REMOVING = {
    "postgresql": [
        f"CREATE FUNCTION remove() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {REMOVE}; RETURN NULL; END $$",
        "CREATE TRIGGER remove AFTER INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION remove()",
    ],
    "sqlite": [f"CREATE TRIGGER remove_{on} AFTER {on} ON notes BEGIN {REMOVE}; END" for on in ("INSERT", "UPDATE")],
}
GONE, KEPT = NotePatch(OptionalState.update("gone")), NotePatch(OptionalState.update("kept"))
REMOVED: dict[str, Callable[[Notes], Awaitable[Any]]] = {
    "create": lambda notes: notes.create(Plain("gone")),
    "upsert": lambda notes: notes.upsert(Keyed(9, "gone")),
    "upsert of one that is there": lambda notes: notes.upsert(Keyed(1, "gone")),
    "batch_create": lambda notes: notes.batch_create([Keyed(8, "a"), Keyed(9, "gone")]),
    "batch_upsert": lambda notes: notes.batch_upsert([Keyed(9, "b"), Keyed(1, "gone")]),
    "update": lambda notes: notes.update(1, GONE),
    "batch_update": lambda notes: notes.batch_update([1], GONE),
    "batch_update_each": lambda notes: notes.batch_update_each({2: KEPT, 1: GONE}),
}


async def test_a_row_that_a_trigger_takes_away_again_is_an_error(any_tables: WithTables) -> None:
    """Once it is written, in every verb; nothing of the call stays, and partial forms keep the others."""
    async with any_tables(NoteRow) as db:
        notes = Notes(db, resilience=None)
        async with db.engine.begin() as connection:
            for sql in REMOVING[db.engine.dialect.name]:
                await connection.exec_driver_sql(sql)
        await notes.batch_create([NoteCreate("first"), NoteCreate("second")])
        try:
            for verb, call in REMOVED.items():
                with pytest.raises(RefusedByTrigger):
                    await call(notes)
                assert [item.word for item in (await notes.search(orders=[NoteRow.id])).items] == ["first", "second"], (
                    verb
                )
            made = await notes.batch_create_partial([Keyed(7, "a"), Keyed(8, "gone")])
            changed = await notes.batch_update_partial({2: KEPT, 1: GONE})
            upserted = await notes.batch_upsert_partial([Keyed(7, "c"), Keyed(1, "gone"), Keyed(9, "b")])
            for result, index in ((made, 1), (changed, 1), (upserted, 1)):
                assert [(item.index, type(item.error)) for item in result.failed] == [(index, RefusedByTrigger)]
            assert [item.word for item in (await notes.search(orders=[NoteRow.id])).items] == [
                "first",
                "kept",
                "c",
                "b",
            ]
        finally:
            if db.engine.dialect.name == "postgresql":
                async with db.engine.begin() as connection:
                    await connection.exec_driver_sql("DROP FUNCTION remove CASCADE")
