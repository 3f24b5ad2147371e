"""The law of filters: what a database returns is what the model of the language says, on both backends."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy import ColumnElement, exists, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from company import LabelRow, ThingFilter, ThingRow
from filters.filter_model import Model
from filters.filter_strategies import LETTERS, labels, things, trees
from rowsmith.filters.filter import MAX_DEPTH, expressions_of
from rowsmith.relations import narrowed
from rowsmith.testing import WithTables

FILTERS = int(os.environ.get("ROWSMITH_LAW_FILTERS", "40"))
"""How many random filters to run on each backend; the nox session ``laws`` raises it."""

FILTERS_A_TABLE = 10


async def ids(connection: AsyncConnection, wanted: ThingFilter) -> list[int]:
    """The ids of the rows that a filter finds, sorted, as often as it finds them."""
    return sorted(await connection.scalars(select(ThingRow.id).where(*expressions_of(wanted))))


async def fill(connection: AsyncConnection, rows: list[dict[str, Any]], tags: list[dict[str, Any]]) -> None:
    """Put the rows into the tables, moments of the column without time zone as UTC."""
    for row in rows:
        local = row["local"] and row["local"].replace(tzinfo=None)
        values = {name: value for name, value in row.items() if name != "text"}
        await connection.execute(insert(ThingRow).values({**values, "the_text": row["text"], "local": local}))
    if tags:
        await connection.execute(insert(LabelRow), tags)


def read(tree: Any) -> ThingFilter:
    """The filter as it comes in from a client; a tree beyond the cap on depth is none of this law's business."""
    try:
        return ThingFilter.model_validate_json(json.dumps(to_jsonable_python(tree)))
    except ValidationError as error:
        assume("deep" not in str(error))
        raise


@pytest_asyncio.fixture
async def connection(any_tables: WithTables) -> AsyncIterator[AsyncConnection]:
    """A connection on empty tables, whose transaction is never committed."""
    async with any_tables(ThingRow, LabelRow) as db, db.engine.connect() as made:
        yield made


@pytest_asyncio.fixture
async def lower(connection: AsyncConnection) -> Mapping[str, str]:
    """Ask the database for the lower case of each letter, which is its own to say."""
    letters = sorted(set(LETTERS))
    row = (await connection.execute(select(*(func.lower(letter) for letter in letters)))).one()
    return dict(zip(letters, row, strict=True))


@settings(max_examples=max(1, FILTERS // FILTERS_A_TABLE), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_a_filter_finds_what_the_model_of_the_language_says(
    connection: AsyncConnection, lower: Mapping[str, str], data: st.DataObject
) -> None:
    """For random tables and trees, database and model agree, row by row; P and NOT P part all rows between them."""
    rows = data.draw(things())
    tags = data.draw(labels(len(rows)))
    model = Model([{**row, "naive": row["local"]} for row in rows], tags, lower)
    everything = {row["id"] for row in rows}
    savepoint = await connection.begin_nested()
    try:
        await fill(connection, rows, tags)
        for _ in range(FILTERS_A_TABLE):
            tree = data.draw(trees())
            wanted, expected = read(tree), model.matching(tree)
            assert await ids(connection, wanted) == sorted(expected)
            if wanted.__rowsmith_depth__ < MAX_DEPTH:
                assert await ids(connection, ThingFilter(NOT=wanted)) == sorted(everything - expected)
    finally:
        await savepoint.rollback()


def asked(seen: set[int], row: Any, form: str) -> list[ColumnElement[bool]]:
    """Say that rows are among some, in one of the forms that a scope may have."""
    among = row.id.in_(sorted(seen))
    match form:
        case "plain":
            return [among]
        case "subquery":
            return [row.id.in_(select(row.id).where(among))]
        case "exists":
            other: Any = aliased(row)
            return [exists().where(other.id == row.id, other.id.in_(sorted(seen)))]
        case _:
            return [row.id.is_not(None), or_(among, row.id < 0)]


@settings(max_examples=max(1, FILTERS // FILTERS_A_TABLE), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_a_filter_asks_about_what_may_be_seen(
    connection: AsyncConnection, lower: Mapping[str, str], data: st.DataObject
) -> None:
    """A filter that is narrowed finds what it would if the rows that may not be seen were not there."""
    rows = data.draw(things())
    tags = data.draw(labels(len(rows)))
    savepoint = await connection.begin_nested()
    try:
        await fill(connection, rows, tags)
        for _ in range(FILTERS_A_TABLE):
            inside = {row: data.draw(st.sets(st.integers(1, 6))) for row in (ThingRow, LabelRow)}
            seen_things = [row for row in rows if row["id"] in inside[ThingRow]]
            seen_tags = [tag for tag in tags if tag["id"] in inside[LabelRow]]
            model = Model([{**row, "naive": row["local"]} for row in seen_things], seen_tags, lower)
            form = data.draw(st.sampled_from(["plain", "subquery", "exists", "several"]))
            said = {row: asked(ids_inside, row, form) for row, ids_inside in inside.items()}
            tree = data.draw(trees())
            conditions = [narrowed(condition, said.__getitem__) for condition in expressions_of(read(tree))]
            found = await connection.scalars(select(ThingRow.id).where(*conditions, *said[ThingRow]))
            assert sorted(found) == sorted(model.matching(tree))
    finally:
        await savepoint.rollback()
