"""What a write says of fields that are computed from other rows: what is there once it is done."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column
from sqlalchemy.sql.functions import FunctionElement

from rowsmith import Database, Expr, OptionalState, Patch, Repository, Spec
from rowsmith.mapping import data_shape, row_info
from rowsmith.testing import WithTables
from support import share


class Base(DeclarativeBase):
    pass


class OrderRow(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column()
    amount: Mapped[int]
    total: Mapped[int] = column_property(sa.func.total_of(customer, type_=sa.Integer))


TOTAL = sa.func.total_of(OrderRow.customer, type_=sa.Integer)


@dataclass(frozen=True)
class OfFunction:
    id: int
    total: Annotated[int, Expr(TOTAL)]


@dataclass(frozen=True)
class OfMore:
    id: int
    total: Annotated[int, Expr(lambda: sa.cast(sa.func.coalesce(TOTAL, 0) + 0, sa.Integer))]


@dataclass(frozen=True)
class OfText:
    id: int
    total: Annotated[int, Expr(sa.literal_column("total_of(orders.customer)", sa.Integer))]


@dataclass(frozen=True)
class OfOperator:
    id: int
    total: Annotated[int, Expr(OrderRow.customer.op("@#@", return_type=sa.Integer())(OrderRow.amount))]


@dataclass(frozen=True)
class OfProperty:
    id: int
    total: int


KINDS: list[type[Any]] = [OfFunction, OfMore, OfText, OfOperator, OfProperty, OrderRow]


@dataclass(frozen=True)
class OrderCreate(Spec[OrderRow]):
    customer: str
    amount: int
    id: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class OrderPatch(Patch[OrderRow]):
    customer: OptionalState[str] = OptionalState.nop()
    amount: OptionalState[int] = OptionalState.nop()


DECLARED = [
    """CREATE FUNCTION total_of(name varchar) RETURNS int LANGUAGE sql STABLE AS
    $$ SELECT coalesce(sum(amount), 0)::int FROM orders WHERE customer = name $$""",
    "CREATE FUNCTION total_of(name varchar, amount int) RETURNS int LANGUAGE sql STABLE AS $$ SELECT total_of(name) $$",
    "CREATE OPERATOR @#@ (LEFTARG = varchar, RIGHTARG = int, FUNCTION = total_of)",
]


@pytest.fixture
async def database_of_orders(with_tables: WithTables) -> AsyncIterator[Database]:
    """Give a database with a function that sums up what a customer ordered, and an operator that calls it."""
    async with with_tables(OrderRow) as db:
        async with db.engine.begin() as connection:
            for statement in DECLARED:
                await connection.execute(sa.text(statement))
        try:
            yield db
        finally:
            async with db.engine.begin() as connection:
                await connection.execute(sa.text("DROP FUNCTION total_of(varchar, int), total_of(varchar) CASCADE"))


def repository_of(db: Database, into: type[Any]) -> Any:
    made: Any = types.new_class("Orders", (Repository[OrderRow, into, int],))
    return made(db)


MORE = OptionalState.update(100)
OTHER = OrderPatch(customer=OptionalState.update("zoe"))
Write = Callable[[Any], Awaitable[Sequence[Any]]]


def spec(amount: int, id: int | None = None) -> OrderCreate:
    return OrderCreate("bob", amount, OptionalState.nop() if id is None else OptionalState.update(id))


async def created(orders: Any) -> Sequence[Any]:
    return [await orders.create(spec(5))]


async def batch_created(orders: Any) -> Sequence[Any]:
    done: Sequence[Any] = await orders.batch_create([spec(5), spec(6)])
    return done


async def created_partially(orders: Any) -> Sequence[Any]:
    done: Sequence[Any] = (await orders.batch_create_partial([spec(5), spec(6)])).data
    return done


async def updated(orders: Any) -> Sequence[Any]:
    return [await orders.update(1, OrderPatch(amount=MORE)), await orders.update(2, OrderPatch(amount=MORE))][1:]


async def batch_updated(orders: Any) -> Sequence[Any]:
    done: Sequence[Any] = (await orders.batch_update([1, 2], OrderPatch(amount=MORE))).succeeded
    return done


async def each_updated(orders: Any) -> Sequence[Any]:
    done: Sequence[Any] = (await orders.batch_update_each({1: OrderPatch(amount=MORE), 2: OTHER})).succeeded
    return done


async def updated_partially(orders: Any) -> Sequence[Any]:
    done: Sequence[Any] = (await orders.batch_update_partial({1: OrderPatch(amount=MORE), 2: OTHER})).data
    return done


async def upserted(orders: Any) -> Sequence[Any]:
    return [(await orders.upsert(spec(77, 1))).data]


async def batch_upserted(orders: Any) -> Sequence[Any]:
    return [item.data for item in (await orders.batch_upsert([spec(77, 1), spec(1, 9)])).succeeded]


WRITES: list[Write] = [
    *(created, batch_created, created_partially, updated, batch_updated, each_updated, updated_partially),
    *(upserted, batch_upserted),
]


@pytest.mark.parametrize("into, write, way", share(product(KINDS, WRITES, ["alone", "in a unit", "statement"]), 3))
async def test_a_function_that_reads_rows_is_told_as_it_is_afterwards(
    database_of_orders: Database, write: Write, into: type[Any], way: str
) -> None:
    """Whatever calls it in the data, in every verb: RETURNING would have it of the rows as they were before."""
    db = database_of_orders
    orders = repository_of(db, into)
    async with db.begin_session() as db_sess:
        await db_sess.execute(sa.insert(OrderRow).values([{"customer": "bob", "amount": 10 * n} for n in (1, 2)]))
    if way == "in a unit":
        async with db.unit_of_work():
            told = await write(orders)
    elif way == "statement":
        with db.writes_as("statement"):
            told = await write(orders)
    else:
        told = await write(orders)
    held = await orders.batch_get([data.id for data in told])
    assert [(data.id, data.total) for data in told] == [(data.id, data.total) for data in held]


class Own(FunctionElement[Any]):
    name = "own"
    inherit_cache = True


KNOWN = [
    OrderRow.customer,
    sa.func.lower(OrderRow.customer) + "x",
    sa.func.LOWER(OrderRow.customer),
    sa.func.pg_catalog.upper(OrderRow.customer),
    sa.case((OrderRow.amount > 1, sa.func.round(OrderRow.amount)), else_=sa.null()),
    sa.extract("year", sa.func.now()),
]
UNKNOWN = [
    sa.func.own(OrderRow.customer),
    sa.func.mine.lower(OrderRow.customer),
    sa.case((OrderRow.amount > 1, sa.func.own())),
    Own(OrderRow.customer),
]


@pytest.mark.parametrize("expression", KNOWN, ids=range(len(KNOWN)))
def test_what_is_of_the_row_alone_comes_with_returning(expression: Any) -> None:
    """Functions of which it is known that they read nothing but their arguments."""
    assert is_returnable(expression)


@pytest.mark.parametrize("expression", UNKNOWN, ids=range(len(UNKNOWN)))
def test_what_nobody_knows_is_read_again(expression: Any) -> None:
    """A function of another schema is another one."""
    assert not is_returnable(expression)


def is_returnable(expression: Any) -> bool:
    into = type("Into", (), {"__annotations__": {"value": Annotated[Any, Expr(expression)]}})
    returnable: bool = data_shape(row_info(OrderRow), dataclass(frozen=True)(into)).returnable
    return returnable
