"""The law of scopes: a row is seen, made, changed and removed in a scope exactly if the scope lets it through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import (
    AllOf,
    AnyOf,
    Condition,
    CursorForwardPagination,
    Database,
    EmptyScope,
    EntityAlreadyExists,
    EntityNotFound,
    Not,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    Spec,
    TriState,
)
from rowsmith.testing import WithTables
from tenants import Base
from tenants.parted import keep_in_parts


class ThingRow(Base):
    __tablename__ = "scoped_things"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    level: Mapped[int]
    note: Mapped[str | None]


class RootRow(Base):
    """Of which two classes inherit: one in this table, one in a further table, in which half of its columns are."""

    __tablename__ = "scoped_roots"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "root"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    tenant: Mapped[str]


class SharedRow(RootRow):
    __mapper_args__ = {"polymorphic_identity": "shared"}

    level: Mapped[int | None] = mapped_column("shared_level")
    note: Mapped[str | None] = mapped_column("shared_note")


class JoinedRow(RootRow):
    __tablename__ = "scoped_parts"
    __mapper_args__ = {"polymorphic_identity": "joined"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("scoped_roots.id"), primary_key=True)
    level: Mapped[int]
    note: Mapped[str | None]


@dataclass(frozen=True)
class ThingCreate(Spec[ThingRow]):
    tenant: str
    level: int
    note: str | None


@dataclass(frozen=True)
class ThingPut(Spec[ThingRow]):
    id: int
    tenant: str
    level: int
    note: str | None


@dataclass(frozen=True)
class ThingPatch(Patch[ThingRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    level: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class ThingData:
    id: int
    tenant: str
    level: int
    note: str | None


class ThingRepository(Repository[ThingRow, ThingData, int]):
    pass


@dataclass(frozen=True)
class SharedCreate(Spec[SharedRow]):
    tenant: str
    level: int
    note: str | None


@dataclass(frozen=True)
class SharedPatch(Patch[SharedRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    level: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class SharedData:
    """As ``ThingData``: a column that other classes' rows do not have may be NULL."""

    id: int
    tenant: str
    level: int | None
    note: str | None


class SharedRepository(Repository[SharedRow, SharedData, int]):
    pass


@dataclass(frozen=True)
class JoinedCreate(Spec[JoinedRow]):
    tenant: str
    level: int
    note: str | None


