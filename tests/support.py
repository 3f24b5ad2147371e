"""Helpers for tests: ``from support import count_statements``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy import Insert, event, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from rowsmith.conditions import Condition, resolve
from rowsmith.database import Database
from rowsmith.errors import RepositoryError
from rowsmith.operations.updates.writer import BatchWriter

WAYS = int(os.environ.get("ROWSMITH_WAYS", "1"))
"""In how many ways cases are tried that differ by several things at once; 1 in the suite, and all from 3 on."""

T = TypeVar("T")


def share(cases: Iterable[T], of: int = 2) -> list[T]:
    """Give half of some cases, or one of so many, in their order and always the same; all for ``nox -s ways``."""
    given = list(cases)
    size = len(given) if WAYS > 1 else -(-len(given) // of)
    return [given[place] for place in sorted(Random(len(given)).sample(range(len(given)), size))]


def turned(cases: Sequence[T], by: int) -> Sequence[T]:
    """Give cases from another one on, so that a share of them is of others."""
    return [*cases[by % len(cases) :], *cases[: by % len(cases)]]


BARE = [part for name in ("anyio", "hypothesispytest", "schemathesis") for part in ("-p", f"no:{name}")]
"""Options of pytest that leave out plugins of rowsmith's own tests; to import them takes longer than a few tests."""


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


def spare_the_disk(connection: DBAPIConnection, _: object) -> None:
    """Have SQLite leave writing to the disk to the system: nothing has to outlive the machine."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = OFF")
    cursor.close()


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


async def until(holds: Callable[[], Awaitable[Any]]) -> None:
    """Wait until something holds, however long that takes."""
    while not await holds():  # noqa: ASYNC110 - servers have no Event
        await asyncio.sleep(0.002)


# Those who wait for this transaction, and those who wait for them.
_WAITING = sa.text("""
WITH RECURSIVE waiting (pid) AS (
    SELECT pg_backend_pid()
    UNION SELECT pg_locks.pid FROM pg_locks JOIN waiting ON waiting.pid = ANY (pg_blocking_pids(pg_locks.pid))
    WHERE NOT granted
)
SELECT count(*) - 1 FROM waiting
""")


async def is_waited_for(holder: AsyncSession | AsyncConnection, *calls: asyncio.Future[Any]) -> bool:
    """Look until each of these calls waits for the locks of a transaction; False where one ends before."""
    while not any(call.done() for call in calls):
        if (await holder.execute(_WAITING)).scalar_one() >= len(calls):
            return True
        await asyncio.sleep(0.001)
    return False
