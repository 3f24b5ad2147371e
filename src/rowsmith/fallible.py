"""What may fail for some row, and how it is kept from being evaluated for rows that a call is not about.

A database evaluates the conditions of a WHERE in whatever order it takes to be cheap, and below joins. So a division, a
cast or a function may meet a row that the other conditions leave out, and whether a call fails would tell of that row.
Within a CASE the order is fixed. What cannot fail stays as it is, for an index answers no CASE. Nothing here talks to a
database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar, cast

from sqlalchemy import (
    ARRAY,
    CTE,
    JSON,
    Alias,
    BindParameter,
    Case,
    Cast,
    Column,
    ColumnElement,
    CompoundSelect,
    Enum,
    Exists,
    Index,
    Join,
    ScalarSelect,
    Select,
    String,
    Subquery,
    TableClause,
    TextClause,
    UnaryExpression,
    and_,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH, TSVECTOR
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import elements, operators, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import FromGrouping, SelectStatementGrouping

from rowsmith.conditions import bare, whole
from rowsmith.several import Several, name_of, several_in
from rowsmith.sql import are_same

T = TypeVar("T")


class OfStep(Case[T]):
    """A CASE inside of a step over a relationship: SQLite, which reads nothing nested as deep, has what is in it alone.

    Hardly anything fails there: a division by zero is NULL, and a cast gives something of every value.
    """

    inherit_cache = True


@compiles(OfStep, "sqlite")
def _on_sqlite(element: OfStep[Any], compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.whens[0][1], **options)


def where_inside(
    inside: Sequence[ColumnElement[bool]], expression: ColumnElement[T], made: type[Case[Any]] = Case
) -> ColumnElement[T]:
    """Give an expression that is evaluated for those rows alone for which some conditions hold; for others it is NULL.

    What cannot fail for any row stays as it is.
    """
    if not inside or not may_fail(expression):
        return expression
    return made((and_(true(), *map(whole, inside)), whole(expression)))


def may_fail(part: Any) -> bool:
    """Say whether evaluating an expression for some row may be an error, as far as it cannot be seen not to.

    What an index is over has been evaluated for every row.
    """
    fails = _fails_itself(part) or any(map(may_fail, _parts(part)))
    return fails and not _is_indexed(part)


def _parts(part: Any) -> Iterable[Any]:
    """Give the parts of a part; of one that takes several rows of a subquery that as what gives several."""
    if isinstance(part, TableClause):
        return ()
    takes_rows = isinstance(part, Exists) or getattr(part, "operator", None) in _OF_ROWS
    found: list[Any] = list(part.get_children())
    if not takes_rows:
        return found
    return [each.element if isinstance(each, _SCALAR) else each for each in map(bare, found)]


def _fails_itself(part: Any) -> bool:
    if isinstance(part, elements.ColumnClause):
        return any(map(_is_computed, cast("Any", part).base_columns))
    if isinstance(part, Cast):
        return not _casts_all(part)
    if isinstance(part, _FUNCTION):
        return name_of(part) not in _FUNCTIONS and not _is_query_of_words(part)
    if isinstance(part, elements.BinaryExpression):
        return not _is_safe(part)
    if isinstance(part, elements.ExpressionClauseList):
        return part.operator not in _OPERATORS and not _joins_text(part)
    if isinstance(part, UnaryExpression) and not isinstance(part, Exists):
        return (part.operator or part.modifier) not in _UNARY
    if isinstance(part, _SCALAR):
        return not _gives_one(bare(part.element))
    return not (isinstance(part, _TRANSPARENT) or type(part).__module__.startswith("rowsmith."))


def _is_query_of_words(function: Any) -> bool:
    """Say whether a function makes a query of a full text search, and not of the words of a row."""
    return name_of(function) in _QUERIES and not any(isinstance(part, Column) for part in visitors.iterate(function))


def _is_computed(root: Any) -> bool:
    """Say whether a column is worked out as it is read, by what may fail: one of a subquery, or a virtual one."""
    if isinstance(root, Column):
        return root.computed is not None and root.computed.persisted is False
    if isinstance(root, elements.ColumnClause):
        return root.is_literal and _CONSTANT.fullmatch(str(root.name)) is None
    return may_fail(root)


def _casts_all(part: Any) -> bool:
    """Say whether a cast takes every value: everything has a text."""
    given, kind = part.clause, part.type
    if isinstance(kind, JSONB | JSONPATH):  # a constant is looked at before any row is
        return isinstance(given.type, JSONB) or isinstance(bare(given), BindParameter)
    return isinstance(kind, String) and not isinstance(kind, Enum)


def _is_safe(part: Any) -> bool:
    operator, kind = part.operator, part.left.type
    if isinstance(operator, operators.custom_op):
        symbol = str(operator.opstring)
        return symbol in _SYMBOLS or isinstance(kind, _KINDS_OF.get(symbol, ()))
    if operator in _LIKE:
        return _is_pattern(bare(part.right), part.modifiers.get("escape") or "\\")
    if operator in _ACCESSES:
        return isinstance(kind, ARRAY) or (isinstance(kind, JSONB) and isinstance(part.type, JSON | String))
    return operator in _OPERATORS or _joins_text(part)


def _joins_text(part: Any) -> bool:
    return part.operator is operators.concat_op and isinstance(part.type, String)


def _is_pattern(pattern: Any, escape: str) -> bool:
    """Say whether a LIKE knows its pattern: one that ends with what escapes fails where a text is like the rest."""
    text: Any = cast("Any", pattern).effective_value if isinstance(pattern, BindParameter) else None
    return isinstance(text, str) and not text.endswith(escape)


def _gives_one(select: Any) -> bool:
    """Say whether a subquery gives no more than one row, as far as its form tells."""
    if not isinstance(select, Select):
        return False
    limit: Any = cast("Any", select)._limit_clause
    if limit is not None:
        return getattr(limit, "effective_value", None) == 1
    columns: list[Any] = list(select.exported_columns)
    is_grouped = bool(cast("Any", select)._group_by_clauses)
    return not is_grouped and any(several_in(column, _AGGREGATE) is not None for column in columns)


def _is_indexed(part: Any) -> bool:
    """Say whether the mapping has an index of all rows of a table that is over an expression."""
    if not isinstance(part, _EXPRESSION) or isinstance(part, Column):
        return False
    columns: list[Any] = [each for each in visitors.iterate(part) if isinstance(each, Column)]
    tables = {getattr(column, "table", None) for column in columns}
    table: Any = tables.pop() if len(tables) == 1 else None
    return any(
        _is_over(given, part, columns)
        for index in getattr(table, "indexes", ())
        if _is_of_all(index)
        for given in index.expressions
        if not isinstance(given, Column)
    )


def _is_of_all(index: Index) -> bool:
    return not any(index.dialect_options[name].get("where") is not None for name in ("postgresql", "sqlite"))


def _is_over(given: Any, part: Any, columns: Sequence[Any]) -> bool:
    """Say whether an index is over an expression; the words of a text, whatever language they are taken to be of."""
    if name_of(part) != "to_tsvector":
        return isinstance(given, _EXPRESSION) and are_same(given, part)
    if isinstance(given, TextClause):
        return "to_tsvector" in given.text and all(column.name in given.text for column in columns)
    found: list[Any] = list(visitors.iterate(given))
    return {*map(hash, columns)} <= {*map(hash, found)} and any(name_of(each) == "to_tsvector" for each in found)


# Classes that are generic in the type of a value, which nothing here knows.
_EXPRESSION: Final[Any] = ColumnElement
_FUNCTION: Final[Any] = FunctionElement
_SCALAR: Final[Any] = ScalarSelect
_AGGREGATE: Final = frozenset({Several.AGGREGATE})
_CONSTANT: Final = re.compile(r"\*|-?\d+(\.\d+)?|'[^']*'(::\w+)?")
"""Text that is the same for every row."""

# What fails no more than its parts do, which are looked at by themselves.
_TRANSPARENT: Final[Any] = (
    *(Alias, CompoundSelect, CTE, Exists, FromGrouping, Join, Select, SelectStatementGrouping, Subquery, TableClause),
    elements.AsBoolean,
    elements.BindParameter,
    Case,
    elements.ClauseList,
    elements.CollationClause,
    elements.False_,
    elements.Grouping,
    elements.Label,
    elements.Null,
    elements.Slice,
    elements.True_,
    elements.TypeClause,
    elements.TypeCoerce,
    elements._label_reference,  # pyright: ignore[reportPrivateUsage]
)
_OF_ROWS: Final = {operators.in_op, operators.not_in_op, operators.any_op, operators.all_op}
_OPERATORS: Final = {
    *(operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge),
    *(operators.is_, operators.is_not, operators.is_distinct_from, operators.is_not_distinct_from),
    *(operators.in_op, operators.not_in_op, operators.between_op, operators.not_between_op),
    *(operators.and_, operators.or_, operators.comma_op, operators.collate),
}
_UNARY: Final = {
    *(operators.inv, operators.is_true, operators.is_false, operators.any_op, operators.all_op, operators.distinct_op),
    *(operators.asc_op, operators.desc_op, operators.nulls_first_op, operators.nulls_last_op),
}
_LIKE: Final = {
    *(operators.like_op, operators.ilike_op, operators.not_like_op, operators.not_ilike_op),
    *(operators.startswith_op, operators.endswith_op, operators.contains_op),
    *(operators.istartswith_op, operators.iendswith_op, operators.icontains_op),
    *(operators.not_startswith_op, operators.not_endswith_op, operators.not_contains_op),
    *(operators.not_istartswith_op, operators.not_iendswith_op, operators.not_icontains_op),
}
_ACCESSES: Final = {operators.getitem, operators.json_getitem_op, operators.json_path_getitem_op}
_SYMBOLS: Final = {"=", "@>", "<@", "&&", "?", "?|", "?&", "@?", "<<", ">>", "&<", "&>", "-|-"}
"""Operators of PostgreSQL that compare, and fail for no value."""
_KINDS_OF: Final[dict[str, Any]] = {"@@": (TSVECTOR, JSONB), **dict.fromkeys(("->", "->>", "#>", "#>>"), JSONB)}
"""Those that fail for no value of some types; a text would be made into another one."""
_FUNCTIONS: Final = frozenset(
    {
        *("coalesce", "nullif", "greatest", "least", "now", "current_timestamp", "current_date"),
        *("lower", "upper", "length", "char_length", "octet_length", "trim", "ltrim", "rtrim", "btrim"),
        *("cardinality", "array_length", "jsonb_typeof", "json_typeof", "json_type", "json_extract"),
        *("count", "max", "min", "bool_and", "bool_or", "every"),
    }
)
"""Functions that fail for no value."""
_QUERIES: Final = {"plainto_tsquery", "phraseto_tsquery", "websearch_to_tsquery"}
