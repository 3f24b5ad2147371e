"""Columns may be called like what rowsmith calls itself: it works, or is refused when the class is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Condition,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
)
from rowsmith.filters import Filter, NumberFilter, On
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class GivenRow(Base):
    """Columns that are called like parts of our statements and classes."""

    __tablename__ = "givens"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    to_values: Mapped[int] = mapped_column(server_default="1")
    to_data: Mapped[int]
    to_conditions: Mapped[int]
    filled: Mapped[int]
    AND: Mapped[int]
    place: Mapped[int]
    part: Mapped[int]
    one: Mapped[int]
    is_gone: Mapped[bool] = mapped_column(server_default=sa.false())


class LockedRow(Base):
    __tablename__ = "lockers"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    gone: Mapped[int]


@dataclass(frozen=True)
class GivenCreate(Spec[GivenRow]):
    id: int
    to_data: int = 1
    to_conditions: int = 2
    filled: int = 3
    AND: int = 4
    place: int = 5
    part: int = 6
    one: int = 7


@dataclass(frozen=True)
class GivenPatch(Patch[GivenRow]):
    place: OptionalState[int] = OptionalState.nop()
    part: OptionalState[int] = OptionalState.nop()
    filled: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class GivenData:
    id: int
    to_values: int
    to_data: int
    filled: int
    AND: int
    place: int
    part: int


class GivenFilter(Filter[GivenRow]):
    and_: Annotated[NumberFilter | None, On(GivenRow.AND)] = None
    filled: NumberFilter | None = None


class Givens(Repository[GivenRow, GivenData, int]):
    soft_delete = SoftDelete(GivenRow.is_gone, deleted=True, restored=False)


@dataclass(frozen=True)
class LockedCreate(Spec[LockedRow]):
    id: int
    gone: int = 1


class Lockeds(Repository[LockedRow, LockedRow, int]):
    pass


async def test_columns_may_be_called_like_parts_of_our_statements(any_tables: WithTables) -> None:
    """Every kind of statement takes them."""
    async with any_tables(GivenRow, LockedRow) as db:
        givens = Givens(db)
        made = await givens.batch_create([GivenCreate(n) for n in range(1, 21)])
        assert made[0] == GivenData(1, 1, 1, 3, 4, 5, 6)
        moved = GivenPatch(place=OptionalState.update(50), part=OptionalState.update(60))
        assert [item.place for item in (await givens.batch_update([1, 2], moved)).succeeded] == [50, 50]
        each = {3: moved, 4: GivenPatch(place=OptionalState.update(51), part=OptionalState.update(61))}
        assert [item.part for item in (await givens.batch_update_each(each)).succeeded] == [60, 61]
        assert await givens.update_where([GivenRow.id == 5], moved) == 1
        assert not (await givens.batch_upsert([GivenCreate(6, place=9)])).succeeded[0].inserted
        assert len((await givens.search(None, GivenFilter(and_=NumberFilter(equals=4)))).items) == 20
        assert len((await givens.batch_delete([7, 8])).succeeded) == 2
        assert len((await givens.batch_purge([9, 10])).succeeded) == 2
        report = await givens.purge_where(GivenFilter(filled=NumberFilter(equals=3)), chunk_size=3)
        assert (report.rows, await givens.count()) == (18, 0)
        lockeds = Lockeds(db)
        await lockeds.batch_create([LockedCreate(n) for n in range(5)])
        assert (await lockeds.purge_where([LockedRow.gone == 1], chunk_size=2)).rows == 5


def test_a_field_that_would_hide_a_method_is_refused() -> None:
    """In a spec, patch, filter or scope: the message says what to call otherwise."""
    with pytest.raises(MappingError, match=r"Wrong.to_values would hide .*to_values_: Mapped"):

        @dataclass(frozen=True)
        class Wrong(Spec[GivenRow]):
            id: int
            to_values: int

    with pytest.raises(MappingError, match=r"WrongPatch.to_values would hide"):

        @dataclass(frozen=True)
        class WrongPatch(Patch[GivenRow]):
            to_values: OptionalState[int] = OptionalState.nop()

    for name in ("AND", "OR", "NOT", "to_conditions"):
        with pytest.raises(MappingError, match=rf"{name} is a name of every filter's own"):
            type("WrongFilter", (Filter[GivenRow],), {"__annotations__": {name: NumberFilter | None}, name: None})

    for name in ("to_conditions", "existence_checks", "to_related"):
        with pytest.raises(MappingError, match=rf"{name} would hide SearchScope.{name}"):
            type("WrongScope", (SearchScope,), {"__annotations__": {name: int}})


class TwinRow(Base):
    """The key that is declared is none: the table was made by somebody else."""

    __tablename__ = "twins"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    note: Mapped[str]
    is_gone: Mapped[bool]


@dataclass(frozen=True)
class TwinData:
    id: int
    note: str


@dataclass(frozen=True)
class TwinPatch(Patch[TwinRow]):
    note: OptionalState[str] = OptionalState.nop()


class Twins(Repository[TwinRow, TwinData, int]):
    soft_delete = SoftDelete(TwinRow.is_gone, deleted=True, restored=False)


@dataclass(frozen=True)
class Everything(SearchScope):
    def to_conditions(self) -> Sequence[Condition]:
        return [TwinRow.id > 0]


async def test_a_declared_key_that_is_not_unique_is_told_and_changes_nothing(any_database: Any) -> None:
    """By every verb that goes by a key, one row or many."""
    patch = TwinPatch(note=OptionalState.update("x"))
    async with any_database.engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE twins (id int, note varchar, is_gone boolean)"))
        await connection.execute(sa.text("INSERT INTO twins VALUES (1, 'a', false), (1, 'b', false), (2, 'c', false)"))
    try:
        twins = Twins(any_database)
        for call in (
            twins.get(1),
            twins.find(1),
            twins.get(1, Everything()),
            twins.update(1, patch),
            twins.update(1, patch, scope=Everything()),
            twins.update(1, TwinPatch()),
            twins.delete(1),
            twins.purge(1),
            twins.batch_get([1, 2]),
            twins.batch_update([1, 2], patch),
            twins.batch_update_each({1: patch}),
            twins.batch_delete([1]),
            twins.batch_purge([2, 1]),
        ):
            with pytest.raises(MappingError, match=r"TwinRow declares \(id\) as its primary key"):
                await call
        async with any_database.engine.begin() as connection:
            rows = (await connection.execute(sa.text("SELECT * FROM twins ORDER BY note"))).all()
        assert [(row[0], row[1], bool(row[2])) for row in rows] == [(1, "a", False), (1, "b", False), (2, "c", False)]
        assert (await twins.get(2)).note == "c"
    finally:
        async with any_database.engine.begin() as connection:
            await connection.execute(sa.text("DROP TABLE twins"))
