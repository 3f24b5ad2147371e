"""A value that is refused before anything is sent is named by its column, in the message and in the facts."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Database, InvalidValue, OptionalState, Repository, TriState
from rowsmith.filters import Filter, NumberFilter
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingCreate, ThingPatch, ThingRepository, ThingRow
from verbs import things_in

A = OwnedBy("a")
CANARY = "c4nary"


class ThingFilter(Filter[ThingRow]):
    uses: NumberFilter | None = None


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[ThingRepository]:
    async with things_in(any_tables) as made:
        yield made


def made(id: Any = 100, name: Any = "new", uses: Any = 1, note: Any = None) -> ThingCreate:
    return ThingCreate(id, name, uses, note)


FIVE: Any = 5
TEXT: Any = CANARY
WRONG = OwnedBy(FIVE)
NUL = f"{CANARY}\0"
NAMED: dict[str, tuple[str, Callable[[ThingRepository], Awaitable[Any]]]] = {
    "create": ("name", lambda of: of.create(made(name=5), scope=A)),
    "create, a NUL": ("note", lambda of: of.create(made(note=NUL), scope=A)),
    "batch_create": ("uses", lambda of: of.batch_create([made(), made(101, uses=CANARY)], scope=A)),
    "upsert": ("uses", lambda of: of.upsert(made(uses=CANARY), scope=A)),
    "batch_upsert": ("note", lambda of: of.batch_upsert([made(), made(101, note=7)], scope=A)),
    "update": ("note", lambda of: of.update(1, ThingPatch(note=TriState.update(NUL)), scope=A)),
    "batch_update": ("uses", lambda of: of.batch_update([1], ThingPatch(uses=OptionalState.update(2**40)), scope=A)),
    "batch_update, patches": (
        "uses",
        lambda of: of.batch_update_each({1: ThingPatch(uses=OptionalState.update(2**40))}, scope=A),
    ),
    "get": ("id", lambda of: of.get(TEXT, A)),
    "batch_get": ("id", lambda of: of.batch_get([1, TEXT], scope=A)),
    "delete": ("id", lambda of: of.delete(2**40, scope=A)),
    "a condition": ("uses", lambda of: of.search(A, [ThingRow.uses == CANARY])),
    "a condition with a NUL": ("name", lambda of: of.count(A, [ThingRow.name.in_(["x", NUL])])),
    "a filter": ("uses", lambda of: of.search(A, ThingFilter.model_validate({"uses": {"gt": 2**40}}))),
    "a scope": ("tenant", lambda of: of.search(WRONG)),
    "a scope of a write": ("tenant", lambda of: of.create(made(), scope=WRONG)),
    "a scope of a read by the key": ("tenant", lambda of: of.get(1, OwnedBy(NUL))),
}


async def test_the_column_of_a_refused_value_is_named(things: ThingRepository) -> None:
    """By every verb, for values that are written, keys, conditions, filters and scopes; the value is nowhere."""
    said = {name: await _refused(call(things)) for name, (_, call) in NAMED.items()}
    assert {name: columns for name, (columns, _) in said.items()} == {name: (of,) for name, (of, _) in NAMED.items()}
    for name, (_, words) in said.items():
        assert NAMED[name][0] in words
        assert CANARY not in words


async def _refused(call: Awaitable[Any]) -> tuple[tuple[str, ...], str]:
    with pytest.raises(InvalidValue) as caught:
        await call
    assert caught.value.facts.sqlstate is None  # it was not sent
    return caught.value.facts.columns, f"{caught.value!r} {caught.value}"


async def test_each_refused_item_of_a_partial_batch_is_named(things: ThingRepository) -> None:
    """As that of a batch that is written whole."""
    patches = {1: ThingPatch(uses=OptionalState.update(5)), 2: ThingPatch(uses=OptionalState.update(2**40))}
    made_some = await things.batch_create_partial([made(), made(101, uses=CANARY)], scope=A)
    changed = await things.batch_update_partial(patches, scope=A)
    for result in (made_some, changed):
        [failure] = result.failed
        error: Any = failure.error
        assert (type(error), error.facts.columns) == (InvalidValue, ("uses",))


class Base(DeclarativeBase):
    pass


class KindRow(Base):
    __tablename__ = "kinds_compared"
    id: Mapped[int] = mapped_column(primary_key=True)
    small: Mapped[int] = mapped_column(sa.SmallInteger)
    text: Mapped[str]
    short: Mapped[str] = mapped_column(sa.CHAR(5))
    float: Mapped[float]
    exact: Mapped[Decimal] = mapped_column(sa.Numeric(9, 2))
    flag: Mapped[bool]
    moment: Mapped[dt.datetime] = mapped_column(sa.DateTime(True))
    local: Mapped[dt.datetime]
    day: Mapped[dt.date]
    token: Mapped[uuid.UUID]


@dataclass(frozen=True)
class Kind:
    id: int


class Kinds(Repository[KindRow, Kind, int]):
    pass


VALUES: list[Any] = [
    *("text", 5, 2.5, Decimal("2.5"), True),
    *(dt.datetime(2024, 5, 1, tzinfo=dt.UTC), dt.datetime(2024, 5, 1), dt.date(2024, 5, 1), uuid.UUID(int=1)),
]


CONDITIONS: list[Callable[[Any, Any], sa.ColumnElement[bool]]] = [
    lambda column, value: column == value,
    lambda column, value: column.in_([value]),
    lambda column, value: column.is_distinct_from(value),
]


async def test_what_cannot_be_compared_is_refused_before_it_is_sent(any_tables: WithTables) -> None:
    """A column of each kind with a value of each: the database answers, or the column is named, and nothing between."""
    answered = set[str]()
    async with any_tables(KindRow) as db:
        kinds = Kinds(Database(db.engine, native=False), resilience=None)
        columns = [column.key for column in sa.inspect(KindRow).columns]
        for name, value, condition in product(columns, VALUES, CONDITIONS):
            refused = await _columns_refused(kinds.count(None, [condition(getattr(KindRow, name), value)]))
            assert refused in ((), (name,)), (name, value)
            if not refused:
                answered.add(f"{name} {type(value).__name__}")
    assert {"text str", "id int", "small float", "exact int", "float Decimal", "day date", "token UUID"} <= answered
    assert not {"text int", "id str", "token int", "day str", "text UUID"} & answered


async def _columns_refused(call: Awaitable[Any]) -> tuple[str, ...]:
    """Give the columns whose values are refused; whatever else a call fails with is raised."""
    try:
        await call
    except InvalidValue as refused:
        return refused.facts.columns or ("unnamed",)
    return ()
