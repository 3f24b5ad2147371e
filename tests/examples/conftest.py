"""What the tests by operation of several examples share."""

from __future__ import annotations

import pytest
from sqlalchemy import event


@pytest.fixture
def sent(db):
    """Collect the statements that go to the database meanwhile."""
    statements = []

    def note(connection, cursor, statement, *rest) -> None:
        statements.append(statement)

    event.listen(db.engine.sync_engine, "before_cursor_execute", note)
    yield statements
    event.remove(db.engine.sync_engine, "before_cursor_execute", note)