@dataclass(frozen=True)
class JoinedPatch(Patch[JoinedRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    level: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


class JoinedRepository(Repository[JoinedRow, ThingData, int]):
    pass


class ShareRow(Base):
    """Which of three partitions it is in, its tenant says; it moves as that is changed."""

    __tablename__ = "scoped_shares"
    __table_args__ = (sa.PrimaryKeyConstraint("id", "tenant"), {"postgresql_partition_by": "LIST (tenant)"})

    id: Mapped[int] = mapped_column(sa.Identity())
    tenant: Mapped[str]
    level: Mapped[int]
    note: Mapped[str | None]


keep_in_parts(ShareRow, *(f"FOR VALUES IN ('{tenant}')" for tenant in "abc"))


@dataclass(frozen=True)
class ShareCreate(Spec[ShareRow]):
    tenant: str
    level: int
    note: str | None


@dataclass(frozen=True)
class SharePatch(Patch[ShareRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    level: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


class ShareRepository(Repository[ShareRow, ThingData, tuple[int, str]]):
    pass


@dataclass(frozen=True)
class World:
    """A kind of rows, and what writes them."""

    things: Any
    row: Any
    spec: Any
    patch: Any
    key: Callable[[int, str], Any] = lambda id, _: id


Values: TypeAlias = tuple[str, int, str | None]
Holds: TypeAlias = Callable[[Values], bool]


@dataclass(frozen=True)
class Plain(SearchScope):
    conditions: tuple[Condition, ...]

    def to_conditions(self) -> tuple[Condition, ...]:
        return self.conditions


@dataclass(frozen=True)
class Case:
    """A scope on some kind of row, and what it means in Python."""

    scope: Callable[[Any], SearchScope]
    holds: Holds


Leaf: TypeAlias = Callable[[Any], Condition]
"""Gives a condition on a row."""

LEAVES: list[tuple[Leaf, Holds]] = [
    (lambda row: row.tenant == "a", lambda v: v[0] == "a"),
    (lambda row: lambda: row.tenant == "b", lambda v: v[0] == "b"),
    (lambda row: row.level == 1, lambda v: v[1] == 1),
    (lambda row: row.level > 0, lambda v: v[1] > 0),
    (lambda row: row.note == "x", lambda v: v[2] == "x"),
    (lambda row: row.note != "x", lambda v: v[2] is not None and v[2] != "x"),
    (lambda row: row.note.is_(None), lambda v: v[2] is None),
    (lambda row: row.tenant.in_(["a", "c"]), lambda v: v[0] in ("a", "c")),
    (lambda row: row.tenant.in_([]), lambda v: False),
]


def plain(leaves: list[tuple[Leaf, Holds]]) -> Case:
    return Case(
        lambda row: Plain(tuple(condition(row) for condition, _ in leaves)),
        lambda v: all(holds(v) for _, holds in leaves),
    )


def combined(kind: Any, quantifier: Any, cases: list[Case]) -> Case:
    return Case(
        lambda row: kind(*(case.scope(row) for case in cases)), lambda v: quantifier(case.holds(v) for case in cases)
    )


cases = st.recursive(
    st.lists(st.sampled_from(LEAVES), min_size=1, max_size=2).map(plain),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: combined(AnyOf, any, parts)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: combined(AllOf, all, parts)),
        inner.map(lambda part: Case(lambda row: Not(part.scope(row)), lambda v: not part.holds(v))),
    ),
    max_leaves=5,
)
values = st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.sampled_from([None, "x", "y"]))


def patch_to(world: World, wanted: Values) -> Any:
    note: TriState[str] = TriState.nullify() if wanted[2] is None else TriState.update(wanted[2])
    return world.patch(OptionalState.update(wanted[0]), OptionalState.update(wanted[1]), note)


def of(data: ThingData) -> Values:
    return data.tenant, data.level, data.note


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[World]:
    async with any_tables(ThingRow) as db:
        yield World(ThingRepository(db), ThingRow, ThingCreate, ThingPatch)


@pytest.fixture(params=["shared", "joined"])
async def inherited(request: pytest.FixtureRequest, any_tables: WithTables) -> AsyncIterator[World]:
    async with any_tables(RootRow, JoinedRow) as db:
        if request.param == "shared":
            yield World(SharedRepository(db), SharedRow, SharedCreate, SharedPatch)
        else:
            yield World(JoinedRepository(db), JoinedRow, JoinedCreate, JoinedPatch)


@pytest.fixture
async def shares(with_tables: WithTables) -> AsyncIterator[World]:
    async with with_tables(ShareRow) as db:
        yield World(ShareRepository(db), ShareRow, ShareCreate, SharePatch, lambda id, tenant: (id, tenant))


class Undo(Exception):
    pass


ALL: list[Values] = list(product("abc", range(3), ["x", "y", None]))
"""The values of a thing of each kind, in the order that they are sorted in."""

ORDERS: list[Any] = [ThingRow.tenant, ThingRow.level, ThingRow.note]

EVERYTHING = Case(lambda row: Not(Plain((row.tenant.in_([]),))), lambda v: True)


@example(case=EVERYTHING, before=("a", 0, None), after=("a", 0, None))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=cases, before=values, after=values)
async def test_the_law_of_scopes(things: World, case: Case, before: Values, after: Values) -> None:
    """In one unit of work that is undone again: every operation agrees with what the scope means in Python."""
    await check_law(things, case, before, after)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=cases, before=values, after=values)
async def test_the_law_of_scopes_on_rows_that_inherit(
    inherited: World, case: Case, before: Values, after: Values
) -> None:
    """Rows of a class that shares its table, and rows that are kept in two, whose conditions are about both."""
    await check_law(inherited, case, before, after)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=cases, before=values, after=values)
async def test_the_law_of_scopes_on_rows_in_partitions(
    shares: World, case: Case, before: Values, after: Values
) -> None:
    """A row that is given to another tenant is in another partition, and has another key."""
    await check_law(shares, case, before, after)


@pytest.fixture
async def filled(lane_tables: WithTables) -> AsyncIterator[World]:
    """Give a thing of each kind there is."""
    async with lane_tables(ThingRow) as db:
        things = ThingRepository(db, resilience=None)
        await things.batch_create([ThingCreate(*each) for each in ALL])
        yield World(things, ThingRow, ThingCreate, ThingPatch)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(scope=cases, limit=cases, size=st.integers(1, 30))
