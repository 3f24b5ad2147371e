"""Rows that are numbered within a parent, moved to another one: it has to be inside the scope, as a new row's has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from rowsmith import (
    Condition,
    Database,
    InvalidValue,
    NextValue,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    SearchScope,
    Spec,
    Unscoped,
)
from rowsmith.testing import WithTables
from support import count_statements


class Base(DeclarativeBase):
    pass


class FolderRow(Base):
    __tablename__ = "folders"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class PageRow(Base):
    __tablename__ = "pages"
    __table_args__ = (
        sa.ForeignKeyConstraint(["tenant", "folder_id"], ["folders.tenant", "folders.id"], name="fk_pages_folder"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    folder_id: Mapped[int]
    number: Mapped[int]
    words: Mapped[int] = mapped_column(server_default="0")


class ShelfRow(Base):
    __tablename__ = "shelves"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class BookRow(Base):
    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    shelf_id: Mapped[int | None] = mapped_column(sa.ForeignKey("shelves.id", name="fk_books_shelf"))
    number: Mapped[int]
    words: Mapped[int] = mapped_column(server_default="0")


@dataclass(frozen=True)
class ShelfCreate(Spec[ShelfRow], filled={"tenant"}):
    id: int


@dataclass(frozen=True)
class BookCreate(Spec[BookRow], filled={"tenant", "number"}):
    id: int
    shelf_id: int


@dataclass(frozen=True)
class BookPatch(Patch[BookRow]):
    shelf_id: OptionalState[int] = OptionalState.nop()
    words: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class PagePatch(Patch[PageRow]):
    folder_id: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class PageCreate(Spec[PageRow], filled={"tenant", "number"}):
    folder_id: int


@dataclass(frozen=True)
class FolderCreate(Spec[FolderRow], filled={"tenant"}):
    id: int


@dataclass(frozen=True)
class Of(SearchScope):
    """All that is a tenant's."""

    tenant: str

    @override
    def to_conditions(self) -> list[Condition]:
        return [BookRow.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {ShelfRow: [ShelfRow.tenant == self.tenant]}


@dataclass(frozen=True)
class ShelvesOf(SearchScope):
    tenant: str

    @override
    def to_conditions(self) -> list[Condition]:
        return [ShelfRow.tenant == self.tenant]


@dataclass(frozen=True)
class PagesOf(SearchScope):
    """Says of folders what it says of pages: the key to them has the tenant in it."""

    tenant: str

    @override
    def to_conditions(self) -> list[Condition]:
        return [PageRow.tenant == self.tenant]


@dataclass(frozen=True)
class FoldersOf(SearchScope):
    tenant: str

    @override
    def to_conditions(self) -> list[Condition]:
        return [FolderRow.tenant == self.tenant]


class Shelves(Repository[ShelfRow, ShelfRow, int]):
    pass


class Folders(Repository[FolderRow, FolderRow, tuple[str, int]]):
    pass


class ShelfNotFound(ReferenceNotFound):
    pass


class Books(Repository[BookRow, BookRow, int]):
    next_value = NextValue(BookRow.number, within=BookRow.shelf_id)
    violations = {"fk_books_shelf": ShelfNotFound}


class Pages(Repository[PageRow, PageRow, int]):
    next_value = NextValue(PageRow.number, within=(PageRow.tenant, PageRow.folder_id))


A = Of("a")
HERE, ALSO_HERE, THEIRS, NOWHERE = 1, 2, 3, 4
"""Shelves: two of a's, one of b's, and one that is not there."""


@pytest.fixture
async def books(each_lane: Database, lane_tables: WithTables) -> AsyncIterator[Books]:
    async with lane_tables(ShelfRow, BookRow):
        shelves, books = Shelves(each_lane), Books(each_lane)
        await shelves.batch_create([ShelfCreate(HERE), ShelfCreate(ALSO_HERE)], scope=ShelvesOf("a"))
        await shelves.create(ShelfCreate(THEIRS), scope=ShelvesOf("b"))
        await books.batch_create([BookCreate(place, HERE) for place in range(3)], scope=A)
        yield books


Move = Callable[[Books, BookPatch, SearchScope], Awaitable[Any]]
MOVES: dict[str, Move] = {
    "update": lambda books, patch, scope: books.update(0, patch, scope=scope),
    "batch_update": lambda books, patch, scope: books.batch_update([1, 0], patch, scope=scope),
    "batch_update_each": lambda books, patch, scope: books.batch_update_each(
        {1: BookPatch(words=OptionalState.update(1)), 0: patch}, scope=scope
    ),
    "update_where": lambda books, patch, scope: books.update_where([BookRow.id == 0], patch, scope=scope),
}


def to(shelf: Any) -> BookPatch:
    return BookPatch(shelf_id=OptionalState.update(shelf), words=OptionalState.update(9))


async def stored(books: Books) -> list[tuple[int, int | None, int]]:
    return [(book.id, book.shelf_id, book.words) for book in await books.search(orders=[BookRow.id])]


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
async def test_a_row_is_moved_to_a_parent_of_its_own_tenant_only(books: Books, move: Move) -> None:
    """Another tenant's parent is as if absent, in every word; and nothing is written."""
    before, said = await stored(books), list[str]()
    for shelf in (THEIRS, NOWHERE):
        with pytest.raises(ShelfNotFound) as caught:
            await move(books, to(shelf), A)
        said.append(repr((str(caught.value), caught.value.facts)))
    assert said[0] == said[1]
    assert await stored(books) == before
    await move(books, to(ALSO_HERE), A)
    assert (await stored(books))[0] == (0, ALSO_HERE, 9)
    await move(books, to(THEIRS), Unscoped(reason="who is limited by nothing"))
    assert (await stored(books))[0] == (0, THEIRS, 9)


async def test_each_item_of_a_batch_finds_its_own_parent(books: Books) -> None:
    """In the partial form the others are moved."""
    patches = {0: to(THEIRS), 1: to(ALSO_HERE), 2: to(NOWHERE)}
    result = await books.batch_update_partial(patches, scope=A)
    assert [(failure.index, type(failure.error)) for failure in result.failed] == [
        (0, ShelfNotFound),
        (2, ShelfNotFound),
    ]
    assert await stored(books) == [(0, HERE, 0), (1, ALSO_HERE, 9), (2, HERE, 0)]


@dataclass(frozen=True)
class Broken(Of):
    """Raises as it is asked about shelves."""

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        raise LookupError("where are they?")


async def test_what_the_scope_raises_about_parents_ends_a_batch(books: Books) -> None:
    """No item is at fault for it; what asks about no parent is not met by it."""
    for patches in ({0: to(HERE)}, {0: to(HERE), 1: BookPatch(words=OptionalState.update(9))}):
        with pytest.raises(LookupError, match="where are they"):
            await books.batch_update_partial(patches, scope=Broken("a"))
    assert await stored(books) == [(0, HERE, 0), (1, HERE, 0), (2, HERE, 0)]
    result = await books.batch_update_partial({1: BookPatch(words=OptionalState.update(9))}, scope=Broken("a"))
    assert len(result.succeeded) == 1


async def test_a_parent_is_given_as_a_value(books: Books) -> None:
    """An expression could be of any: it is not sent."""
    patch = BookPatch(shelf_id=OptionalState.expression(lambda: BookRow.shelf_id + 2))
    for move in MOVES.values():
        with count_statements(books.db) as sent, pytest.raises(InvalidValue, match="give shelf_id as values"):
            await move(books, patch, A)
        assert sent == []


async def test_the_scopes_part_of_a_key_goes_without_saying(any_tables: WithTables) -> None:
    """A parent's key that has the tenant in it is whole with the one that the scope gives."""
    async with any_tables(FolderRow, PageRow) as db:
        for tenant, ids in (("a", (1, 2)), ("b", (3,))):
            await Folders(db).batch_create([FolderCreate(id) for id in ids], scope=FoldersOf(tenant))
        page = await Pages(db).create(PageCreate(1), scope=PagesOf("a"))
        for folder in (3, 4):
            with pytest.raises(ReferenceNotFound):
                patch = PagePatch(folder_id=OptionalState.update(folder))
                await Pages(db).update(page.id, patch, scope=PagesOf("a"))
        moved = await Pages(db).update(page.id, PagePatch(folder_id=OptionalState.update(2)), scope=PagesOf("a"))
        assert (moved.folder_id, moved.number) == (2, 1)
