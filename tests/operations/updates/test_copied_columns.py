"""Patches that set a column to what another one holds: a mapped attribute is SQL, and no value, by every way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import ARRAY, Integer, String, TypeDecorator, func
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, synonym
from typing_extensions import override

from rowsmith import Database, Patch, Repository, TriState
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class Told(TypeDecorator[str]):
    """A type that makes text of whatever it gets."""

    impl = String
    cache_ok = True

    @override
    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else f"{value}".strip()


class CopiedRow(Base):
    __tablename__ = "copied_rows"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column()
    code: Mapped[str | None]
    told: Mapped[str | None] = mapped_column(Told)
    alias = synonym("name")
    shout: Mapped[str] = column_property(func.upper(name))

    @hybrid_property
    def named(self) -> str:
        return self.name


class ListedRow(Base):
    __tablename__ = "copied_lists"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    old: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    new: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))


@dataclass(frozen=True)
class Copied:
    id: int
    code: str | None
    told: str | None


@dataclass(frozen=True)
class Listed:
    id: int
    new: list[int] | None


@dataclass(frozen=True)
class CopiedPatch(Patch[CopiedRow]):
    code: TriState[str] = TriState.nop()
    told: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class ListedPatch(Patch[ListedRow]):
    new: TriState[list[int]] = TriState.nop()


class Copies(Repository[CopiedRow, Copied, int]): ...


class Lists(Repository[ListedRow, Listed, int]): ...


GIVEN: Mapping[str, Callable[[], Any]] = {
    "attribute": lambda: CopiedRow.name,
    "synonym": lambda: CopiedRow.alias,
    "hybrid": lambda: CopiedRow.named,
    "column": lambda: CopiedRow.__table__.c.name,
    "computed": lambda: CopiedRow.shout,
}
VERBS: Mapping[str, Callable[[Any, Any, Any], Awaitable[object]]] = {
    "update": lambda rows, row, patch: rows.update(1, patch),
    "batch_update": lambda rows, row, patch: rows.batch_update([1], patch),
    "batch_update_each": lambda rows, row, patch: rows.batch_update_each({1: patch}),
    "batch_update_partial": lambda rows, row, patch: rows.batch_update_partial({1: patch}),
    "update_where": lambda rows, row, patch: rows.update_where([row.id == 1], patch),
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("verb", VERBS)
async def test_a_column_is_copied(each_lane: Database, lane_tables: WithTables, verb: str, inside: bool) -> None:
    """Whatever of the mapping names it, in a unit of work or alone, into a type that takes any value, too."""
    async with lane_tables(CopiedRow):
        copies = Copies(each_lane, resilience=None)
        async with each_lane.begin_session() as session:
            session.add(CopiedRow(id=1, name="ann"))
        for given, made in GIVEN.items():
            expected = "ANN" if given == "computed" else "ann"
            for name in ("code", "told"):
                patch = CopiedPatch(**{name: TriState.expression(made)})
                if inside:
                    async with each_lane.unit_of_work():
                        await VERBS[verb](copies, CopiedRow, patch)
                else:
                    await VERBS[verb](copies, CopiedRow, patch)
            found = await copies.get(1)
            assert (found.code, found.told) == (expected, expected)
            await copies.update(1, CopiedPatch(code=TriState.nullify(), told=TriState.nullify()))


@pytest.mark.parametrize("verb", VERBS)
async def test_a_list_is_copied(with_tables: WithTables, verb: str) -> None:
    """An attribute of an array gives an item for every number, and is never read to its end."""
    async with with_tables(ListedRow) as db:
        lists = Lists(db, resilience=None)
        async with db.begin_session() as session:
            session.add(ListedRow(id=1, old=[1, 2]))
        await VERBS[verb](lists, ListedRow, ListedPatch(TriState.expression(lambda: ListedRow.old)))
        assert (await lists.get(1)).new == [1, 2]
