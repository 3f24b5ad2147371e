"""Defaults that ask for the context of their statement: what ``create`` and ``update`` give, every form gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import JSON, func, literal, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Conflict, OptionalState, Patch, Repository, Spec, TriState
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


def slug(context: Any) -> str:
    title = context.get_current_parameters()["title_text"]
    if title == "bad":
        raise KeyError("the application's own")
    return f"{title} on {context.dialect.name} {context.connection.engine.dialect.name}"


class PageRow(Base):
    __tablename__ = "context_pages"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column("title_text")
    slug: Mapped[str] = mapped_column(default=slug, onupdate=slug)
    kind: Mapped[str] = mapped_column(default=lambda: "page")


@dataclass(frozen=True)
class PageCreate(Spec[PageRow]):
    id: int
    title: str


@dataclass(frozen=True)
class PagePatch(Patch[PageRow]):
    title: OptionalState[str]


@dataclass(frozen=True)
class PageData:
    slug: str
    kind: str


class Pages(Repository[PageRow, PageData, int]):
    pass


def named(*titles: str, database: Any) -> list[PageData]:
    name = database.engine.dialect.name
    return [PageData(f"{title} on {name} {name}", "page") for title in titles]


async def test_every_form_gives_the_context(any_tables: WithTables) -> None:
    """By the keys of the columns, with the dialect and the connection, each row its own values."""
    async with any_tables(PageRow) as db:
        pages = Pages(db)
        assert [await pages.create(PageCreate(1, "a"))] == named("a", database=db)
        assert await pages.batch_create([PageCreate(3, "c"), PageCreate(2, "b")]) == named("c", "b", database=db)
        assert await pages.load([PageCreate(4, "d")]) == 1
        assert [await pages.get(4)] == named("d", database=db)
        partial = await pages.batch_create_partial([PageCreate(5, "e"), PageCreate(1, "x"), PageCreate(6, "f")])
        assert [item.data for item in partial.succeeded] == named("e", "f", database=db)
        made = await pages.batch_upsert(
            [PageCreate(8, "h"), PageCreate(2, "B"), PageCreate(1, "A"), PageCreate(7, "g")]
        )
        assert [item.data for item in made.succeeded] == named("h", "B", "A", "g", database=db)
        assert [item.inserted for item in made.succeeded] == [True, False, False, True]
        assert [(await pages.upsert(PageCreate(1, "aa"))).data] == named("aa", database=db)


async def test_every_form_of_an_update_gives_the_context(any_tables: WithTables) -> None:
    """One patch for many rows, and one for each."""
    async with any_tables(PageRow) as db:
        pages = Pages(db)
        await pages.batch_create([PageCreate(number, "x") for number in (1, 2, 3)])
        patch = PagePatch(OptionalState.update("u"))
        assert [await pages.update(1, patch)] == named("u", database=db)
        assert (await pages.batch_update([1, 2], patch)).succeeded == named("u", "u", database=db)
        each = {2: PagePatch(OptionalState.update("v")), 1: PagePatch(OptionalState.update("w"))}
        assert (await pages.batch_update_each(each)).succeeded == named("v", "w", database=db)
        assert await pages.update_where([PageRow.id == 3], patch) == 1
        assert [await pages.get(3)] == named("u", database=db)


@pytest.mark.parametrize("verb", ["create", "upsert", "batch_create", "batch_upsert", "load", "batch_update_each"])
async def test_an_applications_error_is_its_own(any_tables: WithTables, verb: str) -> None:
    """What a default raises passes as it is, and nothing is kept."""
    async with any_tables(PageRow) as db:
        pages = Pages(db)
        await pages.create(PageCreate(1, "a"))
        given: Any = PageCreate(2, "bad") if verb in ("create", "upsert") else [PageCreate(2, "bad")]
        if verb == "batch_update_each":
            given = {1: PagePatch(OptionalState.update("bad"))}
        with pytest.raises(KeyError, match="own"):
            await getattr(pages, verb)(given)
        assert [await pages.get(1)] == named("a", database=db)
        assert await pages.count() == 1


def keys(context: Any) -> str:
    return ",".join(sorted(context.get_current_parameters().keys() & {"title", "note", "document", "kind"}))


class SeenRow(Base):
    __tablename__ = "context_seen"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str]
    note: Mapped[str | None]
    document: Mapped[Any] = mapped_column(JSON, nullable=True)
    seen: Mapped[str] = mapped_column(default=keys, onupdate=keys)
    kind: Mapped[str] = mapped_column(default=lambda: "kind")


@dataclass(frozen=True)
class SeenCreate(Spec[SeenRow]):
    id: int
    title: str
    note: str | None = None
    document: Any = None


@dataclass(frozen=True)
class SeenPatch(Patch[SeenRow]):
    title: OptionalState[str] = OptionalState.nop()
    note: TriState[str] = TriState.nop()
    document: TriState[Any] = TriState.nop()


class Seen(Repository[SeenRow, SeenRow, int]):
    conflict = Conflict([SeenRow.id])


async def test_a_null_that_is_given_is_among_the_values(any_tables: WithTables) -> None:
    """In every form, for new rows and for those that are there, and so is another default; SQL is not."""
    async with any_tables(SeenRow) as db:
        rows = Seen(db)
        await rows.create(SeenCreate(1, "t"))
        await rows.batch_create([SeenCreate(2, "t")])
        await rows.load([SeenCreate(3, "t")])
        await rows.upsert(SeenCreate(4, "t"))
        await rows.batch_upsert([SeenCreate(5, "t"), SeenCreate(6, "t")])
        assert {row.seen for row in await rows.search()} == {"document,kind,note,title"}
        title = OptionalState.expression(lambda: SeenRow.title + "!")
        patch = SeenPatch(title=title, note=TriState.nullify(), document=TriState.nullify())
        changed = [
            await rows.update(1, patch),
            *(await rows.batch_update([2], patch)).succeeded,
            *(await rows.batch_update_each({3: patch})).succeeded,
        ]
        assert await rows.update_where([SeenRow.id == 4], patch) == 1
        assert {row.seen for row in (*changed, await rows.get(4))} == {"document,note"}


def next_number(context: Any) -> int:
    """Ask the database, as an application may in its own statement."""
    return int(context.connection.scalar(select(func.coalesce(func.max(NumberedRow.number), 0)))) + 1


def tenfold(context: Any) -> int:
    return int(context.get_current_parameters()["size"]) * 10


class NumberedRow(Base):
    __tablename__ = "context_numbered"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int]
    number: Mapped[int] = mapped_column(default=next_number, onupdate=next_number)
    tenfold: Mapped[int] = mapped_column(default=tenfold, onupdate=tenfold)


@dataclass(frozen=True)
class NumberedCreate(Spec[NumberedRow]):
    id: int
    size: Any


@dataclass(frozen=True)
class NumberedPatch(Patch[NumberedRow]):
    size: OptionalState[int]


class Numbered(Repository[NumberedRow, NumberedRow, int]):
    conflict = Conflict([NumberedRow.id])


async def test_a_default_may_ask_the_database(any_tables: WithTables) -> None:
    """By the connection of its context, in every form."""
    async with any_tables(NumberedRow) as db:
        rows = Numbered(db)
        assert (await rows.create(NumberedCreate(1, 1))).number == 1
        assert [row.number for row in await rows.batch_create([NumberedCreate(2, 1)])] == [2]
        assert await rows.load([NumberedCreate(3, 1)]) == 1
        assert (await rows.upsert(NumberedCreate(4, 1))).data.number == 4
        patch = NumberedPatch(OptionalState.update(2))
        assert (await rows.update(1, patch)).number == 5
        assert [row.number for row in (await rows.batch_update([2], patch)).succeeded] == [6]
        assert [row.number for row in (await rows.batch_update_each({3: patch})).succeeded] == [7]
        assert await rows.update_where([NumberedRow.id == 4], patch) == 1
        assert sorted(row.number for row in await rows.search()) == [5, 6, 7, 8]


async def test_a_literal_is_a_value(any_tables: WithTables) -> None:
    """That a default sees, as SQLAlchemy sends it as one."""
    async with any_tables(NumberedRow) as db:
        rows = Numbered(db)
        assert (await rows.create(NumberedCreate(1, literal(7)))).tenfold == 70
        patch = NumberedPatch(OptionalState.expression(lambda: literal(8)))
        assert (await rows.update(1, patch)).tenfold == 80
        assert [row.tenfold for row in (await rows.batch_update([1], patch)).succeeded] == [80]
        assert [row.tenfold for row in (await rows.batch_update_each({1: patch})).succeeded] == [80]
