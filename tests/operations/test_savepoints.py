"""Objects of a session, once a savepoint is undone: they can be read, and are as the database has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, undefer

from rowsmith import Conflict, Database, EntityAlreadyExists, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables
from support import count_statements


class Base(DeclarativeBase):
    pass


class RoomRow(Base):
    __tablename__ = "undone_rooms"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    chairs: Mapped[list[ChairRow]] = relationship(back_populates="room", order_by="ChairRow.id")


class ChairRow(Base):
    __tablename__ = "undone_chairs"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="chair")
    name: Mapped[str] = mapped_column(unique=True)
    seats: Mapped[int] = mapped_column(default=1)
    story: Mapped[str | None] = mapped_column(deferred=True)
    version: Mapped[int] = mapped_column()
    room_id: Mapped[int | None] = mapped_column(ForeignKey("undone_rooms.id"))
    room: Mapped[RoomRow | None] = relationship(back_populates="chairs")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "chair", "version_id_col": version}


class SofaRow(ChairRow):
    __tablename__ = "undone_sofas"
    id: Mapped[int] = mapped_column(ForeignKey("undone_chairs.id"), primary_key=True)
    length: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "sofa"}


class TagRow(Base):
    __tablename__ = "undone_tags"
    place: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(unique=True)


@dataclass(frozen=True)
class Tag:
    place: int
    number: int
    text: str


@dataclass(frozen=True)
class TagCreate(Spec[TagRow]):
    place: int
    number: int
    text: str


@dataclass(frozen=True)
class TagPatch(Patch[TagRow]):
    text: OptionalState[str] = OptionalState.nop()


NEW = TagPatch(text=OptionalState.update("new"))
KEY = (1, 1)


class Tags(Repository[TagRow, Tag, tuple[int, int]]):
    conflict = Conflict([TagRow.place, TagRow.number])


class Rows(Repository[TagRow, TagRow, tuple[int, int]]):
    conflict = Conflict([TagRow.place, TagRow.number])


class Chairs(Repository[ChairRow]):
    pass


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Give a database with two tags, and a room with a chair and a sofa."""
    async with any_tables(RoomRow, ChairRow, SofaRow, TagRow) as made:
        async with made.begin_session() as session:
            chairs = [ChairRow(id=1, name="one", story="old"), SofaRow(id=2, name="two", length=3)]
            session.add(RoomRow(id=1, name="hall", chairs=chairs))
            session.add_all([TagRow(place=1, number=1, text="one"), TagRow(place=1, number=2, text="two")])
        yield made


async def undone(db: Database, work: Callable[[], Awaitable[Any]]) -> None:
    """Do some work in a nested unit that is undone."""
    with suppress(ZeroDivisionError):
        async with db.unit_of_work():
            await work()
            raise ZeroDivisionError


async def text_of(db: Database) -> str:
    return (await Tags(db).get(KEY)).text


WRITES: dict[str, Callable[[Database, TagRow], Awaitable[Any]]] = {
    "update": lambda db, _: Tags(db).update(KEY, NEW),
    "update of rows": lambda db, _: Rows(db).update(KEY, NEW),
    "batch_update": lambda db, _: Tags(db).batch_update([KEY], NEW),
    "batch_update_each": lambda db, _: Tags(db).batch_update_each({KEY: NEW}),
    "batch_update_partial": lambda db, _: Tags(db).batch_update_partial({KEY: NEW}),
    "update_where": lambda db, _: Tags(db).update_where([TagRow.number == 1], NEW),
    "upsert": lambda db, _: Tags(db).upsert(TagCreate(*KEY, "new")),
    "batch_upsert of rows": lambda db, _: Rows(db).batch_upsert([TagCreate(*KEY, "new")]),
    "purge": lambda db, _: Tags(db).purge(KEY),
    "batch_purge": lambda db, _: Rows(db).batch_purge([KEY]),
}


@pytest.mark.parametrize("verb", WRITES)
async def test_a_row_is_as_it_was_where_a_nested_unit_is_undone(db: Database, verb: str) -> None:
    """Whichever verb wrote it there; and what is set on it afterwards is written."""
    async with db.unit_of_work():
        row = await Rows(db).get(KEY)
        await undone(db, lambda: WRITES[verb](db, row))
        assert row.text == "one"
        row.text = "late"
    assert await text_of(db) == "late"


async def test_what_was_set_on_a_row_is_undone_with_it(db: Database) -> None:
    """Flushed by then or not."""
    async with db.unit_of_work() as unit:
        row = await Rows(db).get(KEY)
        for flushes in (True, False):

            async def sets(flushes: bool = flushes) -> None:
                row.text = "never"
                if flushes:
                    await unit.session.flush()

            await undone(db, sets)
            assert row.text == "one"
    assert await text_of(db) == "one"


