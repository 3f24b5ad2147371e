"""A base that stands for the join of itself and its subclasses (``with_polymorphic="*"``) works in every verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import EntityNotFound, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class StaffRow(Base):
    __tablename__ = "poly_staff"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "staff", "with_polymorphic": "*"}


class EngineerRow(StaffRow):
    __tablename__ = "poly_engineers"

    id: Mapped[int] = mapped_column(ForeignKey("poly_staff.id"), primary_key=True)
    tool: Mapped[str | None]

    __mapper_args__ = {"polymorphic_identity": "engineer"}


@dataclass(frozen=True)
class Staff:
    id: int
    kind: str
    name: str


@dataclass(frozen=True)
class StaffCreate(Spec[StaffRow]):
    id: int
    name: str


@dataclass(frozen=True)
class StaffPatch(Patch[StaffRow]):
    name: OptionalState[str] = OptionalState.nop()


class Plain(Repository[StaffRow, Staff, int]):
    pass


class Converted(Repository[StaffRow, Staff, int]):
    def to_data(self, row: StaffRow) -> Staff:
        return Staff(row.id, row.kind, row.name)


@pytest.mark.parametrize("repository", [Plain, Converted])
async def test_every_verb_of_the_base(any_tables: WithTables, repository: Any) -> None:
    """Reads take the join, writes the base's own table; whatever data is made of, it is what the database holds."""
    async with any_tables(StaffRow, EngineerRow) as db:
        staff, renamed = repository(db), StaffPatch(OptionalState.update("z"))
        assert await staff.create(StaffCreate(1, "a")) == await staff.get(1) == Staff(1, "staff", "a")
        two = [Staff(2, "staff", "b"), Staff(3, "staff", "c")]
        assert await staff.batch_create([StaffCreate(2, "b"), StaffCreate(3, "c")]) == two
        assert (await staff.search()).items == (Staff(1, "staff", "a"), *two)
        assert await staff.batch_get([3, 2]) == two[::-1]
        assert [item async for item in staff.stream()] == [Staff(1, "staff", "a"), *two]
        assert await staff.update(1, renamed) == Staff(1, "staff", "z")
        assert (await staff.batch_update([2], renamed)).succeeded == [Staff(2, "staff", "z")]
        assert (await staff.batch_update_each({3: renamed})).succeeded == [Staff(3, "staff", "z")]
        assert await staff.update_where([StaffRow.id == 3], renamed) == 1
        upserted = await staff.upsert(StaffCreate(1, "u"))
        assert (upserted.data, upserted.inserted) == (Staff(1, "staff", "u"), False)
        both = (await staff.batch_upsert([StaffCreate(1, "v"), StaffCreate(4, "w")])).succeeded
        assert [item.data.name for item in both] == ["v", "w"]
        partial = await staff.batch_create_partial([StaffCreate(1, "x"), StaffCreate(5, "y")])
        assert [item.data for item in partial.succeeded] == [Staff(5, "staff", "y")]
        assert await staff.purge(1) == Staff(1, "staff", "v")
        assert (await staff.batch_purge([2])).succeeded == [Staff(2, "staff", "z")]
        assert (await staff.purge_where([StaffRow.id == 3])).rows == 1
        with pytest.raises(EntityNotFound):
            await staff.get(1)
        assert await staff.count() == 2
