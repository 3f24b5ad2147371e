"""Parameters that have a name, or a callable that gives their value, are those of the SQL they stand in alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from rowsmith import (
    AllOf,
    AnyOf,
    Condition,
    Database,
    EntityNotFound,
    Expr,
    InvalidFilter,
    MappingError,
    Not,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    Spec,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class SeatRow(Base):
    __tablename__ = "named_seats"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]


@dataclass(frozen=True)
class Seat:
    id: int
    tenant: str
    name: str


@dataclass(frozen=True)
class SeatCreate(Spec[SeatRow]):
    id: int
    tenant: str
    name: str


@dataclass(frozen=True)
class SeatPatch(Patch[SeatRow]):
    name: OptionalState[str] = OptionalState.nop()


class Seats(Repository[SeatRow, Seat, int]): ...


CURRENT = ContextVar("CURRENT", default="a")
Written = Callable[[str], sa.ColumnElement[bool]]


def called(tenant: str) -> sa.BindParameter[str]:
    return sa.bindparam(None, callable_=lambda: tenant, type_=sa.String)


WRITTEN: dict[str, Written] = {
    "a name": lambda tenant: SeatRow.tenant == sa.bindparam("t", tenant),
    "a name in text": lambda tenant: sa.type_coerce(sa.text("tenant = :t").bindparams(t=tenant), sa.Boolean),
    "a name in a subquery": lambda tenant: SeatRow.id.in_(
        sa.select(sa.table("named_seats", sa.column("id"), sa.column("tenant")).alias("s").c.id).where(
            sa.text("s.tenant = :t").bindparams(t=tenant)
        )
    ),
    "a callable": lambda tenant: SeatRow.tenant == called(tenant),
    "a callable with a name": lambda tenant: SeatRow.tenant == sa.bindparam("t", callable_=lambda: tenant),
    "a callable of a list": lambda tenant: SeatRow.tenant.in_(
        sa.bindparam("t", callable_=lambda: [tenant], expanding=True)
    ),
}


@dataclass(frozen=True)
class Of(SearchScope):
    written: Written
    tenant: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [self.written(self.tenant)]


@pytest.fixture(params=list(WRITTEN.values()), ids=list(WRITTEN))
def of(request: pytest.FixtureRequest) -> Callable[[str], SearchScope]:
    return lambda tenant: Of(request.param, tenant)


@pytest.fixture(params=[True, False], ids=["native", "sqlalchemy"])
async def db(any_tables: WithTables, request: pytest.FixtureRequest) -> Any:
    async with any_tables(SeatRow) as made:
        async with made.begin_session() as session:
            rows = [{"id": n, "tenant": tenant, "name": tenant} for n, tenant in ((1, "a"), (2, "b"), (3, "b"))]
            await session.execute(sa.insert(SeatRow), rows)
        yield Database(made.engine, native=request.param)


def named_b() -> list[Condition]:
    return [SeatRow.name == sa.bindparam("t", "b")]


def lowered(value: str) -> SeatPatch:
    return SeatPatch(OptionalState.expression(lambda: sa.func.lower(sa.bindparam("t", value))))


Scope = Callable[[str], SearchScope]


async def test_a_filter_does_not_change_a_scope(db: Database, of: Scope) -> None:
    """Nor an order: what is read is inside."""
    seats = Seats(db)
    assert await seats.count(of("a"), named_b()) == 0
    assert not (await seats.search(of("a"), named_b())).items
    assert [seat.id for seat in await seats.search(of("b"), named_b())] == [2, 3]
    order = sa.case((SeatRow.tenant == sa.bindparam("t", "b"), 0), else_=1)
    assert [seat.id for seat in await seats.search(of("a"), orders=[order])] == [1]
    assert await seats.exists(of("a"), named_b()) is False
    assert [seat.id async for seat in seats.stream(of("a"), named_b())] == []
    assert (await seats.find(2, of("a"))) is None


async def test_scopes_that_are_put_together_keep_their_own(db: Database, of: Scope) -> None:
    """All of them, any of them, and none of one."""
    seats, a, b = Seats(db), of("a"), of("b")
    assert await seats.count(AllOf(a, b)) == await seats.count(AllOf(b, a)) == 0
    assert await seats.count(AnyOf(a, b)) == await seats.count(AnyOf(b, a)) == 3
    assert await seats.count(AllOf(a, Not(b))) == 1
    assert await seats.count(Not(a)) == 2
    assert await seats.find(1, AllOf(b, a)) is None
    with pytest.raises(ScopeMismatch):
        await seats.create(SeatCreate(4, "a", "x"), scope=AllOf(b, a))
    assert (await seats.create(SeatCreate(4, "b", "x"), scope=AnyOf(b, a))).tenant == "b"


async def test_what_is_written_stays_inside(db: Database, of: Scope) -> None:
    """Values that name their parameters, of patches, specs and conditions, change nothing of the scope."""
    seats, a = Seats(db), of("a")
    for scope in (a, Not(of("b"))):
        with pytest.raises(EntityNotFound):
            await seats.update(2, lowered("B"), scope=scope)
    with pytest.raises(EntityNotFound):
        await seats.purge(2, scope=Not(of("b")))
    assert (await seats.update(1, lowered("N"), scope=a)).name == "n"
    assert await seats.update_where(named_b(), lowered("B"), scope=a) == 0
    assert (await seats.purge_where(named_b(), scope=a)).rows == 0
    assert (await seats.batch_update([1, 2], lowered("M"), scope=a)).missing == [2]
    assert [(seat.id, seat.name) for seat in await seats.search()] == [(1, "m"), (2, "b"), (3, "b")]


@pytest.mark.parametrize(
    "value", [called("Late"), sa.bindparam("t", callable_=lambda: "Late"), sa.bindparam("t", "Late")]
)
async def test_what_a_callable_gives_is_written(db: Database, value: sa.BindParameter[str]) -> None:
    """Whatever was written in the same words before."""
    seats = Seats(db)

    def patch(value: Any) -> SeatPatch:
        return SeatPatch(OptionalState.expression(lambda: sa.func.lower(value)))

    for each, expected in ((sa.bindparam(None, "Now"), "now"), (value, "late"), (sa.bindparam(None, "Now"), "now")):
        assert (await seats.update(1, patch(each))).name == expected
        assert [seat.name for seat in (await seats.batch_update([1, 2], patch(each))).succeeded] == [expected] * 2
        assert await seats.update_where([SeatRow.id == 3], patch(each)) == 1
        assert (await seats.get(3)).name == expected
        found = await seats.search(None, [sa.func.lower(SeatRow.name) == sa.func.lower(each)])
        assert len(found) == 3


async def test_a_callable_is_asked_each_time(db: Database) -> None:
    """A scope that asks who is here has what holds now."""

    @dataclass(frozen=True)
    class OfCurrent(SearchScope):
        @override
        def to_conditions(self) -> Sequence[Condition]:
            return [SeatRow.tenant.is_distinct_from(sa.bindparam(None, callable_=CURRENT.get, type_=sa.String))]

    seats = Seats(db)
    assert await seats.count(None, [SeatRow.tenant.is_distinct_from("b")]) == 1
    for tenant, ids in (("a", [2, 3]), ("b", [1]), ("a", [2, 3])):
        CURRENT.set(tenant)
        assert [seat.id for seat in await seats.search(OfCurrent())] == ids
        assert [seat.id for seat in await seats.search(Not(Not(OfCurrent())))] == ids


async def test_computed_fields(db: Database) -> None:
    """They keep their own parameters, and take no callable, which would be asked by nobody."""

    @dataclass(frozen=True)
    class Mine:
        id: int
        mine: Annotated[bool, Expr(SeatRow.tenant == sa.bindparam("t", "b"))]

    @dataclass(frozen=True)
    class Asking:
        mine: Annotated[bool, Expr(lambda: SeatRow.tenant == called("b"))]

    seats = Seats(db)
    assert [seat.mine for seat in await seats.search(Of(WRITTEN["a name"], "a"), into=Mine)] == [False]
    with pytest.raises(MappingError, match="a parameter whose value a callable gives"):
        await seats.search(into=Asking)


async def test_what_is_given_stays_as_it_was(db: Database) -> None:
    """A condition of the application's own may be used by it with other values."""
    condition = SeatRow.name == sa.bindparam("t", "b")
    assert await Seats(db).count(None, [condition]) == 2
    async with db.begin_readonly_session() as session:
        assert (await session.scalars(sa.select(SeatRow.id).where(condition), {"t": "a"})).all() == [1]