async def test_what_fails_as_it_is_flushed_is_undone(db: Database) -> None:
    """The block around goes on, with rows and what was loaded around them."""
    async with db.unit_of_work() as unit:
        chair = await unit.session.get_one(ChairRow, 1, options=[undefer(ChairRow.story)])
        room = await unit.session.get_one(RoomRow, 1)
        await unit.session.refresh(room, ["chairs"])
        await unit.session.refresh(chair, ["room"])
        with pytest.raises(EntityAlreadyExists):
            async with db.unit_of_work():
                chair.name, room.name = "two", "other"
        assert (chair.name, chair.story, chair.version) == ("one", "old", 1)
        assert chair.room is room
        assert (room.name, [each.name for each in room.chairs]) == ("hall", ["one", "two"])
        chair.name = "three"
    assert (await Chairs(db).get(1)).version == 2


async def test_relationships_are_as_the_database_has_them(db: Database) -> None:
    """A child that was taken away and one that was added are as they were; so is a row of a class below."""
    async with db.unit_of_work() as unit:
        room = await unit.session.get_one(RoomRow, 1)
        await unit.session.refresh(room, ["chairs"])
        chair, sofa = room.chairs
        assert isinstance(sofa, SofaRow)

        async def moves() -> None:
            sofa.length, sofa.seats, sofa.room = 9, 9, None
            room.chairs.append(ChairRow(id=3, name="three"))
            await unit.session.delete(chair)
            await unit.session.flush()

        await undone(db, moves)
        assert room.chairs == [chair, sofa]
        assert (sofa.length, sofa.seats, sofa.room_id, chair.name) == (3, 1, 1, "one")


async def test_what_was_read_after_a_write_that_is_undone_is_read_again(db: Database) -> None:
    """It had what was written; and what was made there keeps what it has, though its row is gone."""
    async with db.unit_of_work():
        found = list[TagRow]()

        async def reads() -> None:
            await Tags(db).update(KEY, NEW)
            found.append(await Rows(db).get(KEY))
            found.append(await Rows(db).create(TagCreate(2, 2, "made")))
            assert found[0].text == "new"

        await undone(db, reads)
        assert [row.text for row in found] == ["one", "made"]
        assert await Tags(db).find((2, 2)) is None


def reads_in(sent: list[str]) -> list[str]:
    """Give the statements that read."""
    return [statement for statement in sent if statement.startswith("SELECT")]


async def test_nothing_is_sent_where_all_is_known(db: Database) -> None:
    """Nothing was written, or of rows that nobody has an object of; what was changed takes one statement a class."""
    async with db.unit_of_work() as unit:
        rows = [await Rows(db).get(key) for key in (KEY, (1, 2))]
        with count_statements(db) as sent:
            await undone(db, lambda: Tags(db).count())
            await undone(db, lambda: unit.session.execute(sa.text("SELECT 1")))
        assert len(reads_in(sent)) == 2
        with count_statements(db) as sent:
            await undone(db, lambda: Tags(db).create(TagCreate(3, 3, "three")))
        assert reads_in(sent) == []

        async def sets_all() -> None:
            for row in rows:
                row.text = row.text.upper()
            await unit.session.flush()

        with count_statements(db) as sent:
            await undone(db, sets_all)
        assert len(reads_in(sent)) == 1
        assert [row.text for row in rows] == ["one", "two"]


async def test_a_partial_form_leaves_rows_as_the_database_has_them(db: Database) -> None:
    """Those that it wrote, and those that it had to undo."""
    async with db.unit_of_work():
        rows = [await Rows(db).get(key) for key in (KEY, (1, 2))]
        taken = TagPatch(text=OptionalState.update("one"))
        result = await Tags(db).batch_update_partial({(1, 2): taken, KEY: taken})
        assert [failure.index for failure in result.failed] == [0]
        assert [row.text for row in rows] == ["one", "two"]
        made = await Tags(db).batch_create_partial([TagCreate(4, 4, "one"), TagCreate(5, 5, "five")])
        assert len(made.failed) == 1
        put = await Rows(db).batch_upsert_partial([TagCreate(1, 1, "five"), TagCreate(1, 2, "2")])
        assert [failure.index for failure in put.failed] == [0]
        assert [row.text for row in rows] == ["one", "2"]


async def test_a_call_that_fails_in_an_owners_session_leaves_its_rows(db: Database) -> None:
    """Each is a savepoint of its own there."""
    async with AsyncSession(db.engine) as session:
        own = Database.from_session(session)
        row = await Rows(own).get(KEY)
        with pytest.raises(EntityAlreadyExists):
            await Tags(own).update(KEY, TagPatch(text=OptionalState.update("two")))
        assert row.text == "one"
        with pytest.raises(EntityAlreadyExists):
            async with own.unit_of_work():
                row.text = "three"
                await session.flush()
                row.text = "two"
        assert row.text == "one"


async def test_a_row_that_was_removed_and_is_back_is_the_sessions_own(db: Database) -> None:
    """And one whose removal is kept is not."""
    async with db.unit_of_work() as unit:
        row = await Rows(db).get(KEY)
        await undone(db, lambda: Tags(db).purge(KEY))
        assert row in unit.session
        await Tags(db).purge(KEY)
        assert row not in unit.session
        assert row.text == "one"
