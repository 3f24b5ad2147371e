"""A Redis of the tests' own, on a socket in a folder of its own: ``async with redis_server() as server``."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Plain
from redis import RedisError
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")


class Server:
    """A server that can be stopped, gone on with, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.process: Any = None

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        assert BINARY is not None
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([BINARY, *options], stdout=subprocess.DEVNULL, cwd=self.socket.parent)
        for _ in range(6000):
            try:
                with Plain(unix_socket_path=str(self.socket)) as client:
                    client.ping()
                return
            except RedisError:
                time.sleep(0.01)
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        """Have it hang."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it hang no longer."""
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it, with all that it keeps."""
        self.go_on()
        self.process.kill()
        self.process.wait()

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[Redis]:
        """Give a client, whose connections are closed afterwards; those that cancelled calls left behind, too."""
        client = Redis(unix_socket_path=str(self.socket), **options)
        pool: Any = client.connection_pool
        made, make = list[Any](), pool.make_connection

        def kept() -> Any:
            made.append(make())
            return made[-1]

        pool.make_connection = kept
        try:
            yield client
        finally:
            await client.aclose()
            for connection in made:
                await connection.disconnect(nowait=True)
            await asyncio.sleep(0)  # transports close themselves one turn later


@contextmanager
def redis_server() -> Iterator[Server]:
    """Give a running server; where there is none on the machine the test is skipped, but never in CI."""
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed: apt-get install redis-server")
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="redis") as folder:  # a socket's path is short
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def lose_next_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next answer of a Redis get lost on the way, once what was asked is done; redis-py asks again."""
    is_armed, read = [True], AbstractConnection.read_response

    async def read_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = await read(self, *args, **kwargs)
        if is_armed and self.is_connected and is_armed.pop():
            raise ConnectionError("lost")
        return answer

    monkeypatch.setattr(AbstractConnection, "read_response", read_response)
