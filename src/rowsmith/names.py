"""Names of rowsmith's own in SQL: of tables, columns and parameters that exist for one statement.

PostgreSQL and SQLite take the dollar sign in a name, and nobody writes it there; so these meet no name of the
application's, whose tables and columns are refused where they begin like them.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "rowsmith$"

PARAMETER: Final = "rowsmith~"
"""The name of a unique parameter, in which SQLAlchemy would make an underscore of the dollar sign."""


def sql_name(name: str) -> str:
    """Give a name of ours to put into SQL; it needs no quotes."""
    return PREFIX + name


def is_own(name: str) -> bool:
    """Say whether a name could be one of ours; SQLite and unquoted names fold letters."""
    return name.lower().startswith(PREFIX)
