"""A Redis for the tests of caches."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from redis_server import Server, redis_server


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[Server]:
    """Give a server for all tests of a process."""
    with redis_server() as started:
        yield started
    gc.collect()  # connections that cancelled calls lost close themselves, as long as there is a loop to do it in


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    """Give a client of the server, which is empty."""
    async with server.client() as client:
        await client.flushall()
        yield client
