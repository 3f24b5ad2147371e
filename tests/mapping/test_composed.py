"""Attributes that are no columns: what Python computes of some (hybrids), and what is made of several (composites)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from sqlalchemy import ColumnElement, String, func
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, composite, mapped_column

from rowsmith import InvalidFilter, MappingError, Repository, Spec
from rowsmith.filters import Filter, StringFilter
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


@dataclass
class Point:
    x: int
    y: int


class PlaceRow(Base):
    __tablename__ = "composed_places"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    x: Mapped[int]
    y: Mapped[int]
    at: Mapped[Point] = composite("x", "y")

    @hybrid_property
    def shout(self) -> str:
        return self.name.upper()

    @shout.inplace.expression
    @classmethod
    def _shout(cls) -> ColumnElement[str]:
        return func.upper(cls.name, type_=String())


@dataclass(frozen=True)
class PlaceData:
    id: int
    name: str


@dataclass(frozen=True)
class PlaceCreate(Spec[PlaceRow]):
    name: str
    x: int
    y: int


class Places(Repository[PlaceRow, PlaceData, int]):
    pass


class Loud(Filter[PlaceRow]):
    shout: StringFilter | None = None


async def test_a_filter_over_a_hybrid_needs_no_more_than_its_name(any_tables: WithTables) -> None:
    async with any_tables(PlaceRow) as db:
        places = Places(db)
        await places.batch_create([PlaceCreate("here", 1, 2), PlaceCreate("there", 3, 4)])
        found = await places.search(None, Loud(shout=StringFilter(equals="THERE")))
        assert [place.name for place in found] == ["there"]
        with pytest.raises(InvalidFilter, match=r"made of several columns .* sort by them, PlaceRow\.x, PlaceRow\.y"):
            await places.search(orders=[PlaceRow.at])
        assert [place.name for place in await places.search(None, [PlaceRow.at == Point(1, 2)])] == ["here"]


def test_what_is_made_of_several_columns_is_written_by_them() -> None:
    with pytest.raises(MappingError, match=r"at is no column of PlaceRow; it is made of PlaceRow\.x, PlaceRow\.y"):

        @dataclass(frozen=True)
        class At(Spec[PlaceRow]):
            name: str
            at: Point


def test_a_filter_compares_one_of_several_columns() -> None:
    with pytest.raises(MappingError, match=r"made of several columns: compare one of them, such as PlaceRow\.x"):

        class Near(Filter[PlaceRow]):
            at: StringFilter | None = None
