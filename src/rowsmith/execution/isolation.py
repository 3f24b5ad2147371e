"""The isolation that was chosen for an engine's transactions, or for those of one connection."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine

from rowsmith.errors import MappingError


def chosen_isolation(bind: Engine | Connection) -> set[str]:
    """Give the levels that were chosen as the engine was made, and by execution options."""
    dialect: Any = bind.dialect
    chosen = dialect._on_connect_isolation_level, bind.get_execution_options().get("isolation_level")
    return {level for level in chosen if level is not None}


def check_isolation(bind: Engine | Connection) -> None:
    """Refuse what has no transactions, so that nothing would be undone; SQLite has those that are begun here.

    Raises:
        MappingError: it commits each statement by itself.
    """
    if bind.dialect.name != "sqlite" and "AUTOCOMMIT" in chosen_isolation(bind):
        raise MappingError(
            "this engine commits each statement by itself, so that what fails would be half done: make it without "
            'isolation_level="AUTOCOMMIT"; for single statements in one round trip there is '
            'Database(engine, writes="statement")'
        )
