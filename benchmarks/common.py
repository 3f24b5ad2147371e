"""The harness: contenders take turns on one PostgreSQL, and ratios of their medians are what counts.

A benchmark is an async function registered with :func:`benchmark`; it is given an :class:`Arena` and calls
``arena.race(...)``. Sizes are asked of the arena (``arena.rows(100_000)``), so that a smoke run can be small::

    @benchmark
    async def batch_thing(arena: Arena) -> None:
        await arena.race("batch thing", [Contender("hand", ..., rows), Contender("rowsmith", ..., rows)],
                         [Goal("rowsmith", "hand", 0.8)])
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from rowsmith import Database
from rowsmith.embedded import EmbeddedPostgres

SIZE = "ROWSMITH_BENCH_SIZE"
"""Environment variable: ``full`` (default), or ``smoke`` for a hundredth of the rows."""

# As a server in production keeps its data; larger buffers, so that checkpoints do not fall into a race by chance.
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "max_wal_size": "8GB",
    "shared_buffers": "512MB",
    "autovacuum": "off",
}


@dataclass(frozen=True)
class Contender:
    """One way of doing the work: ``run`` is timed, ``before`` is not; ``rows`` are done in one run."""

    name: str
    run: Callable[[], Awaitable[object]]
    rows: int
    before: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True)
class Goal:
    """What is promised: ``contender`` does at least ``ratio`` times the rows per second of ``reference``."""

    contender: str
    reference: str
    ratio: float


@dataclass(frozen=True)
class Verdict:
    """A goal, and what was measured."""

    title: str
    promise: str
    measured: str
    kept: bool


@dataclass
class Arena:
    """What a benchmark works with: a database, a pool of asyncpg's own on the same, sizes, a console."""

    server: EmbeddedPostgres
    db: Database
    pool: Any
    repetitions: int
    is_smoke: bool
    console: Console = field(default_factory=Console)
    verdicts: list[Verdict] = field(default_factory=list)

    def rows(self, full: int) -> int:
        """Give how many rows to use where a full run uses so many."""
        return max(full // 100, 10) if self.is_smoke else full

    async def race(self, title: str, contenders: Sequence[Contender], goals: Sequence[Goal] = ()) -> dict[str, float]:
        """Time the contenders in turn, print the table, note the verdicts; gives rows per second by name."""
        times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for round_ in range(-1, self.repetitions):  # the first one warms up: connections, prepared statements, caches
            for contender in contenders:
                seconds = await _timed(contender)
                if round_ >= 0:
                    times[contender.name].append(seconds)
        speeds = {c.name: c.rows / statistics.median(times[c.name]) for c in contenders}
        self.console.print(_table(title, contenders, times, speeds))
        for goal in goals:
            self.judge(title, goal, speeds)
        return speeds

    def judge(self, title: str, goal: Goal, speeds: dict[str, float]) -> None:
        """Note whether a goal is kept."""
        ratio = speeds[goal.contender] / speeds[goal.reference]
        promise = f"{goal.contender} >= {goal.ratio:g}x {goal.reference}"
        self.note(title, promise, f"{ratio:.2f}x", kept=ratio >= goal.ratio)

    def note(self, title: str, promise: str, measured: str, *, kept: bool) -> None:
        """Note a verdict of another kind, such as one on memory."""
        self.verdicts.append(Verdict(title, promise, measured, kept))

    def print_verdicts(self) -> None:
        """Print all goals with what was measured."""
        table = Table(title="goals", title_justify="left")
        for heading in ("benchmark", "goal", "measured", ""):
            table.add_column(heading)
        for verdict in self.verdicts:
            mark = "[green]kept[/]" if verdict.kept else "[red]missed[/]"
            table.add_row(verdict.title, verdict.promise, verdict.measured, mark)
        self.console.print(table)


Benchmark = Callable[[Arena], Awaitable[None]]
BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(function: Benchmark) -> Benchmark:
    """Register a benchmark under the name of its function."""
    BENCHMARKS[function.__name__] = function
    return function


@asynccontextmanager
async def arena(*, smoke: bool | None = None, repetitions: int = 5) -> AsyncGenerator[Arena]:
    """Start a PostgreSQL of one's own and give what benchmarks work with."""
    is_smoke = os.environ.get(SIZE) == "smoke" if smoke is None else smoke
    with EmbeddedPostgres(settings=SETTINGS) as server:
        db = Database.from_url(server.url())
        pool = await asyncpg.create_pool(host=str(server.socket_dir), user="postgres", database="postgres", min_size=1)
        try:
            yield Arena(server, db, pool, 1 if is_smoke else repetitions, is_smoke)
        finally:
            await pool.close()
            await db.dispose()


async def _timed(contender: Contender) -> float:
    if contender.before is not None:
        await contender.before()
    gc.collect()
    start = time.perf_counter()
    await contender.run()
    return time.perf_counter() - start


def _table(
    title: str, contenders: Sequence[Contender], times: dict[str, list[float]], speeds: dict[str, float]
) -> Table:
    best = max(speeds.values())
    table = Table(title=title, title_justify="left")
    for heading in ("", "rows", "median ms", "rows/s", "of the fastest"):
        table.add_column(heading, justify="left" if not heading else "right")
    for contender in contenders:
        median = statistics.median(times[contender.name]) * 1000
        speed = speeds[contender.name]
        row = (contender.name, f"{contender.rows:,}", f"{median:,.1f}", f"{speed:,.0f}", f"{speed / best:.2f}x")
        table.add_row(*row)
    return table
