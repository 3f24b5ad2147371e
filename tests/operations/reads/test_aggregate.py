"""Aggregates: counts, sums and means by group, computed in the database and typed."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Aggregator,
    Condition,
    EmptyScope,
    Expr,
    InvalidFilter,
    InvalidValue,
    MappingError,
    Query,
    Repository,
    ScopeRequired,
    SearchScope,
    SoftDelete,
    avg,
    count,
    max_,
    min_,
    sum_,
)
from rowsmith.testing import WithTables
from support import count_statements


class Base(DeclarativeBase):
    pass


class Status(enum.Enum):
    DONE = "done"
    FAILED = "failed"
    WAITING = "waiting"


class TaskRow(Base):
    __tablename__ = "tasks"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    status: Mapped[Status] = mapped_column(sa.Enum(Status, name="status"))
    kind: Mapped[str | None]
    duration: Mapped[float | None]
    cost: Mapped[int] = mapped_column(sa.BigInteger)
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(10, 2, asdecimal=True))
    ended_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))


@dataclass(frozen=True)
class TaskData:
    id: int


@dataclass(frozen=True)
class TenantScope(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [TaskRow.tenant == self.tenant]


class TaskRepository(Repository[TaskRow, TaskData, int]):
    soft_delete = SoftDelete(TaskRow.deleted_at)


NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


def task(status: Status, **values: Any) -> dict[str, Any]:
    blank = dict.fromkeys(["kind", "duration", "ended_at", "deleted_at"])
    return {"tenant": "a", "status": status, "cost": 1, **blank, **values}


TASKS = [
    task(Status.DONE, duration=1.0, cost=10, kind="x", ended_at=NOON),
    task(Status.DONE, duration=2.0, cost=20, kind="y"),
    task(Status.DONE, cost=30, kind="x"),
    task(Status.FAILED, duration=4.0, cost=2**40),
    task(Status.FAILED, tenant="b", duration=100.0),
    task(Status.WAITING, deleted_at=NOON),
]


@asynccontextmanager
async def tasks_in(made: WithTables) -> AsyncGenerator[TaskRepository]:
    async with made(TaskRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(TaskRow), TASKS)
        yield TaskRepository(db)


@dataclass(frozen=True)
class StatusStats:
    status: Status
    executions: Annotated[int, count()]
    timed: Annotated[int, count(TaskRow.duration)]
    kinds: Annotated[int, count(TaskRow.kind, distinct=True)]
    slow: Annotated[int, count().filter(TaskRow.duration > 1)]
    mean: Annotated[float | None, avg(TaskRow.duration)]
    cost: Annotated[int, sum_(TaskRow.cost)]
    last_end: Annotated[dt.datetime | None, max_(TaskRow.ended_at)]


async def test_executions_by_status_and_mean_duration(any_tables: WithTables) -> None:
    """One statement gives one typed object a group, in the order of the groups' keys."""
    async with tasks_in(any_tables) as tasks:
        with count_statements(tasks.db) as sent:
            found = await tasks.aggregate(TenantScope("a"), group_by=[TaskRow.status], into=StatusStats)
        assert found == [
            StatusStats(Status.DONE, 3, 2, 2, 1, 1.5, 60, NOON),
            StatusStats(Status.FAILED, 1, 1, 0, 1, 4.0, 2**40, None),
        ]
        assert [type(value) for value in (found[0].executions, found[0].mean, found[0].cost)] == [int, float, int]
        assert len(sent) == 1
        assert "FILTER (WHERE" in sent[0]


@dataclass(frozen=True)
class Totals:
    number: Annotated[int, count()]
    mean: Annotated[float | None, avg(lambda: TaskRow.cost)]
    total: Annotated[int, sum_(TaskRow.cost)]
    maybe: Annotated[int | None, sum_(TaskRow.cost)]
    first: Annotated[str | None, min_(TaskRow.kind)]
    none: Annotated[int, sum_(TaskRow.cost).filter(TaskRow.kind == "no such")]


async def test_without_groups_there_is_exactly_one(any_tables: WithTables) -> None:
    """Of no rows too: a count and a sum of nothing are 0, everything else is None."""
    async with tasks_in(any_tables) as tasks:
        [all_of_them] = await tasks.aggregate(into=Totals)
        assert (all_of_them.number, all_of_them.first, all_of_them.none) == (5, "x", 0)
        assert all_of_them.mean == pytest.approx((61 + 2**40) / 5)
        assert await tasks.aggregate(TenantScope("nobody"), into=Totals) == [Totals(0, None, 0, None, None, 0)]


