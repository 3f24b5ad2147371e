"""The isolation that an engine's maker has chosen for its transactions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from rowsmith.errors import MappingError


def chosen_isolation(engine: Engine) -> set[str]:
    """Give the levels that are chosen for the connections of an engine, and for its transactions."""
    dialect: Any = engine.dialect
    chosen = dialect._on_connect_isolation_level, engine.get_execution_options().get("isolation_level")
    return {level for level in chosen if level is not None}


def check_isolation(engine: Engine) -> None:
    """Refuse an engine that has no transactions, where nothing would be undone; SQLite has those that are begun here.

    Raises:
        MappingError: it commits each statement by itself.
    """
    if engine.dialect.name != "sqlite" and "AUTOCOMMIT" in chosen_isolation(engine):
        raise MappingError(
            "this engine commits each statement by itself, so that what fails would be half done: make it without "
            'isolation_level="AUTOCOMMIT"; for single statements in one round trip there is '
            'Database(engine, writes="statement")'
        )
