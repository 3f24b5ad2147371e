"""SQLite's RETURNING: of some tables it gives other numbers than are stored, and says of NULL that it is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from rowsmith import (
    UNSET,
    Condition,
    Conflict,
    Database,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    Spec,
    TriState,
    Unset,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class GaugeRow(Base):
    """Its first column is REAL."""

    __tablename__ = "gauges"

    reading: Mapped[float] = mapped_column(sa.Double)
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    big: Mapped[int] = mapped_column(sa.BigInteger)
    owner: Mapped[str | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class GaugeData:
    id: int
    reading: float
    big: int
    owner: str | None
    version: int


@dataclass(frozen=True)
class GaugeCreate(Spec[GaugeRow]):
    id: int
    reading: float
    big: int
    owner: str | Unset | None = UNSET


@dataclass(frozen=True)
class GaugePatch(Patch[GaugeRow]):
    reading: OptionalState[float] = OptionalState.nop()
    owner: TriState[str] = TriState.nop()


class Gauges(Repository[GaugeRow, GaugeData, int]):
    conflict = Conflict([GaugeRow.id])


LARGE = 2**53 + 1
READ = GaugePatch(reading=OptionalState.update(2.0))


async def whole_rows(gauges: Gauges) -> None:
    """Hold what each verb returns against what a read gives."""

    def spec(id: int) -> GaugeCreate:
        return GaugeCreate(id, 1.5, id + 2)

    returned: list[Any] = [
        await gauges.create(spec(LARGE)),
        *await gauges.batch_create([spec(LARGE + 1), spec(LARGE + 2)]),
        (await gauges.upsert(spec(LARGE + 3))).data,
        *(each.data for each in (await gauges.batch_upsert([spec(LARGE + 4), spec(LARGE + 5)])).succeeded),
        *(success.data for success in (await gauges.batch_create_partial([spec(LARGE + 6)])).succeeded),
    ]
    assert returned == await gauges.batch_get([LARGE + place for place in range(7)])
    assert {type(part) for row in returned for part in (row.id, row.big, row.version)} == {int}
    changed = [
        await gauges.update(LARGE, READ, expected_version=returned[0].version),
        *(await gauges.batch_update([LARGE + 1], READ, expected_versions={LARGE + 1: 1})).succeeded,
        *(await gauges.batch_update_each({LARGE + 2: READ})).succeeded,
        (await gauges.upsert(GaugeCreate(LARGE + 3, 2.0, 1))).data,
    ]
    assert changed == await gauges.batch_get([LARGE + place for place in range(4)])
    before = await gauges.batch_get([LARGE + place for place in range(3)])
    assert [await gauges.purge(LARGE), *(await gauges.batch_purge([LARGE + 1, LARGE + 2])).succeeded] == before


async def test_what_is_returned_is_what_is_stored(any_tables: WithTables) -> None:
    """Whatever column comes first, and in a session that somebody else owns, too."""
    async with any_tables(GaugeRow) as db:
        await whole_rows(Gauges(db))
        await Gauges(db).purge_where([], all_rows=True)
        own = create_async_engine(db.engine.url)
        async with AsyncSession(own) as session:
            await whole_rows(Gauges(Database.from_session(session)))
        await own.dispose()


@dataclass(frozen=True)
class OwnerScope(SearchScope):
    condition: Condition

    @override
    def to_conditions(self) -> list[Condition]:
        return [self.condition]


NOBODYS = {
    "nobody's": GaugeRow.owner.is_(None),
    "nobody's or a's": sa.or_(GaugeRow.owner.is_(None), GaugeRow.owner == "a"),
    "nobody else's": ~GaugeRow.owner.is_not(None),
    "by a subquery": sa.exists(sa.select(1).where(GaugeRow.owner.is_(None)).correlate(GaugeRow)),
}
CHANGES: dict[str, Callable[[Gauges, GaugePatch, SearchScope], Awaitable[Any]]] = {
    "update": lambda gauges, patch, scope: gauges.update(1, patch, scope=scope),
    "batch_update": lambda gauges, patch, scope: gauges.batch_update([1], patch, scope=scope),
    "batch_update_each": lambda gauges, patch, scope: gauges.batch_update_each({1: patch}, scope=scope),
    "update_where": lambda gauges, patch, scope: gauges.update_where([GaugeRow.id == 1], patch, scope=scope),
}


@pytest.mark.parametrize("condition", NOBODYS.values(), ids=NOBODYS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_scope_may_ask_for_null(
    any_tables: WithTables, change: Callable[..., Awaitable[Any]], condition: Condition
) -> None:
    """A row in it is changed, and one is not taken out of it."""
    scope = OwnerScope(condition)
    async with any_tables(GaugeRow) as db:
        gauges = Gauges(db)
        await gauges.create(GaugeCreate(1, 1.5, 1, None))
        await change(gauges, READ, scope)
        with pytest.raises(ScopeMismatch):
            await change(gauges, GaugePatch(owner=TriState.update("b")), scope)
        assert [(row.reading, row.owner) for row in await gauges.search()] == [(2.0, None)]
