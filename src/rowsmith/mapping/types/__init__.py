"""One table of column types: all that rowsmith knows of a SQL type stands in one record, made in one place.

A new type is a function that makes its :class:`ColumnType`, and its line in the ``ROWS`` of the module of its noun.
The checks of values and of whole columns, the lanes of a batch, the cursors and the filters all read the record.
"""

from __future__ import annotations

from rowsmith.mapping.types.column_type import (
    NONE,
    NUMBERS,
    Check,
    ColumnType,
    Comparison,
    Echo,
    Fits,
    InCursor,
    Quick,
    Travel,
    is_number,
)
from rowsmith.mapping.types.documents import json_complaint
from rowsmith.mapping.types.table import TABLE, column_type, stored_form
from rowsmith.mapping.types.text import text_complaint

__all__ = [
    "NONE",
    "NUMBERS",
    "TABLE",
    "Check",
    "ColumnType",
    "Comparison",
    "Echo",
    "Fits",
    "InCursor",
    "Quick",
    "Travel",
    "column_type",
    "is_number",
    "json_complaint",
    "stored_form",
    "text_complaint",
]
