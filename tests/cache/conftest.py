"""A Redis for the tests of caches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from redis_server import Server, redis_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Give a server for all tests of a process."""
    with redis_server() as started:
        yield started


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    """Give a client of the server, which is empty."""
    async with server.client() as client:
        await client.flushall()
        yield client
