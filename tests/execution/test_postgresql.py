"""Values as PostgreSQL's columns have them, where SQLAlchemy's types for asyncpg bind them otherwise."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import JSONPATH

from rowsmith import Database


def test_no_json_path_is_null() -> None:
    """None is no empty list, which PostgreSQL takes for no path at all."""
    dialect = Database.from_url("postgresql://nobody@nowhere/nothing").engine.dialect
    bind = JSONPATH().dialect_impl(dialect).bind_processor(dialect)
    assert bind is not None
    assert [bind(given) for given in (None, "$.a")] == [None, "$.a"]
