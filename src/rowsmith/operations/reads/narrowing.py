"""Which rows a write over conditions is about: said outright, for all rows is never the default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement

from rowsmith.conditions import resolve_all
from rowsmith.errors import InvalidFilter
from rowsmith.extent import extent, tell_apart
from rowsmith.mapping import RowInfo
from rowsmith.operations.reads.search import Filters, as_query
from rowsmith.pagination import NoPagination
from rowsmith.scope import Limits, check_conditions


def narrowing(
    info: RowInfo[object], filters: Filters[Any], *, all_rows: bool
) -> Callable[..., Sequence[ColumnElement[bool]]]:
    """Give what gives the conditions of a write over many rows, of the limits of the call and what else holds of them.

    Args:
        info: the row.
        filters: a filter model, conditions in code, or a Query of nothing but conditions.
        all_rows: all rows are meant, should no condition tell them apart.

    Raises:
        InvalidFilter: there is none that could leave out a row, as by :class:`rowsmith.EmptyScope` of scopes, and
            ``all_rows`` was not said; or there are pages and orders too.
    """
    query = as_query(filters)
    if query.orders or query.pagination not in (None, NoPagination()):
        raise InvalidFilter("a write over conditions has no pages and no order: give conditions alone")
    conditions = resolve_all(query.conditions)
    check_conditions(conditions, info)
    if not (all_rows or tell_apart(extent(condition, info.tables_by_key) for condition in conditions)):
        raise InvalidFilter(
            f"no condition says which of {info.row.__name__} are meant: give one that tells them apart by their "
            "columns, or all_rows=True (a scope says who asks, and does not count)"
        )

    def meant(limits: Limits, *others: ColumnElement[bool]) -> Sequence[ColumnElement[bool]]:
        return [*limits.inside(conditions, others), *others]

    return meant
