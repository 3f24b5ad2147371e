"""A reader in a process of its own: ``python -m benchmarks.reader SERVER ROWS``, the server as JSON.

Reads one row after the other, of ids from one to ROWS, until its standard input ends; then prints, as JSON, how
many reads it made, how many milliseconds ninety-nine in a hundred of them stayed below, and for which part of the time
of the others it, or the server's process for it, was ready to run and had no core.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
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
    waits: float | None = None
    """Of the slowest hundredth, the part in which there was no core; None where the system does not tell."""


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
    reads.count, reads.p99, reads.waits = json.loads(told)


async def read(server: Server, rows: int) -> None:
    """Be the reader."""
    connection = await asyncpg.connect(**server.options)
    random, reads, stop = Random(1), list[tuple[float, float]](), threading.Event()  # noqa: S311 - the same in every run
    queues = [*queues_of(os.getpid(), connection.get_server_pid())]
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    print("reading", flush=True)
    while not stop.is_set():
        before, start = queued(queues), time.perf_counter()
        await connection.fetchrow(READ, random.randint(1, rows))
        reads.append((time.perf_counter() - start, queued(queues) - before))
        await asyncio.sleep(0.001)
    p99 = statistics.quantiles([took for took, _ in reads], n=100)[-1]
    slow = [read for read in reads if read[0] >= p99]
    waits = sum(waited for _, waited in slow) / sum(took for took, _ in slow) if queues and slow else None
    print(json.dumps([len(reads), p99 * 1000, waits]))


def queues_of(*processes: int) -> Iterator[int]:
    """Open what says how long processes were ready to run and had no core, where the system tells (Linux, proc(5))."""
    for process in processes:
        with suppress(OSError):
            yield os.open(f"/proc/{process}/schedstat", os.O_RDONLY)


def queued(queues: Sequence[int]) -> float:
    """Give the seconds that they had none."""
    return sum(int(os.pread(each, 64, 0).split()[1]) for each in queues) / 1e9


if __name__ == "__main__":
    asyncio.run(read(Server(**json.loads(sys.argv[1])), int(sys.argv[2])))
