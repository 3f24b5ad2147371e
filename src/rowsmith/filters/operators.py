"""The operators that several kinds of filter share, as functions of an operand and a value."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, false

from rowsmith.conditions import negation
from rowsmith.filters.fields import Compile, Operator
from rowsmith.filters.operands import Operand


def equals(operand: Operand, value: object) -> ColumnElement[bool]:
    """The field is this value."""
    return cast("ColumnElement[bool]", operand.expression == operand.prepare(value))


def not_equals(operand: Operand, value: object) -> ColumnElement[bool]:
    """The field is another value, or NULL."""
    return operand.expression.is_distinct_from(operand.prepare(value))


def greater(operand: Operand, value: object) -> ColumnElement[bool]:
    """The field is above the value."""
    return cast("ColumnElement[bool]", operand.expression > operand.prepare(value))


def at_least(operand: Operand, value: object) -> ColumnElement[bool]:
    """The field is the value or above."""
    return cast("ColumnElement[bool]", operand.expression >= operand.prepare(value))


def less(operand: Operand, value: object) -> ColumnElement[bool]:
    """The field is below the value."""
    return cast("ColumnElement[bool]", operand.expression < operand.prepare(value))


def at_most(operand: Operand, value: object) -> ColumnElement[bool]:
    """The field is the value or below."""
    return cast("ColumnElement[bool]", operand.expression <= operand.prepare(value))


def between(operand: Operand, value: Any) -> ColumnElement[bool]:
    """The field lies between two values, both included."""
    low, high = value
    return operand.expression.between(operand.prepare(low), operand.prepare(high))


def is_in(operand: Operand, values: Any) -> ColumnElement[bool]:
    """The field is one of the values; of none it never is."""
    return operand.expression.in_([operand.prepare(value) for value in values]) if values else false()


def is_null(operand: Operand, value: object) -> ColumnElement[bool]:
    """The field is NULL, or with False, is not."""
    return operand.expression.is_(None) if value else operand.expression.is_not(None)


def complement(of: Compile) -> Compile:
    """Give the negated operator: holds for exactly the rows where the plain one does not, NULL included."""
    return lambda operand, value: negation(of(operand, value))


EQUALS = Operator(equals, "The field is exactly this value.")
NOT_EQUALS = Operator(not_equals, "The field is any other value, or null.")
IN = Operator(is_in, "The field is one of these values; an empty list matches nothing.")
NOT_IN = Operator(complement(is_in), "The field is none of these values, or is null.")
IS_NULL = Operator(is_null, "True: the field is null. False: it is not.")
GREATER = Operator(greater, "The field is greater than this number.")
AT_LEAST = Operator(at_least, "The field is this number or greater.")
LESS = Operator(less, "The field is less than this number.")
AT_MOST = Operator(at_most, "The field is this number or less.")
BEFORE = Operator(less, "The field is earlier than this.")
AFTER = Operator(greater, "The field is later than this.")
AT_OR_BEFORE = Operator(at_most, "The field is this or earlier.")
AT_OR_AFTER = Operator(at_least, "The field is this or later.")
BETWEEN = Operator(between, "The field lies between these two, both included.")
NOT_BETWEEN = Operator(complement(between), "The field lies outside of these two, or is null.")
