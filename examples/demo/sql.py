"""The SQL that is sent: counted, remembered, and laid out for reading."""

from __future__ import annotations

import re
from textwrap import shorten, wrap
from typing import Any, cast

from asyncpg import Connection
from rich.syntax import Syntax
from sqlalchemy import event

from rowsmith import Database


class SqlLog:
    """Every statement that is sent: by SQLAlchemy, whose events tell, or in bulk straight on the driver."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def watch(self, db: Database) -> None:
        """Listen to what goes through SQLAlchemy."""
        event.listen(db.engine.sync_engine, "before_cursor_execute", self._note)

    def connection_class(self) -> Any:
        """Give a class of connections that also note what goes past SQLAlchemy; for ``connect_args``."""
        note, plain = self.sent.append, cast("Any", Connection)

        async def prepare(self: Any, query: str, **options: Any) -> Any:
            if "name" not in options:  # SQLAlchemy names its statements, and has told of them already
                note(query)
            return await plain.prepare(self, query, **options)

        async def copy_records_to_table(self: Any, table: str, **options: Any) -> Any:
            note(f"COPY {table} ({', '.join(options['columns'])}) FROM STDIN")
            return await plain.copy_records_to_table(self, table, **options)

        return type("Watched", (plain,), {f.__name__: f for f in (prepare, copy_records_to_table)})

    def since(self, mark: int) -> list[str]:
        """Give what was sent after there were ``mark`` statements."""
        return self.sent[mark:]

    def _note(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        del connection, cursor, rest
        if statement != "SELECT 1":  # begins a transaction for the driver
            self.sent.append(statement)


_CLAUSES = "FROM|WHERE|ORDER BY|LIMIT|RETURNING|VALUES|SET|GROUP BY|AND|SELECT|ON CONFLICT|FOR UPDATE"
_CLAUSE = re.compile(rf"(?<!DELETE)\s+(?=(?:{_CLAUSES})\b)")


def laid_out(statement: str, width: int = 110) -> str:
    """Give a statement with each clause on a line of its own, indented by the parentheses around it."""
    depth, lines = 0, list[str]()
    for clause in _CLAUSE.split(" ".join(statement.split())):
        indent = "  " * (depth + clause.startswith("AND "))
        lines += wrap(clause, width, initial_indent=indent, subsequent_indent=f"{indent}    ", break_long_words=False)
        depth += clause.count("(") - clause.count(")")
    return "\n".join(lines)


def in_one_line(statement: str, width: int = 110) -> str:
    """Give the beginning of a statement."""
    return shorten(statement, width, placeholder=" ...")


def highlighted(text: str) -> Syntax:
    """Give SQL in colours."""
    return Syntax(text, "postgresql", theme="ansi_dark", background_color="default", word_wrap=True)
