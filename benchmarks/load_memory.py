"""Loading 1,000,000 rows from an asynchronous iterator: how far memory grows."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from pathlib import Path

from benchmarks.common import Arena, benchmark
from benchmarks.groups import GroupCreate, GroupRepository, empty_tables, make_tables, records

PROMISED_MIB = 64


@benchmark
async def load_memory(arena: Arena) -> None:
    await make_tables(arena)
    groups, count, peak = GroupRepository(arena.db), arena.rows(1_000_000), 0.0
    await groups.load(GroupCreate(*row) for row in records(1_000))  # modules, caches and buffers of a first call
    await empty_tables(arena)
    start, began = resident_mib(), time.perf_counter()

    async def specs() -> AsyncGenerator[GroupCreate]:
        nonlocal peak
        for place, row in enumerate(records(count)):
            if place % 1000 == 0:
                peak = max(peak, resident_mib())
            yield GroupCreate(*row)

    loaded = await groups.load(specs())
    seconds, growth = time.perf_counter() - began, max(peak, resident_mib()) - start
    measured = f"{growth:.0f} MiB, {loaded / seconds:,.0f} rows/s"
    arena.note(f"load {loaded:,} rows", f"grows by < {PROMISED_MIB} MiB", measured, kept=growth < PROMISED_MIB)


def resident_mib() -> float:
    """Give the resident memory of this process, where the system tells it in /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
