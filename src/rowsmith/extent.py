"""What a condition leaves of a table's rows before any of them is looked at: all, none, or some.

A scope must leave some or none, and so must the conditions of a write that is not of all rows. Taken apart is what can
be known without the database: constants, what compares them, lists of nothing, columns that cannot be NULL, patterns
that every text is like, and AND, OR and NOT over them; an OR of a condition and its opposite leaves all. Nothing here
talks to a database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, cast

from sqlalchemy import Column, ColumnElement, FromClause, Null, SelectBase, UnaryExpression, not_
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    AsBoolean,
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnClause,
    False_,
    Grouping,
    Label,
    TableValuedColumn,
    TextClause,
    True_,
    TypeCoerce,
)

from rowsmith.conditions import bare
from rowsmith.ties import parts_and_sources


class Extent(Enum):
    """How many rows a condition holds for: ``FIXED`` is all or none, and the database knows which."""

    ALL = "all"
    NONE = "none"
    FIXED = "fixed"
    SOME = "some"


_OPPOSITE: Final = {Extent.ALL: Extent.NONE, Extent.NONE: Extent.ALL}
_COMPARISONS: Final = {operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge}
_REFLEXIVE: Final = {operators.eq, operators.le, operators.ge, operators.is_not_distinct_from}
_NULL: Final[Mapping[Any, Extent]] = {
    operators.is_: Extent.NONE,
    operators.is_not_distinct_from: Extent.NONE,
    operators.is_not: Extent.ALL,
    operators.is_distinct_from: Extent.ALL,
}
"""What comparing a column with NULL leaves where none of its values is NULL."""
_TELLING: Final = {operators.in_op, operators.not_in_op, *_NULL}
_LIKE: Final = {operators.like_op, operators.ilike_op}
_SEARCHES: Final = {
    *(operators.startswith_op, operators.endswith_op, operators.contains_op),
    *(operators.istartswith_op, operators.iendswith_op, operators.icontains_op),
}
"""What puts ``%`` beside the text that is given."""
_UNKNOWN: Final = object()
_CONSTANT_WORDS: Final = {"true", "false", "null", "and", "or", "not", "is", "in", "between", "distinct", "from"}


def tell_apart(extents: Iterable[Extent]) -> bool:
    """Say whether conditions that leave so much tell one row from another, or leave none, where all hold together."""
    return not {Extent.SOME, Extent.NONE}.isdisjoint(extents)


def extent(condition: ColumnElement[bool], tables: Mapping[str, FromClause]) -> Extent:
    """Say how many rows of one kind, kept in these tables, a condition holds for, as far as its form tells.

    Args:
        condition: what limits the rows.
        tables: those that a row is kept in, by their names, schemas included.
    """
    given = cast("Any", condition)
    match given:
        case Grouping() | Label():
            return extent(cast("Any", given).element, tables)
        case TypeCoerce():
            return extent(cast("Any", given).clause, tables)
        case AsBoolean() | UnaryExpression() if given.operator in (
            operators.is_true,
            operators.is_false,
            operators.inv,
        ):
            inside = extent(given.element, tables)
            return inside if given.operator is operators.is_true else _OPPOSITE.get(inside, inside)
        case BooleanClauseList() if given.clauses:
            return _joined(given, [extent(clause, tables) for clause in given.clauses])
        case BinaryExpression():
            return _compared(given, tables)
        case _:
            return _known(_value(given), given, tables)


def _joined(given: Any, parts: Sequence[Extent]) -> Extent:
    is_and = given.operator is operators.and_
    if not is_and and _are_all_cases(given.clauses):
        return Extent.ALL
    decides, yields = (Extent.NONE, Extent.ALL) if is_and else (Extent.ALL, Extent.NONE)
    for found in (decides, Extent.SOME, Extent.FIXED):
        if found in parts:
            return found
    return yields


def _are_all_cases(clauses: Sequence[object]) -> bool:
    """Say whether one of some conditions is the opposite of another, as far as their forms tell."""
    parts, pairs = [bare(clause) for clause in clauses], dict[Any, list[Any]]()
    for part in parts:
        if isinstance(part, BinaryExpression):
            pairs.setdefault(cast("Any", part).operator, []).append(part)
    for part in parts:
        if any(not_(part).compare(other) for other in pairs.get(getattr(part, "negate", None), ())):
            return True
    negated = [bare(part.left) for part in pairs.get(operators.is_not, ()) if isinstance(bare(part.right), True_)]
    return any(inside.compare(part) for inside in negated for part in parts)


def _compared(given: Any, tables: Mapping[str, FromClause]) -> Extent:
    left, right, operator = given.left, given.right, given.operator
    if operator in (operators.is_, operators.is_not) and isinstance(bare(right), True_):
        inside = extent(left, tables)
        return inside if operator is operators.is_ else _OPPOSITE.get(inside, inside)
    if operator in _TELLING and (told := _compared_with_nothing(operator, bare(left), bare(right), tables)) is not None:
        return told
    values = _value(left), _value(right)
    if operator in _COMPARISONS and not any(value is _UNKNOWN for value in values):
        return _known(_evaluated(operator, *values), given, tables)
    found = _known(_UNKNOWN, given, tables)
    same = operator in _REFLEXIVE and found is Extent.SOME and bare(left).compare(bare(right))
    if same or (found is Extent.SOME and _fits_any(operator, given)):
        return Extent.ALL
    return Extent.NONE if found is Extent.SOME and _fits_any(given.negate, given) else found


def _fits_any(operator: object, given: Any) -> bool:
    """Say whether every text is like a pattern: one of nothing but ``%``."""
    if operator not in _LIKE and operator not in _SEARCHES:
        return False
    pattern = _value(given.right)
    is_open = isinstance(pattern, str) and not pattern.strip("%") and given.modifiers.get("escape") != "%"
    return is_open and (bool(pattern) or operator in _SEARCHES)


def _compared_with_nothing(operator: Any, left: Any, right: Any, tables: Mapping[str, FromClause]) -> Extent | None:
    """Say what a list of nothing leaves, and what NULL does of a column that cannot be NULL; None of anything else."""
    if operator not in _NULL:
        is_list = isinstance(right, BindParameter) and right.expanding
        values = cast("Any", right).effective_value if is_list else None
        if values is None or values:
            return None
        return Extent.NONE if operator is operators.in_op else Extent.ALL
    is_required = isinstance(left, Column) and not left.nullable and _reads(cast("Any", left), tables)
    return _NULL[operator] if is_required and isinstance(right, Null) else None


def _known(value: object, given: ColumnElement[Any], tables: Mapping[str, FromClause]) -> Extent:
    if value is None or isinstance(value, (bool, int)):
        return Extent.ALL if value else Extent.NONE
    return Extent.SOME if is_of_the_row(given, tables) else Extent.FIXED


def is_of_the_row(given: ColumnElement[Any], tables: Mapping[str, FromClause]) -> bool:
    """Say whether anything of a condition is, or may well be, of a row that is kept in these tables."""
    parts = list(visitors.iterate(given))
    if not any(isinstance(part, SelectBase) for part in parts):
        return any(_reads(part, tables) for part in parts)
    # A SELECT that reads the row's table by itself, in a join too, is about any row there.
    return any(
        _reads(part, {cast("Any", one).key for one in own}) for part, own in parts_and_sources(given, tables.values())
    )


def _evaluated(operator: Callable[[Any, Any], object], left: object, right: object) -> Any:
    if left is None or right is None:
        return None
    try:
        return operator(left, right)
    except (TypeError, ValueError, ArithmeticError):
        return _UNKNOWN


def _value(given: ColumnElement[Any]) -> Any:
    alone: Any = bare(given)
    if isinstance(alone, (True_, False_)):
        return isinstance(alone, True_)
    if isinstance(alone, BindParameter):
        return _UNKNOWN if alone.expanding else cast("Any", alone).effective_value
    return None if isinstance(alone, Null) else _UNKNOWN


def _reads(part: object, tables: Collection[str]) -> bool:
    """Say whether a part of a condition is, or may well be, something of a row of the tables."""
    if isinstance(part, TextClause):
        return _names_something(part.text)
    if isinstance(part, ColumnClause):
        own = part.table is None or getattr(part.table, "key", None) in tables
        return _names_something(part.name) if part.is_literal else own
    return isinstance(part, TableValuedColumn) or not type(part).__module__.startswith(("sqlalchemy.", "rowsmith."))


def _names_something(text: str) -> bool:
    words = re.findall(r"[^\W\d]\w*", re.sub(r"'[^']*'", "", text))
    return not {word.lower() for word in words} <= _CONSTANT_WORDS
