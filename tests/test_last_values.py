"""What a column would round up to more than Python has (24:00, the year 10000) is refused: nobody could read it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import InvalidValue, OptionalState, Patch, Repository, Spec
from rowsmith.mapping.types import column_type
from rowsmith.testing import WithTables
from support import count_statements

TICK = dt.timedelta(microseconds=1)
LAST = dt.datetime.max
ZONE = dt.timezone(dt.timedelta(hours=5))


def time(value: dt.datetime) -> dt.time:
    return value.time()


def zoned_time(value: dt.datetime) -> dt.time:
    return value.time().replace(tzinfo=ZONE)


def moment(value: dt.datetime) -> dt.datetime:
    return value.replace(tzinfo=dt.UTC)


def duration(value: dt.datetime) -> dt.timedelta:
    return dt.timedelta.max - (LAST - value)


KINDS: dict[str, tuple[Callable[[int], Any], Callable[[dt.datetime], Any]]] = {
    "time": (lambda digits: postgresql.TIME(precision=digits), time),
    "timetz": (lambda digits: postgresql.TIME(True, precision=digits), zoned_time),
    "timestamp": (lambda digits: postgresql.TIMESTAMP(precision=digits), lambda value: value),
    "timestamptz": (lambda digits: postgresql.TIMESTAMP(True, precision=digits), moment),
    "interval": (lambda digits: postgresql.INTERVAL(precision=digits), duration),
    "native interval": (lambda digits: sa.Interval(second_precision=digits), duration),
    "array": (lambda digits: postgresql.ARRAY(postgresql.TIME(precision=digits)), lambda value: [[value.time()]]),
    "domain": (lambda digits: postgresql.DOMAIN(f"time_{digits}", postgresql.TIME(precision=digits)), time),
}


@pytest.mark.parametrize("digits", range(6))
@pytest.mark.parametrize("kind", KINDS)
async def test_the_last_value_of_each_precision(with_tables: WithTables, kind: str, digits: int) -> None:
    """Half a step below the end is rounded up, and refused; what is just before is stored, and read."""
    declared, form = KINDS[kind]

    class LastBase(DeclarativeBase):
        pass

    class LastRow(LastBase):
        __tablename__ = "last_values"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[Any] = mapped_column(declared(digits))

    @dataclass(frozen=True)
    class LastCreate(Spec[LastRow]):
        value: Any

    class Lasts(Repository[LastRow, LastRow, int]):
        pass

    half = 10 ** (6 - digits) // 2 * TICK
    fits, beyond = form(LAST - half), form(LAST - (half - TICK))
    async with with_tables(LastRow) as db:
        lasts = Lasts(db)
        for value in (beyond, form(LAST)) if not kind.startswith("timestamp") else (beyond,):
            with pytest.raises(InvalidValue, match="holds nothing that is rounded up beyond"):
                await lasts.create(LastCreate(value))
        made = await lasts.create(LastCreate(fits))
        assert (await lasts.get(made.id)).value == made.value


class Base(DeclarativeBase):
    pass


class ShiftRow(Base):
    __tablename__ = "shifts"
    id: Mapped[int] = mapped_column(primary_key=True)
    ends: Mapped[dt.time] = mapped_column(postgresql.TIME(precision=0))
    cells: Mapped[list[Any]] = mapped_column(postgresql.ARRAY(sa.Integer), default=list)


@dataclass(frozen=True)
class ShiftCreate(Spec[ShiftRow]):
    id: int
    ends: dt.time = dt.time(12)
    cells: Any = ()


@dataclass(frozen=True)
class ShiftPatch(Patch[ShiftRow]):
    ends: OptionalState[dt.time] = OptionalState.nop()
    cells: OptionalState[Any] = OptionalState.nop()


class Shifts(Repository[ShiftRow, ShiftRow, int]):
    pass


LATE, EMPTY = dt.time(23, 59, 59, 600_000), [[], []]
Verb = Callable[[Shifts, ShiftCreate, ShiftPatch], Awaitable[Any]]


async def one_failure(call: Awaitable[Any]) -> None:
    raise (await call).failed[0].error


MANY = range(10, 40)
VERBS: dict[str, Verb] = {
    "create": lambda shifts, spec, patch: shifts.create(spec),
    "batch_create": lambda shifts, spec, patch: shifts.batch_create([*map(ShiftCreate, MANY), spec]),
    "batch_create_partial": lambda shifts, spec, patch: one_failure(shifts.batch_create_partial([spec])),
    "load": lambda shifts, spec, patch: shifts.load([*map(ShiftCreate, MANY), spec]),
    "update": lambda shifts, spec, patch: shifts.update(1, patch),
    "batch_update": lambda shifts, spec, patch: shifts.batch_update([1], patch),
    "batch_update_each": lambda shifts, spec, patch: shifts.batch_update_each({1: patch}),
    "batch_update_partial": lambda shifts, spec, patch: one_failure(shifts.batch_update_partial({1: patch})),
    "update_where": lambda shifts, spec, patch: shifts.update_where([ShiftRow.id == 1], patch),
    "upsert": lambda shifts, spec, patch: shifts.upsert(spec),
    "batch_upsert": lambda shifts, spec, patch: shifts.batch_upsert([spec]),
    "batch_upsert_partial": lambda shifts, spec, patch: one_failure(shifts.batch_upsert_partial([spec])),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_no_verb_sends_what_nobody_could_read(with_tables: WithTables, verb: Verb) -> None:
    """A time that would be 24:00, and an array of empty parts, of which nothing would be left; nothing is written."""
    async with with_tables(ShiftRow) as db:
        shifts = Shifts(db)
        await shifts.create(ShiftCreate(1))
        for spec, patch in (
            (ShiftCreate(2, LATE), ShiftPatch(ends=OptionalState.update(LATE))),
            (ShiftCreate(2, cells=EMPTY), ShiftPatch(cells=OptionalState.update(EMPTY))),
        ):
            with count_statements(db) as sent, pytest.raises(InvalidValue, match=r"ShiftRow\.(ends|cells)"):
                await verb(shifts, spec, patch)
            assert [statement for statement in sent if "shifts" in statement] == []
        assert [(shift.id, shift.ends) for shift in await shifts.search()] == [(1, dt.time(12))]


def test_the_first_values_are_rounded_to_what_python_has() -> None:
    """Nothing is taken from the other end."""
    for declared, first in (
        (postgresql.INTERVAL(precision=0), dt.timedelta.min),
        (sa.Interval(second_precision=0), dt.timedelta(-1)),
        (postgresql.TIME(precision=0), dt.time.min),
        (postgresql.TIMESTAMP(True, precision=0), dt.datetime.min.replace(tzinfo=dt.UTC)),
    ):
        assert column_type(declared).check(first) is None


def test_a_column_that_keeps_all_digits_rounds_nothing() -> None:
    """Nor is what is compared refused: it is compared as it is."""
    for declared in (sa.Time(), postgresql.TIME(precision=6), sa.Interval()):
        last: Any = dt.timedelta.max if isinstance(declared, sa.Interval) else dt.time.max
        assert column_type(declared).check(last) is None
