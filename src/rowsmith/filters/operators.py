"""The operators that several kinds of filter share, as functions of a target and a value."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, false

from rowsmith.conditions import negation
from rowsmith.filters.fields import Compile, Operator
from rowsmith.filters.targets import Target


def equals(target: Target, value: Any) -> ColumnElement[bool]:
    """The field is this value."""
    return cast("ColumnElement[bool]", target.expression == target.prepare(value))


def not_equals(target: Target, value: Any) -> ColumnElement[bool]:
    """The field is another value, or NULL."""
    return target.expression.is_distinct_from(target.prepare(value))


def greater(target: Target, value: Any) -> ColumnElement[bool]:
    """The field is above the value."""
    return cast("ColumnElement[bool]", target.expression > target.prepare(value))


def at_least(target: Target, value: Any) -> ColumnElement[bool]:
    """The field is the value or above."""
    return cast("ColumnElement[bool]", target.expression >= target.prepare(value))


def less(target: Target, value: Any) -> ColumnElement[bool]:
    """The field is below the value."""
    return cast("ColumnElement[bool]", target.expression < target.prepare(value))


def at_most(target: Target, value: Any) -> ColumnElement[bool]:
    """The field is the value or below."""
    return cast("ColumnElement[bool]", target.expression <= target.prepare(value))


def between(target: Target, value: Any) -> ColumnElement[bool]:
    """The field lies between two values, both included."""
    low, high = value
    return target.expression.between(target.prepare(low), target.prepare(high))


def is_in(target: Target, values: Any) -> ColumnElement[bool]:
    """The field is one of the values; of none it never is."""
    return target.expression.in_([target.prepare(value) for value in values]) if values else false()


def is_null(target: Target, value: Any) -> ColumnElement[bool]:
    """The field is NULL, or with False, is not."""
    return target.expression.is_(None) if value else target.expression.is_not(None)


def complement(of: Compile) -> Compile:
    """Give the negated operator: holds for exactly the rows where the plain one does not, NULL included."""
    return lambda target, value: negation(of(target, value))


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
