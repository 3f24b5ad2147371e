"""What a session flushes of objects ends entries as a write by a verb does, whoever made the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Table, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from rowsmith import Database, Lock, OptionalState, Patch, Repository
from rowsmith.cache import MemoryCacheSource
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class ShelfRow(Base):
    __tablename__ = "flushed_shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    books: Mapped[list[BookRow]] = relationship(back_populates="shelf")


between = Table(
    "flushed_tags_of_books",
    Base.metadata,
    Column("book_id", ForeignKey("flushed_books.id"), primary_key=True),
    Column("tag_id", ForeignKey("flushed_tags.id"), primary_key=True),
)


class TagRow(Base):
    __tablename__ = "flushed_tags"
    id: Mapped[int] = mapped_column(primary_key=True)


class BookRow(Base):
    __tablename__ = "flushed_books"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="book")
    title: Mapped[str]
    version: Mapped[int] = mapped_column()
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("flushed_shelves.id"))
    shelf: Mapped[ShelfRow | None] = relationship(back_populates="books")
    tags: Mapped[list[TagRow]] = relationship(secondary=between, lazy="selectin")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "book", "version_id_col": version}


class AtlasRow(BookRow):
    __tablename__ = "flushed_atlases"
    id: Mapped[int] = mapped_column(ForeignKey("flushed_books.id"), primary_key=True)
    scale: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "atlas"}


class TieRow(Base):
    __table__ = between


@dataclass(frozen=True)
class Book:
    id: int
    title: str
    shelf_id: int | None


@dataclass(frozen=True)
class BookPatch(Patch[BookRow]):
    title: OptionalState[str] = OptionalState.nop()


@dataclass(frozen=True)
class Atlas:
    id: int
    title: str
    scale: int


@dataclass(frozen=True)
class Tie:
    book_id: int
    tag_id: int


class Books(Repository[BookRow, Book, int]):
    pass


class Atlases(Repository[AtlasRow, Atlas, int]):
    pass


class Ties(Repository[TieRow, Tie, tuple[int, int]]):
    pass


class BookRows(Repository[BookRow]):
    pass


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Give a database with two books and an atlas, the first of which is tagged."""
    async with any_tables(ShelfRow, TagRow, BookRow, AtlasRow, TieRow) as made:
        async with made.begin_session() as session:
            tag = TagRow(id=1)
            session.add_all([ShelfRow(id=1), tag, TagRow(id=2), BookRow(id=1, title="one", tags=[tag])])
            session.add_all([BookRow(id=2, title="two"), AtlasRow(id=3, title="three", scale=3)])
        yield made


Blocks = Callable[[Database], Any]


@asynccontextmanager
async def in_a_session(db: Database) -> AsyncGenerator[tuple[Database, AsyncSession]]:
    async with db.begin_session() as session:
        yield db, session


@asynccontextmanager
async def in_a_unit(db: Database) -> AsyncGenerator[tuple[Database, AsyncSession]]:
    async with db.unit_of_work() as unit:
        yield db, unit.session


@asynccontextmanager
async def in_a_nested_unit(db: Database) -> AsyncGenerator[tuple[Database, AsyncSession]]:
    async with db.unit_of_work(), db.unit_of_work() as unit:
        yield db, unit.session


@asynccontextmanager
async def in_a_borrowed_session(db: Database, **options: Any) -> AsyncGenerator[tuple[Database, AsyncSession]]:
    async with AsyncSession(db.engine, **options) as session:
        yield Database.from_session(session), session
        await session.commit()


def in_one_without_autoflush(db: Database) -> Any:
    return in_a_borrowed_session(db, autoflush=False)


@asynccontextmanager
async def in_a_part_of_a_transaction(db: Database) -> AsyncGenerator[tuple[Database, AsyncSession]]:
    async with (
        db.engine.begin() as connection,
        AsyncSession(connection, join_transaction_mode="rollback_only") as session,
    ):
        yield Database.from_session(session), session
        await session.commit()


@asynccontextmanager
async def in_one_that_listens(db: Database) -> AsyncGenerator[tuple[Database, AsyncSession]]:
    """Give a session in which a listener sets what is to be written as COMMIT begins already."""
    async with AsyncSession(db.engine) as session:
        yield Database.from_session(session), session
        late = [row for row in session.dirty if isinstance(row, BookRow)]
        titles = [row.title for row in late]
        for row in late:
            await session.refresh(row)

        def write(_: Session) -> None:
            for row, title in zip(late, titles, strict=True):
                row.title = title

        event.listen(session.sync_session, "before_commit", write)
        await session.commit()


BLOCKS = [in_a_session, in_a_unit, in_a_nested_unit, in_a_borrowed_session, in_one_without_autoflush]
BLOCKS += [in_a_part_of_a_transaction, in_one_that_listens]


async def sets(db: Database, session: AsyncSession) -> None:
    (await BookRows(db).get(1)).title = "new"


async def sets_and_goes_on(db: Database, session: AsyncSession) -> None:
    (await BookRows(db).get(1)).title = "new"
    await BookRows(db).count()


async def sets_of_a_locked_page(db: Database, session: AsyncSession) -> None:
    async with db.unit_of_work():
        for row in await BookRows(db).search(None, [BookRow.id == 1], lock=Lock()):
            row.title = "new"


async def sets_what_an_update_gave(db: Database, session: AsyncSession) -> None:
    (await BookRows(db).update(1, BookPatch(title=OptionalState.update("other")))).title = "new"


