"""Batches of several statements whose data reads other rows: each row is given as all are at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from rowsmith import Conflict, Expr, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class LineRow(Base):
    __tablename__ = "ending_lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    price: Mapped[int] = mapped_column(default=1)
    count: Mapped[int] = mapped_column(sa.SmallInteger, default=1)


Other = aliased(LineRow)
TOTAL = sa.select(sa.func.sum(Other.price)).scalar_subquery()


@dataclass(frozen=True)
class Line:
    name: str
    total: Annotated[int, Expr(TOTAL)]


@dataclass(frozen=True)
class PricedCreate(Spec[LineRow]):
    name: str
    price: int


@dataclass(frozen=True)
class CountedCreate(Spec[LineRow]):
    name: str
    count: int


@dataclass(frozen=True)
class LinePatch(Patch[LineRow]):
    name: OptionalState[str] = OptionalState.nop()
    price: OptionalState[int] = OptionalState.nop()
    count: OptionalState[int] = OptionalState.nop()


class Lines(Repository[LineRow, Line, int]):
    conflict = Conflict(columns=[LineRow.name])


up = OptionalState.update
MIXED = [PricedCreate("a", 10), CountedCreate("b", 2), PricedCreate("new", 30), CountedCreate("newer", 5)]
CALLS: dict[str, Callable[[Lines], Awaitable[Any]]] = {
    "batch_create": lambda lines: lines.batch_create([PricedCreate("x", 5), CountedCreate("y", 1)]),
    "batch_create_partial": lambda lines: lines.batch_create_partial(
        [PricedCreate("x", 5), PricedCreate("a", 1), CountedCreate("y", 1), PricedCreate("z", 9)]
    ),
    "batch_upsert": lambda lines: lines.batch_upsert(MIXED),
    "batch_upsert_partial": lambda lines: lines.batch_upsert_partial([*MIXED, CountedCreate("c", 2**40)]),
    "batch_update_each": lambda lines: lines.batch_update_each(
        {1: LinePatch(price=up(10)), 2: LinePatch(count=up(3)), 3: LinePatch(price=up(20))}
    ),
    "batch_update_partial": lambda lines: lines.batch_update_partial(
        {1: LinePatch(price=up(10)), 2: LinePatch(name=up("a")), 3: LinePatch(count=up(3), price=up(7))}
    ),
}


@pytest.mark.parametrize("verb", CALLS)
async def test_data_that_reads_other_rows_is_as_of_the_end(any_tables: WithTables, verb: str) -> None:
    """Rows of earlier statements, or of items that were tried before others, are read once the last was sent."""
    async with any_tables(LineRow) as db:
        lines = Lines(db)
        await lines.batch_create([PricedCreate("a", 1), PricedCreate("b", 2), PricedCreate("c", 3)])
        result = await CALLS[verb](lines)
        given = [getattr(each, "data", each) for each in getattr(result, "succeeded", result)]
        data = [getattr(each, "data", each) for each in given]
        async with db.engine.connect() as connection:
            total = (await connection.execute(sa.select(sa.func.sum(LineRow.price)))).scalar_one()
        assert len(data) > 1
        assert {line.total for line in data} == {total}
