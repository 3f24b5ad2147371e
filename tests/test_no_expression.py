"""What is mapped and is no expression, where one is expected: relationships, association proxies, composites."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, make_dataclass
from types import new_class
from typing import Annotated, Any, TypeAlias, cast

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    aliased,
    composite,
    mapped_column,
    relationship,
    synonym,
)

from rowsmith import (
    Condition,
    Conflict,
    Expr,
    InvalidFilter,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    Spec,
    TriState,
    count,
    max_,
    related,
)
from rowsmith.filters import Filter, On, StringFilter
from rowsmith.testing import WithTables
from support import count_statements


class Base(DeclarativeBase):
    pass


@dataclass(frozen=True)
class Address:
    city: str | None
    code: str | None


class PersonRow(Base):
    __tablename__ = "persons_and_bosses"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    name: Mapped[str]
    note: Mapped[str | None]
    flag: Mapped[bool | None]
    city: Mapped[str | None]
    code: Mapped[str | None]
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("persons_and_bosses.id"))
    boss: Mapped[PersonRow | None] = relationship(remote_side=[id], back_populates="staff")
    staff: Mapped[list[PersonRow]] = relationship(back_populates="boss")
    asked: DynamicMapped[PersonRow] = relationship(viewonly=True)
    above = synonym("boss")
    boss_name: AssociationProxy[str | None] = association_proxy("boss", "name")
    staff_names: AssociationProxy[list[str]] = association_proxy("staff", "name")
    address: Mapped[Address] = composite("city", "code")


@dataclass(frozen=True)
class Person:
    id: int
    note: str | None
    flag: bool | None


@dataclass(frozen=True)
class PersonCreate(Spec[PersonRow]):
    id: int
    tenant: str
    name: str
    note: Any = None
    flag: Any = None
    boss_id: int | None = None


@dataclass(frozen=True)
class PersonPatch(Patch[PersonRow]):
    note: TriState[Any] = TriState.nop()
    flag: TriState[Any] = TriState.nop()
    tenant: OptionalState[Any] = OptionalState.nop()


@dataclass(frozen=True)
class PersonsOf(SearchScope):
    tenant: str
    also: Any = None
    of_others: Any = None

    def to_conditions(self) -> Sequence[Condition]:
        return [PersonRow.tenant == self.tenant, *([] if self.also is None else [self.also])]

    def to_related(self) -> dict[type[Any], Sequence[Condition]]:
        return {} if self.of_others is None else {PersonRow: [self.of_others]}


@dataclass(frozen=True)
class Count:
    n: Annotated[int, count()]


class Persons(Repository[PersonRow, Person, int]):
    pass


A = PersonsOf("a")
Use: TypeAlias = Callable[[Persons, Any], Awaitable[object]]
RELATED = r"write related\(PersonRow\.(boss|staff|asked)"
BY_NAME: dict[str, tuple[Callable[[], Any], str]] = {
    "to one": (lambda: PersonRow.boss, RELATED),
    "to many": (lambda: PersonRow.staff, RELATED),
    "of an alias": (lambda: aliased(PersonRow).boss, RELATED),
    "dynamic": (lambda: PersonRow.asked, RELATED),
    "synonym": (lambda: PersonRow.above, RELATED),
    "proxy": (lambda: PersonRow.boss_name, RELATED),
    "proxy of many": (lambda: PersonRow.staff_names, RELATED),
    "composite": (lambda: PersonRow.address, r"(write one of|sort by them,|such as) PersonRow\.city"),
}


def figure(field: Any) -> type[Any]:
    return make_dataclass("Figure", [("n", Annotated[int | None, field])], frozen=True)


def searched(over: Any) -> Filter[PersonRow]:
    """Search by a filter over something."""
    names: dict[str, Any] = {
        "__annotations__": {"x": Annotated[StringFilter | None, On(over)]},
        "x": None,
        "__module__": __name__,
    }
    made: Any = new_class("Searched", (Filter[PersonRow],), {}, lambda given: given.update(names))
    return cast("Filter[PersonRow]", made(x=StringFilter(equals="x")))


def patch(value: Any) -> PersonPatch:
    return PersonPatch(flag=TriState.update(value))


async def first_of(given: AsyncIterator[Any]) -> object:
    return await anext(given)


async def as_deleted(persons: Persons, mark: Any) -> object:
    rules = {"soft_delete": SoftDelete(PersonRow.flag, deleted=mark, restored=None)}
    return new_class("Marked", (Repository[PersonRow, Person, int],), {}, lambda given: given.update(rules))


async def as_conflict(persons: Persons, where: Any) -> object:
    rules = {"conflict": Conflict([PersonRow.id], where=where)}
    return new_class("Unique", (Repository[PersonRow, Person, int],), {}, lambda given: given.update(rules))


CONDITIONS: dict[str, Use] = {
    "search": lambda persons, it: persons.search(A, [it]),
    "callable": lambda persons, it: persons.search(A, [lambda: it]),
    "count": lambda persons, it: persons.count(A, [it]),
    "first": lambda persons, it: persons.first(A, [it]),
    "stream": lambda persons, it: first_of(persons.stream(A, [it])),
    "update_where": lambda persons, it: persons.update_where([it], patch(True), scope=A),
    "scope of a read": lambda persons, it: persons.search(PersonsOf("a", it)),
    "scope of a write": lambda persons, it: persons.update(1, patch(True), scope=PersonsOf("a", it)),
    "scope of related": lambda persons, it: persons.search(PersonsOf("a", None, it), [related(PersonRow.boss)]),
    "figure": lambda persons, it: persons.aggregate(A, into=figure(count().filter(it))),
    "conflict": as_conflict,
}
VALUES: dict[str, Use] = {
    "update": lambda persons, it: persons.update(1, patch(it), scope=A),
    "expression": lambda persons, it: persons.update(1, PersonPatch(note=TriState.expression(lambda: it)), scope=A),
    "fixed": lambda persons, it: persons.update(1, PersonPatch(tenant=OptionalState.update(it)), scope=A),
    "batch_update": lambda persons, it: persons.batch_update([1, 2], patch(it), scope=A),
    "batch_update_each": lambda persons, it: persons.batch_update_each({1: patch(it), 2: patch(True)}, scope=A),
    "written where": lambda persons, it: persons.update_where([], patch(it), scope=A, all_rows=True),
    "create": lambda persons, it: persons.create(PersonCreate(9, "a", "x", note=it), scope=A),
    "key": lambda persons, it: persons.update(1, patch(it), scope=A, idempotency_key="once"),
}
ORDERS: dict[str, Use] = {
    "order": lambda persons, it: persons.search(A, orders=[it]),
    "order of a callable": lambda persons, it: persons.search(A, orders=[lambda: it]),
    "group": lambda persons, it: persons.aggregate(A, into=Count, group_by=[it]),
}
FIELDS: dict[str, Use] = {
    "field": lambda persons, it: persons.search(A, into=figure(Expr(it))),
    "field of a callable": lambda persons, it: persons.search(A, into=figure(Expr(lambda: it))),
    "maximum": lambda persons, it: persons.aggregate(A, into=figure(max_(it))),
    "mark": as_deleted,
}
USES: list[tuple[dict[str, Use], tuple[type[RepositoryError], ...]]] = [
    (CONDITIONS, (InvalidFilter,)),
    (VALUES, (InvalidValue, ScopeMismatch)),
    (ORDERS, (InvalidFilter,)),
    (FIELDS, (MappingError,)),
]


@pytest.mark.parametrize("name", BY_NAME)
async def test_it_is_refused_before_anything_is_sent_with_what_to_write(any_tables: WithTables, name: str) -> None:
    """SQLAlchemy takes a relationship for the condition that ties its rows, and fails for the others."""
    made, words = BY_NAME[name]
    async with any_tables(PersonRow) as db:
        persons = Persons(db)
        await persons.batch_create([PersonCreate(1, "a", "x"), PersonCreate(2, "a", "y", boss_id=1)])
        with count_statements(db) as sent:
            for uses, kinds in USES:
                for use, call in uses.items():
                    with pytest.raises(kinds) as caught:
                        await call(persons, made())
                    is_order = uses is ORDERS and "relationship and has no order" in str(caught.value)
                    assert is_order or caught.match(words), (use, caught.value)
        assert sent == []
        assert await persons.batch_get([1, 2]) == [Person(1, None, None), Person(2, None, None)]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_step_and_a_filter_take_none(name: str) -> None:
    made, _ = BY_NAME[name]
    with pytest.raises(InvalidFilter, match="a condition must be a SQL expression"):
        related(PersonRow.boss, made())
    with pytest.raises(MappingError, match=r"Searched\.x .*(Related|write related|made of several columns)"):
        searched(made())


INSIDE: dict[str, Callable[[Any], Any]] = {
    "and": lambda it: sa.and_(it, PersonRow.id > 0),
    "case": lambda it: sa.case((it, sa.true()), else_=sa.false()),
    "function": lambda it: func.coalesce(it, sa.false(), type_=sa.Boolean()),
    "its own words": lambda it: it.expression,
}


@pytest.mark.parametrize("name", ["to one", "to many", "dynamic", "synonym"])
async def test_a_relationship_inside_an_expression_is_refused(any_tables: WithTables, name: str) -> None:
    """As a condition it would find rows that are related to themselves, and as a value say whether one is."""
    calls: list[Use] = [
        lambda persons, it: persons.search(A, [it]),
        lambda persons, it: persons.search(A, [related(PersonRow.boss, it)]),
        lambda persons, it: persons.search(PersonsOf("a", it)),
        lambda persons, it: persons.search(A, orders=[it]),
        lambda persons, it: persons.search(A, into=figure(Expr(it))),
        lambda persons, it: persons.update(1, patch(it), scope=A),
        lambda persons, it: persons.batch_update([1], patch(it), scope=A),
    ]
    async with any_tables(PersonRow) as db:
        persons = Persons(db)
        await persons.create(PersonCreate(1, "a", "x"))
        for made in INSIDE.values():
            for call in calls:
                with pytest.raises((InvalidFilter, InvalidValue, MappingError), match=f"is a relationship: {RELATED}"):
                    await call(persons, made(BY_NAME[name][0]()))


async def test_a_subquery_over_the_rows_may_be_tied_by_one(any_tables: WithTables) -> None:
    """There it says of which row its own are."""
    async with any_tables(PersonRow) as db:
        persons = Persons(db)
        await persons.batch_create([PersonCreate(1, "a", "x"), PersonCreate(2, "a", "y", boss_id=1)])
        boss = aliased(PersonRow)
        tied: Any = PersonRow.boss.of_type(cast("Any", boss))
        named = select(boss.name).where(tied).correlate(PersonRow).scalar_subquery()
        assert [one.id for one in await persons.search(A, [named == "x"])] == [2]
        assert (await persons.update(2, PersonPatch(note=TriState.update(named)), scope=A)).note == "x"
