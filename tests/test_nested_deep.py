"""How deep conditions may be nested: SQLite's parser has an end, of which an error says what it is and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pytest
import sqlalchemy as sa

from company import LabelRow, ThingRow
from rowsmith import (
    Condition,
    Database,
    EntityNotFound,
    InvalidFilter,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    Spec,
    related,
)
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, VerbCall, answered

DEEP = 40


@dataclass(frozen=True)
class Thing:
    id: int


@dataclass(frozen=True)
class ThingCreate(Spec[ThingRow]):
    id: int
    small: int = 1


@dataclass(frozen=True)
class ThingPatch(Patch[ThingRow]):
    small: OptionalState[int]


class Things(Repository[ThingRow, Thing, int]):
    pass


def steps(number: int) -> Condition:
    """Give the condition that so many related rows, each of the one before, lead to a small one."""
    first: Any = ThingRow.small == 1
    condition: Condition = reduce(lambda inner, _: related(ThingRow.parent, inner), range(number), first)
    return condition


MANY = sa.or_(*(ThingRow.small == number for number in range(2, 1_200)))


@pytest.mark.parametrize(
    "verb", ["count", "search", "get", "find", "update", "batch_update", "update_where", "purge_where"]
)
@pytest.mark.parametrize("condition", [steps(DEEP), MANY], ids=["steps", "terms"])
async def test_sqlite_says_that_it_cannot_nest_so_deep(any_tables: WithTables, condition: Condition, verb: str) -> None:
    """And what to do instead; PostgreSQL answers."""

    @dataclass(frozen=True)
    class Deep(SearchScope):
        def to_conditions(self) -> Sequence[Condition]:
            return [condition]

    async with any_tables(ThingRow, LabelRow) as db:
        things = Things(db)
        await things.create(ThingCreate(1))
        patch = ThingPatch(OptionalState.update(2))
        told = await answered(VERBS[verb].call(VerbCall(things, Deep(), [1], patch, [ThingCreate(2)])))
        if db.engine.dialect.name == "postgresql":
            assert told.error in (None, EntityNotFound, ValueError)  # which says of a batch that an id is missing
        else:
            assert told.error is InvalidFilter
            assert "SQLite cannot nest a statement so deep: ask of fewer" in str(told.words)
        assert await things.count(None, [steps(3)]) == 0


@pytest.mark.parametrize("verb", ["count", "search", "update_where", "purge_where"])
async def test_a_statement_with_too_many_values_says_so(with_tables: WithTables, verb: str) -> None:
    """PostgreSQL's protocol counts them in 16 bits; a list that is sent as one value is one."""
    many, patch = list(range(40_000)), ThingPatch(OptionalState.update(2))

    @dataclass(frozen=True)
    class Many(SearchScope):
        def to_conditions(self) -> Sequence[Condition]:
            return [ThingRow.id.in_(many)]

    async with with_tables(ThingRow) as db:
        for native in (True, False):
            things = Things(Database(db.engine, native=native))
            told = await answered(VERBS[verb].call(VerbCall(things, Many(), [1], patch, [])))
            assert told.error is InvalidFilter
            assert "32,767 values at most: ask in several calls" in str(told.words)
            assert await things.count(None, [ThingRow.id == sa.any_(sa.literal(many, sa.ARRAY(sa.Integer)))]) == 0
