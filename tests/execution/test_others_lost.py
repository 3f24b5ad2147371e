"""Keys of SQLite's by which a write removes other rows, or leaves out its own, in place of an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import Conflict, Creator, MappingError, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class Tag:
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def tag(table: str, *keys: Any, **columns: Any) -> Any:
    return type(table.title(), (Tag, Base), {"__tablename__": table, "__table_args__": keys, **columns})


def unique(how: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint("name", sqlite_on_conflict=how)


KINDS: dict[str, Any] = {
    "replace": tag("replacing_tags", unique("REPLACE")),
    "ignore": tag("ignoring_tags", unique("ignore")),
    "column": tag(
        "column_tags", name=mapped_column(sa.String, unique=True, sqlite_on_conflict_unique="REPLACE", nullable=False)
    ),
    "key": tag("key_tags", sa.PrimaryKeyConstraint("id", sqlite_on_conflict="REPLACE"), id=mapped_column(sa.Integer)),
    "key column": tag(
        "key_column_tags", id=mapped_column(sa.Integer, primary_key=True, sqlite_on_conflict_primary_key="IGNORE")
    ),
}


@dataclass(frozen=True)
class TagData:
    id: int
    name: str


def repository(row: Any) -> tuple[Any, Any, Any]:
    """Give the repository, the spec and the patch of a class."""

    @dataclass(frozen=True)
    class New(Spec[row]):  # type: ignore[valid-type]
        id: int
        name: str

    @dataclass(frozen=True)
    class Renamed(Patch[row]):  # type: ignore[valid-type]
        name: OptionalState[str] = OptionalState.nop()

    class Tags(Repository[row, TagData, int]):  # type: ignore[valid-type]
        conflict = Conflict(columns=[row.id])

    return Tags, New, Renamed


WRITES: dict[str, Callable[[Any, Any, Any], Awaitable[Any]]] = {
    "create": lambda tags, new, _: tags.create(new(9, "a")),
    "batch_create": lambda tags, new, _: tags.batch_create([new(8, "n"), new(9, "a")]),
    "batch_create_partial": lambda tags, new, _: tags.batch_create_partial([new(8, "n"), new(9, "a")]),
    "load": lambda tags, new, _: tags.load([new(8, "n"), new(9, "a")]),
    "upsert": lambda tags, new, _: tags.upsert(new(9, "a")),
    "batch_upsert": lambda tags, new, _: tags.batch_upsert([new(9, "a"), new(1, "b")]),
    "update": lambda tags, _, patch: tags.update(1, patch),
    "batch_update": lambda tags, _, patch: tags.batch_update([1], patch),
    "batch_update_each": lambda tags, _, patch: tags.batch_update_each({1: patch}),
    "update_where": lambda tags, _, patch: tags.update_where([], patch, all_rows=True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", WRITES)
async def test_no_row_is_lost(any_tables: WithTables, kind: str, verb: str) -> None:
    """On SQLite the mapping is refused before anything is written, and it is said what to write; rows are read.

    PostgreSQL has no such keys.
    """
    row = KINDS[kind]
    tags_of, new, renamed = repository(row)
    async with any_tables(row) as db:
        tags = tags_of(db)
        async with db.begin_session() as session:
            await session.execute(sa.insert(row.__table__), [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
        patch = renamed(name=OptionalState.update("c"))
        if db.engine.dialect.name == "sqlite":
            with pytest.raises(MappingError, match=r"ON CONFLICT (REPLACE|IGNORE), .*call upsert\(spec, conflict="):
                await WRITES[verb](tags, new, patch)
        else:
            await tags.create(new(7, "new"))
            await tags.purge(7)
        assert [(found.id, found.name) for found in await tags.search()] == [(1, "a"), (2, "b")]
        await tags.purge(1)


class ShelfRow(Base):
    __tablename__ = "conflict_shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    books: Mapped[list[BookRow]] = relationship()


class BookRow(Base):
    __tablename__ = "conflict_books"
    __table_args__ = (unique("REPLACE"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(sa.ForeignKey("conflict_shelves.id"))
    name: Mapped[str]


@dataclass(frozen=True)
class NewBook(Spec[BookRow], filled={"shelf_id"}):
    name: str


@dataclass(frozen=True)
class NewShelf(Spec[ShelfRow]):
    id: int
    books: list[NewBook]


async def test_rows_below_others_are_no_exception(any_tables: WithTables) -> None:
    """Nor is a session of one's own."""
    async with any_tables(ShelfRow, BookRow) as db:
        create = Creator(ShelfRow, into=ShelfRow).create
        is_refused = db.engine.dialect.name == "sqlite"
        async with db.begin_session() as session:
            try:
                await create(session, NewShelf(1, [NewBook("a")]))
            except MappingError:
                assert is_refused
            else:
                assert not is_refused
            await session.rollback()
