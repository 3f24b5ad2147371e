"""Making data of a row leaves the row, and all else that its session has, as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy import JSON, ForeignKey
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session, relationship, selectinload, undefer

from rowsmith import Database, MappingError, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class TalkRow(Base):
    __tablename__ = "unchanged_talks"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    paper: Mapped[str] = mapped_column(server_default="-", deferred=True)
    tags: Mapped[Any] = mapped_column(MutableDict.as_mutable(JSON()), default=dict)
    comments: Mapped[list[CommentRow]] = relationship(
        back_populates="talk", order_by="CommentRow.id", cascade="all, delete-orphan"
    )


class CommentRow(Base):
    __tablename__ = "unchanged_comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    talk_id: Mapped[int] = mapped_column(ForeignKey("unchanged_talks.id", ondelete="CASCADE"))
    text: Mapped[str]
    talk: Mapped[TalkRow] = relationship(back_populates="comments")


@dataclass(frozen=True)
class Talk:
    id: int
    title: str


@dataclass(frozen=True)
class TalkCreate(Spec[TalkRow]):
    id: int
    title: str


@dataclass(frozen=True)
class TalkPatch(Patch[TalkRow]):
    title: OptionalState[str] = OptionalState.nop()


class TalkRepository(Repository[TalkRow, Talk, int]):
    loads = [TalkRow.comments]
    touch: ClassVar[Callable[[TalkRow], object]] = staticmethod(lambda row: None)

    def to_data(self, row: TalkRow) -> Talk:
        type(self).touch(row)
        return Talk(row.id, row.title)


def shout(row: TalkRow) -> None:
    row.title = row.title.upper()


class TalkRows(Repository[TalkRow]): ...


def touching(change: Callable[[TalkRow], object], db: Database) -> TalkRepository:
    class Touching(TalkRepository):
        touch = staticmethod(change)

    return Touching(db)


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with any_tables(TalkRow, CommentRow) as db:
        await TalkRepository(db).batch_create([TalkCreate(1, "a"), TalkCreate(2, "b")])
        async with db.begin_session() as session:
            await session.execute(sa.insert(CommentRow), [{"id": 1, "talk_id": 1, "text": "x"}])
        yield db


async def everything(db: Database) -> list[Any]:
    async with db.begin_readonly_session() as session:
        talks = await session.execute(sa.select(TalkRow.id, TalkRow.title, TalkRow.paper, TalkRow.tags))
        comments = await session.execute(sa.select(CommentRow.id, CommentRow.talk_id, CommentRow.text))
        return [sorted(talks.all()), sorted(comments.all())]


TITLE = OptionalState.update("z")
VERBS: dict[str, Callable[[TalkRepository], Any]] = {
    "get": lambda talks: talks.get(1),
    "find": lambda talks: talks.find(1),
    "first": lambda talks: talks.first(orders=[TalkRow.id]),
    "search": lambda talks: talks.search(),
    "batch_get": lambda talks: talks.batch_get([1]),
    "stream": lambda talks: anext(aiter(talks.stream())),
    "create": lambda talks: talks.create(TalkCreate(5, "e")),
    "batch_create": lambda talks: talks.batch_create([TalkCreate(5, "e")]),
    "batch_create_partial": lambda talks: talks.batch_create_partial([TalkCreate(5, "e")]),
    "update": lambda talks: talks.update(1, TalkPatch(title=TITLE)),
    "update by nothing": lambda talks: talks.update(1, TalkPatch()),
    "batch_update": lambda talks: talks.batch_update([1], TalkPatch(title=TITLE)),
    "batch_update_each": lambda talks: talks.batch_update_each({1: TalkPatch(title=TITLE)}),
    "upsert": lambda talks: talks.upsert(TalkCreate(1, "e")),
    "batch_upsert": lambda talks: talks.batch_upsert([TalkCreate(5, "e")]),
    "purge": lambda talks: talks.purge(1),
    "batch_purge": lambda talks: talks.batch_purge([1]),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_no_verb_writes_what_to_data_did(db: Database, verb: str) -> None:
    """It is refused by the attribute's name, and the call with it."""
    before = await everything(db)
    with pytest.raises(MappingError, match=r"to_data sets TalkRow.title, .* give the data another value"):
        await VERBS[verb](touching(shout, db))
    assert await everything(db) == before


@pytest.mark.parametrize("verb", VERBS)
async def test_nor_in_a_session_that_goes_on(db: Database, verb: str) -> None:
    """In a savepoint whose error is caught, nothing of it is left for the COMMIT; objects held are as they were."""
    before = await everything(db)
    async with db.unit_of_work() as unit:
        held = await unit.session.get_one(TalkRow, 1)
        with pytest.raises(MappingError, match=r"TalkRow.title"):
            async with db.unit_of_work():
                await VERBS[verb](touching(shout, db))
        await unit.session.refresh(held)
        assert held.title == "a"
    assert await everything(db) == before


