"""A column that is mapped to several attributes: one of them is written by, and the others are only read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import new_class
from typing import Any, ClassVar

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, synonym

from rowsmith import Condition, MappingError, OptionalState, Patch, Repository, ScopeMismatch, SearchScope, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class NoteRow(Base):
    __tablename__ = "notes_by_other_names"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    pages: Mapped[int] = mapped_column(default=1)
    owner = synonym("tenant")
    landlord: ClassVar[Any]
    length: ClassVar[Any]


NoteRow.landlord = column_property(NoteRow.__table__.c.tenant)
NoteRow.length = column_property(NoteRow.__table__.c.pages)


@dataclass(frozen=True)
class NoteData:
    id: int
    tenant: str
    landlord: str
    length: int


@dataclass(frozen=True)
class NoteCreate(Spec[NoteRow], filled={"tenant"}):
    id: int


@dataclass(frozen=True)
class NotePatch(Patch[NoteRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    pages: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class NamedPatch(Patch[NoteRow]):
    """What writes its own values may name anything."""

    name: str

    def to_values(self) -> dict[str, Any]:
        return {self.name: "b"}


@dataclass(frozen=True)
class NotesOf(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.landlord == self.tenant]


class NoteRepository(Repository[NoteRow, NoteData, int]):
    pass


@pytest.mark.parametrize("name, meant", [("owner", "tenant"), ("landlord", "tenant"), ("length", "pages")])
def test_another_name_is_not_written_by(name: str, meant: str) -> None:
    """A scope would fix the column by one name, and the row leave it by the other."""
    for base in (Spec[NoteRow], Patch[NoteRow]):
        body = {"__annotations__": {name: OptionalState[str]}, name: OptionalState.nop()}
        with pytest.raises(
            MappingError, match=rf"Made.{name} is no column of NoteRow; it is another name of '{meant}'"
        ):
            new_class("Made", (base,), exec_body=_filled(body))


def _filled(body: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda members: members.update(body)


async def test_no_row_leaves_its_scope_by_another_name(any_tables: WithTables) -> None:
    """Nor does a patch that says itself what it writes; and what is mapped twice is written once."""
    scope = NotesOf("a")
    async with any_tables(NoteRow) as db:
        notes = NoteRepository(db)
        await notes.create(NoteCreate(1), scope=scope)
        await notes.batch_create([NoteCreate(2), NoteCreate(3)], scope=scope)
        await notes.batch_upsert([NoteCreate(3), NoteCreate(4)], scope=scope)
        await notes.upsert(NoteCreate(5), scope=scope)
        for name in ("owner", "landlord"):
            patch = NamedPatch(name)
            for call in (
                *(notes.update(1, patch, scope=scope), notes.batch_update([1], patch, scope=scope)),
                *(notes.batch_update_each({1: patch}, scope=scope), notes.update_where([], patch, all_rows=True)),
            ):
                with pytest.raises(MappingError, match="another name of 'tenant'"):
                    await call
        with pytest.raises(ScopeMismatch):
            await notes.update(1, NotePatch(OptionalState.update("b")), scope=scope)
        await notes.batch_update([1, 2], NotePatch(pages=OptionalState.update(7)), scope=scope)
        found = await notes.search(scope, [NoteRow.landlord == "a"], orders=[NoteRow.length.desc()])
        assert [(note.id, note.tenant, note.landlord, note.length) for note in found] == [
            (id, "a", "a", 7 if id < 3 else 1) for id in (2, 1, 5, 4, 3)
        ]
