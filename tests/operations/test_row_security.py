"""Row security of PostgreSQL: what its policies refuse is told as what a constraint or a trigger refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    CheckViolation,
    Conflict,
    Database,
    DatabaseFault,
    OptionalState,
    PartialResult,
    Patch,
    RefusedByTrigger,
    Repository,
    Spec,
)
from rowsmith.execution import WriteMode
from rowsmith.testing import WithTables
from support import until


class Base(DeclarativeBase):
    pass


class LetterRow(Base):
    __tablename__ = "secured_letters"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    word: Mapped[str]
    answers: Mapped[int | None] = mapped_column(sa.ForeignKey("secured_letters.id"))


class NoteRow(Base):
    __tablename__ = "secured_notes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    word: Mapped[str]


@dataclass(frozen=True)
class LetterCreate(Spec[LetterRow]):
    id: int
    word: str
    answers: int | None = None


@dataclass(frozen=True)
class NoteCreate(Spec[NoteRow]):
    id: int
    word: str


@dataclass(frozen=True)
class NotePatch(Patch[NoteRow]):
    word: OptionalState[str] = OptionalState.nop()


class Letters(Repository[LetterRow, LetterRow, int]):
    pass


class Notes(Repository[NoteRow, NoteRow, int]):
    conflict = Conflict([NoteRow.id])


SEEN_TO_ALL = "CREATE POLICY seen ON {table} FOR SELECT USING (true)"
MADE = "CREATE POLICY made ON {table} FOR INSERT WITH CHECK (word <> 'bad')"
CHANGED = "CREATE POLICY changed ON {table} FOR UPDATE USING (true) WITH CHECK (word <> 'bad')"
LOCKED = "CREATE POLICY changed ON {table} FOR UPDATE USING (word <> 'kept')"
REMOVED = "CREATE POLICY removed ON {table} FOR DELETE USING (word <> 'kept')"


@pytest.fixture
async def role(database: Database, with_tables: WithTables) -> AsyncIterator[Database]:
    """Give a database as one sees it who is under row security, whose tables have no policies yet."""
    async with with_tables(LetterRow, NoteRow):
        async with database.begin_session() as db_sess:
            await db_sess.execute(sa.text("CREATE ROLE rowsmith_secured LOGIN"))
            for table in ("secured_letters", "secured_notes"):
                await db_sess.execute(sa.text(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))
                await db_sess.execute(sa.text(f"GRANT ALL ON {table} TO rowsmith_secured"))
        secured = Database.from_url(database.engine.url, connect_args={"server_settings": {"role": "rowsmith_secured"}})
        yield secured
        await secured.dispose()
        async with database.begin_session() as db_sess:
            await db_sess.execute(sa.text("DROP OWNED BY rowsmith_secured"))
            await db_sess.execute(sa.text("DROP ROLE rowsmith_secured"))


async def under(database: Database, table: str, *policies: str) -> None:
    async with database.begin_session() as db_sess:
        for policy in policies:
            await db_sess.execute(sa.text(policy.format(table=table)))


@pytest.mark.parametrize(
    "policy, goes", [(LOCKED, 4), (CHANGED, 4), (SEEN_TO_ALL, 0)], ids=["not locked", "not removed", "none is locked"]
)
async def test_a_purge_says_at_once_that_a_policy_keeps_rows(
    role: Database, database: Database, policy: str, goes: int
) -> None:
    """Nobody has them, so it waits for nobody: what can go is gone, and in one transaction nothing is."""
    await under(database, "secured_notes", *dict.fromkeys([SEEN_TO_ALL, MADE, REMOVED, policy]))
    notes = Notes(role)
    await notes.batch_create([NoteCreate(place, "kept" if place == 2 else "x") for place in range(5)])
    with pytest.raises(RefusedByTrigger, match="a trigger or policy of the database keeps the rows"):
        await notes.purge_where([], all_rows=True, chunk_size=None)
    assert await notes.count() == 5
    for chunk_size, gone in ((2, goes), (1000, 0)):
        with pytest.raises(RefusedByTrigger, match="a trigger or policy of the database keeps the rows") as caught:
            await notes.purge_where([], all_rows=True, chunk_size=chunk_size)
        assert (caught.value.report.rows, caught.value.report.complete) == (gone, False)
        assert await notes.count() == 5 - goes
        assert await notes.count(None, [NoteRow.word == "kept"]) == 1


@pytest.mark.parametrize("writes", ["transaction", "statement"])
@pytest.mark.parametrize("native", [True, False], ids=["native", "sqlalchemy"])
@pytest.mark.parametrize("policy", [SEEN_TO_ALL, LOCKED, CHANGED], ids=["none is changed", "some are", "all are"])
async def test_what_may_be_removed_is_removed_whatever_may_be_changed(
    role: Database, database: Database, policy: str, native: bool, writes: WriteMode
) -> None:
    """A policy for DELETE lets rows be removed that none for UPDATE lets be locked; verbs by keys all say the same."""
    await under(database, "secured_notes", *dict.fromkeys([SEEN_TO_ALL, MADE, REMOVED, policy]))
    notes = Notes(Database(role.engine, native=native, writes=writes))
    await notes.batch_create([NoteCreate(place, "kept" if place == 7 else "x") for place in range(8)])
    assert (await notes.purge(0)).id == 0
    result = await notes.batch_purge([9, 2, 1])
    assert ([note.id for note in result.succeeded], result.missing) == ([2, 1], [9])
    async with notes.db.unit_of_work():
        assert (await notes.batch_purge([3])).missing == []
    for call in (notes.purge(7), notes.batch_purge([5, 7])):
        with pytest.raises(RefusedByTrigger):
            await call
    partial = await notes.batch_purge_partial([5, 7, 9])
    assert ([success.data.id for success in partial.succeeded], faults_of(partial)) == (
        [5],
        [(1, RefusedByTrigger), (2, Notes.not_found)],
    )
    assert sorted(note.id for note in (await notes.search()).items) == [4, 6, 7]


@pytest.mark.parametrize("chunk_size", [1, 1000])
async def test_a_purge_says_so_of_rows_that_keep_others(role: Database, database: Database, chunk_size: int) -> None:
    """The letter that is answered stays as long as its answer does, which a policy keeps."""
    await under(database, "secured_letters", SEEN_TO_ALL, MADE, LOCKED, REMOVED)
    letters = Letters(role)
    await letters.batch_create([LetterCreate(1, "x"), LetterCreate(2, "kept", 1), LetterCreate(3, "x")])
    with pytest.raises(RefusedByTrigger, match="a trigger or policy of the database keeps the rows"):
        await letters.purge_where([], all_rows=True, chunk_size=chunk_size)
    assert [letter.id for letter in (await letters.search(orders=[LetterRow.id])).items] == [1, 2]


async def test_a_purge_waits_for_others_before_it_says_so(role: Database, database: Database) -> None:
    """A row that somebody has locked is removed once it is free, though another one is kept by a policy."""
    await under(database, "secured_notes", SEEN_TO_ALL, MADE, CHANGED, REMOVED)
    notes = Notes(role)
    await notes.batch_create([NoteCreate(1, "x"), NoteCreate(2, "x")])
    async with database.begin_session() as other:
        await other.execute(sa.select(NoteRow).where(NoteRow.id == 1).with_for_update())
        purge = asyncio.create_task(notes.purge_where([], all_rows=True))

        async def is_on_its_way() -> bool:
            return await notes.count() == 1

        await until(is_on_its_way)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(purge), 0.3)
    assert (await purge).rows == 2


async def test_a_row_that_a_policy_refuses_is_a_check_violation(role: Database, database: Database) -> None:
    """In every verb that writes, with the SQLSTATE in its facts; the message names no value."""
    await under(database, "secured_notes", SEEN_TO_ALL, MADE, CHANGED, REMOVED)
    notes, bad = Notes(role), NotePatch(OptionalState.update("bad"))
    await notes.create(NoteCreate(1, "x"))
    specs = [NoteCreate(2, "x"), NoteCreate(3, "bad")]
    calls: list[Awaitable[Any]] = [
        *(notes.create(specs[1]), notes.upsert(specs[1]), notes.upsert(NoteCreate(1, "bad"))),
        *(notes.batch_create(specs), notes.load(specs), notes.batch_upsert(specs)),
        *(notes.update(1, bad), notes.batch_update([1], bad), notes.batch_update_each({1: bad})),
        notes.update_where([NoteRow.id == 1], bad),
    ]
    for call in calls:
        with pytest.raises(
            CheckViolation, match=r"a policy of the database refused the .*row-level security"
        ) as caught:
            await call
        assert caught.value.facts.sqlstate == "42501"
        assert "bad" not in str(caught.value)
    assert [(note.id, note.word) for note in (await notes.search()).items] == [(1, "x")]


def faults_of(result: PartialResult[Any]) -> list[tuple[int, type[Exception]]]:
    return [(failure.index, type(failure.error)) for failure in result.failed]


async def test_an_item_that_a_policy_refuses_fails_alone(role: Database, database: Database) -> None:
    """In each partial form that writes values; the others are written."""
    await under(database, "secured_notes", SEEN_TO_ALL, MADE, CHANGED, REMOVED)
    notes = Notes(role)
    made = await notes.batch_create_partial([NoteCreate(n, "bad" if n == 1 else "x") for n in range(4)])
    assert faults_of(made) == [(1, CheckViolation)]
    upserted = await notes.batch_upsert_partial([NoteCreate(0, "bad"), NoteCreate(2, "y"), NoteCreate(7, "bad")])
    assert faults_of(upserted) == [(0, CheckViolation), (2, CheckViolation)]
    words = {0: "bad", 2: "z", 3: "z"}
    changed = await notes.batch_update_partial({n: NotePatch(OptionalState.update(word)) for n, word in words.items()})
    assert faults_of(changed) == [(0, CheckViolation)]
    found = (await notes.search(orders=[NoteRow.id])).items
    assert [(note.id, note.word) for note in found] == [(0, "x"), (2, "z"), (3, "z")]


async def test_a_privilege_that_is_missing_ends_the_batch(role: Database, database: Database) -> None:
    """It has the SQLSTATE of what a policy refuses, and is no item's fault."""
    async with database.begin_session() as db_sess:
        await db_sess.execute(sa.text("REVOKE INSERT, UPDATE ON secured_notes FROM rowsmith_secured"))
    notes, specs = Notes(role), [NoteCreate(1, "x"), NoteCreate(2, "x")]
    for verb in (notes.batch_create, notes.batch_create_partial, notes.batch_upsert_partial):
        with pytest.raises(DatabaseFault, match=r"42501.*permission denied for table secured_notes"):
            await verb(specs)
