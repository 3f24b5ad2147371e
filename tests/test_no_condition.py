"""What is no condition on one row: refused before anything is sent, on both backends, wherever conditions stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import func
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType

from rowsmith import (
    AnyOf,
    Conflict,
    CursorForwardPagination,
    Database,
    ExistenceCheck,
    Expr,
    InvalidFilter,
    InvalidValue,
    MappingError,
    Not,
    Patch,
    Querier,
    Repository,
    RepositoryError,
    SearchScope,
    Spec,
    TriState,
    count,
)
from rowsmith.mapping.truth import check_boolean
from rowsmith.several import several_in
from rowsmith.testing import WithTables
from support import count_statements


class Base(DeclarativeBase):
    pass


class A(Base):
    __tablename__ = "told_apart"
    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[str]
    m: Mapped[int | None]
    flag: Mapped[bool]
    doc: Mapped[Any | None] = mapped_column(sa.JSON)


@dataclass(frozen=True)
class ASpec(Spec[A]):
    id: int
    n: str
    m: Any = None
    flag: bool = True


@dataclass(frozen=True)
class APatch(Patch[A]):
    m: TriState[Any] = TriState.nop()


@dataclass(frozen=True)
class AData:
    id: int
    n: str


class Things(Repository[A, AData, int]):
    pass


@dataclass(frozen=True)
class Within(SearchScope):
    conditions: tuple[Any, ...]
    checked: tuple[Any, ...] = ()

    def to_conditions(self) -> Sequence[Any]:
        return self.conditions

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        return [ExistenceCheck(each, RepositoryError) for each in self.checked]


Other, Third = aliased(A), aliased(A)
DOWN: Any = A.m.desc()
FIRST: Any = A.m.nulls_first()
NONE: dict[str, Any] = {
    "a function's length": func.length(A.n),
    "a function of its arguments": func.nullif(A.id, 5),
    "a label": A.id.label("x"),
    "a value": sa.literal(1),
    "a sum": A.id + 1,
    "a sum of what is not told": func.length(A.n) + 1,
    "a sum of what is told nowhere": func.length(A.n) + func.length(A.n),
    "coalesce": func.coalesce(A.m, 1),
    "coalesce of what is not told": func.coalesce(func.length(A.n), 1),
    "case": sa.case((A.id > 5, 0), else_=1),
    "a part of a document": A.doc["a"],
    "a cast": sa.cast(A.n, sa.Integer),
    "a subquery": sa.select(Other.id).where(Other.id == A.id).scalar_subquery(),
    "a count in a subquery": sa.select(func.count(Other.id)).where(Other.id == A.id).scalar_subquery(),
    "a negative": -A.id,
    "not": ~A.__table__.c.id,
    "and": sa.and_(A.id, A.flag),
    "or": sa.or_(A.flag, func.length(A.n)),
    "is not true": func.length(A.n).is_not(sa.true()),
    "order": DOWN,
    "order of a flag": A.flag.asc(),
    "order, in or": sa.or_(DOWN, A.flag),
    "order, in and": sa.and_(A.flag, FIRST),
    "order, in not": sa.not_(DOWN),
    "order, is not true": DOWN.is_not(sa.true()),
    "order, when": sa.case((A.flag.desc(), sa.true()), else_=sa.false()),
    "order, any of scopes": AnyOf(DOWN, Within((A.flag,))),
    "order, none of scopes": Not(Within((DOWN,))),
    "order, in a subquery": sa.exists().where(Other.id == A.id, Other.flag.desc()),
    "when": sa.case((A.id, sa.true()), else_=sa.false()),
    "in a subquery": sa.exists().where(Other.id == A.id, Other.id + 1),
    "in a join": sa.exists(sa.select(Other.id).join(Third, Third.id + Other.id).where(Other.id == A.id)),
    "in a join of its own": sa.exists(
        sa.select(Other.id).select_from(sa.join(Other, Third, Third.id + Other.id)).where(Other.id == A.id)
    ),
    "having": sa.exists(sa.select(Other.m).where(Other.id == A.id).group_by(Other.m).having(func.count())),
    "aggregate": func.count(A.id) > 1,
    "aggregate of some": func.max(A.id).filter(A.flag) > 1,
    "aggregate inside": sa.exists().where(Other.id == A.id, func.count(Other.id) > 1),
    "window": func.row_number().over(order_by=A.id) > 1,
    "window of a group": sa.exists(
        sa.select(Other.m).where(Other.id == A.id).group_by(Other.m).having(func.row_number().over() > 1)
    ),
    "window of an aggregate": func.count().over() > 1,
    "set": func.generate_series(1, A.id) == 1,
    "set of a document": func.json_array_elements_text(A.doc) == "x",
    "set, as a value": func.json_each(A.doc).scalar_table_valued("key") == "x",
    "set of one's own, as a column": func.own.parts_of(A.id).column_valued("x") == 1,
    "set, as a column": func.generate_series(1, A.id).column_valued("x") == 1,
}
CONDITIONS = pytest.mark.parametrize("condition", NONE.values(), ids=NONE)


@CONDITIONS
async def test_what_is_no_condition_is_refused(any_tables: WithTables, condition: Any) -> None:
    """In reads and writes over conditions, scopes, their complements and checks; SQLite would take it for all rows."""
    async with any_tables(A) as db:
        things = Things(db, resilience=None)
        await things.create(ASpec(id=1, n="a"))
        scopes = [Within((condition,)), Within((A.flag, condition)), Within((Not(condition),))]
        with count_statements(db) as sent:
            for given in ([condition], [A.flag, condition]):
                with pytest.raises(InvalidFilter):
                    await things.search(None, given)
                with pytest.raises(InvalidFilter):
                    await things.count(None, given)
                with pytest.raises(InvalidFilter):
                    await things.exists(None, given)
                with pytest.raises(InvalidFilter):
                    await things.update_where(given, APatch(m=TriState.update(5)))
                with pytest.raises(InvalidFilter):
                    await things.purge_where(given)
            for scope in scopes:
                with pytest.raises(RepositoryError) as refused:
                    await things.search(scope)
                assert refused.value.detail in ("invalid_filter", "empty_scope", "invalid_value")
            with pytest.raises(InvalidFilter):
                await things.search(Within((A.flag,), (condition,)))
        assert sent == []
        assert await things.count(None) == 1


@CONDITIONS
async def test_an_aggregate_is_over_rows_for_which_a_condition_holds(any_tables: WithTables, condition: Any) -> None:
    """Not over those for which something is no condition."""
    made = type("Made", (), {"__annotations__": {"size": Annotated[int, count().filter(condition)]}})
    into = dataclass(frozen=True)(made)
    async with any_tables(A) as db:
        with (
            count_statements(db) as sent,
            pytest.raises(MappingError, match=r"condition|of many rows|many rows of one|compare"),
        ):
            await Things(db, resilience=None).aggregate(None, into=into)
        assert sent == []


class Wrapped(TypeDecorator[Any]):
    impl = postgresql.INET
    cache_ok = True


class Own(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return "own"


class OfOwn(TypeDecorator[Any]):
    impl = Own
    cache_ok = True


NEVER = [
    *(postgresql.INET(), postgresql.MACADDR(), postgresql.INT4RANGE(), postgresql.INT4MULTIRANGE(), Wrapped()),
    *(postgresql.INTERVAL(), postgresql.JSONPATH(), postgresql.BIT(3), postgresql.TSVECTOR(), postgresql.OID()),
    *(postgresql.MONEY(), postgresql.HSTORE(), postgresql.ARRAY(sa.Boolean), sa.Interval(), sa.PickleType()),
    *(postgresql.DOMAIN("short", sa.String), sa.Boolean().with_variant(sa.Integer(), "postgresql"), sa.Enum("a")),
]


@pytest.mark.parametrize("declared", NEVER, ids=repr)
def test_a_column_that_is_never_true(declared: Any) -> None:
    """Whatever type it is of, so long as that is known."""
    column = sa.Column("x", declared)
    for given in (column, column.label("y"), func.coalesce(column), sa.type_coerce(sa.text("x"), declared)):
        with pytest.raises(InvalidFilter, match="compare it"):
            check_boolean(given)


MAYBE = [
    *(sa.Boolean(), Own(), OfOwn(), sa.types.NullType(), postgresql.DOMAIN("sure", sa.Boolean)),
    *(sa.Boolean().with_variant(sa.Integer(), "sqlite"), sa.Integer().with_variant(sa.Boolean(), "postgresql")),
]


@pytest.mark.parametrize("declared", MAYBE, ids=repr)
def test_a_column_that_may_be_true(declared: Any) -> None:
    """A boolean, and what the database alone knows of."""
    column = sa.Column("x", declared)
    for given in (column, column.label("y"), func.coalesce(column, sa.false())):
        check_boolean(given)


def test_an_operators_type_says_nothing() -> None:
    """It may be its operand's; SQL written as text is its author's."""
    overlaps = sa.Column("x", postgresql.ARRAY(sa.Integer)).op("@>")([1])
    for given in (overlaps, func.coalesce(overlaps, sa.false()), sa.case((A.flag, overlaps))):
        check_boolean(given)
    check_boolean(sa.literal_column("x", sa.Integer))
    check_boolean(func.mine(A.id))


async def test_an_aggregate_in_a_subquery_is_at_home(any_tables: WithTables) -> None:
    """As is a window there; and a group may be chosen by one."""
    often = sa.select(Other.m).group_by(Other.m).having(func.count() > 1)
    ranked = sa.select(Other.id, func.row_number().over(order_by=Other.id).label("place")).subquery()
    async with any_tables(A) as db:
        things = Things(db, resilience=None)
        for id in (1, 2, 3):
            await things.create(ASpec(id=id, n="a", m=id // 2))
        most = sa.select(func.max(Other.id)).scalar_subquery()
        assert await things.count(None, [A.m.in_(often)]) == 2
        assert await things.count(None, [A.id == most]) == 1
        assert await things.count(None, [A.id.in_(sa.select(ranked.c.id).where(ranked.c.place > 1))]) == 2


SETS: dict[str, Any] = {
    "series": func.generate_series(1, A.id),
    "its parts": func.unnest(func.string_to_array(A.n, ",")).desc(),
    "matches": func.coalesce(func.regexp_split_to_table(A.n, ","), "x"),
    "keys": func.json_object_keys(A.doc, type_=sa.Text),
    "elements": func.jsonb_array_elements(sa.cast(A.doc, postgresql.JSONB), type_=postgresql.JSONB),
}


@pytest.mark.parametrize("several", SETS.values(), ids=SETS)
async def test_a_set_is_no_order_no_field_and_no_value(any_tables: WithTables, several: Any) -> None:
    """It would give each row several times, or be refused by the database; the message says where it can stand."""
    async with any_tables(A) as db:
        things = Things(db, resilience=None)
        await things.create(ASpec(id=1, n="a"))
        with count_statements(db) as sent:
            for pagination in (None, CursorForwardPagination(2)):
                with pytest.raises(InvalidFilter, match="column_valued"):
                    await things.search(None, None, pagination, orders=[several])
            value = getattr(several, "element", several)
            with pytest.raises(InvalidValue, match="column_valued"):
                await things.create(ASpec(id=2, n="a", m=value))
            with pytest.raises(InvalidValue, match="column_valued"):
                await things.update(1, APatch(m=TriState.update(value)))
            made = type("Made", (), {"__annotations__": {"each": Annotated[Any, Expr(value)]}})
            with pytest.raises(MappingError, match="column_valued"):
                Querier(A, into=dataclass(frozen=True)(made))
        assert sent == []


async def test_a_set_is_at_home_in_a_subquery(with_tables: WithTables) -> None:
    """As the message says."""
    each = func.unnest(func.string_to_array(A.n, ",")).column_valued("each")
    most = sa.select(func.max(each)).scalar_subquery()
    async with with_tables(A) as db:
        things = Things(db, resilience=None)
        await things.create(ASpec(id=1, n="a,c"))
        await things.create(ASpec(id=2, n="b"))
        assert [thing.id for thing in (await things.search(None, orders=[most])).items] == [2, 1]
        assert await things.count(None, [most == "c"]) == 1


async def test_an_order_is_compared_with_nothing(any_tables: WithTables) -> None:
    """Nor is it calculated with."""
    async with any_tables(A) as db:
        things = Things(db, resilience=None)
        with count_statements(db) as sent:
            for condition in (A.id.desc() == 1, A.id == A.id.asc(), A.id.nulls_last().in_([1]), A.id.desc() + 1 > 2):
                with pytest.raises(InvalidFilter, match="compares an order"):
                    await things.search(None, [condition])
        assert sent == []


async def test_an_order_is_at_home_in_a_subquery(any_tables: WithTables) -> None:
    """Where it sorts, it stands for no condition."""
    async with any_tables(A) as db:
        things = Things(db, resilience=None)
        for id, flag in ((1, False), (2, True)):
            await things.create(ASpec(id=id, n="a", flag=flag))
        first = sa.select(Other.id).order_by(Other.flag.desc()).limit(1).scalar_subquery()
        ranked = sa.select(Other.id, func.row_number().over(order_by=Other.flag.desc()).label("rank")).subquery()
        for condition in (A.id == first, A.id.in_(sa.select(ranked.c.id).where(ranked.c.rank == 1))):
            assert [thing.id for thing in await things.search(Within((condition,)))] == [2]


@pytest.mark.parametrize("several", [func.max(A.id), func.row_number().over()], ids=["aggregate", "window"])
async def test_what_is_of_many_rows_is_no_value(any_tables: WithTables, several: Any) -> None:
    """Nothing is written of it; a subquery says of which rows it is."""
    async with any_tables(A) as db:
        things = Things(db, resilience=None)
        await things.create(ASpec(id=1, n="a"))
        with count_statements(db) as sent, pytest.raises(InvalidValue, match="subquery"):
            await things.update(1, APatch(m=TriState.update(several)))
        assert sent == []


@pytest.mark.parametrize("given", [sa.case((A.id, 1), else_=2), sa.case((A.id + 1, A.m))], ids=["column", "sum"])
async def test_what_an_order_or_a_value_takes_for_a_condition(any_tables: WithTables, given: Any) -> None:
    """It is looked at inside of them, too."""
    async with any_tables(A) as db:
        things = Things(db, resilience=None)
        await things.create(ASpec(id=1, n="a"))
        with count_statements(db) as sent:
            with pytest.raises(InvalidFilter, match="for a condition"):
                await things.search(None, None, orders=[given])
            with pytest.raises(InvalidValue, match="for a condition"):
                await things.update(1, APatch(m=TriState.update(given)))
        assert sent == []


@pytest.mark.parametrize("where", [A.id, A.id + 1, sa.and_(A.flag, A.id), func.count(A.id) > 1], ids=str)
def test_what_is_no_condition_of_a_conflict(where: Any) -> None:
    """Nor is it one on the rows that a unique index has."""
    with pytest.raises(InvalidFilter):
        type("Clashing", (Things,), {"conflict": Conflict([A.n], where=where)})


async def test_functions_of_ones_own_are_what_they_are(sqlite_database: Database) -> None:
    """In a schema of one's own a name means nothing; SQLite's max() of several values is of one row."""
    for given in (func.own.lag(A.id) > 1, func.own.length(A.n), func.own.unnest(A.n)):
        check_boolean(given)
        assert several_in(given) is None
    async with sqlite_database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    things = Things(sqlite_database, resilience=None)
    await things.create(ASpec(id=1, n="a"))
    assert await things.count(None, [func.max(A.id, 3) > 2]) == 1
