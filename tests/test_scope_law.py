"""The law of scopes: a row is seen, made, changed and removed in a scope exactly if the scope lets it through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import (
    AllOf,
    AnyOf,
    Condition,
    Database,
    EmptyScope,
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


class ThingRow(Base):
    __tablename__ = "scoped_things"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    level: Mapped[int]
    note: Mapped[str | None]


@dataclass(frozen=True)
class ThingCreate(Spec[ThingRow]):
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


Values: TypeAlias = tuple[str, int, str | None]
Holds: TypeAlias = Callable[[Values], bool]


@dataclass(frozen=True)
class Plain(SearchScope):
    conditions: tuple[Condition, ...]

    def to_conditions(self) -> tuple[Condition, ...]:
        return self.conditions


@dataclass(frozen=True)
class Case:
    """A scope, and what it means in Python."""

    scope: Any
    holds: Holds


LEAVES: list[tuple[Condition, Holds]] = [
    (ThingRow.tenant == "a", lambda v: v[0] == "a"),
    (lambda: ThingRow.tenant == "b", lambda v: v[0] == "b"),
    (ThingRow.level == 1, lambda v: v[1] == 1),
    (ThingRow.level > 0, lambda v: v[1] > 0),
    (ThingRow.note == "x", lambda v: v[2] == "x"),
    (ThingRow.note != "x", lambda v: v[2] is not None and v[2] != "x"),
    (ThingRow.note.is_(None), lambda v: v[2] is None),
    (ThingRow.tenant.in_(["a", "c"]), lambda v: v[0] in ("a", "c")),
    (ThingRow.tenant.in_([]), lambda v: False),
]


def plain(leaves: list[tuple[Condition, Holds]]) -> Case:
    conditions = tuple(condition for condition, _ in leaves)
    return Case(Plain(conditions), lambda v: all(holds(v) for _, holds in leaves))


def combined(kind: Any, quantifier: Any, cases: list[Case]) -> Case:
    return Case(kind(*(case.scope for case in cases)), lambda v: quantifier(case.holds(v) for case in cases))


cases = st.recursive(
    st.lists(st.sampled_from(LEAVES), min_size=1, max_size=2).map(plain),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: combined(AnyOf, any, parts)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: combined(AllOf, all, parts)),
        inner.map(lambda part: Case(Not(part.scope), lambda v: not part.holds(v))),
    ),
    max_leaves=5,
)
values = st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.sampled_from([None, "x", "y"]))


def patch_to(wanted: Values) -> ThingPatch:
    note: TriState[str] = TriState.nullify() if wanted[2] is None else TriState.update(wanted[2])
    return ThingPatch(OptionalState.update(wanted[0]), OptionalState.update(wanted[1]), note)


def of(data: ThingData) -> Values:
    return data.tenant, data.level, data.note


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[ThingRepository]:
    async with any_tables(ThingRow) as db:
        yield ThingRepository(db)


class Undo(Exception):
    pass


EVERYTHING = Case(Not(Plain((ThingRow.tenant.in_([]),))), lambda v: True)


@example(case=EVERYTHING, before=("a", 0, None), after=("a", 0, None))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=cases, before=values, after=values)
async def test_the_law_of_scopes(things: ThingRepository, case: Case, before: Values, after: Values) -> None:
    """In one unit of work that is undone again: every operation agrees with what the scope means in Python."""
    db: Database = things.db
    with pytest.raises(Undo):
        async with db.unit_of_work():
            if not await is_refused(things, case):
                await check(things, case, before, after)
            raise Undo
    assert await things.count() == 0


async def is_refused(things: ThingRepository, case: Case) -> bool:
    """A scope that tells no row from another is none, and is refused; no other is."""
    try:
        await things.count(case.scope)
    except EmptyScope:
        assert all(map(case.holds, product("abc", range(3), [None, "x", "y"])))
        return True
    return False


async def check(things: ThingRepository, case: Case, before: Values, after: Values) -> None:
    scope, inside = case.scope, case.holds(before)
    if inside:
        assert of(await things.create(ThingCreate(*before), scope=scope)) == before
    else:
        with pytest.raises(ScopeMismatch):
            await things.create(ThingCreate(*before), scope=scope)
        assert await things.count() == 0
        await things.create(ThingCreate(*before))
    row = (await things.search()).items[0]
    assert (await things.find(row.id, scope) is not None) is inside
    assert await things.count(scope) == len((await things.search(scope)).items) == int(inside)
    assert await things.exists(scope) is inside
    await change(things, case, row.id, before, after)
    now = after if inside and case.holds(after) else before
    assert of(await things.get(row.id)) == now
    if inside:
        await things.purge(row.id, scope=scope)
    else:
        with pytest.raises(EntityNotFound):
            await things.purge(row.id, scope=scope)
    assert await things.count() == int(not inside)


async def change(things: ThingRepository, case: Case, id: int, before: Values, after: Values) -> None:
    """Move the row from ``before`` to ``after`` under the scope, or see that refused."""
    if case.holds(before) and case.holds(after):
        assert of(await things.update(id, patch_to(after), scope=case.scope)) == after
        return
    with pytest.raises((EntityNotFound, ScopeMismatch)) as caught:
        await things.update(id, patch_to(after), scope=case.scope)
    if case.holds(before):
        assert isinstance(caught.value, ScopeMismatch)
