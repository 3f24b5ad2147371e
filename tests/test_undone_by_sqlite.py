"""Transactions that SQLite ends by an error: nothing goes on in them, and whoever began them is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    CommitOutcome,
    Conflict,
    ConstraintViolation,
    Database,
    EntityAlreadyExists,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    Spec,
    TransactionAborted,
    commit_outcome,
)
from rowsmith.testing import tables


class Base(DeclarativeBase):
    pass


class ThingRow(Base):
    """Refused by a trigger where ``size`` is 13, by a constraint where ``name`` stands twice."""

    __tablename__ = "things"
    __table_args__ = (sa.UniqueConstraint("name", name="uq_things", sqlite_on_conflict="ROLLBACK"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    size: Mapped[int]


REFUSES = "CREATE TRIGGER refuses BEFORE INSERT ON things WHEN new.size = 13 BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
event.listen(ThingRow.__table__, "after_create", sa.DDL(REFUSES))


@dataclass(frozen=True)
class Thing:
    id: int
    name: str
    size: int


@dataclass(frozen=True)
class New(Spec[ThingRow]):
    name: str
    size: int = 0


@dataclass(frozen=True)
class Renamed(Patch[ThingRow]):
    name: OptionalState[str] = OptionalState.nop()


class Things(Repository[ThingRow, Thing, int]): ...


BY_TRIGGER, BY_CONSTRAINT = New("new", 13), New("there")

BAD = pytest.mark.parametrize(
    "bad, kind",
    [(BY_TRIGGER, ConstraintViolation), (BY_CONSTRAINT, EntityAlreadyExists)],
    ids=["trigger", "constraint"],
)


@pytest.fixture(params=["file", "memory"])
async def things(request: pytest.FixtureRequest, sqlite_database: Database) -> AsyncIterator[Things]:
    db = Database.from_url("sqlite://") if request.param == "memory" else sqlite_database
    async with tables(db, ThingRow):
        things = Things(db)
        await things.create(New("there"))
        yield things
    await db.dispose()


async def names(things: Things) -> list[str]:
    return [thing.name for thing in await things.search()]


@BAD
async def test_a_call_of_its_own_says_what_refused_it(things: Things, bad: New, kind: type[Exception]) -> None:
    """Nothing else is lost by it, so there is nothing else to tell."""
    for call in (things.create(bad), things.batch_create([New("a"), bad, New("b")])):
        with pytest.raises(kind):
            await call
    assert await names(things) == ["there"]


@BAD
async def test_a_partial_form_ends_as_a_whole(things: Things, bad: New, kind: type[Exception]) -> None:
    """What the others have become by then is undone with it, so no item's failure is all that there is to say."""
    with pytest.raises(TransactionAborted, match="undone the whole transaction") as caught:
        await things.batch_create_partial([New("a"), bad, New("b")])
    assert isinstance(caught.value.__cause__, kind)
    assert await names(things) == ["there"]


async def test_other_partial_forms_do_so_too(things: Things) -> None:
    """What they have changed by then is as it was before."""
    by_name = Conflict(columns=[ThingRow.name])
    with pytest.raises(TransactionAborted):
        await things.batch_upsert_partial([New("a"), BY_TRIGGER, New("there", 5)], conflict=by_name)
    made = await things.batch_create([New("a"), New("b")])
    patches = {
        thing.id: Renamed(name=OptionalState.update(name)) for thing, name in zip(made, ("c", "there"), strict=True)
    }
    with pytest.raises(TransactionAborted):
        await things.batch_update_partial(patches)
    assert await names(things) == ["there", "a", "b"]


@BAD
async def test_nothing_goes_on_in_a_unit(things: Things, bad: New, kind: type[Exception]) -> None:
    """Reads and writes after it are refused, and so is the commit."""
    with pytest.raises(TransactionAborted) as caught:
        async with things.db.unit_of_work():
            await things.create(New("before"))
            with pytest.raises(kind):
                await things.create(bad)
            for call in (things.create(New("after")), things.count(), things.batch_create_partial([New("after")])):
                with pytest.raises(TransactionAborted):
                    await call
    assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
    assert await names(things) == ["there"]


@BAD
async def test_an_error_that_is_swallowed_is_told_at_the_end(things: Things, bad: New, kind: type[Exception]) -> None:
    """As any other failed transaction is."""
    with pytest.raises(TransactionAborted, match="undone the whole transaction"):
        async with things.db.begin_session():
            await things.create(New("before"))
            with pytest.raises(kind):
                await things.create(bad)
    assert await names(things) == ["there"]


@BAD
async def test_a_nested_unit_does_not_say_that_it_alone_is_undone(
    things: Things, bad: New, kind: type[Exception]
) -> None:
    """Whoever would go on behind it is told that there is nothing to go on with."""
    with pytest.raises(TransactionAborted) as ended:
        async with things.db.unit_of_work():
            await things.create(New("before"))
            with pytest.raises(TransactionAborted, match="undone the whole transaction") as caught:
                async with things.db.unit_of_work():
                    await things.create(bad)
            assert isinstance(caught.value.__cause__, kind)
            await things.create(New("after"))
    assert commit_outcome(ended.value) is CommitOutcome.NOT_COMMITTED
    assert await names(things) == ["there"]


@BAD
async def test_the_owner_of_a_session_is_told(things: Things, bad: New, kind: type[Exception]) -> None:
    """Every later call refuses, and the commit; once it is rolled back, the session is as good as new."""
    async with AsyncSession(things.db.engine) as session:
        mine = Things(Database.from_session(session))
        await mine.create(New("before"))
        with pytest.raises(TransactionAborted, match="undone the whole transaction") as caught:
            await mine.create(bad)
        assert isinstance(caught.value.__cause__, kind)
        for call in (mine.create(New("after")), mine.count()):
            with pytest.raises(TransactionAborted):
                await call
        with pytest.raises(PendingRollbackError):
            await session.execute(sa.select(ThingRow))
        with pytest.raises(PendingRollbackError):
            await session.commit()
        await session.rollback()
        await mine.create(New("again"))
        await session.commit()
    assert await names(things) == ["there", "again"]


async def test_statements_of_the_applications_own_are_no_exception(things: Things) -> None:
    """What it sends itself ends the transaction as a call does, and nothing after it is kept."""
    refused = sa.insert(ThingRow).values(name="new", size=13)
    with pytest.raises(TransactionAborted):
        async with things.db.begin_session() as session:
            await things.create(New("before"))
            with pytest.raises(IntegrityError):
                await session.execute(refused)
            await things.create(New("after"))
    assert await names(things) == ["there"]


async def test_objects_of_the_applications_own_are_no_exception(things: Things) -> None:
    """What is flushed ends the transaction, too, whose error is told without a value."""
    with pytest.raises(RepositoryError) as caught:
        async with things.db.begin_session() as session:
            await things.create(New("before"))
            session.add(ThingRow(name="there", size=0))
            await things.create(New("after"))
    assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
    assert await names(things) == ["there"]


async def test_other_errors_undo_what_they_undid(things: Things) -> None:
    """A statement that SQLite undoes alone leaves what was written before it to the block around it."""
    async with things.db.unit_of_work():
        await things.create(New("before"))
        with pytest.raises(RepositoryError):
            async with things.db.unit_of_work() as unit:
                await unit.session.execute(sa.text("SELECT * FROM nowhere"))
        await things.create(New("after"))
    assert await names(things) == ["there", "before", "after"]
