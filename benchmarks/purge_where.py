"""Removing 1,000,000 rows in chunks, while somebody else reads: what the reader notices of it, and the memory."""

from __future__ import annotations

import asyncio
import resource

from benchmarks.common import Arena, benchmark
from benchmarks.groups import NumberedRepository, NumberedRow, make_tables
from benchmarks.reader import reading

ROWS = 1_000_000
KEPT = 10_000
IDLE_SECONDS = 5.0
FILL = """
INSERT INTO bench_numbered (domain_name, name, weight)
SELECT 'domain-' || i % 50, 'group ' || i, i FROM generate_series(1, $1::int) AS i
"""


@benchmark
async def purge_where(arena: Arena) -> None:
    rows = arena.rows(ROWS)
    groups = NumberedRepository(arena.db)
    await make_tables(arena)
    await arena.pool.execute(FILL, rows + KEPT)
    await arena.pool.execute("VACUUM ANALYZE bench_numbered")
    async with reading(arena.server.socket_dir, KEPT) as idle:
        await asyncio.sleep(IDLE_SECONDS / (10 if arena.is_smoke else 1))
    before = _memory()
    async with reading(arena.server.socket_dir, KEPT) as busy:
        report = await groups.purge_where([NumberedRow.id > KEPT])
    assert report.rows == rows
    arena.console.print(
        f"purge_where: {rows:,} rows in {report.seconds:,.1f} s ({rows / report.seconds:,.0f} rows/s); a reader's "
        f"p99 is {idle.p99:.2f} ms idle ({idle.count:,} reads), {busy.p99:.2f} ms meanwhile ({busy.count:,} reads)"
    )
    ratio = busy.p99 / idle.p99
    arena.note("purge_where", "a reader's p99 <= 2x idle", f"{ratio:.2f}x", kept=ratio <= 2)
    grown = _memory() - before
    arena.note("purge_where", "memory flat (<= 8 MiB more)", f"{grown:.1f} MiB", kept=grown <= 8)


def _memory() -> float:
    """The most memory that the process had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
