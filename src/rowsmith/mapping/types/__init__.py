"""One table of column types: all that rowsmith knows of a SQL type stands in one record, made in one place.

A new type is a function that makes its :class:`ColumnType`, and its line in the ``ROWS`` of the module of its noun.
The checks of values and of whole columns, the lanes of a batch, the cursors and the filters all read the record.

PostgreSQL, asyncpg and SQLite each refuse, coerce or swallow odd values in their own way (SQLite keeps a NUL byte and a
string in an INTEGER column). Checking in Python makes the answer the same on every backend, before anything is written.
"""

from __future__ import annotations

from rowsmith.mapping.types.column_type import (
    NONE,
    NUMBERS,
    Check,
    ColumnType,
    Comparison,
    Echo,
    Family,
    Fits,
    InCursor,
    Quick,
    Take,
    Travel,
    is_number,
    is_walked,
)
from rowsmith.mapping.types.documents import json_complaint
from rowsmith.mapping.types.numbers import OF_SINGLES
from rowsmith.mapping.types.ranges import member_of
from rowsmith.mapping.types.table import (
    DIALECTS,
    TABLE,
    are_bound_alike,
    binds_itself,
    column_type,
    compared_type,
    constraint_names,
    is_moment,
    is_sqlalchemys,
    layers,
    on_postgresql,
    read_as,
    reads_itself,
    stored_form,
    stores_none,
)
from rowsmith.mapping.types.text import text_complaint, unlimited
from rowsmith.mapping.types.times import ENDS_OF_TIME, in_utc
from rowsmith.mapping.types.unknown import AsStored

__all__ = [
    "DIALECTS",
    "ENDS_OF_TIME",
    "NONE",
    "NUMBERS",
    "OF_SINGLES",
    "TABLE",
    "AsStored",
    "Check",
    "ColumnType",
    "Comparison",
    "Echo",
    "Family",
    "Fits",
    "InCursor",
    "Quick",
    "Take",
    "Travel",
    "are_bound_alike",
    "binds_itself",
    "column_type",
    "compared_type",
    "constraint_names",
    "in_utc",
    "is_moment",
    "is_number",
    "is_sqlalchemys",
    "is_walked",
    "json_complaint",
    "layers",
    "member_of",
    "on_postgresql",
    "read_as",
    "reads_itself",
    "stored_form",
    "stores_none",
    "text_complaint",
    "unlimited",
]
