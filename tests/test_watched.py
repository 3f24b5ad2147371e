"""What is known of a server that is asked now and then."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from rowsmith import Database
from rowsmith.execution.position import SIGHT
from rowsmith.watched import Watched


async def test_a_question_that_was_ended_is_asked_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server hides its timeline where it says so, and not where it had no time for an answer."""
    connection: Any = asyncpg.Connection
    fetchrow, primary = connection.fetchrow, Watched("the primary", database.engine, is_standby=False)

    async def ended(driver: Any, query: str, *given: Any) -> Any:
        if query == SIGHT:
            raise asyncpg.QueryCanceledError("canceling statement due to statement timeout")
        return await fetchrow(driver, query, *given)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "fetchrow", ended)
        await primary.ask()
    assert not primary.is_up
    await primary.ask()
    assert primary.is_up
    assert primary.position.system
    await primary.dispose()
