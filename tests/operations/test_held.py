"""A scope answers before any constraint: what there is outside of it cannot be asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, aliased, mapped_column

from rowsmith import (
    AnyOf,
    Condition,
    Conflict,
    EntityAlreadyExists,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    ScopeMismatch,
    SearchScope,
    Spec,
)
from rowsmith.testing import WithTables
from support import share
from tenants import Base, DomainRow, stored


class DeskRow(Base):
    __tablename__ = "desks"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    code: Mapped[str] = mapped_column(unique=True)
    level: Mapped[int] = mapped_column(server_default="2")
    note: Mapped[str | None]


@dataclass(frozen=True)
class DeskCreate(Spec[DeskRow]):
    tenant: str
    code: str


@dataclass(frozen=True)
class DeskPatch(Patch[DeskRow]):
    tenant: OptionalState[str] = OptionalState.nop()
    code: OptionalState[str] = OptionalState.nop()


class CodeTaken(Exception):
    """An application's own error, none of rowsmith's."""


class Desks(Repository[DeskRow, DeskRow, int]):
    conflict = Conflict(columns=[DeskRow.code])


class StrangeDesks(Desks):
    violations = {"desks_code_key": CodeTaken}


@dataclass(frozen=True)
class Conditions(SearchScope):
    conditions: tuple[Condition, ...]

    def to_conditions(self) -> Sequence[Condition]:
        return self.conditions


def scope_of(*conditions: Condition) -> SearchScope:
    return Conditions(conditions)


other, domain = aliased(DeskRow), aliased(DomainRow)
GREATEST = sa.select(sa.func.max(DomainRow.name)).where(DomainRow.name < "b").subquery()
light = sa.table("domains", sa.column("name"))
NAMED_A = sa.select(DomainRow.name.label("called")).where(DomainRow.name == "a")
IN_A = DeskRow.tenant == "a"
TOLD: dict[str, SearchScope] = {
    "any of": AnyOf(scope_of(IN_A), scope_of(DeskRow.tenant == "c")),
    "at most": scope_of(DeskRow.tenant <= "a"),
    "exists": scope_of(sa.exists().where(DomainRow.name == DeskRow.tenant, DomainRow.name == "a")),
    "in a subquery": scope_of(DeskRow.tenant.in_(sa.select(DomainRow.name).where(DomainRow.name == "a"))),
    "in its own table": scope_of(
        DeskRow.tenant.in_(sa.select(DeskRow.tenant).where(DeskRow.code == "mine")), DeskRow.tenant < "z"
    ),
    "in a subquery of a subquery": scope_of(
        sa.exists().where(
            domain.name == "a",
            sa.exists()
            .where(DomainRow.name == domain.name, DomainRow.name == DeskRow.tenant)
            .correlate(DeskRow, domain),
        )
    ),
    "an alias": scope_of(sa.exists().where(other.code == "mine", other.tenant == DeskRow.tenant)),
    "a label of a subquery": scope_of(sa.exists().where(NAMED_A.subquery().c.called == DeskRow.tenant)),
    "a label of a common table": scope_of(DeskRow.tenant.in_(sa.select(NAMED_A.cte("named").c.called))),
    "a greatest": scope_of(
        DeskRow.tenant.in_(
            sa.select(sa.select(sa.func.max(DomainRow.name)).where(DomainRow.name < "b").subquery().c.max)
        )
    ),
    "a light table": scope_of(DeskRow.tenant.in_(sa.select(light.c.name).where(light.c.name == "a"))),
    "a server default": scope_of(sa.or_(sa.and_(IN_A, DeskRow.level <= 2), DeskRow.note == "x")),
}
UNTOLD: dict[str, SearchScope] = {
    "a key to come": scope_of(sa.or_(IN_A, DeskRow.id < 0)),
    "text": scope_of(sa.literal_column("desks.tenant") == "a"),
    "text in a subquery": scope_of(
        DeskRow.tenant.in_(sa.select(NAMED_A.where(sa.text("domains.name = desks.tenant")).subquery().c.called))
    ),
}
SCOPES = TOLD | UNTOLD

Call = Callable[[Desks, str, str, SearchScope], Awaitable[Any]]


def moved(tenant: str, code: str) -> DeskPatch:
    return DeskPatch(OptionalState.update(tenant), OptionalState.update(code))


async def one_failure(call: Awaitable[Any]) -> None:
    raise (await call).failed[0].error


CREATES: dict[str, Call] = {
    "create": lambda desks, tenant, code, scope: desks.create(DeskCreate(tenant, code), scope=scope),
    "batch_create": lambda desks, tenant, code, scope: desks.batch_create(
        [DeskCreate("a", "fine"), DeskCreate(tenant, code)], scope=scope
    ),
    "load": lambda desks, tenant, code, scope: desks.load([DeskCreate(tenant, code)], scope=scope),
    "batch_create_partial": lambda desks, tenant, code, scope: one_failure(
        desks.batch_create_partial([DeskCreate(tenant, code), DeskCreate("a", "fine")], scope=scope)
    ),
    "upsert by another key": lambda desks, tenant, code, scope: desks.upsert(DeskCreate(tenant, code), scope=scope),
    "batch_upsert": lambda desks, tenant, code, scope: desks.batch_upsert(
        [DeskCreate("a", "fine"), DeskCreate(tenant, code)], scope=scope
    ),
}
UPDATES: dict[str, Call] = {
    "update": lambda desks, tenant, code, scope: desks.update(1, moved(tenant, code), scope=scope),
    "batch_update": lambda desks, tenant, code, scope: desks.batch_update([1], moved(tenant, code), scope=scope),
    "batch_update_each": lambda desks, tenant, code, scope: desks.batch_update_each(
        {1: moved(tenant, code), 2: moved("a", "second")}, scope=scope
    ),
    "batch_update_partial": lambda desks, tenant, code, scope: one_failure(
        desks.batch_update_partial({1: moved(tenant, code), 2: moved("a", "second")}, scope=scope)
    ),
    "update_where": lambda desks, tenant, code, scope: desks.update_where(
        [DeskRow.code == "mine"], moved(tenant, code), scope=scope
    ),
}


@pytest.fixture
async def desks(any_tables: WithTables) -> AsyncIterator[Desks]:
    """Desks 1 and 2 are a's, 3 is b's."""
    async with any_tables(DomainRow, DeskRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(DomainRow), [{"name": "a"}, {"name": "b"}])
        made = Desks(db)
        for tenant, code in (("a", "mine"), ("a", "second"), ("b", "theirs")):
            await made.create(DeskCreate(tenant, code))
        yield made


async def answer(call: Awaitable[Any]) -> tuple[Any, ...]:
    """Give all that a caller can see of the error."""
    with pytest.raises((RepositoryError, CodeTaken)) as caught:
        await call
    error: Any = caught.value
    facts = getattr(error, "facts", None)
    return type(error), str(error), repr(error), facts, error.__cause__, error.__context__


def cases(scopes: Mapping[str, SearchScope]) -> list[Any]:
    calls = CREATES | UPDATES
    every = share(product(calls, scopes), 3)
    return [pytest.param(calls[name], scopes[scope], id=f"{name}-{scope}") for name, scope in every]


@pytest.mark.parametrize("call, scope", cases(SCOPES))
async def test_a_taken_key_and_a_free_one_are_one_answer_outside(desks: Desks, call: Call, scope: SearchScope) -> None:
    """A row that would be outside is refused by its scope, whatever stands elsewhere; nothing is written."""
    before = await stored(desks.db, sa.select(DeskRow.tenant, DeskRow.code).order_by(DeskRow.id))
    for repository in (desks, StrangeDesks(desks.db)):
        free = await answer(call(repository, "b", "free", scope))
        assert free[0] is ScopeMismatch
        assert await answer(call(repository, "b", "theirs", scope)) == free
    kept = await stored(desks.db, sa.select(DeskRow.tenant, DeskRow.code).order_by(DeskRow.id))
    assert [row for row in kept if row != ("a", "fine")] == before


@pytest.mark.parametrize("call, scope", cases(TOLD))
async def test_a_taken_key_is_told_as_such_inside(desks: Desks, call: Call, scope: SearchScope) -> None:
    """A row that would be inside meets the constraint; the transaction goes on."""
    async with desks.db.unit_of_work():
        with pytest.raises(EntityAlreadyExists):
            await call(desks, "a", "theirs", scope)
        assert await desks.count() >= 3


async def test_what_cannot_be_told_is_not_told(desks: Desks) -> None:
    """Where a condition reads what only the database makes, the scope answers a taken key even inside."""
    for scope in UNTOLD.values():
        with pytest.raises(ScopeMismatch):
            await desks.create(DeskCreate("a", "theirs"), scope=scope)
        assert isinstance((await desks.create(DeskCreate("a", f"new {id(scope)}"), scope=scope)).id, int)


async def test_an_update_reads_the_row_that_is_there(desks: Desks) -> None:
    """A condition on text or on the key is told for a row that is there; an expression as the database works it out."""
    for scope in SCOPES.values():
        with pytest.raises(EntityAlreadyExists):
            await desks.update(1, moved("a", "theirs"), scope=scope)
    up = OptionalState[str].expression(lambda: sa.func.lower("B"))
    with pytest.raises(ScopeMismatch):
        await desks.update(1, DeskPatch(up, OptionalState.update("theirs")), scope=SCOPES["exists"])


async def test_the_first_row_outside_is_named(desks: Desks) -> None:
    """A batch names the same index, whether the row after it is taken or not, by whatever a scope is told."""
    for code in ("theirs", "free"):
        specs = [DeskCreate("a", "x"), DeskCreate("b", "y"), DeskCreate("b", code)]
        for create in (desks.batch_create, desks.load, desks.batch_upsert):
            for scope in TOLD.values():
                with pytest.raises(RepositoryError, match="index 1 would leave its scope"):
                    await create(specs, scope=scope)
            for scope in UNTOLD.values():
                with pytest.raises(RepositoryError, match=r"^desk: a spec would leave its scope"):
                    await create(specs, scope=scope)
