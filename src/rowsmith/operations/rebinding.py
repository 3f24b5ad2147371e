"""Conditions on a row of the table, put to something that stands in its place. Pure.

Subqueries are followed as SQL does it: one that has the table in its own FROM reads other rows and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, cast

from sqlalchemy import Column, ColumnElement, FromClause, SelectBase, Table
from sqlalchemy.sql import util as sql_util
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import AliasedReturnsRows

from rowsmith.mapping import RowInfo
from rowsmith.ties import subqueries


def rebound(
    condition: ColumnElement[bool],
    info: RowInfo[object],
    instead: Callable[[Column[Any]], ColumnElement[Any]],
    source: FromClause | None = None,
) -> ColumnElement[bool]:
    """Give a condition with other expressions instead of the row's columns, and another source instead of its table."""
    # What stands in relationship.has(...) is kept from being replaced, but may read this row all the same.
    given: Any = cast("Any", sql_util)._deep_deannotate(condition, ["no_replacement_traverse"])
    others = _of_others(given, info)

    def replace(element: Any, **_: Any) -> Any:
        if _is_of_others(element, others):
            return element
        if isinstance(element, Column) and is_table(element.table, info):
            return instead(element)  # pyright: ignore[reportUnknownArgumentType]
        return source if is_table(element, info) else None

    traverse: Callable[..., ColumnElement[bool]] = cast("Any", visitors).replacement_traverse
    return traverse(given, {}, replace)


def parts(condition: ColumnElement[bool], info: RowInfo[object]) -> Iterator[Any]:
    """Give the parts of a condition, without those of what reads other rows of the table."""
    yield from _parts(condition, _of_others(condition, info))


def _parts(element: Any, others: Collection[int]) -> Iterator[Any]:
    yield element
    if not _is_of_others(element, others):
        for child in element.get_children():
            yield from _parts(child, others)


def _of_others(condition: ColumnElement[bool], info: RowInfo[object]) -> set[int]:
    """Give the identities of the SELECTs in a condition that read rows of the table by themselves."""
    found = subqueries(condition, info.tables)
    return {id(one.select) for one in found if any(is_table(source, info) for source in one.read)}


def _is_of_others(element: object, others: Collection[int]) -> bool:
    """Say whether columns of the table in here are other rows': an alias, or a subquery with a FROM of its own."""
    is_alias = isinstance(element, AliasedReturnsRows) and not isinstance(element.element, SelectBase)
    return is_alias or id(cast("Any", element)) in others


def is_table(element: Any, info: RowInfo[object]) -> bool:
    """Say whether something is a table that the row is kept in."""
    return isinstance(element, Table) and info.owns(cast("Any", element))
