"""Helpers for tests: ``from support import count_statements``."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Insert, event, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rowsmith.conditions import Condition, resolve
from rowsmith.database import Database
from rowsmith.errors import RepositoryError
from rowsmith.operations.updates.writer import BatchWriter


@contextmanager
def count_statements(db: Database) -> Iterator[list[str]]:
    """Collect the SQL of every statement that SQLAlchemy sends through the database's engine meanwhile.

    BEGIN, COMMIT and ROLLBACK are the driver's own and are not among them.
    """
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    event.listen(db.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(db.engine.sync_engine, "before_cursor_execute", note)


def checked_out(db: Database) -> int:
    """Count the connections that are not in the pool."""
    return db.engine.pool.checkedout()  # type: ignore[attr-defined,no-any-return]


def comes_late(monkeypatch: pytest.MonkeyPatch, other: AsyncConnection, made: Insert) -> None:
    """Have one more row come once a batch has locked those that are there, and have another transaction lock that."""
    lock_each = BatchWriter[Any, Any]._lock_each
    table: Any = made.table

    async def then_one_comes(writer: Any, target: Any, lock: Any) -> None:
        await lock_each(writer, target, lock)
        key: Any = (await other.execute(made)).inserted_primary_key
        await other.commit()
        this = [column == value for column, value in zip(table.primary_key, key, strict=True)]
        await other.execute(select(table).where(*this).with_for_update())

    monkeypatch.setattr(BatchWriter, "_lock_each", then_one_comes)


def sql(condition: Condition) -> str:
    """Give a condition as PostgreSQL gets it, in one line and with its values."""
    compiled = resolve(condition).compile(
        dialect=postgresql.dialect(paramstyle="named"), compile_kwargs={"literal_binds": True}
    )
    return " ".join(str(compiled).split())


@dataclass(frozen=True)
class Answer:
    """What a caller can learn from a refusal; two that are equal tell nothing apart."""

    error: RepositoryError = field(compare=False)
    told: tuple[object, ...]


async def answer_to(call: Awaitable[Any]) -> Answer:
    """Give how a call was refused; it fails the test where it was not."""
    with pytest.raises(RepositoryError) as caught:
        await call
    error = caught.value
    return Answer(error, (type(error), str(error), error.error_code, error.facts))
