"""Conditions as PromQL: what a scope or a filter says of columns becomes matchers of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import BinaryExpression, BindParameter, Column, ColumnElement
from sqlalchemy.sql import operators

from rowsmith import Condition, InvalidFilter

SIGNS = {operators.eq: "=", operators.ne: "!=", operators.is_distinct_from: "!=", operators.in_op: "=~"}


def selector(metric: str, conditions: Iterable[Condition]) -> str:
    """Give what selects the series of a metric for which all conditions hold.

    Raises:
        InvalidFilter: one of them is nothing that matchers can say.
    """
    return f"{metric}{{{','.join(map(matcher, conditions))}}}"


def matcher(condition: Condition) -> str:
    """Give one condition as a matcher.

    Raises:
        InvalidFilter: it does more than compare a label with a value, or look for it among several.
    """
    made: Any = condition if isinstance(condition, ColumnElement) or not callable(condition) else condition()
    match made:
        case BinaryExpression(left=Column(name=str(label)), right=BindParameter(value=value), operator=operator):
            if operator in SIGNS:
                return f"{label}{SIGNS[operator]}{quoted(value)}"
    raise InvalidFilter("the metric store compares labels with values: write equals, not_equals or in_")


def quoted(value: Any) -> str:
    """Give a value as a string of PromQL, which escapes as JSON does; several as a pattern that matches only them."""
    if isinstance(value, list | tuple | set | frozenset):
        several: Iterable[Any] = value
        value = "|".join(re.escape(str(each)) for each in several)
    return json.dumps(str(value), ensure_ascii=False)
