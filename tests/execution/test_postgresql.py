"""Values as PostgreSQL's columns have them, where SQLAlchemy's types for asyncpg bind them otherwise."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import DateTime
from sqlalchemy.dialects.postgresql import JSONPATH

from rowsmith import Database
from rowsmith.execution.postgresql import leaves, read_by_column


def test_no_json_path_is_null() -> None:
    """None is no empty list, which PostgreSQL takes for no path at all."""
    dialect = Database.from_url("postgresql://nobody@nowhere/nothing").engine.dialect
    bind = JSONPATH().dialect_impl(dialect).bind_processor(dialect)
    assert bind is not None
    assert [bind(given) for given in (None, "$.a")] == [None, "$.a"]


NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "column, stays",
    [
        ([NOW, None], True),
        ([], True),
        ([None], True),
        ([NOW, dt.datetime.max, None], False),
        ([dt.datetime.min], False),
        ([NOW, "never"], False),
    ],
)
def test_points_in_time_are_read_by_one_look_unless_an_end_of_time_is_among_them(
    column: list[object], stays: bool
) -> None:
    """The ends of time come without a zone, and what is none is for the processor to say."""
    dialect = Database.from_url("postgresql://nobody@nowhere/nothing").engine.dialect
    process = DateTime(timezone=True).dialect_impl(dialect).result_processor(dialect, None)
    assert process is not None
    assert leaves(process, column) is stays
    assert not leaves(str, column)


def test_records_are_read_column_by_column() -> None:
    """What no processor changes is given as it is."""
    dialect = Database.from_url("postgresql://nobody@nowhere/nothing").engine.dialect
    process = DateTime(timezone=True).dialect_impl(dialect).result_processor(dialect, None)
    assert process is not None
    plain, ends = [(1, NOW), (2, None)], [(1, NOW), (2, dt.datetime.max)]
    assert read_by_column(plain, [(1, process)]) is plain
    assert read_by_column(ends, [(1, process)]) == [(1, NOW), (2, dt.datetime.max.replace(tzinfo=dt.UTC))]
