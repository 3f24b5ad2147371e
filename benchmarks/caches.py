"""``python -m benchmarks.caches``: a get that a cache answers, beside one on the wire and a bare GET of Redis.

The calls of all go in turns, each in every round, in one process; a ratio is the median of those of the rounds. Without
policies, as the others have none.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter
from redis import Redis as Plain
from redis import RedisError
from redis.asyncio import Redis

from benchmarks.calls import count
from benchmarks.contenders.by_hand import Wire
from benchmarks.contenders.models import engine_on
from benchmarks.contenders.rowsmith import DomainScope, GroupRepository
from benchmarks.data import Group, Server
from benchmarks.world import SMALL, world
from rowsmith import Database
from rowsmith.cache import CacheSource, MemoryCacheSource, RedisCacheSource
from rowsmith.embedded import EmbeddedPostgres

ID: Final = 7
BESIDE: Final = {
    "get from memory": "get on the wire",
    "get from memory in a scope": "get on the wire",
    "get from Redis": "bare GET",
    "get from Redis in a scope": "bare GET",
}
GOALS: Final = {"get from memory": 0.25, "get from Redis": 1.3}
MOST_CALLS: Final = {"get from memory": 100}

Call = Callable[[], Awaitable[Group]]


@dataclass(frozen=True)
class Taken:
    """What one call took: microseconds (median), calls of functions, and its time to another's, with quartiles."""

    time: float
    calls: int
    ratio: tuple[float, float, float] | None = None


async def measure(server: Server, socket: Path, rounds: int, calls: int = 30) -> dict[str, Taken]:
    """Measure all of them.

    Args:
        server: the PostgreSQL.
        socket: that of a Redis, which is empty.
        rounds: how often each has its turn.
        calls: of each turn.
    """
    async with world(server, SMALL), opened(server, socket) as jobs:
        counted = {name: (await count(call)).calls for name, call in jobs.items()}
        times = await timed(jobs, rounds, calls)
    return {
        name: Taken(statistics.median(own), counted[name], ratio(own, times[BESIDE[name]]) if name in BESIDE else None)
        for name, own in times.items()
    }


@asynccontextmanager
async def opened(server: Server, socket: Path) -> AsyncGenerator[dict[str, Call]]:
    """Give what is measured, once all give the same and no cache has anything left to ask for."""
    wire, db, client = Wire(), Database(engine_on(server)), Redis(unix_socket_path=str(socket))
    adapter = TypeAdapter(Group)
    await wire.open(server)
    try:
        group = await wire.get(ID)
        await client.set("bare", adapter.dump_json(group))

        async def bare() -> Group:
            return adapter.validate_json(await client.get("bare") or "")

        jobs: dict[str, Call] = {"get on the wire": lambda: wire.get(ID), "bare GET": bare}
        sources: dict[str, CacheSource[int, Group]] = {
            "memory": MemoryCacheSource(Group, ttl=3600.0),
            "Redis": RedisCacheSource(client, Group, prefix="bench", ttl=3600.0),
        }
        for name, source in sources.items():
            jobs |= cached(name, GroupRepository(db, cache_source=source, resilience=None), group)
        for call in jobs.values():
            assert [await call() for _ in range(3)] == [group] * 3
        misses = [source.counts.misses for source in sources.values()]
        yield jobs
        assert [source.counts.misses for source in sources.values()] == misses
    finally:
        await client.aclose()
        await db.dispose()
        await wire.close()


def cached(name: str, groups: GroupRepository, group: Group) -> dict[str, Call]:
    """Give the gets of a repository with a cache."""
    scope = DomainScope(group.domain_name)
    return {
        f"get from {name}": lambda: groups.get(group.id),
        f"get from {name} in a scope": lambda: groups.get(group.id, scope),
    }


async def timed(jobs: Mapping[str, Call], rounds: int, calls: int) -> dict[str, list[float]]:
    """Give the microseconds that a call of each took in each round; another one begins each time."""
    names, times = [*jobs], defaultdict[str, list[float]](list)
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            call, began = jobs[name], time.perf_counter()
            for _ in range(calls):
                await call()
            times[name].append((time.perf_counter() - began) / calls * 1e6)
    gc.unfreeze()
    return {name: times[name] for name in names}


def ratio(own: list[float], other: list[float]) -> tuple[float, float, float]:
    """Give the quartiles of the rounds' ratios, the median between them."""
    low, median, high = statistics.quantiles([one / two for one, two in zip(own, other, strict=True)], n=4)
    return low, median, high


@contextmanager
def redis() -> Iterator[Path]:
    """Start a Redis, or a Valkey, of one's own, and give its socket."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise SystemExit("there is no redis-server, nor a valkey-server: install Debian's package of that name")
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        socket = Path(folder) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL, cwd=folder)
        try:
            while not answers(socket):
                time.sleep(0.01)
            yield socket
        finally:
            process.kill()
            process.wait()


def answers(socket: Path) -> bool:
    """Say whether a Redis is there."""
    try:
        with Plain(unix_socket_path=str(socket)) as client:
            client.get("")
    except RedisError:
        return False
    return True


def lines(taken: Mapping[str, Taken]) -> Iterator[str]:
    """Show what was measured, and whether it is what it should be."""
    for name, one in taken.items():
        beside = ""
        if one.ratio is not None:
            low, median, high = one.ratio
            beside = f"  {median:.2f} ({low:.2f} to {high:.2f}) of a {BESIDE[name]}"
        goal = GOALS.get(name)
        told = "" if goal is None or one.ratio is None else f", goal {goal}: {said(one.ratio[1] <= goal)}"
        most = MOST_CALLS.get(name)
        told += "" if most is None else f", {most} calls: {said(one.calls <= most)}"
        yield f"{name:28} {one.time:7.1f} us {one.calls:5} calls{beside}{told}\n"


def said(is_kept: bool) -> str:
    """Say whether a goal is kept."""
    return "kept" if is_kept else "missed"


def main() -> None:
    """Measure on servers of one's own."""
    parser = argparse.ArgumentParser(prog="benchmarks.caches", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    with EmbeddedPostgres() as embedded, redis() as socket:
        sys.stdout.writelines(lines(asyncio.run(measure(Server.at(embedded.url()), socket, options.rounds))))


if __name__ == "__main__":
    main()
