"""Integers past 64 bits are taken for numbers of any size, wherever a Decimal of the same value would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Condition, Conflict, InvalidValue, OptionalState, Patch, Repository, SearchScope, Spec
from rowsmith.filters import Filter, NumberFilter
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answered
from support import count_statements

WRITERS = [verb for verb, told in VERBS.items() if told.does in (Does.MAKE, Does.PUT, Does.CHANGE)]
UNEVEN = 10**25 + 1
"""No float is this number."""


class Base(DeclarativeBase):
    pass


class LongRow(Base):
    __tablename__ = "longs"

    id: Mapped[Decimal] = mapped_column(sa.Numeric(28), primary_key=True)
    exact: Mapped[Decimal | None] = mapped_column(sa.Numeric(30, 2))
    free: Mapped[Decimal | None] = mapped_column(sa.Numeric)
    plain: Mapped[float | None] = mapped_column(sa.Numeric(30, 2, asdecimal=False))
    near: Mapped[float | None] = mapped_column(sa.REAL)
    whole: Mapped[int | None]


@dataclass(frozen=True)
class Long:
    id: Decimal


@dataclass(frozen=True)
class LongCreate(Spec[LongRow]):
    id: int
    exact: int | None = None
    free: int | None = None
    plain: int | None = None
    near: int | None = None


@dataclass(frozen=True)
class LongPatch(Patch[LongRow]):
    exact: OptionalState[Any] = OptionalState.nop()
    plain: OptionalState[Any] = OptionalState.nop()
    whole: OptionalState[Any] = OptionalState.nop()


class LongFilter(Filter[LongRow]):
    exact: NumberFilter | None = None


class LongRepository(Repository[LongRow, Long, int]):
    conflict = Conflict([LongRow.id])


@dataclass(frozen=True)
class Of(SearchScope):
    exact: int

    def to_conditions(self) -> Sequence[Condition]:
        return [LongRow.exact == self.exact]


def comparisons(value: int) -> list[Any]:
    """Give conditions of a row that has a value everywhere, in each way in which one is compared with a column."""
    return [
        *(LongRow.id == value, LongRow.exact == value, LongRow.free == value, LongRow.plain == value),
        *(value <= LongRow.exact, LongRow.exact.in_([value]), LongRow.exact.in_([1, value]), LongRow.near == value),
        *(LongRow.exact.in_([Decimal("0.5"), value]), LongRow.exact.between(2**63 - 1, value)),
        *(LongRow.exact.is_not_distinct_from(value), LongRow.exact + 1 >= value, LongRow.exact != value + 2**70),
        sa.case((LongRow.exact > 0, value), else_=1) == LongRow.exact,
        *LongFilter(exact=NumberFilter(equals=value, between=(1, value), in_=[value])).to_conditions(),
    ]


@pytest.mark.parametrize("value", [2**63, 2**64, 10**20], ids=["one past the last", "2**64", "10**20"])
async def test_what_a_number_holds_is_compared_with_it(lane_tables: WithTables, value: int) -> None:
    """Whatever the comparison: SQLAlchemy sends it as a BIGINT, which no database has it be."""
    async with lane_tables(LongRow) as db:
        rows = LongRepository(db)
        await rows.create(LongCreate(value, value, value, value, value))
        assert (await rows.get(value)).id == value
        assert [one.id for one in await rows.batch_get([value])] == [value]
        for condition in comparisons(value):
            assert await rows.count(None, [condition]) == 1, str(condition)
        await rows.update(value, LongPatch(OptionalState.update(sa.func.coalesce(LongRow.exact, value))))
        assert await rows.count(Of(value)) == 1


@pytest.mark.parametrize("verb", WRITERS)
async def test_it_is_written_by_every_verb(lane_tables: WithTables, verb: str) -> None:
    """Under a scope of such a value too, which stands on the new rows."""
    async with lane_tables(LongRow) as db:
        rows, value = LongRepository(db), 2**63
        await rows.create(LongCreate(1, value))
        patch, spec = LongPatch(plain=OptionalState.update(value)), LongCreate(value, value, plain=value)
        told = await answered(VERBS[verb].call(VerbCall(rows, Of(value), [1], patch, [spec])))
        assert told.error is None
        assert await rows.count(Of(value), [LongRow.plain == value]) == 1


async def test_what_no_float_is_only_postgresql_holds(lane_tables: WithTables) -> None:
    """SQLite keeps numbers as floats, so it is refused there before anything is sent, and nothing is rounded."""
    async with lane_tables(LongRow) as db:
        rows = LongRepository(db)
        if db.engine.dialect.name == "postgresql":
            await rows.create(LongCreate(UNEVEN, UNEVEN))
            for condition in (LongRow.id == UNEVEN, LongRow.exact.in_([1, UNEVEN]), LongRow.exact > UNEVEN - 1):
                assert await rows.count(None, [condition]) == 1
            assert await rows.count(Of(UNEVEN - 1)) == 0
            return
        with count_statements(db) as sent:
            for call in (
                rows.create(LongCreate(1, UNEVEN)),
                rows.batch_create([LongCreate(1, UNEVEN)]),
                rows.get(UNEVEN),
                rows.count(None, [LongRow.exact == UNEVEN]),
                rows.count(None, [LongRow.exact.in_([1, UNEVEN])]),
                rows.count(Of(UNEVEN)),
            ):
                assert (await answered(call)).error is InvalidValue
        assert sent == []


async def test_an_integer_still_takes_none(lane_tables: WithTables) -> None:
    """Neither compared nor written, by itself or in SQL; nor does a number take what it has no digits for."""
    async with lane_tables(LongRow) as db:
        rows = LongRepository(db)
        await rows.create(LongCreate(1))
        with count_statements(db) as sent:
            for call in (
                rows.count(None, [LongRow.whole == 2**63]),
                rows.count(None, [sa.cast(LongRow.whole, sa.BigInteger) == 2**63]),
                rows.update(1, LongPatch(whole=OptionalState.update(2**63))),
                rows.update(1, LongPatch(whole=OptionalState.update(sa.literal(2**63)))),
                rows.update(1, LongPatch(whole=OptionalState.update(LongRow.whole + sa.literal(2**63)))),
                rows.create(LongCreate(10**28)),
                rows.update(1, LongPatch(OptionalState.update(10**28))),
            ):
                assert (await answered(call)).error is InvalidValue
        assert sent == []


async def test_a_float_of_single_precision_is_found_by_the_integer_that_it_was_written_as(
    lane_tables: WithTables,
) -> None:
    """However long the integer is: the column has what is nearest to it."""
    async with lane_tables(LongRow) as db:
        rows = LongRepository(db)
        for near in (2**24, 10**11, 10**20):
            await rows.create(LongCreate(near, near=near))
            assert await rows.count(None, [LongRow.near == near]) == 1
            assert await rows.count(None, [LongRow.near.in_([near])]) == 1
