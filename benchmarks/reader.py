"""A reader in a process of its own: ``python -m benchmarks.reader SERVER ROWS``, the server as JSON.

Reads one row after the other, of ids from one to ROWS, until its standard input ends; then prints, as JSON, how
many reads it made and how many milliseconds ninety-nine in a hundred of them stayed below.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import asyncpg

from benchmarks.data import COLUMNS, Server

READ = f"SELECT {', '.join(COLUMNS)} FROM bench_numbered WHERE id = $1"


@dataclass
class Reads:
    """What a reader noticed, once it has stopped."""

    count: int = 0
    p99: float = 0.0


@asynccontextmanager
async def reading(server: Server, rows: int) -> AsyncGenerator[Reads]:
    """Have a reader read for as long as the block lasts."""
    reads, pipe = Reads(), asyncio.subprocess.PIPE
    arguments = ("-m", "benchmarks.reader", json.dumps(vars(server)), str(rows))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    await process.stdout.readline()  # it says so when it is connected
    yield reads
    told, _ = await process.communicate(b"")
    reads.count, reads.p99 = json.loads(told)


async def read(server: Server, rows: int) -> None:
    """Be the reader."""
    connection = await asyncpg.connect(**server.options)
    random, seconds, stop = Random(1), list[float](), threading.Event()  # noqa: S311 - the same reads in every run
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    print("reading", flush=True)
    while not stop.is_set():
        start = time.perf_counter()
        await connection.fetchrow(READ, random.randint(1, rows))
        seconds.append(time.perf_counter() - start)
        await asyncio.sleep(0.001)
    print(json.dumps([len(seconds), statistics.quantiles(seconds, n=100)[-1] * 1000]))


if __name__ == "__main__":
    asyncio.run(read(Server(**json.loads(sys.argv[1])), int(sys.argv[2])))