@example(scope=plain(LEAVES[:1]), limit=plain(LEAVES[2:4]), size=3)
async def test_the_law_of_reads(filled: World, scope: Case, limit: Case, size: int) -> None:
    """By each way that a read takes it gives the rows that the scope lets through, and the filters of those."""
    things, given_scope = filled.things, scope.scope(ThingRow)
    if await is_refused(filled, scope):
        return
    conditions = limit.scope(ThingRow).to_conditions()
    wanted = [each for each in ALL if scope.holds(each) and limit.holds(each)]
    page = await things.search(given_scope, conditions, CursorForwardPagination(size), orders=ORDERS)
    assert [of(item) for item in page.items] == wanted[:size]
    if page.has_next_page:
        rest = CursorForwardPagination(len(ALL), page.end_cursor)
        assert [of(item) for item in await things.search(given_scope, conditions, rest, orders=ORDERS)] == wanted[size:]
    assert await things.count(given_scope, conditions) == len(wanted)
    assert await things.exists(given_scope, conditions) is bool(wanted)
    ids = {of(item): item.id for item in (await things.search()).items}
    for each in (ALL[0], ALL[-1], *wanted[:1]):
        assert (await things.find(ids[each], given_scope) is not None) is scope.holds(each)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(scope=cases, before=values, after=values, is_there=st.booleans())
@example(scope=plain(LEAVES[:1]), before=("b", 0, None), after=("a", 0, None), is_there=True)
@example(scope=plain(LEAVES[:1]), before=("a", 0, None), after=("a", 1, "x"), is_there=True)
@example(scope=plain(LEAVES[:1]), before=("a", 0, None), after=("a", 1, "x"), is_there=False)
async def test_the_law_of_upserts(filled: World, scope: Case, before: Values, after: Values, is_there: bool) -> None:
    """By each way: what the scope lets through is made, or changed where it let that through before; nothing else."""
    if await is_refused(filled, scope):
        return
    things = filled.things
    id = (await things.create(ThingCreate(*before))).id
    if not is_there:
        await things.purge(id)
    upserting = things.upsert(ThingPut(id, *after), scope=scope.scope(ThingRow))
    if scope.holds(after) and (scope.holds(before) or not is_there):
        done = await upserting
        assert (of(done.data), done.inserted) == (after, not is_there)
    else:
        with pytest.raises(EntityAlreadyExists if scope.holds(after) else ScopeMismatch):
            await upserting
        found = await things.find(id)
        assert (found and of(found)) == (before if is_there else None)
    await things.purge_where([ThingRow.id == id])


async def check_law(world: World, case: Case, before: Values, after: Values) -> None:
    db: Database = world.things.db
    with pytest.raises(Undo):
        async with db.unit_of_work():
            if not await is_refused(world, case):
                await check(world, case, before, after)
            raise Undo
    assert await world.things.count() == 0


async def is_refused(world: World, case: Case) -> bool:
    """A scope that tells no row from another is none, and is refused; no other is."""
    try:
        await world.things.count(case.scope(world.row))
    except EmptyScope:
        assert all(map(case.holds, product("abc", range(3), [None, "x", "y"])))
        return True
    return False


async def check(world: World, case: Case, before: Values, after: Values) -> None:
    things, scope, inside = world.things, case.scope(world.row), case.holds(before)
    if inside:
        assert of(await things.create(world.spec(*before), scope=scope)) == before
    else:
        with pytest.raises(ScopeMismatch):
            await things.create(world.spec(*before), scope=scope)
        assert await things.count() == 0
        await things.create(world.spec(*before))
    row = (await things.search()).items[0]
    key = world.key(row.id, before[0])
    assert (await things.find(key, scope) is not None) is inside
    assert await things.count(scope) == len((await things.search(scope)).items) == int(inside)
    assert await things.exists(scope) is inside
    await change(world, case, key, before, after)
    now = after if inside and case.holds(after) else before
    key = world.key(row.id, now[0])
    assert of(await things.get(key)) == now
    if inside:
        await things.purge(key, scope=scope)
    else:
        with pytest.raises(EntityNotFound):
            await things.purge(key, scope=scope)
    assert await things.count() == int(not inside)


async def change(world: World, case: Case, id: Any, before: Values, after: Values) -> None:
    """Move the row from ``before`` to ``after`` under the scope, or see that refused."""
    things, scope, patch = world.things, case.scope(world.row), patch_to(world, after)
    if case.holds(before) and case.holds(after):
        assert of(await things.update(id, patch, scope=scope)) == after
        return
    with pytest.raises((EntityNotFound, ScopeMismatch)) as caught:
        await things.update(id, patch, scope=scope)
    if case.holds(before):
        assert isinstance(caught.value, ScopeMismatch)