async def test_soft_deleted_rows_are_invisible_unless_asked_for(any_tables: WithTables) -> None:
    """A group of nothing but deleted rows is none."""
    async with tasks_in(any_tables) as tasks:
        found = await tasks.aggregate(group_by=[TaskRow.status], into=StatusStats)
        assert [stats.status for stats in found] == [Status.DONE, Status.FAILED]
        found = await tasks.aggregate(group_by=[TaskRow.status], into=StatusStats, include_deleted=True)
        assert [stats.status for stats in found] == [Status.DONE, Status.FAILED, Status.WAITING]


@dataclass(frozen=True)
class KindStats:
    kind: str | None
    status: Status
    number: Annotated[int, count()]


async def test_null_is_a_group_of_its_own_and_comes_last(any_tables: WithTables) -> None:
    """Groups are in the same order on every backend."""
    async with tasks_in(any_tables) as tasks:
        found = await tasks.aggregate(group_by=[TaskRow.kind, TaskRow.status], into=KindStats)
        assert [(stats.kind, stats.status, stats.number) for stats in found] == [
            ("x", Status.DONE, 2),
            ("y", Status.DONE, 1),
            (None, Status.FAILED, 2),
        ]


async def test_filters_and_queries_narrow_what_is_computed_over(any_tables: WithTables) -> None:
    """Conditions stand in the same statement; a query's page plays no part."""
    async with tasks_in(any_tables) as tasks:
        cheap = TaskRow.cost < 25
        for filters in ([cheap], Query(conditions=(cheap,))):
            found = await tasks.aggregate(TenantScope("a"), filters, group_by=[TaskRow.status], into=StatusStats)
            assert [(stats.status, stats.executions) for stats in found] == [(Status.DONE, 2)]


BUCKET = sa.func.coalesce(TaskRow.kind, "none")


@dataclass(frozen=True)
class BucketStats:
    bucket: Annotated[str, Expr(lambda: sa.func.coalesce(TaskRow.kind, "none"))]
    number: Annotated[int, count()]


async def test_groups_may_be_computed(any_tables: WithTables) -> None:
    """A field with the expression that is grouped by is a key, parameters and all."""
    async with tasks_in(any_tables) as tasks:
        found = await tasks.aggregate(group_by=[BUCKET], into=BucketStats)
        assert [(stats.bucket, stats.number) for stats in found] == [("none", 2), ("x", 2), ("y", 1)]


class ModelStats(BaseModel):
    status: Status
    number: Annotated[int, count()]
    span: Annotated[int, Expr(lambda: sa.func.max(TaskRow.cost) - sa.func.min(TaskRow.cost))]


async def test_models_and_expressions_over_aggregates(any_tables: WithTables) -> None:
    """A pydantic model will do, and so will an expression in which every column is inside of an aggregate."""
    async with tasks_in(any_tables) as tasks:
        found = await tasks.aggregate(TenantScope("a"), group_by=[TaskRow.status], into=ModelStats)
        assert found[0] == ModelStats(status=Status.DONE, number=3, span=20)


async def test_an_operation_object_of_ones_own(any_tables: WithTables) -> None:
    """``Aggregator(TaskRow)`` needs no repository."""
    async with tasks_in(any_tables) as tasks, tasks.db.begin_session() as db_sess:
        [totals] = await Aggregator(TaskRow).aggregate(db_sess, TenantScope("a"), into=Totals)
        assert totals.number == 5  # it was told of no soft deletion


@dataclass(frozen=True)
class Money:
    total: Annotated[Decimal, sum_(TaskRow.price)]
    mean: Annotated[float | None, avg(TaskRow.price)]


async def test_decimals_stay_exact(with_tables: WithTables) -> None:
    """A sum of NUMERIC is a Decimal where the field says so."""
    async with with_tables(TaskRow) as db:
        async with db.begin_session() as db_sess:
            prices = [Decimal("0.10"), Decimal("0.20")]
            await db_sess.execute(sa.insert(TaskRow), [task(Status.DONE, price=price) for price in prices])
        assert await TaskRepository(db).aggregate(into=Money) == [Money(Decimal("0.30"), pytest.approx(0.15))]


@dataclass(frozen=True)
class Cost:
    total: Annotated[int, sum_(TaskRow.cost)]


async def test_a_sum_past_64_bits_is_refused(with_tables: WithTables) -> None:
    """What the field's type cannot hold is a typed error."""
    async with with_tables(TaskRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(TaskRow), [task(Status.DONE, cost=2**63 - 1)] * 2)
        with pytest.raises(InvalidValue) as caught:
            await TaskRepository(db).aggregate(into=Cost)
        assert caught.value.error_code == "task_aggregate_invalid-value"
        assert "what an aggregate computes of the rows does not fit its type: declare a wider one" in str(caught.value)


@dataclass(frozen=True)
class Ungrouped:
    status: Status
    number: Annotated[int, count()]


@dataclass(frozen=True)
class Stranger:
    staus: Status


