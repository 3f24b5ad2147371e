"""A cursor is of the search that was sent, whenever it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from rowsmith import Condition, CursorForwardPagination, Database, InvalidCursor, Repository, SearchScope
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class NoteRow(Base):
    __tablename__ = "notes_of_cursors"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(sa.JSON)


@dataclass(frozen=True)
class Note:
    id: int


class Notes(Repository[NoteRow, Note, int]): ...


@dataclass(frozen=True)
class In(SearchScope):
    tenants: list[str]

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.tenant.in_(self.tenants)]


CURRENT = ContextVar("CURRENT", default="a")
TENANTS = ["a"]
TAGS = ["x"]


def changed() -> None:
    TENANTS[:], TAGS[:] = ["b"], ["y"]
    CURRENT.set("b")


def text_of(value: Any) -> sa.Cast[str]:
    return sa.cast(value, sa.String)


Asked = Callable[[], tuple[SearchScope | None, list[Any]]]
SEARCHES: dict[str, Asked] = {
    "a list": lambda: (None, [NoteRow.tenant.in_(TENANTS)]),
    "a list of the scope": lambda: (In(TENANTS), []),
    "a list as a value": lambda: (None, [text_of(NoteRow.tags) == text_of(sa.bindparam("t", TAGS, sa.JSON))]),
    "a callable": lambda: (None, [NoteRow.tenant == sa.bindparam("c", callable_=CURRENT.get, type_=sa.String)]),
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("search", list(SEARCHES.values()), ids=list(SEARCHES))
async def test_what_changes_meanwhile_changes_no_cursor(any_tables: WithTables, search: Asked, native: bool) -> None:
    """A list, or what a callable gives: the search as it was takes the cursor, and no other does."""
    TENANTS[:], TAGS[:] = ["a"], ["x"]
    CURRENT.set("a")
    async with any_tables(NoteRow) as db:
        async with db.begin_session() as session:
            rows = [{"id": n, "tenant": "ab"[n % 2], "tags": ["xy"[n % 2]]} for n in range(8)]
            await session.execute(sa.insert(NoteRow), rows)
        notes = Notes(Database(db.engine, native=native))
        asked = search()
        page = await notes.search(*asked, CursorForwardPagination(2))
        assert [note.id for note in page] == [0, 2]
        changed()
        cursor = page.end_cursor
        with pytest.raises(InvalidCursor):
            await notes.search(*search(), CursorForwardPagination(2, after=cursor))
        TENANTS[:], TAGS[:] = ["a"], ["x"]
        CURRENT.set("a")
        following = await notes.search(*search(), CursorForwardPagination(2, after=cursor))
        assert [note.id for note in following] == [4, 6]
