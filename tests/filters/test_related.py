"""Filters over relationships: EXISTS, never a join."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, insert, select

from company import LabelFilter, LabelRow, ThingFilter, ThingRow
from rowsmith.errors import MappingError
from rowsmith.filters import Filter, Related
from rowsmith.filters.filter import expressions_of
from rowsmith.testing import WithTables


@pytest.mark.parametrize(
    "tree, expected",
    [
        ({"labels": {"exists": {}}}, [1, 2]),
        ({"labels": {"none": {}}}, [3]),
        ({"labels": {"exists": {"name": {"equals": "a"}}}}, [1, 2]),
        ({"labels": {"none": {"name": {"equals": "b"}}}}, [2, 3]),
        ({"labels": {"exists": {"name": {"equals": "a"}}, "none": {"name": {"equals": "b"}}}}, [2]),
        ({"NOT": {"labels": {"exists": {"name": {"equals": "b"}}}}}, [2, 3]),
        ({"parent": {"exists": {"small": {"equals": 1}}}}, [2, 3]),
        ({"parent": {"none": {"small": {"equals": 1}}}}, [1]),
        ({"children": {"exists": {"children": {"exists": {}}}}}, []),
        ({"children": {"exists": {"children": {"none": {}}, "labels": {"none": {}}}}}, [1]),
        ({"labels": {"exists": {"thing": {"exists": {"parent": {"exists": {"small": {"equals": 1}}}}}}}}, [2]),
    ],
)
async def test_related_rows_decide_and_never_multiply(any_tables: WithTables, tree: Any, expected: list[int]) -> None:
    """A row is found once however many related rows qualify; nesting looks at the right row each time."""
    async with any_tables(ThingRow, LabelRow) as db, db.engine.begin() as connection:
        await connection.execute(insert(ThingRow), [{"id": 1, "small": 1, "parent_id": None}])
        await connection.execute(insert(ThingRow), [{"id": n, "small": n, "parent_id": 1} for n in (2, 3)])
        names = [("a", 1), ("a", 1), ("b", 1), ("a", 2)]
        await connection.execute(
            insert(LabelRow), [{"id": n, "name": name, "thing_id": thing} for n, (name, thing) in enumerate(names)]
        )
        conditions = expressions_of(ThingFilter.model_validate(tree))
        statement = select(ThingRow.id).where(*conditions).order_by(ThingRow.id)
        assert list(await connection.scalars(statement)) == expected
        assert await connection.scalar(select(func.count()).select_from(statement.subquery())) == len(expected)


@pytest.mark.parametrize(
    "tree, expected",
    [
        ({"exists": {"length": {"lte": 4}}, "none": {"big": {"gte": 0}}}, [1, 2, 3]),
        ({"exists": {"length": {"lte": 4}}}, [1, 2, 3]),
        ({"none": {"small": {"equals": 2}}}, [3]),
    ],
)
async def test_a_path_may_come_back_to_the_table_it_left(
    any_tables: WithTables, tree: dict[str, Any], expected: list[int]
) -> None:
    """Each step speaks of its own row, though the path leads from things over labels to things again."""
    looping = {"none": {"labels": {"exists": {"thing": tree}}}}
    async with any_tables(ThingRow, LabelRow) as db, db.engine.begin() as connection:
        for n, parent in ((1, 1), (2, None), (3, 2)):
            await connection.execute(insert(ThingRow), {"id": n, "small": n, "big": n - 3, "parent_id": parent})
        await connection.execute(insert(LabelRow), [{"id": 1, "name": "a", "thing_id": 1}])
        await connection.execute(insert(LabelRow), [{"id": 2, "name": "a", "thing_id": 3}])
        conditions = expressions_of(ThingFilter.model_validate({"children": looping}))
        assert sorted(await connection.scalars(select(ThingRow.id).where(*conditions))) == expected


def test_nothing_but_exists_and_none() -> None:
    """A relationship's filter says one of the two."""
    for wrong in ({}, {"any": {}}, {"exists": None}, {"exists": {"name": {}}}):
        with pytest.raises(ValidationError):
            ThingFilter.model_validate({"labels": wrong})


def test_the_other_rows_filter_must_be_for_the_other_row() -> None:
    """A filter for another row than the relationship leads to is found at its first use."""

    class Wrong(Filter[ThingRow]):
        parent: Related[LabelFilter] | None = None

    with pytest.raises(MappingError, match="leads to ThingRow, and LabelFilter is for LabelRow"):
        Wrong.model_validate({"parent": {"exists": {}}}).to_conditions()
