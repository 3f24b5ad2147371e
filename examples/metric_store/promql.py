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
    given: Any = condition
    made: Any = given if isinstance(condition, ColumnElement) else given()
    match made:
        case BinaryExpression(left=Column(name=str(label)), right=BindParameter(value=value), operator=operator):
            if operator in SIGNS:
                text = one_of(value or ()) if operator is operators.in_op else str(value)
                return f"{label}{SIGNS[operator]}{quoted(text)}"
        case _:
            pass
    raise InvalidFilter("the metric store compares labels with values: write equals, not_equals or in_")


def quoted(text: str) -> str:
    """Give a string of PromQL, which escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def one_of(values: Iterable[object]) -> str:
    """Give a pattern that matches these and nothing else."""
    return "|".join(re.escape(str(each)) for each in values)
