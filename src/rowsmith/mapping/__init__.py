"""Mapping: row to data, spec to row, patch to values, each worked out once when its class is made.

``row`` knows a mapped class (columns, key, version), ``values`` what each column can hold, ``writes``
the bases ``Spec`` and ``Patch``, ``shape`` how a record becomes data.
"""

from rowsmith.mapping.row import RowInfo, columns_of, nearest, row_info
from rowsmith.mapping.shape import Shape, converted_shape, data_shape, row_shape
from rowsmith.mapping.values import Check, check_for, check_value
from rowsmith.mapping.writes import Patch, Spec

__all__ = [
    "Check",
    "Patch",
    "RowInfo",
    "Shape",
    "Spec",
    "check_for",
    "check_value",
    "columns_of",
    "converted_shape",
    "data_shape",
    "nearest",
    "row_info",
    "row_shape",
]
