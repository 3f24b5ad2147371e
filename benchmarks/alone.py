"""What is promised of rowsmith alone: memory that stays flat, readers that notice nothing, bad rows that cost little.

Runs before everything else: what made the process large would hide how it grows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from statistics import median

from benchmarks.contenders.models import NumberedRow
from benchmarks.contenders.rowsmith import GroupCreate, PlainCreate, Rowsmith
from benchmarks.reader import Reads, reading
from benchmarks.results import Proof
from benchmarks.world import Sizes, World, known_rows, new_rows

KEPT = 10_000
"""Rows that a purge leaves, for the reader."""

FLAT_MIB = 64
TRIES = 5


async def proofs(ours: Rowsmith, world: World) -> list[Proof]:
    """Try them all."""
    return [
        await flat("load", lambda: load(ours, world)),
        await flat("stream", lambda: stream(ours, world)),
        *await purge_where(ours, world),
        await partial_create(ours, world),
    ]


async def flat(work: str, run: Callable[[], Awaitable[tuple[int, float]]]) -> Proof:
    """Say how far memory grows while ``run`` goes on, which gives its rows and the most memory that it saw."""
    before = resident_mib()
    rows, most = await run()
    growth = max(most, resident_mib()) - before
    return Proof(f"{work} of {rows:,}", f"grows by < {FLAT_MIB} MiB", f"{growth:.0f} MiB", growth < FLAT_MIB)


async def load(ours: Rowsmith, world: World) -> tuple[int, float]:
    """Load as many rows as a stream has, from an asynchronous iterator."""
    most, count = 0.0, events_of(world.sizes)
    await world.refill("bench_plain")

    async def specs() -> AsyncGenerator[PlainCreate]:
        nonlocal most
        for first in range(0, count, 1000):
            most = max(most, resident_mib())
            for row in known_rows(min(1000, count - first), first):
                yield PlainCreate(**vars(row))

    return await ours.plain.load(specs()), most


async def stream(ours: Rowsmith, world: World) -> tuple[int, float]:
    """Read them all."""
    most, count = 0.0, 0
    async for _ in ours.stream(events_of(world.sizes)):
        count += 1
        if count % 1000 == 0:
            most = max(most, resident_mib())
    return count, most


def events_of(sizes: Sizes) -> int:
    """Give the number of rows of a stream."""
    return sizes.events * 10 // 11


async def purge_where(ours: Rowsmith, world: World) -> list[Proof]:
    """Remove many rows in chunks, while somebody else reads: what the reader notices of it, and the memory."""
    rows = events_of(world.sizes)
    await world.refill("bench_numbered", rows + KEPT)
    seconds = 5.0 * min(rows / 1_000_000, 1.0)
    async with reading(world.server, KEPT) as idle:
        await asyncio.sleep(seconds)
    before = resident_mib()
    async with reading(world.server, KEPT) as busy:
        report = await ours.numbered.purge_where([NumberedRow.id > KEPT])
    assert report.rows == rows
    ratio, grown, work = busy.p99 / idle.p99, resident_mib() - before, f"purge_where of {rows:,}"
    return [
        Proof(work, "<= 2x of a reader's p99 without", f"{ratio:.2f}x", ratio <= 2, why(idle, busy)),
        Proof(work, "grows by <= 8 MiB", f"{grown:.0f} MiB", grown <= 8),
    ]


def why(idle: Reads, busy: Reads) -> str:
    """Say what the slowest reads waited for."""
    if idle.waits is None or busy.waits is None:
        return ""
    return (
        f"a reader's p99 is {idle.p99:.2f} ms without, {busy.p99:.2f} ms beside it; of the time of the slower reads, "
        f"{busy.waits:.0%} is spent waiting for a core, {idle.waits:.0%} without"
    )


async def partial_create(ours: Rowsmith, world: World) -> Proof:
    """Create rows of which ten are bad, each for itself, beside creating as many good ones together."""
    good = [GroupCreate(*row) for row in new_rows(min(2_000, world.sizes.batch), world.domains)]
    mixed = list(good)
    for place in range(0, len(good), max(len(good) // 10, 1)):
        mixed[place] = GroupCreate(world.domain(1), "group 1", 0, None)
    together, each = list[float](), list[float]()
    for _ in range(TRIES):
        together.append(await timed(world, lambda: ours.groups.batch_create(good)))
        each.append(await timed(world, lambda: ours.groups.batch_create_partial(mixed)))
    speed = median(together) / median(each)
    goal = ">= 0.33x the rows/s of a batch without"
    return Proof("batch_create_partial, 10 of 2,000 bad", goal, f"{speed:.2f}x", speed >= 1 / 3)


async def timed(world: World, call: Callable[[], Awaitable[object]]) -> float:
    """Time one call that creates groups."""
    await world.renew()
    start = time.perf_counter()
    await call()
    return time.perf_counter() - start


def resident_mib() -> float:
    """Give the resident memory of this process, where the system tells it in /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