@pytest.mark.parametrize("write", [sets, sets_and_goes_on, sets_of_a_locked_page, sets_what_an_update_gave])
@pytest.mark.parametrize("block", BLOCKS)
async def test_what_is_set_on_a_row_ends_its_entry(db: Database, block: Blocks, write: Any) -> None:
    """Once it is committed, whichever way the row was given; a later read is of the database."""
    books = Books(db, cache_source=MemoryCacheSource(Book))
    await books.get(1)
    async with block(db) as (inside, session):
        await write(inside, session)
    assert await books.get(1) == Book(1, "new", None) == await Books(db).get(1)


async def adds(session: AsyncSession) -> None:
    session.add(BookRow(id=9, title="nine"))


async def deletes(session: AsyncSession) -> None:
    await session.delete(await session.get_one(BookRow, 1))


async def puts_on_a_shelf(session: AsyncSession) -> None:
    (await session.get_one(BookRow, 1)).shelf = await session.get_one(ShelfRow, 1)


async def appends_to_a_shelf(session: AsyncSession) -> None:
    shelf = await session.get_one(ShelfRow, 1)
    book = await session.get_one(BookRow, 1)
    await session.refresh(shelf, ["books"])
    shelf.books.append(book)


async def gives_another_key(session: AsyncSession) -> None:
    (await session.get_one(BookRow, 2)).id = 9


async def nothing_else(session: AsyncSession) -> None:
    """Leave the books as they are."""
    session.add(ShelfRow(id=7))


@pytest.mark.parametrize(
    "write, ended",
    [
        (adds, {9}),
        (deletes, {1}),
        (puts_on_a_shelf, {1}),
        (appends_to_a_shelf, {1}),
        (gives_another_key, {2, 9}),
        (nothing_else, set[int]()),
    ],
)
async def test_what_a_session_writes_of_objects_ends_their_entries_alone(
    db: Database, write: Callable[[AsyncSession], Awaitable[None]], ended: set[int]
) -> None:
    """Rows that are added, deleted, moved by a relationship or given another key; absence is an entry, too."""
    books = Books(db, cache_source=MemoryCacheSource(Book, negative_ttl=60))
    ids = {1, 2, 3, 9}
    for id in ids:
        await books.find(id)
    async with db.begin_session() as session:
        await write(session)
    cache: Any = books.cache_source
    assert set(await cache.get_many([*ids])) == ids - ended
    assert [await books.find(id) for id in ids] == [await Books(db).find(id) for id in ids]


async def test_what_is_set_on_a_row_of_a_class_below_ends_entries_of_both(db: Database) -> None:
    """By its key, which all classes of the table share."""
    books = Books(db, cache_source=MemoryCacheSource(Book))
    atlases = Atlases(db, cache_source=MemoryCacheSource(Atlas))
    await books.batch_get([1, 2, 3])
    await atlases.get(3)
    async with db.unit_of_work():
        for row in await BookRows(db).search(None, [BookRow.id == 3]):
            row.title = "map"
    assert await atlases.get(3) == Atlas(3, "map", 3)
    assert await books.get(3) == Book(3, "map", None)
    assert len(books.cache_source) == 3  # type: ignore[arg-type]


async def test_ties_that_are_made_or_cut_end_entries_of_them(db: Database) -> None:
    """They are rows of the table between, which no object stands for."""
    ties = Ties(db, cache_source=MemoryCacheSource(Tie))
    assert await ties.get((1, 1))
    async with db.begin_session() as session:
        book = await session.get_one(BookRow, 2)
        book.title = "other"
    assert len(ties.cache_source) == 1  # type: ignore[arg-type]
    async with db.begin_session() as session:
        book = await session.get_one(BookRow, 1)
        book.tags.clear()
    assert await ties.find((1, 1)) is None


@pytest.mark.parametrize("block", [in_a_session, in_a_unit, in_a_borrowed_session])
async def test_what_is_undone_ends_no_entry(db: Database, block: Blocks) -> None:
    """Not by a savepoint that is rolled back, and not by the whole transaction."""
    books = Books(db, cache_source=MemoryCacheSource(Book))
    await books.batch_get([1, 2])
    with pytest.raises(ZeroDivisionError):
        async with block(db) as (inside, session):
            (await BookRows(inside).get(1)).title = "never"
            await session.flush()
            raise ZeroDivisionError
    async with block(db) as (inside, session):
        with pytest.raises(ZeroDivisionError):
            async with inside.unit_of_work():
                (await BookRows(inside).get(1)).title = "never"
                await session.flush()
                raise ZeroDivisionError
        (await BookRows(inside).get(2)).title = "new"
    assert set(await books.cache_source.get_many([1, 2])) == {1}  # type: ignore[union-attr]
    assert (await books.get(1)).title == "one"
    assert (await books.get(2)).title == "new"


async def test_until_it_is_committed_others_are_given_what_is(db: Database) -> None:
    """A flush ends nothing by itself, as what it writes may be undone."""
    books = Books(db, cache_source=MemoryCacheSource(Book))
    other = Books(Database(db.engine), cache_source=books.cache_source)
    await books.get(1)
    async with db.begin_session() as session:
        (await BookRows(db).get(1)).title = "new"
        await session.flush()
        async with asyncio.TaskGroup() as group:
            seen = group.create_task(other.get(1), context=Context())
        assert seen.result().title == "one"
    assert (await books.get(1)).title == "new"