@dataclass(frozen=True)
class BareExpression:
    double: Annotated[int, Expr(lambda: TaskRow.cost * 2)]


@dataclass(frozen=True)
class NeverNull:
    mean: Annotated[float, avg(TaskRow.duration)]


@dataclass(frozen=True)
class GroupedCost:
    status: Status
    dearest: Annotated[int, max_(TaskRow.cost)]


@pytest.mark.parametrize(
    "into, group_by, complaint",
    [
        (Ungrouped, [], r"Ungrouped\.status .* is neither grouped by nor aggregated: add it to group_by"),
        (Stranger, [TaskRow.status], r"Stranger\.staus .*; did you mean 'status'\?"),
        (BareExpression, [], r"BareExpression\.double .* neither grouped by nor aggregated"),
        (NeverNull, [], r"NeverNull\.mean .* write float | None"),
        (GroupedCost, [], r"GroupedCost\.status"),
        (int, [], "no data class"),
    ],
)
async def test_a_field_neither_grouped_nor_aggregated_is_refused(
    any_tables: WithTables, into: type[Any], group_by: list[Any], complaint: str
) -> None:
    """What a declaration gets wrong is said before anything is sent, by class and field."""
    async with tasks_in(any_tables) as tasks:
        with pytest.raises(MappingError, match=complaint):
            await tasks.aggregate(group_by=group_by, into=into)


async def test_a_value_of_a_group_is_certain_where_its_column_is(any_tables: WithTables) -> None:
    """A group is never empty, so the greatest value of a NOT NULL column is never None."""
    async with tasks_in(any_tables) as tasks:
        found = await tasks.aggregate(TenantScope("a"), group_by=[TaskRow.status], into=GroupedCost)
        assert found == [GroupedCost(Status.DONE, 30), GroupedCost(Status.FAILED, 2**40)]


def test_distinct_needs_something_to_tell_apart() -> None:
    """``count(distinct=True)`` alone has no meaning."""
    with pytest.raises(MappingError, match="distinct"):
        count(distinct=True)


DOCUMENT = sa.column("document", sa.JSON)
WITHOUT: dict[Any, list[Any]] = {
    avg: [sa.JSON(), JSONB(), sa.JSON().with_variant(JSONB(), "postgresql"), sa.String(), sa.Boolean(), sa.DateTime()],
    sum_: [sa.JSON(), sa.Text(), sa.Boolean(), sa.Date(), sa.Uuid(), sa.Enum(Status), sa.ARRAY(sa.Integer())],
    max_: [sa.JSON(), sa.Boolean(), sa.Uuid()],
    min_: [JSONB(), sa.Uuid(as_uuid=False)],
}
WITH: dict[Any, list[Any]] = {
    avg: [sa.Integer(), sa.Numeric(), sa.Double(), sa.Interval(), sa.types.NullType()],
    max_: [sa.String(), sa.DateTime(), sa.Integer()],
    count: [sa.JSON(), sa.Boolean()],
}


def test_an_aggregate_over_what_has_none_is_told_when_the_class_is_made() -> None:
    """A mean of documents or texts is no number anywhere; SQLite would make one up."""
    for make, kinds in WITHOUT.items():
        for kind in kinds:
            with pytest.raises(MappingError, match=r"^there is no \w+ over \w+: .*as_float\(\)"):
                make(sa.column("x", kind))
    for make, kinds in WITH.items():
        for kind in kinds:
            make(sa.column("x", kind)).resolve()
    avg(DOCUMENT["size"].as_float()).resolve()
    with pytest.raises(MappingError, match="no avg over JSON"):
        avg(lambda: DOCUMENT["size"]).resolve()


@dataclass(frozen=True)
class MeanKind:
    mean: Annotated[float | None, avg(TaskRow.kind)]


async def test_an_annotation_that_is_read_late_says_the_same(any_tables: WithTables) -> None:
    """Before anything is sent, and in the same words."""
    async with tasks_in(any_tables) as tasks:
        with pytest.raises(MappingError, match=r"^task: there is no avg over"):
            await tasks.aggregate(into=MeanKind)


class Strict(TaskRepository):
    scope_required = True


@dataclass(frozen=True)
class NoScope(SearchScope):
    def to_conditions(self) -> Sequence[Condition]:
        return []


async def test_scopes_are_asked_for_as_everywhere(any_tables: WithTables) -> None:
    """An aggregate is no way around a scope, nor a way to multiply rows by another table."""
    async with tasks_in(any_tables) as tasks:
        with pytest.raises(ScopeRequired):
            await Strict(tasks.db).aggregate(into=Totals)
        with pytest.raises(EmptyScope):
            await tasks.aggregate(NoScope(), into=Totals)
        other = sa.table("other", sa.column("x"))
        with pytest.raises(InvalidFilter):
            await tasks.aggregate(group_by=[other.c.x], into=Totals)
