"""Steps to rows of the same table by a subquery over it lead to rows inside alone, by whichever lane."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, column_property, mapped_column, relationship
from typing_extensions import override

from rowsmith import Condition, Database, Repository, SearchScope, related
from rowsmith.filters import Filter, Related, StringFilter
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class PointRow(Base):
    __tablename__ = "points_by_subquery"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    name: Mapped[str]
    at: Mapped[str | None]


class TwinRow(Base):
    """The same table once more."""

    __table__ = PointRow.__table__


Point_: Any = PointRow
TABLE: Any = PointRow.__table__
OTHERS = aliased(PointRow, sa.select(TABLE).subquery("others"))
Point_.others = relationship(
    OTHERS, primaryjoin=PointRow.at == sa.orm.foreign(OTHERS.name), viewonly=True, uselist=True
)
TWINS = aliased(TwinRow, sa.select(TABLE).subquery("twins"))
Point_.twins = relationship(TWINS, primaryjoin=PointRow.at == sa.orm.foreign(TWINS.name), viewonly=True, uselist=True)
Point_.is_met = column_property(related(Point_.others), deferred=True)


@dataclass(frozen=True)
class Point:
    id: int


class Points(Repository[PointRow, Point, int]): ...


@dataclass(frozen=True)
class Of(SearchScope):
    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [PointRow.tenant == self.tenant]


class OtherFilter(Filter[PointRow]):
    name: StringFilter | None = None


class PointFilter(Filter[PointRow]):
    others: Related[OtherFilter] | None = None


A = Of("a")


@pytest.fixture(params=[True, False], ids=["native", "sqlalchemy"])
async def points(any_tables: WithTables, request: pytest.FixtureRequest) -> AsyncIterator[Points]:
    async with any_tables(PointRow) as db:
        async with db.begin_session() as session:
            rows = [(1, "a", "a1", "a3"), (2, "b", "b1", "a1"), (3, "a", "a3", "b1"), (4, "a", "a4", None)]
            names = ("id", "tenant", "name", "at")
            await session.execute(sa.insert(PointRow), [dict(zip(names, row, strict=True)) for row in rows])
        yield Points(Database(db.engine, native=request.param))


def ids(found: Any) -> list[int]:
    return [point.id for point in found]


@pytest.mark.parametrize("step", [Point_.others, Point_.twins], ids=["its own class", "another class"])
async def test_every_read_asks_about_rows_inside(points: Points, step: Any) -> None:
    """Filters of whatever form, and orders, outside of sessions and in them."""
    asked = related(step)
    row = step.property.mapper.class_
    for _ in range(2):
        assert ids(await points.search(A, [asked])) == [1]
        assert ids(await points.search(A, [sa.not_(asked)])) == [3, 4]
        assert ids(await points.search(A, [sa.or_(asked, PointRow.id == 4)])) == [1, 4]
        assert ids(await points.search(A, [related(step, row.tenant == "b")])) == []
        assert ids(await points.search(A, [related(step, row.name == "b1")])) == []
        assert ids(await points.search(A, orders=[asked.desc()])) == [1, 4, 3]
        assert await points.count(A, [asked]) == 1
        assert await points.exists(A, [asked], id=3) is False
        assert await points.find_one(A, [asked, PointRow.id == 3]) is None
        assert await points.first(A, [asked, PointRow.id > 1]) is None
        assert ids(await points.search(None, [asked])) == [1, 2, 3]
        async with points.db.begin_session():
            assert ids(await points.search(A, [asked])) == [1]


async def test_filters_from_outside(points: Points) -> None:
    """None of them tells of a name that is another's."""
    for start in ("b", "b1", "x"):
        given = PointFilter.model_validate({"others": {"none": {"name": {"starts_with": start}}}})
        assert ids(await points.search(A, given)) == [1, 3, 4]
        given = PointFilter.model_validate({"others": {"exists": {"name": {"starts_with": start}}}})
        assert ids(await points.search(A, given)) == []


async def test_what_the_mapping_computes(points: Points) -> None:
    """As a filter it asks what the condition in it asks."""
    assert ids(await points.search(A, [Point_.is_met.is_(True)])) == [1]
    assert ids(await points.search(A, [Point_.is_met])) == [1]
