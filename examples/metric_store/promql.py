"""Conditions as PromQL: what a scope or a filter says of columns becomes matchers of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import BinaryExpression, BindParameter, Column, ColumnElement, False_
from sqlalchemy.sql import operators

from rowsmith import Condition, InvalidFilter, InvalidValue

SIGNS = {operators.eq: "=", operators.ne: "!=", operators.is_distinct_from: "!="}

NOTHING = r"[^\s\S]"
"""A pattern that matches no text, not even the empty one, which to the store is that of a label that is not there."""


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
        case False_():
            return f"nothing=~{quoted(NOTHING)}"
        case BinaryExpression(left=Column(name=str(label)), right=BindParameter(value=value), operator=operator):
            if operator is operators.in_op:
                return f"{label}=~{quoted(one_of(value or ()))}"
            if operator is operators.eq and value == "":
                return f"{label}=~{quoted(NOTHING)}"
            if operator in SIGNS:
                return f"{label}{SIGNS[operator]}{quoted(str(value))}"
        case _:
            pass
    raise InvalidFilter("the metric store compares labels with values: write equals, not_equals or in_")


def quoted(text: str) -> str:
    """Give a string of PromQL, which escapes as JSON does.

    Raises:
        InvalidValue: it is no text that can be sent.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidValue("half a surrogate pair is no text: give whole characters")
    return json.dumps(text, ensure_ascii=False)


def one_of(values: Iterable[object]) -> str:
    """Give a pattern that matches these and nothing else.

    The empty text is none of them: to the store it is the label of whoever has none, so of no tenant and no host.
    """
    return "|".join(re.escape(text) for text in map(str, values) if text) or NOTHING