async def test_queries_of_one_name(db: Database) -> None:
    """Two of them in WITH cannot be told apart by SQLAlchemy; which is said, and what to write."""

    def inside(tenant: str, **how: Any) -> Condition:
        seat = sa.orm.aliased(SeatRow)
        mine = sa.select(seat.id).where(seat.tenant == tenant).cte("mine", **how)
        return SeatRow.id.in_(sa.select(mine.c.id))

    seats = Seats(db)
    assert await seats.count(None, [inside("b")]) == 2
    assert await seats.count(None, [inside("a", nesting=True), inside("b", nesting=True)]) == 0
    with pytest.raises(InvalidFilter, match=r"two queries in WITH have one name .* nesting=True"):
        await seats.count(None, [inside("a"), inside("b")])


async def test_is_of_a_value(db: Database) -> None:
    """PostgreSQL has no IS of a value, and SQLite has: on neither is it sent."""
    seats = Seats(db)
    for condition in (SeatRow.tenant.is_("a"), SeatRow.tenant.is_not("a"), SeatRow.id.is_(sa.func.abs(1))):
        with pytest.raises(InvalidFilter, match=r"is_\(\) or is_not\(\) of a value, .* write == value"):
            await seats.count(None, [condition])
    told = (SeatRow.tenant.is_not(None), (SeatRow.id > 0).is_(True), (SeatRow.id < 0).is_not(sa.literal_column("NULL")))
    assert [await seats.count(None, [condition]) for condition in told] == [3, 3, 3]


class Dated(Repository[SeatRow, Seat, int]):
    """Marked by SQL that names two parameters alike."""

    soft_delete = SoftDelete(
        SeatRow.name,
        deleted=sa.func.upper(sa.bindparam("t", "gone")),
        restored="b",
        also={SeatRow.tenant: (sa.func.upper(sa.bindparam("t", "x")), sa.func.lower(sa.bindparam("t", "B")))},
    )


async def test_marks_of_deletion(db: Database) -> None:
    """Each has its own parameter; one whose value a callable gives is refused when the class is made."""
    seats = Dated(db)
    for delete in (seats.delete(2), seats.batch_delete([3])):
        await delete
    found = await seats.batch_get([2, 3], include_deleted=True)
    assert [(seat.tenant, seat.name) for seat in found] == [("X", "GONE")] * 2
    await seats.restore(2)
    assert await seats.get(2) == Seat(2, "b", "b")
    with pytest.raises(MappingError, match="a parameter whose value a callable gives"):

        class Asking(Repository[SeatRow, Seat, int]):  # pyright: ignore[reportUnusedClass]
            soft_delete = SoftDelete(SeatRow.name, deleted=sa.func.upper(called("gone")), restored="b")
