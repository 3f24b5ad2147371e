"""A value is bound once, by its column's type: what a scope fixes of rows, reads back and compares is the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from rowsmith import (
    Condition,
    Conflict,
    CursorForwardPagination,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    Spec,
)
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answered

WRITERS = [verb for verb, told in VERBS.items() if told.does in (Does.MAKE, Does.PUT, Does.CHANGE)]


class Bound(TypeDecorator[Any]):
    """Scales what is written, and gives what is stored."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value * 100


class Scaled(Bound):
    """Gives what was written."""

    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value // 100


class Exact(Bound):
    """Gives what no driver takes for an integer once it is scaled."""

    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else Decimal(value) / 100


class Own(sa.Integer):
    """A class of a team's, which scales on SQLite: on PostgreSQL SQLAlchemy has its own in its place."""

    def bind_processor(self, dialect: Any) -> Any:
        def scaled(value: int | None) -> int | None:
            return None if value is None else value * 100

        return scaled


class Above(TypeDecorator[Any]):
    """Makes nothing of values itself."""

    impl = Exact
    cache_ok = True


class Raw(Scaled):
    """Is compared with what is stored."""

    cache_ok = True

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return sa.Integer()


class Kept:
    """Rows of a tenant and a value of one type, and what is there for them."""

    def __init__(self, kind: type[Any]) -> None:
        class Base(DeclarativeBase):
            pass

        class KeptRow(Base):
            __tablename__ = "bound_once"
            id: Mapped[int] = mapped_column(primary_key=True)
            tenant: Mapped[Any] = mapped_column(kind)
            value: Mapped[Any] = mapped_column(kind, nullable=True)

        @dataclass(frozen=True)
        class KeptCreate(Spec[KeptRow], filled={"tenant"}):
            id: int
            value: Any = 2

        @dataclass(frozen=True)
        class KeptIn(Spec[KeptRow]):
            id: int
            tenant: Any

        @dataclass(frozen=True)
        class KeptPatch(Patch[KeptRow]):
            value: OptionalState[Any]

        @dataclass(frozen=True)
        class KeptAlone:
            id: int

        class Rows(Repository[KeptRow, KeptAlone, int]):
            conflict = Conflict([KeptRow.id])

        self.row: Any = KeptRow
        self.rows: Any = Rows
        self.create: Any = KeptCreate
        self.within: Any = KeptIn
        self.patch: Any = KeptPatch

    def under(self, condition: Condition) -> SearchScope:
        @dataclass(frozen=True)
        class Under(SearchScope):
            def to_conditions(self) -> Sequence[Condition]:
                return [condition]

        return Under()


STORED = sa.text("SELECT tenant, value FROM bound_once ORDER BY id")


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("kind", [Bound, Scaled, Exact, Own, Above])
async def test_a_scope_fixes_what_is_bound_once(lane_tables: WithTables, kind: type[Any], verb: str) -> None:
    """Whatever the type reads of it: no row of the scope's own is taken for one outside."""
    kept = Kept(kind)
    async with lane_tables(kept.row) as db:
        rows, scope = kept.rows(db), kept.under(kept.row.tenant == 7)
        await rows.create(kept.create(1), scope=scope)
        patch = kept.patch(OptionalState.update(3))
        does = VERBS[verb].does
        spec = kept.create(2 if does is Does.MAKE else 1, 3)
        told = await answered(VERBS[verb].call(VerbCall(rows, scope, [1], patch, [spec])))
        assert told.error is None
        made = 1 if kind is Own and db.engine.dialect.name == "postgresql" else 100
        async with db.begin_session() as session:
            stored = [tuple(row) for row in await session.execute(STORED)]
        assert stored[-1] == (7 * made, 3 * made)
        assert {tenant for tenant, _ in stored} == {7 * made}
        assert await rows.count(scope, [kept.row.value == 3]) == 1


@pytest.mark.parametrize("kind", [Scaled, Exact, Above])
async def test_pages_and_filters_bind_once(lane_tables: WithTables, kind: type[Any]) -> None:
    """A cursor carries what is stored, and a condition what was asked for."""
    kept = Kept(kind)
    async with lane_tables(kept.row) as db:
        rows, value = kept.rows(db), kept.row.value
        await rows.batch_create(
            [kept.create(number, number) for number in range(1, 8)], scope=kept.under(kept.row.tenant == 7)
        )
        found, page, after = list[int](), None, None
        while page is None or page.has_next_page:
            page = await rows.search(None, [value > 1], CursorForwardPagination(2, after), orders=[value.desc()])
            found += [one.id for one in page.items]
            after = page.cursors[-1]
        assert found == [7, 6, 5, 4, 3, 2]


@pytest.mark.parametrize("verb", [verb for verb in WRITERS if VERBS[verb].does is Does.MAKE])
@pytest.mark.parametrize("kind, given", [(Raw, 7), (Scaled, sa.literal(7)), (Above, sa.literal(7))])
async def test_what_is_compared_as_something_else_fixes_nothing(
    lane_tables: WithTables, verb: str, kind: type[Any], given: Any
) -> None:
    """A row that would be stored outside of the scope that it is made in is refused."""
    kept = Kept(kind)
    async with lane_tables(kept.row) as db:
        rows, scope = kept.rows(db), kept.under(kept.row.tenant == given)
        call = VERBS[verb].call(VerbCall(rows, scope, [1], kept.patch(OptionalState.update(3)), [kept.within(1, 7)]))
        told = await answered(call)
        assert (told.error is ScopeMismatch) or "scope" in str(told.words)
        assert await rows.count() == 0
        there = kept.under(kept.row.tenant == sa.literal(700))
        await rows.create(kept.within(2, 7), scope=there)
        assert await rows.count(there) == 1


async def test_a_trigger_that_stores_what_was_given_is_found_out(with_tables: WithTables) -> None:
    """What is read is held against what the scope's value is read as, and not against the value."""
    kept = Kept(Bound)
    async with with_tables(kept.row) as db:
        async with db.begin_session() as session:
            await session.execute(
                sa.text(
                    "CREATE FUNCTION bound_once_moves() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN NEW.tenant = 7; RETURN NEW; END $$"
                )
            )
            await session.execute(
                sa.text(
                    "CREATE TRIGGER moves BEFORE INSERT ON bound_once FOR EACH ROW EXECUTE FUNCTION bound_once_moves()"
                )
            )
        try:
            rows, scope = kept.rows(db), kept.under(kept.row.tenant == 7)
            assert (await answered(rows.create(kept.create(1), scope=scope))).error is ScopeMismatch
            assert (await answered(rows.batch_create([kept.create(1)], scope=scope))).error is ScopeMismatch
            assert await rows.count() == 0
        finally:
            async with db.begin_session() as session:
                await session.execute(sa.text("DROP FUNCTION bound_once_moves CASCADE"))
