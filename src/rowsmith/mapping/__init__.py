"""Mapping: row to data, spec to row, patch to values, each worked out once when its class is made.

``row`` knows a mapped class (columns, key, version), ``types`` all that is to know of each SQL type, ``values``
what each column can hold, ``writes`` the bases ``Spec`` and ``Patch``, ``expr`` and ``fields`` what fills each field
of a data class, ``relationships`` what a row leads to, ``loads`` what of it comes with whole rows, ``layout`` and
``shape`` what is selected for data and how a record becomes it.
"""

from __future__ import annotations

from rowsmith.mapping.expr import Aggregate, Expr, avg, count, max_, min_, sum_
from rowsmith.mapping.generics import type_arguments
from rowsmith.mapping.loads import Loads, checked_loads
from rowsmith.mapping.nested import Nested
from rowsmith.mapping.row import RowInfo, nearest, row_info
from rowsmith.mapping.shape import Shape, converted_shape, data_shape, key_shape, keyed_shape, row_shape
from rowsmith.mapping.types import Check
from rowsmith.mapping.writes import Patch, Spec

__all__ = [
    "Aggregate",
    "Check",
    "Expr",
    "Loads",
    "Nested",
    "Patch",
    "RowInfo",
    "Shape",
    "Spec",
    "avg",
    "checked_loads",
    "converted_shape",
    "count",
    "data_shape",
    "key_shape",
    "keyed_shape",
    "max_",
    "min_",
    "nearest",
    "row_info",
    "row_shape",
    "sum_",
    "type_arguments",
]
