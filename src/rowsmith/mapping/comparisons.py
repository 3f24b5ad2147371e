"""What conditions compare: values that a column could not be compared with, or not on every backend.

PostgreSQL has no comparison of a number with a text, and says so by the SQLSTATE of a function that is not there;
SQLite has an answer. So each comparison of a condition is looked at before anything is sent, wherever the value stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import NoneType
from typing import Any, Final, TypeAlias

from sqlalchemy import BindParameter, Case, Column, Tuple
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    ClauseList,
    CollectionAggregate,
    ExpressionClauseList,
    False_,
    True_,
)
from sqlalchemy.sql.functions import Function

from rowsmith.conditions import bare, compared_with
from rowsmith.errors import ErrorFacts, InvalidValue
from rowsmith.mapping.row import RowInfo
from rowsmith.mapping.types import Check, Comparison, column_type

Pair: TypeAlias = tuple[Any, Any, Any]
"""Two expressions that are compared with each other, and the type of the second, which may be one of many."""


def check_comparisons(whole: Any, elements: Iterable[Any], info: RowInfo[Any], role: str) -> None:
    """Refuse values that are compared with what they could not be compared with on every backend.

    Args:
        whole: an expression.
        elements: all that it is made of, itself included.
        info: the row that it is about, whose attributes the message names.
        role: what the expression is to the row, as in ``"a condition on"``.

    Raises:
        InvalidValue: there is one, or two columns are of kinds that nothing compares.
    """
    for element in elements:
        if isinstance(element, _VALUE):
            if complaint := _complaint(element, column_type(element.type).operand):
                raise _refusal(compared_with(whole, element), complaint, info, role)
            continue
        for left, right, kind in _pairs(element):
            _check_pair(left, right, kind, info, role)


def _pairs(element: Any) -> Iterator[Pair]:
    """Give what an expression compares by itself, row-wise comparisons part by part."""
    if isinstance(element, _BINARY) and element.operator in _COMPARE:
        yield from _paired(element.left, element.right)
    elif isinstance(element, _BINARY) and element.operator in _WITH_EACH:
        members = bare(element.right)
        for part in members.clauses if isinstance(members, _LISTS) else (members,):
            yield from _paired(element.left, part)
    elif isinstance(element, _CASE) and element.value is not None:
        for part, _ in element.whens:
            yield from _paired(element.value, part)
    elif isinstance(element, _FUNCTION) and element.name == "nullif" and len(element.clauses) == 2:  # noqa: PLR2004
        yield from _paired(*element.clauses)


def _paired(left: Any, right: Any) -> Iterator[Pair]:
    left, right = bare(left), bare(right)
    if isinstance(left, _ROW) and isinstance(right, _ROW):
        for one, other in zip(left.clauses, right.clauses, strict=False):
            yield from _paired(one, other)
    elif isinstance(right, _EACH_OF):
        members = bare(right.element)
        yield left, members, getattr(members.type, "item_type", members.type)
    elif not {left.__class__, right.__class__} & _OF_SEVERAL:
        yield left, right, right.type


def _check_pair(left: Any, right: Any, kind: Any, info: RowInfo[Any], role: str) -> None:
    kinds = [_KINDS.get(column_type(each).compared) for each in (left.type, kind)]
    if left.type is kind or None in kinds or kinds[0] == kinds[1]:
        return
    (other, given) = (left, right) if left.__class__ not in _GIVEN else (right, left)
    if given.__class__ not in _GIVEN and not (isinstance(other, _COLUMN) and isinstance(given, _COLUMN)):
        return
    parts: list[Any] = list(visitors.iterate(other))
    if any(map(_is_guessed, parts)):
        return
    held = column_type(other.type if other is left else kind)
    complaint = _complaint(given, held.operand) if given.__class__ is BindParameter else None
    columns = [part for part in parts if isinstance(part, _COLUMN)]
    raise _refusal(columns, complaint or f"holds {held.compared.value}", info, role)


def _is_guessed(part: Any) -> bool:
    """Say whether SQLAlchemy gives what an operator makes the type of its first operand, for want of a better one."""
    operator: Any = getattr(part, "operator", None)
    if isinstance(operator, _CUSTOM):
        return not operator.is_comparison and operator.return_type is None
    return operator is operators.concat_op and column_type(part.type).compared is not Comparison.TEXT


# Classes that are generic in the type of a value, which nothing here knows.
_BINARY: Final[Any] = BinaryExpression
_CASE: Final[Any] = Case
_COLUMN: Final[Any] = Column
_CUSTOM: Final[Any] = operators.custom_op
_EACH_OF: Final[Any] = CollectionAggregate
_FUNCTION: Final[Any] = Function
_LISTS: Final[Any] = (ClauseList, ExpressionClauseList)
_ROW: Final[Any] = Tuple
_VALUE: Final[Any] = BindParameter
_OF_SEVERAL: Final[Any] = frozenset((Tuple, ClauseList))
_GIVEN: Final[Any] = frozenset((BindParameter, True_, False_))
_COMPARE: Final = frozenset(
    {
        *(operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge),
        *(operators.is_distinct_from, operators.is_not_distinct_from, operators.is_, operators.is_not),
    }
)
_WITH_EACH: Final = frozenset(
    {operators.in_op, operators.not_in_op, operators.between_op, operators.not_between_op},
)
_KINDS: Final = {
    Comparison.TEXT: "text",
    **dict.fromkeys((Comparison.INTEGER, Comparison.FLOAT, Comparison.DECIMAL), "number"),
    Comparison.BOOLEAN: "boolean",
    **dict.fromkeys((Comparison.MOMENT, Comparison.LOCAL_TIME, Comparison.DATE), "time"),
    Comparison.UUID: "UUID",
}
"""What PostgreSQL compares with each other, and with nothing else."""


def _complaint(bind: BindParameter[Any], check: Check) -> str | None:
    given = bind.effective_value
    values = given or () if bind.expanding else (given,)
    return next(filter(None, (check(value) for value in values if not isinstance(value, _ASIDE))), None)


_ASIDE: Final = (NoneType, tuple)


def _refusal(columns: Sequence[Column[Any]], complaint: str, info: RowInfo[Any], role: str) -> InvalidValue:
    """Give the error for a value that is compared with columns, which it names."""
    names = [f"{info.row.__name__}.{name}" if (name := info.name_of(each)) else str(each) for each in columns]
    compared = f"{' or '.join(names)}, which" if names else "a column that"
    facts = ErrorFacts(columns=tuple(str(each.name) for each in columns))
    return InvalidValue(f"{role} {info.row.__name__} compares with {compared} {complaint}", facts=facts)
