"""What an expression reads: the values it is made of, or whatever a database can be asked for.

A subquery reads rows, and so may SQL given as text, a function or an operator of an application's own, and what an
application compiles itself. Nothing here talks to a database.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column
from sqlalchemy.sql import elements, operators, visitors
from sqlalchemy.sql.functions import Function

from rowsmith.several import name_of
from rowsmith.sql import as_sql


def reads_rows(expression: Any) -> bool:
    """Say whether an expression on a row reads other rows, or cannot be seen not to."""
    parts: list[Any] = list(visitors.iterate(as_sql(expression)))
    return any(not isinstance(part, Column) and reads_beyond(part) for part in parts)


def reads_beyond(part: Any) -> bool:
    """Say whether a part of an expression, which is no column, may read more than its own parts."""
    if isinstance(part, _FUNCTION):
        return not is_of_its_arguments(part)
    used = (getattr(part, "operator", None), getattr(part, "modifier", None))
    has_own_operator = any(isinstance(operator, operators.custom_op) for operator in used)
    return has_own_operator or not isinstance(part, _TRANSPARENT)


def is_of_its_arguments(function: Any) -> bool:
    """Say whether a function is known to be no more than what is made of its arguments."""
    return name_of(function) in _OF_THEIR_ARGUMENTS


_FUNCTION: Final[Any] = Function  # a class that is generic in the type of a value, which nothing here knows
# What is no more than its parts, which are looked at by themselves.
_TRANSPARENT: Final[Any] = (
    elements.BinaryExpression,
    elements.BindParameter,
    elements.BooleanClauseList,
    elements.Case,
    elements.Cast,
    elements.ClauseList,
    elements.CollationClause,
    elements.Extract,
    elements.False_,
    elements.Grouping,
    elements.Label,
    elements.Null,
    elements.Slice,
    elements.True_,
    elements.Tuple,
    elements.TypeClause,
    elements.TypeCoerce,
    elements.UnaryExpression,
)
_OF_THEIR_ARGUMENTS: Final = frozenset(
    {
        *("coalesce", "nullif", "greatest", "least", "now", "current_timestamp", "current_date"),
        *("abs", "ceil", "floor", "mod", "power", "round", "sign", "sqrt", "trunc"),
        *("char_length", "concat", "concat_ws", "left", "length", "lower", "ltrim", "replace", "reverse", "right"),
        *("rtrim", "split_part", "strpos", "substr", "substring", "trim", "upper"),
        *("array_length", "array_position", "array_remove", "array_to_string", "cardinality", "string_to_array"),
        *("age", "date_part", "date_trunc", "to_char", "jsonb_array_length", "jsonb_typeof", "json_array_length"),
    }
)
"""Functions of PostgreSQL and SQLite that read nothing but what they are given."""
