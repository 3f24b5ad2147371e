"""SQLite's RETURNING made to give what is stored.

SQLite 3.40 reads a column there as if it were one of another kind: where the table's first column is REAL, integers
come as floats, and large ones as others; where the key is NOT NULL, ``IS NULL`` is false of every column. A column
inside of an expression of its own is read as what it is, so each is written as ``iif(1, column, NULL)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Table
from sqlalchemy.sql.compiler import SQLCompiler


def read_returning_whole(engine: Engine) -> None:
    """Have statements of a SQLite engine be written so; does nothing to any other, and nothing the second time."""
    own = engine.dialect.statement_compiler
    if engine.dialect.name == "sqlite" and not issubclass(own, _Whole):
        engine.dialect.statement_compiler = type(own.__name__, (_Whole, own), {})


class _Whole(SQLCompiler):
    """Writes the columns of a statement's table in its RETURNING as expressions."""

    _returned: Table | None = None

    def returning_clause(self, stmt: Any, returning_cols: Sequence[Any], **kw: Any) -> str:
        """Write the clause."""
        self._returned = stmt.table
        try:
            return super().returning_clause(stmt, returning_cols, **kw)
        finally:
            self._returned = None

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> str:
        """Write a column."""
        written = super().visit_column(column, *args, **kw)
        is_returned = self._returned is not None and getattr(column.table, "key", None) == self._returned.key
        return f"iif(1, {written}, NULL)" if is_returned else written
