"""What a column can hold, checked in Python before a statement is sent.

PostgreSQL, asyncpg and SQLite each refuse, coerce or swallow odd values in their own way (SQLite keeps
a NUL byte and a string in an INTEGER column). Checking here makes the answer the same on every backend,
and gives it before anything is written. A complaint says what the column holds, never what was given.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.types import TypeEngine

from rowsmith.mapping.types import Check, column_type


def check_for_comparison(declared: TypeEngine[Any]) -> Check:
    """Give the check of a value that is compared with such a column: what the database takes as a parameter."""
    return column_type(declared).operand
