"""Two servers for tests: one that writes, one that follows it, whose replay can be held up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from rowsmith import Database
from rowsmith.embedded import THROW_AWAY_SETTINGS, EmbeddedPostgres, Standby
from support import until

SETTINGS = {
    **THROW_AWAY_SETTINGS,
    "shared_buffers": "8MB",
    "max_standby_streaming_delay": "-1",
    "max_prepared_transactions": "2",
}
_WRITE = sa.text("SELECT pg_logical_emit_message(true, 'caught', 'up')::text")
_HAS = sa.text("SELECT pg_last_wal_replay_lsn() >= CAST(CAST(:place AS text) AS pg_lsn)")


@dataclass(frozen=True)
class Pair:
    """A server and its standby, and ways to both that no Database knows of."""

    primary: EmbeddedPostgres
    standby: Standby
    writer: AsyncEngine
    reader: AsyncEngine

    def database(self, **options: Any) -> Database:
        """Give a Database of both."""
        return Database.from_url(self.primary.url(), replicas=[self.standby.url()], **options)

    async def caught_up(self) -> None:
        """Wait until the standby has all that the primary has."""
        async with self.writer.connect() as connection:
            place = (await connection.execute(_WRITE)).scalar_one()  # committed, so that all before it is sent
        async with self.reader.connect() as connection:
            await until(lambda: _asked(connection, _HAS.bindparams(place=place)))

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Have the standby stay where it is."""
        await self.caught_up()
        await self.tell("SELECT pg_wal_replay_pause()")
        await until(lambda: self.tell("SELECT pg_get_wal_replay_pause_state() = 'paused'"))
        try:
            yield
        finally:
            await self.go_on()

    async def go_on(self) -> None:
        """Have it follow again."""
        await self.tell("SELECT pg_wal_replay_resume()")

    async def tell(self, command: str) -> Any:
        """Send the standby a command, and give its answer."""
        async with self.reader.connect() as connection:
            return await _asked(connection, sa.text(command))


async def _asked(connection: AsyncConnection, command: sa.TextClause) -> Any:
    return (await connection.execute(command)).scalar_one()


@contextmanager
def pair_of_servers() -> Iterator[Pair]:
    """Start both; gone when the block ends."""
    with EmbeddedPostgres(settings=SETTINGS) as primary, primary.standby() as standby:
        engines = [
            create_async_engine(server.url(), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
            for server in (primary, standby)
        ]
        yield Pair(primary, standby, *engines)


@contextmanager
def served(db: Database) -> Iterator[list[str]]:
    """Collect which server each connection is to that is taken meanwhile, but for those that servers are asked on."""
    assert db.replicas is not None
    taken: list[str] = []
    engines = {"primary": db.engine, "replica": db.replicas.servers[0].engine}

    def listener(name: str) -> Any:
        def note(_: Any, record: Any, __: Any) -> None:
            if record._ConnectionRecord__pool is engines[name].pool:
                taken.append(name)

        return note

    listeners = {name: listener(name) for name in engines}
    for name, each in listeners.items():
        event.listen(engines[name].sync_engine, "checkout", each)
    try:
        yield taken
    finally:
        for name, each in listeners.items():
            event.remove(engines[name].sync_engine, "checkout", each)
