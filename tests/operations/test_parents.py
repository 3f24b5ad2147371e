"""Rows that are numbered within a parent, moved to another one: it has to be inside the scope, as a new row's has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    Condition,
    Database,
    EntityNotFound,
    InvalidValue,
    NextValue,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    RepositoryError,
    ScopeMismatch,
    SearchScope,
    Spec,
    Unscoped,
    related,
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
    shelf: Mapped[ShelfRow | None] = relationship(viewonly=True)


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


@dataclass(frozen=True)
class ByShelf(SearchScope):
    """Says of books whose shelves they may be on, and of shelves themselves what it is given to say."""

    shelves: Any
    said: Mapping[type[Any], Sequence[Condition]]

    @override
    def to_conditions(self) -> list[Condition]:
        return [self.shelves()]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return self.said


def by_relationship() -> Any:
    return related(BookRow.shelf, ShelfRow.tenant == "a")


def by_subquery() -> Any:
    return BookRow.shelf_id.in_(sa.select(ShelfRow.id).where(ShelfRow.tenant == "a"))


BY_SHELF: dict[str, ByShelf] = {
    "relationship": ByShelf(by_relationship, {}),
    "subquery": ByShelf(by_subquery, {}),
    "and a word about shelves": ByShelf(by_relationship, {ShelfRow: [ShelfRow.tenant == "a"]}),
}


@pytest.mark.parametrize("scope", BY_SHELF.values(), ids=BY_SHELF)
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
async def test_a_scope_that_reads_the_foreign_key_says_the_same_of_both(
    books: Books, move: Move, scope: ByShelf
) -> None:
    """A row leaves its scope by another tenant's parent and by none, as a new one would; neither parent is locked."""
    before, said = await stored(books), list[str]()
    for shelf in (THEIRS, NOWHERE):
        with count_statements(books.db) as sent, pytest.raises(ScopeMismatch) as caught:
            await move(books, to(shelf), scope)
        error = caught.value
        said.append(repr((error, error.facts, error.__cause__, error.__context__)))
        locked = [statement for statement in sent if "FOR NO KEY UPDATE OF shelves" in statement]
        assert not locked or scope.said
        with pytest.raises(ScopeMismatch):
            await books.create(BookCreate(7, shelf), scope=scope)
    assert said[0] == said[1]
    assert await stored(books) == before
    await move(books, to(ALSO_HERE), scope)
    assert (await stored(books))[0] == (0, ALSO_HERE, 9)


@pytest.mark.parametrize("scope", BY_SHELF.values(), ids=BY_SHELF)
async def test_an_absent_row_says_nothing_of_the_parent_it_is_moved_to(books: Books, scope: ByShelf) -> None:
    """Whoever asks for a row that is not there gets one answer, whichever parent is named."""

    async def answer(call: Awaitable[Any]) -> str:
        try:
            return repr(await call)
        except RepositoryError as exc:
            return repr((exc, exc.facts))

    for update in (
        lambda patch: books.update(99, patch, scope=scope),
        lambda patch: books.batch_update([99], patch, scope=scope),
        lambda patch: books.batch_update_each({99: patch}, scope=scope),
        lambda patch: books.batch_update_partial({99: patch}, scope=scope),
        lambda patch: books.update_where([BookRow.id == 99], patch, scope=scope),
    ):
        assert await answer(update(to(THEIRS))) == await answer(update(to(NOWHERE)))
    if not scope.said:
        with pytest.raises(EntityNotFound):
            await books.update(99, to(THEIRS), scope=scope)


async def test_what_is_said_of_parents_holds_beside_what_rows_say(books: Books) -> None:
    """A parent that the rows' own conditions would let in is an absent one, if ``to_related`` does not."""
    scope = ByShelf(by_relationship, {ShelfRow: [ShelfRow.id != ALSO_HERE]})
    for move in MOVES.values():
        with pytest.raises(ShelfNotFound):
            await move(books, to(ALSO_HERE), scope)


async def test_each_item_of_a_batch_leaves_its_scope_by_itself(books: Books) -> None:
    """In the partial form the others are moved, where the scope reads the foreign key, too."""
    for scope in BY_SHELF.values():
        result = await books.batch_update_partial({0: to(THEIRS), 1: to(ALSO_HERE), 2: to(NOWHERE)}, scope=scope)
        failed = [(failure.index, repr(failure.error)) for failure in result.failed]
        assert [index for index, _ in failed] == [0, 2]
        assert failed[0][1] == failed[1][1]
        assert isinstance(result.failed[0].error, ScopeMismatch)
        assert await stored(books) == [(0, HERE, 0), (1, ALSO_HERE, 9), (2, HERE, 0)]


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
