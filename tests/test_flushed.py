"""What is set on rows is checked as what patches set, in sessions of rowsmith's and in those that it was given."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import DateTime, ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Database, InvalidValue, Repository
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class PostRow(Base):
    __tablename__ = "checked_posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="post")
    title: Mapped[str] = mapped_column(sa.String(10))
    likes: Mapped[int] = mapped_column(default=0)
    seen: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "post"}


class NoteRow(PostRow):
    __tablename__ = "checked_notes"
    id: Mapped[int] = mapped_column(ForeignKey("checked_posts.id"), primary_key=True)
    pages: Mapped[int] = mapped_column(default=1)
    __mapper_args__ = {"polymorphic_identity": "note"}


class PlainRow(Base):
    __tablename__ = "checked_by_nobody"
    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]


class Posts(Repository[PostRow]):
    pass


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with any_tables(PostRow, NoteRow, PlainRow) as made:
        async with made.begin_session() as session:
            session.add_all([PostRow(id=1, title="one"), NoteRow(id=2, title="two"), PlainRow(id=1, size=1)])
        Posts(made)
        yield made


@asynccontextmanager
async def in_a_session(db: Database) -> AsyncGenerator[Database]:
    async with db.begin_session():
        yield db


@asynccontextmanager
async def in_a_unit(db: Database) -> AsyncGenerator[Database]:
    async with db.unit_of_work():
        yield db


@asynccontextmanager
async def in_an_owners_session(db: Database) -> AsyncGenerator[Database]:
    async with AsyncSession(db.engine) as session:
        yield Database.from_session(session)
        await session.commit()


BLOCKS = [in_a_session, in_a_unit, in_an_owners_session]
REFUSED: list[tuple[str, Any, str]] = [
    ("likes", 1.9, "PostRow.likes holds integers"),
    ("likes", True, "PostRow.likes holds integers"),
    ("likes", "many", "PostRow.likes holds integers"),
    ("likes", 2**40, "PostRow.likes holds integers"),
    ("title", "a\0", "PostRow.title cannot hold a NUL character"),
    ("title", 5, "PostRow.title holds text"),
    ("title", "longer than ten", "PostRow.title holds at most 10 characters"),
    ("seen", datetime(2024, 1, 1), "PostRow.seen"),
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name, value, words", REFUSED)
async def test_a_value_that_a_column_cannot_hold_is_refused(
    db: Database, block: Callable[[Database], Any], name: str, value: Any, words: str
) -> None:
    """By its attribute's name, as a patch's is; and nothing is written."""
    with pytest.raises(InvalidValue, match=words) as refused:
        async with block(db) as inside:
            setattr(await Posts(inside).get(1), name, value)
    assert refused.value.facts.columns == (name,)
    async with db.begin_session() as session:
        row = await session.get_one(PostRow, 1)
        assert (row.title, row.likes, row.seen) == ("one", 0, None)


@pytest.mark.parametrize("row", [PostRow(id=3, title="new", likes=1.5), NoteRow(id=3, title="new", pages=1.5)])
async def test_a_row_that_is_added_is_checked(db: Database, row: PostRow) -> None:
    """Of a class that a repository was declared for, and of those below it."""
    with pytest.raises(InvalidValue, match="holds integers"):
        async with db.unit_of_work() as unit:
            unit.session.add(row)
            await Posts(db).count()
    assert await Posts(db).count() == 2


async def test_a_refused_value_is_undone_with_its_unit(db: Database) -> None:
    """The block around goes on with the row as it was."""
    async with db.unit_of_work():
        row = await Posts(db).get(2)
        assert isinstance(row, NoteRow)
        with pytest.raises(InvalidValue, match=r"NoteRow\.pages holds integers"):
            async with db.unit_of_work():
                row.pages = 1.5  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
        assert row.pages == 1
        row.pages = 2


async def test_what_fits_is_written(db: Database) -> None:
    """None, SQL and what was never changed among it."""
    now = datetime.now(UTC)
    async with db.unit_of_work():
        row = await Posts(db).get(1)
        row.title, row.likes, row.seen = "new", PostRow.likes + 5, now
    async with db.unit_of_work():
        row = await Posts(db).get(1)
        assert (row.title, row.likes, row.seen) == ("new", 5, now)
        row.seen = None
    assert (await Posts(db).get(1)).seen is None


async def test_rows_of_no_repository_are_their_applications_own(db: Database) -> None:
    """Neither are those of sessions that rowsmith was never given."""
    is_sqlite = db.engine.dialect.name == "sqlite"
    async with db.begin_session() as session:
        (await session.get_one(PlainRow, 1)).size = 2.0  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    async with AsyncSession(db.engine) as session:
        assert (await session.get_one(PlainRow, 1)).size == 2
        (await session.get_one(PostRow, 1)).likes = 3 if is_sqlite else 3.0  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
        await session.commit()
