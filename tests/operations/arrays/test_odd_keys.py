"""Keys that are arrays, and texts that a decorator makes longer than their column."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import AnyOf, InvalidValue, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class PathRow(Base):
    __tablename__ = "paths"

    steps: Mapped[Any] = mapped_column(postgresql.ARRAY(sa.Integer), primary_key=True)
    name: Mapped[str]


@dataclass(frozen=True)
class PathData:
    steps: Any
    name: str


@dataclass(frozen=True)
class PathCreate(Spec[PathRow]):
    steps: Any
    name: str


@dataclass(frozen=True)
class PathPatch(Patch[PathRow]):
    name: OptionalState[str] = OptionalState.nop()


class Paths(Repository[PathRow, PathData, Any]):
    pass


RENAMED = PathPatch(OptionalState.update("x"))
BATCHES: dict[str, Callable[[Paths], Awaitable[Any]]] = {
    "batch_get": lambda paths: paths.batch_get([(1, 2)]),
    "batch_update": lambda paths: paths.batch_update([(1, 2)], RENAMED),
    "batch_update_each": lambda paths: paths.batch_update_each({(1, 2): RENAMED}),
    "batch_purge": lambda paths: paths.batch_purge([[1, 2]]),
    "batch_upsert": lambda paths: paths.batch_upsert([PathCreate([1, 2], "x")]),
    "upsert": lambda paths: paths.upsert(PathCreate([1, 2], "x")),
}


async def test_rows_whose_key_is_an_array_are_taken_one_by_one(with_tables: WithTables) -> None:
    """Single calls work, new rows come in input order, and a batch over keys says what to do."""
    async with with_tables(PathRow) as db:
        paths = Paths(db)
        scope = AnyOf(PathRow.name == "a", PathRow.name == "b")
        assert (await paths.create(PathCreate([1, 2], "a"), scope=scope)).steps == [1, 2]
        made = await paths.batch_create([PathCreate([9], "b"), PathCreate([3, 4], "c")])
        assert [path.name for path in made] == ["b", "c"]
        assert (await paths.get([1, 2])).name == (await paths.get((1, 2))).name == "a"
        for name, call in BATCHES.items():
            instead = r"call find, then create\(spec\) or update" if "upsert" in name else "take them one by one"
            with pytest.raises(InvalidValue, match=rf"PathRow\.steps .* not told apart by arrays: {instead}"):
                await call(paths)
        assert (await paths.update([1, 2], RENAMED)).name == "x"
        assert (await paths.purge([1, 2])).name == "x"
        assert await paths.count() == 2


class NoteRow(Base):
    __tablename__ = "noted_documents"

    document: Mapped[Any] = mapped_column(postgresql.JSONB, primary_key=True)
    text: Mapped[str]


@dataclass(frozen=True)
class NoteCreate(Spec[NoteRow]):
    document: Any
    text: str


@dataclass(frozen=True)
class Note:
    document: Any
    text: str


class Notes(Repository[NoteRow, Note, Any]):
    pass


async def test_an_upsert_over_documents_says_what_to_do_instead(with_tables: WithTables) -> None:
    """Which works."""
    async with with_tables(NoteRow) as db:
        notes, note = Notes(db), NoteCreate({"a": 1}, "x")
        for call in (lambda: notes.upsert(note), lambda: notes.batch_upsert([note])):
            with pytest.raises(InvalidValue, match=r"not told apart by documents: call find, then create\(spec\)"):
                await call()
        assert await notes.find(note.document) is None
        await notes.create(note)
        assert await notes.find(note.document) == Note({"a": 1}, "x")


class Twice(sa.TypeDecorator[str]):
    """Text that is kept twice, one after the other."""

    impl = sa.Unicode(6)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value * 2


class Over(Twice):
    impl = Twice()
    cache_ok = True


class Blank(Twice):
    impl = sa.CHAR(6)
    cache_ok = True


class LabelRow(Base):
    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None] = mapped_column(Twice)
    over: Mapped[str | None] = mapped_column(Over)
    blank: Mapped[str | None] = mapped_column(Blank)


@dataclass(frozen=True)
class LabelCreate(Spec[LabelRow]):
    text: str | None = None
    over: str | None = None
    blank: str | None = None


@dataclass(frozen=True)
class LabelPatch(Patch[LabelRow]):
    text: OptionalState[str] = OptionalState.nop()
    over: OptionalState[str] = OptionalState.nop()
    blank: OptionalState[str] = OptionalState.nop()


class Labels(Repository[LabelRow, LabelRow, int]):
    pass


@pytest.mark.parametrize("name, times", [("text", 2), ("over", 4), ("blank", 2)])
async def test_a_text_is_never_cut_on_its_way(with_tables: WithTables, name: str, times: int) -> None:
    """What a decorator makes too long for its column is refused in a batch as in a single call; what fits is kept."""
    async with with_tables(LabelRow) as db:
        labels = Labels(db)
        fits, long = "a", "abcd"
        await labels.batch_create([LabelCreate(**{name: fits}), LabelCreate(**{name: fits})])
        for call in (
            lambda: labels.create(LabelCreate(**{name: long})),
            lambda: labels.batch_create([LabelCreate(**{name: long}), LabelCreate(**{name: long})]),
            lambda: labels.batch_upsert([LabelCreate(**{name: long})]),
            lambda: labels.batch_update_each({1: LabelPatch(**{name: OptionalState.update(long)})}),
        ):
            with pytest.raises(InvalidValue):
                await call()
        column = LabelRow.__table__.c[name]
        async with db.engine.connect() as connection:
            found = (await connection.execute(sa.select(sa.cast(column, sa.Text)))).scalars().all()
        assert {text.strip() for text in found} == {fits * times}
