"""Round trips, seen from outside: a proxy counts how often a client speaks after the server has answered.

No message is read for that, so it is the same for each driver, for COPY and for cursors.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.data import Server

CHUNK = 2**16


@dataclass
class Turns:
    """How many there were, on all connections through ``server``."""

    server: Server
    count: int = 0


@dataclass
class Link:
    """One client's connection."""

    is_answered: bool = True


@asynccontextmanager
async def counted_turns(server: Server) -> AsyncGenerator[Turns]:
    """Listen for clients as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="turns") as folder:
        turns, tasks = Turns(replace(server, host=folder)), set[asyncio.Task[None]]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            await through(reader, writer, server, turns)

        listener = await asyncio.start_unix_server(serve, Path(folder) / f".s.PGSQL.{server.port}")
        try:
            yield turns
        finally:
            listener.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def through(client: asyncio.StreamReader, back: asyncio.StreamWriter, server: Server, turns: Turns) -> None:
    """Pass on what both sides say until one of them ends."""
    reader, writer = await connect(server)
    link = Link()

    async def forth() -> None:
        while data := await client.read(CHUNK):
            turns.count += link.is_answered
            link.is_answered = False
            writer.write(data)
            await writer.drain()

    async def answer() -> None:
        while data := await reader.read(CHUNK):
            link.is_answered = True
            back.write(data)
            await back.drain()

    ways = [asyncio.ensure_future(forth()), asyncio.ensure_future(answer())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        with suppress(ConnectionError):
            await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, back):
            end.transport.abort()


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the server itself."""
    if server.host.startswith("/"):
        return await asyncio.open_unix_connection(f"{server.host}/.s.PGSQL.{server.port}")
    return await asyncio.open_connection(server.host, server.port)
