"""What an expression is of, where it is of more than the one row it stands in: many rows, or many values for each.

An aggregate and a window function are of many rows, and PostgreSQL has neither where rows are still being chosen. A
function that gives a set makes several rows of one, wherever it is selected, so that a page would have rows twice. In
a subquery of its own each of them is at home. Nothing here talks to a database.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import FunctionFilter, Over, ScalarSelect, SelectBase, TableValuedAlias, WithinGroup
from sqlalchemy.sql.functions import FunctionElement, ScalarFunctionColumn


class Several(enum.Enum):
    """In which way an expression is of more than one row."""

    AGGREGATE = "an aggregate, which is of many rows"
    WINDOW = "a window function, which is of many rows"
    SET = "a function that gives a set, which makes many rows of one"


ANY: Final = frozenset(Several)
"""All ways, for a place where none of them can stand."""

BESIDE_ROWS: Final = frozenset({Several.WINDOW, Several.SET})
"""Those that cannot stand where aggregates can."""


def several_complaint(expression: Any, refused: frozenset[Several] = ANY) -> str | None:
    """Say which part of an expression, outside of subqueries, is of several rows, and what to write; or None."""
    found = several_in(expression, refused)
    return None if found is None else f"has {found.value}: {INSTEAD[found]}"


def several_in(expression: Any, refused: frozenset[Several] = ANY) -> Several | None:
    """Give the first of some ways in which an expression, outside of subqueries, is of several rows; None for none."""
    sources: Iterable[Any] = getattr(expression, "_from_objects", ())
    if Several.SET in refused and any(isinstance(source, TableValuedAlias) for source in sources):
        return Several.SET
    found = map(_several, outside_subqueries(expression))
    return next((way for way in found if way in refused), None)


def is_function(element: object) -> bool:
    """Say whether a part of an expression is a function, or what may stand around one."""
    return isinstance(element, _CALLS)


def name_of(function: object) -> str:
    """Give the name of a function of the database's own; ``""`` for one of a schema of somebody else's."""
    packages: tuple[Any, ...] = tuple(getattr(function, "packagenames", ()))
    return "" if packages not in ((), ("pg_catalog",)) else str(getattr(function, "name", "")).lower()


def _several(element: Any) -> Several | None:
    if isinstance(element, Over):
        return Several.WINDOW
    if isinstance(element, _AGGREGATED):
        return Several.AGGREGATE
    if not isinstance(element, _FUNCTION):
        return None
    name = name_of(element)
    if name in _SETS:
        return Several.SET
    if name in _WINDOWS:
        return Several.WINDOW
    return Several.AGGREGATE if name in _AGGREGATES and not is_of_values(element) else None


def is_of_values(function: Any) -> bool:
    """Say whether a function is max() or min() of several values, which SQLite has: it is of one row."""
    return name_of(function) in ("max", "min") and len(function.clauses) > 1


def is_of_many_rows(element: object) -> bool:
    """Say whether a part of an expression is an aggregate."""
    return _several(element) is Several.AGGREGATE


def outside_subqueries(element: Any) -> Iterator[Any]:
    """Give the parts of an expression, but for those of its subqueries."""
    yield element
    if not isinstance(element, SelectBase | ScalarSelect):
        for child in element.get_children():
            yield from outside_subqueries(child)


# Classes that are generic in the type of a value, which nothing here knows.
_FUNCTION: Final[Any] = FunctionElement
_AGGREGATED: Final[Any] = (FunctionFilter, WithinGroup)
_CALLS: Final[Any] = (FunctionElement, FunctionFilter, Over, ScalarFunctionColumn, TableValuedAlias, WithinGroup)

INSTEAD: Final = {
    Several.AGGREGATE: "write it in a subquery of its own, as in select(func.count()).where(...).scalar_subquery()",
    Several.WINDOW: "write it in a subquery of its own, as in Row.id.in_(select(...))",
    Several.SET: "select from it in a subquery of its own, as in select(func.max(each)).scalar_subquery() of "
    "each = func.unnest(Row.tags).column_valued('each')",
}
"""What to write instead."""

_AGGREGATES: Final = frozenset(
    {
        *("count", "sum", "avg", "max", "min", "any_value", "array_agg", "string_agg", "group_concat"),
        *("bool_and", "bool_or", "every", "bit_and", "bit_or", "bit_xor", "aggregate_strings", "xmlagg"),
        *("json_agg", "jsonb_agg", "json_agg_strict", "jsonb_agg_strict", "json_object_agg", "jsonb_object_agg"),
        *("json_arrayagg", "json_objectagg", "json_group_array", "json_group_object", "jsonb_group_array"),
        *("jsonb_group_object", "range_agg", "range_intersect_agg", "variance", "var_pop", "var_samp"),
        *("stddev", "stddev_pop", "stddev_samp", "corr", "covar_pop", "covar_samp", "regr_avgx", "regr_avgy"),
        *("regr_count", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy"),
    }
)
_WINDOWS: Final = frozenset(
    {
        *("row_number", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead"),
        *("first_value", "last_value", "nth_value"),
    }
)
_OF_DOCUMENTS: Final = ("array_elements", "array_elements_text", "each", "each_text", "object_keys", "to_recordset")
_SETS: Final = frozenset(
    {
        *("generate_series", "generate_subscripts", "unnest", "_pg_expandarray"),
        *("regexp_matches", "regexp_split_to_table", "string_to_table"),
        *(f"{kind}_{name}" for kind in ("json", "jsonb") for name in (*_OF_DOCUMENTS, "populate_recordset")),
        *("jsonb_path_query", "jsonb_path_query_tz", "json_table", "json_tree", "jsonb_tree", "xmltable"),
        *("each", "skeys", "svals", "ts_stat", "ts_parse", "ts_debug", "ts_token_type", "aclexplode"),
        *("txid_snapshot_xip", "pg_snapshot_xip", "pg_options_to_table", "crosstab", "dblink"),
    }
)
"""Functions that give a set of rows, of PostgreSQL, its extensions, and SQLite."""