@pytest.mark.parametrize("verb", ["get", "find", "first", "search", "batch_get", "stream"])
async def test_a_read_whose_error_is_caught(db: Database, verb: str) -> None:
    """Nothing of it is written by the same session, which goes on with the objects that it holds."""
    before = await everything(db)
    async with db.begin_session() as session:
        held = await session.get_one(TalkRow, 1)
        with pytest.raises(MappingError, match=r"TalkRow.title"):
            await VERBS[verb](touching(shout, db))
        assert held.title == "a"
        assert not session.dirty
    assert await everything(db) == before


WHOLE = [undefer(TalkRow.paper), selectinload(TalkRow.comments)]


def fail(row: TalkRow) -> None:
    shout(row)
    raise LookupError("mine")


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda row: setattr(row, "id", 7), "sets TalkRow.id,"),
        (lambda row: setattr(row, "paper", "p"), "sets TalkRow.paper,"),
        (lambda row: row.tags.update(a=1), "sets TalkRow.tags,"),
        (lambda row: setattr(row.comments[0], "text", "y"), "sets CommentRow.text,"),
        (
            lambda row: row.comments.append(CommentRow(id=9, text="y")),
            "to_data (sets TalkRow.comments|adds a CommentRow),",
        ),
        (lambda row: row.comments.clear(), "sets (TalkRow.comments|CommentRow.talk),"),
        (lambda row: object_session(row).add(TalkRow(id=9, title="n")), "adds a TalkRow,"),
        (lambda row: object_session(row).delete(row.comments[0]), "deletes a CommentRow,"),
    ],
)
async def test_whatever_is_changed(db: Database, change: Any, told: str) -> None:
    """Keys, deferred columns, documents, related rows, new rows and removed ones: all is undone."""
    before = await everything(db)
    async with db.unit_of_work() as unit:
        held = await unit.session.get_one(TalkRow, 1, options=WHOLE)
        with pytest.raises(MappingError, match=told):
            await touching(change, db).get(1)
        await unit.session.flush()
        assert await TalkRepository(db).get(1) == Talk(1, "a")
        row = await unit.session.get_one(TalkRow, 1, options=WHOLE, populate_existing=True)
        assert (row.paper, row.tags, [comment.text for comment in row.comments]) == ("-", {}, ["x"])
        assert row is held is row.comments[0].talk
    assert await everything(db) == before


async def test_an_error_of_its_own_passes(db: Database) -> None:
    """What it did before it failed is undone all the same."""
    async with db.unit_of_work():
        with pytest.raises(LookupError, match="mine"):
            await touching(fail, db).get(1)
    assert (await TalkRepository(db).get(1)).title == "a"


async def test_what_the_application_changed_is_its_own(db: Database) -> None:
    """Objects changed and added before are written as they were given, whether or not ``to_data`` changes them too."""
    async with db.begin_session() as session:
        held = await session.get_one(TalkRow, 2, options=WHOLE)
        with session.no_autoflush:
            held.title, held.tags["a"] = "mine", 1
            new = TalkRow(id=3, title="new", comments=[CommentRow(id=5, text="five")])
            session.add(new)
            assert (await TalkRepository(db).get(1)).id == 1
            changes: list[Callable[[TalkRow], object]] = [
                lambda row: setattr(held, "title", "other"),
                lambda row: held.tags.update(b=1),
                lambda row: setattr(held, "paper", "p"),
                lambda row: setattr(new, "title", "other"),
                lambda row: setattr(new, "paper", "p"),
                lambda row: new.comments.append(CommentRow(id=6, text="six")),
                lambda row: new.comments.clear(),
            ]
            for change in changes:
                with pytest.raises(MappingError, match=r"to_data (sets|adds)"):
                    await touching(change, db).get(1)
    talks, comments = await everything(db)
    assert talks == [(1, "a", "-", {}), (2, "mine", "-", {"a": 1}), (3, "new", "-", {})]
    assert comments == [(1, 1, "x"), (5, 3, "five")]


async def test_rows_as_data_are_the_sessions_own(db: Database) -> None:
    """Without a data class, what is given inside a unit is the object that it holds, and writes as it is changed."""
    rows = TalkRows(db)
    async with db.unit_of_work() as unit:
        row = await rows.get(1)
        assert row is await unit.session.get_one(TalkRow, 1)
        await rows.update(1, TalkPatch(title=TITLE))
        assert row.title == "z"
        row.title = "own"
    outside = await rows.get(1)
    assert outside.title == "own"
    outside.title = "lost"
    assert (await rows.get(1)).title == "own"
