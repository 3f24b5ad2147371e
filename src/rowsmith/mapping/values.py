"""What a column can hold, checked in Python before a statement is sent.

PostgreSQL, asyncpg and SQLite each refuse, coerce or swallow odd values in their own way (SQLite keeps
a NUL byte and a string in an INTEGER column). Checking here makes the answer the same on every backend,
and gives it before anything is written. A complaint says what the column holds, never what was given.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

from rowsmith.errors import InvalidValue
from rowsmith.mapping.types import Check, column_type


def check_value(declared: TypeEngine[Any], value: Any, where: str) -> None:
    """Refuse a value that a column of this type cannot hold.

    Args:
        declared: the SQLAlchemy type of the column.
        value: anything; None and SQL expressions pass, the database judges them.
        where: what the message calls the column, for example ``"GroupRow.name"``.

    Raises:
        InvalidValue: the column cannot hold it; the message says what it holds.
    """
    if value is None or isinstance(value, ClauseElement):
        return
    if (complaint := check_for(declared)(value)) is not None:
        raise InvalidValue(f"{where} {complaint}")


def check_for(declared: TypeEngine[Any]) -> Check:
    """Give the check of a column type; types of unknown kind (a ``TypeDecorator``) accept everything."""
    return column_type(declared).check


def check_for_comparison(declared: TypeEngine[Any]) -> Check:
    """Give the check of a value that is compared with such a column: what the database takes as a parameter."""
    return column_type(declared).operand
