"""What a call computes of rows and cannot: it is said so, and not that a value does not fit its column."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import CursorForwardPagination, Database, Expr, InvalidValue, OptionalState, Patch, Repository, Spec, sum_
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class SumRow(Base):
    __tablename__ = "computed_sums"

    id: Mapped[int] = mapped_column(primary_key=True)
    large: Mapped[int]
    none: Mapped[int]
    word: Mapped[str]


@dataclass(frozen=True)
class Plain:
    id: int


class Plains(Repository[SumRow, Plain, int]): ...


@dataclass(frozen=True)
class Large:
    id: int
    value: Annotated[int, Expr(SumRow.large * 2_000_000_000)]


class Larges(Repository[SumRow, Large, int]): ...


@dataclass(frozen=True)
class Divided:
    value: Annotated[int, Expr(SumRow.large.op("/", return_type=sa.Integer())(SumRow.none))]


@dataclass(frozen=True)
class Read:
    value: Annotated[int, Expr(sa.cast(SumRow.word, sa.Integer))]


@dataclass(frozen=True)
class Wide:
    value: Annotated[int, Expr(sa.cast(SumRow.large, sa.BigInteger) * 2_000_000_000)]


@dataclass(frozen=True)
class Total:
    value: Annotated[int, sum_(sa.cast(SumRow.large, sa.BigInteger) * 4_000_000_000)]


TOO_LARGE = (
    r"what is computed of the rows does not fit its type: compute it in a wider one, as in "
    r"cast\(Row\.column, Numeric\) \* 1000, or compute over fewer rows$"
)
BY_ZERO = r"what is computed of the rows divides by zero: write func\.nullif\(divisor, 0\)"
NO_NUMBER = (
    r"what is computed of the rows, or asked of them, cannot be: SQLSTATE 22P02, InvalidTextRepresentationError$"
)


@pytest.fixture
async def db(with_tables: WithTables) -> AsyncIterator[Database]:
    async with with_tables(SumRow) as db:
        async with db.begin_session() as session:
            rows = [{"id": id, "large": 2_000_000_000, "none": 0, "word": "x"} for id in (1, 2)]
            await session.execute(sa.insert(SumRow), rows)
        yield db


READS: dict[str, Callable[[Repository[SumRow, Any, int], Any], Awaitable[Any]]] = {
    "get": lambda rows, into: rows.get(1, into=into),
    "find": lambda rows, into: rows.find(1, into=into),
    "get_one": lambda rows, into: rows.get_one(None, [SumRow.id == 1], into=into),
    "find_one": lambda rows, into: rows.find_one(None, [SumRow.id == 1], into=into),
    "first": lambda rows, into: rows.first(into=into),
    "search": lambda rows, into: rows.search(into=into),
    "batch_get": lambda rows, into: rows.batch_get([1], into=into),
    "stream": lambda rows, into: anext(aiter(rows.stream(into=into))),
}
FAULTS = [(Large, TOO_LARGE), (Divided, BY_ZERO), (Read, NO_NUMBER)]


async def told(call: Callable[[Database], Awaitable[Any]], db: Database, words: str, *, writes: bool = False) -> None:
    """Have a call fail by these words outside of sessions, in each block of ours and in somebody else's session."""
    blocks: list[Callable[[], Any]] = [nullcontext, db.begin_session, db.unit_of_work]
    for block in blocks if writes else (*blocks, db.begin_readonly_session):
        with pytest.raises(InvalidValue, match=words) as failure:
            async with block():
                await call(db)
        assert not failure.value.is_stored
        assert failure.value.facts.sqlstate is not None
    async with AsyncSession(db.engine) as session:
        with pytest.raises(InvalidValue, match=words):
            await call(Database.from_session(session))


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize("into, words", FAULTS, ids=lambda given: getattr(given, "__name__", ""))
async def test_a_field_that_cannot_be_computed(db: Database, verb: str, into: Any, words: str) -> None:
    """Every read says what has happened, and what to write."""
    await told(lambda db: READS[verb](Plains(db), into), db, words)


async def test_data_that_computes(db: Database) -> None:
    """So does the shape of the repository's own data, in the plans of its reads."""
    for read in READS.values():
        await told(lambda db, read=read: read(Larges(db), None), db, TOO_LARGE)  # type: ignore[misc]
    assert (await Plains(db).get(1, into=Wide)).value == 4 * 10**18


async def test_conditions_orders_and_figures(db: Database) -> None:
    """What rows are chosen, sorted or counted by is computed of them, too; a figure has its own advice."""
    product = SumRow.large * 2_000_000_000
    calls: list[Callable[[Database], Awaitable[Any]]] = [
        lambda db: Plains(db).search(None, [product > 5]),
        lambda db: Plains(db).count(None, [product > 5]),
        lambda db: Plains(db).exists(None, [product > 5]),
        lambda db: Plains(db).search(orders=[product]),
    ]
    for call in calls:
        await told(call, db, TOO_LARGE)
    figure = (
        r"what an aggregate computes of the rows does not fit its type: declare a wider one, as Decimal for an int, or"
    )
    await told(lambda db: Plains(db).aggregate(into=Total), db, figure)


async def test_a_later_page_that_cannot_be_computed(db: Database) -> None:
    """It is no fault of the cursor that led there."""
    async with db.begin_session() as session:
        await session.execute(sa.insert(SumRow), [{"id": id, "large": 1, "none": 0, "word": "x"} for id in (-2, -1)])
    first = await Plains(db).search(None, None, CursorForwardPagination(1), into=Large)
    second = CursorForwardPagination(1, after=first.end_cursor)
    await told(lambda db: Plains(db).search(None, None, second, into=Large), db, TOO_LARGE)


@dataclass(frozen=True)
class SumCreate(Spec[SumRow]):
    id: int
    large: int
    none: int = 0
    word: str = "x"


@dataclass(frozen=True)
class SumPatch(Patch[SumRow]):
    large: OptionalState[int]


FITS = SumPatch(OptionalState.update(1_000_000))
SMALL = SumPatch(OptionalState.update(1))
OR_ROW = r"a value, or what is computed of the row, does not fit its type$"
WRITES: dict[str, tuple[Callable[[Repository[SumRow, Any, int]], Awaitable[Any]], str]] = {
    "create": (lambda rows: rows.create(SumCreate(5, 1_000_000)), OR_ROW),
    "update": (lambda rows: rows.update(1, FITS), OR_ROW),
    "batch_update": (lambda rows: rows.batch_update([1], FITS), OR_ROW),
    "update_where": (lambda rows: rows.update_where([SumRow.large * 2_000_000_000 > 5], SMALL), TOO_LARGE),
    "batch_create": (lambda rows: rows.batch_create([SumCreate(5, 1_000_000), SumCreate(6, 1)]), TOO_LARGE),
    "upsert": (lambda rows: rows.upsert(SumCreate(1, 1_000_000)), TOO_LARGE),
    "purge": (lambda rows: rows.purge(1), TOO_LARGE),
    "batch_purge": (lambda rows: rows.batch_purge([1, 2]), TOO_LARGE),
}


@pytest.mark.parametrize("verb", WRITES)
async def test_a_write_whose_data_computes(db: Database, verb: str) -> None:
    """A value that fits is not blamed, nor an id by which a row is found; nothing is written."""
    call, words = WRITES[verb]
    await told(lambda db: call(Larges(db)), db, words, writes=True)
    assert sorted([row.value async for row in Plains(db).stream(into=Bare)]) == [2_000_000_000] * 2


@dataclass(frozen=True)
class Bare:
    value: Annotated[int, Expr(SumRow.large)]
