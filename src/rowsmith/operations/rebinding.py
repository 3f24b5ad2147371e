"""Conditions on a row of the table, put to something that stands in its place. Pure.

Subqueries are followed as SQL does it: one that has the table in its own FROM reads other rows and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from sqlalchemy import Column, ColumnElement, FromClause, Select, Table
from sqlalchemy.sql import util as sql_util
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import AliasedReturnsRows

from rowsmith.mapping import RowInfo


def rebound(
    condition: ColumnElement[bool],
    info: RowInfo[object],
    instead: Callable[[Column[Any]], ColumnElement[Any]],
    source: FromClause | None = None,
) -> ColumnElement[bool]:
    """Give a condition with other expressions instead of the row's columns, and another source instead of its table."""

    def replace(element: Any, **_: Any) -> Any:
        if is_of_others(element, info):
            return element
        if isinstance(element, Column) and is_table(element.table, info):
            return instead(element)  # pyright: ignore[reportUnknownArgumentType]
        return source if is_table(element, info) else None

    traverse: Callable[..., ColumnElement[bool]] = cast("Any", visitors).replacement_traverse
    # What stands in relationship.has(...) is kept from being replaced, but may read this row all the same.
    return traverse(cast("Any", sql_util)._deep_deannotate(condition, ["no_replacement_traverse"]), {}, replace)


def parts(element: Any, info: RowInfo[object]) -> Iterator[Any]:
    """Give the parts of a condition, without those of what reads other rows of the table."""
    yield element
    if not is_of_others(element, info):
        for child in element.get_children():
            yield from parts(child, info)


def is_of_others(element: object, info: RowInfo[object]) -> bool:
    """Say whether columns of the table in here are other rows': an alias, or a subquery with a FROM of its own."""
    return isinstance(element, AliasedReturnsRows) or (isinstance(element, Select) and _reads_itself(element, info))


def _reads_itself(statement: Any, info: RowInfo[object]) -> bool:
    """Decide as SQLAlchemy does whether the table is correlated to the statement around."""
    sources = statement.get_final_froms()
    if not any(is_table(part, info) for source in sources for part in source._from_objects):
        return False
    if statement._correlate_except is not None:
        return any(is_table(part, info) for part in statement._correlate_except)
    if statement._correlate or not statement._auto_correlate:
        return not any(is_table(part, info) for part in statement._correlate)
    return len(sources) == 1


def is_table(element: Any, info: RowInfo[object]) -> bool:
    """Say whether something is the row's own table."""
    return isinstance(element, Table) and element.key == info.table.key
