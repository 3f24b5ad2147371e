"""The SQL that is sent: counted, remembered, and laid out for reading."""

from __future__ import annotations

import re
from textwrap import shorten, wrap
from typing import Any

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
        note = self.sent.append

        base: Any = Connection  # asyncpg's own types are only partly known

        class Watched(base):
            async def prepare(self, query: str, **options: Any) -> Any:
                if "name" not in options:  # SQLAlchemy names its statements, and has told of them already
                    note(query)
                return await super().prepare(query, **options)

            async def copy_records_to_table(self, table_name: str, **options: Any) -> Any:
                note(f"COPY {table_name} ({', '.join(options['columns'])}) FROM STDIN")
                return await super().copy_records_to_table(table_name, **options)

        return Watched

    def since(self, mark: int) -> list[str]:
        """Give what was sent after there were ``mark`` statements."""
        return self.sent[mark:]

    def _note(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        del connection, cursor, rest
        if statement != "SELECT 1":  # begins a transaction for the driver
            self.sent.append(statement)


_CLAUSE = re.compile(r"(?<!DELETE)\s+(?=(?:FROM|WHERE|ORDER BY|LIMIT|RETURNING|VALUES|SET|GROUP BY|AND|FOR UPDATE)\b)")


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
