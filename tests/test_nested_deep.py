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
